"""hf-emms leaderboard: the leaderboard Space on this machine."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import click
import cloup

from hf_emms.cli.output import out
from hf_emms.errors import EmmsError


@cloup.command(short_help="Browse rankings in the browser.")
@cloup.option("--results", metavar="DIR|REPO", help="Ranking files, or a results dataset [default: those of the demo].")
@cloup.option("--port", type=click.IntRange(1, 65535), help="[default: the first free one from 7860 on]")
def leaderboard(results: str | None, port: int | None) -> None:
    """Serve the leaderboard here: tables, comparisons, a shortlist, and the same for programs (API and MCP).

    Ctrl-C ends it.
    """
    from hf_emms.publish import space

    settings = _source(results)
    if port is not None:
        _check_free(port)
        settings["GRADIO_SERVER_PORT"] = str(port)
    status = space.serve(settings)
    if status:
        sys.exit(status)


def _source(results: str | None) -> dict[str, str]:
    from hf_emms import hub

    if results is None:
        return {"EMMS_RESULTS": str(_demo_rankings())}
    if Path(results).is_dir():
        return {"EMMS_RESULTS": str(Path(results).resolve())}
    if hub.looks_like_path(results):
        raise EmmsError(f"there is no folder {results!r}", "hf-emms rank … --output DIR/NAME.json puts rankings there")
    hub.resolve(results, "dataset")
    return {"EMMS_RESULTS_REPO": results}


def _demo_rankings() -> Path:
    from hf_emms.cache import default_root
    from hf_emms.cli.demo_command import write_rankings

    folder = default_root() / "demo"
    out.message("no --results: showing the demo's rankings (computed once, then cached)")
    for name, _ in write_rankings(folder):
        out.message(f"ranked: {name}")
    return folder


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EmmsError(f"port {port} cannot be used: {error.strerror}", "--port ANOTHER") from error
