"""Test dry runs: costs, problems, and exit code 1 if the run cannot start."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import msgspec
import pytest

import hf_emms
from hf_emms.formatting import format_bytes
from hf_emms.hub import Repo
from hf_emms.inputs import MODALITIES
from hf_emms.options import Options
from hf_emms.presets import demo, encoder_presets
from hf_emms.ranking import Row
from hf_emms.ranking.estimators import get_estimator
from hf_emms.ranking.progress import Progress
from hf_emms.run.extraction import _Clock
from hf_emms.run.plan import PlannedCheckpoint, make_plan
from hf_emms.run.preflight import (
    Cost,
    Preflight,
    Rate,
    _too_full,
    costs_in_words,
    embedding_parameters,
    plan_costs,
    preflight,
    rate,
    seconds_of,
    text_bytes,
)
from hf_emms.scoring.reranking import count_pairs
from tests.helpers.command_line import CommandLine
from tests.helpers.errors import raises_code
from tests.hub import Hub
from tests.hub.fixtures import client_environment

GOOD = "emms-demo/resnet-distilled"


@pytest.fixture(scope="module")
def cli(demo_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A client of a Hub with a checkpoint and an encoder without weights, and a checkpoint of texts."""
    for id, source in (("org/hollow", "resnet-distilled"), ("org/hollow-encoder", "bert-random")):
        folder = demo.folder_of(f"emms-demo/{source}")
        assert folder is not None
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".safetensors"}
        demo_hub.store.put_files(id, files | {"model.onnx": b"onnx"})
    home = tmp_path_factory.mktemp("preflight")
    running = CommandLine(client_environment(demo_hub, home), home)
    yield running
    running.close()


FAILED = ["-c", "org/hollow", "-c", "org/nowhere", "-c", "emms-demo/bert-random"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-c", GOOD], 0, []),
        (
            [*FAILED, "-c", GOOD],
            0,
            [
                "3 problems of this run:",
                "checkpoint org/hollow: org/hollow has no model.safetensors or pytorch_model.bin, only model.onnx",
                "checkpoint org/nowhere: ",
                "emms-demo/bert-random is a bert checkpoint, which reads texts, not images",
            ],
        ),
        (FAILED, 1, ["Error: no checkpoint can be ranked: org/hollow: ", "; org/nowhere: "]),
        (["-c", GOOD, "-e", "org/hollow-encoder"], 1, ["the label encoder org/hollow-encoder cannot be used: "]),
        (["-c", GOOD, "-e", "org/nowhere"], 1, ["there is no model 'org/nowhere'"]),
        (["-c", GOOD, "--dataset", "org/no-data"], 1, ["Error: there is no dataset 'org/no-data'"]),
    ],
)
def test_a_dry_run_lists_problems_and_fails_if_the_run_cannot_start(
    cli: CommandLine, words: list[str], code: int, said: list[str]
) -> None:
    done = cli.run("rank", "--dataset", "fashion_mnist", "--max-samples", "60", *words, "--dry-run", "--format", "json")
    assert done.code == code, done.err
    assert [text for text in said if text not in done.err] == []
    if code == 0:
        assert ("problem" in done.err) == bool(said)
        assert [row["checkpoint"] for row in json.loads(done.out)] == words[1::2]


def test_checkpoints_that_fail_alike_are_listed_with_one_reason(emms_cache: Path) -> None:
    names = ["emms-demo/bert-random", "emms-demo/bert-distilled"]
    with raises_code("no-usable-checkpoint") as refused:
        hf_emms.plan("demo_fashion", names, encoders="emms-demo/encoder-minilm-static")
    assert all(name in refused.value.message for name in names)
    assert refused.value.message.count("needs images") == 1


