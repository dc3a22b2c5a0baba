"""Held-out EMMS: ridge regression per fold, evaluated on the fold's own moments, in closed form.

For fold f and ridge r: W_k = (X_cᵀX_c + r)⁻¹X_cᵀZ_k on the complement c; the held-out cross-residuals
M_jk = <Z_j − XW_j, Z_k − XW_k>_f are summed over folds, r minimises min_t tᵀM(r)t, and t is that minimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice

import numpy as np
from scipy.linalg import get_blas_funcs, get_lapack_funcs, solve

from hf_emms.errors import EmmsError
from hf_emms.scoring.methods import Solution
from hf_emms.scoring.simplex import minimise_quadratic
from hf_emms.scoring.statistics import Fold, Standardised
from hf_emms.scoring.targets import Targets

# Relative to unit-variance features; 12 points are a whole number of Fibonacci steps.
RIDGES = np.geomspace(1e-4, 1e3, 12)

# What chooses the ridge where a Cholesky factor is dear: some label columns of each F-label, and some of the folds.
# The loss is flat around its least value, which hardly differs between columns; the score itself uses all of both.
COLUMNS_FOR_RIDGE = 48
FOLDS_FOR_RIDGE = 3
CHEAP_WIDTH = 512


def cross_validate(statistics: Standardised) -> Solution:
    """Held-out score, its standard error over folds, the weights and the ridge strength.

    Raises:
        EmmsError: fewer than two folds hold rows.
    """
    sizes = statistics.sums.n[statistics.sums.n > 0]
    if len(sizes) < 2:
        raise EmmsError(
            f"all {int(statistics.n)} rows fall into one fold; held-out scoring needs rows in at least two",
            "pass more rows or more groups, raise folds, or choose method='exact'",
        )
    ridge = _best_ridge(statistics)
    residual = statistics.held_out_labels - _explained(statistics.folds(), statistics.working_targets, ridge)
    weights = minimise_quadratic(residual.sum(axis=0))
    losses = np.einsum("j,fjk,k->f", weights, residual, weights)
    blank = float(weights @ statistics.held_out_labels.sum(axis=0) @ weights)
    per_row = losses / sizes / statistics.targets.d2
    stderr = float(np.std(per_row, ddof=1) / np.sqrt(len(per_row)))
    score = -float(losses.sum()) / statistics.n / statistics.targets.d2
    return Solution(score, weights, 1.0 - float(losses.sum()) / blank, stderr, tuple(map(float, -per_row)), ridge)


def _best_ridge(statistics: Standardised) -> float:
    """The ridge with the least held-out loss; each one that is tried costs a Cholesky factor a fold."""
    dear = len(statistics.x_scale) > CHEAP_WIDTH
    sample = statistics.some_columns(COLUMNS_FOR_RIDGE) if dear else statistics
    folds = list(islice(sample.folds(), FOLDS_FOR_RIDGE if dear else None))
    labels = sample.held_out_labels[: len(folds)].sum(axis=0)

    @cache
    def loss(index: int) -> float:
        pooled = labels - _explained(folds, sample.working_targets, float(RIDGES[index])).sum(axis=0)
        weights = minimise_quadratic(pooled)
        return float(weights @ pooled @ weights)

    return float(RIDGES[fibonacci_search(loss, len(RIDGES))])


def _explained(folds: Iterable[Fold], targets: Targets, ridge: float) -> np.ndarray:
    """By how much the held-out cross-products of labels shrink, fold by fold: (F, K, K)."""
    return np.stack([_fold_explained(fold, targets, ridge) for fold in folds])


def _fold_explained(fold: Fold, targets: Targets, ridge: float) -> np.ndarray:
    solution = _ridge_solve(fold.rest_xx, fold.rest_xy, fold.rest_n * ridge)
    (symm,) = get_blas_funcs(("symm",), (fold.xx,))
    fitted = symm(1.0, fold.xx.T, solution.T, side=1).T
    cross = targets.inner(fold.xy, solution)
    return cross + cross.T - targets.inner(solution, fitted)


def _ridge_solve(xx: np.ndarray, xy: np.ndarray, ridge: float) -> np.ndarray:
    """(xx + ridge·I)⁻¹ xy: (D, D) and (D, q) → (D, q).

    scipy's BLAS throughout, as in `_fold_explained`: it and numpy's keep a thread pool each, and the pools' waiting
    threads take the cores from one another when calls alternate.
    """
    system = xx.copy()
    system.flat[:: len(system) + 1] += ridge
    (factorise,), (divide,) = get_lapack_funcs(("potrf",), (xx,)), get_blas_funcs(("trsm",), (xx,))
    factor, failed = factorise(system.T, lower=True, clean=False, overwrite_a=True)
    if failed:  # float32 lost the small ridge beside the large eigenvalues; float64 does not
        precise = xx.astype(np.float64) + ridge * np.eye(len(xx))
        return np.ascontiguousarray(solve(precise, xy, assume_a="pos", check_finite=False), xx.dtype)
    half = divide(1.0, factor, xy.T, side=1, lower=1, trans_a=1)
    return divide(1.0, factor, half, side=1, lower=1, overwrite_b=True).T


def fibonacci_search(loss: Callable[[int], float], size: int) -> int:
    """Index of the least loss among 0..size-1, for a loss that falls and then rises (Kiefer 1953)."""
    span, shorter = 2, 1
    while span <= size:
        span, shorter = span + shorter, span
    low = -1
    while span > 2:
        left, right = low + span - shorter, low + shorter
        if right < size and loss(right) < loss(left):
            low = left
        span, shorter = shorter, span - shorter
    return low + 1
