"""Held-out scoring on moments is that on rows: what a fold is compared with, in any precision and width of labels."""

from __future__ import annotations

import numpy as np
import pytest

from hf_emms import LabelTable, Moments, emms
from hf_emms.scoring.arrays import assign_folds
from hf_emms.scoring.cross_validation import FOLDS_FOR_RIDGE, RIDGES
from hf_emms.scoring.standardise import standardise

ROWS, FOLDS = 900, 4


def rows_and_labels(kind: str) -> tuple[np.ndarray, LabelTable, np.ndarray]:
    """Features, labels, and the standardised label columns that products are made of."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 70)) * rng.gamma(1, size=70) + rng.normal(0, 5, 70)
    if kind == "texts":
        codes = rng.integers(0, 9, ROWS)
        return x, LabelTable(codes, (rng.normal(size=(9, 5)),)), np.eye(9)[codes]
    z = rng.normal(size=(ROWS, 90)) + rng.normal(0, 5, 90)
    return x, LabelTable.of_rows([z]), (z - z.mean(axis=0)) / z.std(axis=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["columns", "texts"])
def test_both_sides_of_a_fold_are_sums_over_rows_about_the_training_mean(kind: str, dtype: type) -> None:
    x, labels, y = rows_and_labels(kind)
    moments = Moments.like(labels, x.shape[1], folds=FOLDS)
    batch = [table.astype(dtype) for table in labels.tables] if labels.dense else labels
    moments.update(x.astype(dtype), batch, groups=range(ROWS))
    statistics = standardise(moments)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    member = assign_folds(np.arange(ROWS, dtype=np.uint64), FOLDS, 0)
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype == np.float32 else 1e-12}
    np.testing.assert_allclose(np.triu(statistics.xx), np.triu(x.T @ x) / ROWS, **tolerance)
    np.testing.assert_allclose(statistics.xy, x.T @ y / ROWS, **tolerance)
    for index in range(FOLDS):
        test, train = member == index, member != index
        found = statistics.fold(index)
        assert found.train_share == train.mean()
        left, right = x - x[train].mean(axis=0), y - y[train].mean(axis=0)
        for chosen, xx, xy in ((test, found.xx.test, found.xy.test), (train, found.xx.train, found.xy.train)):
            assert (xx.dtype, xy.dtype) == (dtype, dtype)
            np.testing.assert_allclose(np.triu(xx), np.triu(left[chosen].T @ left[chosen]) / ROWS, **tolerance)
            np.testing.assert_allclose(xy, left[chosen].T @ right[chosen] / ROWS, **tolerance)


@pytest.mark.parametrize("loud", [0, 100])
def test_labels_wider_than_features_score_as_their_parts_do(loud: float) -> None:
    """Wide labels take another way to the same sums, even where a fold has fewer rows than features."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(300, 8))
    x = hidden @ rng.normal(size=(8, 90)) + rng.normal(size=(300, 90)) + loud * rng.normal(size=(300, 1))
    z = hidden @ rng.normal(size=(8, 120)) + 3 * rng.normal(size=(300, 120))
    wide = emms(x, z, method="emms")
    parts = [emms(x, part, method="emms") for part in np.split(z, 2, axis=1)]
    assert all(part.ridge == wide.ridge for part in parts)
    assert wide.score == pytest.approx(np.mean([part.score for part in parts]), rel=1e-9)
    assert wide.folds == pytest.approx(np.mean([part.folds for part in parts], axis=0), rel=1e-9)
    single = emms(x.astype(np.float32), z.astype(np.float32), method="emms")
    assert single.score == pytest.approx(wide.score, rel=1e-5)


def test_float32_scores_are_those_of_float64() -> None:
    """As many rows as features and more: sums, factors and products in float32 leave five digits."""
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(6000, 20))
    x = (hidden @ rng.normal(size=(20, 300)) + rng.normal(size=(6000, 300)) + 5).astype(np.float32)
    z = [(hidden @ rng.normal(size=(20, 200)) + s * rng.normal(size=(6000, 200))).astype(np.float32) for s in (3, 6)]
    for method in ("emms", "emms_exact"):
        single, double = (emms(x.astype(t), [b.astype(t) for b in z], method=method) for t in (np.float32, np.float64))
        assert single.score == pytest.approx(double.score, rel=2e-6)
        assert single.ridge == double.ridge
        assert single.weights == pytest.approx(double.weights, abs=1e-5)


def test_the_ridge_that_is_found_on_some_folds_is_the_best_of_their_neighbours() -> None:
    """Wide features: the first fold alone says where to look, all folds of the search decide."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(1300, 5))
    x = hidden @ rng.normal(size=(5, 520)) + rng.normal(size=(1300, 520))
    z = hidden @ rng.normal(size=(5, 20)) + 3 * rng.normal(size=(1300, 20))
    result = emms(x, z, method="emms", groups=range(1300))
    x, z = ((block - block.mean(axis=0)) / block.std(axis=0) for block in (x, z))
    member = assign_folds(np.arange(1300, dtype=np.uint64), 5, 0)
    losses = np.zeros(len(RIDGES))
    for fold in range(FOLDS_FOR_RIDGE):
        rest = member != fold
        left, right = x - x[rest].mean(axis=0), z - z[rest].mean(axis=0)
        values, vectors = np.linalg.eigh(left[rest].T @ left[rest] / rest.sum())
        rotated = vectors.T @ left[rest].T @ right[rest] / rest.sum()
        for index, ridge in enumerate(RIDGES):
            fitted = left[~rest] @ (vectors @ (rotated / (values + ridge)[:, None]))
            losses[index] += np.sum((right[~rest] - fitted) ** 2)
    assert result.ridge == pytest.approx(RIDGES[int(np.argmin(losses))])