def test_a_dry_run_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options.of("demo_fashion", checkpoints=(GOOD,), encoders=("demo",), max_samples=60, cache=False)
    found = preflight(options, Progress())
    *encoders, good = found.costs
    cached = sum(cost.cached for cost in found.costs.values())
    assert found.plan.sample.reading is not None
    assert str(found).splitlines() == [
        *found.plan.sample.reading.lines(),
        f"dataset emms-demo/fashion-mnist at {found.plan.sample.repo.revision}, test split, image-classification",
        "60 rows, 60 inputs, 10 label texts",
        *(f"label encoder {encoder.id} at {encoder.revision}: 0 B to download" for encoder in encoders),
        *found.plan.notes,
        f"15 files: 0 B to download, {format_bytes(cached)} here already",
        costs_in_words(seconds_of(found.plan, found.costs), found.rate),
        f"checkpoint{' ' * 18}revision{' ' * 16}state         files  download_bytes  seconds",
        "  ".join("-" * width for width in (26, 22, 12, 5, 14, 7)),
        f"{GOOD}  {good.revision}  local folder      3               0      0.2",
    ]
    weights = found.costs[good].weights
    assert found.costs[good].seconds == pytest.approx(0.2 + 1e-9 * weights + 60 * found.rate.seconds(weights / 4))
    base = Repo(*encoder_presets()["base"], "model", "1" * 40)
    planned = replace(found.plan, options=options.replaced(encoders=()), encoders=(base,))
    costs = {base: Cost(bytes=5), good: Cost()}
    lines = replace(found, plan=planned, costs=costs).lines()
    assert lines[2] == f"label encoder {base.id} at {'1' * 40}, of the default set 'base': 5 B to download"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4))
    assert [problem.partition(" in ")[0] for problem in _too_full(planned, costs)] == [
        "disk: 5 B to download, 4 B free"
    ]
    assert list(_too_full(planned, {base: Cost(), good: Cost(bytes=4)})) == []
    many: Any = {base: Cost()} | {replace(good, id=str(number)): Cost(bytes=1) for number in range(6)}
    assert len(list(_too_full(planned, many))) == 1
    deleting = replace(planned, options=options.replaced(encoders=(), delete_downloads=True))
    assert list(_too_full(deleting, many)) == []


def test_the_costs_are_a_sentence() -> None:
    parts = {"reading": 0.4, "BM25": 12.0, "checkpoints": 1000.2}
    assert costs_in_words(parts, Rate(2e-9, "texts")) == (
        "about 1,013 s on an idle machine (BM25 12 s, checkpoints 1,000 s), without downloads; checkpoints by "
        "a rule of thumb: 2 ns × parameters × texts"
    )


def test_a_dry_run_lists_the_state_and_costs_of_checkpoints() -> None:
    new, cached, local, bad = (Repo(f"org/{name}", "model", "0" * 40) for name in ("new", "cached", "local", "bad"))
    local = replace(local, folder=Path("folder"))
    costs = {new: Cost(3, 5, 7, 0.26), cached: Cost(1, 0, 2), local: Cost(2), bad: Cost(problem="no weights")}
    planned: Any = None
    found = Preflight(planned, costs, Rate(1e-9, "texts"))
    for repo, row, state, numbers in (
        (new, None, "to download", [3, 5, 0.3]),
        (new, Row("a"), "finished earlier", [None] * 3),
        (new, Row("a", error="it fails"), "cannot be used", [None] * 3),
        (cached, None, "cached", [1, 0, 0.0]),
        (local, None, "local folder", [2, 0, 0.0]),
        (bad, None, "cannot be used", [None] * 3),
        (None, Row("a", error="it is nowhere"), "cannot be used", [None] * 3),
    ):
        assert found._record(PlannedCheckpoint("a", repo, row)) == ("a", repo and "0" * 40, state, *numbers)


def test_the_cost_of_fine_tuning_is_that_of_the_largest_checkpoints(emms_cache: Path) -> None:
    small = "emms-demo/regnet-random"
    options = Options.of("demo_fashion", encoders=("demo",), max_samples=60, confirm=1, device="cpu")
    both, large, little = (
        preflight(options.replaced(checkpoints=names), Progress()).fine_tuning
        for names in ((small, GOOD), (GOOD,), (small,))
    )
    assert both == large != little


# ---- how long it will take -------------------------------------------------------------------------------------------


IMAGE = MODALITIES["image"]


def test_the_forecast_counts_reading_label_embeddings_and_bm25(emms_cache: Path) -> None:
    options = Options.of("demo_search", checkpoints=("emms-demo/bert-random",), encoders=("demo",), device="cpu")
    found = preflight(options, Progress())
    seconds = seconds_of(found.plan, found.costs)
    assert all(taken > 0 for taken in seconds.values())
    assert list(seconds) == ["reading", "libraries", "label embeddings", "BM25", "checkpoints"]
    assert seconds["reading"] == found.plan.session.reading_seconds
    hf_emms.rank("demo_search", "emms-demo/bert-random", encoders="demo", device="cpu")
    again = preflight(options, Progress())  # all but the dataset is in the cache
    assert [part for part, taken in seconds_of(again.plan, again.costs).items() if taken] == ["reading"]


