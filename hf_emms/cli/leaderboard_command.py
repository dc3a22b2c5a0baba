"""hf-emms leaderboard: the leaderboard Space on this machine."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import click

from hf_emms.cli import output
from hf_emms.errors import EmmsError


@click.command(short_help="Browse rankings in the browser.")
@click.option("--results", metavar="DIR|REPO", help="Ranking files, or a results dataset [default: those of the demo].")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: the first free one from 7860 on]")
def leaderboard(results: str | None, port: int | None) -> None:
    """Serve the leaderboard here: tables, comparisons, a shortlist, and the same for programs (API and MCP).

    Ctrl-C ends it.
    """
    from hf_emms import space

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
    output.say("no --results: showing the demo's rankings (computed once, then kept)")
    for name, _ in write_rankings(folder):
        output.say(f"ranked: {name}")
    return folder


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EmmsError(f"port {port} cannot be used: {error.strerror}", "--port ANOTHER") from error
