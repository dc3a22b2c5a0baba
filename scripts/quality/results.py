"""The committed results of a pool: scores and fine-tuned scores of all candidates, in one file."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from hf_emms.evaluation import dataset_blind, measured, weighted_tau
from scripts.quality.pools import FEWEST, MICRO, Pool

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "scipy", "scikit-learn", "timm", "sacrebleu")
# Entries of a run.
FIELDS = ("rate", "seed", "validation", "test", "seconds", "steps", "loss", "curve")
SURE = 2.0  # standard errors of a significant difference
MEASURES = ("weighted_tau", "regret")
# Rankings of pairs and words by transformer-ranker, which `python -m scripts.bench peer scores` writes.
PEER_RESULTS = Path(__file__).parent / "results" / "transformer-ranker.json"
CONFIRMING, SEEDS = "emms_knn", (0, 1)

Measured = dict[str, float]


@dataclass(frozen=True)
class TargetResult:
    """The results of a target at one budget.

    Attributes:
        name: Of the target.
        record: Its content in the file.
        budget: The budget of the truth.
        only: The considered candidates; None for all.
        labels: The label encoders of every estimator.
        measure: The truth: "test", the score on test rows; or "tied", the same, with equal values within the noise.
    """

    name: str
    record: dict[str, Any]
    budget: str = MICRO.truth
    only: frozenset[str] | None = None
    labels: str = "demo"
    measure: Literal["test", "tied"] = "test"

    @property
    def runs(self) -> dict[str, list[list]]:
        """Candidate → its runs at this budget, each with the entries of FIELDS."""
        return self.record["runs"].get(self.budget, {})

    @property
    def candidates(self) -> list[str]:
        """Candidates with runs at this budget, in the order of the record."""
        names = self.record["candidates"]
        return [name for name in names if name in self.runs and (self.only is None or name in self.only)]

    @property
    def is_whole(self) -> bool:
        """Whether all candidates have runs at this budget."""
        return len(self.candidates) == len(
            [n for n in self.record["candidates"] if self.only is None or n in self.only]
        )

    @cached_property
    def truth(self) -> dict[str, float]:
        """Candidate → mean test score over seeds at the rate whose mean validation score is best."""
        if self.measure == "tied":
            return {name: float(np.mean([*group.values()])) for group in self.groups for name in group}
        return {name: _best(self.runs[name]) for name in self.candidates}

    @property
    def groups(self) -> list[dict[str, float]]:
        """The truth in groups, best first: the best candidate of a group, and all that are not significantly worse.

        Significant means more than two standard errors of the difference of two accuracies.
        """
        truth = replace(self, measure="test").truth
        errors = self._errors(truth)
        groups: list[dict[str, float]] = []
        for name in sorted(truth, key=lambda name: -truth[name]):
            best = next(iter(groups[-1])) if groups else name
            if not groups or truth[best] - truth[name] > SURE * np.hypot(errors[best], errors[name]):
                groups.append({})
            groups[-1][name] = truth[name]
        return groups

    def _errors(self, truth: dict[str, float]) -> dict[str, float]:
        """Return candidate → standard error of its accuracy in points, over test rows and seeds."""
        chosen = {name: _chosen(self.runs[name]) for name in truth}
        several = [[run[FIELDS.index("test")] for run in runs] for runs in chosen.values() if len(runs) > 1]
        freedom = sum(len(values) - 1 for values in several)
        between = sum(len(values) * float(np.var(values)) for values in several) / freedom if freedom else 0.0
        rows = self.record["test_rows"]
        return {
            name: float(np.sqrt(value * (100 - value) / rows + between / len(chosen[name])))
            for name, value in truth.items()
        }

    def by_seed(self, seed: int) -> dict[str, float] | None:
        """Return the truth of one seed, or None if a candidate lacks it."""
        runs = {name: [run for run in self.runs[name] if run[1] == seed] for name in self.candidates}
        return {name: _best(of_seed) for name, of_seed in runs.items()} if all(runs.values()) else None

    @property
    def seeds_agree(self) -> float | None:
        """Weighted τ of the truths of the first two seeds, or None without the second."""
        first, second = self.by_seed(0), self.by_seed(1)
        return None if first is None or second is None else weighted_tau(list(first.values()), list(second.values()))

    def agreement(self, scores: Sequence[float]) -> Measured:
        """Return all measures of scores, which are in the order of the candidates."""
        values = measured(scores, [self.truth[name] for name in self.candidates])
        return {name: values[name] for name in MEASURES}

    def scores(self, estimator: str, labels: str | None = None) -> list[float]:
        """Return the scores of an estimator in the order of the candidates."""
        return self._of_candidates(self.record["scores"][f"{estimator}|{labels or self.labels}"])

    def measures(self, estimator: str, labels: str | None = None) -> Measured | None:
        """Return the measures of an estimator; None without scores."""
        is_scored = f"{estimator}|{labels or self.labels}" in self.record["scores"]
        return self.agreement(self.scores(estimator, labels)) if is_scored else None

    def described(self, name: str) -> list[float]:
        """Return "parameters" or "widths" of each candidate."""
        return self._of_candidates(self.record[name])

    @property
    def at_random(self) -> Measured:
        """The expected measures of a random order."""
        values = list(self.truth.values())
        return {"weighted_tau": 0.0, "regret": max(values) - float(np.mean(values))}

    def at(self, budget: str) -> TargetResult | None:
        """Return the target at another budget, or None if fewer than three candidates have runs."""
        other = replace(self, budget=budget)
        return other if len(other.candidates) >= FEWEST else None

    def _of_candidates(self, values: Sequence[float]) -> list[float]:
        names = set(self.candidates)
        return [value for name, value in zip(self.record["candidates"], values, strict=True) if name in names]


def _best(runs: list[list]) -> float:
    return float(np.mean([run[FIELDS.index("test")] for run in _chosen(runs)]))


def _chosen(runs: list[list]) -> list[list]:
    """Return the runs at the learning rate with the best mean validation score."""
    by_rate: dict[float, list[list]] = defaultdict(list)
    for run in runs:
        by_rate[run[0]].append(run)
    if len(by_rate) == 1:
        return runs
    return max(by_rate.values(), key=lambda of_rate: np.mean([run[2] for run in of_rate]))


class Confirmed(NamedTuple):
    """The outcome of fine-tuning a shortlist, averaged over seeds.

    Attributes:
        regret: The best truth minus the truth of the pick, in points.
        runs: Number of fine-tunings.
    """

    regret: float
    runs: float


def replayed(target: TargetResult, count: int, estimator: str = CONFIRMING) -> Confirmed:
    """Fine-tune the first candidates of an estimator, and pick one; 0 picks the first without fine-tuning."""
    order = ordered_by(target, estimator)
    return confirmed(target, order[:count], otherwise=order[0])


def ordered_by(target: TargetResult, estimator: str) -> list[str]:
    """Return the candidates in the order of an estimator."""
    scores = np.array(target.scores(estimator))
    return [target.candidates[place] for place in np.argsort(-scores, kind="stable")]


def confirmed(target: TargetResult, shortlist: Sequence[str], otherwise: str) -> Confirmed:
    """Fine-tune a shortlist, and pick one; an empty shortlist picks `otherwise`.

    Each candidate has one run per learning rate with one seed. The best validation score picks.
    """
    best, outcomes = max(target.truth.values()), []
    for seed in [seed for seed in SEEDS if target.by_seed(seed) is not None]:
        runs = {name: [run for run in target.runs[name] if run[1] == seed] for name in shortlist}
        pick = max(shortlist, key=lambda name: max(run[2] for run in runs[name])) if shortlist else otherwise
        outcomes.append((best - target.truth[pick], sum(len(runs[name]) for name in shortlist)))
    return Confirmed(*(float(value) for value in np.mean(outcomes, axis=0)))


def load(pool: Pool = MICRO, budget: str | None = None) -> list[TargetResult]:
    """Return the targets of a pool's results, at the budget of its truth or another one."""
    records = read(pool).items()
    return [TargetResult(name, record, budget or pool.truth, labels=pool.labels) for name, record in records]


