"""hf-emms sweep: many checkpoints on many datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.option_flags import sweep_flags, typed_settings
from hf_emms.cli.output import (
    LIST_FORMATS,
    format_option,
    out,
    quiet_option,
    results_folder_option,
    stdout_for_data_only,
)
from hf_emms.cli.rank_command import JOB_FLAGS, job_settings, listed, print_spec
from hf_emms.errors import EmmsError
from hf_emms.formatting import format_bytes, pluralize
from hf_emms.options import SETTINGS

if TYPE_CHECKING:
    from hf_emms.options import Options
    from hf_emms.run.ranking_job import JobSettings
    from hf_emms.run.sweep import Sweep, SweepPlan

_HOUR = 3600.0


@cloup.command(short_help="Rank checkpoints on many datasets.")
@cloup.argument("plan", required=False, metavar="[PLAN.yaml]", help="Datasets, and settings of each and of all.")
@cloup.option_group(
    "Sweep",
    cloup.option("--datasets", metavar="NAME,NAME", help="Datasets without settings of their own, in place of a plan."),
    cloup.option("--checkpoints-file", metavar="FILE|-", help="One checkpoint a line."),
    results_folder_option("Where rankings go, and are read from."),
    cloup.option("--results-repo", metavar="ORG/emms-results", help="A results dataset in place of the folder."),
    cloup.option(
        "--dry-run", is_flag=True, help="Print what would be downloaded and run, how long, and what it costs."
    ),
    *JOB_FLAGS,
    cloup.option("--strict", is_flag=True, help="Exit with 1 when any cell failed."),
    format_option(LIST_FORMATS),
    quiet_option("Print the table only."),
)
@cloup.option_group("Settings of all datasets", *sweep_flags())
def sweep(
    plan: str | None,
    datasets: str | None,
    checkpoints_file: str | None,
    folder: Path,
    results_repo: str | None,
    dry_run: bool,
    strict: bool,
    **given: Any,
) -> None:
    """Rank checkpoints on many datasets; each checkpoint is loaded once, and only cells without a result run.

    A cell is outdated when its checkpoint or dataset has a new revision. Prints ranks, a line for each checkpoint.
    """
    from hf_emms.run.sweep import sweep_options

    if (plan is None) == (datasets is None):
        raise click.UsageError("Name a plan or --datasets, one of them: hf-emms sweep plan.yaml")
    given["checkpoints"] = (*given["checkpoints"], *listed(checkpoints_file))
    settings = job_settings(given["engine"] or SETTINGS["engine"].default, results_repo, given)
    names = plan or [name for name in (datasets or "").split(",") if name]
    options_of = sweep_options(names, typed_settings(given))
    if settings is None:
        found = _sweep_here(options_of, folder, results_repo, dry_run=dry_run)
    else:
        found = _sweep_on_jobs(options_of, settings, dry_run=dry_run)
    if found is None:
        return
    out.records(*found.table())
    out.message(f"Results: {results_repo or folder}")
    for name, reason in found.failed.items():
        out.message(f"{name}: {reason}")
    if found.failed:
        raise EmmsError(f"{pluralize(len(found.failed), 'dataset')} could not be used", "the reasons are above")
    if strict and any(row.error is not None for ranking in found.rankings.values() for row in ranking.rows):
        raise EmmsError("--strict: a cell failed", "its row in the results has the reason")


def _sweep_here(
    options_of: dict[str, Options], folder: Path, results_repo: str | None, *, dry_run: bool
) -> Sweep | None:
    """Sweeps with the local or the Ray engine, or prints what that would be."""
    from hf_emms.cli.progress_bars import StderrProgress
    from hf_emms.run.sweep import destination, plan_sweep, run_sweep, summary

    with StderrProgress(quiet=out.quiet) as progress, stdout_for_data_only():
        results = destination(folder, results_repo, progress)
        planned = plan_sweep(options_of, results, progress)
        if not dry_run:
            found = run_sweep(planned, results, progress)
    if dry_run:
        _print_forecast(planned, table=True)
        out.message("nothing was run")
        return None
    out.message(summary(found, planned))
    return found


def _sweep_on_jobs(options_of: dict[str, Options], settings: JobSettings, *, dry_run: bool) -> Sweep | None:
    """Starts the job and follows it; only prints it where `dry_run`."""
    from hf_emms.cli.progress_bars import StderrProgress
    from hf_emms.publish.destinations import ResultsDataset
    from hf_emms.run.ranking_job import price
    from hf_emms.run.sweep import job_spec, plan_sweep, sweep_as_job

    if not dry_run:
        with StderrProgress(quiet=out.quiet) as progress:
            return sweep_as_job(options_of, settings, progress)
    with StderrProgress(quiet=out.quiet) as progress, stdout_for_data_only():
        planned = plan_sweep(options_of, ResultsDataset(settings.results_repo, progress.noted), progress)
    hours = _print_forecast(planned, table=False)
    hardware, _ = price(settings)
    out.message(f"about {60 * hours * hardware.usd_a_minute:.2f} USD if {hardware.name} is as fast as this machine")
    print_spec(job_spec(options_of, settings), settings)
    return None


def _print_forecast(planned: SweepPlan, *, table: bool) -> float:
    """Prints what would run, what is downloaded and how long it takes; returns the hours."""
    from hf_emms.run.sweep import sweep_costs

    costs, cells = sweep_costs(planned)
    rows = []
    for repo, count in cells.items():
        cost = costs[repo]
        seconds = None if cost.seconds is None else round(cost.seconds, 1)
        rows.append((repo.id, count, cost.bytes, seconds, cost.problem))
    if table:
        out.records(("checkpoint", "cells", "download_bytes", "seconds", "problem"), rows)
    hours = sum(cost.seconds or 0.0 for cost in costs.values()) / _HOUR
    download = sum(cost.bytes for cost in costs.values())
    out.message(
        f"{pluralize(len(planned.plans), 'dataset')}: {pluralize(planned.cells, 'cell')} to run, "
        f"{planned.done} there already; {format_bytes(download)} to download, about {hours:,.2f} hours here"
    )
    for name, reason in planned.failed.items():
        out.message(f"{name}: {reason}")
    return hours
