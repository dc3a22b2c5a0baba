"""hf-emms sweep: many checkpoints on many datasets."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.option_flags import JOB_FLAGS, checkpoints_file_option, job_settings, sweep_flags, typed_settings
from hf_emms.cli.output import (
    LIST_FORMATS,
    format_option,
    out,
    results_folder_option,
    stdout_for_data_only,
)
from hf_emms.cli.rank_commands import print_spec
from hf_emms.errors import EmmsError, format_bytes, pluralize

if TYPE_CHECKING:
    from hf_emms.options import Options
    from hf_emms.run.ranking_job import JobSettings
    from hf_emms.run.sweep import Sweep


@cloup.command(short_help="Rank checkpoints on many datasets.")
@cloup.argument("file", required=False, metavar="[FILE.yaml]", help="Datasets and their settings.")
@cloup.option_group(
    "Sweep",
    cloup.option(
        "--datasets",
        metavar="NAME,NAME",
        help='Datasets, instead of a file; quotes keep a comma: "A,B" is one dataset.',
    ),
    checkpoints_file_option,
    results_folder_option("Folder of the rankings."),
    cloup.option("--results-repo", metavar="ORG/emms-results", help="Results dataset, instead of the folder."),
    cloup.option(
        "--dry-run", is_flag=True, help="Print downloads, expected duration and price without running anything."
    ),
    *JOB_FLAGS,
    format_option(LIST_FORMATS),
)
@cloup.option_group("Settings of all datasets", *sweep_flags())
def sweep(
    file: str | None,
    datasets: str | None,
    folder: Path,
    results_repo: str | None,
    dry_run: bool,
    **parameters: Any,
) -> None:
    """Rank checkpoints on many datasets. Loads each checkpoint once, and runs only cells without a result.

    A cell is one checkpoint on one dataset. It runs again if either has a new revision. Prints one line of ranks per
    checkpoint.
    """
    from hf_emms.run.sweep import sweep_options

    if (file is None) == (datasets is None):
        raise click.UsageError("Name either a file or --datasets: hf-emms sweep FILE.yaml")
    job = job_settings(parameters, results_repo)
    names = file or [name for line in csv.reader([datasets or ""], skipinitialspace=True) for name in line if name]
    options_of = sweep_options(names, typed_settings(parameters))
    if dry_run:
        _print_dry_run(options_of, folder, results_repo, job)
        return
    result = _swept(options_of, folder, results_repo, job)
    out.records(*result.table())
    out.message(f"Results: {results_repo or folder}")
    for name, reason in result.failed.items():
        out.message(f"{name}: {reason}")
    if result.failed:
        raise EmmsError(f"{pluralize(len(result.failed), 'dataset')} could not be used", "the reasons are above")


def _swept(options_of: dict[str, Options], folder: Path, results_repo: str | None, job: JobSettings | None) -> Sweep:
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.run.sweep import destination, plan_sweep, run_sweep, summary, sweep_as_job

    with StderrProgress() as progress, stdout_for_data_only():
        if job is not None:
            return sweep_as_job(options_of, job, progress)
        results = destination(folder, results_repo, progress)
        planned = plan_sweep(options_of, results, progress)
        result = run_sweep(planned, results, progress)
    out.message(summary(result, planned))
    return result


def _print_dry_run(
    options_of: dict[str, Options], folder: Path, results_repo: str | None, job: JobSettings | None
) -> None:
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.run.ranking_job import price
    from hf_emms.run.sweep import destination, job_spec, plan_sweep, sweep_costs

    spec = job_spec(options_of, job) if job is not None else None
    with StderrProgress() as progress, stdout_for_data_only():
        planned = plan_sweep(options_of, destination(folder, results_repo, progress), progress)
    costs, cells = sweep_costs(planned)
    if job is None:
        rows = []
        for repo, count in cells.items():
            cost = costs[repo]
            seconds = None if cost.seconds is None else round(cost.seconds, 1)
            rows.append((repo.id, count, cost.bytes, seconds, cost.problem))
        out.records(("checkpoint", "cells", "download_bytes", "seconds", "problem"), rows)
    hours = sum(cost.seconds or 0.0 for cost in costs.values()) / 3600
    download = sum(cost.bytes for cost in costs.values())
    out.message(
        f"{pluralize(len(planned.plans), 'dataset')}: {pluralize(planned.cells, 'cell')} to run, "
        f"{planned.done} there already; {format_bytes(download)} to download, about {hours:,.2f} hours here"
    )
    for name, reason in planned.failed.items():
        out.message(f"{name}: {reason}")
    if job is None or spec is None:
        out.message("Nothing was run.")
        return
    hardware, _ = price(job)
    out.message(f"about {60 * hours * hardware.usd_per_minute:.2f} USD if {hardware.name} is as fast as this machine")
    print_spec(spec, job)
