"""Replay the funnel of `hf_emms.recommend` on the pools of micro checkpoints: agreement, regret and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from hf_emms.evaluation import dataset_blind, over_targets, regret, weighted_tau
from hf_emms.ranking.records import is_ahead
from hf_emms.run.funnel_plan import MAX_FINALISTS, MIN_BEST
from hf_emms.run.recommend import FIRST_ROWS
from hf_emms.run.shortlist import DRAWN_EVERY
from hf_emms.scoring import Score
from scripts.quality.funnel_checkpoints import MODALITIES
from scripts.quality.funnel_pool import ALL, ESTIMATORS, funnel_pool

HALVES, COUNTS, DRAWS = ("dev", "held"), (10, 20, 40), 200
WEIGHTS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the fixed order
FIXED, ESTIMATE, BOTH = "fixed order (mean rank on the other targets)", "`emms_knn`", "prior + estimate"


@dataclass(frozen=True, eq=False)
class Measured:
    """The finished checkpoints of a pool on one target. Arrays are in the order of the names.

    Attributes:
        name: Of the target.
        half: "dev" or "held".
        record: Checkpoint → its content in the file of results.
        prior: The fixed order as scores, higher is better.
    """

    name: str
    half: str
    record: Mapping[str, Mapping[str, Any]]
    prior: np.ndarray

    @cached_property
    def truth(self) -> np.ndarray:
        """The score on test rows in points, the mean over seeds."""
        return np.array([*_truth(self.record, self.name).values()])

    @cached_property
    def rows(self) -> int:
        return next(iter(self.record.values()))["targets"][self.name]["rows"]

    def scores(self, estimator: str, rows: int | str = ALL) -> np.ndarray:
        return np.array([about["targets"][self.name]["scores"][str(rows)][estimator] for about in self.record.values()])

    @property
    def parameters(self) -> np.ndarray:
        return np.array([about["parameters"] for about in self.record.values()], float)

    @cached_property
    def _passes(self) -> tuple[list[Score], list[float]]:
        """The scores on 300 rows with their folds, and on all rows."""
        few, every = (self.scores(ESTIMATORS[0], rows) for rows in (FIRST_ROWS, ALL))
        folds = [about["targets"][self.name]["folds"] for about in self.record.values()]
        return [Score(value, folds=tuple(of)) for value, of in zip(few, folds, strict=True)], [*every]

    def lost(self, places: Sequence[int] | np.ndarray) -> float:
        """Return the points between the best checkpoint of all and the best of some."""
        return float(self.truth.max() - self.truth[places].max())

    def funnel(self, candidates: np.ndarray) -> tuple[float, int]:
        """Return the regret of the funnel's pick among candidates, and its row passes."""
        first, second = self._passes
        order = sorted(candidates, key=lambda place: -first[place].value)
        last = first[order[min(MIN_BEST, len(order)) - 1]]
        finalists = [place for place in order if not is_ahead(last, first[place])][:MAX_FINALISTS]
        pick = max(finalists, key=lambda place: second[place])
        return self.lost([pick]), len(candidates) * min(FIRST_ROWS, self.rows) + len(finalists) * self.rows


def _truth(record: Mapping[str, Mapping[str, Any]], target: str) -> dict[str, float]:
    runs = {name: about["targets"][target]["runs"] for name, about in record.items()}
    return {name: float(np.mean([run[3] for run in of_name])) for name, of_name in runs.items()}


@cache
def measured() -> tuple[Measured, ...]:
    """Return the targets of both pools."""
    found = []
    for modality in MODALITIES:
        pool = funnel_pool(modality)
        record = pool.read()["checkpoints"]
        if not record:
            continue
        fixed = dataset_blind({name: _truth(record, name) for name in pool.targets})
        for name, (half, _) in pool.targets.items():
            found.append(Measured(name, half, record, np.array([fixed[name][each] for each in record])))
    return tuple(found)


def finished() -> str:
    """Return how many checkpoints of each pool are finished."""
    parts = []
    for modality, about in MODALITIES.items():
        record = funnel_pool(modality).read()["checkpoints"]
        runs = [target["runs"] for each in record.values() for target in each["targets"].values()]
        several = sum(len(of_target) > 1 for of_target in runs)
        parts.append(f"{modality} {len(record)} of {len(about.names())} (with a second seed: {several} fine-tunings)")
    return f"Finished checkpoints: {', '.join(parts)}."


# ---- agreement -------------------------------------------------------------------------------------------------------


def rankings(weight: float) -> dict[str, Callable[[Measured], np.ndarray]]:
    """Return ranking → function that scores the checkpoints of a target."""

    def of_estimator(name: str, rows: int | str = ALL) -> Callable[[Measured], np.ndarray]:
        return lambda target: target.scores(name, rows)

    return {
        **{f"`{name}`": of_estimator(name) for name in ESTIMATORS},
        f"{ESTIMATE} on {FIRST_ROWS} rows": of_estimator(ESTIMATORS[0], FIRST_ROWS),
        "parameter count": lambda target: target.parameters,
        FIXED: lambda target: target.prior,
        BOTH: lambda target: together(target, weight),
    }


def together(target: Measured, weight: float) -> np.ndarray:
    """Return the standardized estimate plus the weighted standardized fixed order."""
    estimate, prior = (v / v.std() for v in (target.scores(ESTIMATORS[0]), target.prior))
    return estimate + weight * prior


