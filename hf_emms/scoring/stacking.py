"""EMMS with two base learners: ridge regression and the mean label of the nearest rows, stacked by held-out loss.

Full fine-tuning bends the features, which a linear map cannot foresee: of two checkpoints from which a ridge explains
the labels equally well, the one where rows of like labels lie together tends to fine-tune better (docs/quality.md).
For fold f each base learner b leaves residuals E_b of the fold's rows, fitted on the others; with w on the simplex of
base learners and t on that of F-labels the loss is Σ_f ‖Σ_b w_b E_b t‖², least over both (stacked regression: Breiman
1996).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hf_emms.ranking import Score
from hf_emms.scoring.baselines import nearest
from hf_emms.scoring.cross_validation import held_out_score, ridge_solve
from hf_emms.scoring.folds import assign_folds
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.linalg import minimise_quadratic
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.standardise import Standardised, rotate_rows, standardise, standardise_rows
from hf_emms.scoring.sums import Gathered

# Fewer than k-NN alone takes, as the ridge has averaged the noise already: best of 1, 3, 5, 7, 10, 20 and 40 on the dev
# half of docs/quality.md.
NEIGHBOURS = 3
# Base learners and F-labels are weighed in turn; each turn lowers the loss, most of it in the first two.
MAX_ITER = 20
TOL = 1e-6
# Rows whose labels are held as columns at a time.
BLOCK = 2_048


def stack(
    x: np.ndarray, labels: LabelTable, groups: np.ndarray, *, folds: int, seed: int, ridge: float
) -> tuple[Score, float]:
    """Score features by both base learners.

    Args:
        x: float (N, D1), checked.
        labels: one a row, checked.
        groups: (N,); rows of one group share a fold.
        folds: number of folds F.
        seed: of the assignment of groups to folds.
        ridge: strength of the ridge, relative to unit-variance features: the best one of `cross_validate`.

    Returns:
        The held-out score of both together, and the weight of the neighbours; that of the ridge is the rest.

    Raises:
        EmmsError: labels that do not vary, or rows in one fold only.
    """
    x, _ = standardise_rows(x)
    if len(x) < x.shape[1]:
        x = rotate_rows(x)
    moments = Moments.like(labels, x.shape[1], folds=folds, seed=seed)
    moments.update_checked(x, labels, groups)
    statistics = standardise(moments, scaled=True)
    rows = Gathered(*moments.basis.blocks(labels, np.arange(len(x))))
    products = np.stack(list(_products(statistics, x, rows, assign_folds(groups, folds, seed), ridge)))
    learners, weights = _least(products.sum(axis=0))
    residual = np.einsum("b,fbcjk,c->fjk", learners, products, learners)
    return held_out_score(statistics, residual, weights, ridge), float(learners[1])


def _products(
    statistics: Standardised, x: np.ndarray, rows: Gathered, folds: np.ndarray, ridge: float
) -> Iterator[np.ndarray]:
    """Of every filled fold the sums of products of residuals, of each base learner with each: (2, 2, K, K).

    Args:
        statistics: of all rows.
        x: (N, D), standardised.
        rows: of the label side.
        folds: (N,).
        ridge: strength.
    """
    sums, basis = statistics.sums, statistics.basis
    found, usable = nearest(x, folds, NEIGHBOURS)
    shares = (usable / usable.sum(axis=1, keepdims=True)).astype(x.dtype)
    sum_x, sum_y = sums.x + sums.n[:, None] * sums.origin_x, sums.whole_y * basis.scale

    def labels_of(chosen: np.ndarray) -> np.ndarray:
        """Standardised labels of some rows: (r, q)."""
        return basis.encode(rows.take(chosen, np.empty((len(chosen), rows.width), rows.dtype)), x.dtype)

    def near(chosen: np.ndarray) -> np.ndarray:
        """The mean label of the neighbours of some rows: (r, q)."""
        total = labels_of(found[chosen, 0]) * shares[chosen, :1]
        for k in range(1, found.shape[1]):
            total += labels_of(found[chosen, k]) * shares[chosen, k, None]
        return total

    for number in statistics.filled:
        fold, train = statistics.fold(number), statistics.n - sums.n[number]
        mean_x, mean_y = ((total.sum(axis=0) - total[number]) / train for total in (sum_x, sum_y))
        solution = ridge_solve(fold.xx.train, fold.xy.train, fold.train_share * ridge, overwrite=True)
        # The ridge predicts x·W plus this row.
        offset = (mean_y - mean_x @ solution).astype(solution.dtype)
        total = np.zeros((2, 2, basis.k, basis.k))
        test = np.flatnonzero(folds == number)
        for part in np.split(test, range(BLOCK, len(test), BLOCK)):
            labels = labels_of(part)
            left = labels - x[part] @ solution - offset, labels - near(part)
            total += [[basis.inner(one, other) for other in left] for one in left]
        yield total


def _least(products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the base learners (B,) and of the F-labels (K,) with the least loss, of sums (B, B, K, K)."""
    learners = np.full(len(products), 1.0 / len(products))
    for _ in range(MAX_ITER):
        weights = minimise_quadratic(np.einsum("b,bcjk,c->jk", learners, products, learners))
        before, learners = learners, minimise_quadratic(np.einsum("j,bcjk,k->bc", weights, products, weights))
        if np.abs(learners - before).max() < TOL:
            break
    return learners, weights
