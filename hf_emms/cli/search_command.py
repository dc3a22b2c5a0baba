"""hf-emms search."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.output import LIST_FORMATS, format_option, out, quiet_option, stdout_for_data_only
from hf_emms.formatting import parse_count
from hf_emms.hub.model_info import SORTS

if TYPE_CHECKING:
    from hf_emms.hub import HubModel

_COLUMNS = ("id", "parameters", "downloads", "likes", "architecture", "library", "licence", "revision")


@cloup.command(short_help="Find checkpoints on the Hub that can be ranked.")
@cloup.option_group(
    "Filters",
    cloup.option("--task", required=True, metavar="ID", help="What they are to be ranked for."),
    cloup.option(
        "--pipeline-tag", metavar="ID", help="The Hub task they are tagged with [default: --task and backbones]."
    ),
    cloup.option("--author", metavar="NAME", help="A user or organisation."),
    cloup.option("--text", metavar="TEXT", help="What the id contains."),
    cloup.option("--filter", "tags", multiple=True, metavar="TAG", help="A tag of the Hub; repeat for several."),
    cloup.option("--library", metavar="NAME", help="E.g. transformers or timm."),
    cloup.option("--max-params", metavar="N", help="The most parameters: 22K, 100M, 1.5B."),
    cloup.option("--min-downloads", type=click.IntRange(min=0), default=0, metavar="N", help="In the last 30 days."),
)
@cloup.option_group(
    "Order",
    cloup.option(
        "--sort", type=click.Choice(SORTS), default="downloads", show_default=True, help="Most or latest first."
    ),
    cloup.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="How many."),
)
@cloup.option_group(
    "Output",
    format_option(("ids", *LIST_FORMATS), piped="ids"),
    quiet_option("Leave out what was not taken, and why."),
)
def search(
    task: str,
    library: str | None,
    max_params: str | None,
    tags: tuple[str, ...],
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
        out.message(f"left out {id}: {reason}")

    with stdout_for_data_only():
        hits = list(
            find(
                get_task(task),
                tags=(*tags, *([library] if library else ())),
                max_parameters=parse_count(max_params) if max_params else None,
                on_dropped=dropped,
                **options,
            )
        )
    _print(hits)
    out.message(f"{len(hits)} found, {sum(reasons.values())} left out")


def _print(hits: list[HubModel]) -> None:
    if out.format == "ids":
        if hits:
            out.data("\n".join(hit.id for hit in hits))
        return
    rows = [tuple(getattr(hit, column) for column in _COLUMNS) for hit in hits]
    header: tuple[str, ...] = _COLUMNS
    if out.format == "table":  # shas are for programs
        rows, header = [row[:-1] for row in rows], header[:-1]
    out.records(header, rows)
