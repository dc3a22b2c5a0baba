"""LogME: maximum evidence of a linear model from features to labels (You et al. 2021, arXiv 2102.11005), on moments."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.linalg import eigh

from hf_emms.errors import EmmsError
from hf_emms.scoring.blas import symmetric
from hf_emms.scoring.methods import ROUNDINGS
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.statistics import rotate_rows, standardise

Regressand = Literal["auto", "classes", "f-labels"]

ITERATIONS = 11
CONVERGED = 1e-3
EPSILON = 1e-5


def logme(moments: Moments, *, targets: Regressand = "auto", common: bool = False) -> float:
    """Mean log evidence per row over the label columns; higher is better.

    Features stay as they are (neither centred nor scaled), as in the authors' code.

    Args:
        moments: the folded rows.
        targets: what is regressed on: one-hot "classes" or the standardised columns of the "f-labels";
            "auto" takes classes where the labels are a table.
        common: the evidence as the widespread code has it, which leaves out (D1 − rank)·log alpha and so is far too
            high when D1 > N. Kept for comparison with published figures.

    Raises:
        EmmsError: no rows, or classes asked of dense labels.
    """
    by_text = moments.tables is not None
    if targets == "classes" and not by_text:
        raise EmmsError("LogME on classes needs class ids, but the labels are dense", "pass a LabelTable")
    statistics = standardise(moments)
    rows = moments.waiting_rows()
    wide = rows is not None and moments.n < moments.d1
    source = moments.with_features(rotate_rows(rows.x.copy())) if rows is not None and wide else moments
    sums = source.folded()
    origin = sums.origin_x
    n, x, y = float(moments.n), sums.x.sum(axis=0), sums.y.sum(axis=0)
    half = np.outer(origin, x + 0.5 * n * origin)
    centred, xy = symmetric(sums.xx.sum(axis=0)), sums.xy.sum(axis=0)
    xx = centred + half + half.T
    sigma, vectors = eigh(xx, check_finite=False, driver="evd")
    # Rounding noise is relative to the centred products: a large mean is added to them in float64.
    noise = ROUNDINGS * float(np.finfo(moments.dtype).eps) * float(np.linalg.norm(centred))
    kept = sigma > max(noise, np.finfo(np.float64).eps * len(sigma) * sigma[-1])
    project = vectors[:, kept].T / np.sqrt(sigma[kept])[:, None]
    if by_text and targets != "f-labels":
        columns = [(xy + np.outer(origin, y), y)]
    elif statistics.tables is not None:
        columns = [(xy @ table, y @ table**2) for table in statistics.tables]
    else:
        level = np.concatenate([np.full(w, max(moments.widths) / w) for w in moments.widths])
        columns = [
            (
                (xy - np.outer(x, sums.whole_y.sum(axis=0) / n)) * statistics.y_scale,
                n * level * (statistics.y_scale > 0),
            )
        ]
    evidence = [
        _evidence(sigma[kept], (project @ cross) ** 2, squares, n, moments.d1, common) for cross, squares in columns
    ]
    return float(np.mean(np.concatenate(evidence)))


def _evidence(
    sigma: np.ndarray, explained: np.ndarray, squares: np.ndarray, n: float, d: int, common: bool
) -> np.ndarray:
    """Log evidence per row of every varying label column.

    Args:
        sigma: (r,), the non-zero eigenvalues of XᵀX.
        explained: (r, q), squared projections of the label columns on X's left singular vectors.
        squares: (q,), squared norms of the label columns.
        n: rows.
        d: feature width D1.
        common: see `logme`.
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
        shrinkage = np.log1p(beta / alpha * spectrum).sum(axis=0)  # = Σ log(alpha + beta·sigma) − r·log alpha
        if common:
            shrinkage += (len(sigma) - d) * np.log(alpha)
        fresh = n * np.log(beta) - shrinkage - beta * residual - alpha * weights - n * np.log(2.0 * np.pi)
        result = np.where(active, fresh / (2.0 * n), result)
        active &= np.abs(alpha / beta - ratio) > CONVERGED * ratio
        if not active.any():
            break
    return result
