"""Read a dataset in a worker process with limits of memory and time, because a file can crash its reader."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar

from hf_emms.errors import EmmsError
from hf_emms.features.main_memory import free_main_memory
from hf_emms.formatting import format_bytes, parse_bytes
from hf_emms.options import RunOptions, SampleOptions
from hf_emms.run.worker import FOR_READING, Emit, WorkerError, run_in_worker, runs_in_worker
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    from hf_emms.data import DatasetSource

T = TypeVar("T")

# Share of the free memory that reading may use.
_SHARE = 0.5
# Seconds between two looks at the memory of the process that reads.
_LOOK_SECONDS = 0.02
# Seconds between two reports that reading advances.
_REPORT_SECONDS = 1.0


def read_dataset(
    read: Callable[..., T], options: SampleOptions, source: DatasetSource, running: RunOptions, **settings: Any
) -> tuple[T, float]:
    """Return the result of ``read(options, source, **settings)``, and its CPU seconds.

    Data in memory is read in this process. Everything else is read in a new worker process, which ends afterwards and
    returns its memory. Other programs on the machine do not change the CPU seconds.

    Raises:
        EmmsError: The process died, made no progress or exceeded `RunOptions.read_memory`; or `read` raised it.
    """
    if not isinstance(options.dataset, str) or not runs_in_worker():
        return _timed(read, options, source, **settings)
    limit = parse_bytes(running.read_memory) if running.read_memory else round(_SHARE * free_main_memory())
    started = time.time()
    try:
        with _MemoryLimit(limit) as memory:
            job = run_in_worker(
                running.stall_limit, _read_job, read, options, source, limit, settings, on_event=memory.receive,
                libraries=FOR_READING,
            )  # fmt: skip
            with closing(job) as results:  # closing it before its end stops the process
                result: tuple[T, float] = next(results)
            return result
    except EmmsError as error:
        from hf_emms.data.files.leftovers import remove_leftovers

        if isinstance(error, WorkerError) or error.code == "cannot-read-dataset":
            remove_leftovers(started)
        if isinstance(error, WorkerError):
            raise _unreadable(options.dataset, error, limit if memory.exceeded else None) from error
        raise


def _timed(read: Callable[..., T], options: SampleOptions, source: DatasetSource, **settings: Any) -> tuple[T, float]:
    import datasets  # noqa: F401 (its import is not a part of reading)

    started = time.process_time()
    return read(options, source, **settings), time.process_time() - started


def _unreadable(dataset: str, error: WorkerError, limit: int | None) -> EmmsError:
    """Return the error for a dataset whose reader ended; `limit` are the bytes that it exceeded."""
    smaller = setting_ref("streaming", True) + " reads only a part"
    if limit is not None:
        more = setting_ref("read_memory", format_bytes(2 * limit).replace(" ", ""))
        return EmmsError(
            "too-much-memory",
            f"{dataset!r} cannot be read: reading it took more than {format_bytes(limit)} of memory",
            more + " allows more, " + smaller + "; or split large cells and files",
        )
    if error.code == "worker-stalled":
        return EmmsError(
            error.code,
            f"{dataset!r} cannot be read: {error.message}",
            "raise " + setting_ref("stall_limit", ...) + " if it is only slow, or look for deeply nested values",
        )
    return EmmsError(
        error.code,
        f"{dataset!r} cannot be read: {error.message}",
        "look for damaged files and deeply nested values, or write its rows into a .parquet or .csv file",
    )


class _MemoryLimit:
    """Watch the memory of the process that reads, and stop the process if it exceeds the limit.

    Mapped files do not count. The system's own limits would count all that is reserved, and not every system has them.

    Attributes:
        exceeded: Whether the process was stopped.
    """

    def __init__(self, limit: int) -> None:
        self.exceeded = False
        self._limit, self._ended = limit, threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def receive(self, event: int | None) -> None:
        """Receive an event of `_read_job`: the id of its process, or None if reading advances."""
        if event is not None:
            self._thread = threading.Thread(target=self._watch, args=(event,), daemon=True)
            self._thread.start()

    def _watch(self, pid: int) -> None:
        import psutil

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            while not self._ended.wait(_LOOK_SECONDS):
                if _private_bytes(process) > self._limit:
                    self.exceeded = True
                    process.kill()
                    return


def _private_bytes(process: Any) -> int:
    memory = process.memory_info()
    return int(memory.rss) - int(getattr(memory, "shared", 0))


# ---- in the worker ---------------------------------------------------------------------------------------------------


def _read_job(
    emit: Emit,
    read: Callable[..., T],
    options: SampleOptions,
    source: DatasetSource,
    limit: int,
    settings: dict[str, Any],
) -> Iterator[tuple[T, float]]:
    """Yield the result of `read`, and emit the process id and then None as long as reading advances."""
    from tqdm.std import tqdm

    from hf_emms.data.files.limits import WATCH, ReadingProcess

    last, update = 0.0, tqdm.update

    def advanced() -> None:
        nonlocal last
        if time.monotonic() - last > _REPORT_SECONDS:
            last = time.monotonic()
            emit(None)

    def updated(bar: Any, n: float | None = 1) -> Any:
        advanced()
        return update(bar, n)

    emit(os.getpid())
    # Downloads and the readers of ``datasets`` report only to progress bars, also to hidden ones.
    tqdm.update = updated
    tqdm.set_lock(threading.RLock())  # a lock for several processes would leak when this one is stopped
    watch = WATCH.set(ReadingProcess(limit, advanced))
    try:
        yield _timed(read, options, source, **settings)
    finally:
        WATCH.reset(watch)
        tqdm.update = update
