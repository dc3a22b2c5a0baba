"""The committed results: fine-tunings and scores in one small file a pool, and how far they agree.

A pool's file holds everything that is needed to repeat the experiment. `collect` updates it, `load` reads it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from typing import Any, Literal

import numpy as np
from pyarrow import parquet

from hf_emms.evaluation import dataset_blind, measured, weighted_tau
from scripts.quality.protocol import MICRO, Pool, Target, work
from scripts.quality.truth import FIELDS

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "numpy", "scipy", "scikit-learn", "timm", "sacrebleu")
SURE = 2.0  # standard errors that a difference must be to count
FEWEST = 3  # candidates; with fewer there is nothing to rank
MEASURES = ("weighted_tau", "kendall_tau", "pearson", "regret", "pick_in_top")

Measured = dict[str, float]
Found = dict[str, dict[str, float]]
"""A candidate's scores on other features: "scores" and "seconds" → column → value."""


@dataclass(frozen=True)
class TargetResult:
    """One target of a pool's results at one budget.

    Attributes:
        name: of the target.
        record: what the file holds.
        budget: whose runs are the truth.
        only: the candidates that count; None for all.
        labels: the set of label encoders with which every estimator ran.
        measure: what the truth is: "test", the score of the test rows; "tied", the same with candidates that end within
            the noise counted as equal; or "loss", minus the mean loss of the test rows.
    """

    name: str
    record: dict[str, Any]
    budget: str = MICRO.truth
    only: frozenset[str] | None = None
    labels: str = "demo"
    measure: Literal["test", "tied", "loss"] = "test"

    @property
    def runs(self) -> dict[str, list[list]]:
        """Candidate → its runs at this budget, each as FIELDS has it."""
        return self.record["runs"].get(self.budget, {})

    @property
    def candidates(self) -> list[str]:
        """The candidates with runs at this budget, in the order of the record."""
        names = self.record["candidates"]
        return [name for name in names if name in self.runs and (self.only is None or name in self.only)]

    @cached_property
    def truth(self) -> dict[str, float]:
        """Candidate → mean test score over seeds at the rate whose mean validation score is best."""
        if self.measure == "tied":
            return {name: float(np.mean([*group.values()])) for group in self.groups for name in group}
        return {name: _best(self.runs[name], self.measure) for name in self.candidates}

    @property
    def groups(self) -> list[dict[str, float]]:
        """The truth in groups, best first: in each the best one, and whatever is not surely worse than that.

        "Surely" means by more than two standard errors of the difference of two accuracies.
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
        """Candidate → standard error of its accuracy in points: of so many test rows, and of so many seeds."""
        own = {name: _chosen(self.runs[name]) for name in truth}
        several = [[run[FIELDS.index("test")] for run in runs] for runs in own.values() if len(runs) > 1]
        freedom = sum(len(values) - 1 for values in several)
        between = sum(len(values) * float(np.var(values)) for values in several) / freedom if freedom else 0.0
        rows = self.record["test_rows"]
        return {
            name: float(np.sqrt(value * (100 - value) / rows + between / len(own[name])))
            for name, value in truth.items()
        }

    def by_seed(self, seed: int) -> dict[str, float] | None:
        """The truth that one seed alone would have given; None where a candidate lacks it."""
        own = {name: [run for run in self.runs[name] if run[1] == seed] for name in self.candidates}
        return {name: _best(runs, self.measure) for name, runs in own.items()} if all(own.values()) else None

    @property
    def seeds_agree(self) -> float | None:
        """Weighted τ of the truths of the first two seeds; None where the second is missing."""
        first, second = self.by_seed(0), self.by_seed(1)
        return None if first is None or second is None else weighted_tau(list(first.values()), list(second.values()))

    def agreement(self, scores: Sequence[float]) -> Measured:
        """Every measure of scores in the order of the candidates."""
        found = measured(scores, [self.truth[name] for name in self.candidates])
        return {name: found[name] for name in MEASURES}

    def scores(self, estimator: str, labels: str | None = None, rows: str = "all") -> list[list[float]]:
        """An estimator's scores in the order of the candidates, one list a draw of the sample."""
        prefix = f"{estimator}|{labels or self.labels}|{rows}|"
        return [self._own(scores) for key, scores in self.record["scores"].items() if key.startswith(prefix)]

    def measures(self, estimator: str, labels: str | None = None, rows: str = "all") -> Measured | None:
        """An estimator's measures, the mean over draws of the sample; None where it has no scores."""
        found = [self.agreement(scores) for scores in self.scores(estimator, labels, rows)]
        return {name: float(np.nanmean([one[name] for one in found])) for name in MEASURES} if found else None

    def described(self, name: str) -> list[float]:
        """A fact about each candidate: "parameters" or "widths"."""
        return self._own(self.record[name])

    @property
    def at_random(self) -> Measured:
        """The expectation of a random order: no agreement, the mean candidate."""
        values = list(self.truth.values())
        chance = {"regret": max(values) - float(np.mean(values)), "pick_in_top": 3 / len(values)}
        return dict.fromkeys(MEASURES, 0.0) | chance

    def at(self, budget: str) -> TargetResult | None:
        """The same target at another budget; None where fewer than three candidates have runs."""
        other = replace(self, budget=budget)
        return other if len(other.candidates) >= FEWEST else None

    def _own(self, values: Sequence[float]) -> list[float]:
        own = set(self.candidates)
        return [value for name, value in zip(self.record["candidates"], values, strict=True) if name in own]


