"""What a validation found, as plain data."""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 1

PARAMETERS = "parameters"
BLIND = "dataset-blind"
RANDOM = "random"


class Line(msgspec.Struct, frozen=True):
    """How one list of scores agrees with the truth.

    Attributes:
        name: an estimator, or a control.
        control: whether it knows nothing of the dataset: the number of parameters, the mean rank on the truth's other
            datasets ("dataset-blind"), or nothing at all ("random": what a coin gets).
        n: checkpoints compared; targets, in a mean.
        values: measure → value; None where it is not defined, e.g. without any order.
        intervals: measure → the ends of its interval.
        picks: the checkpoints with the best score; more than one where they are equal.
        unscored: checkpoints with a truth but without this score.
    """

    name: str
    control: bool
    n: int
    values: dict[str, float | None] = {}
    intervals: dict[str, tuple[float | None, float | None]] = {}
    picks: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()


class Point(msgspec.Struct, frozen=True):
    """One checkpoint with both numbers.

    Attributes:
        checkpoint: as the ranking names it.
        truth: as the table has it.
        scores: estimator or control → score.
    """

    checkpoint: str
    truth: float
    scores: dict[str, float]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One ranking against the truth.

    Attributes:
        dataset: as the ranking names it.
        task: the Hub's task id.
        n: rows that the ranking was computed on.
        lines: the ranking's estimators, then the controls.
        points: what was compared, the truly best first.
        without_truth: scored checkpoints that the truth does not have.
        without_row: names in the truth that are not in the ranking.
        failed: checkpoints with a truth whose row failed.
    """

    dataset: str
    task: str
    n: int
    lines: tuple[Line, ...]
    points: tuple[Point, ...]
    without_truth: tuple[str, ...] = ()
    without_row: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """Rankings against the truth.

    Attributes:
        schema_version: of this structure.
        source: where the truth comes from.
        metric: what the truth measures; regret is in its points.
        lower_is_better: whether a small truth is a good one.
        resamples: of the intervals.
        seed: of the intervals.
        targets: one for each ranking.
        means: over the targets, where there are several.
        notes: what a reader should know.
    """

    schema_version: int = SCHEMA_VERSION
    source: str
    metric: str
    lower_is_better: bool
    resamples: int
    seed: int
    targets: tuple[Target, ...]
    means: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """All of it as JSON text; what is not defined is null."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()
