"""Test rankings on a real Ray cluster of two worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

import hf_emms
from hf_emms.cli.option_flags import FLAGS
from hf_emms.errors import EmmsError, hint_style, one_line
from hf_emms.finetune.resume_states import StorageError
from hf_emms.hub import resolve
from hf_emms.ranking import Ranking
from hf_emms.run.engines import ray as engine
from hf_emms.run.engines.extraction import weight_bytes
from tests.finetune.test_response_scorer import rows
from tests.helpers.notes import codes
from tests.helpers.processes import descendants, marked
from tests.helpers.progress import RecordedProgress
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer
from tests.helpers.waiting import PATIENCE, eventually

GOOD, POOR = "emms-demo/resnet-distilled", "emms-demo/vit-random"
ROWS = 150


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("tiny"), "bert"))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two that can be ranked, one whose weight file stopped half way, and one that is nowhere."""
    folder = build(tmp_path_factory.mktemp("bad"), "vit")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return [POOR, str(folder), GOOD, "./nowhere"]


@pytest.fixture(scope="module")
def here(encoder: str, checkpoints: list[str]) -> Ranking:
    """The ranking of one process."""
    return ranked(encoder, checkpoints)


def ranked(encoder: str, checkpoints: list[str], **options: Any) -> Ranking:
    return hf_emms.rank(
        "demo_captions", checkpoints, **{"max_samples": ROWS, "encoders": encoder, "cache": False} | options
    )


def on_ray(encoder: str, checkpoints: list[str], **options: Any) -> Ranking:
    return ranked(encoder, checkpoints, engine="ray", **options)


def assert_same(ranking: Ranking, other: Ranking) -> None:
    assert [(row.checkpoint, row.rank, row.error, row.notes) for row in ranking.rows] == [
        (row.checkpoint, row.rank, row.error, row.notes) for row in other.rows
    ]
    for row, twin in zip(ranking.rows, other.rows, strict=True):
        assert row.scores.keys() == twin.scores.keys()
        for name, score in row.scores.items():
            assert score.value == pytest.approx(twin.scores[name].value, rel=1e-6, abs=1e-6)
            assert score.folds == pytest.approx(twin.scores[name].folds, rel=1e-6, abs=1e-6)
        assert (row.width, row.parameters, row.pooling) == (twin.width, twin.parameters, twin.pooling)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
