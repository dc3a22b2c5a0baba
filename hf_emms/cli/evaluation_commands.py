"""hf-emms validate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.output import format_option, out, ranking_files_option, stdout_for_data_only, table
from hf_emms.texts import printable

if TYPE_CHECKING:
    from hf_emms.evaluation import Validation


@cloup.command(short_help="Check rankings against fine-tuning results.")
@ranking_files_option("File of hf-emms rank --output; repeat for several datasets.")
@cloup.option(
    "--truth",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="CSV with the columns checkpoint and score, and dataset for several datasets [default: fine-tuned "
    "scores of hf-emms confirm].",
)
@cloup.option("--lower-is-better", is_flag=True, help="Lower scores are better, such as losses or error rates.")
@format_option(("table", "json"))
def validate(files: tuple[Path, ...], truth: Path | None, lower_is_better: bool) -> None:
    """Check rankings against fine-tuning results.

    Shows per estimator how well its order agrees with the fine-tuned scores, and how much its pick loses to the best
    checkpoint. Controls (*) do not use the dataset.
    """
    from hf_emms import evaluation
    from hf_emms.ranking import Ranking

    rankings = [Ranking.load(file) for file in files]
    with stdout_for_data_only():
        if truth is None:
            measured = evaluation.truth_from_rankings(rankings)
        else:
            measured = evaluation.read_truth(truth, lower_is_better=lower_is_better)
        validation = evaluation.validate(rankings, measured)
    _print_validation(validation)
    out.message("\n".join(_explained(validation)))


def _print_validation(validation: Validation) -> None:
    from hf_emms.evaluation.validate import DISPENSABLE, validation_cells, validation_tables

    if out.format != "table":
        out.data(validation.to_json())
        return
    parts = []
    for heading, lines in validation_tables(validation):
        header, rows = validation_cells(lines)
        cells = table(header, rows, left=("scores", "pick"), dispensable=DISPENSABLE)
        parts.append(f"{printable(heading)}\n{cells}")
    out.data("\n\n".join(parts), styled=True)


def _explained(validation: Validation) -> list[str]:
    """Return the notes below the table, which explain its columns."""
    from hf_emms.evaluation.measures import RESAMPLES

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
    return [
        *lines,
        *map(str, validation.notes),
        f"95 %: bootstrap over {over} ({RESAMPLES:,} resamples). A small number of them makes it imprecise.",
        "regret: best fine-tuned score minus the score of the pick, in points. top 3: is the pick among the best 3?",
        "*: a control that does not use the dataset; random is the mean of random orders. Estimators should beat it.",
    ]
