"""Which columns two F-labels of different widths have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np


@dataclass(frozen=True)
class Pair:
    """F-labels j <= k: where the columns that both have stand in [Z_1 | … | Z_K]."""

    j: int
    k: int
    common: int
    left: slice
    right: slice


def label_pairs(widths: Sequence[int]) -> list[Pair]:
    """Every pair of F-labels of these widths, in the order of `Sums.yy`."""
    starts = np.cumsum((0, *widths)).tolist()
    pairs = []
    for j, k in combinations_with_replacement(range(len(widths)), 2):
        common = min(widths[j], widths[k])
        pairs.append(Pair(j, k, common, slice(starts[j], starts[j] + common), slice(starts[k], starts[k] + common)))
    return pairs
