"""A job in the worker process: results, events, and every way in which a process can end."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hf_emms.errors import EmmsError
from hf_emms.run.worker import Worker, WorkerError
from tests import ROOT
from tests.helpers.errors import raises_code
from tests.helpers.waiting import eventually


def counting(emit, most: int) -> Iterator[np.ndarray]:
    for number in range(most):
        emit(1)
        yield np.full(2, number)


def own_pid(emit) -> Iterator[int]:
    yield os.getpid()


def environment(emit) -> Iterator[tuple[str | None, str]]:
    yield os.environ.get("HF_EMMS_TEST"), str(Path.cwd())


def killed(emit) -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(emit) -> Iterator[int]:
    import ctypes

    yield 1
    ctypes.string_at(0)


def leaves(emit) -> Iterator[int]:
    yield 1
    os._exit(3)


def backtracks(emit) -> Iterator[int]:
    """A regular expression that does not end, and keeps the interpreter's lock."""
    yield 1
    re.match(r"(a+)+$", "a" * 60 + "b")


def refuses(emit) -> Iterator[int]:
    yield 1
    raise EmmsError("wrong-type", "no", "leave it")


def breaks(emit) -> Iterator[int]:
    yield 1
    raise KeyError("missing")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def test_results_and_events_arrive_in_order(worker: Worker) -> None:
    events = []
    assert [int(array[0]) for array in worker.run(counting, 3, on_event=events.append)] == [0, 1, 2]
    assert events == [1, 1, 1]


def test_jobs_share_a_process_and_see_the_environment_of_the_caller(worker, monkeypatch, tmp_path) -> None:
    assert list(worker.run(own_pid)) == list(worker.run(own_pid)) == [worker.pid]
    assert worker.pid != os.getpid()
    monkeypatch.setenv("HF_EMMS_TEST", "seen")
    monkeypatch.chdir(tmp_path)
    assert list(worker.run(environment)) == [("seen", str(tmp_path))]


@pytest.mark.parametrize(
    ("job", "reason"),
    [(killed, "SIGKILL"), (segfault, "SIGSEGV"), (leaves, "exit code 3")],
    ids=["killed", "segfault", "leaves"],
)
def test_a_process_that_dies_is_replaced(worker: Worker, job, reason) -> None:
    results = worker.run(job)
    assert next(results) == 1
    with raises_code("worker-died", reason):
        next(results)
    assert list(worker.run(own_pid)) == [worker.pid]


def test_a_process_that_stalls_is_stopped() -> None:
    worker = Worker(stall_limit=1.0)
    results = worker.run(backtracks)
    assert next(results) == 1
    pid = worker.pid
    with pytest.raises(WorkerError) as caught:
        next(results)
    assert "stall_limit" in str(caught.value.hint)
    assert eventually(lambda: has_ended(pid))


def test_errors_of_a_job_are_raised_and_leave_the_process_running(worker: Worker) -> None:
    (pid,) = worker.run(own_pid)
    for job, error in ((refuses, EmmsError), (breaks, KeyError)):
        results = worker.run(job)
        assert next(results) == 1
        with pytest.raises(error) as caught:
            next(results)
        assert not isinstance(caught.value, WorkerError)
    assert any("in breaks" in note for note in caught.value.__notes__)
    assert list(worker.run(own_pid)) == [pid]


def test_what_cannot_be_sent_is_named(worker: Worker) -> None:
    with raises_code("cannot-be-sent", "lambda"):
        list(worker.run(lambda emit: iter(())))
    assert len(list(worker.run(counting, 2))) == 2


def only_in(pid: int) -> int:
    assert os.getpid() == pid
    return 2


class Unreadable:
    """Can be read in the main process alone."""

    def __reduce__(self) -> tuple[Callable[[int], int], tuple[int]]:
        return only_in, (os.getpid(),)


def test_a_job_that_the_process_cannot_read_is_an_error_at_once(worker: Worker) -> None:
    with raises_code("cannot-be-sent"):
        list(worker.run(counting, Unreadable()))
    assert len(list(worker.run(counting, 2))) == 2


def test_a_job_runs_although_its_working_folder_has_gone(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "gone")
    assert list(worker.run(own_pid)) == [worker.pid]


def test_closing_the_results_ends_the_process(worker: Worker) -> None:
    results = worker.run(counting, 10**9)
    next(results)
    pid = worker.pid
    results.close()
    assert eventually(lambda: has_ended(pid))


SCRIPT = """
import sys, time
from hf_emms.run.worker import Worker
from tests.run.test_worker import counting, backtracks, own_pid
worker = Worker(stall_limit=2)
print(next(worker.run(own_pid)), flush=True)
for _ in worker.run({job}):
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_the_main_process(number: int) -> None:
    """The script has no main guard, and the worker must not run it again."""
    check_the_worker_ends(SCRIPT.format(job="counting, 10**9"), number)


def check_the_worker_ends(script: str, number: int) -> None:
    """Run a script that prints the process id of its worker, send it a signal, and wait until the worker has ended."""
    main = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert main.stdout is not None
    pid = int(main.stdout.readline())
    main.send_signal(number)
    main.wait()
    main.stdout.close()
    assert eventually(lambda: has_ended(pid))


def has_ended(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True
