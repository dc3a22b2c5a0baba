"""Rank checkpoints on many datasets, one dataset after the other."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from hf_emms.cache.files import decoded, locked, read_limited, write_atomic
from hf_emms.errors import EmmsError, check_type, one_line
from hf_emms.options import SETTINGS, Options, RunOptions
from hf_emms.options.calls import checked_call
from hf_emms.ranking import Ranking
from hf_emms.ranking.columns import format_rank
from hf_emms.ranking.merge import merged, path_of
from hf_emms.ranking.progress import Progress
from hf_emms.ranking.progress_bars import reporting
from hf_emms.run.execute import execute_plan
from hf_emms.run.executors import executor_of
from hf_emms.run.plan import make_plan
from hf_emms.run.ranking_job import JobSettings, run_jobs, sweep_specs
from hf_emms.run.units import Executor, Units, collect, submit


@dataclass(frozen=True)
class Sweep:
    """The rankings of a sweep.

    Attributes:
        rankings: Dataset → its ranking.
        failed: Dataset → the reason for a missing ranking or file, on one line.
        files: Dataset → the file of its ranking.
    """

    rankings: dict[str, Ranking]
    failed: dict[str, str]
    files: dict[str, Path] = field(default_factory=dict)

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return a header and the rank of each checkpoint on each dataset: "=2" if shared, "failed", or empty.

        Checkpoints are ordered by the number of datasets on which they are first.
        """
        ranks = [
            {row.checkpoint: "failed" if row.rank is None else format_rank(row) for row in ranking.rows}
            for ranking in self.rankings.values()
        ]
        lines = [
            (checkpoint, *(of_dataset.get(checkpoint, "") for of_dataset in ranks))
            for checkpoint in dict.fromkeys(checkpoint for of_dataset in ranks for checkpoint in of_dataset)
        ]
        lines.sort(key=lambda line: -sum(rank in ("1", "=1") for rank in line))
        return ("checkpoint", *self.rankings), lines


@checked_call
def sweep(
    datasets: str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Mapping[str, Any]],
    checkpoints: str | Iterable[str] | None = None,
    *,
    output: str | os.PathLike[str] = "emms-results",
    engine: Literal["local", "ray"] = "local",
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    **settings: Any,
) -> Sweep:
    """Rank checkpoints on many datasets, one dataset after the other.

    Each ranking is stored before the next dataset starts, and merged with an earlier ranking of the same dataset and
    settings. A stopped sweep continues with the rows in the cache.

    Args:
        datasets: Names, or dictionaries of a ``dataset`` and its settings. Or a YAML file with ``datasets`` and shared
            settings.
        checkpoints: See `rank`. By default the list of each dataset or task.
        output: A folder with one JSON file per ranking.
        engine: See `rank`.
        executor: See `rank`. The units of all datasets are submitted at once.
        progress: See `rank`.
        settings: Other arguments of `rank` for all datasets, without fine-tuning.

    Raises:
        EmmsError: An argument is invalid.
    """
    check_type("datasets", datasets, str, os.PathLike, Iterable)
    options_of = sweep_options(datasets, settings if checkpoints is None else {**settings, "checkpoints": checkpoints})
    with reporting(progress) as receiver:
        return run_sweep(options_of, Path(output), receiver, engine, executor)


def sweep_options(datasets: Any, settings: Mapping[str, Any]) -> dict[str, Options]:
    """Return the options of each dataset by its name in the sweep, which includes its config and split.

    `settings` override the shared settings of a file, but not the settings of a dataset.
    """
    if isinstance(datasets, str | os.PathLike):
        try:
            content = yaml.safe_load(decoded(read_limited(Path(datasets))))
            datasets, settings = content.pop("datasets"), {**content, **settings}
        except (OSError, ValueError, yaml.YAMLError, RecursionError, AttributeError, KeyError, TypeError) as error:
            hint = "write a list `datasets`, and settings: see docs/sweep.md"
            raise EmmsError(
                "cannot-read", f"the sweep file {datasets} cannot be read: {one_line(error)}", hint
            ) from error
    options_of: dict[str, Options] = {}
    for entry in [datasets] if isinstance(datasets, str) else datasets:
        of_dataset = dict(entry) if isinstance(entry, Mapping) else {"dataset": entry}
        if not isinstance(of_dataset.get("dataset"), str | os.PathLike):
            raise EmmsError(
                "malformed-sweep", f"a dataset of the sweep has no name: {of_dataset!r:.200}", "- dataset: NAME"
            )
        options = _options({**settings, **of_dataset})
        sample = options.sample
        options_of[" ".join(filter(None, (str(sample.dataset), sample.config, sample.split)))] = options
    return options_of


