"""When a race is over for a checkpoint: at what sizes it is looked at, and what its scores tell of all rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from hf_emms.ranking import RowScore

# Inputs that are read for the first look: fewer leave folds of a few rows, whose scores say nothing.
FEWEST_INPUTS = 50
# Of the two-sided confidence interval, over folds. The first round compares all checkpoints by few rows a fold: to be
# as wary there as later on would stop one of the best twice as often.
CONFIDENCE, FIRST_CONFIDENCE = 0.95, 0.99


@dataclass(frozen=True)
class Standing:
    """A score as it is expected on all rows: its value, and that of each fold."""

    value: float
    folds: np.ndarray


def growing(inputs: int, fewest: int = FEWEST_INPUTS) -> list[int]:
    """Sizes of the rounds: doubling, from the smallest that still leaves a first look at half of it, up to all."""
    sizes = [inputs]
    while sizes[-1] >= 4 * fewest:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]


def standing(looks: Sequence[tuple[int, RowScore]], total: int) -> Standing:
    """What a score will be on all rows.

    The excess error of a fitted regression falls as 1/n: what it gained since the look before, at n/2, times
    (1 − n/N), is still to come. So a wide checkpoint, whose regression starts slowly, isn't stopped for that.

    Args:
        looks: rows and score of each look, the latest one last.
        total: N.
    """
    rows, now = looks[-1]
    folds = np.array(now.folds)
    if len(looks) < 2 or len(looks[-2][1].folds) != len(folds):
        return Standing(now.value, folds)
    before_rows, before = looks[-2]
    # Of an error c/n the gain between two looks is c·(1/n₁ − 1/n₂), what is to come c·(1/n₂ − 1/N).
    ahead = (1 / rows - 1 / total) / (1 / before_rows - 1 / rows)
    return Standing(now.value + ahead * (now.value - before.value), folds + ahead * (folds - np.array(before.folds)))


def clearly_below(its: Standing, mark: Standing, confidence: float = CONFIDENCE) -> bool:
    """Whether the confidence interval of the paired difference over folds lies below zero."""
    if len(its.folds) != len(mark.folds) or len(its.folds) < 2:
        return False
    differences = mark.folds - its.folds
    stderr = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    width = float(stdtrit(len(differences) - 1, (1 + confidence) / 2))
    return mark.value - its.value > width * stderr
