"""Held-out scoring on moments equals refitting on rows, in any precision and form of labels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import zscore

import hf_emms
from hf_emms import LabelTable, score
from hf_emms.scoring.arrays import assign_folds
from hf_emms.scoring.cross_validation import CHEAP_WIDTH, COLUMNS_FOR_RIDGE, FOLDS_FOR_RIDGE, RIDGES
from hf_emms.scoring.linalg import minimize_quadratic

FOLDS = 5


def residuals_by_rows(x: np.ndarray, z: list[np.ndarray]) -> np.ndarray:
    """Products of the F-labels' held-out residuals by fold and ridge, (F, 12, K, K), as a person would compute them."""
    fold_of, widest = assign_folds(np.arange(len(x), dtype=np.uint64), FOLDS, 0), max(block.shape[1] for block in z)
    x = zscore(x)
    padded = [
        np.pad(zscore(block) * np.sqrt(widest / block.shape[1]), ((0, 0), (0, widest - block.shape[1]))) for block in z
    ]
    products = np.zeros((FOLDS, len(RIDGES), len(z), len(z)))
    for fold in range(FOLDS):
        test, train = fold_of == fold, fold_of != fold
        left = x - x[train].mean(axis=0)
        right = [block - block[train].mean(axis=0) for block in padded]
        values, vectors = np.linalg.eigh(left[train].T @ left[train] / train.sum())
        rotated = [vectors.T @ (left[train].T @ block[train]) / train.sum() for block in right]
        for place, ridge in enumerate(RIDGES):
            maps = [vectors @ (block / (values + ridge)[:, None]) for block in rotated]
            residuals = [block[test] - left[test] @ weights for block, weights in zip(right, maps, strict=True)]
            products[fold, place] = [[np.sum(a * b) for b in residuals] for a in residuals]
    return products / len(x) / widest


def losses(products: np.ndarray) -> np.ndarray:
    """The least loss of each ridge, (12,), at its best weights of F-labels, over some folds."""
    pooled = products.sum(axis=0)
    weights = [minimize_quadratic(residual) for residual in pooled]
    return np.array([t @ residual @ t for t, residual in zip(weights, pooled, strict=True)])


def problem(
    rows: int, width: int, widths: tuple[int, ...], texts: int, loud: float
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray] | LabelTable]:
    """Features, F-labels row by row, and the same labels in the form that is scored."""
    rng = np.random.default_rng(width)
    hidden = rng.normal(size=(rows, 8))
    x = hidden @ rng.normal(size=(8, width)) + rng.normal(size=(rows, width)) + rng.normal(0, 5, width)
    x += loud * rng.normal(size=(rows, 1))
    if texts:
        codes = hidden[:, :texts].argmax(axis=1)
        tables = tuple(rng.normal(size=(texts, size)) for size in widths)
        return x, [table[codes] for table in tables], LabelTable(codes, tables)
    z = [hidden @ rng.normal(size=(8, size)) + (k + 3) * rng.normal(size=(rows, size)) for k, size in enumerate(widths)]
    return x, z, z


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("rows", "width", "widths", "texts", "loud"),
    [
        (120, 10, (6, 6), 0, 0),
        (120, 60, (6, 4, 4), 0, 0),
        (80, 200, (6, 4), 0, 0),  # fewer rows than features: these are rotated
        (900, 70, (5, 3), 7, 0),
        # For labels wider than features the same sums are computed differently, even if a fold has fewer rows.
        *[(300, 90, (120,), 0, loud) for loud in (0, 100)],
        # Wide features: the ridge is chosen on some folds, and on some columns of wide labels.
        *[(1300, 520, (20,), 0, 0), (900, 520, (6, 6), 8, 0), (900, 600, (130, 130), 0, 0)],
    ],
)
def test_the_score_is_what_refitting_on_rows_gives(
    rows: int, width: int, widths: tuple[int, ...], texts: int, loud: float, dtype: type
) -> None:
    x, z, labels = problem(rows, width, widths, texts, loud)
    if not texts:
        labels = [block.astype(dtype) for block in z]
    result = score(x.astype(dtype), labels, estimator="emms", groups=range(rows))
    products = residuals_by_rows(x, z)
    expected = losses(products)
    place = int(np.argmin(np.abs(RIDGES - result.ridge)))
    assert -result.score == pytest.approx(expected[place], rel=1e-9 if dtype == np.float64 else 1e-4)
    assert expected[place] <= 1.01 * expected.min()
    if max(widths) <= COLUMNS_FOR_RIDGE or width <= CHEAP_WIDTH:
        assert place == losses(products[: FOLDS_FOR_RIDGE if width > CHEAP_WIDTH else None]).argmin()
    assert result.stderr == pytest.approx(np.std(result.folds, ddof=1) / np.sqrt(FOLDS))
    assert 0.0 < result.r2 < 1.0


@pytest.mark.parametrize("method", ["emms", "emms_exact", "emms_alternating", "logme"])
@pytest.mark.parametrize("kind", ["many rows", "far from zero", "loud", "wide and loud", "by class"])
def test_float32_scores_are_those_of_float64(kind: str, method: str) -> None:
    """Sums that grow far from their origin, and directions that are dwarfed by others, leave three digits or more."""
    rng = np.random.default_rng(0)
    rows, width = {"many rows": (6000, 200), "wide and loud": (100, 150)}.get(kind, (3000, 60))
    hidden = rng.normal(size=(rows, 20))
    x = hidden @ rng.normal(size=(20, width)) + rng.normal(size=(rows, width))
    labels = LabelTable.of_rows([hidden @ rng.normal(size=(20, 8)) + 3 * rng.normal(size=(rows, 8))])
    if "loud" in kind:  # as in untrained networks
        x = hidden @ rng.normal(size=(20, width)) + 300 * rng.normal(size=(rows, 1)) @ rng.normal(size=(1, width))
    elif kind == "far from zero":
        x += 1000
    elif kind == "by class":  # the first rows are a poor guess of the mean
        codes = np.arange(rows) * 5 // rows
        x, labels = x + 50 * codes[:, None], LabelTable(codes, (rng.normal(size=(5, 4)),))
    single = x.astype(np.float32)
    scores = (hf_emms.score(values, labels, estimator=method) for values in (single, single.astype(np.float64)))
    in_float32, in_float64 = map(float, scores)
    assert in_float32 == pytest.approx(in_float64, rel=1e-4, abs=2e-3)