def _best(runs: list[list], measure: str) -> float:
    value = float(np.mean([run[FIELDS.index(measure)] for run in _chosen(runs)]))
    return -value if measure == "loss" else value


def _chosen(runs: list[list]) -> list[list]:
    """The runs at the rate whose mean validation score is best."""
    by_rate: dict[float, list[list]] = defaultdict(list)
    for run in runs:
        by_rate[run[0]].append(run)
    return max(by_rate.values(), key=lambda own: np.mean([run[2] for run in own]))


def load(pool: Pool = MICRO) -> tuple[dict[str, Any], list[TargetResult]]:
    """The protocol and the targets of a pool's results, at the budget of its truth."""
    if not pool.results.exists():
        return {}, []
    content = json.loads(pool.results.read_text(encoding="utf-8"))
    budget = pool.truth
    targets = [TargetResult(name, record, budget, labels=pool.labels) for name, record in content["targets"].items()]
    return content["protocol"], targets


def controls(targets: Sequence[TargetResult]) -> dict[str, dict[str, Measured]]:
    """Control → target → measures: what knows nothing of features and labels."""
    blind = dataset_blind({target.name: target.truth for target in targets})
    found: dict[str, dict[str, Measured]] = defaultdict(dict)
    for target in targets:
        elsewhere = blind[target.name]
        if set(elsewhere) >= set(target.candidates):
            found["dataset-blind"][target.name] = target.agreement([elsewhere[name] for name in target.candidates])
        found["parameters"][target.name] = target.agreement(target.described("parameters"))
        found["feature width"][target.name] = target.agreement(target.described("widths"))
        found["random"][target.name] = target.at_random
    return found


def collect(pool: Pool) -> None:
    """Update a pool's results with what the work folder holds; what is not there stays as it is."""
    from scripts.quality.truth import finished

    runs = [one for one in finished() if one["pool"] == pool.name]
    before = json.loads(pool.results.read_text(encoding="utf-8"))["targets"] if pool.results.exists() else {}
    every = {target.name: _target(target, runs, before.get(target.name)) for target in pool.targets}
    targets = {name: target for name, target in every.items() if target}
    text = json.dumps({"protocol": _protocol(pool), "targets": targets}, separators=(",", ":"))
    # one line a target, so that a difference between two runs can be read
    for name in targets:
        text = text.replace(f'"{name}":{{"task"', f'\n"{name}":{{"task"')
    pool.results.parent.mkdir(exist_ok=True)
    pool.results.write_text(text + "\n", encoding="utf-8")
    done = sum(len(own) for target in targets.values() for of in target["runs"].values() for own in of.values())
    print(f"{pool.results}: {len(targets)} targets, {done} fine-tunings")


