"""Run engines and fine-tuning in the worker process: a crash or a hang costs one row, or one run."""

from __future__ import annotations

import pickle
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hf_emms.cache import Cache
from hf_emms.finetune.fine_tune import FineTuning, TrainOnce
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.finetune.splits import Splits
from hf_emms.options import RunOptions
from hf_emms.ranking import Row, TrainingRun
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.run.engines import Engine, EngineInput
from hf_emms.run.worker import Emit, Worker, WorkerError, borrowed_worker
from hf_emms.scoring.labels import LabelTable

# Place of the input, name of the method of `Progress`, and its arguments.
Event = tuple[int, str, tuple[Any, ...]]


class WorkerEngine:
    """An engine that runs another engine in the worker process.

    If the process ends or stalls, the checkpoint that was running becomes a failed row. A new process continues.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def rows(self, inputs: Sequence[EngineInput]) -> Generator[tuple[int, Row], None, None]:
        """Yield the rows of checkpoints, see `Engine.rows`."""
        waiting = {(place, name) for place, each in enumerate(inputs) for name in each.checkpoints}
        if not waiting:
            return
        labels = [each.labels() for each in inputs]
        limit = inputs[0].running.stall_limit
        with borrowed_worker(limit) as worker, closing(_Running(inputs)) as running:
            yield from self._rows(inputs, labels, waiting, worker, running)

    def _rows(
        self,
        inputs: Sequence[EngineInput],
        labels: Sequence[LabelTable],
        waiting: set[tuple[int, str]],
        worker: Worker,
        running: _Running,
    ) -> Generator[tuple[int, Row], None, None]:
        while waiting:
            left = [
                replace(
                    each,
                    checkpoints={name: spec for name, spec in each.checkpoints.items() if (place, name) in waiting},
                    labels=partial(_the_labels, labels[place]),
                    cache=Cache(each.cache.root),
                    progress=Progress(),
                )
                for place, each in enumerate(inputs)
            ]
            try:
                for place, row in worker.run(run_engine, self._engine, left, on_event=running.receive):
                    waiting.discard((place, row.checkpoint))
                    yield place, row
                return
            except WorkerError as error:
                if running.current is None:
                    raise
                place, name = running.current
                row = Row(name, inputs[place].checkpoints[name].repo.revision, error=str(error.problem))
                waiting.discard((place, name))
                running.receive((place, "finished", (row,)))
                yield place, row


class _Running:
    """Passes events on to the receivers of the inputs, and remembers the checkpoint that is running."""

    def __init__(self, inputs: Sequence[EngineInput]) -> None:
        self._inputs = inputs
        self._working = ExitStack()
        self.current: tuple[int, str] | None = None

    def receive(self, event: Event) -> None:
        place, name, values = event
        progress = self._inputs[place].progress
        if name == "finished":
            self.close()
        getattr(progress, name)(*values)
        if name == "started":
            self.current = place, values[0]
            self._working.enter_context(noted_while(progress, values[0]))

    def close(self) -> None:
        """End the reports about the checkpoint that was running."""
        self.current = None
        self._working.close()


def run_engine(emit: Emit, engine: Engine, inputs: Sequence[EngineInput]) -> Iterator[tuple[int, Row]]:
    """Yield the rows of an engine, and emit the events of its inputs; a job for `Worker.run`."""
    sending = [replace(each, progress=_Sending(emit, place)) for place, each in enumerate(inputs)]
    yield from engine.rows(sending)


class _Sending(Progress):
    """A `Progress` whose events are emitted with the place of an input."""

    def __init__(self, emit: Emit, place: int = 0) -> None:
        self._emit, self._place = emit, place

    def started(self, checkpoint: str, inputs: int) -> None:
        self._emit((self._place, "started", (checkpoint, inputs)))

    def advanced(self, checkpoint: str, inputs: int) -> None:
        self._emit((self._place, "advanced", (checkpoint, inputs)))

    def finished(self, row: Row) -> None:
        self._emit((self._place, "finished", (row,)))

    def noted(self, message: str) -> None:
        self._emit((self._place, "noted", (message,)))


def _the_labels(labels: LabelTable) -> LabelTable:
    return labels


# ---- fine-tuning -----------------------------------------------------------------------------------------------------


@contextmanager
def training_in_worker(splits: Splits) -> Iterator[TrainOnce]:
    """Yield a function that trains a run in the worker process, on the same splits for all runs."""
    with TemporaryDirectory(prefix="hf-emms-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "splits")
        path.write_bytes(pickle.dumps(splits))
        yield partial(_train_once, path)


def _train_once(splits: Path, work: FineTuning, job: TrainingJob, folder: Path) -> TrainingRun:
    def receive(event: Event) -> None:
        _, name, values = event
        getattr(work.progress, name)(*values)

    options, models = work.options, work.models_of(job)
    with borrowed_worker(options.stall_limit) as worker:
        arguments = (job, splits, options.running, folder, models, work.deadline)
        try:
            (run,) = worker.run(train_job, *arguments, on_event=receive)
        except WorkerError as error:
            return TrainingRun(job.learning_rate, job.seed, error=str(error.problem))
    return run


def train_job(
    emit: Emit,
    job: TrainingJob,
    splits: Path,
    options: RunOptions,
    folder: Path,
    models: Path | None,
    deadline: float | None,
) -> Iterator[TrainingRun]:
    """Yield the result of a run; a job for `Worker.run`."""
    from hf_emms.finetune.training import run_job

    yield run_job(
        job,
        _splits(splits),
        options,
        folder,
        models=models,
        deadline=deadline,
        progress=_Sending(emit),
    )


@lru_cache(maxsize=1)
def _splits(path: Path) -> Splits:
    """Return the splits of a file, whose images are decoded once for all runs of this process."""
    splits: Splits = pickle.loads(path.read_bytes())
    return splits.with_images_in_memory()
