"""Measures of agreement between scores and truth (fine-tuning results), and their bootstrap intervals.

Higher scores and higher truths are better; negate an error rate. The order of the input never breaks a tie. If several
checkpoints have the best score, the measures are the expected values of a random pick among them.

All measures take `scores` and `truth` of shape (n,). They raise an `EmmsError` for fewer than three values, different
lengths, or a value that is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_emms.errors import EmmsError

Vector = NDArray[np.float64]
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


def regret(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return how many points the chosen checkpoint is worse than the best one. Never negative."""
    x, y = checked(scores, truth)
    return float(np.mean(y.max() - y[picks(x)]))


def pick_in_top(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the probability that the checkpoint with the best score is among the `TOP` best by truth."""
    x, y = checked(scores, truth)
    ranks = 1 + (y[None, :] > y[:, None]).sum(axis=1)
    return float((ranks[picks(x)] <= TOP).mean())


MEASURES: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "weighted_tau": weighted_tau,
    "kendall_tau": kendall_tau,
    "pearson": pearson,
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
    """Score each checkpoint by its mean rank on all other datasets, as a control that ignores the dataset.

    An estimator has to beat this control: a checkpoint that is good everywhere needs no estimator.

    Args:
        truths: Dataset → checkpoint → truth; checkpoints may be missing.

    Returns:
        dataset → checkpoint → score, without checkpoints that no other dataset has.
    """
    shares = {dataset: _rank_shares(truth) for dataset, truth in truths.items()}
    scores = {}
    for dataset, truth in truths.items():
        means = _mean_shares([shares[other] for other in truths if other != dataset])
        scores[dataset] = {name: -float(means[name]) for name in truth if name in means}
    return scores


def _rank_shares(values: Mapping[str, float]) -> dict[str, Fraction]:
    """Return ranks of values (high is good) as shares, (rank - ½) / n: the best of four is 1/8. Ties share a rank."""
    from scipy.stats import rankdata

    # Exact fractions, because rounding errors would break ties and change tau by 0.01.
    ranks = rankdata([-value for value in values.values()])
    return {name: Fraction(int(2 * rank - 1), 2 * len(values)) for name, rank in zip(values, ranks, strict=True)}


def _mean_shares(tables: Sequence[Mapping[str, Fraction]]) -> dict[str, Fraction]:
    """Return the mean rank share of each checkpoint over the tables that contain it."""
    names = dict.fromkeys(name for table in tables for name in table)
    shares_by_name = {name: [table[name] for table in tables if name in table] for name in names}
    return {name: sum(shares, Fraction(0)) / len(shares) for name, shares in shares_by_name.items()}


def checked(scores: ArrayLike, truth: ArrayLike) -> tuple[Vector, Vector]:
    """Check that scores and truth fit together, and return both as float64 vectors."""
    pair = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    sizes = {values.shape for values in pair}
    if len(sizes) > 1 or pair[0].ndim != 1 or pair[0].size < FEWEST or not np.isfinite(pair).all():
        raise EmmsError(
            "wrong-shape",
            f"the scores have shape {pair[0].shape}, the truth {pair[1].shape}",
            f"pass a finite score and a finite truth for each of at least {FEWEST} checkpoints",
        )
    return pair


def over_checkpoints(
    scores: ArrayLike, truth: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return the bootstrap intervals of weighted_tau and regret, resampling the checkpoints."""
    x, y = checked(scores, truth)
    draws = np.random.default_rng(seed).multinomial(x.size, np.full(x.size, 1 / x.size), resamples)
    resampled = [(np.repeat(x, draw), np.repeat(y, draw)) for draw in draws]
    return {
        measure.__name__: _interval(np.array([measure(*pair) for pair in resampled]))
        for measure in (weighted_tau, regret)
    }


def over_targets(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Return the bootstrap interval of a mean over targets, without values that are NaN; see `over_checkpoints`."""
    defined = np.asarray([value for value in values if not np.isnan(value)])
    if not defined.size:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(defined.size, size=(resamples, defined.size))
    return _interval(defined[drawn].mean(axis=1))


def _interval(values: Vector) -> Interval:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
