"""What `evaluate.load("emms")` computes, however the rows come."""

import doctest
import importlib
import inspect
import json
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from datasets import Dataset

import hf_emms
import hf_emms.metric.module
from tests import ROOT
from tests.helpers import golden
from tests.helpers.metric import NAMES, assert_close, load, rows

__all__ = ["load", "rows"]

FOLDER = ROOT / "hf_emms" / "metric" / "emms"


@pytest.mark.parametrize("problem", golden.PROBLEMS, ids=lambda problem: f"seed{problem['seed']}")
def test_golden_scores(load, problem):
    x, z = golden.arrays(problem)
    result = load().compute(predictions=x, references=z.swapaxes(1, 2), estimators="emms_exact")
    assert result["score"] == pytest.approx(problem["exact_score"], abs=1e-7)
    assert result["weights"] == pytest.approx(problem["exact_weights"], abs=1e-5)


def test_values_equal_hf_emms_and_are_plain_python(load, rows):
    x, z = rows
    result = load().compute(predictions=x, references=z, seed=4, folds=3, estimators=["emms_knn", "logme", "knn"])
    direct = hf_emms.emms(x, z.swapaxes(1, 2), seed=4, folds=3)
    assert list(result) == ["score", "stderr", "weights", "r2", "n", "d1", "estimator", "logme", "knn"]
    assert result["score"] == pytest.approx(direct.score, rel=1e-9)
    assert result["r2"] == pytest.approx(direct.r2, rel=1e-9)
    assert result["weights"] == pytest.approx(list(direct.weights), rel=1e-9)
    assert json.loads(json.dumps(result)) == result
    assert [type(value) for value in result.values()] == [float, float, list, float, int, int, str, float, float]


@pytest.mark.parametrize(
    ("settings", "size", "options"),
    [
        ({}, 64, {"folds": 2, "seed": 2, "estimators": ["emms_knn", "logme", "knn"]}),
        ({"keep_in_memory": True}, 299, {"estimators": "emms_exact"}),
    ],
)
def test_batches_equal_one_call(load, rows, settings, size, options):
    x, z = rows
    metric, buffer = load(**settings), np.empty_like(x[:size])
    for start in range(0, len(x), size):
        batch = buffer[: len(x[start : start + size])]
        batch[:] = x[start : start + size]  # what was added does not change with it
        metric.add_batch(predictions=batch, references=z[start : start + size])
    assert len(metric) == 300
    assert_close(metric.compute(**options), load().compute(predictions=x, references=z, **options))


def test_single_rows_and_a_last_batch_with_compute(load, rows):
    x, z = rows
    metric = load()
    for features, labels in zip(x[:200], z[:200], strict=True):
        metric.add(prediction=features, reference=labels)
    at_once = load().compute(predictions=x, references=z)
    assert_close(metric.compute(predictions=x[200:], references=z[200:]), at_once)
    metric.add_batch(predictions=x[:, :4], references=z[:, 0])  # it starts afresh, and leaves no file
    assert metric.compute()["d1"] == 4
    assert not list(Path(metric.data_dir).glob("*.arrow"))


@pytest.mark.parametrize(
    "form",
    [
        lambda x, z: (x.tolist(), z.tolist()),
        lambda x, z: (list(x), list(z)),
        lambda x, z: (torch.tensor(x, requires_grad=True), torch.tensor(z)),
        lambda x, z: ([torch.tensor(row) for row in x], [torch.tensor(row) for row in z]),
        lambda x, z: (Dataset.from_dict({"x": x, "z": z})[name] for name in "xz"),
    ],
    ids=["lists", "lists of arrays", "tensors", "lists of tensors", "columns of a dataset"],
)
def test_forms_of_numbers(load, rows, form):
    x, z = rows
    predictions, references = form(x, z)
    assert_close(
        load().compute(predictions=predictions, references=references), load().compute(predictions=x, references=z)
    )


def test_groups_share_a_fold(load, rows):
    x, z = (np.repeat(array[:60], 5, axis=0) for array in rows)
    groups = np.repeat(np.arange(60), 5)
    metric = load()
    metric.add_batch(predictions=x, references=z)
    with_groups, without = metric.compute(groups=groups), load().compute(predictions=x, references=z)
    numbered = load().compute(predictions=x, references=z, groups=range(300))
    assert with_groups["score"] < numbered["score"]
    # Without ids, rows of equal features are a group.
    assert without["score"] == pytest.approx(with_groups["score"], rel=0.1)
    assert with_groups["score"] == pytest.approx(hf_emms.emms(x, z.swapaxes(1, 2), groups=groups).score, rel=1e-6)


@pytest.fixture(scope="module")
def classes(rows):
    codes = np.random.default_rng(2).integers(0, 3, 300)
    return rows[0] + 2 * np.eye(3, 12, dtype=np.float32)[codes], codes


def test_label_encoders(load, classes):
    x, codes = classes
    texts = load(encoders=["demo"]).compute(
        predictions=x, references=[NAMES[code] for code in codes], estimators=["emms_knn", "knn"]
    )
    ids = load().compute(
        predictions=x, references=codes, encoders="demo", class_names=NAMES, estimators=["emms_knn", "knn"]
    )
    assert len(texts["weights"]) == 3
    assert texts["score"] == pytest.approx(ids["score"], rel=1e-5)
    assert texts["knn"] == ids["knn"] > 0.5


def test_options_of_load_are_defaults(load, rows):
    x, z = rows
    metric = load(estimators="emms_exact", seed=5)
    assert metric.compute(predictions=x, references=z)["estimator"] == "emms_exact"
    assert metric.compute(predictions=x, references=z, estimators="emms_knn", folds=4) == load().compute(
        predictions=x, references=z, folds=4, seed=5
    )


def test_combined_metrics_accept_batches_and_single_rows(load, rows):
    x, z = rows
    both = evaluate.combine({"held_out": load(), "paper": load(estimators="emms_exact")})
    both.add_batch(predictions=x[:299], references=z[:299])
    both.add(prediction=x[299], reference=z[299])
    result = both.compute()
    for name, options in {"held_out": {}, "paper": {"estimators": "emms_exact"}}.items():
        alone = load().compute(predictions=x, references=z, **options)
        assert result[f"{name}_score"] == pytest.approx(alone["score"], rel=1e-6)


def test_rules_of_evaluate_and_examples_of_the_card(load):
    """What evaluate's tests check of each metric: no **kwargs in _compute, and examples in the module's docstrings."""
    module = importlib.import_module(evaluate.loading.evaluation_module_factory(str(FOLDER)).module_path)
    parameters = inspect.signature(evaluate.loading.import_main_class(module.__name__)._compute).parameters
    assert all(parameter.kind != parameter.VAR_KEYWORD for parameter in parameters.values())
    results = doctest.testmod(hf_emms.metric.module, raise_on_error=True)
    assert results.failed == 0
    assert results.attempted > 1
    text = (FOLDER / "README.md").read_text().replace("```python", "").replace("```", "")
    card = doctest.DocTestParser().get_doctest(text, {}, "card", None, None)
    assert card.examples
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(card).failed == 0