class TestOnACluster:
    def test_rows_and_failures_are_those_of_one_process_and_progress_hears_of_every_input(
        self, encoder: str, checkpoints: list[str], here: Ranking
    ) -> None:
        heard = RecordedProgress()
        shared = on_ray(encoder, checkpoints, progress=heard)
        assert_same(shared, here)
        good, poor, *failed = shared.rows
        assert set(good.scores) == {"emms_knn", "emms", "logme", "knn"}
        assert len(failed) == 2
        assert all(row.seconds.features > 0 for row in (good, poor))
        assert heard.inputs == {GOOD: ROWS, POOR: ROWS}
        assert sorted(heard.finished_names) == sorted(checkpoints)

    def test_a_search_gives_the_rows_of_one_process(self) -> None:
        texts = [(f"where is boat {n}", f"the {n}th boat is in harbour {n % 7}") for n in range(40)]
        pairs = [{"query": query, "document": document} for query, document in texts]
        settings = {"task": "text-retrieval", "encoders": "emms-demo/encoder-minilm-static", "cache": False}
        names = ["emms-demo/bert-distilled", "emms-demo/bert-random"]
        here, there = (hf_emms.rank(pairs, names, engine=engine, **settings) for engine in ("local", "ray"))
        assert_same(there, here)
        assert there.baselines[0].scores == here.baselines[0].scores
        assert all(row.documents_per_second for row in there)

    def test_a_failure_names_settings_as_the_process_does_that_started_it(self, encoder: str) -> None:
        with hint_style(FLAGS):
            (row,) = on_ray(encoder, [GOOD], layers="mean")
        assert "→ --layer last" in str(row.error)

    def test_a_sweep_gives_what_rankings_on_this_machine_give(
        self, encoder: str, checkpoints: list[str], here: Ranking, tmp_path: Path
    ) -> None:
        settings = {"encoders": encoder, "cache": False}
        few = {"dataset": "demo_fashion", "max_samples": 60}
        datasets = [{"dataset": "demo_captions", "max_samples": ROWS}, few]
        swept = hf_emms.sweep(datasets, checkpoints, output=tmp_path, engine="ray", **settings)
        assert_same(swept.rankings["demo_captions"], here)
        assert_same(swept.rankings["demo_fashion"], hf_emms.rank(checkpoints=checkpoints, **few, **settings))

    def test_a_short_run_gives_there_what_it_gives_here(self, zoo: Path) -> None:
        settings = {"estimators": ["short_run", "emms"], "encoders": "demo", "cache": False, "device": "cpu"}
        names = [str(writer(zoo, name)) for name in ("gpt2", "t5")]
        shared, here = (hf_emms.rank(rows(40), names, engine=engine, **settings) for engine in ("ray", "local"))
        assert [row.checkpoint for row in shared.rows] == [row.checkpoint for row in here.rows]
        for row, twin in zip(shared.rows, here.rows, strict=True):
            measured = [[note for note in each.notes if codes([note]) != ["training-memory"]] for each in (row, twin)]
            assert measured[0] == measured[1]
            assert row.scores["short_run"].value == pytest.approx(twin.scores["short_run"].value, rel=1e-3)

    def test_a_worker_that_is_killed_changes_nothing(self, encoder: str, checkpoints: list[str], here: Ranking) -> None:
        killed: list[int] = []

        def kill() -> None:
            killed.append(eventually(lambda: next(descendants("ray::run_on_node"), None)))
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        shared = on_ray(encoder, checkpoints)
        killer.join()
        assert len(killed) == 1
        assert_same(shared, here)

    def test_the_cache_of_this_machine_is_read_and_filled(self, encoder: str, emms_cache: Path) -> None:
        options = {"cache": True, "estimators": ["emms", "knn"]}
        first = on_ray(encoder, [GOOD], **options)
        assert first.rows[0].cached == "none"
        assert on_ray(encoder, [GOOD], **options).rows[0].cached == "row"
        again = on_ray(encoder, [GOOD], resume=False, **options)
        assert again.rows[0].cached == "features"
        assert_same(again, first)

    def test_workers_with_other_versions_are_refused(self, encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "installed_versions", lambda *names: {"peft": "0"})
        with pytest.raises(EmmsError, match=r"have other versions: peft \S+ \(here 0\)"):
            on_ray(encoder, [GOOD])


def test_packages_that_only_some_checkpoints_need_may_be_missing_on_workers() -> None:
    here = {"torch": "2", "hf_emms": "1", "peft": "3", "timm": "4"}
    engine._check_same(here, {"torch": "2", "hf_emms": "1", "timm": "4"})
    with pytest.raises(EmmsError) as refused:
        engine._check_same(here, {"torch": "2", "timm": "5"})
    assert one_line(refused.value) == (
        "the workers of the Ray cluster have other versions: hf_emms missing (here 1), timm 5 (here 4) → "
        "pip install hf-emms==1 timm==4 on every node of the cluster"
    )


def test_a_cluster_that_is_too_late_is_started_again_in_settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, usage = "OMP_NUM_THREADS", "RAY_USAGE_STATS_ENABLED"
    monkeypatch.setenv(threads, "7")
    monkeypatch.delenv(usage, raising=False)
    starts: list[Any] = []

    def start(**options: Any) -> None:
        starts.append((os.environ[threads], os.environ[usage], options))
        if len(starts) != 6:
            raise RuntimeError("too\nlate")

    monkeypatch.setattr(ray, "init", start)
    with pytest.raises(EmmsError, match=r"^no Ray cluster can be started here: too late$"):
        engine._connect(None)
    engine._connect(None)
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    assert starts == [("1", "0", {"address": "local", "include_dashboard": False, **quiet})] * 6
    with pytest.raises(EmmsError, match=r"^the Ray cluster at here cannot be used: too late\n.*ray_address="):
        engine._connect("here")
    assert starts[6:] == [("1", "0", {"address": "here", **quiet})]
    assert (os.environ[threads], os.environ.get(usage)) == ("7", None)


def test_the_files_of_a_model_take_the_place_of_others(tmp_path: Path) -> None:
    for folder, files in ((tmp_path, {"a/b": b"1"}), (tmp_path, {"c/d": b"2"}), (tmp_path, {}), (None, {"e": b"3"})):
        engine._write(folder and folder / "models", "7", files)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == ["models/7/c/d"]


