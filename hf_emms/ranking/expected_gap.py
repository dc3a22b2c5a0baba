"""Estimate how far apart the checkpoints of a ranking will be after fine-tuning, in points of accuracy.

The same difference of scores means more on some datasets than on others. The lines are quantiles over classification
datasets, fitted by ``scripts/quality/calibration.py``. docs/evidence.md reports how often they were right on other
datasets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hf_emms.errors import EmmsError, Note
from hf_emms.options.calls import checked_call
from hf_emms.ranking.candidates import comparable, explains, label_with_size, smallest_of
from hf_emms.ranking.records import RankingData, check_ranking

ESTIMATOR = "emms_knn"
# The label encoders of the rankings from which the lines were fitted.
ENCODERS = ("sentence-transformers/all-MiniLM-L6-v2",)


class GapLine(NamedTuple):
    """A linear estimate of points from a difference of scores."""

    equal: float
    slope: float

    def at(self, difference: float) -> float:
        return self.equal + self.slope * difference


class Calibration(NamedTuple):
    """How a difference of scores translates to points after fine-tuning, by percentile.

    It applies to these tasks only.
    """

    budget: str
    tasks: tuple[str, ...]
    low: GapLine
    middle: GapLine
    high: GapLine


class ExpectedGap(NamedTuple):
    """How far a checkpoint is expected to trail the first, in points of accuracy after fine-tuning both.

    `low` and `high` are the ends of the 80 % interval. Negative numbers mean that the checkpoint leads.
    """

    checkpoint: str
    points: float
    low: float
    high: float


CALIBRATIONS: Mapping[str, Calibration] = {
    "quick": Calibration(
        "1,000 rows for 3 epochs",
        ("image-classification", "text-classification"),
        *(GapLine(-4.2, 29), GapLine(0.0, 67), GapLine(3.5, 116)),
    ),
    "full": Calibration(
        "all rows for up to 10 epochs",
        ("image-classification",),
        *(GapLine(-2.7, 9), GapLine(0.0, 23), GapLine(1.5, 103)),
    ),
}


@checked_call
def expected_gap(ranking: RankingData, budget: str = "quick") -> list[ExpectedGap]:
    """Return how far each checkpoint is expected to trail the first, at a budget of `CALIBRATIONS`.

    The list is empty if the calibration does not apply: for other tasks, estimators or label encoders, and if no
    checkpoint explains anything.
    """
    check_ranking(ranking)
    if budget not in tuple(CALIBRATIONS):
        raise EmmsError("invalid-value", f"unknown budget {budget!r}", f"choose from {', '.join(CALIBRATIONS)}")
    calibration, rows = CALIBRATIONS[budget], comparable(ranking)
    if not_calibrated(ranking, budget) or len(rows) < 2 or not explains(rows[0], ESTIMATOR):
        return []
    best = rows[0].scores[ESTIMATOR].value
    differences = [max(0.0, best - row.scores[ESTIMATOR].value) for row in rows[1:]]
    lines = (calibration.middle, calibration.low, calibration.high)
    return [
        ExpectedGap(row.checkpoint, *(line.at(difference) for line in lines))
        for row, difference in zip(rows[1:], differences, strict=True)
    ]


def at_stake(ranking: RankingData, budget: str = "quick") -> ExpectedGap | None:
    """Return the expected gap between the first and the second checkpoint, or None."""
    return next(iter(expected_gap(ranking, budget)), None)


def gaps_in_words(ranking: RankingData) -> list[str]:
    """Return a sentence per budget. The list is empty if fine-tuned scores replace the estimates."""
    if ranking.fine_tuned:
        return []
    return [text for budget in CALIBRATIONS if (text := gap_in_words(ranking, budget))]


def not_calibrated(ranking: RankingData, budget: str = "quick") -> Note | None:
    """Return why the gaps of a ranking are unknown at a budget, or None if its settings are calibrated."""
    if ranking.task not in CALIBRATIONS[budget].tasks:
        return Note("task-not-calibrated", f"the gap after fine-tuning is not calibrated for {ranking.task}")
    if ranking.estimators[0] != ESTIMATOR:
        text = f"the gap after fine-tuning is calibrated for {ESTIMATOR}, not for {ranking.estimators[0]}"
        return Note("estimator-not-calibrated", text)
    if tuple(encoder.id for encoder in ranking.encoders) != ENCODERS:
        text = f"the gap after fine-tuning is calibrated for the label encoder {', '.join(ENCODERS)} only"
        return Note("encoder-not-calibrated", text)
    return None


def gap_in_words(ranking: RankingData, budget: str = "quick") -> str | None:
    """Return a sentence about the expected gaps; None if `expected_gap` is empty."""
    gaps = expected_gap(ranking, budget)
    if not gaps:
        return None
    first, second, last = comparable(ranking)[0], gaps[0], gaps[-1]
    text = (
        f"Expected gap after fine-tuning on {CALIBRATIONS[budget].budget}: {second.checkpoint} trails "
        f"{first.checkpoint} by {second.points:.1f} points ({_interval(second)})"
    )
    if last is not second:
        text += f", {last.checkpoint} {last.points:.0f} ({_interval(last)})"
    near = [first, *(ranking.row(gap.checkpoint) for gap in gaps if gap.points < 1)]
    if len(near) > 1:
        smallest = label_with_size(smallest_of(near))
        text += f". The first {len(near)} are expected within a point; the smallest of them is {smallest}"
    return f"{text}."


def _interval(gap: ExpectedGap) -> str:
    return f"80 %: {gap.low:z.1f} to {gap.high:z.1f}"
