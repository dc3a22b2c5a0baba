"""Whether R² orders checkpoints as the score does: both are there for EMMS by the ridge, in all committed results."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from scripts.quality.protocol import POOLS
from scripts.quality.results import load


def swapped() -> tuple[int, list[float]]:
    """How many pairs of checkpoints have both numbers, and the differences of R² of those that they order otherwise."""
    pairs = [pair for pool in POOLS for pair in _pairs(pool)]
    return len(pairs), [abs(r2) for score, r2 in pairs if score * r2 < 0]


def _pairs(pool: str) -> Iterator[tuple[float, float]]:
    """The differences of score and of R² of each pair of checkpoints, over all targets, label encoders and samples."""
    for target in load(POOLS[pool])[1]:
        scores = target.record["scores"]
        for key, shares in scores.items():
            estimator, _, setting = key.partition("|")
            if estimator == "emms_r2":
                both = [pair for pair in zip(scores[f"emms|{setting}"], shares, strict=True) if None not in pair]
                yield from ((a - b, c - d) for (a, c), (b, d) in combinations(both, 2))


def report() -> str:
    """The result in a sentence."""
    count, differences = swapped()
    return f"{len(differences)} of {count:,} pairs are in another order by R², by at most {max(differences):.4f} of it"
