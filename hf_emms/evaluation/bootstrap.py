"""Percentile intervals of the measures, from resampling checkpoints or targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_emms.evaluation.measures import Vector, checked

RESAMPLES = 1000
LEVEL = 0.95

Matrix = NDArray[np.float64]
# Lower and upper end; NaN where no resample defines the measure.
Interval = tuple[float, float]


def over_checkpoints(
    scores: ArrayLike, truth: ArrayLike, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of one target's measures: what other checkpoints of the same kind would have given.

    All resamples are computed at once, from how often each checkpoint was drawn: a hundred times faster than calling
    scipy for each.

    Args:
        scores: (n,) higher is better.
        truth: (n,) higher is better.
        resamples: how many samples of n checkpoints are drawn, with replacement.
        level: the share of the resamples inside.
        seed: of the draws.

    Returns:
        weighted_tau, kendall_tau, pearson, spearman and regret → interval.

    Raises:
        EmmsError: as in `measures.weighted_tau`.
    """
    x, y = checked(scores, truth)
    draws = np.random.default_rng(seed).multinomial(x.size, np.full(x.size, 1 / x.size), resamples).astype(float)
    return {name: _interval(values, level) for name, values in resampled(x, y, draws).items()}


def over_targets(
    values: Sequence[float], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval:
    """The interval of a mean over targets: what other targets of the same kind would have given.

    Args:
        values: (targets,) a measure on each; those that are NaN are left out.
        resamples: how many samples of the targets are drawn, with replacement.
        level: the share of the resamples inside.
        seed: of the draws.
    """
    known = np.asarray([value for value in values if not np.isnan(value)])
    if not known.size:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(known.size, size=(resamples, known.size))
    return _interval(known[drawn].mean(axis=1), level)


def resampled(x: Vector, y: Vector, draws: Matrix) -> dict[str, Vector]:
    """The measures of samples that hold checkpoint i ``draws[b, i]`` times.

    Args:
        x: (n,) scores.
        y: (n,) truth.
        draws: (resamples, n) whole numbers.

    Returns:
        measure → (resamples,) values, NaN where a sample has no order.
    """
    ones = np.ones_like(draws)
    by_score, by_truth = _weights(x, y, draws), _weights(y, x, draws)
    return {
        "weighted_tau": (_tau(x, y, draws, by_score) + _tau(x, y, draws, by_truth)) / 2,
        "kendall_tau": _tau(x, y, draws, draws),
        "pearson": _correlation(x * ones, y * ones, draws),
        "spearman": _correlation(_ranks(x, draws), _ranks(y, draws), draws),
        "regret": _regret(x, y, draws),
    }


def _interval(values: Vector, level: float) -> Interval:
    known = values[~np.isnan(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _weights(first: Vector, second: Vector, draws: Matrix) -> Matrix:
    """Summed weights 1/(rank+1) of the copies of each checkpoint, ranked downwards by `first`, then `second`."""
    order = np.lexsort((second, first))[::-1]
    ends = draws[:, order].cumsum(axis=1).astype(int)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, ends[0, -1] + 1))])
    weights = np.empty_like(draws)
    weights[:, order] = np.diff(harmonic[ends], prepend=0.0, axis=1)
    return weights


def _tau(x: Vector, y: Vector, draws: Matrix, weights: Matrix) -> Vector:
    """Tau-b in which a pair counts with the sum of its members' weights; equal weights give Kendall's."""
    up_x, up_y = np.sign(np.subtract.outer(x, x)), np.sign(np.subtract.outer(y, y))

    def pairs(agree: Matrix) -> Vector:
        return ((weights @ agree) * draws).sum(axis=1)

    return _ratio(pairs(up_x * up_y), pairs(up_x**2) * pairs(up_y**2))


def _ranks(values: Vector, draws: Matrix) -> Matrix:
    below, level = values[:, None] < values[None, :], values[:, None] == values[None, :]
    return draws @ below + (draws @ level + 1) / 2


def _correlation(x: Matrix, y: Matrix, draws: Matrix) -> Vector:
    # Exactly: the deviations of equal values from their mean can be a rounding error instead of zero.
    flat = _flat(x, draws) | _flat(y, draws)
    total = draws.sum(axis=1, keepdims=True)
    x = x - (draws * x).sum(axis=1, keepdims=True) / total
    y = y - (draws * y).sum(axis=1, keepdims=True) / total
    square = (draws * x**2).sum(axis=1) * (draws * y**2).sum(axis=1)
    return _ratio((draws * x * y).sum(axis=1), np.where(flat, 0.0, square))


def _flat(values: Matrix, draws: Matrix) -> NDArray[np.bool_]:
    drawn = draws > 0
    return np.where(drawn, values, -np.inf).max(axis=1) == np.where(drawn, values, np.inf).min(axis=1)


def _regret(x: Vector, y: Vector, draws: Matrix) -> Vector:
    drawn = draws > 0
    scores = np.where(drawn, x, -np.inf)
    share = draws * (scores == scores.max(axis=1, keepdims=True))
    best = np.where(drawn, y, -np.inf).max(axis=1, keepdims=True)
    # Differences first: a pick that is the best costs exactly nothing.
    return (share * (best - y)).sum(axis=1) / share.sum(axis=1)


def _ratio(part: Vector, square: Vector) -> Vector:
    undefined = square <= 0
    return np.where(undefined, np.nan, part / np.sqrt(np.where(undefined, 1.0, square)))
