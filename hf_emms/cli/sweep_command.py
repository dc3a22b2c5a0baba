"""hf-emms sweep: many checkpoints on many datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import cloup

from hf_emms.cli.option_flags import checkpoints_file_option, sweep_flags, typed_settings
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
    cloup.option("--datasets", metavar="NAME,NAME", help="Datasets, instead of a file."),
    checkpoints_file_option,
    results_folder_option("Folder of the rankings."),
    format_option(LIST_FORMATS),
)
@cloup.option_group("Settings of all datasets", *sweep_flags())
def sweep(file: str | None, datasets: str | None, folder: Path, **parameters: Any) -> None:
    """Rank checkpoints on many datasets, one dataset after the other.

    Stores each ranking in the folder. A stopped sweep continues with the rows in the cache. Prints one line of ranks
    per checkpoint.
    """
    from hf_emms.ranking.progress_bars import StderrProgress
    from hf_emms.run.sweep import run_sweep, sweep_options

    if (file is None) == (datasets is None):
        raise click.UsageError("Name either a file or --datasets: hf-emms sweep FILE.yaml")
    names = file or [name for name in (datasets or "").split(",") if name]
    options_of = sweep_options(names, typed_settings(parameters))
    with StderrProgress() as progress, stdout_for_data_only():
        result = run_sweep(options_of, folder, progress)
    out.records(*result.table())
    out.message(f"Results: {folder}")
    for name, reason in result.failed.items():
        out.message(f"{name}: {reason}")
    if result.failed:
        raise EmmsError(
            "datasets-failed", f"{pluralize(len(result.failed), 'dataset')} could not be used", "the reasons are above"
        )
