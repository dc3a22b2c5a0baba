"""Fit the numbers of `expected_gap`: the gain in points after fine-tuning for a difference of scores.

In each pair of candidates, one has the better estimate. Quantiles of its gain after fine-tuning are linear in the
difference of the estimates (Koenker and Bassett 1978). The fit uses dev targets with classes, with equal weights. Held
targets measure how often the interval contains the gain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
from sklearn.linear_model import QuantileRegressor

from scripts.quality.pools import FULL, IMAGES, MICRO, QUICK, TEXTS
from scripts.quality.results import TargetResult, load

ESTIMATOR, LABELS = "emms_knn", "minilm"  # the defaults
MIDDLE = 0.5
QUANTILES = (0.1, MIDDLE, 0.9)
Line = tuple[float, float]  # intercept and slope, in points and points per unit of score


@cache
def lines(budget: str) -> tuple[Line, ...]:
    """Fit a line for each quantile."""
    pairs = [differences(target) for target in targets(budget, "dev")]
    gaps, gains = (np.concatenate(side) for side in zip(*pairs, strict=True))
    weights = np.concatenate([np.full(len(gap), 1 / len(gap)) for gap, _ in pairs])
    fitted = []
    for quantile in QUANTILES:
        # the median gain of equal estimates is 0
        model = QuantileRegressor(quantile=quantile, alpha=0.0, fit_intercept=quantile != MIDDLE)
        model.fit(gaps[:, None], gains, sample_weight=weights)
        fitted.append((round(float(model.intercept_), 1), round(float(model.coef_[0]), 0)))
    return tuple(fitted)


@cache
def targets(budget: str, half: str) -> list[TargetResult]:
    """Return the targets with classes that have all runs at a budget; the micro pool counts as quick."""
    results = []
    for pool in (MICRO, IMAGES, TEXTS):
        of_pool = MICRO.truth if pool is MICRO and budget == QUICK else budget
        for target in load(pool):
            at = replace(target, budget=of_pool, labels=LABELS)
            whole = len(at.candidates) == len(target.record["candidates"])
            if whole and target.record["half"] == half and target.record["measure"] == "accuracy":
                results.append(at)
    return [result for result in results if result.record["task"] in ("image-classification", "text-classification")]


def differences(target: TargetResult) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences of estimates and of fine-tuned scores for all pairs, better estimate first."""
    scores, truth = np.array(target.scores(ESTIMATOR)), np.array(list(target.truth.values()))
    order = np.argsort(-scores, kind="stable")
    first, second = np.array(list(combinations(order, 2))).T
    return scores[first] - scores[second], truth[first] - truth[second]


def rows() -> Iterator[dict[str, str]]:
    """Yield a row per budget and half: the share of pairs within the interval, and its range over targets."""
    for budget, half in ((budget, half) for budget in (QUICK, FULL) for half in ("dev", "held")):
        if targets(budget, "dev") and targets(budget, half):
            low, _, high = lines(budget)
            shares = []
            for gaps, gains in map(differences, targets(budget, half)):
                lowest, highest = (intercept + slope * gaps for intercept, slope in (low, high))
                shares.append(np.mean((lowest <= gains) & (gains <= highest)))
            yield {
                "budget": budget,
                "half": half,
                "targets with classes": str(len(shares)),
                "pairs within the interval": f"{np.mean(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})",
            }
