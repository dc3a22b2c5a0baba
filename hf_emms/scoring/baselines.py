"""LogME: maximum evidence of a linear model from features to labels (You et al. 2021, arXiv 2102.11005), on moments.

k nearest neighbours, leave-one-out: the simple control that beats most metrics (arXiv 2503.18528).
H-score: between-class variance of whitened features (Bao et al., ICIP 2019).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.linalg import eigh

from hf_emms.errors import EmmsError
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.linalg import symmetric
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.objective import ROUNDINGS, whiten
from hf_emms.scoring.standardise import CONSTANT_ROUNDINGS, rotate_rows, standardise

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


# Neighbours are looked for among so many rows at most, evenly spaced, so that the cost grows with N, not its square.
MOST_CANDIDATES = 20_000
# Similarities of one step: 64 MB in float32.
STEP = 2**24


def knn(
    features: np.ndarray, labels: LabelTable | list[np.ndarray], groups: np.ndarray, *, k: int = 10
) -> tuple[float, float]:
    """How well a row's neighbours by cosine tell its label, neighbours of its own group left out.

    Args:
        features: (N, D1).
        labels: a categorical `LabelTable` is scored by majority vote; anything else by the neighbours' mean F-label.
        groups: (N,), what near-copies share.
        k: neighbours.

    Returns:
        (value, standard error over rows): accuracy, or the explained share of the F-labels' variance (can be < 0).

    Raises:
        EmmsError: every row is of one group.
    """
    neighbours, usable = nearest(features - features.mean(axis=0), np.unique(groups, return_inverse=True)[1], k)
    if isinstance(labels, LabelTable) and labels.categorical:
        return _vote(labels.codes, neighbours, usable, labels.n_texts)
    return _mean_label(_dense(labels), neighbours, usable)


def nearest(
    features: np.ndarray, groups: np.ndarray, k: int, *, most: int = MOST_CANDIDATES
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of other groups by cosine.

    Args:
        features: (N, D1), centred.
        groups: (N,).
        k: neighbours.
        most: rows that may become neighbours; of more rows only so many, evenly spaced, are looked at.

    Returns:
        Row numbers, nearest first, and which of them exist, both (N, min(k, N − 1)).

    Raises:
        EmmsError: every row is of one group.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(features.dtype).tiny)
    rows = len(unit)
    k = min(k, rows - 1, most)
    if k < 1 or (groups == groups[0]).all():
        raise EmmsError(f"all {rows} rows are of one group; k-NN finds no neighbour outside it", "pass more groups")
    candidates = np.arange(rows) if rows <= most else np.linspace(0, rows - 1, most).astype(np.int64)
    theirs, their_groups = (unit, groups) if rows <= most else (unit[candidates], groups[candidates])
    neighbours = np.empty((rows, k), dtype=np.int64)
    usable = np.empty((rows, k), dtype=bool)
    step = max(1, STEP // len(candidates))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        similarity = unit[part] @ theirs.T
        similarity[groups[part, None] == their_groups] = -np.inf
        near = np.argpartition(similarity, -k, axis=1)[:, -k:]
        closeness = np.take_along_axis(similarity, near, axis=1)
        order = np.argsort(-closeness, axis=1, kind="stable")
        neighbours[part] = candidates[np.take_along_axis(near, order, axis=1)]
        usable[part] = np.isfinite(np.take_along_axis(closeness, order, axis=1))
    return neighbours, usable


def _vote(codes: np.ndarray, neighbours: np.ndarray, usable: np.ndarray, classes: int) -> tuple[float, float]:
    rows, k = neighbours.shape
    ballots = np.zeros((rows, classes))
    nearest_breaks_ties = 1.0 + np.linspace(0.5, 0.0, k) / k
    np.add.at(ballots, (np.arange(rows)[:, None], codes[neighbours]), usable * nearest_breaks_ties)
    hit = ballots.argmax(axis=1) == codes
    return float(hit.mean()), float(hit.std(ddof=1) / np.sqrt(rows))


def _mean_label(blocks: list[np.ndarray], neighbours: np.ndarray, usable: np.ndarray) -> tuple[float, float]:
    weight = usable / np.maximum(usable.sum(axis=1, keepdims=True), 1)
    loss, blank = np.zeros(len(neighbours)), np.zeros(len(neighbours))
    for block in blocks:
        z = _standardised(block)
        if not z.shape[1]:
            raise EmmsError("a label embedding is the same in all rows; k-NN has nothing to explain")
        guess = sum(weight[:, i, None] * z[neighbours[:, i]] for i in range(neighbours.shape[1]))
        loss += ((z - guess) ** 2).mean(axis=1)
        blank += (z**2).mean(axis=1)
    share = loss / blank.mean()
    return float(1.0 - share.mean()), float(share.std(ddof=1) / np.sqrt(len(share)))


def _standardised(block: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and variance 1, without those that are constant up to rounding: (N, D2) → (N, ≤ D2)."""
    mean = block.mean(axis=0, dtype=np.float64)
    deviation = block.std(axis=0, dtype=np.float64)
    eps = np.finfo(np.result_type(block, np.float32)).eps
    varies = deviation > CONSTANT_ROUNDINGS * eps * np.hypot(mean, deviation)
    return ((block[:, varies] - mean[varies]) / deviation[varies]).astype(np.result_type(block, np.float32))


def _dense(labels: LabelTable | list[np.ndarray]) -> list[np.ndarray]:
    return [table[labels.codes] for table in labels.tables] if isinstance(labels, LabelTable) else labels


def hscore(moments: Moments) -> float:
    """trace(cov(X)⁺ cov(E[X | class])); higher is better.

    Raises:
        EmmsError: the labels are dense, so that there are no classes.
    """
    if moments.tables is None:
        raise EmmsError(
            "the H-score needs classes, but the labels are texts of their own", "leave out --estimator hscore"
        )
    statistics = standardise(moments)
    share = statistics.sums.y.sum(axis=0) / statistics.n
    present = share > 0
    whitened = whiten(statistics)[:, present]
    return float((whitened**2 / share[present]).sum())
