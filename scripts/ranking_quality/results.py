"""The committed results, read: what fine-tuning gave, what every estimator said, and how far they agree."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hf_emms.evaluation import dataset_blind, measured

MEASURES = ("weighted_tau", "kendall_tau", "pearson", "regret", "pick_in_top")

Measured = dict[str, float]


@dataclass(frozen=True)
class Target:
    """One target of results.json."""

    name: str
    record: dict[str, Any]

    @property
    def candidates(self) -> list[str]:
        return self.record["candidates"]

    @cached_property
    def truth(self) -> dict[str, float]:
        """Candidate → mean test score over seeds at the rate whose mean validation score is best."""
        return {name: _best(runs) for name, runs in self.record["runs"].items()}

    def by_seed(self, seed: int) -> dict[str, float] | None:
        """The truth that one seed alone would have given; None where a candidate lacks it."""
        own = {name: [run for run in runs if run[1] == seed] for name, runs in self.record["runs"].items()}
        return {name: _best(runs) for name, runs in own.items()} if all(own.values()) else None

    def agreement(self, scores: list[float]) -> Measured:
        """Every measure of scores in the order of the candidates."""
        found = measured(scores, [self.truth[name] for name in self.candidates])
        return {name: found[name] for name in MEASURES}

    def measures(self, estimator: str, labels: str = "demo", rows: str = "all") -> Measured | None:
        """An estimator's measures, the mean over draws of the sample; None where it has no scores."""
        prefix = f"{estimator}|{labels}|{rows}|"
        found = [self.agreement(scores) for key, scores in self.record["scores"].items() if key.startswith(prefix)]
        return {name: float(np.nanmean([one[name] for one in found])) for name in MEASURES} if found else None

    @property
    def at_random(self) -> Measured:
        """What to expect of a coin: no order, the mean candidate."""
        values = list(self.truth.values())
        chance = {"regret": max(values) - float(np.mean(values)), "pick_in_top": 3 / len(values)}
        return dict.fromkeys(MEASURES, 0.0) | chance


def _best(runs: list[list[float]]) -> float:
    by_rate: dict[float, list[list[float]]] = defaultdict(list)
    for run in runs:
        by_rate[run[0]].append(run)
    chosen = max(by_rate.values(), key=lambda own: np.mean([run[2] for run in own]))
    return float(np.mean([run[3] for run in chosen]))


def load(path: Path) -> tuple[dict[str, Any], list[Target]]:
    """The protocol and the targets of results.json."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return content["protocol"], [Target(name, record) for name, record in content["targets"].items()]


def controls(targets: list[Target]) -> dict[str, dict[str, Measured]]:
    """Control → target → measures: what knows nothing of features and labels."""
    blind = dataset_blind({target.name: target.truth for target in targets})
    found: dict[str, dict[str, Measured]] = defaultdict(dict)
    for target in targets:
        elsewhere = blind[target.name]
        if set(elsewhere) >= set(target.candidates):
            found["dataset-blind"][target.name] = target.agreement([elsewhere[name] for name in target.candidates])
        found["parameters"][target.name] = target.agreement(target.record["parameters"])
        found["feature width"][target.name] = target.agreement(target.record["widths"])
        found["random"][target.name] = target.at_random
    return found
