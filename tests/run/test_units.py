"""Test rankings whose checkpoints run as units of work on an executor: rows equal those of a serial run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hf_emms
from hf_emms.cli.option_flags import FLAGS
from hf_emms.options import Options
from hf_emms.ranking.progress import Progress
from hf_emms.run import units
from hf_emms.run.executors import LocalPool
from hf_emms.run.plan import make_plan
from hf_emms.run.sweep import Sweep
from hf_emms.run.units import collect, rank_part, submit
from tests.helpers.errors import raises_code
from tests.helpers.progress import RecordedProgress
from tests.helpers.rankings import without_times

TEXTS = ["demo_glosses", "demo_pairs"]
CHECKPOINTS = [
    f"emms-demo/{name}"
    for name in ("bert-distilled", "albert-distilled", "electra-distilled", "bert-random", "gpt2-random", "vit-random")
]
GOOD, POOR, OTHER = "emms-demo/bert-distilled", "emms-demo/bert-random", "emms-demo/gpt2-random"
UNFIT = "emms-demo/vit-random"
FEW: dict[str, Any] = {"max_samples": 60, "encoders": "emms-demo/encoder-minilm-static", "estimators": ["emms", "knn"]}


def process_pool(stack: ExitStack, folder: Path) -> Any:
    return stack.enter_context(ProcessPoolExecutor(2, get_context("spawn")))


def loky_pool(stack: ExitStack, folder: Path) -> Any:
    loky = pytest.importorskip("loky")
    pool = loky.get_reusable_executor(2)
    stack.callback(pool.shutdown, kill_workers=True)
    return pool


def dask_cluster(stack: ExitStack, folder: Path) -> Any:
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    stack.enter_context(dask.config.set({"distributed.worker.daemon": False}))
    cluster = distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=str(folder))
    return stack.enter_context(distributed.Client(stack.enter_context(cluster))).get_executor()


def submitit_executor(stack: ExitStack, folder: Path) -> Any:
    return pytest.importorskip("submitit").LocalExecutor(folder)


def ray_engine(stack: ExitStack, folder: Path) -> None:
    ray = pytest.importorskip("ray")
    ray.init(
        "local", num_cpus=2, num_gpus=0, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False
    )
    stack.callback(ray.shutdown)


ENGINES: dict[str, Callable[[ExitStack, Path], Any]] = {
    "ProcessPoolExecutor": process_pool,
    "loky": loky_pool,
    "dask": dask_cluster,
    "submitit": submitit_executor,
    "ray": ray_engine,
}


@pytest.fixture(autouse=True)
def new_session() -> None:
    """Forget the session of an earlier test, whose cache was in another folder."""
    units._session.cache_clear()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_EMMS_CACHE", str(tmp_path_factory.mktemp("serial-cache")))
        return hf_emms.sweep(TEXTS, CHECKPOINTS, output=tmp_path_factory.mktemp("serial"), **FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_a_sweep_on_any_engine_equals_a_serial_sweep(
    name: str, emms_cache: Path, stack: ExitStack, serial: Sweep, tmp_path: Path
) -> None:
    executor = ENGINES[name](stack, tmp_path)
    settings = {**FEW, "executor": executor} if executor is not None else {**FEW, "engine": "ray"}
    swept = hf_emms.sweep(TEXTS, CHECKPOINTS, output=tmp_path / "results", **settings)
    assert not swept.failed
    for dataset, alone in serial.rankings.items():
        assert without_times(swept.rankings[dataset]) == without_times(alone)
    assert len(list((tmp_path / "results").rglob("*.json"))) == len(TEXTS)


class Inline:
    """An executor that runs units in this process, in a given order, when the first result is asked for."""

    def __init__(self, order: Callable[[list[Any]], list[Any]] = list) -> None:
        self.order, self.calls, self.futures = order, [], []  # type: ignore[var-annotated]

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append(arguments)
        self.futures.append((future, partial(function, *arguments)))
        return future

    def run(self, count: int | None = None) -> None:
        for future, unit in self.order(self.futures)[:count]:
            try:
                future.set_result(unit())
            except Exception as error:  # noqa: BLE001
                future.set_exception(error)


def plan(**settings: Any) -> Any:
    values = {"dataset": "demo_glosses", "checkpoints": [GOOD, POOR, OTHER, UNFIT], **FEW, **settings}
    return make_plan(Options.of(**values), Progress())


@pytest.mark.parametrize("order", [list, lambda units: units[::-1]], ids=["in order", "reversed"])
def test_the_order_in_which_units_finish_does_not_matter(
    order: Callable[[list[Any]], list[Any]], emms_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    executor, seen = Inline(order), RecordedProgress()
    submitted = submit(plan(), executor)
    executor.run()
    together = collect(submitted, seen)
    monkeypatch.setenv("HF_EMMS_CACHE", str(tmp_path / "other"))
    alone = hf_emms.rank("demo_glosses", [GOOD, POOR, OTHER, UNFIT], **FEW)
    assert without_times(together) == without_times(alone)


def test_units_have_the_settings_as_json_and_pinned_data(emms_cache: Path) -> None:
    executor = Inline()
    submit(plan(workers=2, cache=False, confirm=1), executor)
    settings, (checkpoint,), revision, _ = executor.calls[0]
    assert settings == {
        **{"dataset": "demo_glosses", "cache": False, "max_samples": 60},
        **{"encoders": (FEW["encoders"],), "estimators": tuple(FEW["estimators"])},
    }
    assert (checkpoint, revision) == (GOOD, plan().sample.repo.revision)
    with raises_code("changed"):
        rank_part(settings, [GOOD], "another")


def test_notes_of_units_have_the_style_of_the_interface(emms_cache: Path) -> None:
    settings = {"dataset": "demo_glosses", "max_samples": 60, "box_format": None, "query_prompt": "x"}
    for style, flag in ((FLAGS, "--query-prompt"), (hf_emms.texts.PYTHON, "query_prompt")):
        with raises_code("setting-without-effect") as raised:
            rank_part(settings, [GOOD], None, style)
        assert flag in raised.value.message


def test_a_lost_unit_is_a_failed_row_with_the_reason_and_can_be_repeated(emms_cache: Path) -> None:
    executor = Inline()
    submitted = submit(plan(), executor)
    executor.run(2)
    executor.futures[2][0].set_exception(ConnectionError("node 7 is gone"))
    ranking = collect(submitted, Progress())
    assert [row.checkpoint for row in ranking if row.error is not None] == [OTHER, UNFIT]
    assert "node 7 is gone" in str(ranking[OTHER].error)
    again = Inline()
    submit(plan(), again)
    assert [checkpoints for _, checkpoints, *_ in again.calls] == [[OTHER]]


class Renewed(Inline):
    """An executor that loses the units of its first pool, and one of them again."""

    def __init__(self, losses: dict[str, int]) -> None:
        super().__init__()
        self.losses = losses

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        future = super().submit(function, *arguments)
        (checkpoint,) = arguments[1]
        if self.losses[checkpoint]:
            self.losses[checkpoint] -= 1
            future.set_exception(BrokenProcessPool("a process is gone"))
        else:
            future.set_result(function(*arguments))
        return future


def test_units_that_a_dead_process_lost_are_submitted_once_more(emms_cache: Path) -> None:
    executor = Renewed({GOOD: 0, POOR: 1, OTHER: 9})
    ranking = collect(submit(plan(checkpoints=[GOOD, POOR, OTHER]), executor), Progress())
    assert [row.checkpoint for row in ranking if row.error is None] == [GOOD, POOR]
    assert "a process is gone" in str(ranking[OTHER].error)
    assert [checkpoints for _, checkpoints, *_ in executor.calls].count([OTHER]) == 2


def test_a_pool_without_processes_fails_rows_and_no_sweep(emms_cache: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert isinstance(pool.submit(crash_of_one, POOR).exception(), BrokenProcessPool)
        swept = hf_emms.sweep(TEXTS, [GOOD, POOR], output=tmp_path, executor=pool, **FEW)
    assert [*swept.rankings] == TEXTS
    for ranking in swept.rankings.values():
        assert ["BrokenProcessPool" in str(row.error) for row in ranking] == [True, True]


def test_an_interrupt_cancels_waiting_units(emms_cache: Path) -> None:
    class Interrupted(Progress):
        def finished(self, row: Any) -> None:
            raise KeyboardInterrupt

    executor = Inline()
    submitted = submit(plan(), executor)
    executor.run(1)
    with pytest.raises(KeyboardInterrupt):
        collect(submitted, Interrupted())
    assert [future.cancelled() for future, _ in executor.futures] == [False, True, True]


def test_data_in_memory_cannot_be_sent_and_wrong_calls_start_nothing(emms_cache: Path) -> None:
    executor = Inline()
    frame = pd.DataFrame({"text": [f"a text {number}" for number in range(40)], "label": ["a", "b"] * 20})
    rank = partial(hf_emms.rank, executor=executor, **FEW)
    with raises_code("data-in-memory"):
        rank(frame, [GOOD])
    with raises_code("unknown-folder"):
        rank("./nowhere", [GOOD])
    with raises_code("setting-without-effect"):
        rank("demo_glosses", [GOOD], gpus_per_checkpoint=0.5)
    with raises_code("settings-exclude-each-other"):
        rank("demo_glosses", [GOOD], workers=2)
    assert not executor.calls


def crash_of_one(checkpoint: str) -> str:
    """Return a result, but end the process for one checkpoint."""
    if checkpoint == POOR:
        os.kill(os.getpid(), signal.SIGKILL)
    return checkpoint


def test_a_killed_process_of_the_pool_loses_only_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalPool(2, ["4", "7"]) as pool:
        futures = {name: pool.submit(crash_of_one, name) for name in (GOOD, POOR, "a", "b", "c")}
        lost = futures.pop(POOR).exception()
        assert "terminated abruptly" in str(lost)
        assert {name: future.result() for name, future in futures.items()} == {name: name for name in futures}
        devices = {pool.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() for _ in range(8)}
    assert devices <= {"4", "7"}
    assert devices


def test_workers_equal_a_serial_run(emms_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    together = hf_emms.rank("demo_glosses", [GOOD, POOR], workers=2, **FEW)
    monkeypatch.setenv("HF_EMMS_CACHE", str(tmp_path / "other"))
    assert without_times(together) == without_times(hf_emms.rank("demo_glosses", [GOOD, POOR], **FEW))


RAY_NODES = """
import ray, hf_emms
from hf_emms.ranking.progress import Progress
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False)

class Killer(Progress):
    killed = False

    def finished(self, row):
        if not self.killed:  # the other node runs a unit, or the next one
            self.killed = True
            cluster.remove_node(second, allow_graceful=False)

ranking = hf_emms.rank("demo_glosses", CHECKPOINTS, engine="ray", progress=Killer(), **FEW)
failed = [row.error for row in ranking if row.error is not None]
assert len(ranking) == len(CHECKPOINTS)
assert len(failed) <= 1, failed
print("complete", failed)
"""


@pytest.mark.slow
def test_a_killed_ray_node_loses_at_most_its_unit(emms_cache: Path) -> None:
    pytest.importorskip("ray")
    code = f"CHECKPOINTS, FEW = {CHECKPOINTS[:5]!r}, {FEW!r}\n{RAY_NODES}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout
