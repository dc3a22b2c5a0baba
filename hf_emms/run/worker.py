"""A worker process for code that may crash, hang or run out of memory: checkpoints, label encoders, fine-tuning.

The worker runs generator functions and sends their results and progress events to the main process. If it dies or
stalls, `Worker.run` raises `WorkerError`, and the next call starts a new process.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.formatting import format_duration
from hf_emms.ranking import Row
from hf_emms.ranking.progress import Progress
from hf_emms.texts import HintStyle, current_hint_style, hint_style, setting_ref

# Libraries that the fork server imports once, so that a new worker starts in a fraction of a second.
_PRELOADED = ("torch", "transformers", "hf_emms.run.worker")
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
# Seconds that a worker gets to start: on a busy machine the first one imports torch for a while.
_START_SECONDS = 600.0
# Seconds after the stall limit at which a worker ends itself, if the main process could not stop it.
_MARGIN_SECONDS = 60.0
# Set to 0, this variable runs everything in the main process.
ENABLED = "HF_EMMS_WORKER"
_SIGNALS = {
    "SIGKILL": "probably out of memory",
    "SIGSEGV": "a crash in compiled code",
    "SIGABRT": "a crash in compiled code",
    "SIGBUS": "a crash in compiled code",
    "SIGILL": "a crash in compiled code",
    "SIGFPE": "a crash in compiled code",
}

# A generator function that the worker runs: a function that sends an event, and the arguments → results.
Job = Callable[..., Iterator[Any]]
Emit = Callable[[Any], None]
# The name of a method of `Progress`, and its arguments.
Event = tuple[str, tuple[Any, ...]]


class WorkerError(EmmsError):
    """The worker died or stalled. The job is lost; the next call of `Worker.run` starts a new process."""


class Worker:
    """A process that runs jobs one after another, started with the first job.

    Args:
        stall_limit: Seconds without a progress event or result after which the worker is stopped.
    """

    def __init__(self, stall_limit: float = 120.0) -> None:
        self.stall_limit = stall_limit
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None if no process is running."""
        return self._process.pid if self._process is not None else None

    def run(self, job: Job, *arguments: Any, on_event: Emit = lambda event: None) -> Generator[Any, None, None]:
        """Yield the results of ``job(emit, *arguments)``, which runs in the worker; pass its events to `on_event`.

        Closing the generator early stops the worker.

        Raises:
            WorkerError: The worker died or stalled.
            EmmsError: The job raised it. Other exceptions of the job are raised with their traceback as a note.
        """
        connection = self._start()
        done = False
        try:
            request = (dict(os.environ), str(Path.cwd()), current_hint_style(), self.stall_limit, job, arguments)
            try:
                connection.send(request)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise EmmsError(
                    "cannot-be-sent",
                    f"this cannot be sent to the process that computes: {error}",
                    "use named functions and not lambdas in a task, or set HF_EMMS_WORKER=0",
                ) from error
            for kind, content in self._messages(connection):
                if kind == "result":
                    yield content
                elif kind == "event":
                    on_event(content)
                elif kind == "error":
                    done = True
                    raise content
                else:
                    done = True
                    return
        finally:
            if not done:
                self.close()

    def close(self) -> None:
        """Stop the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _start(self) -> Connection:
        if self._process is not None and self._connection is not None and self._process.is_alive():
            return self._connection
        self.close()
        preload_libraries()
        context: Any = multiprocessing.get_context(_METHOD)
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), name="hf-emms worker", daemon=True)
        with _without_main_module():
            process.start()
        theirs.close()
        self._process, self._connection = process, ours
        return ours

    def _messages(self, connection: Connection) -> Iterator[tuple[str, Any]]:
        """Yield the messages of the current job."""
        limit, last = _START_SECONDS, time.monotonic()
        process = self._process
        assert process is not None
        while True:
            if not wait([connection, process.sentinel], max(0.0, last + limit - time.monotonic())):
                raise WorkerError(
                    "worker-stalled",
                    f"stopped: no progress for {format_duration(limit)}",
                    "raise " + setting_ref("stall_limit", ...) + " if it is only slow, or leave the checkpoint out",
                )
            try:
                kind, content = connection.recv()
            except (EOFError, ConnectionResetError):
                process.join()
                raise WorkerError("worker-died", _reason(process.exitcode)) from None
            limit, last = self.stall_limit, time.monotonic()
            if kind != "started":
                yield kind, content


def runs_in_worker() -> bool:
    """Return whether checkpoints run in the worker process; not with ``--debug``, nor inside of the worker itself."""
    return os.environ.get(ENABLED) != "0" and multiprocessing.parent_process() is None


# Workers of this process that are not in use: they stay alive, since starting one takes time.
_idle: list[Worker] = []


def run_in_worker(stall_limit: float, job: Job, *arguments: Any, on_event: Emit) -> Generator[Any, None, None]:
    """Yield the results of a job from a worker that no other thread uses meanwhile.

    If checkpoints do not run in the worker (see `runs_in_worker`), the job runs in this process.
    """
    if not runs_in_worker():
        yield from job(on_event, *arguments)
        return
    worker = _idle.pop() if _idle else Worker()
    worker.stall_limit = stall_limit
    try:
        yield from worker.run(job, *arguments, on_event=on_event)
    finally:
        _idle.append(worker)


class EmittingProgress(Progress):
    """A `Progress` that emits its events: the name of a method, and the arguments."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def started(self, checkpoint: str, inputs: int) -> None:
        self._emit(("started", (checkpoint, inputs)))

    def advanced(self, checkpoint: str, inputs: int) -> None:
        self._emit(("advanced", (checkpoint, inputs)))

    def finished(self, row: Row) -> None:
        self._emit(("finished", (row,)))

    def noted(self, message: str) -> None:
        self._emit(("noted", (message,)))


