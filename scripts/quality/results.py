"""The committed results: fine-tunings and scores in one small file, and how far they agree.

results.json holds everything that is needed to repeat the experiment. `collect` updates it, `load` reads it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np

from hf_emms.evaluation import dataset_blind, measured
from scripts.quality import protocol
from scripts.quality.protocol import RESULTS, TARGETS, Target

PACKAGES = ("torch", "transformers", "datasets", "numpy", "scipy", "scikit-learn", "timm", "sacrebleu")
FEWEST = 3  # candidates; with fewer there is nothing to rank
MEASURES = ("weighted_tau", "kendall_tau", "pearson", "regret", "pick_in_top")

Measured = dict[str, float]


@dataclass(frozen=True)
class TargetResult:
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
        """The expectation of a random order: no agreement, the mean candidate."""
        values = list(self.truth.values())
        chance = {"regret": max(values) - float(np.mean(values)), "pick_in_top": 3 / len(values)}
        return dict.fromkeys(MEASURES, 0.0) | chance


def _best(runs: list[list[float]]) -> float:
    by_rate: dict[float, list[list[float]]] = defaultdict(list)
    for run in runs:
        by_rate[run[0]].append(run)
    chosen = max(by_rate.values(), key=lambda own: np.mean([run[2] for run in own]))
    return float(np.mean([run[3] for run in chosen]))


def load() -> tuple[dict[str, Any], list[TargetResult]]:
    """The protocol and the targets of results.json."""
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    return content["protocol"], [TargetResult(name, record) for name, record in content["targets"].items()]


def controls(targets: list[TargetResult]) -> dict[str, dict[str, Measured]]:
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


def collect() -> None:
    """Update results.json with what the work folder holds; what is not there stays as it is."""
    from scripts.quality.truth import finished

    runs = finished()
    before = json.loads(RESULTS.read_text(encoding="utf-8"))["targets"] if RESULTS.exists() else {}
    every = {target.name: _target(target, runs) or before.get(target.name) for target in TARGETS}
    targets = {name: target for name, target in every.items() if target}
    text = json.dumps({"protocol": _protocol(), "targets": targets}, separators=(",", ":"))
    # one line a target, so that a difference between two runs can be read
    for name in targets:
        text = text.replace(f'"{name}":{{"task"', f'\n"{name}":{{"task"')
    RESULTS.write_text(text + "\n", encoding="utf-8")
    done = sum(len(runs) for target in targets.values() for runs in target["runs"].values())
    print(f"{RESULTS}: {len(targets)} targets, {done} fine-tunings")


def _protocol() -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in PACKAGES}
    settings = {
        "seeds": protocol.SEEDS,
        "more_seeds": dict.fromkeys(sorted(protocol.UNSTEADY), protocol.MORE_SEEDS),
        "batch": protocol.BATCH,
        "epochs": protocol.EPOCHS,
        "fine_tuning_rows": protocol.FINE_TUNING_ROWS,
        "weight_decay": protocol.WEIGHT_DECAY,
        "warm_up": protocol.WARM_UP,
        "rates": {candidate.name: candidate.rates for candidate in protocol.CANDIDATES},
    }
    return settings | {"versions": versions}


def _target(target: Target, runs: list[dict]) -> dict[str, Any] | None:
    """Everything about one target: runs as [rate, seed, validation, test, seconds], scores by setting."""
    from scripts.quality.scores import scores_path

    if not scores_path(target).exists():
        return None
    scored = json.loads(scores_path(target).read_text(encoding="utf-8"))
    mine = [run for run in runs if run["target"] == target.name]
    names = [name for name in scored if any(run["candidate"] == name for run in mine)]
    if len(names) < FEWEST:
        return None
    settings = [key for key in scored[names[0]]["scores"] if all(key in scored[name]["scores"] for name in names)]
    return {
        "task": target.task,
        "half": target.half,
        "measure": target.measure,
        "candidates": names,
        "revisions": [next(run["revision"] for run in mine if run["candidate"] == name) for name in names],
        "parameters": [scored[name]["parameters"] for name in names],
        "widths": [scored[name]["width"] for name in names],
        "runs": {
            name: [
                [run["rate"], run["seed"], round(run["validation"], 2), round(run["test"], 2), round(run["seconds"], 1)]
                for run in mine
                if run["candidate"] == name
            ]
            for name in names
        },
        "scores": {key: [float(f"{scored[name]['scores'][key]:.6g}") for name in names] for key in settings},
        "seconds": {name: scored[name]["seconds"] for name in names},
    }
