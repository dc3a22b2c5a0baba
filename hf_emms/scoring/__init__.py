"""Features and labels become a score."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Score:
    """The score of a checkpoint by an estimator.

    Attributes:
        value: higher is better, within a ranking.
        stderr: standard error over folds, where the estimator has folds.
        folds: the value of each fold, in the same order for every checkpoint.
        details: what else the estimator reports; for EMMS the weights of the F-labels, R² and the ridge.
    """

    value: float
    stderr: float | None = None
    folds: tuple[float, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True, kw_only=True)
class EmmsResult(Score):
    """A `Score` by EMMS. Scores of different datasets, samples or label sets cannot be compared.

    `value` is minus the mean squared residual of the weighted, standardised F-label: higher is better, 0 is perfect.
    `stderr` and `folds` are those of held-out methods; `details` holds the weights, R² and ridge.

    Attributes:
        method: "emms_knn", "emms", "emms_exact", "emms_one_pass" or "emms_alternating".
        n: rows.
        d1: feature width.
        trace: objective after every iteration (`emms_alternating`), else empty.
    """

    method: str
    n: int
    d1: int
    trace: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        names = ("score", "stderr", "weights", "r2", "n", "d1", "ridge", "method", "folds", "trace", "notes")
        return {name: getattr(self, name) for name in names}

    @property
    def score(self) -> float:
        return self.value

    @property
    def weights(self) -> tuple[float, ...]:
        """K weights of the F-labels, >= 0, sum 1."""
        return tuple(self.details["weights"])

    @property
    def r2(self) -> float:
        """Share of the weighted F-label's variance that is explained (held out with `emms_knn` and `emms`)."""
        return float(self.details["r2"])

    @property
    def ridge(self) -> float | None:
        """Ridge strength of least held-out loss, relative to unit-variance features; None of in-sample methods."""
        ridge: float | None = self.details["ridge"]
        return ridge

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for readers of the score."""
        return tuple(self.details["notes"])
