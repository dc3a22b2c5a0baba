"""A folder contains the reported model, and an interrupted call can be repeated."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

import hf_emms
from hf_emms.finetune.fine_tune import FineTuning, fine_tune, keep_best
from hf_emms.finetune.network import load_network
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.finetune.training import Training
from hf_emms.ranking import Ranking, TrainingRun
from hf_emms.ranking.progress import Progress
from hf_emms.run.confirm import fine_tuning_of, options_for, start_session
from tests import ROOT
from tests.docs.pages import fences
from tests.finetune.make import FAST, colours, pairs, rank_pairs, ranking, save, texts
from tests.helpers.tiny_checkpoints import build

SETTINGS: dict[str, Any] = {"encoders": "demo", "device": "cpu", "confirm": 1, "epochs": 1, "learning_rates": ["1e-2"]}


@pytest.fixture
def ranked(zoo: Path, tmp_path: Path) -> Ranking:
    data = save(colours(60), tmp_path / "colours")
    return ranking(data, "image-classification", {}, {str(build(zoo, "resnet")): -0.1})


@pytest.fixture
def ranked_pairs(zoo: Path, tmp_path: Path) -> Ranking:
    return rank_pairs(save(pairs(60), tmp_path / "pairs"), build(zoo, "bert"))


@pytest.mark.parametrize(("kind", "is_killed"), [("ranked", True), ("ranked_pairs", False)])
def test_a_model_that_the_time_limit_ended_is_not_reported_as_finished(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, is_killed: bool
) -> None:
    def end_after_a_step(work: FineTuning, job: TrainingJob, folder: Path) -> TrainingRun:
        """Train in this process until a deadline in the first step, and simulate a kill if asked."""
        places = {"models": work.runs.models_of(job), "deadline": 0.0}
        training = Training(job, work.splits, folder, torch.device("cpu"), **places)
        run = training.run(lambda: load_network(job.spec, work.splits))
        if is_killed:
            raise KeyboardInterrupt
        return run

    ranked = request.getfixturevalue(kind)
    folder, settings = tmp_path / "best", {**FAST, "device": "cpu"}
    limited = {**settings, "time_limit": "1h", "save_model": str(folder)}
    work = fine_tuning_of(ranked, start_session(ranked, options_for(ranked, confirm=1, **limited), Progress()))
    with suppress(KeyboardInterrupt):
        tuned = fine_tune(work, end_after_a_step)
        (run,) = tuned.best.fine_tuned.runs
        assert work.model_folder is not None
        keep_best(work, work.model_folder, tuned, end_after_a_step)
        assert run.unfinished is not None
        card = (folder / "README.md").read_text()
        assert "ended by the time limit" in card
        assert " --time-limit 1h" in card
    finished = hf_emms.confirm(ranked, top=1, **settings).best.fine_tuned
    assert hf_emms.confirm(ranked, top=1, **limited).best.fine_tuned == finished
    hf_emms.confirm(ranked, top=1, **{**settings, "cache": False, "save_model": str(tmp_path / "anew")})
    weights = [(place / "model.safetensors").read_bytes() for place in (folder, tmp_path / "anew")]
    assert weights[0] == weights[1]
    card = (folder / "README.md").read_text()
    assert [text in card for text in ("ended by the time limit", "--time-limit")] == [False, False]
    assert card.endswith("\n")


def with_labels(feature: Any, label_of: Callable[[int], Any], count: int = 60) -> datasets.Dataset:
    """Texts with labels that depend on the row number."""
    features = datasets.Features({"text": datasets.Value("string"), "label": feature})
    rows = [{"text": text, "label": label_of(row)} for row, text in enumerate(texts(count))]
    return datasets.Dataset.from_list(rows, features)


def classes(*names: str) -> datasets.ClassLabel:
    return datasets.ClassLabel(names=[*names])


def tagged_words() -> datasets.Dataset:
    rows = [{"tokens": ["a", f"w{row}", "z"], "ner_tags": [0, 1, 2]} for row in range(40)]
    features = {"tokens": [datasets.Value("string")], "ner_tags": [classes("O", "B-PER", "B-LOC")]}
    return datasets.Dataset.from_list(rows, datasets.Features(features))


# Dataset → its classes in the dataset's order, which is not alphabetical.
ORDERED: dict[str, tuple[datasets.Dataset, list[str]]] = {
    "names": (with_labels(classes("zebra", "an ape", "a cat"), lambda row: row % 3), ["zebra", "an ape", "a cat"]),
    "numbers": (with_labels(datasets.Value("int64"), lambda row: (2, 10, 100)[row % 3]), ["2", "10", "100"]),
    "several": (with_labels([classes("b", "c", "a")], lambda row: [row % 3, 2]), ["b", "c", "a"]),
    "texts": (with_labels(datasets.Value("string"), lambda row: "cab"[row % 3]), ["a", "b", "c"]),
    "tags": (tagged_words(), ["O", "B-PER", "B-LOC"]),
}


@pytest.mark.parametrize("kind", ORDERED)
def test_classes_keep_the_order_of_the_dataset(kind: str, tmp_path: Path) -> None:
    (data, names), folder = ORDERED[kind], tmp_path / "best"
    task = "token-classification" if kind == "tags" else "text-classification"
    settings = {**SETTINGS, "task": task, "save_model": str(folder)}
    hf_emms.rank(save(data, tmp_path / "data"), "emms-demo/bert-random", **settings)
    config = json.loads((folder / "config.json").read_text())
    assert list(config["id2label"].values()) == names
    assert [config["label2id"][name] for name in names] == [0, 1, 2]


def test_weights_have_the_permissions_of_other_files(ranked: Ranking, tmp_path: Path) -> None:
    before = os.umask(0o007)
    try:
        hf_emms.confirm(ranked, top=1, save_model=str(tmp_path / "best"), device="cpu", **{**FAST, "epochs": 1})
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "best").rglob("*") if path.is_file()}
    assert "model.safetensors" in modes
    assert {*modes.values()} == {0o660}


def test_the_documented_example_reproduces_the_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the example of docs/confirm.md."""
    monkeypatch.chdir(tmp_path)
    rows = with_labels(datasets.ClassLabel(names=["dog", "cat"]), lambda row: row % 2, count=120)
    data = save(rows, tmp_path / "data")
    ranking = hf_emms.rank(data, "emms-demo/bert-distilled", save_model="best", **{**SETTINGS, "epochs": 2})
    kept = json.loads(Path("best/test_rows.json").read_text())
    assert (kept["dataset"], kept["split"], kept["columns"]) == (data, "train", ["text"])
    names: dict[str, Any] = {}
    (code,) = (block for block in fences(ROOT / "docs" / "confirm.md", "python") if "test_rows.json" in block)
    exec(code, names)
    assert len(names["tested"]) == len(kept["ids"]) == int(ranking.best.fine_tuned.rows["test"].split()[0])
    assert names["accuracy"] == pytest.approx(ranking.best.fine_tuned.value)
