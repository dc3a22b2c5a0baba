"""Scores without held-out rows: EMMS as in the paper (arXiv 2308.06262), LogME and the H-score.

EMMS needs only two K x K matrices or the spectrum of XᵀX. With standardized X and Z, P_X the projection on X's columns,
A_jk = <Z_j, Z_k> / N and B_jk = <Z_j, P_X Z_k> / N, the paper's objective at the best W is tᵀ(A − B)t / D2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.linalg import eigh, get_lapack_funcs
from scipy.linalg.blas import dsymv

from hf_emms.errors import EmmsError
from hf_emms.scoring import Score
from hf_emms.scoring.labels import LabelBasis, are_classes
from hf_emms.scoring.linalg import divide_by_factor, minimize_quadratic, one_norm, project_simplex, symmetric
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.standardize import Standardized, rotate_rows, standardize
from hf_emms.texts import setting_ref

# Eigenvalues of XᵀX below this many rounding errors of the largest are rounding noise. The noise of D x D products is a
# matrix of random signs, and its norm stays below one rounding error of the largest eigenvalue.
ROUNDINGS = 2.0

# Gradient steps on W before each step on t in the alternating method.
STEPS_ON_W = 10_000
TOLERANCE, MAX_ITERATIONS = 1e-9, 20_000

# As in the authors' code of LogME.
ITERATIONS = 11
CONVERGED = 1e-3
EPSILON = 1e-5


def exact(statistics: Standardized) -> Score:
    """Return the paper's objective at its optimum: −min ‖XW − Σ_k t_k Z_k‖² / (N·D2) over W and t on the simplex.

    X (N, D1) and Z_k (N, D2_k) are standardized. For any t, the best W leaves tᵀ(A − B)t, a problem in K unknowns.

    Source: Meng et al. 2023 (arXiv 2308.06262), equation 3.
    """
    residual = statistics.zz - _explained(statistics)
    weights = minimize_quadratic(residual)
    return _in_sample(statistics, max(float(weights @ residual @ weights), 0.0), weights)


def one_pass(statistics: Standardized) -> Score:
    """Return the score of the official function: least squares for W (D1, D2) at t = 1/K, then for a projected t (K,).

    The score is −‖XW − Σ_k t_k Z_k‖² / (N·D2) at these W and t, for standardized X (N, D1) and Z_k (N, D2_k).

    Source: `EMMS` in the official repository's metrics.py (Algorithm 2 of arXiv 2308.06262), without its factor D2².
    """
    zz, explained = statistics.zz, _explained(statistics)
    start = np.full(len(zz), 1.0 / len(zz))
    weights = project_simplex(np.linalg.lstsq(zz, explained @ start, rcond=None)[0])
    loss = float(start @ explained @ start - 2.0 * weights @ explained @ start + weights @ zz @ weights)
    return _in_sample(statistics, loss, weights)


def alternating(statistics: Standardized) -> Score:
    """Return the score of the paper's Algorithm 1, which alternates gradient steps on W (D1, D2) and projected t (K,).

    Both minimize ‖XW − Σ_k t_k Z_k‖² / (N·D2) for standardized X (N, D1) and Z_k (N, D2_k). The loop ends if an
    iteration improves the objective by less than the share `TOLERANCE`. Source: arXiv 2308.06262.

    The step sizes follow from the Lipschitz constants of the gradients, so the objective never rises. W starts at 0
    and stays in the span of V(XᵀZ_k), with V the eigenvectors of XᵀX. D x K coefficients describe it, and gradient
    steps at the same t are a geometric series in each coefficient. Coefficients of large eigenvalues converge before t
    moves, so one K x K matrix represents all of them.
    """
    basis, zz = statistics.basis, statistics.zz
    values, vectors = _spectrum(statistics)
    rotated = vectors.T @ statistics.xy_in(np.float64)
    decay = (1.0 - values / values.max(initial=np.finfo(float).tiny)) ** STEPS_ON_W
    arrived = decay < np.finfo(float).eps
    whitened = rotated[arrived] / np.sqrt(values[arrived])[:, None]
    optimum = basis.inner(whitened, whitened)
    values, rotated, decay = values[~arrived], rotated[~arrived], decay[~arrived, None]
    grams = basis.row_products(rotated)
    gained = (1.0 - decay) / values[:, None]
    coefficients = np.zeros((len(values), len(zz)))
    weights = np.full(len(zz), 1.0 / len(zz))
    mixture = zz @ weights
    step_t = 1.0 / np.linalg.eigvalsh(zz)[-1]
    trace: list[float] = []
    for _ in range(MAX_ITERATIONS):
        coefficients = decay * coefficients + gained * weights
        applied = (grams @ coefficients[:, :, None])[:, :, 0]
        fit_of_arrived = dsymv(1.0, optimum.T, weights)
        power = float(weights @ fit_of_arrived + values @ (coefficients * applied).sum(axis=1))
        fit = fit_of_arrived + applied.sum(axis=0)
        weights = project_simplex(weights - step_t * (mixture - fit))
        mixture = dsymv(1.0, zz.T, weights)
        loss = power - 2.0 * float(weights @ fit) + float(weights @ mixture)
        trace.append(loss / basis.d2)
        if len(trace) > 1 and trace[-2] - trace[-1] <= TOLERANCE * max(trace[-1], TOLERANCE):
            break
    return _in_sample(statistics, loss, weights, trace=tuple(trace))


def _in_sample(statistics: Standardized, loss: float, weights: np.ndarray, **details: Any) -> Score:
    r2 = 1.0 - loss / float(weights @ statistics.zz @ weights)
    return Score(-loss / statistics.basis.d2, details={"weights": weights.tolist(), "r2": r2, "ridge": None, **details})


def _explained(statistics: Standardized) -> np.ndarray:
    """Return the inner products (K, K) of the label embeddings, projected on the features."""
    whitened = whiten(statistics)
    return statistics.basis.inner(whitened, whitened)


def whiten(statistics: Standardized) -> np.ndarray:
    """Return L⁻¹XᵀY with XᵀX = LLᵀ, without directions that are only rounding noise.

    The precision is the input's if XᵀX is well conditioned, else float64.
    """
    dtype = statistics.dtype
    system = statistics.xx_in(dtype)
    factorise, condition = get_lapack_funcs(("potrf", "pocon"), (system,))
    norm = one_norm(system)
    factor, failed = factorise(system.T, lower=True, overwrite_a=True)
    if not failed and condition(factor, norm, uplo="L")[0] > float(np.finfo(dtype).eps):
        return divide_by_factor(factor, statistics.xy_in(dtype), overwrite=True)
    values, vectors = _spectrum(statistics)
    return ((vectors.T @ statistics.xy_in(np.float64)) / np.sqrt(values)[:, None]).astype(dtype)


def _spectrum(statistics: Standardized) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues (r,) and eigenvectors (D, r) of XᵀX above the rounding noise."""
    values, vectors = eigh(statistics.xx_in(np.float64), lower=False, driver="evd")
    kept = values > max(ROUNDINGS * float(np.finfo(statistics.dtype).eps) * values[-1], 0.0)
    return values[kept], vectors[:, kept]


