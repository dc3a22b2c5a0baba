"""EMMS: how well a checkpoint's features explain what foundation models make of the labels (arXiv 2308.06262).

`cv` holds rows out, see `cross_validation`. The in-sample methods need two K x K matrices or the spectrum of XᵀX only:
with standardised X and Z, P_X the projection on X's columns, A_jk = <Z_j, Z_k> / N and B_jk = <Z_j, P_X Z_k> / N, the
paper's objective at the best W is tᵀ(A − B)t / D2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import eigh, get_lapack_funcs

from hf_emms.scoring import EmmsResult, Score
from hf_emms.scoring.linalg import lower_division, minimise_quadratic, one_norm, project_simplex
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.standardise import Standardised

# An eigenvalue of XᵀX below this many rounding errors of the largest one is rounding noise: the noise of D x D products
# is a matrix of random signs, whose norm stays below one rounding error of the largest eigenvalue.
ROUNDINGS = 2.0

# Gradient steps on W before each step on t in the alternating method.
STEPS_ON_W = 10_000

NO_VARIATION = "the features are the same in every row, and explain nothing: the weights may be all zero"


def describe(moments: Moments, statistics: Standardised, method: str, score: Score) -> EmmsResult:
    """A score by a method, with what a reader should know of it."""
    details = dict(score.details)
    trace = details.pop("trace", ())
    details["notes"] = _notes(moments, statistics, method)
    return EmmsResult(
        score.value, score.stderr, score.folds, details, method=method, n=moments.n, d1=moments.d1, trace=trace
    )


def _notes(moments: Moments, statistics: Standardised, method: str) -> list[str]:
    held_out, notes = method not in IN_SAMPLE, []
    if statistics.constant_columns == moments.d1:
        notes.append(NO_VARIATION)
    elif statistics.constant_columns:
        notes.append(
            f"ignored, because they do not vary: {statistics.constant_columns} of {moments.d1} feature columns"
        )
    if not held_out and moments.n <= moments.d1:
        notes.append(f"{moments.n} rows cannot tell {moments.d1} features apart: the in-sample residual is 0; use cv")
    filled = len(statistics.filled)
    if held_out and filled < moments.folds:
        notes.append(f"the groups fill {filled} of {moments.folds} folds")
    return notes


def exact(statistics: Standardised) -> Score:
    """The paper's objective at its global optimum: −min ‖XW − Σ_k t_k Z_k‖² / (N·D2) over W and t on the simplex.

    Of standardised X (N, D1) and Z_k (N, D2_k). For any t the best W leaves tᵀ(A − B)t, a programme in K unknowns.

    Source: Meng et al. 2023 (arXiv 2308.06262), equation 3.
    """
    residual = statistics.zz - _explained(statistics)
    weights = minimise_quadratic(residual)
    return _in_sample(statistics, max(float(weights @ residual @ weights), 0.0), weights)


def one_pass(statistics: Standardised) -> Score:
    """The official function: one least squares for W (D1, D2) at t = 1/K, one for t (K,), and one projection.

    The score is −‖XW − Σ_k t_k Z_k‖² / (N·D2) at that W and t, of standardised X (N, D1) and Z_k (N, D2_k).

    Source: `EMMS` in the official repository's metrics.py (Algorithm 2 of arXiv 2308.06262), without its factor D2².
    """
    zz, explained = statistics.zz, _explained(statistics)
    start = np.full(len(zz), 1.0 / len(zz))
    weights = project_simplex(np.linalg.lstsq(zz, explained @ start, rcond=None)[0])
    loss = float(start @ explained @ start - 2.0 * weights @ explained @ start + weights @ zz @ weights)
    return _in_sample(statistics, loss, weights)


def alternating(statistics: Standardised, *, tolerance: float = 1e-9, max_iterations: int = 20_000) -> Score:
    """Algorithm 1 of the paper: gradient steps on W (D1, D2) and projected gradient steps on t (K,), in turn.

    Both lower ‖XW − Σ_k t_k Z_k‖² / (N·D2), of standardised X (N, D1) and Z_k (N, D2_k). Source: arXiv 2308.06262.

    Both steps are as long as the Lipschitz constants of their gradients allow, so the objective never rises. W starts
    at 0 and stays in the span of V(XᵀZ_k), V the eigenvectors of XᵀX: D x K coefficients describe it, and any
    number of gradient steps at one t is a geometric series in each of them.

    Args:
        statistics: the standardised moments.
        tolerance: stop once an iteration lowers the objective by less than this share of it.
        max_iterations: iterations at most.
    """
    d2, zz = statistics.basis.d2, statistics.zz
    values, vectors = _spectrum(statistics)
    rotated = vectors.T @ statistics.xy_in(np.float64)
    grams = statistics.basis.row_products(rotated, rotated)
    weights = np.full(len(zz), 1.0 / len(zz))
    coefficients = np.zeros((len(values), len(zz)))
    decay = (1.0 - values / values.max(initial=np.finfo(float).tiny)) ** STEPS_ON_W
    gained = (1.0 - decay) / values
    step_t = 1.0 / np.linalg.eigvalsh(zz)[-1]
    trace: list[float] = []
    for _ in range(max_iterations):
        coefficients = decay[:, None] * coefficients + np.outer(gained, weights)
        applied = np.einsum("rjk,rk->rj", grams, coefficients)
        fit = applied.sum(axis=0)
        weights = project_simplex(weights - step_t * (zz @ weights - fit))
        power = float(np.einsum("r,rj,rj->", values, coefficients, applied))
        loss = power - 2.0 * float(weights @ fit) + float(weights @ zz @ weights)
        trace.append(loss / d2)
        if len(trace) > 1 and trace[-2] - trace[-1] <= tolerance * max(trace[-1], tolerance):
            break
    return _in_sample(statistics, loss, weights, trace=tuple(trace))


IN_SAMPLE: dict[str, Callable[[Standardised], Score]] = {
    "exact": exact,
    "one_pass": one_pass,
    "alternating": alternating,
}


def _in_sample(statistics: Standardised, loss: float, weights: np.ndarray, **details: Any) -> Score:
    """The score of a loss tᵀ(A − B)t at weights t, shape (K,)."""
    r2 = 1.0 - loss / float(weights @ statistics.zz @ weights)
    return Score(-loss / statistics.basis.d2, details={"weights": weights.tolist(), "r2": r2, "ridge": None, **details})


def _explained(statistics: Standardised) -> np.ndarray:
    """B: (K, K) inner products of the F-labels' projections on the columns of X."""
    whitened = whiten(statistics)
    return statistics.basis.inner(whitened, whitened)


