"""The order of a ranking: ranks, shared where the difference of scores is within the noise of the folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import msgspec
import numpy as np

from hf_emms.ranking.records import Row
from hf_emms.scoring import Score

# A difference counts when it exceeds this many standard errors of the paired fold differences.
TIE_WIDTH = 2.0


def ranked(rows: Sequence[Row], estimator: str) -> tuple[Row, ...]:
    """Rows in order of one estimator, with shared ranks where the difference is within the noise of the folds.

    Ranks come in bands: the first one holds the best row and all that cannot be told from it, their difference being
    at most twice the standard error of the paired differences over folds (every checkpoint has the same folds). The
    best of the other rows leads the next band, and so on. A row's rank is 1 + the number of rows in the bands above
    ("1, 1, 3"). Without folds only equal values tie. Rows that a race stopped come after those that saw all rows, the
    latest stopped first: scores of different samples don't compare. Rows without a score come last, without a rank.
    """
    failed = [msgspec.structs.replace(row, rank=None, tied=False) for row in rows if row.error is not None]
    scored = sorted((row for row in rows if row.error is None), key=_stopped_last)
    placed: list[Row] = []
    for _, together in groupby(scored, key=_stopped_last):
        placed += _placed(list(together), estimator, len(placed))
    return (*placed, *sorted(failed, key=lambda row: row.checkpoint))


def _stopped_last(row: Row) -> float:
    return -math.inf if row.n is None else -row.n


def _placed(rows: list[Row], estimator: str, above: int) -> list[Row]:
    """Ranks of rows that were scored on the same sample, behind so many others."""
    rows.sort(key=lambda row: (-row.scores[estimator].value, row.checkpoint))
    ranks: list[int] = []
    leader = 0
    for position, row in enumerate(rows):
        if _clearly_better(rows[leader].scores[estimator], row.scores[estimator]):
            leader = position
        ranks.append(above + 1 + leader)
    return [
        msgspec.structs.replace(row, rank=rank, tied=ranks.count(rank) > 1)
        for row, rank in zip(rows, ranks, strict=True)
    ]


def gain_and_stderr(first: Score, second: Score) -> tuple[float, float]:
    """The difference of two scores, and the standard error of the paired differences over folds.

    Without folds in common the standard error is 0: the values are all that is known.
    """
    gain = first.value - second.value
    if len(first.folds) < 2 or len(first.folds) != len(second.folds):
        return gain, 0.0
    paired = np.subtract(first.folds, second.folds)
    return gain, float(paired.std(ddof=1) / math.sqrt(len(paired)))


def _clearly_better(first: Score, second: Score) -> bool:
    gain, stderr = gain_and_stderr(first, second)
    return gain > TIE_WIDTH * stderr and gain > 0
