"""Compute scores from features and labels, with NumPy and SciPy only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hf_emms.errors import Note

# Key of `Score.details`: smaller differences of two scores are ties, in addition to those within the standard error.
SMALLEST_GAP = "smallest_gap"


@dataclass(frozen=True)
class Score:
    """The score of a checkpoint by an estimator.

    Attributes:
        value: Higher is better. Only scores on the same rows can be compared.
        stderr: Standard error over folds, or None if the estimator has no folds.
        folds: The value per fold, in the same order for every checkpoint.
        details: Further results. For EMMS: the weights of the label embeddings, R² and the ridge strength.
    """

    value: float
    stderr: float | None = None
    folds: tuple[float, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.value

    def to_dict(self) -> dict[str, Any]:
        return {"score": self.value, "stderr": self.stderr, "folds": self.folds, **self.details}


@dataclass(frozen=True, kw_only=True)
class EmmsResult(Score):
    """A `Score` by EMMS. Scores of different datasets, samples or label sets cannot be compared.

    `value` is minus the mean squared residual of the weighted, standardized label embeddings. Higher is better, and 0
    is perfect. Only held-out estimators set `stderr` and `folds`.

    Attributes:
        estimator: "emms_knn", "emms", "emms_exact", "emms_one_pass" or "emms_alternating".
        n: Number of rows.
        d1: Feature width.
        trace: Objective after every iteration of `emms_alternating`. Empty for other estimators.
        notes: Notes for readers of the score.
    """

    estimator: str
    n: int
    d1: int
    trace: tuple[float, ...] = ()
    notes: tuple[Note, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        names = ("estimator", "n", "d1", "trace")
        facts = {name: getattr(self, name) for name in names} | {"notes": [str(note) for note in self.notes]}
        return super().to_dict() | facts

    @property
    def score(self) -> float:
        return self.value

    @property
    def weights(self) -> tuple[float, ...]:
        """The K weights of the label embeddings. They are >= 0 and sum to 1."""
        return tuple(self.details["weights"])

    @property
    def r2(self) -> float:
        """R² of the weighted label embeddings, on held-out rows for `emms_knn` and `emms`."""
        return float(self.details["r2"])

    @property
    def ridge(self) -> float | None:
        """Ridge strength with the least held-out loss, for features of variance 1. None for in-sample estimators."""
        ridge: float | None = self.details["ridge"]
        return ridge
