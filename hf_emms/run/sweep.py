"""Checkpoints × datasets: each checkpoint is loaded once for all datasets, and only cells without a result run."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec
import numpy as np

from hf_emms.errors import EmmsError, one_line
from hf_emms.features.extractor_pool import ExtractorPool
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo
from hf_emms.options import DEFAULT_RESULTS, Options
from hf_emms.publish.destinations import Destination, ResultsDataset, ResultsFolder
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.progress import Progress, Silent
from hf_emms.run import ranking_job
from hf_emms.run.engines.base import Work
from hf_emms.run.plan import Plan, engine_for, open_cache
from hf_emms.run.rank import embed_with, label_table, ranking_of, store_row, with_facts
from hf_emms.run.ranking_job import JobSettings
from hf_emms.run.sweep_plan import SweepPlan, job_spec, plan_sweep, requests
from hf_emms.scoring.labels import LabelTable

if TYPE_CHECKING:
    from os import PathLike

    from hf_emms.run.sweep_plan import SweptDatasets


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        rankings: dataset → its ranking, with the checkpoints that were ranked before under the same settings.
        failed: dataset → why it has no ranking, or no new rows, in one line.
    """

    rankings: dict[str, Ranking]
    failed: dict[str, str]

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and lines: a checkpoint's rank on every dataset; = shared, "failed", or nothing.

        Those that are among the best on most datasets come first, then by their mean share of checkpoints above them.
        """
        rows = {name: {row.checkpoint: row for row in ranking.rows} for name, ranking in self.rankings.items()}
        checkpoints = dict.fromkeys(row.checkpoint for ranking in self.rankings.values() for row in ranking.rows)

        def order(checkpoint: str) -> tuple[int, float]:
            found = [(of[checkpoint], len(of)) for of in rows.values() if checkpoint in of]
            ranks = [(row.rank, count) for row, count in found if row.rank is not None]
            shares = [(rank - 1) / count for rank, count in ranks]
            return -sum(rank == 1 for rank, _ in ranks), sum(shares) / len(shares) if shares else 1.0

        lines = [
            (checkpoint, *(_rank_text(of.get(checkpoint)) for of in rows.values()))
            for checkpoint in sorted(checkpoints, key=order)
        ]
        return ("checkpoint", *rows), lines


def _rank_text(row: Row | None) -> str:
    if row is None:
        return ""
    return "failed" if row.rank is None else f"{row.rank}{'=' if row.tied else ''}"


def sweep(
    datasets: SweptDatasets,
    checkpoints: str | Iterable[str] | None = None,
    *,
    output: str | PathLike[str] = DEFAULT_RESULTS,
    results_repo: str | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    job: JobSettings | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Sweep:
    """Ranks checkpoints on many datasets. A checkpoint is loaded once; what has a result already does not run.

    Each row is stored as soon as it is finished, so that a killed sweep continues where it was. A checkpoint that fails
    on a dataset is a failed row of it; it runs again in the next sweep. A row is outdated when the checkpoint has a new
    revision; all rows of a dataset are when that has one.

    Args:
        datasets: names, or dictionaries of a ``dataset`` and settings of its own; or a plan, a YAML file with
            ``datasets`` and settings for all of them.
        checkpoints: as for `rank`; by default each dataset's or task's list.
        output: a folder for the rankings, one JSON file each.
        results_repo: "ORG/emms-results": a results dataset in place of the folder.
        engine: "local", "ray" (a checkpoint is a task) or "jobs" (the sweep as one Hugging Face Job).
        ray_address: as for `rank`.
        job: hardware of the job; its results dataset is that of the sweep.
        progress: receives events; the name of a cell is "CHECKPOINT on DATASET".
        settings: other arguments of `rank`, for all datasets; not `race` and those of fine-tuning.

    Raises:
        EmmsError: an argument or every dataset is not usable, or results cannot be stored.
    """
    progress = progress or Silent()
    given = {name: value for name, value in {"checkpoints": checkpoints, **settings}.items() if value is not None}
    wanted = requests(datasets, given | {"engine": engine, "ray_address": ray_address})
    if engine == "jobs":
        if job is None:
            raise EmmsError("engine='jobs' needs to know where results go", "job=JobSettings('ORG/emms-results')")
        started = ranking_job.start(job_spec(wanted, job), job)
        return of_job(ranking_job.follow(started, progress.noted), wanted)
    results = destination(output, results_repo, progress)
    return run_sweep(plan_sweep(wanted, results, progress), results, progress)


def destination(output: str | PathLike[str], results_repo: str | None, progress: Progress) -> Destination:
    """The results dataset, or without one the folder.

    Raises:
        EmmsError: no rights to the dataset.
    """
    return ResultsDataset(results_repo, progress.noted) if results_repo is not None else ResultsFolder(Path(output))


def of_job(rankings: Iterable[Ranking], wanted: Mapping[str, Options]) -> Sweep:
    """The sweep of a job, from the rankings that it published and what it was asked for."""
    found = {}
    for one in rankings:
        names = [
            name
            for name, options in wanted.items()
            if options.dataset == one.dataset
            and options.config in (None, one.config)
            and options.split in (None, one.split)
        ]
        found[max(names, key=len, default=one.dataset)] = one
    return Sweep(found, {})


class SweepEngine(Protocol):
    """An engine that runs the checkpoints of several samples, see `engines.local.LocalEngine.cells`."""

    def cells(self, works: Sequence[Work]) -> Generator[tuple[int, Row], None, None]: ...


class _OfDataset(Silent):
    """The progress of one dataset's cells, which are named after both."""

    def __init__(self, progress: Progress, dataset: str) -> None:
        self._progress = progress
        self._dataset = dataset

    def started(self, checkpoint: str, inputs: int) -> None:
        self._progress.started(self._name(checkpoint), inputs)

    def advanced(self, checkpoint: str, inputs: int) -> None:
        self._progress.advanced(self._name(checkpoint), inputs)

    def finished(self, row: Row) -> None:
        self._progress.finished(msgspec.structs.replace(row, checkpoint=self._name(row.checkpoint)))

    def noted(self, message: str) -> None:
        self._progress.noted(f"{self._dataset}: {message}")

    def _name(self, checkpoint: str) -> str:
        return f"{checkpoint} on {self._dataset}"


