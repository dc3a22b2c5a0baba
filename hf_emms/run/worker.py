"""A worker process for code that may crash, hang or run out of memory: checkpoints, label encoders, fine-tuning.

The worker runs generator functions and sends their results and progress events to the main process. If it dies or
stalls, `Worker.run` raises `WorkerError`, and the next call starts a new process.

**Processes.** The main process starts a *host* as a subprocess in a session of its own, so Ctrl-C in a terminal does
not reach it. The host imports the libraries of its jobs, forks a *worker*, and waits until the worker ends. Then it
forks another one on request, in a fraction of a second. Without `os.fork` (Windows), the host becomes the worker.

**Requests** are lines in the host's standard input. Each is shorter than a pipe's buffer, and the main process writes
the next one only after the previous one was answered. So it never blocks, even if the reader is stopped.

- ``fork``: the host forks a worker. The host ignores all other lines: they were meant for a worker that is dead.
- ``PATH``: the worker runs the job that is pickled in this file. Large arguments never cross the pipe.

**Messages** are pickled pairs (kind, content) with their length before them, in the host's standard output. A thread of
the main process reads them into a queue. It may block for ever: only the queue is waited for, with a time limit. Prints
of checkpoints do not reach this pipe, because the standard output of host and worker is their standard error.

- ``importing``: the host is alive (at most once per second).
- ``forked``: the process id of the new worker.
- ``died``: the exit code of the worker. The host has ended all processes that the worker started.
- ``started``, ``event``, ``result``, ``error``, ``end``: of a job, which is over after one of the last two.

**States** of a `Worker` in the main process::

    no host ──start──> host ──fork, forked──> worker ──PATH──> job ──error, end──> worker
       ^                ^                                       │
       │                └── died; or stalled, kill, died ───────┤
       └── the host ends, stalls or sends something else ───────┘

Every arrow downwards is a `WorkerError` with the reason. No wait for a message exceeds the stall limit (or 10 seconds
while the host starts), which counts only time in which the main process ran: a suspended machine costs nothing. If the
main process ends, host and worker read the end of their input or cannot send, and end their process groups. If a worker
cannot, because compiled code keeps the interpreter's lock, a timer does.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, NoReturn

from hf_emms.errors import EmmsError
from hf_emms.formatting import format_duration
from hf_emms.ranking import Row
from hf_emms.ranking.progress import Progress
from hf_emms.texts import current_hint_style, hint_style, setting_ref

# Libraries that a host imports once, so that a new worker starts in a fraction of a second.
FOR_MODELS, FOR_READING = ("torch", "transformers"), ("datasets", "hf_emms.data", "hf_emms.run.reading")
# Seconds between two looks whether the host is alive. A longer pause means that the main process did not run.
_TICK_SECONDS = 1.0
# Seconds without an import that a host gets at least until it has started: loading one library can take some.
_START_SECONDS = 10.0
# Seconds after the stall limit at which a worker ends itself, if the main process could not stop it.
_MARGIN_SECONDS = 60.0
# Set to 0, this variable runs everything in the process that reads it. Workers set it for their own children.
ENABLED = "HF_EMMS_WORKER"
# A folder in memory for the arguments of jobs, if the system has one.
_SHARED_MEMORY = "/dev/shm"
_REQUEST = "hf-emms-request-"
# Requests of containers that share the folder, whose processes are invisible here, are leftovers after this time.
_OLD_SECONDS = 3600.0
_KINDS = {"importing", "forked", "died", "started", "event", "result", "error", "end"}
_LENGTH = struct.Struct("<Q")
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
        libraries: Modules that the host imports before it forks.
    """

    def __init__(self, stall_limit: float = 120.0, libraries: tuple[str, ...] = FOR_MODELS) -> None:
        self.stall_limit, self.libraries = stall_limit, libraries
        self.pid: int | None = None  # of the worker, if one is running
        self._host: subprocess.Popen[bytes] | None = None
        self._messages: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def run(self, job: Job, *arguments: Any, on_event: Emit = lambda event: None) -> Generator[Any, None, None]:
        """Yield the results of ``job(emit, *arguments)``, which runs in the worker; pass its events to `on_event`.

        Closing the generator early stops the worker.

        Raises:
            WorkerError: The worker died or stalled.
            EmmsError: The job raised it. Other exceptions of the job are raised with their traceback as a note.
        """
        request = (dict(os.environ), sys.path, str(Path.cwd()), current_hint_style(), self.stall_limit, job, arguments)
        file = _pickled(request)
        done = False
        try:
            self._start()
            self._request(str(file))
            while True:
                kind, content = self._receive()
                if kind == "result":
                    yield content
                elif kind == "event":
                    on_event(content)
                elif kind in ("error", "end"):
                    done = True
                    if kind == "error":
                        raise content
                    return
        finally:
            file.unlink(missing_ok=True)
            if not done:
                self._stop()

    def start_host(self) -> None:
        """Start to import libraries in another process, so that the first worker starts sooner."""
        if self._host is not None and self._host.poll() is None:
            return
        self.close()
        _remove_old_requests()
        self._host = subprocess.Popen(
            host_command(self.libraries),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._messages = SimpleQueue()
        threading.Thread(target=_read, args=(self._host.stdout, self._messages), daemon=True).start()

    def close(self) -> None:
        """Stop all processes at once."""
        _kill_group(self.pid)
        if self._host is not None:
            _kill_group(self._host.pid)
            self._host.kill()
            self._host.wait()
            assert self._host.stdin is not None
            self._host.stdin.close()  # the thread that reads from the host closes the other end
        self._host = self.pid = None

    def _start(self) -> None:
        self.start_host()
        while self.pid is not None and not self._messages.empty():  # it may have died since the last job
            with suppress(WorkerError):
                self._receive()
        self.start_host()
        try:
            if self.pid is None:
                self._request("fork")
            while self.pid is None:
                self._receive(max(self.stall_limit, _START_SECONDS))
        except BaseException:
            self.close()
            raise

    def _stop(self) -> None:
        """Stop the worker, and keep the host if it is able to fork another one."""
        if self.pid is None:
            return
        _kill_group(self.pid)
        end = time.monotonic() + 2 * _TICK_SECONDS
        with suppress(WorkerError):
            while self.pid is not None and time.monotonic() < end and self._host is not None:
                self._receive(_TICK_SECONDS)
        if self.pid is not None:
            self.close()

    def _request(self, line: str) -> None:
        assert self._host is not None
        assert self._host.stdin is not None
        with suppress(OSError):  # the host is dead, which `_receive` reports
            self._host.stdin.write(f"{line}\n".encode())

    def _receive(self, limit: float | None = None) -> tuple[str, Any]:
        """Return the next message of the job.

        Raises:
            WorkerError: The worker or the host ended, stalled or sent something else.
        """
        assert self._host is not None
        left = limit = self.stall_limit if limit is None else limit
        while left > 0:
            before = time.monotonic()
            try:
                kind, content = self._messages.get(timeout=min(_TICK_SECONDS, left))
            except Empty:
                left -= min(time.monotonic() - before, 2 * _TICK_SECONDS)
                if self._host.poll() is None or not self._messages.empty():
                    continue
                kind, content = "closed", None
            if kind == "forked":
                self.pid = content
            elif kind == "died":
                self.pid = None
                raise WorkerError("worker-died", _reason(content))
            elif kind not in _KINDS:
                with suppress(subprocess.TimeoutExpired):
                    self._host.wait(_TICK_SECONDS)
                code = self._host.poll()
                self.close()
                raise WorkerError("worker-died", _reason(code))
            return kind, content
        raise WorkerError(
            "worker-stalled",
            f"stopped: no progress for {format_duration(limit)}",
            "raise " + setting_ref("stall_limit", ...) + " if it is only slow, or leave the checkpoint out",
        )


def runs_in_worker() -> bool:
    """Return whether checkpoints run in the worker process; not with ``--debug``, nor inside of the worker itself."""
    return os.environ.get(ENABLED) != "0"


# Workers of this process that are not in use: they stay alive, since starting one takes time.
_idle: list[Worker] = []


def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


atexit.register(_close_idle)
if hasattr(os, "register_at_fork"):  # a fork of this process starts its own
    os.register_at_fork(after_in_child=_idle.clear)


def run_in_worker(
    stall_limit: float, job: Job, *arguments: Any, on_event: Emit, libraries: tuple[str, ...] = FOR_MODELS
) -> Generator[Any, None, None]:
    """Yield the results of a job from a worker that no other thread uses meanwhile, with these libraries.

    If the worker ends before the first event or result, the job runs once more. If checkpoints do not run in the worker
    (see `runs_in_worker`), the job runs in this process.
    """
    if not runs_in_worker():
        yield from job(on_event, *arguments)
        return
    worker, begun = _take(libraries), False

    def receive(event: Any) -> None:
        nonlocal begun
        begun = True
        on_event(event)

    worker.stall_limit = stall_limit
    try:
        try:
            for result in worker.run(job, *arguments, on_event=receive):
                begun = True
                yield result
        except WorkerError:
            if begun:
                raise
            yield from worker.run(job, *arguments, on_event=on_event)
    finally:
        _idle.append(worker)


def _take(libraries: tuple[str, ...]) -> Worker:
    for worker in list(_idle):
        with suppress(ValueError):  # another thread took it
            if worker.libraries == libraries:
                _idle.remove(worker)
                return worker
    return Worker(libraries=libraries)


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


def host_command(libraries: tuple[str, ...]) -> list[str]:
    """Return the command that starts a host, which finds the same modules as this process."""
    program = f"import sys; sys.path[:] = {sys.path!r}; from hf_emms.run.worker import main; main({libraries!r})"
    return [sys.executable, "-c", program]


def preload_libraries(*several: tuple[str, ...]) -> None:
    """Start to import libraries in other processes, so that their first workers start sooner."""
    for libraries in several if runs_in_worker() else ():
        worker = _take(libraries)
        worker.start_host()
        _idle.append(worker)


def _pickled(request: Any) -> Path:
    """Write a request to a new file, in memory if there is room."""
    try:
        content = pickle.dumps(request, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise _cannot_be_sent(error) from error
    room = Path(_SHARED_MEMORY).is_dir() and shutil.disk_usage(_SHARED_MEMORY).free > 2 * len(content)
    prefix = f"{_REQUEST}{_process_namespace()}-{os.getpid()}-"
    handle, path = tempfile.mkstemp(prefix=prefix, dir=_SHARED_MEMORY if room else None)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return Path(path)


def _process_namespace() -> str:
    """Return the identifier of the processes that this process can see; containers have their own."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:  # not Linux
        return "0"


def _remove_old_requests() -> None:
    """Delete the requests of main processes that were killed before a worker opened them."""
    import psutil

    for folder in {_SHARED_MEMORY, tempfile.gettempdir()}:
        for path in Path(folder).glob(f"{_REQUEST}*-*-*"):
            namespace, pid, _ = path.name.removeprefix(_REQUEST).split("-", 2)
            with suppress(OSError):  # another process deleted it, or it belongs to another user
                is_old = time.time() - path.stat().st_mtime > _OLD_SECONDS
                if (is_old or namespace == _process_namespace()) and not psutil.pid_exists(int(pid)):
                    path.unlink()


def _cannot_be_sent(error: Exception) -> EmmsError:
    return EmmsError(
        "cannot-be-sent",
        f"this cannot be sent to the process that computes: {error}",
        "use named functions and not lambdas in a task, or set HF_EMMS_WORKER=0",
    )


def _read(stream: IO[bytes], messages: SimpleQueue[tuple[str, Any]]) -> None:
    """Put the messages of a host into a queue, and a last one with an unknown kind after the end or a wrong message."""
    with stream, suppress(Exception):  # bytes that are no message can raise anything
        while True:
            kind, content = pickle.loads(_exactly(stream, *_LENGTH.unpack(_exactly(stream, _LENGTH.size))))
            messages.put((str(kind), content))
    messages.put(("closed", None))


def _exactly(stream: IO[bytes], count: int) -> bytearray:
    content = bytearray()
    while len(content) < count:
        part = stream.read(min(count - len(content), 1 << 20))
        if not part:
            raise EOFError
        content += part
    return content


def _reason(code: int | None) -> str:
    """Return why a process ended, from its exit code."""
    if code is None:
        return "the worker process sent something that is not a message"
    if code >= 0:
        return f"the worker process ended with exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    name = names.get(-code, "a real-time signal")
    return f"the worker process was stopped by signal {-code} ({name}): {_SIGNALS.get(name, 'by another program')}"


def _kill_group(pid: int | None) -> None:
    if pid is not None and hasattr(os, "killpg"):
        with suppress(OSError):  # it has ended
            os.killpg(pid, signal.SIGKILL)


# ---- inside the host -------------------------------------------------------------------------------------------------


def main(libraries: tuple[str, ...]) -> None:
    """Be the host: import libraries, and fork workers until the main process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, sender = os.dup(0), _Sender(os.dup(1))
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.meta_path.insert(0, _Heartbeat(sender))
    for name in libraries:
        with suppress(Exception):  # the job reports what is missing
            __import__(name)
    sys.meta_path.pop(0)
    while lines := os.read(requests, 1 << 16):
        if b"fork" not in lines.splitlines():
            continue
        if not hasattr(os, "fork"):
            sender.send("forked", os.getpid())
            _serve(requests, sender)
        if not (worker := os.fork()):
            _serve(requests, sender)
        sender.send("forked", worker)
        _, status = os.waitpid(worker, 0)
        _kill_group(worker)
        sender.send("died", os.waitstatus_to_exitcode(status))


class _Heartbeat:
    """A finder of modules that finds none, and reports that the process is importing."""

    def __init__(self, sender: _Sender) -> None:
        self._sender, self._last = sender, time.monotonic()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if time.monotonic() - self._last > _TICK_SECONDS:
            self._last = time.monotonic()
            self._sender.send("importing", None)


# ---- inside the worker -----------------------------------------------------------------------------------------------


def _serve(requests: int, sender: _Sender) -> None:
    """Run jobs until the main process ends."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    with suppress(OSError):  # Linux: if memory runs out, the kernel stops this process and not the main process
        Path("/proc/self/oom_score_adj").write_text("1000")
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(_close_pipes, os.getpid(), requests, sender.pipe))
    paths: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests, paths), daemon=True).start()
    while True:
        faulthandler.cancel_dump_traceback_later()  # an idle worker waits as long as it takes
        _run(sender, Path(paths.get()))


def _close_pipes(worker: int, *pipes: int) -> None:
    """Close the pipes in a process that code of a checkpoint forks."""
    if os.getppid() == worker:  # its own children have other files at these numbers
        for pipe in pipes:
            os.close(pipe)


def _read_requests(requests: int, paths: SimpleQueue[str]) -> None:
    """Pass paths on, and end this process and its children when the main process ends, even if it was killed."""
    while line := os.read(requests, 1 << 16):
        paths.put(line.decode().strip())
    _end()


def _end() -> NoReturn:
    """End this process and its children."""
    _kill_group(os.getpid())
    os._exit(1)


def _run(sender: _Sender, file: Path) -> None:
    """Run a job, and send its results."""
    try:
        try:
            environment, sys.path[:], folder, style, stall_limit, job, arguments = _request_of(sender, file)
        except Exception as error:  # a class of the caller can raise anything
            raise _cannot_be_sent(error) from error
        sender.stall_limit = stall_limit
        os.environ.clear()
        os.environ.update(environment | {ENABLED: "0"})
        with suppress(OSError):
            os.chdir(folder)
        with hint_style(style):
            for result in job(sender.emit, *arguments):
                sender.send("result", result)
    except Exception as error:  # noqa: BLE001 (the main process raises it again)
        if not isinstance(error, EmmsError):
            error.add_note("".join(traceback.format_exception(error)))
        sender.send("error", error)
    else:
        sender.send("end", None)


def _request_of(sender: _Sender, file: Path) -> Any:
    sender.send("started", None)
    with file.open("rb") as content:
        file.unlink(missing_ok=True)
        return pickle.load(content)


class _Sender:
    """The messages to the main process."""

    def __init__(self, pipe: int) -> None:
        self.pipe, self.stall_limit = pipe, 0.0
        self._lock = threading.Lock()
        self._nowhere = Path(os.devnull).open("w")  # noqa: SIM115 (open as long as the process runs)

    def emit(self, event: Any) -> None:
        self.send("event", event)

    def send(self, kind: str, content: Any) -> None:
        message = pickle.dumps((kind, content), protocol=pickle.HIGHEST_PROTOCOL)
        with self._lock:
            if self.stall_limit:
                # Ends this process even while compiled code keeps the interpreter's lock and the main process is gone.
                limit = self.stall_limit + _MARGIN_SECONDS
                faulthandler.dump_traceback_later(limit, exit=True, file=self._nowhere)
            try:
                for part in (_LENGTH.pack(len(message)), message):
                    left = memoryview(part)
                    while left:
                        left = left[os.write(self.pipe, left) :]
            except BrokenPipeError:  # the main process is gone
                _end()
