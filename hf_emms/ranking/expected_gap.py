"""What is at stake between the checkpoints of a ranking, in points of accuracy after fine-tuning.

A difference of scores is worth more on one dataset than on another. The lines are quantiles over datasets with classes,
fitted by ``scripts/quality/calibration.py``; docs/quality.md says how often the intervals were right on others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hf_emms.options import DEFAULT_ENCODERS
from hf_emms.presets import encoder_presets
from hf_emms.ranking.records import Ranking, Row
from hf_emms.ranking.text import sized, smallest_of

ESTIMATOR = "emms_knn"


class Line(NamedTuple):
    """Points as a function of a difference of scores.

    Attributes:
        equal: points where the scores are equal.
        slope: points for each unit of their difference.
    """

    equal: float
    slope: float

    def at(self, difference: float) -> float:
        """Points at a difference of scores."""
        return self.equal + self.slope * difference


class Calibration(NamedTuple):
    """What a better score was worth at a budget.

    Attributes:
        budget: in words.
        tasks: of the datasets by which it was fitted.
        low, middle, high: the 10th, 50th and 90th of 100 pairs of checkpoints.
    """

    budget: str
    tasks: tuple[str, ...]
    low: Line
    middle: Line
    high: Line


class Stake(NamedTuple):
    """How far a checkpoint is expected behind the first one.

    Attributes:
        checkpoint: as the ranking names it.
        points: of accuracy, after fine-tuning both; the interval of 80 % is from `low` to `high`, and a negative number
            means ahead.
        low: its lower end.
        high: its upper end.
    """

    checkpoint: str
    points: float
    low: float
    high: float


CALIBRATIONS: Mapping[str, Calibration] = {
    "quick": Calibration(
        "1,000 rows for 3 epochs",
        ("image-classification", "text-classification"),
        Line(-4.2, 29),
        Line(0.0, 67),
        Line(3.5, 116),
    ),
    "full": Calibration(
        "all rows for up to 10 epochs", ("image-classification",), Line(-2.7, 9), Line(0.0, 23), Line(1.5, 103)
    ),
}


def at_stake(ranking: Ranking, budget: str = "quick") -> list[Stake]:
    """How far each scored checkpoint is expected behind the first one.

    Args:
        ranking: of checkpoints.
        budget: a name in `CALIBRATIONS`.

    Returns:
        One for each scored row from the second on, in their order. Empty where the calibration says nothing: other
        tasks, estimators and label encoders than those that it was fitted by, rows that a race stopped.
    """
    lines, rows = CALIBRATIONS[budget], _calibrated(ranking)
    if ranking.task not in lines.tasks or len(rows) < 2:
        return []
    best = rows[0].scores[ESTIMATOR].value
    gaps = [max(0.0, best - row.scores[ESTIMATOR].value) for row in rows[1:]]
    return [
        Stake(row.checkpoint, *(line.at(gap) for line in (lines.middle, lines.low, lines.high)))
        for row, gap in zip(rows[1:], gaps, strict=True)
    ]


def _calibrated(ranking: Ranking) -> Sequence[Row]:
    default = encoder_presets()[DEFAULT_ENCODERS]
    rows = [row for row in ranking.rows if row.error is None]
    usual = tuple(encoder.id for encoder in ranking.encoders) == default
    fits = ranking.estimators[0] == ESTIMATOR and usual and all(row.n is None for row in rows)
    return rows if fits else ()


def in_words(ranking: Ranking, budget: str = "quick") -> str | None:
    """What is at stake, in one or two sentences; None where `at_stake` has nothing to say."""
    found = at_stake(ranking, budget)
    if not found:
        return None
    second, last = found[0], found[-1]
    text = (
        f"At stake by fine-tuning on {CALIBRATIONS[budget].budget}: {second.checkpoint} is expected "
        f"{second.points:.1f} points behind {ranking.rows[0].checkpoint} ({_interval(second)})"
    )
    if last is not second:
        text += f", {last.checkpoint} {last.points:.0f} ({_interval(last)})"
    near = [ranking.rows[0], *(ranking.row(one.checkpoint) for one in found if one.points < 1)]
    if len(near) > 1:
        smallest = sized(smallest_of(near))
        text += f". The first {len(near)} are expected within a point; the smallest of them is {smallest}"
    return f"{text}."


def _interval(stake: Stake) -> str:
    return f"80 %: {stake.low:.1f} to {stake.high:.1f}"