def _options(settings: Mapping[str, Any]) -> Options:
    for name in settings:
        if name in SETTINGS and SETTINGS[name].group == "Confirm":
            raise EmmsError(
                "unknown-argument", f"{name} is not a setting of a sweep", "use it with hf-emms rank, for one dataset"
            )
    return Options.of(**{str(name): value for name, value in settings.items()})


def run_sweep(
    options_of: Mapping[str, Options],
    folder: Path,
    progress: Progress,
    engine: str = "local",
    executor: Executor | None = None,
) -> Sweep:
    """Rank each dataset and store its ranking. A dataset that cannot be used does not stop the others.

    On an executor, the units of all datasets are submitted before the first ranking is complete.
    """
    made, units = Sweep({}, {}), dict[str, Units]()
    running = next((options.running for options in options_of.values()), RunOptions())
    with executor_of(running, engine, executor, in_memory=False) as chosen, ExitStack() as stack:
        for place, (name, options) in enumerate(options_of.items(), 1):
            progress.noted(f"dataset {place} of {len(options_of)}: {name}")
            # The first part does not get the largest checkpoint of every dataset.
            number, count = options.running.share
            part = f"{(number + place - 2) % count + 1}/{count}" if options.running.part else None
            with _recorded(name, made, progress):
                plan = make_plan(options.replaced(part=part), progress)
                if chosen is None:
                    _store(made, name, execute_plan(plan), folder, options.running)
                else:
                    units[name] = submit(plan, chosen)
                    stack.callback(units[name].cancel)
        for name in units:
            progress.noted(f"waiting for {name}")
            with _recorded(name, made, progress):
                _store(made, name, collect(units[name], progress), folder, running)
    return made


def sweep_as_jobs(options_of: Mapping[str, Options], folder: Path, settings: JobSettings, progress: Progress) -> Sweep:
    """Run the parts of a sweep as Hugging Face Jobs, and store their rankings."""
    published, failed = run_jobs(sweep_specs(options_of, settings), settings, progress)
    made = Sweep({}, {f"job {id}": one_line(error) for id, error in failed.items()})
    for ranking in published:
        name = " ".join(filter(None, (ranking.dataset, ranking.config, ranking.split)))
        with _recorded(name, made, progress):
            _store(made, name, ranking, folder, RunOptions())
    return made


@contextmanager
def _recorded(name: str, made: Sweep, progress: Progress) -> Iterator[None]:
    """Record the error of a dataset instead of raising it."""
    try:
        yield
    except (EmmsError, OSError) as error:
        progress.noted(f"{name}: {one_line(error)}")
        if not (isinstance(error, EmmsError) and error.code == "empty-part"):
            made.failed[name] = one_line(error)


def _store(made: Sweep, name: str, ranking: Ranking, folder: Path, options: RunOptions) -> None:
    """Add a ranking to a sweep, and merge it with its file in a folder. Other sweeps into the folder wait meanwhile."""
    made.rankings[name] = ranking  # also if it cannot be saved
    file = folder / f"{path_of(ranking)}{options.part_suffix}.json"
    with locked(folder / ".lock") if options.part is None else nullcontext():  # a part has its own file
        earlier = Ranking.load(file) if file.exists() else None
        write_atomic(file, merged(earlier, ranking).to_json())
    made.files[name] = file
