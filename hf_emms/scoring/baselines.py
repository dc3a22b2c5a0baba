"""Controls that are listed next to EMMS: LogME, k nearest neighbours, H-score."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.linalg import eigh, get_blas_funcs

from hf_emms.errors import EmmsError
from hf_emms.scoring.emms import ROUNDINGS, whiten
from hf_emms.scoring.folds import content_keys
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.linalg import CONSTANT_ROUNDINGS, as_slice, symmetric
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.standardise import rotate_rows, standardise

# As in the authors' code of LogME.
ITERATIONS = 11
CONVERGED = 1e-3
EPSILON = 1e-5


def logme(moments: Moments, *, targets: Literal["auto", "classes", "f-labels"] = "auto", common: bool = False) -> float:
    """LogME: mean log evidence per row of a linear model from features to each label column; higher is better.

    For a column y with prior precision α and noise precision β (fixed point of MacKay's updates):
    (n·log β + D1·log α − log|αI + βXᵀX| − β‖Xm − y‖² − α‖m‖² − n·log 2π) / 2n.
    Features are neither centred nor scaled, as in the authors' code.

    Source: You et al. 2021 (arXiv 2102.11005), algorithm 1.

    Args:
        moments: of all rows.
        targets: what is regressed on: one-hot "classes" or the standardised columns of the "f-labels";
            "auto" takes classes where the labels are kept by text.
        common: the evidence as the widespread code has it, which leaves out (D1 − rank)·log α and so is far too
            high when D1 > N. For comparison with published figures.

    Raises:
        EmmsError: no rows, or classes asked of dense labels.
    """
    by_text = moments.basis.by_text
    if targets == "classes" and not by_text:
        raise EmmsError("LogME on classes needs class ids, but the labels are dense", "pass a LabelTable")
    basis = standardise(moments).basis
    rows = moments.rows()
    if rows is not None and moments.n < moments.d1:
        sums = moments.with_features(rotate_rows(rows.x.copy())).sums()
    else:
        sums = moments.sums()
    origin, n = sums.origin_x, float(moments.n)
    x, y = sums.x.sum(axis=0), sums.whole_y.sum(axis=0)
    half = np.outer(origin, x + 0.5 * n * origin)
    centred, xy = symmetric(sums.xx.sum(axis=0)), sums.xy.sum(axis=0, dtype=np.float64)
    sigma, vectors = eigh(centred + half + half.T, check_finite=False, driver="evd")
    # Rounding noise is relative to the centred products: a large mean is added to them in float64.
    noise = ROUNDINGS * float(np.finfo(moments.dtype).eps) * float(np.linalg.norm(centred))
    kept = sigma > max(noise, np.finfo(np.float64).eps * len(sigma) * sigma[-1])
    project = vectors[:, kept].T / np.sqrt(sigma[kept])[:, None]
    if by_text and targets != "f-labels":
        columns, squares = xy + np.outer(origin, y), y
    else:
        columns, squares = basis.expand(xy - np.outer(x, y / n)), n * basis.variances()
    return float(np.mean(_evidence(sigma[kept], (project @ columns) ** 2, squares, n, moments.d1, common)))


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
        with np.errstate(divide="ignore"):  # alpha is 0 where no feature varies
            shrinkage = np.log1p(beta / alpha * spectrum).sum(axis=0)  # = Σ log(alpha + beta·sigma) − r·log alpha
        if common:
            shrinkage += (len(sigma) - d) * np.log(alpha)
        fresh = n * np.log(beta) - shrinkage - beta * residual - alpha * weights - n * np.log(2.0 * np.pi)
        result = np.where(active, fresh / (2.0 * n), result)
        active &= np.abs(alpha / beta - ratio) > CONVERGED * ratio
        if not active.any():
            break
    return result


# Neighbours are looked for among so many rows at most, chosen by a hash, so that the cost grows with N, not its square.
MOST_CANDIDATES = 20_000
# Similarities of one step: few enough to stay in cache while the largest are taken out.
STEP = 2**21


def knn(features: np.ndarray, labels: LabelTable, groups: np.ndarray, *, k: int = 10) -> tuple[float, float]:
    """How well the k nearest rows by cosine predict a row's label, leaving its own group out; higher is better.

    Classes: the share of rows i whose label is the majority vote of their neighbours N(i). Otherwise R² of the mean,
    1 − Σ_i ‖z_i − mean_{j∈N(i)} z_j‖² / Σ_i ‖z_i‖², z (N, ΣD2_k) standardised.

    Source: Cover and Hart 1967; as a transferability score, a control that beats most others: arXiv 2503.18528.

    Args:
        features: (N, D1).
        labels: categorical ones are scored by majority vote, others by the neighbours' mean F-label.
        groups: (N,), ids.
        k: neighbours.

    Returns:
        (value, standard error over rows): accuracy, or the explained share of the F-labels' variance (can be < 0).

    Raises:
        EmmsError: every row is of one group.
    """
    neighbours, usable = nearest(
        features - features.mean(axis=0), np.unique(groups, return_inverse=True)[1], k, raw=features
    )
    if labels.categorical:
        return _vote(labels.codes, neighbours, usable, labels.n_texts)
    rows = as_slice(labels.codes)
    return _mean_label([table[rows] for table in labels.tables], neighbours, usable)


def nearest(
    features: np.ndarray,
    groups: np.ndarray,
    k: int,
    *,
    most: int = MOST_CANDIDATES,
    raw: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of other groups by cosine.

    Args:
        features: (N, D1), centred.
        groups: (N,).
        k: neighbours.
        most: rows that may become neighbours; of more rows only so many, by a hash of their features, are looked at.
        raw: (N, D), the features that are hashed; by default these.

    Returns:
        Row numbers, nearest first, and which of them exist, both (N, min(k, N − 1)).

    Raises:
        EmmsError: every row is of one group.
    """
    rows = len(features)
    k = min(k, rows - 1, most)
    if k < 1 or (groups == groups[0]).all():
        raise EmmsError(f"all {rows} rows are of one group; k-NN finds no neighbour outside it", "pass more groups")
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, np.finfo(features.dtype).tiny)
    candidates = np.arange(rows)
    if rows > most:  # the same ones in any order of the rows
        candidates = np.sort(np.argpartition(content_keys(features if raw is None else raw), most - 1)[:most])
    # In the order of groups, a row's own group is a run of the candidates.
    order = np.argsort(groups, kind="stable")
    candidates = candidates[np.argsort(groups[candidates], kind="stable")]
    theirs, their_groups = unit[candidates], groups[candidates]
    (multiply,) = get_blas_funcs(("gemm",), (unit,))
    neighbours, closeness = np.empty((rows, k), dtype=np.int64), np.empty((rows, k), dtype=unit.dtype)
    step = max(1, STEP // len(candidates))
    for start in range(0, rows, step):
        part = order[start : start + step]
        similarity = multiply(1.0, theirs.T, unit[part].T, trans_a=True).T
        present, first = np.unique(groups[part], return_index=True)
        ends = (np.searchsorted(their_groups, present, side) for side in ("left", "right"))
        for left, right, top, bottom in zip(*ends, first, (*first[1:], len(part)), strict=True):
            similarity[top:bottom, left:right] = -np.inf
        places = np.arange(len(part))
        for column in range(k):
            best = similarity.argmax(axis=1)
            neighbours[part, column] = candidates[best]
            closeness[part, column] = similarity[places, best]
            similarity[places, best] = -np.inf
    return neighbours, np.isfinite(closeness)


def _vote(codes: np.ndarray, neighbours: np.ndarray, usable: np.ndarray, classes: int) -> tuple[float, float]:
    rows, k = neighbours.shape
    ballots = np.zeros((rows, classes))
    nearest_breaks_ties = 1.0 + np.linspace(0.5, 0.0, k) / k
    np.add.at(ballots, (np.arange(rows)[:, None], codes[neighbours]), usable * nearest_breaks_ties)
    hit = ballots.argmax(axis=1) == codes
    return float(hit.mean()), float(hit.std(ddof=1) / np.sqrt(rows))


def _mean_label(blocks: list[np.ndarray], neighbours: np.ndarray, usable: np.ndarray) -> tuple[float, float]:
    weight = usable / np.maximum(usable.sum(axis=1, keepdims=True), 1)
    loss, null_loss = np.zeros(len(neighbours)), np.zeros(len(neighbours))
    for block in blocks:
        z = _standardised(block)
        if not z.shape[1]:
            raise EmmsError("a label embedding is the same in all rows; k-NN has nothing to explain")
        guess = sum(weight[:, i, None] * z[neighbours[:, i]] for i in range(neighbours.shape[1]))
        loss += ((z - guess) ** 2).mean(axis=1)
        null_loss += (z**2).mean(axis=1)
    share = loss / null_loss.mean()
    return float(1.0 - share.mean()), float(share.std(ddof=1) / np.sqrt(len(share)))


def _standardised(block: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and variance 1, without those that are constant up to rounding: (N, D2) → (N, ≤ D2)."""
    mean = block.mean(axis=0, dtype=np.float64)
    deviation = block.std(axis=0, dtype=np.float64)
    eps = np.finfo(np.result_type(block, np.float32)).eps
    varies = deviation > CONSTANT_ROUNDINGS * eps * np.hypot(mean, deviation)
    return ((block[:, varies] - mean[varies]) / deviation[varies]).astype(np.result_type(block, np.float32))


def hscore(moments: Moments) -> float:
    """H-score: trace(cov(X)⁺ cov(E[X | class])), the between-class variance of whitened features; higher is better.

    Of features X (N, D1) and classes (N,), from 0 to the number of classes less one.

    Source: Bao et al., ICIP 2019, definition 2.

    Raises:
        EmmsError: the labels are dense, so that there are no classes.
    """
    if not moments.basis.by_text:
        raise EmmsError("the H-score needs classes, but no labels repeat", "leave out --estimator hscore")
    statistics = standardise(moments)
    share = statistics.sums.y.sum(axis=0) / statistics.n
    present = share > 0
    return float((whiten(statistics)[:, present] ** 2 / share[present]).sum())
