"""The paper's objective, solved three ways on moments: exact, one_pass and alternating.

All three need only two K x K matrices or the spectrum of XᵀX. With standardised X and Z and P_X the projection on X's
columns: A_jk = <Z_j, Z_k> / N and B_jk = <Z_j, P_X Z_k> / N, so that the objective at the best W is tᵀ(A − B)t / D2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh, get_blas_funcs, get_lapack_funcs

from hf_emms.scoring.linalg import minimise_quadratic, one_norm, project_simplex
from hf_emms.scoring.standardise import Standardised

# An eigenvalue of XᵀX below this many rounding errors of the largest one is rounding noise: the noise of D x D products
# is a matrix of random signs, whose norm stays below one rounding error of the largest eigenvalue.
ROUNDINGS = 2.0

# Gradient steps on W before each step on t in the alternating method.
STEPS_ON_W = 10_000


@dataclass(frozen=True)
class Solution:
    """What a method found.

    Attributes:
        score: minus the mean squared residual of a standardised label column; higher is better.
        weights: (K,), on the simplex.
        r2: explained share of the weighted F-label's variance.
        stderr: standard error of the score over folds, or None.
        folds: score of every fold, or empty.
        ridge: ridge strength relative to unit-variance features, or None.
        trace: objective after every iteration, or empty.
    """

    score: float
    weights: np.ndarray
    r2: float
    stderr: float | None = None
    folds: tuple[float, ...] = ()
    ridge: float | None = None
    trace: tuple[float, ...] = field(default=(), repr=False)


def exact(statistics: Standardised) -> Solution:
    """Global optimum of the paper's objective (arXiv 2308.06262, equation 3) over W and t together."""
    d2, zz = statistics.targets.d2, statistics.zz
    residual = zz - _explained(statistics)
    weights = minimise_quadratic(residual)
    loss = max(float(weights @ residual @ weights), 0.0)
    return Solution(-loss / d2, weights, 1.0 - loss / float(weights @ zz @ weights))


def one_pass(statistics: Standardised) -> Solution:
    """The official function: one least squares for W at t = 1/K, one for t, one projection; W is not refitted.

    Source: `EMMS` in the official repository's metrics.py, without its factor D2².
    """
    targets, zz = statistics.targets, statistics.zz
    explained = _explained(statistics)
    start = np.full(targets.k, 1.0 / targets.k)
    weights = project_simplex(np.linalg.lstsq(zz, explained @ start, rcond=None)[0])
    loss = float(start @ explained @ start - 2.0 * weights @ explained @ start + weights @ zz @ weights)
    return Solution(-loss / targets.d2, weights, 1.0 - loss / float(weights @ zz @ weights))


def alternating(statistics: Standardised, *, tolerance: float = 1e-9, max_iterations: int = 20_000) -> Solution:
    """Algorithm 1 of the paper: gradient steps on W and projected gradient steps on t, in turn.

    Both steps are as long as the Lipschitz constants of their gradients allow, so the objective never rises. W starts
    at 0 and stays in the span of V(XᵀZ_k), V the eigenvectors of XᵀX: D x K coefficients say all of it, and any
    number of gradient steps at one t is a geometric series in each of them.

    Args:
        statistics: the standardised moments.
        tolerance: stop once an iteration lowers the objective by less than this share of it.
        max_iterations: iterations at most.
    """
    targets, zz = statistics.targets, statistics.zz
    values, vectors = _spectrum(statistics)
    rotated = vectors.T @ statistics.xy_in(np.float64)
    grams = targets.row_products(rotated, rotated)
    weights = np.full(targets.k, 1.0 / targets.k)
    coefficients = np.zeros((len(values), targets.k))
    slowness = 1.0 - values / values.max(initial=np.finfo(float).tiny)
    kept = slowness**STEPS_ON_W
    gained = (1.0 - kept) / values
    step_t = 1.0 / np.linalg.eigvalsh(zz)[-1]
    trace: list[float] = []
    for _ in range(max_iterations):
        coefficients = kept[:, None] * coefficients + np.outer(gained, weights)
        applied = np.einsum("rjk,rk->rj", grams, coefficients)
        fit = applied.sum(axis=0)
        weights = project_simplex(weights - step_t * (zz @ weights - fit))
        power = float(np.einsum("r,rj,rj->", values, coefficients, applied))
        trace.append((power - 2.0 * float(weights @ fit) + float(weights @ zz @ weights)) / targets.d2)
        if len(trace) > 1 and trace[-2] - trace[-1] <= tolerance * max(trace[-1], tolerance):
            break
    loss = trace[-1] * targets.d2
    return Solution(-trace[-1], weights, 1.0 - loss / float(weights @ zz @ weights), trace=tuple(trace))


def _explained(statistics: Standardised) -> np.ndarray:
    """B: (K, K) inner products of the F-labels' projections on the columns of X."""
    whitened = whiten(statistics)
    return statistics.working_targets.inner(whitened, whitened)


def whiten(statistics: Standardised) -> np.ndarray:
    """L⁻¹XᵀY with XᵀX = LLᵀ; directions that are rounding noise are left out, as a pseudo-inverse would.

    In the input's precision where XᵀX is well conditioned for it, in float64 otherwise.
    """
    dtype = statistics.dtype
    rounding = float(np.finfo(dtype).eps)
    system = statistics.xx_in(dtype)
    factorise, condition = get_lapack_funcs(("potrf", "pocon"), (system,))
    norm = one_norm(system)
    factor, failed = factorise(system.T, lower=True, clean=False, overwrite_a=True)
    if not failed and condition(factor, norm, uplo="L")[0] > rounding:
        (divide,) = get_blas_funcs(("trsm",), (factor,))
        return divide(1.0, factor, statistics.xy_in(dtype).T, side=1, lower=1, trans_a=1, overwrite_b=True).T
    values, vectors = _spectrum(statistics)
    return ((vectors.T @ statistics.xy_in(np.float64)) / np.sqrt(values)[:, None]).astype(dtype)


def _spectrum(statistics: Standardised) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (r,) and eigenvectors (D, r) of XᵀX that are no rounding noise."""
    values, vectors = eigh(statistics.xx_in(np.float64), lower=False, check_finite=False, driver="evd")
    kept = values > max(ROUNDINGS * float(np.finfo(statistics.dtype).eps) * values[-1], 0.0)
    return values[kept], vectors[:, kept]
