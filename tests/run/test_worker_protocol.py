"""A host whose messages break off after any number of bytes: it dies, stops or sends garbage, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import datasets
import pytest

import hf_emms
from hf_emms.run import worker
from hf_emms.run.worker import Worker, WorkerError, run_in_worker
from tests import ROOT
from tests.helpers.errors import raises_code
from tests.helpers.waiting import eventually
from tests.run.test_worker import counting, own_pid

# Passes on what the real host sends, up to an offset. The second host and later ones are not disturbed.
PLAYER = """
import os, signal, subprocess, sys
mark, offset, ending, *command = sys.argv[1:]
try:
    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
except FileExistsError:
    os.execv(command[0], command)
host = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
left = int(offset)
while left and (part := host.stdout.read(min(left, 65536))):
    os.write(1, part)
    left -= len(part)
if left:
    sys.exit(host.wait())
if ending == "garbage":
    os.write(1, bytes(range(255, 0, -1)) * 40)
    signal.pause()
os.kill(os.getpid(), signal.SIGSTOP if ending == "stops" else signal.SIGKILL)
"""
HOST = worker.host_command
ENDINGS = ("dies", "stops", "garbage")
# About as many bytes as the conversation about `counting` has.
BYTES = 700


@pytest.fixture(autouse=True)
def with_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(worker.ENABLED, "1")
    worker._close_idle()
    yield
    worker._close_idle()


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Start hosts through the player."""

    def started(offset: int, ending: str, libraries: tuple[str, ...] | None = None) -> None:
        player = [sys.executable, "-c", PLAYER, str(tmp_path / "played"), str(offset), ending]
        quick = lambda needed: [*player, *HOST(needed if libraries is None else libraries)]  # noqa: E731
        monkeypatch.setattr(worker, "host_command", quick)

    return started


def check_counting(play: Callable[..., None], offset: int, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_START_SECONDS", 3.0)
    play(offset, ending, ())
    hosts = set()

    def count() -> list[int]:
        numbers = []
        for array in run_in_worker(3.0, counting, 3, on_event=lambda event: None):
            numbers.append(int(array[0]))
        hosts.update(host._host.pid for host in worker._idle if host._host is not None)
        return numbers

    with suppress(WorkerError):
        assert count() == [0, 1, 2]
    assert count() == [0, 1, 2]
    worker._close_idle()
    assert eventually(lambda: not any(group_exists(pid) for pid in hosts))


def group_exists(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("offset", [0, 5, 120])
def test_a_host_that_breaks_off_costs_at_most_the_job(play, monkeypatch, offset: int, ending: str) -> None:
    check_counting(play, offset, ending, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("offset", range(1, BYTES, 60))
def test_a_host_that_breaks_off_anywhere_costs_at_most_the_job(play, monkeypatch, offset: int, ending: str) -> None:
    check_counting(play, offset, ending, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "offset"), [("dies", 12_000), ("stops", 1_000), ("garbage", 6_000)])
def test_a_ranking_is_complete_but_for_one_row(play, offset: int, ending: str) -> None:
    play(offset, ending)
    names = ["emms-demo/bert-distilled", "emms-demo/bert-random"]
    dataset = datasets.Dataset.from_dict({"text": [f"word {number}" for number in range(60)], "label": [0, 1, 2] * 20})
    ranking = hf_emms.rank(
        dataset, names, encoders="emms-demo/encoder-minilm-static", cache=False, stall_limit=15, confirm=1, steps=5,
    )  # fmt: skip
    assert len(ranking) == 2
    assert sum(row.error is not None for row in ranking) <= 1


def real_time_signal(emit) -> Iterator[int]:
    os.kill(os.getpid(), 40)
    yield 1


def forks(emit) -> Iterator[int]:
    if not os.fork():
        threading.Event().wait()
    yield 1
    os._exit(3)


def prints(emit) -> Iterator[int]:
    print("a checkpoint prints")
    os.write(1, b"so does its library")
    yield 1


def inside(emit) -> Iterator[bool]:
    yield worker.runs_in_worker()


def test_a_real_time_signal_has_a_reason() -> None:
    with raises_code("worker-died", "signal 40"):
        list(run_in_worker(20, real_time_signal, on_event=print))


def test_children_of_a_checkpoint_do_not_outlive_it() -> None:
    results = run_in_worker(20, forks, on_event=print)
    assert next(results) == 1
    group = worker_of(results).pid
    with raises_code("worker-died", "exit code 3"):
        next(results)
    assert eventually(lambda: not group_exists(group))


def worker_of(results) -> Worker:
    return results.gi_frame.f_locals["worker"]


def test_prints_of_a_job_do_not_reach_standard_output(capfd) -> None:
    assert list(run_in_worker(20, prints, on_event=print)) == [1]
    assert capfd.readouterr().out == ""


def test_jobs_start_no_workers_of_their_own() -> None:
    assert worker.runs_in_worker()
    assert list(run_in_worker(20, inside, on_event=print)) == [False]


def test_an_idle_worker_that_was_killed_is_replaced() -> None:
    (pid,) = run_in_worker(20, own_pid, on_event=print)
    os.kill(pid, signal.SIGKILL)
    (other,) = run_in_worker(20, own_pid, on_event=print)
    assert other != pid


def test_a_fork_of_the_main_process_starts_its_own_worker() -> None:
    (pid,) = run_in_worker(20, own_pid, on_event=print)
    child = os.fork()
    if not child:
        (other,) = run_in_worker(20, own_pid, on_event=print)
        worker._close_idle()
        os._exit(other == pid)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(run_in_worker(20, own_pid, on_event=print)) == [pid]


def test_a_long_temporary_folder_and_a_daemonic_process_have_workers(tmp_path, monkeypatch) -> None:
    import multiprocessing

    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(pid_of_a_worker) > 0


def pid_of_a_worker() -> int:
    (pid,) = run_in_worker(60, own_pid, on_event=print)
    worker._close_idle()
    assert pid != os.getpid()
    return pid


KILLED = """
import os, signal
from hf_emms.run.worker import run_in_worker
from tests.run.test_worker_protocol import endless
results = run_in_worker(60, endless, on_event=lambda event: None)
next(results)
os.kill(os.getpid(), signal.SIGKILL)
"""


def endless(emit) -> Iterator[int]:
    while True:
        yield 0


def test_processes_end_silently_after_a_main_process_was_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stderr == ""


def test_requests_of_killed_processes_are_deleted(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(worker, "_SHARED_MEMORY", str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here, elsewhere = Path("/proc/self/ns/pid").stat().st_ino, 1  # a container has its own numbers of processes
    dead, running = (tmp_path / f"{worker._REQUEST}{here}-{pid}-x" for pid in (process.pid, os.getpid()))
    old, new = (tmp_path / f"{worker._REQUEST}{elsewhere}-{process.pid}-{age}" for age in ("old", "new"))
    for path in (dead, running, old, new):
        path.touch()
    for path in (running, old):
        os.utime(path, (0, 0))
    list(run_in_worker(20, own_pid, on_event=print))
    assert sorted(tmp_path.iterdir()) == sorted((running, new))
