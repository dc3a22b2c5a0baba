"""Count how often the certainty of a verdict was right, and compare simple rules of choice.

A pair of candidates is a ranking of two. The committed results have no folds, so that no candidates tie here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from hf_emms.ranking.expected_gap import CALIBRATIONS, ESTIMATOR
from scripts.quality.calibration import LABELS
from scripts.quality.pools import BITS, POOLS, Pool
from scripts.quality.results import TargetResult, confirmed, load, ordered_by

HALVES = ("dev", "held")
CONFIRMED, PROBABLE, ESTIMATE = "confirmed (`--confirm 2`)", "probable", "best estimate"
UNKNOWN = "best estimate, gap unknown"
WORDS = (CONFIRMED, PROBABLE, ESTIMATE, UNKNOWN)
POINT = 1.0


def targets() -> Iterator[tuple[Pool, TargetResult]]:
    """Yield the targets of all pools at each budget, with the default label encoder if it was measured."""
    for pool in POOLS.values():
        for budget in dict.fromkeys((pool.truth, *(budget.name for budget in pool.budgets))):
            for target in load(pool, budget):
                usual = f"{pool.estimators[0]}|{LABELS}" in target.record["scores"]
                at = replace(target, labels=LABELS if usual else target.labels)
                if at.is_whole and at.record["measure"] != BITS:
                    yield pool, at


def _word(pool: Pool, target: TargetResult, lead: float) -> str:
    """Return the certainty of the first of candidates whose scores differ by at least `lead`."""
    calibration = CALIBRATIONS["quick"]
    fits = target.record["task"] in calibration.tasks and target.record["measure"] == "accuracy"
    if not fits or pool.estimators[0] != ESTIMATOR or target.labels != LABELS:
        return UNKNOWN
    return PROBABLE if calibration.low.at(lead) > 0 else ESTIMATE


def _has_noise(target: TargetResult) -> bool:
    """Return whether the noise of the test rows is known: for accuracies whose number of test rows is stored."""
    return "test_rows" in target.record and target.record["measure"] == "accuracy"


def _is_within_noise(target: TargetResult, name: str) -> bool | None:
    """Return whether no candidate is significantly better; None if the noise is unknown."""
    return name in target.groups[0] if _has_noise(target) else None


def _outcomes() -> Iterator[tuple[str, str, str, bool, bool | None]]:
    """Yield certainty, half, kind of ranking, and whether the pick is within a point and within the noise."""
    for pool, target in targets():
        half, order = target.record["half"], ordered_by(target, pool.estimators[0])
        scores = dict(zip(target.candidates, target.scores(pool.estimators[0]), strict=True))
        best = max(target.truth.values())
        word = _word(pool, target, scores[order[0]] - scores[order[1]])
        right = best - target.truth[order[0]] <= POINT
        yield word, half, "rankings", right, _is_within_noise(target, order[0])
        if _has_noise(target) and len(replace(target, only=frozenset(order[:2])).groups) == 2:
            right = confirmed(target, order[:2], otherwise=order[0]).regret <= POINT
            winner = max(order[:2], key=lambda name: target.truth[name])
            yield CONFIRMED, half, "rankings", right, _is_within_noise(target, winner)
        for first, second in combinations(order, 2):
            loss = target.truth[second] - target.truth[first]
            pair = replace(target, only=frozenset((first, second)))
            word = _word(pool, target, scores[first] - scores[second])
            yield word, half, "pairs", loss <= POINT, _is_within_noise(pair, first)


def rows() -> Iterator[dict[str, str]]:
    """Yield a row per certainty: counts of right rankings and pairs on each half."""
    counts: dict[tuple[str, str, str], list[tuple[bool, bool | None]]] = defaultdict(list)
    for word, half, kind, *right in _outcomes():
        counts[word, half, kind].append((right[0], right[1]))
    for word in WORDS:
        row = {"certainty": word}
        for half in HALVES:
            for kind in ("rankings", "pairs"):
                found = counts[word, half, kind]
                row[f"{half}: {kind} within a point"] = _share([point for point, _ in found])
                row[f"{half}: {kind} within the noise"] = _share([noise for _, noise in found if noise is not None])
        yield row


def _share(found: Sequence[bool]) -> str:
    return f"{sum(found)} of {len(found)} ({np.mean(found):.0%})" if found else "–"


def rules() -> Iterator[dict[str, str]]:
    """Yield mean regret in points per rule and half, over all targets with parameters and three candidates."""
    regrets: Mapping[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for pool, target in targets():
        order, best = ordered_by(target, pool.estimators[0]), max(target.truth.values())
        sizes = dict(zip(target.candidates, target.described("parameters"), strict=True))
        picks = {"the largest": max(sizes, key=lambda name: sizes[name]), "the estimate's first": order[0]}
        half = target.record["half"]
        for rule, name in picks.items():
            regrets[rule][half].append(best - target.truth[name])
        regrets["the estimate's best two, `--confirm 2`"][half].append(confirmed(target, order[:2], order[0]).regret)
    for rule, by_half in regrets.items():
        cells = {f"{half}: regret": f"{np.mean(by_half[half]):.1f} ({len(by_half[half])})" for half in HALVES}
        yield {"rule": rule} | cells
