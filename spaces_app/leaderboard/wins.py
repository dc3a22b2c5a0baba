"""Compare checkpoints over several rankings: how many of the others each of them beats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Wins:
    """The share of wins of a checkpoint over several rankings.

    Attributes:
        share: The mean share of the other checkpoints of a ranking that it beats, 0 to 1; a tie is half a win. It is
            the mean over its rankings and one more with a share of 0.5, so that a checkpoint with few rankings stays
            near the middle.
        low: Lower end of the 95 % interval, which counts each of these rankings as a game (Wilson).
        high: Upper end of the 95 % interval.
        rankings: Number of rankings that rank it with others.
    """

    share: float
    low: float
    high: float
    rankings: int

    def as_data(self) -> dict[str, object]:
        """Return the share and its interval for programs."""
        return {"wins": round(self.share, 4), "wins_interval": [round(self.low, 4), round(self.high, 4)]}


def wins(rankings: Iterable[Mapping[str, int]]) -> dict[str, Wins]:
    """Return the wins of each checkpoint, largest share first.

    Args:
        rankings: Checkpoint → rank, of each ranking; a ranking of a single checkpoint adds nothing.
    """
    shares: dict[str, list[float]] = {}
    for ranks in rankings:
        values = np.array([*ranks.values()])
        for name, rank in ranks.items() if len(ranks) > 1 else ():
            beaten = (values > rank).sum() + 0.5 * ((values == rank).sum() - 1)
            shares.setdefault(name, [0.5]).append(float(beaten) / (len(ranks) - 1))
    found = {name: _interval(sum(some) / len(some), len(some)) for name, some in shares.items()}
    return dict(sorted(found.items(), key=lambda item: (-item[1].share, -item[1].rankings, item[0])))


def _interval(share: float, games: int) -> Wins:
    """Return a share of games with Wilson's 95 % interval; one of the games is not a ranking."""
    spread = _NORMAL_95**2 / games
    middle = (share + spread / 2) / (1 + spread)
    half = _NORMAL_95 / (1 + spread) * float(np.sqrt(share * (1 - share) / games + spread / (4 * games)))
    return Wins(share, max(0.0, middle - half), min(1.0, middle + half), games - 1)
