"""Compare checkpoints over several rankings by a Bradley–Terry model.

Checkpoint i ranks above j with probability σ(θᵢ − θⱼ); a tie is half a win. In each ranking, the pairs of a checkpoint
have a total weight of 1, so that a ranking counts once however long it is. A prior with the weight of one ranking pulls
strengths to 0: a checkpoint with one ranking stays near the middle, with a wide interval. Checkpoints that share no
ranking, not even indirectly, are in different groups, and their shares cannot be compared.
Bradley and Terry, Biometrika 39 (1952).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_MOST = 1_500
_STEPS = 30
_SETTLED = 1e-4
# Curvature of a game between equals.
_PRIOR = 0.25
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Wins:
    """The share of wins of a checkpoint over several rankings.

    Attributes:
        share: Expected share of wins against an average checkpoint of its group, 0 to 1.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        rankings: Number of rankings that rank it with others.
        group: Number of its group of comparable checkpoints; the largest group is 0.
    """

    share: float
    low: float
    high: float
    rankings: int
    group: int = 0

    def as_data(self) -> dict[str, object]:
        """Return the share and its interval for programs."""
        return {"wins": round(self.share, 4), "wins_interval": [round(self.low, 4), round(self.high, 4)]}


def wins(rankings: Sequence[Mapping[str, int]]) -> dict[str, Wins]:
    """Fit the model, and return the wins of each checkpoint, largest group and largest share first.

    If there are too many checkpoints, fit only those in most rankings.

    Args:
        rankings: Checkpoint → rank, of each ranking; a ranking of a single checkpoint adds nothing.
    """
    counted: dict[str, int] = {}
    for ranks in rankings:
        for name in ranks if len(ranks) > 1 else ():
            counted[name] = counted.get(name, 0) + 1
    names = sorted(counted, key=lambda name: (-counted[name], name))[:_MOST]
    place = {name: number for number, name in enumerate(names)}
    won = np.zeros((len(names), len(names)))
    for ranks in rankings:
        there = [name for name in ranks if name in place]
        if len(there) < 2:
            continue
        rows = np.array([place[name] for name in there])
        of_rank = np.array([ranks[name] for name in there])
        above = (of_rank[:, None] < of_rank) + 0.5 * (of_rank[:, None] == of_rank)
        np.fill_diagonal(above, 0.0)
        won[np.ix_(rows, rows)] += above / (len(rows) - 1)
    all_wins = {
        name: Wins(float(share), *_interval(float(share), counted[name]), counted[name], int(group))
        for name, share, group in zip(names, _sigmoid(_strengths(won)), _groups(won + won.T), strict=True)
    }
    return dict(sorted(all_wins.items(), key=lambda item: (item[1].group, -item[1].share, -item[1].rankings, item[0])))


@dataclass(frozen=True)
class AboveAverage:
    """In how many rankings a checkpoint is better than an average checkpoint.

    Attributes:
        count: The rankings in which more checkpoints rank below it than above it.
        rankings: The number of rankings that rank it with others.
        low: Lower end of the 95 % interval of the share, 0 to 1.
        high: Upper end of this interval.
    """

    count: int
    rankings: int
    low: float
    high: float


def above_average(rankings: Iterable[Mapping[str, int]]) -> dict[str, AboveAverage]:
    """Return the number for each checkpoint.

    Args:
        rankings: Checkpoint → rank, of each ranking; a ranking of a single checkpoint adds nothing.
    """
    better: dict[str, list[bool]] = {}
    for ranks in rankings:
        in_order = sorted(ranks.values())
        for name, rank in ranks.items() if len(ranks) > 1 else ():
            above, below = bisect_left(in_order, rank), len(in_order) - bisect_right(in_order, rank)
            better.setdefault(name, []).append(below > above)
    return {
        name: AboveAverage(sum(some), len(some), *_wilson(sum(some) / len(some), len(some)))
        for name, some in better.items()
    }


def _groups(pairs: np.ndarray) -> np.ndarray:
    """Return the group of each checkpoint, (C,), from the weights of pairs, (C, C); the largest group is 0."""
    labels = np.full(len(pairs), -1)
    for start in range(len(pairs)):
        if labels[start] >= 0:
            continue
        reached = newest = np.arange(len(pairs)) == start
        while newest.any():
            newest = (pairs[newest] > 0).any(axis=0) & ~reached
            reached = reached | newest
        labels[reached] = start
    starts, sizes = np.unique(labels, return_counts=True)
    by_size = starts[np.argsort(-sizes, kind="stable")]
    return np.array([int(np.flatnonzero(by_size == label)[0]) for label in labels], dtype=int)


def _strengths(won: np.ndarray) -> np.ndarray:
    """Return the strengths that maximise the posterior, by Newton's method.

    Args:
        won: (C, C), weights of wins of the row over the column.
    """
    pairs = won + won.T
    strength = np.zeros(len(won))
    for _ in range(_STEPS):
        expected = _sigmoid(strength[:, None] - strength)
        slope = (won - pairs * expected).sum(axis=1) - _PRIOR * strength
        bent = pairs * expected * (1 - expected)
        step = np.linalg.solve(np.diag(bent.sum(axis=1) + _PRIOR) - bent, slope)
        strength += step
        if np.abs(step).max(initial=0.0) < _SETTLED:
            break
    return strength


def _interval(share: float, rankings: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, counting each ranking and the prior as a game."""
    return _wilson(share, rankings + 1)


def _wilson(share: float, games: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of games."""
    spread = _NORMAL_95**2 / games
    middle = (share + spread / 2) / (1 + spread)
    half = _NORMAL_95 / (1 + spread) * np.sqrt(share * (1 - share) / games + spread / (4 * games))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))  # rounding can leave the range


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * value))
