"""Measures of agreement between scores and truth (fine-tuning results), and their bootstrap intervals.

Higher scores and higher truths are better; negate an error rate. The order of the input never breaks a tie. If several
checkpoints have the best score, the measures are the expected values of a random pick among them.

All measures take `scores` and `truth` of shape (n,). They raise an `EmmsError` for fewer than three values, different
lengths, or a value that is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_emms.errors import EmmsError
from hf_emms.ranking.merge import mean_shares, rank_shares

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
# Lower and upper end; NaN if no resample defines the measure.
Interval = tuple[float, float]

# Two checkpoints have only two orders: every measure would be 1 or -1.
FEWEST = 3
TOP = 3
RESAMPLES = 1000
LEVEL = 0.95


def weighted_tau(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the weighted Kendall tau, the measure of the EMMS paper: swaps among the best count most.

    A pair's weight is 1/(r+1) + 1/(s+1) with the ranks r, s of its two members; the best rank is 0. As in the paper's
    evaluation, the value is the mean over ranks by scores and ranks by truth (``rank=True`` of
    ``scipy.stats.weightedtau``), which is symmetric.

    Returns:
        A value in [-1, 1]; NaN if all scores or all truths are equal.
    """
    from scipy.stats import weightedtau

    return float(weightedtau(*checked(scores, truth)).statistic)


def kendall_tau(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return Kendall's tau-b, which allows for ties."""
    from scipy.stats import kendalltau

    return float(kendalltau(*checked(scores, truth)).statistic)


def pearson(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return Pearson's correlation."""
    from scipy.stats import pearsonr

    x, y = checked(scores, truth)
    return float("nan") if (x == x[0]).all() or (y == y[0]).all() else float(pearsonr(x, y).statistic)


def spearman(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return Spearman's rank correlation; equal values share a rank."""
    from scipy.stats import rankdata

    x, y = checked(scores, truth)
    return pearson(rankdata(x), rankdata(y))


def regret(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the best truth minus the truth of the pick, in the truth's points; never negative."""
    x, y = checked(scores, truth)
    return float(np.mean(y.max() - y[picks(x)]))


def pick_in_top(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the probability that the pick is among the `TOP` truly best."""
    x, y = checked(scores, truth)
    ranks = 1 + (y[None, :] > y[:, None]).sum(axis=1)
    return float((ranks[picks(x)] <= TOP).mean())


MEASURES: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "weighted_tau": weighted_tau,
    "kendall_tau": kendall_tau,
    "pearson": pearson,
    "spearman": spearman,
    "regret": regret,
    "pick_in_top": pick_in_top,
}


def measured(scores: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """Return the values of all `MEASURES` by name."""
    return {name: measure(scores, truth) for name, measure in MEASURES.items()}


def picks(scores: ArrayLike) -> NDArray[np.intp]:
    """Return the positions of the best score; several if checkpoints tie."""
    values = np.asarray(scores, dtype=np.float64)
    return np.flatnonzero(values == np.max(values))


def dataset_blind(truths: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return scores that do not use a dataset: minus the mean rank on all others, as a share of the ranked checkpoints.

    An estimator has to beat this control: a checkpoint that is good everywhere needs no estimator.

    Args:
        truths: Dataset → checkpoint → truth; checkpoints may be missing.

    Returns:
        dataset → checkpoint → score, without checkpoints that no other dataset has.
    """
    shares = {dataset: rank_shares(truth) for dataset, truth in truths.items()}
    scores = {}
    for dataset, truth in truths.items():
        means = mean_shares([shares[other] for other in truths if other != dataset])
        scores[dataset] = {name: -float(means[name]) for name in truth if name in means}
    return scores


def checked(scores: ArrayLike, truth: ArrayLike) -> tuple[Vector, Vector]:
    """Return both as float64 vectors of equal length."""
    pair = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    sizes = {values.shape for values in pair}
    if len(sizes) > 1 or pair[0].ndim != 1 or pair[0].size < FEWEST or not np.isfinite(pair).all():
        raise EmmsError(
            f"The scores have shape {pair[0].shape}, the truth {pair[1].shape}.",
            f"Pass a finite score and a finite truth for each of at least {FEWEST} checkpoints.",
        )
    return pair


def over_checkpoints(
    scores: ArrayLike, truth: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return the bootstrap intervals of weighted_tau and regret, resampling the checkpoints.

    This computes thousands of resamples at once, from how often each checkpoint was drawn. `scipy.stats.bootstrap`
    calls the measure per resample, which takes tens of times as long.
    """
    x, y = checked(scores, truth)
    rng, equal = np.random.default_rng(seed), np.full(x.size, 1 / x.size)
    draws = rng.multinomial(x.size, equal, resamples).astype(float)
    return {name: _interval(values) for name, values in resampled(x, y, draws).items()}


def over_targets(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the bootstrap interval of a mean over targets, without values that are NaN; see `over_checkpoints`."""
    defined = np.asarray([value for value in values if not np.isnan(value)])
    if not defined.size:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(defined.size, size=(resamples, defined.size))
    return _interval(defined[drawn].mean(axis=1))


def resampled(x: Vector, y: Vector, draws: Matrix) -> dict[str, Vector]:
    """Return measure → (B,) values of B samples, in which checkpoint i occurs ``draws[b, i]`` times.

    A value is NaN if a sample has no order.
    """
    by_score, by_truth = _weights(x, y, draws), _weights(y, x, draws)
    return {
        "weighted_tau": (_tau(x, y, draws, by_score) + _tau(x, y, draws, by_truth)) / 2,
        "regret": _regret(x, y, draws),
    }


def _interval(values: Vector) -> Interval:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _weights(first: Vector, second: Vector, draws: Matrix) -> Matrix:
    """Return the summed weights 1/(rank+1) of each checkpoint's copies, ranked downwards by `first`, then `second`."""
    order = np.lexsort((second, first))[::-1]
    ends = draws[:, order].cumsum(axis=1).astype(int)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, ends[0, -1] + 1))])
    weights = np.empty_like(draws)
    weights[:, order] = np.diff(harmonic[ends], prepend=0.0, axis=1)
    return weights


def _tau(x: Vector, y: Vector, draws: Matrix, weights: Matrix) -> Vector:
    """Return tau-b; the weight of a pair is the sum of its members' weights."""
    up_x, up_y = np.sign(np.subtract.outer(x, x)), np.sign(np.subtract.outer(y, y))

    def pairs(agree: Matrix) -> Vector:
        return ((weights @ agree) * draws).sum(axis=1)

    with np.errstate(invalid="ignore"):  # 0 / 0 without an order
        return pairs(up_x * up_y) / np.sqrt(pairs(up_x**2) * pairs(up_y**2))


def _regret(x: Vector, y: Vector, draws: Matrix) -> Vector:
    drawn = draws > 0
    scores = np.where(drawn, x, -np.inf)
    share = draws * (scores == scores.max(axis=1, keepdims=True))
    best = np.where(drawn, y, -np.inf).max(axis=1, keepdims=True)
    # Differences first: a pick that is the best costs exactly nothing.
    return (share * (best - y)).sum(axis=1) / share.sum(axis=1)
