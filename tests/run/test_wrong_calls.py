"""Test that wrong calls raise errors that name the argument and the value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertModel

import hf_emms
from hf_emms import EmmsError, Ranking
from hf_emms.options import Options
from hf_emms.tasks.regression import VALUES
from tests.helpers.rankings import example

ROWS = np.eye(3)
BERT = BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1))
MONTHS = pd.DataFrame({"text": ["a", "b"], "label": pd.period_range("2020-01", periods=2, freq="M")})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: hf_emms.confirm(None), "ranking is None"),
        (lambda: hf_emms.sweep(None), "datasets is None"),
        (lambda: hf_emms.expected_gap(None), "ranking is None"),
        (lambda: hf_emms.expected_gap(example(), "slow"), "unknown budget 'slow'"),
        (lambda: example()[99], "the ranking has 4 rows"),
        (lambda: hf_emms.rank("demo_glosses", encoders=5), "encoders is"),
        (lambda: hf_emms.score(ROWS, ["a", "b", "c"], encoders=5), "encoders is 5"),
        (lambda: hf_emms.score(ROWS, [0, 1, 0], estimator="mrr"), "mrr needs more than was passed: search"),
        (lambda: hf_emms.score(ROWS), "labels is missing"),
        (lambda: hf_emms.score(ROWS, ROWS, encoders="demo"), "labels are embeddings already, so encoders"),
        (lambda: hf_emms.score(hf_emms.Moments(3, [3]), ROWS), "moments include labels"),
        (lambda: hf_emms.score(hf_emms.Moments(3, [3]), groups=[1]), "moments include labels"),
        (lambda: hf_emms.score(hf_emms.Moments(3, [3]), encoders="demo"), "moments include labels"),
        (lambda: hf_emms.rank("demo_glosses", BERT), "checkpoints is a BertModel in memory"),
        (lambda: hf_emms.rank("demo_glosses", encoders=[BERT]), "encoders is a BertModel in memory"),
        (lambda: hf_emms.embed_labels(["a"], BERT), "encoders is a BertModel in memory"),
        (lambda: hf_emms.rank(None), "dataset is None"),
        (lambda: hf_emms.rank(), "rank cannot be called so: missing a required argument: 'dataset'"),
        (lambda: hf_emms.rank("demo_glosses", [], "text-classification"), "rank cannot be called so: too many"),
        (lambda: hf_emms.emms(ROWS, np.array([0.5, 1.5, 2.5])), "labels has dtype float64 and shape (3,)"),
        (lambda: computed(references=np.array([0.5, 1.5, 2.5])), "references has dtype float64 and shape (3,)"),
        (lambda: evaluate.load("emms", "logme"), "estimators is logme; the first must compute EMMS"),
        (lambda: hf_emms.plan("demo_glosses", engine="local"), "unknown argument 'engine'"),
        (lambda: hf_emms.search("text-classification"), "HF_HUB_OFFLINE is set: the Hub cannot be searched"),
        (lambda: hf_emms.embed_labels(["a"], []), "no label encoder was named"),
        (lambda: hf_emms.embed_labels([], "demo"), "embed_labels needs a text for each row"),
        (lambda: hf_emms.embed_labels(["a", 1], "demo"), "embed_labels needs a text for each row"),
        (lambda: Ranking.load(5), "path is 5"),
        (lambda: hf_emms.rank("demo_glosses", progress=5), "progress is 5"),
        (lambda: hf_emms.Moments("8", [5]), "d1='8'"),
        (lambda: hf_emms.Moments(8, 5), "d1=8, widths=5"),
        (lambda: hf_emms.LabelTable([0, 1], 5), "tables is 5"),
        (lambda: hf_emms.rank(MONTHS), "the DataFrame cannot be read as a dataset: "),
        (lambda: hf_emms.rank(datasets.DatasetDict()), "the DatasetDict has no split"),
    ],
)
def test_errors_name_the_wrong_argument(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(EmmsError) as raised:
        call()
    assert raised.value.message.startswith(words)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: hf_emms.rank("demo_glosses", model="a"), "checkpoints"),
        (lambda: hf_emms.rank("demo_glosses", random_state=0), "seed"),
        (lambda: hf_emms.rank(dataset_name="demo_glosses"), "dataset"),
        (lambda: hf_emms.plan("demo_glosses", models=["a"]), "checkpoints"),
        (lambda: hf_emms.sweep(["demo_glosses"], model="a"), "checkpoints"),
        (lambda: hf_emms.confirm(example(), k=2), "top"),
        (lambda: hf_emms.embed_labels(["a"], model="a"), "encoders"),
        (lambda: hf_emms.emms(X=ROWS, y=[0, 1, 0]), "features"),
        (lambda: hf_emms.score(ROWS, [0, 1, 0], cv=5), "folds"),
        (lambda: hf_emms.search("text-classification", max_parameters="1B"), "max_params"),
        (lambda: example().top(n=2), "count"),
        (lambda: computed(estimator="emms"), "estimators"),
    ],
)
def test_errors_suggest_the_right_argument(call: Callable[[], Any], argument: str) -> None:
    with pytest.raises(EmmsError) as raised:
        call()
    assert raised.value.code == "unknown-argument"
    assert raised.value.hint == f"did you mean {argument}=...?"


@pytest.mark.parametrize(
    ("owner", "name", "instead"),
    [
        (example(), "to_csv", "ranking.save("),
        (example(), "plot", "ranking.to_pandas()"),
        (example(), "best_checkpoint", "ranking.best.checkpoint"),
        (example(), "to_panda", "to_pandas"),
        (hf_emms, "load", "hf_emms.Ranking.load("),
    ],
)
def test_errors_suggest_the_right_attribute(owner: Any, name: str, instead: str) -> None:
    assert not hasattr(owner, name)
    with pytest.raises(EmmsError) as raised:
        getattr(owner, name)
    assert raised.value.code == "unknown-attribute"
    assert raised.value.hint is not None
    assert raised.value.hint.startswith(f"use {instead}")


def test_devices_of_transformers_and_torch_are_names() -> None:
    for device, name in {-1: "cpu", 1: "cuda:1", torch.device("cpu"): "cpu", "mps": "mps"}.items():
        assert Options.of("demo_glosses", device=device, dtype=torch.float16).running.device == name
    assert Options.of("demo_glosses", dtype=torch.float16).running.dtype == "float16"


def test_the_config_of_the_metric_is_its_estimator() -> None:
    result = evaluate.load("emms", "emms_exact").compute(predictions=np.eye(9), references=np.eye(9))
    assert result["estimator"] == "emms_exact"


@cache
def metric() -> Any:
    return evaluate.load("emms")


def computed(**options: Any) -> Any:
    return metric().compute(**{"predictions": ROWS, "references": ROWS, **options})


# Argument → a call that passes a value for it; each of these values is wrong for most of them.
ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    "text of from_json": lambda value: Ranking.from_json(value),
    "path of load": lambda value: Ranking.load(value),
    "path of save": lambda value: example().save(value),
    "count of top": lambda value: example().top(value),
    "indent of to_json": lambda value: example().to_json(indent=value),
    "budget of expected_gap": lambda value: hf_emms.expected_gap(example(), value),
    "texts of embed_labels": lambda value: hf_emms.embed_labels(value, "demo"),
    "device of embed_labels": lambda value: hf_emms.embed_labels(["a"], "demo", device=value),
    "estimator of score": lambda value: hf_emms.score(ROWS, ROWS, estimator=value),
    "dataset of confirm": lambda value: hf_emms.confirm(example(), value),
    "progress of confirm": lambda value: hf_emms.confirm(example(), value, progress=value),
    "progress of rank": lambda value: hf_emms.rank("demo_glosses", "none/such", max_samples=60, progress=value or 5),
    "progress of sweep": lambda value: hf_emms.sweep(["none/such"], progress=value or 5),
    "encoders of the metric": lambda value: computed(encoders=value),
    "estimators of the metric": lambda value: computed(estimators=value),
}


# Argument → those of the values that it accepts.
VALID: dict[str, list[Any]] = {
    "count of top": [5],
    "indent of to_json": [None, 5],
    "texts of embed_labels": ["a"],
    **{key: [None, b"", []] for key in ("method of emms", "estimator of score", "encoders of the metric")},
}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_wrong_values_raise_emms_errors_only(argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in (None, 5, 2.5, "a", b"", [], (None,), {5: 5}, object()):
        if value not in VALID.get(argument, ()):
            with pytest.raises(EmmsError):
                ARGUMENTS[argument](value)


def test_rankings_are_hashable_and_indexable() -> None:
    ranking = example()
    name = ranking[0].checkpoint
    assert ranking[0] in ranking
    assert name in ranking
    assert name.rpartition("/")[2] in ranking
    assert "none" not in ranking
    assert {ranking: 1}[example()] == len({*ranking.rows, ranking[np.int64(0)]}) - 3
    assert ranking[-1] is ranking.rows[3]


def test_label_values_must_not_overflow_when_squared() -> None:
    with pytest.raises(ValueError, match="the label is 1e"):
        VALUES.measure(1e300, None)
