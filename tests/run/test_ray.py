"""Checkpoints on a real Ray cluster of two worker processes: the same ranking as on this machine alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.progress import Silent
from hf_emms.run.engines.ray_engine import shard_size
from tests.helpers.processes import descendants, marked
from tests.helpers.rows import answered
from tests.helpers.tiny_checkpoints import build
from tests.helpers.waiting import PATIENCE, eventually

GOOD, POOR = "emms-demo/resnet-distilled", "emms-demo/vit-random"
ROWS, SHARD = 150, 60


@pytest.fixture(scope="class")
def cluster() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        assert ray.util.get_node_ip_address() == "127.0.0.1"
        patch.setenv("OMP_NUM_THREADS", "1")
        ray.init(
            num_cpus=2,
            object_store_memory=80 << 20,
            include_dashboard=False,
            log_to_driver=False,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build(tmp_path_factory.mktemp("tiny"), "bert"))


@pytest.fixture(scope="module")
def truncated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose weight file stopped half way."""
    folder = build(tmp_path_factory.mktemp("bad"), "vit")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return str(folder)


def ranked(encoder: str, checkpoints: list[str], **options: object) -> Ranking:
    settings = {"max_samples": ROWS, "encoders": encoder, "cache": False} | options
    return hf_emms.rank("demo_captions", checkpoints, **settings)  # type: ignore[arg-type]


def on_ray(encoder: str, checkpoints: list[str], **options: object) -> Ranking:
    return ranked(encoder, checkpoints, **{"engine": "ray", "shard_size": SHARD} | options)


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


@pytest.mark.usefixtures("cluster")
class TestOnACluster:
    def test_neighbours_need_no_rows_gathered(self, encoder: str) -> None:
        """A sample of the rows comes with the moments of each shard."""
        options = {"estimators": ["emms_knn", "emms"]}
        assert_same(on_ray(encoder, [POOR, GOOD], **options), ranked(encoder, [POOR, GOOD], **options))

    def test_a_sweep_gives_what_rankings_on_this_machine_give(
        self, encoder: str, truncated: str, tmp_path: Path
    ) -> None:
        checkpoints, settings = [POOR, truncated, GOOD, "./nowhere"], {"max_samples": ROWS, "encoders": encoder}
        datasets = ["demo_captions", {"dataset": "demo_fashion", "max_samples": 60}]
        found = hf_emms.sweep(datasets, checkpoints, output=tmp_path, engine="ray", cache=False, **settings)
        assert_same(found.rankings["demo_captions"], ranked(encoder, checkpoints))
        fashion = hf_emms.rank("demo_fashion", checkpoints, cache=False, **{**settings, "max_samples": 60})
        assert_same(found.rankings["demo_fashion"], fashion)

    def test_shards_give_what_one_process_gives(self, encoder: str, truncated: str) -> None:
        """Also for k-NN, which needs the rows of all shards, and for a checkpoint that cannot be loaded."""
        checkpoints = [POOR, truncated, GOOD, "./nowhere"]
        alone = ranked(encoder, checkpoints)
        shared = on_ray(encoder, checkpoints)
        assert_same(shared, alone)
        good, poor, *failed = shared.rows
        assert set(good.scores) == {"emms_knn", "emms", "logme", "knn"}
        assert len(failed) == 2
        assert all(row.seconds.features > 0 for row in (good, poor))

    def test_every_layer_of_one_run_is_what_one_process_gives(self, encoder: str, emms_cache: Path) -> None:
        """Streamed, with features that are kept, and with those; a ResNet has no mean of its stages."""
        layers = {"layers": ["mean", "last"], "estimators": ["emms"]}
        alone = ranked(encoder, [GOOD, POOR], **layers)
        for options in ({}, {"cache": True}, {"cache": True, "resume": False}):
            shared = on_ray(encoder, [GOOD, POOR], **layers, **options)
            assert [(row.layer, {*row.layers}) for row in shared.rows] == [
                (row.layer, {*row.layers}) for row in alone.rows
            ]
            if "resume" not in options:
                assert_same(shared, alone)
        assert {*shared.row(POOR).layers} == {"mean", "last"}
        assert {*shared.row(GOOD).layers} == {"last"}
        assert shared.row(POOR).cached == "features"

    def test_a_worker_that_is_killed_changes_nothing(self, encoder: str) -> None:
        killed: list[int] = []

        def kill() -> None:
            killed.append(eventually(lambda: next(descendants("ray::extract_shard"), None)))
            os.kill(killed[0], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        shared = on_ray(encoder, [GOOD, POOR], estimators=["emms", "knn"])
        killer.join()
        assert len(killed) == 1
        assert_same(shared, ranked(encoder, [GOOD, POOR], estimators=["emms", "knn"]))

    def test_the_cache_of_the_driver_is_read_and_filled(self, encoder: str, emms_cache: Path) -> None:
        options = {"cache": True, "estimators": ["emms", "knn"]}
        first = on_ray(encoder, [GOOD], **options)
        assert {row.cached for row in first.rows} == {"none"}
        assert on_ray(encoder, [GOOD], **options).rows[0].cached == "row"
        again = on_ray(encoder, [GOOD], resume=False, **options)
        alone = ranked(encoder, [GOOD], resume=False, **options)
        assert (again.rows[0].cached, alone.rows[0].cached) == ("features", "features")
        assert_same(again, first)
        assert_same(alone, first)

    def test_texts_cut_in_several_shards_are_counted_together(self, encoder: str) -> None:
        import datasets

        words = np.random.default_rng(0).choice(["apple", "cat", "boat", "road", "dog"], (60, 60))
        rows = [{"text": " ".join(line), "label": int(line[0] == "cat")} for line in words]
        dataset = datasets.Dataset.from_list(
            rows, datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "cat"]))
        )
        options = {"encoders": encoder, "estimators": ["emms"], "cache": False}
        alone = hf_emms.rank(dataset, [encoder], **options)  # type: ignore[arg-type]
        shared = hf_emms.rank(dataset, [encoder], engine="ray", shard_size=25, **options)  # type: ignore[arg-type]
        assert "60 texts were cut" in alone.rows[0].notes[0]
        assert_same(shared, alone)

    def test_shards_of_spans_give_what_one_process_gives(self, encoder: str) -> None:
        """Inputs that are read in windows are counted together too."""
        dataset = answered(40)
        options = {"encoders": encoder, "estimators": ["emms", "knn"], "cache": False}
        alone = hf_emms.rank(dataset, [encoder], **options)  # type: ignore[arg-type]
        shared = hf_emms.rank(dataset, [encoder], engine="ray", shard_size=60, **options)  # type: ignore[arg-type]
        assert (alone.settings["label_form"], alone.n, alone.n_inputs) == ("spans", 160, 40)
        assert_same(shared, alone)

    def test_progress_hears_every_input_of_every_checkpoint(self, encoder: str) -> None:
        fed: dict[str, int] = {}
        done: list[str] = []

        class Heard(Silent):
            def advanced(self, checkpoint: str, inputs: int) -> None:
                fed[checkpoint] = fed.get(checkpoint, 0) + inputs

            def finished(self, row: Row) -> None:
                done.append(row.checkpoint)

        on_ray(encoder, [GOOD, POOR], estimators=["emms"], progress=Heard())
        assert fed == {GOOD: ROWS, POOR: ROWS}
        assert sorted(done) == sorted([GOOD, POOR])

    def test_a_device_that_the_cluster_lacks_fails_before_any_checkpoint(self, encoder: str) -> None:
        with pytest.raises(EmmsError, match="the Ray cluster has no GPU"):
            on_ray(encoder, [GOOD], device="cuda")


