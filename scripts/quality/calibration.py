"""Fit the numbers of `expected_gap`: the gain in points after fine-tuning for a difference of scores.

In each pair of candidates, one has the better estimate. Quantiles of its gain after fine-tuning are linear in the
difference of the estimates (Koenker and Bassett 1978). The fit uses dev targets with classes, with equal weights. Held
targets measure how often the interval contains the gain.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def formula(budget: str) -> str | None:
    """Return the fitted lines as text, or None without targets."""
    if not targets(budget, "dev"):
        return None
    low, middle, high = lines(budget)
    return f"points = {middle[1]:g} Δ, from {low[0]:g} + {low[1]:g} Δ to {high[0]:g} + {high[1]:g} Δ"


@cache
def targets(budget: str, half: str) -> list[TargetResult]:
    """Return the targets with classes that have all runs at a budget; the micro pool counts as quick."""
    results = []
    for pool in (MICRO, IMAGES, TEXTS):
        of_pool = MICRO.truth if pool is MICRO and budget == QUICK.name else budget
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


def rows() -> list[Sequence[str]]:
    """Return rows of the table: budget, half, targets, pairs, shares below, within and above the interval."""
    table_rows = []
    for budget in (QUICK.name, FULL.name):
        for half in ("dev", "held"):
            of_half = targets(budget, half)
            if not targets(budget, "dev") or not of_half:
                continue
            low, middle, high = lines(budget)
            shares = []
            for target in of_half:
                gaps, gains = differences(target)
                below = np.mean(gains < low[0] + low[1] * gaps)
                above = np.mean(gains > high[0] + high[1] * gaps)
                error = np.median(np.abs(gains - middle[0] - middle[1] * gaps))
                shares.append((below, 1 - below - above, above, error))
            below, within, above, error = np.mean(shares, axis=0)
            within_by_target = [share[1] for share in shares]
            table_rows.append(
                (
                    budget,
                    half,
                    str(len(of_half)),
                    f"{within:.0%} ({min(within_by_target):.0%} to {max(within_by_target):.0%})",
                    f"{below:.0%}",
                    f"{above:.0%}",
                    f"{error:.1f}",
                )
            )
    return table_rows
