"""Run checkpoints one after the other in the worker process, while the next weights are downloaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from multiprocessing import TimeoutError as WaitTimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool

from hf_emms.cache import Cache
from hf_emms.errors import checkpoint_errors
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.hub import CANCELLED
from hf_emms.inputs.image import PixelCache, with_pixel_cache
from hf_emms.ranking import Row
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.run.extraction import EngineInput, prefetch_weights
from hf_emms.run.plan import or_failed_row
from hf_emms.run.rows import run_checkpoint
from hf_emms.run.worker import Emit, EmittingProgress, Event, WorkerError, run_in_worker

# Checkpoints that may be downloaded before they are needed: a slow download delays none, and an interrupted run leaves
# few unused files.
AHEAD = 2
# Seconds between two reports that a download is still running.
_WAIT_SECONDS = 5.0


def run_checkpoints(inputs: EngineInput) -> Generator[Row, None, None]:
    """Yield a row for each checkpoint, without a rank, as soon as it is finished.

    The caller stores a row before it asks for the next. A checkpoint that cannot be loaded, run or scored produces a
    row with an error, and so does a checkpoint that ends its process or stalls. Closing the generator ends all work.
    """
    waiting, running = dict(inputs.checkpoints), _Running(inputs.progress)
    with running:
        while waiting:
            left = replace(inputs, checkpoints=dict(waiting), cache=Cache(inputs.cache.root), progress=Progress())
            limit = inputs.running.stall_limit
            try:
                with closing(run_in_worker(limit, checkpoint_rows, left, on_event=running.receive)) as rows:
                    for row in rows:
                        waiting.pop(row.checkpoint)
                        yield row
            except WorkerError as error:
                name = running.current
                if name is None:  # two workers in a row ended before a checkpoint
                    raise
                if running.finished is None:
                    failed = Row(name, inputs.checkpoints[name].repo.revision, error=error.message)
                    running.receive(("finished", (failed,)))
                if waiting.pop(name, None) is not None and running.finished is not None:
                    yield running.finished
                running.current = None


class _Running(ExitStack):
    """Pass events on to a receiver, and remember the checkpoint that started last, and its row."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self.current: str | None = None
        self.finished: Row | None = None

    def receive(self, event: Event) -> None:
        name, values = event
        if name == "finished":
            (self.finished,) = values
            self.close()  # ends the reports about the checkpoint
        getattr(self._progress, name)(*values)
        if name == "started":
            self.current, self.finished = values[0], None
            self.enter_context(noted_while(self._progress, values[0]))


# ---- in the worker ---------------------------------------------------------------------------------------------------


def checkpoint_rows(emit: Emit, inputs: EngineInput) -> Iterator[Row]:
    """Yield the rows of checkpoints, and emit their events; a job for the worker."""
    progress = EmittingProgress(emit)
    inputs = replace(inputs, cache=Cache(inputs.cache.root, progress.noted), progress=progress)
    if len(inputs.checkpoints) > 1:  # images are decoded and resized once for checkpoints with the same processor
        images = with_pixel_cache(inputs.sample.inputs, PixelCache())
        inputs = replace(inputs, sample=replace(inputs.sample, inputs=images))
    with Prefetch(inputs, prefetch_weights) as prefetch:
        for name, spec in inputs.checkpoints.items():
            progress.started(name, len(inputs.sample.inputs))
            row = or_failed_row(name, spec.repo.revision, partial(_row, name, spec, inputs, prefetch))
            progress.finished(row)
            yield row


def _row(name: str, spec: FeatureSpec, inputs: EngineInput, prefetch: Prefetch) -> Row:
    prefetch.wait_for(name)
    return run_checkpoint(name, spec, inputs)


class Prefetch:
    """A thread that downloads the weights of checkpoints in order, at most `AHEAD` before the one in use."""

    def __init__(self, inputs: EngineInput, download: Callable[[FeatureSpec, EngineInput], object]) -> None:
        self._inputs, self._download = inputs, download
        self._waiting = [name for name, spec in inputs.checkpoints.items() if spec.repo.folder is None]
        self._running: dict[str, AsyncResult[None]] = {}
        self._over = threading.Event()
        # Its thread is a daemon, which does not keep the program from ending.
        self._pool = ThreadPool(1, CANCELLED.set, (self._over,))

    def __enter__(self) -> Prefetch:
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._pool.terminate()

    def wait_for(self, name: str) -> None:
        """Wait until a checkpoint is downloaded, and start the next download. Raises the error of its download."""
        result = self._running.pop(name, None)
        if result is None:
            return None
        self._start()
        while True:
            try:
                return result.get(_WAIT_SECONDS)
            except WaitTimeoutError:
                self._inputs.progress.advanced(name, 0)  # a slow download is no stall

    def _start(self) -> None:
        while self._waiting and len(self._running) < AHEAD:
            name = self._waiting.pop(0)
            self._running[name] = self._pool.apply_async(self._fetch, (name,))

    def _fetch(self, name: str) -> None:
        with checkpoint_errors():  # the thread would end at a panic of safetensors, and `wait_for` would not
            self._download(self._inputs.checkpoints[name], self._inputs)
