"""Held-out EMMS: ridge regression per fold, evaluated on the fold's own moments, in closed form.

For fold f and ridge r: W_k = (X_cᵀX_c + r)⁻¹X_cᵀZ_k on the complement c; the held-out cross-residuals
M_jk = <Z_j − XW_j, Z_k − XW_k>_f are summed over folds, r minimises min_t tᵀM(r)t, and t is that minimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, eigh

from hf_emms.errors import EmmsError
from hf_emms.scoring.methods import Solution
from hf_emms.scoring.simplex import minimise_quadratic
from hf_emms.scoring.statistics import Fold, Standardised
from hf_emms.scoring.targets import Targets, TextTargets

# Relative to unit-variance features; 20 points is a whole number of Fibonacci steps.
RIDGES = np.geomspace(1e-5, 1e3, 20)


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
    ridge, residual = _search(statistics) if _few_texts(statistics) else _sweep(statistics)
    shares = sizes / statistics.n
    weights = minimise_quadratic(np.einsum("f,fjk->jk", shares, residual))
    losses = np.einsum("j,fjk,k->f", weights, residual, weights)
    blank = np.einsum("f,j,fjk,k->", shares, weights, statistics.held_out_labels, weights)
    loss, d2 = float(losses @ shares), statistics.targets.d2
    stderr = float(np.std(losses, ddof=1) / np.sqrt(len(losses)) / d2)
    folds = tuple(float(-value / d2) for value in losses)
    return Solution(-loss / d2, weights, 1.0 - loss / float(blank), stderr, folds, ridge)


def _few_texts(statistics: Standardised) -> bool:
    """Whether a Cholesky factor per ridge is cheaper than an eigendecomposition per fold, which costs ten."""
    targets, size = statistics.targets, len(statistics.x_scale)
    return isinstance(targets, TextTargets) and size > 1024 and len(targets.grams[0, 0]) <= size // 4


def _pooled_loss(statistics: Standardised, residual: np.ndarray) -> float:
    sizes = statistics.sums.n[statistics.sums.n > 0]
    pooled = np.einsum("f,fjk->jk", sizes / statistics.n, residual)
    weights = minimise_quadratic(pooled)
    return float(weights @ pooled @ weights)


def _sweep(statistics: Standardised) -> tuple[float, np.ndarray]:
    """Every ridge from one eigendecomposition per fold: (best ridge, its (F, K, K) residuals)."""
    targets = statistics.working_targets
    residuals = np.stack([_fold_sweep(fold, targets) for fold in statistics.folds()], axis=1)
    best = int(np.argmin([_pooled_loss(statistics, residual) for residual in residuals]))
    return float(RIDGES[best]), residuals[best]


def _fold_sweep(fold: Fold, targets: Targets) -> np.ndarray:
    """Held-out cross-residuals of one fold at every ridge: (ridges, K, K)."""
    values, vectors = eigh(fold.rest_xx, check_finite=False, driver="evd", overwrite_a=True)
    shrink = (1.0 / (np.maximum(values, 0.0) + RIDGES[:, None])).astype(vectors.dtype)
    fitted, seen = vectors.T @ fold.rest_xy, vectors.T @ fold.xy
    spread = vectors.T @ fold.xx @ vectors
    cross = np.einsum("lr,rjk->ljk", shrink, targets.row_products(seen, fitted), dtype=np.float64)
    residuals = fold.zz - cross - cross.transpose(0, 2, 1)
    for j in range(targets.k):
        for k in range(j, targets.k):
            power = np.einsum("lr,lr->l", shrink @ (spread * targets.gram(fitted, j, k)), shrink, dtype=np.float64)
            residuals[:, j, k] += power
            residuals[:, k, j] = residuals[:, j, k]
    return residuals


def _search(statistics: Standardised) -> tuple[float, np.ndarray]:
    """Few ridges, one Cholesky factor per fold and ridge: (best ridge, its (F, K, K) residuals)."""
    folds = list(statistics.folds())
    targets = statistics.working_targets
    assert isinstance(targets, TextTargets)

    @cache
    def residual(index: int) -> np.ndarray:
        return np.stack([_fold_residual(fold, targets, float(RIDGES[index])) for fold in folds])

    best = fibonacci_search(lambda index: _pooled_loss(statistics, residual(index)), len(RIDGES))
    return float(RIDGES[best]), residual(best)


def _fold_residual(fold: Fold, targets: TextTargets, ridge: float) -> np.ndarray:
    """Held-out cross-residuals of one fold at one ridge: (K, K)."""
    solution = _ridge_solve(fold.rest_xx, fold.rest_xy, ridge)
    cross = solution.T @ fold.xy
    power = solution.T @ (fold.xx @ solution)
    return fold.zz - targets.contract((cross + cross.T - power).astype(np.float64))


def _ridge_solve(xx: np.ndarray, xy: np.ndarray, ridge: float) -> np.ndarray:
    system = xx.copy()
    system.flat[:: len(system) + 1] += ridge
    try:
        factor = cholesky(system.T, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:  # float32 lost the small ridge beside the large eigenvalues; float64 does not
        return _ridge_solve(xx.astype(np.float64), xy, ridge).astype(xx.dtype)
    return cho_solve((factor, True), xy, check_finite=False)


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
