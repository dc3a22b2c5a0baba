"""Checkpoints over several rankings: how often each would be ranked above another.

A Bradley–Terry model of the pairs in every ranking: checkpoint i is above j with probability σ(θᵢ − θⱼ), a shared rank
is half a win. In a ranking the pairs of a checkpoint weigh 1 together: a ranking counts once however long it is.
A prior as strong as a ranking draws strengths to 0: a checkpoint that was ranked once stays near the middle, with a
wide interval. Checkpoints that never met, neither in a ranking nor by others that did, are in different groups: their
shares are of different checkpoints, and cannot be compared. Bradley and Terry, Biometrika 39 (1952).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_MOST = 1_500
_STEPS = 30
_SETTLED = 1e-4
# The curvature of a game between equals.
_PRIOR = 0.25
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Wins:
    """How often a checkpoint wins over several rankings.

    Attributes:
        share: the expected share of wins against an average checkpoint of its group, 0 to 1.
        low: end of its 95 % interval.
        high: the other end.
        rankings: in how many rankings it has a rank next to others.
        group: number of the checkpoints that it can be compared with; the largest group is 0.
    """

    share: float
    low: float
    high: float
    rankings: int
    group: int = 0


def wins(rankings: Sequence[Mapping[str, int]]) -> dict[str, Wins]:
    """Return the wins of each checkpoint by the fitted model, the largest group and the largest share first.

    Only the checkpoints in most rankings are fitted where there are very many.

    Args:
        rankings: checkpoint → rank, of each ranking; a ranking of a single checkpoint adds nothing.
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


def _groups(pairs: np.ndarray) -> np.ndarray:
    """Return the group of each checkpoint, (C,), from the weights of its pairs, (C, C); the largest group is 0."""
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
    """Return the strengths with the largest posterior, by Newton's method.

    Args:
        won: (C, C), weights of wins of the row's checkpoint over the column's.
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
    """Return Wilson's 95 % interval of a share, counting each ranking and the prior as a game."""
    games = rankings + 1
    spread = _NORMAL_95**2 / games
    middle = (share + spread / 2) / (1 + spread)
    half = _NORMAL_95 / (1 + spread) * np.sqrt(share * (1 - share) / games + spread / (4 * games))
    return float(middle - half), float(middle + half)


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * value))
