"""hf-emms confirm: fine-tune the best checkpoints of a kept ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from hf_emms.cli.option_flags import confirm_flags, typed_settings
from hf_emms.cli.output import (
    FORMATS,
    check_output,
    format_option,
    out,
    quiet_option,
    stdout_for_data_only,
    write_ranking,
)
from hf_emms.errors import EmmsError


@cloup.command(short_help="Fine-tune the best checkpoints of a ranking.")
@cloup.option_group(
    "Ranking",
    cloup.option(
        "--ranking",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        required=True,
        metavar="FILE",
        help="A ranking in JSON or Parquet: hf-emms rank … --output FILE.",
    ),
    cloup.option(
        "--top", type=click.IntRange(min=1), default=3, show_default=True, metavar="N", help="How many are fine-tuned."
    ),
    cloup.option("--dataset", metavar="NAME", help="Where its dataset is now [default: as the ranking names it]."),
)
@cloup.option_group("Fine-tuning", *confirm_flags("Confirm"))
@cloup.option_group("Running", *confirm_flags("Data", "Running"))
@cloup.option_group(
    "Output",
    cloup.option(
        "--output",
        "-o",
        "target",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="[default: the ranking's file]",
    ),
    cloup.option("--dry-run", is_flag=True, help="Print what would be trained, and about how long."),
    format_option(FORMATS),
    quiet_option("Print the id of the best checkpoint only."),
)
@cloup.option_group("Safety", *confirm_flags("Safety"))
def confirm(file: Path, top: int, dataset: str | None, target: Path | None, dry_run: bool, **parameters: Any) -> None:
    """Fine-tune the best checkpoints of a ranking, and report what that measures.

    The results are added to the ranking's file. Finished runs are kept: the same command continues where it was
    interrupted.
    """
    from hf_emms.cli.progress_bars import StderrProgress
    from hf_emms.cli.rank_command import summary
    from hf_emms.finetune.fine_tune import forecast
    from hf_emms.finetune.saving import push_best
    from hf_emms.ranking import Ranking
    from hf_emms.run.confirm import confirmed, options_for, prepared, start_session

    target = target or file
    check_output(target, [dataset] if dataset else [])
    ranking = Ranking.load(file)
    options = options_for(ranking, dataset, confirm=top, **typed_settings(parameters))
    with StderrProgress(quiet=out.quiet) as progress, stdout_for_data_only():
        session = start_session(ranking, options, progress)
        planned = prepared(ranking, session) if dry_run else None
        if planned is None:
            ranking = confirmed(ranking, session)
    if planned is not None:
        out.data("\n".join(row.checkpoint for row in planned.shortlist))
        out.message("\n".join([*planned.notes, forecast(planned)]))
        return
    write_ranking(ranking, target)
    if ranking.best is None:
        raise EmmsError("the ranking has no checkpoint with a score")
    if out.quiet:
        out.data(ranking.best.checkpoint)
    else:
        out.ranking(ranking)
    out.message(summary(ranking, target))
    push_best(options, out.message)