def whiten(statistics: Standardised) -> np.ndarray:
    """L⁻¹XᵀY with XᵀX = LLᵀ; directions that are rounding noise are left out, as a pseudo-inverse would.

    In the input's precision where XᵀX is well conditioned for it, in float64 otherwise.
    """
    dtype = statistics.dtype
    system = statistics.xx_in(dtype)
    factorise, condition = get_lapack_funcs(("potrf", "pocon"), (system,))
    norm = one_norm(system)
    factor, failed = factorise(system.T, lower=True, clean=False, overwrite_a=True)
    if not failed and condition(factor, norm, uplo="L")[0] > float(np.finfo(dtype).eps):
        divide, lower = lower_division(factor, statistics.basis.size)
        return divide(1.0, lower, statistics.xy_in(dtype).T, side=1, lower=1, trans_a=1, overwrite_b=True).T
    values, vectors = _spectrum(statistics)
    return ((vectors.T @ statistics.xy_in(np.float64)) / np.sqrt(values)[:, None]).astype(dtype)


def _spectrum(statistics: Standardised) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (r,) and eigenvectors (D, r) of XᵀX that are no rounding noise."""
    values, vectors = eigh(statistics.xx_in(np.float64), lower=False, check_finite=False, driver="evd")
    kept = values > max(ROUNDINGS * float(np.finfo(statistics.dtype).eps) * values[-1], 0.0)
    return values[kept], vectors[:, kept]
