"""Decide which checkpoint a ranking recommends. Sentences, cards, pages and interfaces are made from this record."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Literal, NamedTuple, TypeVar

import msgspec

from hf_emms.ranking.columns import estimator_named
from hf_emms.ranking.records import (
    EMMS,
    TIE_WIDTH,
    FineTuned,
    RankingData,
    Row,
    explained,
    gain_and_stderr,
    ranked,
)

R = TypeVar("R", bound=RankingData)
Lead = Literal["no score", "no head", "nothing explained", "alone", "shared", "ahead", "clearly ahead"]
Outcome = Literal["confirmed", "measured", "no better than the baseline"]


class Verdict(msgspec.Struct, frozen=True):
    """The checkpoint that a ranking recommends, and how certain the estimate and the fine-tuning are.

    Attributes:
        checkpoint: The checkpoint to fine-tune. None if neither the estimate nor the fine-tuning is above the baseline.
        lead: How clearly the first rank leads, among the checkpoints that can be fine-tuned. "no score": no row has a
            score. "no head": no checkpoint can be fine-tuned. "nothing explained": no row explains more than its own
            noise. "alone": a single row has a score. "shared": several rows share the first rank. "ahead": the
            first row is better. "clearly ahead": it is better by more than the noise of the folds.
        first: The checkpoints of the first rank, ordered by score.
        outcome: The result of fine-tuning. None without fine-tuning. "confirmed": the best is significantly above the
            baseline and all other fine-tuned checkpoints. "no better than the baseline": no checkpoint is significantly
            above the baseline. Else "measured".
        near: The fine-tuned checkpoints that are not significantly worse than the best, with the best.
        published: The checkpoint with the best published value (`Row.published`), if one of the first rank has a value
            and none has the best one. None if both orders agree, or if they cannot be compared.
    """

    checkpoint: str | None
    lead: Lead
    first: tuple[str, ...] = ()
    outcome: Outcome | None = None
    near: tuple[str, ...] = ()
    published: str | None = None


def verdict(ranking: RankingData) -> Verdict:
    """Return the verdict of a ranking."""
    lead, first = _lead(ranking)
    names = tuple(row.checkpoint for row in first)
    results = {row.checkpoint: row.fine_tuned for row in ranking.fine_tuned if row.fine_tuned is not None}
    best, chosen = next(iter(results.values()), None), pick(ranking)
    near = (name for name, result in results.items() if best is not None and not is_significantly_better(best, result))
    outcome = _outcome([*results.values()])
    published = _published_first(ranking, first) if lead != "nothing explained" else None
    return Verdict(None if chosen is None else chosen.checkpoint, lead, names, outcome, tuple(near), published)


class Preference(NamedTuple):
    """A checkpoint that can be fine-tuned.

    Attributes:
        row: Its row.
        is_measured: Whether it was fine-tuned.
        is_convincing: Whether its fine-tuned score or else its estimate is above the baseline, or may be.
    """

    row: Row
    is_measured: bool
    is_convincing: bool


def preferences(ranking: RankingData) -> list[Preference]:
    """Return the checkpoints that can be fine-tuned, the one to choose first.

    Fine-tuned checkpoints come first, by validation score. The others follow by rank. Within a shared rank, checkpoints
    with a direct measure come first, by this measure, then the smallest.
    """
    direct, estimator = direct_measure(ranking), ranking.estimators[0]

    def order(row: Row) -> tuple[float, ...]:
        measure = -row.scores[direct].value if direct in row.scores else math.inf
        return row.rank or math.inf, not explains(row, estimator), measure, _size(row)

    measured = [(row, row.fine_tuned) for row in ranking.fine_tuned if row.fine_tuned is not None]
    estimated = sorted((row for row in comparable(ranking) if not _is_measured(row)), key=order)
    return [
        *(Preference(row, True, is_above_baseline(result) is not False) for row, result in measured),
        *(Preference(row, False, explains(row, estimator)) for row in estimated),
    ]


def pick(ranking: RankingData) -> Row | None:
    """Return the row to fine-tune, which every table, page and card names.

    None if no fine-tuned score, or without any the best estimate, is above the baseline.
    """
    preferred = preferences(ranking)
    deciding = [each for each in preferred if each.is_measured] or preferred[:1]
    return preferred[0].row if any(each.is_convincing for each in deciding) else None


def of_checkpoints(ranking: R, checkpoints: Collection[str]) -> R:
    """Return a ranking of some of the checkpoints, with the ranks that they have among all.

    It contains the checkpoints that can be fine-tuned; if there are none, the others.
    """
    rows = [row for row in comparable(ranking) if row.checkpoint in checkpoints]
    return msgspec.structs.replace(ranking, rows=tuple(rows or ranking.rows_of(checkpoints)))


def _published_first(ranking: RankingData, first: Sequence[Row]) -> str | None:
    """Return the first checkpoint of the published order if it disagrees with the rows of the first rank."""
    if ranking.published_table is None:
        return None
    sign = -1 if ranking.published_table.lower_is_better else 1
    values = {row.checkpoint: sign * row.published for row in comparable(ranking) if row.published is not None}
    of_first = [values[row.checkpoint] for row in first if row.checkpoint in values]
    if not of_first or max(of_first) == max(values.values()):
        return None
    return max(values, key=lambda checkpoint: values[checkpoint])


def comparable(ranking: RankingData) -> list[Row]:
    """Return the scored rows that can be fine-tuned, with ranks among themselves."""
    scored = [row for row in ranking.rows if row.rank is not None]
    rows = [row for row in scored if row.no_head is None]
    return rows if len(rows) == len(scored) else list(ranked(rows, ranking.estimators[0]))


def _lead(ranking: RankingData) -> tuple[Lead, list[Row]]:
    """Return how clearly the first rank leads, and its rows."""
    rows, estimator = comparable(ranking), ranking.estimators[0]
    first = [row for row in rows if row.rank == rows[0].rank]
    if not rows:
        return ("no head" if any(row.rank is not None for row in ranking.rows) else "no score"), []
    if not any(explains(row, estimator) for row in first):
        return "nothing explained", first
    if len(first) > 1:
        return "shared", first
    if len(rows) == 1:
        return "alone", first
    gain, stderr = gain_and_stderr(rows[0].scores[estimator], rows[1].scores[estimator])
    return ("clearly ahead" if 0 < TIE_WIDTH * stderr < gain else "ahead"), first


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
    return min(rows, key=_size)


def _size(row: Row) -> float:
    return math.inf if row.parameters is None else row.parameters


# ---- fine-tuning -----------------------------------------------------------------------------------------------------


def _is_measured(row: Row) -> bool:
    return row.fine_tuned is not None and row.fine_tuned.validation is not None


def _outcome(results: Sequence[FineTuned]) -> Outcome | None:
    """Return the outcome of fine-tuning; the results are ordered by validation score."""
    if not results:
        return None
    if all(is_above_baseline(result) is False for result in results):
        return "no better than the baseline"
    apart = len(results) > 1 and all(is_significantly_better(results[0], other) for other in results[1:])
    return "confirmed" if apart and is_above_baseline(results[0]) else "measured"


def is_above_baseline(result: FineTuned) -> bool | None:
    """Return whether a score is significantly above the baseline; None if the baseline is unknown."""
    if result.value is None or result.baseline is None:
        return None
    return result.value - result.baseline.value > TIE_WIDTH * result.baseline.gain_stderr


def is_significantly_better(first: FineTuned, second: FineTuned) -> bool:
    """Return whether the first of two scores is better by more than the noise of both."""
    errors = [result.spread if result.stderr is None else result.stderr for result in (first, second)]
    if first.value is None or second.value is None or None in errors:
        return False
    return first.value - second.value > TIE_WIDTH * math.hypot(*(error or 0.0 for error in errors))
