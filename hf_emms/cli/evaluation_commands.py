"""hf-emms validate and hf-emms compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.output import format_option, out, ranking_files_option, stdout_for_data_only, table
from hf_emms.errors import printable

if TYPE_CHECKING:
    from hf_emms.evaluation import Comparison, Validation

FORMATS = ("table", "json", "tsv", "md")


@cloup.command(short_help="Check rankings against fine-tuning results.")
@cloup.option_group(
    "Data",
    ranking_files_option("File of hf-emms rank --output; repeat for several datasets."),
    cloup.option(
        "--truth",
        metavar="FILE|leaderboard",
        help="CSV, TSV or JSON with checkpoint, score (and dataset), or the Hub's leaderboard if the dataset is a "
        "benchmark [default: fine-tuned scores of hf-emms confirm].",
    ),
    cloup.option("--metric", metavar="NAME", help="Column with the scores [default: inferred]."),
    cloup.option("--lower-is-better", is_flag=True, help="Lower scores are better, such as losses or error rates."),
)
@cloup.option_group(
    "Statistics",
    cloup.option(
        "--estimator", "estimators", multiple=True, metavar="NAME", help="Estimators to compare [default: all]."
    ),
    cloup.option(
        "--resamples",
        type=click.IntRange(1, 10**6),
        default=1000,
        show_default=True,
        help="Bootstrap resamples for the intervals.",
    ),
    cloup.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Seed of the resamples.",
    ),
)
@cloup.option_group(
    "Output",
    cloup.option(
        "--plot",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write a plot to this file: .png, .svg or .pdf.",
    ),
    format_option(FORMATS),
)
def validate(
    files: tuple[Path, ...],
    truth: str | None,
    metric: str | None,
    lower_is_better: bool,
    estimators: tuple[str, ...],
    plot: Path | None,
    resamples: int,
    seed: int,
) -> None:
    """Check rankings against fine-tuning results.

    Shows per estimator how well its order agrees with the fine-tuned scores, and how much its pick loses to the best
    checkpoint. Controls (*) do not use the dataset.
    """
    from hf_emms import evaluation
    from hf_emms.evaluation.figure import check_figure, write_figure
    from hf_emms.ranking import Ranking

    if plot is not None:
        check_figure(plot)
    rankings = [Ranking.load(file) for file in files]
    with stdout_for_data_only():
        if truth is None:
            measured = evaluation.truth_from_rankings(rankings)
        elif truth == "leaderboard":
            measured = evaluation.truth_from_leaderboards(rankings)
        else:
            measured = evaluation.read_truth(Path(truth), metric=metric, lower_is_better=lower_is_better)
        validation = evaluation.validate(rankings, measured, estimators=estimators, resamples=resamples, seed=seed)
    _print_validation(validation)
    out.message("\n".join(_explained(validation)))
    if plot is not None:
        write_figure(validation, plot, estimators or (rankings[0].estimators[0],))
        out.message(f"plot: {plot}")


@cloup.command(short_help="Show how two rankings differ.")
@cloup.argument("a", type=click.Path(path_type=Path))
@cloup.argument("b", type=click.Path(path_type=Path))
@format_option(FORMATS)
def compare(a: Path, b: Path) -> None:
    """Show how ranking B differs from ranking A: settings, changed ranks, agreement, missing checkpoints.

    Counts ranks among the checkpoints that both rankings have scored. A change between tied ranks does not count.
    """
    from hf_emms import evaluation
    from hf_emms.ranking import Ranking

    comparison = evaluation.compare(Ranking.load(a), Ranking.load(b))
    for warning in comparison.warnings:
        out.message(f"Warning: {warning}")
    _print_comparison(comparison)


def _print_validation(validation: Validation) -> None:
    from hf_emms.evaluation.validate import validation_cells, validation_records, validation_tables

    if out.format == "json":
        out.data(validation.to_json())
        return
    if out.format == "tsv":
        records = validation_records(validation)
        out.records([*records[0]], [[*record.values()] for record in records])
        return
    parts = [_table(heading, *validation_cells(lines)) for heading, lines in validation_tables(validation)]
    out.data("\n\n".join(parts), styled=True)


def _print_comparison(comparison: Comparison) -> None:
    from hf_emms.evaluation.compare import move_cells, move_columns, move_records, setting_rows, summary

    if out.format == "json":
        out.data(comparison.to_json())
    elif out.format == "tsv":
        records = move_records(comparison)
        header = move_columns(comparison)
        out.records(header, [[record[name] for name in header] for record in records])
    else:
        header, rows = move_cells(comparison)
        parts = [_table("", header, rows)] if rows else []
        bullet = "- " if out.format == "md" else ""
        parts.append(printable("\n".join(bullet + line for line in summary(comparison))))
        if comparison.settings:
            parts.append(_table("settings that differ", ["setting", "A", "B"], setting_rows(comparison)))
        out.data("\n\n".join(parts), styled=True)


def _table(heading: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from hf_emms.evaluation.validate import DISPENSABLE
    from hf_emms.ranking.text import escaped, markdown_table

    left = ("scores", "pick", "checkpoint", "setting") + ("A", "B") * ("setting" in header)
    if out.format == "md":
        title = [f"**{escaped(heading)}**", ""]
        lines = markdown_table(header, rows, left=left)
    else:
        title = [printable(heading)]
        lines = [table(header, rows, left=left, dispensable=DISPENSABLE)]
    return "\n".join(title + lines if heading else lines)


def _explained(validation: Validation) -> list[str]:
    """Return the explanation below the table."""
    direction = ", lower is better" if validation.lower_is_better else ""
    lines = ["", f"truth: {validation.metric} of {validation.source}{direction}"]
    for target in validation.targets:
        gone: tuple[tuple[str, Any], ...] = (
            ("no truth for", target.without_truth),
            ("not in the ranking", target.without_row),
            ("failed in the ranking", target.failed),
        )
        lines += [f"{target.dataset}: {what}: {', '.join(names)}" for what, names in gone if names]
    over = "targets for the means, else checkpoints" if validation.means else "checkpoints"
    resampling = f"{validation.resamples:,} resamples, seed {validation.seed}"
    return [
        *lines,
        *map(str, validation.notes),
        f"95 %: bootstrap over {over} ({resampling}). A small number of them makes it imprecise.",
        "regret: best fine-tuned score minus the score of the pick, in points. top 3: is the pick among the best 3?",
        "*: a control that does not use the dataset; random is the mean of random orders. Estimators should beat it.",
    ]