def logme(moments: Moments) -> Score:
    """Return LogME: the mean log evidence per row of a linear model from features to each label column.

    For a column y with prior precision α and noise precision β (fixed point of MacKay's updates):
    (n·log β + D1·log α − log|αI + βXᵀX| − β‖Xm − y‖² − α‖m‖² − n·log 2π) / 2n.
    Features are neither centered nor scaled, as in the authors' code. Targets are one-hot classes if labels are summed
    by text and most of them repeat, else the standardized columns of the label embeddings. If all labels are different,
    one-hot targets assign any order of the labels the same evidence.

    Source: You et al. 2021 (arXiv 2102.11005), algorithm 1.
    """
    statistics = standardize(moments)
    texts = int(np.count_nonzero(statistics.sums.y.sum(axis=0)))
    return _logme(moments, statistics.basis, on_classes=moments.basis.by_text and are_classes(texts, moments.n))


def logme_flabels(moments: Moments) -> Score:
    """Return LogME on the standardized columns of the label embeddings; see `logme`."""
    return _logme(moments, standardize(moments).basis, on_classes=False)


def _logme(moments: Moments, basis: LabelBasis, *, on_classes: bool) -> Score:
    rows = moments.rows()
    if rows is not None and moments.n < moments.d1:
        sums = moments.sums_of(replace(rows, x=rotate_rows(rows.x.copy())))
    else:
        sums = moments.sums()
    origin, n = sums.origin_x, float(moments.n)
    x, y = sums.x.sum(axis=0), sums.whole_y.sum(axis=0)
    half = np.outer(origin, x + 0.5 * n * origin)
    centered, xy = symmetric(sums.xx.sum(axis=0)), sums.xy.sum(axis=0, dtype=np.float64)
    sigma, vectors = eigh(centered + half + half.T, driver="evd")
    # Rounding noise is relative to the centered products, as a large mean is added to them in float64.
    noise = ROUNDINGS * float(np.finfo(moments.dtype).eps) * float(np.linalg.norm(centered))
    kept = sigma > max(noise, np.finfo(np.float64).eps * len(sigma) * sigma[-1])
    project = vectors[:, kept].T / np.sqrt(sigma[kept])[:, None]
    if on_classes:
        columns, squares = xy + np.outer(origin, y), y
    else:
        columns, squares = basis.expand((xy - np.outer(x, y / n)) * basis.scale), n * basis.variances()
    return Score(float(np.mean(_evidence(sigma[kept], (project @ columns) ** 2, squares, n))))


