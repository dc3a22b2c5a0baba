"""Compare the estimate with the order of published values, which do not depend on the dataset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from hf_emms.evaluation import over_targets
from scripts.quality.pools import FEWEST, IMAGES, PAIRS_AND_WORDS, SEARCH, TEXTS, Pool
from scripts.quality.results import TargetResult, confirmed, load, ordered_by

# Other pools have at most one checkpoint with a published value per target.
PUBLISHED = (IMAGES, TEXTS, PAIRS_AND_WORDS, SEARCH)
TWO, BOTH = "the estimate's best two, `--confirm 2`", "the published first and the estimate's first, `--confirm 2`"
RULES = ("the published first", "the estimate's first", TWO, BOTH)
DIFFERENCE = "difference of the last two"
HALVES = ("dev", "held")
HEAD = ("rule", *(title for half in HALVES for title in (f"{half}: has the best [95 %]", f"{half}: regret [95 %]")))

# Target → rule → whether the shortlist contains the best checkpoint, and the regret. Both are means over budgets.
Outcomes = dict[str, dict[str, np.ndarray]]


def outcomes(pool: Pool, budgets: Sequence[str], *, altered: bool) -> Outcomes:
    """Return the outcome of each rule on the targets that have two checkpoints with published values.

    Checkpoints without a published value are last in the published order. Without `altered`, checkpoints of other kinds
    than "real" are no candidates.
    """
    real = frozenset(candidate.name for candidate in pool.candidates if candidate.kind == "real")
    by_target: dict[str, list[dict[str, np.ndarray]]] = defaultdict(list)
    for target in (target for budget in budgets for target in load(pool, budget)):
        considered = target if altered else replace(target, only=real)
        valued = [name for name in considered.candidates if name in pool.published]
        if len(target.candidates) >= FEWEST and len(valued) > 1:
            first_published = max(valued, key=lambda name: pool.published[name])
            order = ordered_by(considered, pool.estimators[0])
            by_target[target.name].append(_outcome(considered, first_published, order))
    return {
        name: {rule: np.mean([outcome[rule] for outcome in of_target], axis=0) for rule in of_target[0]}
        for name, of_target in by_target.items()
    }


def _outcome(target: TargetResult, first_published: str, order: Sequence[str]) -> dict[str, np.ndarray]:
    both = [*dict.fromkeys((order[0], first_published, *order))][:2]
    shortlists = ([first_published], order[:1], order[:2], both)
    best = max(target.truth, key=lambda name: target.truth[name])
    found = {
        rule: np.array([best in names, confirmed(target, names, otherwise=names[0]).regret])
        for rule, names in zip(RULES, shortlists, strict=True)
    }
    return found | {DIFFERENCE: found[BOTH] - found[TWO]}


def groups() -> Iterator[tuple[str, Outcomes]]:
    """Yield title and outcomes of all pools together, then of each pool and budget."""
    for altered in (True, False):
        every: Outcomes = {}
        for pool in PUBLISHED:
            every |= outcomes(pool, [budget.name for budget in pool.budgets], altered=altered)
        yield "all pools" if altered else "all pools, published checkpoints only", every
    for pool in PUBLISHED:
        for budget in pool.budgets:
            if found := outcomes(pool, [budget.name], altered=True):
                yield f"{pool.title}, {budget.name}", found


def rows(found: Outcomes) -> Iterator[tuple[str, ...]]:
    """Yield the row of each rule: means over the targets of each half, with intervals bootstrapped over targets."""
    halves = {target.name: target.record["half"] for pool in PUBLISHED for target in load(pool)}
    for rule in (*RULES, DIFFERENCE):
        cells = []
        for half in HALVES:
            values = [found[name][rule] for name in found if halves[name] == half]
            for measure, (scale, form) in enumerate(((100, ".0f"), (1, ".1f"))):
                cells.append(_cell([scale * float(value[measure]) for value in values], form))
        yield rule, *cells


def _cell(values: Sequence[float], form: str) -> str:
    if not values:
        return "–"
    low, high = over_targets(values)
    return f"{np.mean(values):z{form}} [{low:z{form}}, {high:z{form}}]"


def count(found: Outcomes, half: str) -> int:
    """Return the number of targets of a half."""
    return sum(target.record["half"] == half and target.name in found for pool in PUBLISHED for target in load(pool))