def _protocol(pool: Pool) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in PACKAGES}
    budgets = {
        budget.name: {"seeds": budget.seeds, "settings": budget.settings, "epochs": budget.epochs}
        for budget in pool.budgets
    }
    kinds = {candidate.name: candidate.kind for candidate in pool.candidates}
    return {"budgets": budgets, "kinds": kinds, "fields": FIELDS, "versions": versions}


def _target(target: Target, runs: list[dict], before: dict[str, Any] | None) -> dict[str, Any] | None:
    """Everything about one target: runs by budget and candidate, scores by setting."""
    from scripts.quality import other_features
    from scripts.quality.scores import scores_path

    mine = [run for run in runs if run["target"] == target.name]
    path = scores_path(target)
    scored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    more = other_features.found(target)
    names = [name for name in scored if any(run["candidate"] == name for run in mine)]
    if len(names) < FEWEST or not set(before["candidates"] if before else ()) <= set(names):
        # the scores stay; runs are added where their candidates are the same
        names = before["candidates"] if before else []
        kept = before and before | _test_rows(target) | {"runs": _runs(mine, names)} | _similarity(target, names)
        return kept and with_more(kept, more)
    same = before if before and before["candidates"] == names else {}
    kept = {name: same[name] for name in ("similarity",) if name in same}
    settings = [key for key in scored[names[0]]["scores"] if all(key in scored[name]["scores"] for name in names)]
    fresh = (
        {
            "task": target.task,
            "half": target.half,
            "measure": target.measure,
            **_test_rows(target),
            "candidates": names,
            "revisions": [next(run["revision"] for run in mine if run["candidate"] == name) for name in names],
            "parameters": [scored[name]["parameters"] for name in names],
            "widths": [scored[name]["width"] for name in names],
            "runs": _runs(mine, names),
            "scores": {key: [_rounded(scored[name]["scores"][key]) for name in names] for key in settings},
            "seconds": {name: scored[name]["seconds"] for name in names},
        }
        | kept
        | _similarity(target, names)
    )
    return with_more(fresh, more)


def with_more(target: dict[str, Any], more: dict[str, Found]) -> dict[str, Any]:
    """A target with scores on other features, where all its candidates have them."""
    names = target["candidates"]
    if not set(names) <= set(more):
        return target
    scores = {key: [_rounded(more[name]["scores"][key]) for name in names] for key in more[names[0]]["scores"]}
    seconds = {name: target["seconds"][name] | more[name]["seconds"] for name in names}
    return target | {"scores": target["scores"] | scores, "seconds": seconds}


def _rounded(score: float) -> float:
    return float(f"{score:.6g}")


def _test_rows(target: Target) -> dict[str, int]:
    """How many rows the test scores are means of, where the target's rows were made."""
    files = [*(work() / "targets" / target.name).glob("data/test*.parquet")]
    return {"test_rows": sum(parquet.read_metadata(path).num_rows for path in files)} if files else {}


def _similarity(target: Target, names: Sequence[str]) -> dict[str, list[list[float]]]:
    """CKA of every two candidates, in their order, where it was computed."""
    from scripts.quality.similarity import similarity_path

    path = similarity_path(target)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not set(names) <= set(found):
        return {}
    return {"similarity": [[round(found[one][other], 3) for other in names] for one in names]}


def _runs(records: list[dict], names: Sequence[str]) -> dict[str, dict[str, list[list]]]:
    """Budget → candidate → runs as FIELDS has them, without what older runs lack."""
    found: dict[str, dict[str, list[list]]] = defaultdict(lambda: defaultdict(list))
    digits: dict[str, Callable[[float], float]] = {
        "validation": lambda x: round(x, 2),
        "test": lambda x: round(x, 2),
        "seconds": lambda x: round(x, 1),
        "loss": lambda x: x if x is None else round(x, 4),
    }
    for name in names:
        for run in (run for run in records if run["candidate"] == name):
            values = [digits.get(field, lambda x: x)(run[field]) for field in FIELDS if field in run]
            found[run["budget"]][name].append(values)
    return found