def test_interrupted_it_leaves_no_process_behind(encoder: str, tmp_path: Path) -> None:
    mark = f"MARK={uuid.uuid4()}"
    words = ["rank", "--dataset", "demo_captions", "-c", GOOD, "-e", encoder, "--engine", "ray", "--estimator", "emms"]
    program = [sys.executable, "-c", "from hf_emms.cli import main; main()", *words]
    environment = {**os.environ, "HF_EMMS_CACHE": str(tmp_path), "RAY_TMPDIR": "/tmp", "MARK": mark.partition("=")[2]}
    with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True) as process:
        eventually(lambda: list(descendants("ray::extract_shard")) or process.poll() is not None)
        assert process.poll() is None
        assert marked(mark)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1].startswith("Stopped.")
    eventually(lambda: not marked(mark))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "rey"}, "engine is 'rey'"),
        ({"engine": "local", "ray_address": "auto"}, "--ray-address is for a Ray cluster"),
        ({"engine": "ray", "ray_address": "127.0.0.1:9"}, "nothing answers at the Ray address 127.0.0.1:9"),
        ({"engine": "local", "shard_size": 7}, "--shard-size is for a Ray cluster"),
    ],
)
def test_engines_that_do_not_fit_are_refused(encoder: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(EmmsError, match=message):
        ranked(encoder, [GOOD], **options)


def test_shards_keep_a_cluster_busy_but_are_never_tiny() -> None:
    assert shard_size(10_000, 1, 4) == 1_250
    assert shard_size(10_000, 1_000, 4) == 10_000  # enough checkpoints: each loads its weights once
    assert shard_size(1_000, 1, 64) == 256
    assert shard_size(90, 1, 64) == 90