def fitted_weight() -> float:
    """Return the weight of the fixed order with the best mean weighted τ on dev targets."""
    dev = [target for target in measured() if target.half == "dev"]
    return max(WEIGHTS, key=lambda weight: np.mean([weighted_tau(together(t, weight), t.truth) for t in dev]))


def agreement() -> Iterator[dict[str, str]]:
    """Yield weighted τ and regret of each ranking by half, with intervals over targets, then differences of τ."""
    weight = fitted_weight()
    taus: dict[str, dict[str, list[float]]] = {}
    for title, scores in rankings(weight).items():
        row = {"ranking": f"{BOTH}, b = {weight:g}" if title == BOTH else title}
        for half in HALVES:
            targets = [target for target in measured() if target.half == half]
            taus.setdefault(title, {})[half] = [weighted_tau(scores(target), target.truth) for target in targets]
            row[f"{half}: weighted τ [95 %]"] = _cell(taus[title][half])
            row[f"{half}: regret [95 %]"] = _cell([regret(scores(t), t.truth) for t in targets], 1)
        yield row
    for other in (ESTIMATE, FIXED):
        row = {"ranking": f"difference: {BOTH} − {other}"}
        for half in HALVES:
            row[f"{half}: weighted τ [95 %]"] = _cell(np.subtract(taus[BOTH][half], taus[other][half]))
            row[f"{half}: regret [95 %]"] = ""
        yield row


def by_target() -> Iterator[dict[str, str]]:
    """Yield weighted τ and regret of each ranking on each target."""
    titles = rankings(fitted_weight())
    for target in measured():
        truth = target.truth
        row = {"target": target.name, "half": target.half, "checkpoints": str(len(truth))}
        row["fine-tuned"] = f"{truth.min():.1f} to {truth.max():.1f}"
        for title, scores in titles.items():
            row[title] = f"{weighted_tau(scores(target), truth):.2f} / {regret(scores(target), truth):.1f}"
        yield row


# ---- the funnel ------------------------------------------------------------------------------------------------------


def by_prior(target: Measured, rng: np.random.Generator, drawn: bool = True) -> np.ndarray:
    """Return all checkpoints in the fixed order, ties at random; one in `DRAWN_EVERY` is drawn from the others."""
    rest = [int(place) for place in np.lexsort((rng.random(len(target.prior)), -target.prior))]
    chosen: list[int] = []
    while rest:
        at_random = drawn and len(chosen) % DRAWN_EVERY == DRAWN_EVERY - 1
        chosen.append(rest.pop(int(rng.integers(len(rest))) if at_random else 0))
    return np.array(chosen)


def shortlists() -> Iterator[dict[str, str]]:
    """Yield the points that the best of a shortlist loses, by its length and how it is chosen."""
    orders: dict[str, Callable[[Measured, np.random.Generator], np.ndarray]] = {
        "by the fixed order": partial(by_prior, drawn=False),
        "the same, one in five at random": by_prior,
        "at random": lambda target, rng: rng.permutation(len(target.truth)),
    }
    for count in (1, *COUNTS):
        row = {"shortlist": "the first" if count == 1 else f"best of {count}"}
        for title, order in orders.items():
            for half in HALVES:
                lost = [
                    np.mean([target.lost(order(target, rng)[:count]) for rng in _generators()])
                    for target in measured()
                    if target.half == half
                ]
                row[f"{title}: {half}"] = _cell(lost, 1)
        yield row


def funnels() -> Iterator[dict[str, str]]:
    """Yield regret and cost of the funnel by its number of candidates, of exhaustive ranking, and of the prior's first.

    The cost is relative to exhaustive ranking: all finished checkpoints on all rows.
    """
    exhaustive = {target: target.lost([int(np.argmax(target.scores(ESTIMATORS[0])))]) for target in measured()}
    outcomes: dict[str, dict[Measured, tuple[float, float]]] = {
        "exhaustive ranking": {target: (exhaustive[target], 1.0) for target in measured()}
    }
    for count in COUNTS:
        of_rule = {}
        for target in measured():
            runs = [target.funnel(by_prior(target, rng)[:count]) for rng in _generators()]
            lost, passes = np.mean(runs, axis=0)
            of_rule[target] = (float(lost), len(target.truth) * target.rows / float(passes))
        outcomes[f"funnel, {count} candidates"] = of_rule
    outcomes["the prior's first"] = {target: (regret(target.prior, target.truth), math.inf) for target in measured()}
    for title, of_rule in outcomes.items():
        row = {"rule": title}
        for half in HALVES:
            of_half = {target: outcome for target, outcome in of_rule.items() if target.half == half}
            row[f"{half}: regret [95 %]"] = _cell([lost for lost, _ in of_half.values()], 1)
            more = [lost - exhaustive[target] for target, (lost, _) in of_half.items()]
            row[f"{half}: more than exhaustive [95 %]"] = _cell(more, 1)
            fewer = np.mean([times for _, times in of_half.values()])
            row[f"{half}: times fewer row passes"] = f"{fewer:.1f}" if np.isfinite(fewer) else "no passes"
        yield row


def _generators() -> Iterable[np.random.Generator]:
    return (np.random.default_rng(seed) for seed in range(DRAWS))


def _cell(values: Sequence[float] | np.ndarray, digits: int = 2) -> str:
    low, high = over_targets([*values])
    return f"{np.mean(values):z.{digits}f} [{low:z.{digits}f}, {high:z.{digits}f}]"
