"""Errors of the metric for invalid input, and its state afterwards."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.errors import raises_code
from tests.helpers.metric import NAMES, assert_close, load, rows

__all__ = ["load", "rows"]

BAD = {
    "ragged predictions": ({"predictions": [[1.0, 2.0], [1.0]]}, "wrong-shape"),
    "ragged F-labels": ({"references": [[[1.0, 2.0], [1.0]]] * 2}, "wrong-shape"),
    "NaN": ({"predictions": [[1.0, 2.0], [np.nan, 1.0]]}, "not-finite"),
    "answers": ({"predictions": ["a", "b"]}, "wrong-type"),
    "a number": ({"predictions": 3.0}, "wrong-shape"),
    "lengths": ({"references": [[1.0]] * 3}, "different-lengths"),
    "no references": ({"references": None}, "setting-missing"),
    "one row": ({"predictions": [[1.0]], "references": [[1.0]]}, "few-rows"),
    "constant labels": ({"references": [[1.0], [1.0]]}, "labels-all-equal"),
    "texts of texts": ({"references": [["a"], ["b"]]}, "wrong-shape"),
    "ids without F-labels": ({"references": [0, 1]}, "labels-not-classes"),
    "ids beyond names": ({"references": [0, 3], "encoders": "demo", "class_names": NAMES}, "class-names-missing"),
    "no such encoder": ({"references": ["a", "b"], "encoders": "no/such"}, "not-cached"),
    "first estimator": ({"estimators": "logme"}, "unknown-estimator"),
    "no estimator": ({"estimators": []}, "unknown-estimator"),
    "option": ({"metod": "emms"}, "unknown-argument"),
    "estimator": ({"estimators": ["emms", "leep"]}, "unknown-estimator"),
    "folds": ({"folds": 1}, "invalid-value"),
    "groups": ({"groups": [1, 2, 3]}, "different-lengths"),
}


@pytest.mark.parametrize("change", BAD)
def test_bad_input_is_explained(load, change):
    arguments, code = BAD[change]
    good = {"predictions": [[1.0, 2.0], [2.0, 1.0]], "references": [[1.0], [2.0]]}
    with raises_code(code):
        load().compute(**{**good, **arguments})


CHANGES = {
    "D1": (lambda x, z: (x[:, :3], z), "wrong-shape"),
    "K": (lambda x, z: (x, z[:, :1]), "wrong-shape"),
    "kind": (lambda x, z: (x, np.arange(300)), "wrong-shape"),
    "lengths": (lambda x, z: (x, z[:2]), "different-lengths"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_different_batches_are_refused_without_losing_rows(load, rows, change):
    make, code = CHANGES[change]
    x, z = rows
    metric = load()
    metric.add_batch(predictions=x, references=z)
    predictions, references = make(x, z)
    with raises_code(code):
        metric.add_batch(predictions=predictions, references=references)
    with raises_code("unknown-estimator"):
        metric.compute(estimators="fancy")
    assert_close(metric.compute(), load().compute(predictions=x, references=z))


def test_computation_after_a_failure_starts_clean(load, rows):
    x, z = rows
    metric = load()
    metric.add_batch(predictions=x, references=z)
    with raises_code("different-lengths"):
        metric.compute(groups=[1, 2])
    assert len(metric) == 0
    assert not list(Path(metric.data_dir).glob("*.arrow"))
    metric.add_batch(predictions=x[:50], references=z[:50])
    assert metric.compute()["n"] == 50


def test_nothing_added_and_unknown_inputs(load):
    with raises_code("no-rows"):
        load().compute()
    with raises_code("unknown-column", "groups"):
        load().add_batch(predictions=[[1.0]], references=[[1.0]], groups=[1])
    with raises_code("unknown-argument", "'metod'"):
        load(metod="emms")
