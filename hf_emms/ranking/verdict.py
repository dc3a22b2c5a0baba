"""Decide which checkpoint a ranking recommends. Sentences, cards, pages and interfaces are made from this record."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple, TypeVar

import msgspec

from hf_emms.errors import Note
from hf_emms.ranking.candidates import comparable, direct_measure, explains, size_of
from hf_emms.ranking.caveats import caveats
from hf_emms.ranking.columns import estimator_named
from hf_emms.ranking.expected_gap import expected_gap, not_calibrated
from hf_emms.ranking.records import TIE_WIDTH, FineTuned, RankingData, Row

R = TypeVar("R", bound=RankingData)
Certainty = Literal["confirmed", "probable", "best estimate", "tie", "nothing explained", "no head", "no score"]
Outcome = Literal["confirmed", "measured", "no better than the baseline"]
# Code of the reason of a search without queries, whose checkpoints are not fine-tuned.
NO_QUERIES = "no-queries"


class Verdict(msgspec.Struct, frozen=True):
    """The checkpoint that a ranking recommends, how certain this is, and what speaks against it.

    Attributes:
        checkpoint: The checkpoint to fine-tune. None if neither the estimate nor the fine-tuning is above the baseline.
        certainty: How certain it is that this checkpoint is the best after fine-tuning. "confirmed": it was fine-tuned,
            and is significantly above the baseline and all other fine-tuned checkpoints. "probable": the calibrated
            80 % interval of its gap to each other checkpoint excludes 0, see `expected_gap`. "best estimate": an
            interval includes 0, or the gap is unknown. "tie": the best are within the noise of the estimate, or of the
            fine-tuning. "nothing explained": neither estimate nor fine-tuning is above the noise. "no head": no
            checkpoint can be fine-tuned. "no score": no row has a score.
        first: The checkpoints of the first rank, ordered by score, among those that can be fine-tuned.
        rivals: The other checkpoints that could also win, in order: those whose interval includes 0, or that tie. All
            others if the gap is unknown.
        reason: Why the gap after fine-tuning is unknown. None if it is known, or not needed.
        outcome: The result of fine-tuning. None without fine-tuning. "confirmed": the best is significantly above the
            baseline and all other fine-tuned checkpoints. "no better than the baseline": no checkpoint is significantly
            above the baseline. Else "measured".
        near: The fine-tuned checkpoints that are not significantly worse than the best, with the best.
        caveats: What speaks against the verdict, each with a code.
    """

    checkpoint: str | None
    certainty: Certainty
    first: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    reason: Note | None = None
    outcome: Outcome | None = None
    near: tuple[str, ...] = ()
    caveats: tuple[Note, ...] = ()


def verdict(ranking: RankingData) -> Verdict:
    """Return the verdict of a ranking."""
    rows, chosen = comparable(ranking), pick(ranking)
    first = [row for row in rows if row.rank == rows[0].rank]
    results = {row.checkpoint: row.fine_tuned for row in ranking.fine_tuned if row.fine_tuned is not None}
    best, outcome = next(iter(results.values()), None), _outcome([*results.values()])
    near = [name for name, result in results.items() if best is not None and not is_significantly_better(best, result)]
    certainty, rivals, reason = _certainty(ranking, rows, first)
    if outcome == "confirmed":
        certainty, rivals, reason = "confirmed", [], None
    elif outcome == "no better than the baseline":
        certainty, rivals, reason = "nothing explained", [], None
    elif len(near) > 1:
        certainty, rivals, reason = "tie", near[1:], None
    elif best is not None and chosen is not rows[0]:  # the estimate is about another checkpoint
        certainty, rivals, reason = "best estimate", [], None
    return Verdict(
        checkpoint=None if chosen is None else chosen.checkpoint,
        certainty=certainty,
        first=tuple(row.checkpoint for row in first),
        rivals=tuple(name for name in rivals if chosen is not None and name != chosen.checkpoint),
        reason=reason,
        outcome=outcome,
        near=tuple(near),
        caveats=caveats(ranking, first),
    )


def _certainty(
    ranking: RankingData, rows: Sequence[Row], first: Sequence[Row]
) -> tuple[Certainty, list[str], Note | None]:
    """Return the certainty of the estimate, the checkpoints that could also win, and why their gaps are unknown."""
    estimator = ranking.estimators[0]
    if not rows:
        return ("no head" if any(row.rank is not None for row in ranking.rows) else "no score"), [], None
    if not any(explains(row, estimator) for row in first):
        return "nothing explained", [], None
    if warning := estimator_named(estimator).warning:
        return "best estimate", [row.checkpoint for row in first], Note(NO_QUERIES, warning)
    if len(first) > 1:
        return "tie", [row.checkpoint for row in first], None
    if len(rows) == 1:
        return "best estimate", [], None
    if reason := not_calibrated(ranking):
        return "best estimate", [row.checkpoint for row in rows[1:]], reason
    rivals = [gap.checkpoint for gap in expected_gap(ranking) if gap.low <= 0]
    return ("best estimate" if rivals else "probable"), rivals, None


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
    with a direct measure come first, by this measure, then the smallest. If checkpoints are not fine-tuned, the highest
    score comes first.
    """
    direct, estimator = direct_measure(ranking), ranking.estimators[0]

    def order(row: Row) -> tuple[float, ...]:
        measure = -row.scores[direct].value if direct in row.scores else math.inf
        last = -row.scores[estimator].value if estimator_named(estimator).warning else size_of(row)
        return row.rank or math.inf, not explains(row, estimator), measure, last

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

    If some are missing, it contains the failed ones and those that can be fine-tuned; if there are none of these, all.
    """
    chosen = ranking.rows_of(checkpoints)
    if len(chosen) == len(ranking.rows):
        return ranking
    rows = [row for row in comparable(ranking) if row.checkpoint in checkpoints]
    with_failed = [*rows, *(row for row in chosen if row.error is not None)]
    return msgspec.structs.replace(ranking, rows=tuple(with_failed if rows else chosen))


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
