"""hf-emms recommend: from the whole Hub to one checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup
import msgspec

from hf_emms.cli.hub_writes import ask_before_work, yes_option
from hf_emms.cli.option_flags import EVERYDAY, JOB_FLAGS, job_settings, options_from, setting_groups
from hf_emms.cli.output import FORMATS, check_output, format_option, out, ranking_output_option, stdout_for_data_only
from hf_emms.cli.rank_commands import deliver_ranking, print_specs

if TYPE_CHECKING:
    from hf_emms.run.funnel_plan import FunnelPlan

_FUNNEL_FLAGS = {
    EVERYDAY: [
        cloup.option(
            "--time",
            metavar="TIME",
            help="Time that everything may take, e.g. 30m or 2h; limits the numbers of candidates and rows.",
        ),
        ranking_output_option("Also write the last ranking to this file."),
        cloup.option("--dry-run", is_flag=True, help="Print the funnel and its expected duration without ranking."),
    ],
    "Checkpoints": [
        cloup.option(
            "--candidates",
            type=click.IntRange(min=2),
            metavar="N",
            help="Number of checkpoints in the first pass [default: 40, or as many as --time allows].",
        ),
        cloup.option(
            "--license",
            multiple=True,
            metavar="open|any|ID",
            help="Licenses of checkpoints; repeat for several ids [default: open].",
        ),
        cloup.option("--language", metavar="CODE", help="Only checkpoints with this language on the Hub, e.g. en."),
        cloup.option("--library", metavar="NAME", help="Only checkpoints of this library: transformers, timm, …"),
        cloup.option("--gated", is_flag=True, help="Also gated checkpoints, whose terms you have accepted."),
    ],
    "Running": [
        *JOB_FLAGS,
        cloup.option(
            "--bandwidth", metavar="SIZE", help="Bytes of downloads per second, e.g. 20MB [default: measured]."
        ),
    ],
    "Output": [
        format_option(FORMATS),
        cloup.option(
            "--results-repo",
            metavar="ORG/emms-results",
            help="Also publish the last ranking in this dataset; required for jobs.",
        ),
        yes_option(),
    ],
}
_ARGUMENTS = ("time", "candidates", "license", "language", "library", "gated", "bandwidth")


@cloup.command(short_help="Find the best checkpoint of the Hub for a dataset.")
@setting_groups(_FUNNEL_FLAGS, without=("checkpoints", "part"))
def recommend(target: Path | None, dry_run: bool, results_repo: str | None, yes: bool, **parameters: Any) -> None:
    """Find the checkpoint of the whole Hub to fine-tune for a dataset.

    Lists the Hub, ranks the most promising checkpoints on 300 rows, and then the best of them on all rows.
    After an interruption, the same command continues with the same candidates.
    """
    if target is not None and dry_run:
        raise click.UsageError("--dry-run makes no ranking for --output; leave one of them out.")
    if target is not None:
        check_output(target, [parameters["dataset"]])
    of_funnel = {name: parameters.pop(name) for name in _ARGUMENTS}
    options, job = options_from(parameters), job_settings(parameters, results_repo)
    if job is None:
        out.message(f"Reading {parameters['dataset']} …")
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.ranking.text import funnel_lines
    from hf_emms.run.ranking_job import job_specs
    from hf_emms.run.recommend import Funnel, FunnelSettings, recommend_with

    settings = FunnelSettings.of(options, **{**of_funnel, "license": of_funnel["license"] or ("open",)})
    if job is not None and dry_run:
        print_specs(job_specs(options, job, settings.command), job)
        return
    if not dry_run:
        ask_before_work(results_repo, options.training.push_model_to, on_hub=job is not None, yes=yes)
    with StderrProgress() as progress, stdout_for_data_only():
        plan = Funnel(options, settings, progress).plan() if dry_run else None
        made = recommend_with(options, settings, progress, job or parameters["engine"]) if plan is None else None
    if plan is not None:
        _print_plan(plan)
    if made is not None:
        result, finished = made
        out.message("\n".join(funnel_lines(result.stages)))
        deliver_ranking(finished, options, target, results_repo, job)


def _print_plan(plan: FunnelPlan) -> None:
    if out.format == "json":
        out.json(msgspec.to_builtins(plan.stages()))
    else:
        out.data(str(plan))