def test_token_embeddings_and_long_texts_do_not_lengthen_the_forecast(emms_cache: Path) -> None:
    speed = Rate(1e-9, "texts")
    config = {"vocab_size": 250_000, "hidden_size": 384}  # of a multilingual MiniLM
    assert speed.seconds(118e6, embedding_parameters(config)) == pytest.approx(0.0003 + 22e-3)
    assert embedding_parameters({"vision_config": {}}) == 0
    rows = [{"text": f"{number} " + 1000 * "long ", "label": "ab"[number % 2]} for number in range(20)]
    options = Options.of(datasets.Dataset.from_list(rows), checkpoints="none/such", encoders="demo")
    assert text_bytes(make_plan(options, Progress()).sample) == 2300  # as many as 512 tokens


def test_a_gpu_is_faster_than_the_cpu_by_a_constant() -> None:
    by_cpu, by_gpu = rate("cpu", IMAGE), rate("cuda:1", IMAGE)
    assert by_cpu.seconds(10**6) == pytest.approx(0.0003 + IMAGE.cpu_seconds * 10**6)
    assert by_gpu == rate("mps", IMAGE) == replace(by_cpu, seconds_per_parameter=IMAGE.cpu_seconds / 100)


@pytest.mark.parametrize("dataset", ["demo_glosses", "demo_words", "demo_pairs", "demo_definitions", "demo_fashion"])
def test_the_rule_of_thumb_scales_with_the_length_of_texts(dataset: str, emms_cache: Path) -> None:
    sample = make_plan(
        Options.of(dataset, encoders=("demo",), checkpoints=("none/such",), max_samples=60), Progress()
    ).sample
    kind, length = sample.task.input, text_bytes(sample)
    assert (length is None) == (dataset == "demo_fashion")
    if dataset == "demo_glosses":
        assert length == pytest.approx(sum(map(len, sample.inputs)) / len(sample.inputs))
    scale = 1 if length is None else length / kind.text_bytes
    assert rate("cpu", kind, length).seconds_per_parameter == pytest.approx(scale * kind.cpu_seconds)
    assert rate("cpu", kind).seconds_per_parameter == kind.cpu_seconds


@pytest.mark.parametrize(
    ("dataset", "checkpoint", "estimators", "inputs"),
    [
        ("demo_definitions", "emms-demo/llama-glosses", ("short_run", "emms_knn"), 60),
        ("demo_search", "emms-demo/bert-random", ("reranked_ndcg",), count_pairs(60, 600)),
    ],
)
def test_costs_include_inputs_short_runs_and_pairs(
    dataset: str, checkpoint: str, estimators: tuple[str, ...], inputs: int, emms_cache: Path
) -> None:
    options = Options.of(dataset, encoders=("demo",), checkpoints=(checkpoint,), max_samples=60, device="cpu")
    planned = make_plan(options, Progress())
    costs, speed = plan_costs(replace(planned, options=options.replaced(estimators=estimators)))
    (cost,) = (costs[repo] for repo in costs.keys() - {*planned.encoders})
    forwards = get_estimator(estimators[0]).forwards
    (spec,) = planned.to_run.values()
    per_input = speed.seconds(cost.weights / 4, embedding_parameters(spec.config))
    expected = 0.2 + 1e-9 * cost.weights + (inputs + forwards) * per_input + 0.001 * forwards
    assert cost.seconds == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "batches", "loading"),
    [
        ([5, 8, 9, 10], [10, 10, 10], 7),  # until 5 it was loaded; three batches of a second would begin at 7
        ([5, 8, 9], [10, 10], 7),
        ([5, 8, 9], [11, 10], 5),  # too few inputs after the first batch to tell
        ([5, 6, 9], [10, 10], 5),  # it cannot have begun before
        ([5, 8], [10], 5),
    ],
)
def test_loading_time_includes_the_slow_first_batch(seconds: list[float], batches: list[int], loading: float) -> None:
    clock = _Clock(lambda inputs: None, iter([2.0, *(2 + each for each in seconds)]).__next__)
    clock.loaded()
    for inputs in batches:
        clock.advanced(inputs)
    assert clock.loading == pytest.approx(loading)


def test_rows_contain_the_loading_time(emms_cache: Path) -> None:
    for resume in (True, False):  # the other time from features in the cache
        started = time.perf_counter()
        ranking = hf_emms.rank("demo_glosses", "emms-demo/bert-random", encoders="demo", max_samples=60, resume=resume)
        seconds = ranking.rows[0].seconds
        assert (seconds.loading > 0) == resume
        assert 0 < seconds.features + seconds.scoring <= time.perf_counter() - started
        assert 0 <= seconds.forward == pytest.approx(seconds.features - seconds.loading)
        assert [round(each, 3) for each in msgspec.structs.astuple(seconds)] == [*msgspec.structs.astuple(seconds)]
