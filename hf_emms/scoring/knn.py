"""k nearest neighbours, leave-one-out: the simple control that beats most metrics (arXiv 2503.18528)."""

from __future__ import annotations

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.statistics import CONSTANT_ROUNDINGS

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
