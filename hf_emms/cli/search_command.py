"""hf-emms search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.output import LIST_FORMATS, format_option, out, stdout_for_data_only
from hf_emms.hub.model_info import SORTS

if TYPE_CHECKING:
    from hf_emms.hub import HubModel

_COLUMNS = ("id", "parameters", "downloads", "likes", "architecture", "library", "license", "revision")


@cloup.command(short_help="Find checkpoints on the Hub that can be ranked.")
@cloup.option_group(
    "Filters",
    cloup.option("--task", required=True, metavar="ID", help="Task to rank the checkpoints for."),
    cloup.option("--author", metavar="NAME", help="Only checkpoints of this user or organization."),
    cloup.option("--text", metavar="TEXT", help="Only ids that contain this text."),
    cloup.option(
        "--filter",
        "tags",
        multiple=True,
        metavar="TAG",
        help="Only checkpoints with this tag of the Hub, e.g. timm, en or license:mit; repeat for several.",
    ),
    cloup.option("--max-params", metavar="N", help="Maximum number of parameters: 22K, 100M, 1.5B."),
)
@cloup.option_group(
    "Order",
    cloup.option(
        "--sort",
        type=click.Choice(SORTS),
        default="downloads",
        show_default=True,
        help="Sort key, in descending order.",
    ),
    cloup.option(
        "--limit",
        type=click.IntRange(1, 100_000),
        default=20,
        show_default=True,
        metavar="N",
        help="Maximum number of checkpoints.",
    ),
)
@cloup.option_group(
    "Output",
    format_option(("ids", *LIST_FORMATS), piped="ids"),
)
def search(**options: Any) -> None:
    """Find checkpoints on the Hub that hf-emms can load. Downloads only their descriptions.

    Different architectures come first.

    In a pipe, prints ids: hf-emms search --task image-classification | hf-emms rank --dataset ./FOLDER
    --checkpoints-file -
    """
    out.message("Searching …")
    from hf_emms.run.search import search

    dropped = 0

    def on_dropped(id: str, reason: str) -> None:
        nonlocal dropped
        dropped += 1
        out.message(f"skipped {id}: {reason}")

    with stdout_for_data_only():
        hits = search(**options, on_dropped=on_dropped)
    _print(hits)
    out.message(f"{len(hits)} found, {dropped} skipped")


def _print(hits: list[HubModel]) -> None:
    if out.format == "ids":
        if hits:
            out.data("\n".join(hit.id for hit in hits))
        return
    header = _COLUMNS[:-1] if out.format == "table" else _COLUMNS  # the table has no room for revisions
    out.records(header, [[getattr(hit, column) for column in header] for hit in hits])
