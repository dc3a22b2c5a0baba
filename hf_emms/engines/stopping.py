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
# How sure it must be, over folds, that a checkpoint lies below on the rows so far, and on all rows as is expected. The
# latter is made of two looks and varies twice as much, but only has to confirm the former.
CONFIDENCE, CONFIRMED = 0.95, 0.9

Looks = Sequence[tuple[int, RowScore]]
"""Rows and score of each look at a checkpoint, the latest one last."""


@dataclass(frozen=True)
class Standing:
    """A score on some rows: its value, and that of each fold."""

    value: float
    folds: np.ndarray


def growing(inputs: int, fewest: int = FEWEST_INPUTS) -> list[int]:
    """Sizes of the rounds: doubling, from the smallest that still leaves a first look at half of it, up to all."""
    sizes = [inputs]
    while sizes[-1] >= 4 * fewest:
        sizes.append(sizes[-1] // 2)
    return sizes[::-1]


def out_of_reach(looks: Looks, best: Looks, total: int) -> bool:
    """Whether a checkpoint is clearly below one of the best, now and as it is expected on all rows.

    Args:
        looks: at the checkpoint.
        best: at the other one.
        total: N.
    """
    return clearly_below(_latest(looks), _latest(best), CONFIDENCE) and clearly_below(
        standing(looks, total), standing(best, total), CONFIRMED
    )


def standing(looks: Looks, total: int) -> Standing:
    """What a score will be on all rows.

    The excess error of a fitted regression falls as 1/n: what it gained since the look before, at n/2, times
    (1 − n/N), is still to come. So a wide checkpoint, whose regression starts slowly, isn't stopped for that.

    Args:
        looks: at the checkpoint.
        total: N.
    """
    rows, _ = looks[-1]
    now = _latest(looks)
    if len(looks) < 2 or len(looks[-2][1].folds) != len(now.folds):
        return now
    before_rows, before = looks[-2]
    # Of an error c/n the gain between two looks is c·(1/n₁ − 1/n₂), what is to come c·(1/n₂ − 1/N).
    ahead = (1 / rows - 1 / total) / (1 / before_rows - 1 / rows)
    gained = now.folds - np.array(before.folds)
    return Standing(now.value + ahead * (now.value - before.value), now.folds + ahead * gained)


def clearly_below(its: Standing, mark: Standing, confidence: float) -> bool:
    """Whether the paired difference over folds is below zero, by a one-sided t-test."""
    if len(its.folds) != len(mark.folds) or len(its.folds) < 2:
        return False
    differences = mark.folds - its.folds
    stderr = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    width = float(stdtrit(len(differences) - 1, confidence))
    return mark.value - its.value > width * stderr


def _latest(looks: Looks) -> Standing:
    _, score = looks[-1]
    return Standing(score.value, np.array(score.folds))