def _evidence(sigma: np.ndarray, explained: np.ndarray, squares: np.ndarray, n: float) -> np.ndarray:
    """Return the log evidence per row of every label column that varies, for n rows.

    `sigma` (r,) are the non-zero eigenvalues of XᵀX, `explained` (r, q) the squared projections of the label columns on
    X's left singular vectors, `squares` (q,) the columns' squared norms.
    """
    varies = squares > 0
    explained, squares = explained[:, varies], squares[varies]
    unexplained = np.maximum(squares - explained.sum(axis=0), 0.0)
    alpha, beta = np.ones(len(squares)), np.ones(len(squares))
    result = np.full(len(squares), -np.inf)
    active = np.ones(len(squares), dtype=bool)
    spectrum = sigma[:, None]
    for _ in range(ITERATIONS):
        ratio = alpha / beta
        gamma = (spectrum / (spectrum + ratio)).sum(axis=0)
        weights = (spectrum * explained / (ratio + spectrum) ** 2).sum(axis=0)
        residual = (explained / (1.0 + spectrum / ratio) ** 2).sum(axis=0) + unexplained
        alpha, beta = gamma / (weights + EPSILON), (n - gamma) / (residual + EPSILON)
        with np.errstate(divide="ignore"):  # alpha is 0 if no feature varies
            shrinkage = np.log1p(beta / alpha * spectrum).sum(axis=0)  # = Σ log(alpha + beta·sigma) − r·log alpha
        fresh = n * np.log(beta) - shrinkage - beta * residual - alpha * weights - n * np.log(2.0 * np.pi)
        result = np.where(active, fresh / (2.0 * n), result)
        active &= np.abs(alpha / beta - ratio) > CONVERGED * ratio
        if not active.any():
            break
    return result


def hscore(moments: Moments) -> Score:
    """Return the H-score: trace(cov(X)⁺ cov(E[X | class])), the between-class variance of whitened features.

    Source: Bao et al., ICIP 2019, definition 2.
    """
    statistics = standardize(moments)
    counts = statistics.sums.y.sum(axis=0)
    if not moments.basis.by_text or not are_classes(int(np.count_nonzero(counts)), moments.n):
        raise EmmsError(
            "labels-not-classes",
            "the H-score needs classes, but few labels repeat, so wide features win",
            "use " + setting_ref("estimators", "emms_knn") + ", which uses the meaning of labels",
        )
    share = counts / statistics.n
    present = share > 0
    return Score(float((whiten(statistics)[:, present] ** 2 / share[present]).sum()))
