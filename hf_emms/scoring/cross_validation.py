"""Held-out EMMS: ridge regression per fold in closed form, evaluated on the moments of the fold.

For fold f and ridge r: W_k = (X_cᵀX_c + r)⁻¹X_cᵀZ_k on the complement c; the held-out cross-residuals
M_jk = <Z_j − XW_j, Z_k − XW_k>_f are summed over folds, r minimizes min_t tᵀM(r)t, and t is that minimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import get_blas_funcs, get_lapack_funcs, solve

from hf_emms.errors import EmmsError
from hf_emms.scoring import Score
from hf_emms.scoring.linalg import divide_by_factor, minimize_quadratic
from hf_emms.scoring.standardize import Fold, Standardized

# Relative to unit-variance features; 12 points are a whole number of Fibonacci steps.
RIDGES = np.geomspace(1e-4, 1e3, 12)

# If a Cholesky factor is expensive, the search for the ridge strength uses some label columns and some of the folds.
# The loss is flat around its minimum, which hardly differs between columns. The score uses all columns and folds.
COLUMNS_FOR_RIDGE = 48
FOLDS_FOR_RIDGE = 3
CHEAP_WIDTH = 512


@dataclass(frozen=True)
class RidgeFit:
    """The ridge regressions per fold, fitted on the rows of the other folds."""

    ridge: float  # strength with the least held-out loss, relative to unit-variance features
    residual: np.ndarray  # (F, K, K), sums over each filled fold of products of residuals
    solutions: tuple[np.ndarray, ...]  # coefficients (D, q) per filled fold


def fit_ridge(statistics: Standardized) -> RidgeFit:
    """Fit a ridge regression outside each fold, with the strength of `RIDGES` with the least held-out loss."""
    if len(statistics.filled) < 2:
        raise EmmsError(
            "one-fold",
            f"all {int(statistics.n)} rows are in the same fold; held-out scoring needs rows in at least two folds",
            "use more rows or groups, more folds, or a method without held-out rows: emms_exact",
        )
    expensive = len(statistics.x_scale) > CHEAP_WIDTH
    sample = statistics.some_columns(COLUMNS_FOR_RIDGE) if expensive else statistics
    searched = statistics.filled[: FOLDS_FOR_RIDGE if expensive else None]
    splits = {fold: statistics.split_xx(fold) for fold in searched}
    folds = [sample.fold(fold, split) for fold, split in splits.items()]
    ridge = _best_ridge(sample, folds, 1 if expensive else len(folds))
    explained, solutions = [], []
    for number in statistics.filled:
        fold = statistics.fold(number, splits.pop(number, None))
        solution = _solved(fold, ridge, overwrite=True)
        explained.append(_explained(statistics, fold, solution, ridge, overwrite=True))
        solutions.append(solution)
    return RidgeFit(ridge, statistics.test_labels - np.stack(explained), tuple(solutions))


def ridge_score(statistics: Standardized, fit: RidgeFit) -> Score:
    """Return EMMS on held-out rows: −min_t Σ_f ‖Σ_k t_k (Z_k − X W_k^(f))‖²_f / (N·D2), t on the simplex.

    X (N, D1) and Z_k (N, D2_k) are standardized. W_k^(f) (D1, D2_k) is the ridge regression on the rows outside fold f,
    and ‖·‖_f sums over the rows inside.

    Source: the objective is equation 3 of arXiv 2308.06262. The estimate by ridge and folds is our own.
    """
    return held_out_score(statistics, fit.residual, minimize_quadratic(fit.residual.sum(axis=0)), fit.ridge)


def held_out_score(statistics: Standardized, residual: np.ndarray, weights: np.ndarray, ridge: float) -> Score:
    """Return the held-out score for given weights (K,) of the label embeddings."""
    losses = np.maximum(np.einsum("j,fjk,k->f", weights, residual, weights), 0.0)  # rounding may make them negative
    null_loss = float(weights @ statistics.test_labels.sum(axis=0) @ weights)
    per_row = losses / statistics.sums.n[statistics.filled] / statistics.basis.d2
    stderr = float(np.std(per_row, ddof=1) / np.sqrt(len(per_row)))
    score = -float(losses.sum()) / statistics.n / statistics.basis.d2
    r2 = 1.0 - float(losses.sum()) / null_loss
    details = {"weights": weights.tolist(), "r2": r2, "ridge": ridge}
    return Score(score, stderr, tuple((-per_row).tolist()), details)


def _best_ridge(statistics: Standardized, folds: list[Fold], few: int) -> float:
    """Return the ridge strength with the least loss on these folds. Each trial costs one Cholesky factor per fold.

    A coarse search uses the first `few` folds. From its best strength, a search on all folds goes in the direction of
    the better neighbor as long as the loss falls.
    """
    labels = statistics.test_labels

    @cache
    def residual(index: int, fold: int) -> np.ndarray:
        tried = float(RIDGES[index])
        return labels[fold] - _explained(statistics, folds[fold], _solved(folds[fold], tried), tried)

    @cache
    def loss(index: int, count: int) -> float:
        pooled = np.sum([residual(index, fold) for fold in range(count)], axis=0)
        weights = minimize_quadratic(pooled)
        return float(weights @ pooled @ weights)

    least = search_twice(lambda index: loss(index, few), lambda index: loss(index, len(folds)), len(RIDGES))
    return float(RIDGES[least])


def _solved(fold: Fold, ridge: float, *, overwrite: bool = False) -> np.ndarray:
    """Fit coefficients (D, q) outside a fold. `overwrite` reuses the memory of its products."""
    return ridge_solve(fold.xx.train, fold.xy.train, fold.train_share * ridge, overwrite=overwrite)


def _explained(
    statistics: Standardized, fold: Fold, solution: np.ndarray, ridge: float, *, overwrite: bool = False
) -> np.ndarray:
    """Return how much of a fold's label products a ridge solution explains, (K, K).

    S = X_fᵀX_f and V = X_fᵀZ are the products of the fold. `overwrite` reuses the memory of V.
    """
    penalty, test, inner = fold.train_share * ridge, fold.xx.test, statistics.basis.inner
    # With S + penalty = LLᵀ, ‖LᵀW‖² is half the work of SW. That pays for the factor if W is wide.
    factor = _cholesky(test, penalty) if solution.shape[1] > len(solution) else None
    if factor is not None:
        products = 2.0 * inner(solution, fold.xy.test) + penalty * inner(solution, solution)
        (multiply,) = get_blas_funcs(("trmm",), (factor,))
        root = fold.xy.test if overwrite else np.empty_like(solution)
        np.copyto(root, solution)
        root = multiply(1.0, factor, root.T, side=1, lower=1, overwrite_b=True).T
        products -= inner(root, root)
    else:
        (multiply,) = get_blas_funcs(("symm",), (solution,))
        right = fold.xy.test.T
        left = multiply(-1.0, test.T, solution.T, beta=2.0, c=right, side=1, lower=1, overwrite_c=overwrite).T
        products = inner(solution, left)  # of W and 2V − SW
    return statistics.n * (products + products.T) / 2.0


def ridge_solve(xx: np.ndarray, xy: np.ndarray, ridge: float, *, overwrite: bool) -> np.ndarray:
    """Return (xx + ridge·I)⁻¹ xy, (D, q), from the upper triangle of xx. `overwrite` reuses the memory of xy."""
    factor = _cholesky(xx, ridge)
    if factor is None:  # float32 loses a small ridge next to large eigenvalues
        precise = xx.astype(np.float64) + ridge * np.eye(len(xx))
        return np.ascontiguousarray(solve(precise, xy, assume_a="pos"), xx.dtype)
    half = divide_by_factor(factor, xy, overwrite=overwrite)
    return divide_by_factor(factor, half, overwrite=True, transposed=True)


def _cholesky(xx: np.ndarray, ridge: float) -> np.ndarray | None:
    """Return the Fortran-ordered lower factor of xx + ridge·I, or None if it is not positive definite."""
    system = xx.copy()
    system.flat[:: len(system) + 1] += ridge
    (factorise,) = get_lapack_funcs(("potrf",), (system,))
    factor, failed = factorise(system.T, lower=True, overwrite_a=True)
    return None if failed else factor


def fibonacci_search(loss: Callable[[int], float], size: int) -> int:
    """Return the index in 0..size-1 with the least loss, for a loss that falls and then rises (Kiefer 1953).

    The first steps are large, so most small bumps of the loss do not stop the search.
    """
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


def search_twice(coarse: Callable[[int], float], loss: Callable[[int], float], size: int) -> int:
    """Search the index with the least loss in two steps: coarse, then fine.

    The coarse loss of its two neighbors decides the direction.
    """

    def of_neighbor(index: int) -> float:
        return coarse(index) if 0 <= index < size else np.inf

    start = fibonacci_search(coarse, size)
    step = -1 if of_neighbor(start - 1) < of_neighbor(start + 1) else 1
    return descend(loss, start, step, size)


def descend(loss: Callable[[int], float], start: int, step: int, size: int) -> int:
    """Go from `start` in steps of 1 or -1 while the loss falls, and return the last index."""
    while 0 <= start + step < size and loss(start + step) < loss(start):
        start += step
    return start