def run_sweep(planned: SweepPlan, results: Destination, progress: Progress) -> Sweep:
    """Runs what a sweep lacks; every finished row is stored before the next cell starts.

    Raises:
        EmmsError: the engine cannot start, or results cannot be stored.
    """
    rankings, failed = dict(planned.known), dict(planned.failed)
    needed = {name: one for name, one in planned.plans.items() if planned.missing[name] or planned.finished[name]}
    labels = _label_tables(needed, failed, progress)
    works: dict[str, Work] = {}
    for name, table in labels.items():
        options, sample = needed[name].options, needed[name].sample
        own = _OfDataset(progress, name)
        works[name] = Work(planned.missing[name], sample, _constant(table), options, open_cache(options, own), own)

    def add(name: str, row: Row) -> None:
        repo = next((one.repo for one in needed[name].candidates if one.id == row.checkpoint), None)
        described = with_facts(row, repo.facts if repo is not None else None)
        rankings[name] = results.add(ranking_of(needed[name], labels[name], [described]))

    try:
        for name in works:
            for row in planned.finished[name]:
                add(name, row)
        running = [name for name in works if planned.missing[name]]
        if running:
            engine = cast(SweepEngine, engine_for(needed[running[0]].options))
            with closing(engine.cells([works[name] for name in running])) as cells:
                for place, row in cells:
                    name = running[place]
                    store_row(row, planned.missing[name][row.checkpoint], needed[name], works[name].cache)
                    add(name, row)
    finally:
        results.flush()
    return Sweep({name: rankings[name] for name in planned.plans if name in rankings}, failed)


def _constant(table: LabelTable) -> Callable[[], LabelTable]:
    return lambda: table


def _label_tables(plans: Mapping[str, Plan], failed: dict[str, str], progress: Progress) -> dict[str, LabelTable]:
    """The F-labels of each dataset; an encoder is loaded once for all. Datasets without them are added to `failed`."""
    embedded: dict[tuple[str, Repo], np.ndarray] = {}
    for encoder in dict.fromkeys(encoder for one in plans.values() for encoder in one.encoders):
        with closing(ExtractorPool()) as pool:
            for name, one in plans.items():
                if encoder not in one.encoders or name in failed:
                    continue
                own = _OfDataset(progress, name)
                try:
                    embedded[name, encoder] = embed_with(encoder, one, open_cache(one.options, own), own, pool)
                except EmmsError as error:
                    failed[name] = one_line(error)
                    progress.noted(f"{name}: {failed[name]}")
    return {
        name: label_table(one, [embedded[name, encoder] for encoder in one.encoders])
        for name, one in plans.items()
        if name not in failed
    }


def summary(found: Sweep, planned: SweepPlan) -> str:
    """What a sweep did, in one sentence."""
    bad = sum(row.error is not None for one in found.rankings.values() for row in one.rows)
    parts = [
        f"{pluralize(planned.cells, 'cell')} run",
        f"{planned.done} there already",
        *([f"{bad} failed"] if bad else []),
        *([f"{pluralize(len(found.failed), 'dataset')} not usable"] if found.failed else []),
    ]
    return f"{pluralize(len(found.rankings), 'dataset')}: {', '.join(parts)}"
