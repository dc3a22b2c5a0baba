"""Errors of the metric for invalid input, and its state afterwards."""

from pathlib import Path

import numpy as np
import pytest

import hf_emms
from tests.helpers.metric import NAMES, assert_close, load, rows

__all__ = ["load", "rows"]

BAD = {
    "ragged predictions": ({"predictions": [[1.0, 2.0], [1.0]]}, "not a rectangular array"),
    "ragged F-labels": ({"references": [[[1.0, 2.0], [1.0]]] * 2}, "not a rectangular array"),
    "NaN": ({"predictions": [[1.0, 2.0], [np.nan, 1.0]]}, r"predictions .* NaN .*\(1, 0\)"),
    "answers": ({"predictions": ["a", "b"]}, r"predictions has dtype <U1 and shape \(2,\)"),
    "a number": ({"predictions": 3.0}, r"predictions has shape \(\)"),
    "lengths": ({"references": [[1.0]] * 3}, "predictions has 2 rows but references has 3"),
    "no references": ({"references": None}, "references are missing"),
    "one row": ({"predictions": [[1.0]], "references": [[1.0]]}, "1 row was passed"),
    "constant labels": ({"references": [[1.0], [1.0]]}, "does not vary over 2 rows"),
    "texts of texts": ({"references": [["a"], ["b"]]}, r"references has dtype <U1 and shape \(2, 1\)"),
    "ids without F-labels": ({"references": [0, 1]}, "references are class ids, 2 different ones in 2 rows"),
    "ids beyond names": ({"references": [0, 3], "encoders": "demo", "class_names": NAMES}, "class_names has 3 names"),
    "no such encoder": ({"references": ["a", "b"], "encoders": "no/such"}, "a label encoder cannot be used"),
    "first estimator": ({"estimators": "logme"}, "estimators is logme; the first must compute EMMS"),
    "no estimator": ({"estimators": []}, "estimators is empty"),
    "option": ({"metod": "emms"}, "no option 'metod'"),
    "estimator": ({"estimators": ["emms", "leep"]}, "unknown estimator 'leep'"),
    "folds": ({"folds": 1}, "folds=1"),
    "groups": ({"groups": [1, 2, 3]}, "groups has 3 entries"),
}


@pytest.mark.parametrize("change", BAD)
def test_bad_input_is_explained(load, change):
    arguments, message = BAD[change]
    good = {"predictions": [[1.0, 2.0], [2.0, 1.0]], "references": [[1.0], [2.0]]}
    with pytest.raises(hf_emms.EmmsError, match=message):
        load().compute(**{**good, **arguments})


CHANGES = {
    "D1": (lambda x, z: (x[:, :3], z), "a batch has D1=3, K=2, D2=5; the rows before: D1=12"),
    "K": (lambda x, z: (x, z[:, :1]), "K=1, D2=5; .* K=2"),
    "kind": (lambda x, z: (x, np.arange(300)), "D1=12 and class ids; .* K=2"),
    "lengths": (lambda x, z: (x, z[:2]), "predictions has 300 rows but references has 2"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_different_batches_are_refused_without_losing_rows(load, rows, change):
    make, message = CHANGES[change]
    x, z = rows
    metric = load()
    metric.add_batch(predictions=x, references=z)
    predictions, references = make(x, z)
    with pytest.raises(ValueError, match=message):
        metric.add_batch(predictions=predictions, references=references)
    with pytest.raises(ValueError, match="the first must compute EMMS"):
        metric.compute(estimators="fancy")
    assert_close(metric.compute(), load().compute(predictions=x, references=z))


def test_computation_after_a_failure_starts_clean(load, rows):
    x, z = rows
    metric = load()
    metric.add_batch(predictions=x, references=z)
    with pytest.raises(ValueError, match="groups has 2 entries"):
        metric.compute(groups=[1, 2])
    assert len(metric) == 0
    assert not list(Path(metric.data_dir).glob("*.arrow"))
    metric.add_batch(predictions=x[:50], references=z[:50])
    assert metric.compute()["n"] == 50


def test_nothing_added_and_unknown_inputs(load):
    with pytest.raises(ValueError, match="no rows were added"):
        load().compute()
    with pytest.raises(ValueError, match="not groups"):
        load().add_batch(predictions=[[1.0]], references=[[1.0]], groups=[1])
    with pytest.raises(ValueError, match="no option 'metod'"):
        load(metod="emms")
