"""How many targets tell two estimators apart: by the spread of their difference over targets, seeds and candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hf_emms.evaluation import dataset_blind, weighted_tau
from scripts.quality.results import TargetResult

DIFFERENCE = 0.03  # of weighted τ
# Standard errors that a difference must be, to be found at the 5 % level in 80 of 100 experiments.
POWERED = 1.96 + 0.84
SUBSETS, DRAWS = 30, 20_000
OTHERS = ("emms", "logme", "logme_flabels", "knn", "dataset-blind")


def rows(targets: Sequence[TargetResult], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    """Lines of the table: the other estimator, the difference, and targets needed with all or so many candidates."""
    blind = dataset_blind({target.name: target.truth for target in targets})
    found = []
    for other in OTHERS:
        if not all(_scores(target, other, blind) for target in targets):
            continue
        whole = _drawn([_differences(target, other, blind) for target in targets])
        means = np.random.default_rng(1).choice(whole, (1_000, len(targets))).mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        few = [_drawn([_differences(target, other, blind, size) for target in targets]) for size in sizes]
        needed = [math.ceil((POWERED * float(one.std()) / DIFFERENCE) ** 2) for one in (whole, *few)]
        found.append((other, f"{whole.mean():+.2f} [{low:+.2f}, {high:+.2f}]", *(f"{count:,}" for count in needed)))
    return found


def _scores(target: TargetResult, name: str, blind: dict[str, dict[str, float]]) -> list[float]:
    if name == "dataset-blind":
        own = blind[target.name]
        return [own[name] for name in target.candidates] if set(target.candidates) <= set(own) else []
    found = target.scores(name)
    return list(np.mean(found, axis=0)) if found else []


def _differences(
    target: TargetResult, other: str, blind: dict[str, dict[str, float]], size: int | None = None
) -> list[float]:
    """Weighted τ of the default minus that of the other, by the truth of each seed and each set of candidates."""
    default, against = (np.array(_scores(target, name, blind)) for name in ("emms_knn", other))
    count = len(target.candidates)
    rng = np.random.default_rng(0)
    sets = [np.arange(count)]
    if size is not None and size < count:
        sets = [rng.choice(count, size, replace=False) for _ in range(SUBSETS)]
    truths = [list(own.values()) for seed in (0, 1) if (own := target.by_seed(seed)) is not None]
    return [
        weighted_tau(default[some], truth[some]) - weighted_tau(against[some], truth[some])
        for truth in map(np.array, truths)
        for some in sets
    ]


def _drawn(differences: Sequence[Sequence[float]]) -> np.ndarray:
    """Differences of random targets, each by a random truth, (20,000,)."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.choice(one, DRAWS // len(differences)) for one in differences])
