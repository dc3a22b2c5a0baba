"""Select and name the checkpoints of a ranking that its verdict compares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter

from hf_emms.formatting import format_count
from hf_emms.ranking.columns import estimator_named
from hf_emms.ranking.records import EMMS, TIE_WIDTH, RankingData, Row, explained, ranked

_NAMED = 3


def comparable(ranking: RankingData) -> list[Row]:
    """Return the scored rows that can be fine-tuned, with ranks among themselves."""
    scored = [row for row in ranking.rows if row.rank is not None]
    rows = [row for row in scored if row.no_head is None]
    return rows if len(rows) == len(scored) else list(ranked(rows, ranking.estimators[0]))


def explains(row: Row, estimator: str) -> bool:
    """Return whether R² of a row is above its own noise; True for estimators without R²."""
    share = explained(row.scores[estimator]) if estimator in EMMS else None
    return share is None or share.value > TIE_WIDTH * (share.stderr or 0.0)


def best_by(estimator: str | None, rows: Sequence[Row]) -> Row | None:
    """Return the row with the best score by an estimator, or None."""
    scores = [(row.scores[estimator].value, row) for row in rows if estimator in row.scores] if estimator else []
    return max(scores, key=itemgetter(0), default=(0.0, None))[1]


def direct_measure(ranking: RankingData) -> str | None:
    """Return the first estimator that ran the checkpoints themselves; None if the first of all did."""
    first, *others = ranking.estimators
    if "model" in estimator_named(first).needs:
        return None
    return next((name for name in others if "model" in estimator_named(name).needs), None)


def smallest_of(rows: Sequence[Row]) -> Row:
    """Return the row with the smallest number of parameters. Unknown numbers count as the largest."""
    return min(rows, key=size_of)


def size_of(row: Row) -> float:
    return math.inf if row.parameters is None else row.parameters


def label_with_size(row: Row) -> str:
    """Return a checkpoint's name with its number of parameters, if the row has it."""
    return row.checkpoint + (f" ({format_count(row.parameters)} parameters)" if row.parameters is not None else "")


def names_of(rows: Sequence[Row]) -> str:
    names = [row.checkpoint for row in rows[:_NAMED]]
    more = len(rows) - len(names)
    if more:
        return f"{', '.join(names)} and {more} more"
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