def read(pool: Pool) -> dict[str, dict[str, Any]]:
    """Return target → its content in the file."""
    return json.loads(pool.results.read_text(encoding="utf-8"))["targets"] if pool.results.exists() else {}


def write(pool: Pool, records: dict[str, dict[str, Any]]) -> None:
    """Write a pool's results, with the current package versions."""
    protocol = {
        "budgets": {b.name: {"seeds": b.seeds, "rows": b.rows, "epochs": b.epochs} for b in pool.budgets},
        "kinds": {candidate.name: candidate.kind for candidate in pool.candidates},
        "fields": FIELDS,
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    text = json.dumps({"protocol": protocol, "targets": records}, separators=(",", ":"))
    # one line per target, for readable diffs
    for name in records:
        text = text.replace(f'"{name}":{{"task"', f'\n"{name}":{{"task"')
    pool.results.parent.mkdir(exist_ok=True)
    pool.results.write_text(text + "\n", encoding="utf-8")


def controls(targets: Sequence[TargetResult]) -> dict[str, dict[str, Measured]]:
    """Return control → target → measures, for rankings without features and labels."""
    blind = dataset_blind({target.name: target.truth for target in targets})
    by_control: dict[str, dict[str, Measured]] = defaultdict(dict)
    for target in targets:
        elsewhere = blind[target.name]
        if set(elsewhere) >= set(target.candidates):
            by_control["dataset-blind"][target.name] = target.agreement([elsewhere[n] for n in target.candidates])
        for control, fact in (("parameters", "parameters"), ("feature width", "widths")):
            if fact in target.record:
                by_control[control][target.name] = target.agreement(target.described(fact))
        by_control["random"][target.name] = target.at_random
    return by_control