def preload_libraries() -> None:
    """Start to import libraries in another process, so that the first worker starts sooner."""
    if runs_in_worker() and _METHOD == "forkserver":
        multiprocessing.get_context(_METHOD).set_forkserver_preload(list(_PRELOADED))
        forkserver.ensure_running()


def _reason(code: int | None) -> str:
    """Return why a process ended, from its exit code."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"the worker process was stopped by signal {-code} ({name}): {_SIGNALS.get(name, 'by another program')}"
    return f"the worker process ended with exit code {code}"


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep the worker from importing the user's script again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


# ---- inside the worker -----------------------------------------------------------------------------------------------


def _serve(connection: Connection) -> None:
    """Run jobs until the main process ends or closes the connection."""
    # Ctrl-C reaches all processes of a terminal. The main process stops the worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # Linux: if memory runs out, the kernel stops this process and not the main process
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sender = _Sender(connection)
    while True:
        faulthandler.cancel_dump_traceback_later()  # an idle worker waits as long as it takes
        try:
            environment, folder, style, stall_limit, job, arguments = connection.recv()
        except EOFError:
            os._exit(0)
        os.environ.clear()
        os.environ.update(environment)
        with suppress(OSError):
            os.chdir(folder)
        sender.start(stall_limit)
        _run(sender, style, job, arguments)


def _run(sender: _Sender, style: HintStyle, job: Job, arguments: tuple[Any, ...]) -> None:
    try:
        with hint_style(style):
            for result in job(sender.emit, *arguments):
                sender.send("result", result)
    except Exception as error:  # noqa: BLE001 (the main process raises it again)
        if not isinstance(error, EmmsError):
            error.add_note("".join(traceback.format_exception(error)))
        sender.send("error", error)
    else:
        sender.send("end", None)


def _end_with_parent() -> None:
    """End this process when the main process ends, even if it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


class _Sender:
    """The messages of a job to the main process."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock, self._stall_limit = connection, threading.Lock(), 0.0
        self._nowhere = Path(os.devnull).open("w")  # noqa: SIM115 (open as long as the process runs)

    def start(self, stall_limit: float) -> None:
        self._stall_limit = stall_limit
        self.send("started", None)

    def emit(self, event: Any) -> None:
        self.send("event", event)

    def send(self, kind: str, content: Any) -> None:
        with self._lock:
            # Ends this process even while compiled code keeps the interpreter's lock and the main process is gone.
            faulthandler.dump_traceback_later(self._stall_limit + _MARGIN_SECONDS, exit=True, file=self._nowhere)
            self._connection.send((kind, content))