def test_a_task_that_fails_says_what_its_checkpoint_says_or_how_often_its_worker_died(tmp_path: Path) -> None:
    for error in (ray.exceptions.WorkerCrashedError(), ray.exceptions.OutOfMemoryError("full")):
        assert one_line(engine._failure(error)) == (
            "its worker died 4 times, mostly because memory ran out → batch_size=..., or larger nodes"
        )
    disk = StorageError("the disk is full")
    assert engine._failure(ray.exceptions.RayTaskError("run", "Traceback", disk)) is disk
    assert str(engine._failure(ray.exceptions.RayTaskError("run", "Traceback", KeyError("a")))) == "KeyError: 'a'"
    repo = resolve(GOOD, "model")
    assert engine._here(replace(repo, folder=None)) == repo
    with pytest.raises(EmmsError, match="the folder other is not on the node"):
        engine._here(replace(repo, id="other", folder=tmp_path / "none"))


def test_a_task_asks_for_what_it_takes_of_what_nodes_have() -> None:
    nodes = [{"CPU": 0, "memory": 9e12}, {"CPU": 1.0, "GPU": 2.0}, {"memory": 1.0}, {"CPU": 7.0}]
    cluster = engine._cluster_of(nodes)
    assert cluster == engine.Cluster(cpus=8, gpus=2, memory=9e12, cores=1)
    assert engine._cluster_of(nodes[:1]) == engine.Cluster(cpus=0, gpus=0, memory=9e12, cores=1)
    repo, spare = resolve(GOOD, "model"), 2**30
    weights = weight_bytes(repo)
    assert engine._scoring_resources(repo, cluster, 3, gpu=True) == {
        "num_cpus": 1,
        "num_gpus": 1.0,
        "memory": 3 * weights + spare,
    }
    assert engine._scoring_resources(repo, replace(cluster, memory=weights), 3, gpu=False)["memory"] == weights
    with pytest.raises(EmmsError, match="no node offers more than"):
        engine._scoring_resources(repo, replace(cluster, memory=weights - 1), 3, gpu=False)
    job: Any = SimpleNamespace(parameters=None)
    assert engine._training_resources(job, "auto", replace(cluster, gpus=1), 1)["memory"] == spare
    job.parameters = 10
    for device, jobs, cores, gpus in (("cpu", 2, 4, 0), ("cpu", 3, 2, 0), ("cpu", 20, 1, 0), ("auto", 9, 4, 1)):
        needs = engine._training_resources(job, device, replace(cluster, cores=5), jobs)
        assert needs == {"num_cpus": cores, "num_gpus": gpus, "memory": engine.BYTES_PER_PARAMETER * 10 + spare}
    assert engine._training_resources(job, "cpu", cluster, 2)["num_cpus"] == 1  # of the smallest node
    for device, gpus, message in (("cuda", 0, "the Ray cluster has no GPU"), ("cuda:1", 1, "Ray picks the GPU")):
        with pytest.raises(EmmsError, match=message):
            engine._training_resources(job, device, replace(cluster, gpus=gpus), 1)


@pytest.mark.slow
def test_interrupted_it_leaves_no_process_behind(encoder: str, tmp_path: Path) -> None:
    mark = f"MARK={uuid.uuid4()}"
    # The checkpoints are several, so that one of them runs for as long as looking for it takes.
    candidates = [word for name in (GOOD, POOR, "emms-demo/swin-distilled") for word in ("-c", name)]
    words = ["rank", "--dataset", "demo_captions", *candidates, "-e", encoder, "--engine", "ray", "--estimator", "emms"]
    program = [sys.executable, "-m", "hf_emms", *words]
    environment = {**os.environ, "HF_EMMS_CACHE": str(tmp_path), "RAY_TMPDIR": "/tmp", "MARK": mark.partition("=")[2]}
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr, subprocess.Popen(program, env=environment, stderr=stderr) as process:
        eventually(lambda: list(descendants("ray::run_on_node")) or process.poll() is not None)
        assert process.poll() is None, errors.read_text()
        assert marked(mark)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130, errors.read_text()
    assert any(line.startswith("Stopped.") for line in errors.read_text().splitlines()), errors.read_text()
    eventually(lambda: not marked(mark))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "local", "ray_address": "auto"}, "ray_address requires a Ray cluster"),
        ({"engine": "ray", "ray_address": "127.0.0.1:9"}, "nothing answers at the Ray address 127.0.0.1:9"),
    ],
)
def test_engines_that_do_not_fit_are_refused(
    encoder: str, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # the tests' cluster may be running
    with pytest.raises(EmmsError, match=message):
        ranked(encoder, [GOOD], **options)
