"""hf-emms sweep: many checkpoints on many datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import cloup

from hf_emms.cli.hub_writes import ask_before_work, yes_option
from hf_emms.cli.option_flags import JOB_FLAGS, checkpoints_file_option, job_settings, sweep_flags, typed_settings
from hf_emms.cli.output import (
    LIST_FORMATS,
    format_option,
    out,
    results_folder_option,
    stdout_for_data_only,
)
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize


@cloup.command(short_help="Rank checkpoints on many datasets.")
@cloup.argument("file", required=False, metavar="[FILE.yaml]", help="Datasets and their settings.")
@cloup.option_group(
    "Sweep",
    cloup.option("--datasets", metavar="NAME,NAME", help="Datasets, instead of a file, or the file's list as JSON."),
    checkpoints_file_option,
    results_folder_option("Folder of the rankings."),
    cloup.option(
        "--results-repo",
        metavar="ORG/emms-results",
        help="Also publish the rankings in this dataset, in one commit; required for jobs.",
    ),
    format_option(LIST_FORMATS),
    yes_option(),
)
@cloup.option_group("Where", *JOB_FLAGS)
@cloup.option_group("Settings of all datasets", *sweep_flags())
def sweep(
    file: str | None, datasets: str | None, folder: Path, results_repo: str | None, yes: bool, **parameters: Any
) -> None:
    """Rank checkpoints on many datasets, one dataset after the other.

    Stores each ranking in the folder. A stopped sweep continues with the rows in the cache. Prints one line of ranks
    per checkpoint.
    """
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.run.delivery import deliver
    from hf_emms.run.sweep import run_sweep, sweep_as_jobs, sweep_options

    if (file is None) == (datasets is None):
        raise click.UsageError("Name either a file or --datasets: hf-emms sweep FILE.yaml")
    listed = datasets or ""
    is_json = listed.startswith("[")
    names = file or (json.loads(listed) if is_json else [name for name in listed.split(",") if name])
    options_of, job = sweep_options(names, typed_settings(parameters)), job_settings(parameters, results_repo)
    ask_before_work(results_repo, on_hub=job is not None, yes=yes)
    with StderrProgress() as progress, stdout_for_data_only():
        if job is not None:
            result = sweep_as_jobs(options_of, folder, job, progress)
        else:
            result = run_sweep(options_of, folder, progress, parameters["engine"])
    errors = []
    if result.failed:
        failed = pluralize(len(result.failed), "dataset")
        errors = [EmmsError("datasets-failed", f"{failed} could not be ranked or saved", "the reasons are above")]

    def show() -> None:
        out.records(*result.table())
        out.message(f"Results: {folder}")
        for name, reason in result.failed.items():
            out.message(f"{name}: {reason}")

    deliver(
        result.rankings.values(),
        out.message,
        show=show,
        save=lambda: [*result.files.values()],
        results_repo=results_repo if job is None and result.rankings else None,
        errors=errors,
    )
