"""hf-emms search."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from hf_emms.cli import output
from hf_emms.formatting import parse_count
from hf_emms.hub.model_info import SORTS

if TYPE_CHECKING:
    from hf_emms.hub import HubModel

_COLUMNS = ("id", "parameters", "downloads", "likes", "architecture", "library", "revision")


@click.command(short_help="Find checkpoints on the Hub that can be ranked.")
@click.option("--task", required=True, metavar="ID", help="What they are to be ranked for.")
@click.option("--pipeline-tag", metavar="ID", help="The Hub task they are tagged with [default: --task and backbones].")
@click.option("--author", metavar="NAME", help="A user or organisation.")
@click.option("--text", metavar="TEXT", help="What the id contains.")
@click.option("--filter", "tags", multiple=True, metavar="TAG", help="A tag of the Hub; repeat for several.")
@click.option("--library", metavar="NAME", help="E.g. transformers or timm.")
@click.option("--max-params", metavar="N", help="The most parameters: 22K, 100M, 1.5B.")
@click.option("--min-downloads", type=click.IntRange(min=0), default=0, metavar="N", help="In the last 30 days.")
@click.option("--sort", type=click.Choice(SORTS), default="downloads", show_default=True, help="Most or latest first.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="How many.")
@click.option(
    "--format",
    "format",
    type=click.Choice(["ids", *output.LIST_FORMATS]),
    help="[default: table; ids in a pipe]",
)
@click.option("--quiet", "-q", is_flag=True, help="Do not tell what was passed over.")
def search(
    task: str,
    library: str | None,
    max_params: str | None,
    tags: tuple[str, ...],
    format: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Find checkpoints on the Hub that hf-emms can load. Nothing is downloaded but their descriptions.

    The ids can be piped on: hf-emms search --task image-classification | hf-emms rank --dataset ./FOLDER
    --checkpoints-file -
    """
    from hf_emms.search import search as find
    from hf_emms.tasks import get_task

    reasons: Counter[str] = Counter()

    def dropped(id: str, reason: str) -> None:
        reasons[reason] += 1
        output.say(f"left out {id}: {reason}", quiet=quiet)

    with output.stdout_for_data_only():
        hits = list(
            find(
                get_task(task),
                tags=(*tags, *([library] if library else ())),
                max_parameters=parse_count(max_params) if max_params else None,
                on_dropped=dropped,
                **options,
            )
        )
    _print(hits, format or ("table" if output.default_format() == "table" else "ids"))
    output.say(f"{len(hits)} found, {sum(reasons.values())} left out", quiet=quiet)


def _print(hits: list[HubModel], format: str) -> None:
    if format == "ids":
        if hits:
            output.emit("\n".join(hit.id for hit in hits))
        return
    rows = [tuple(getattr(hit, column) for column in _COLUMNS) for hit in hits]
    header: tuple[str, ...] = _COLUMNS
    if format == "table":  # shas are for programs
        rows, header = [row[:-1] for row in rows], header[:-1]
    output.print_records(header, rows, format)
