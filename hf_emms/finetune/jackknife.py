"""A metric on rows, with its standard error, and the standard error of the gain over other predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_emms.heads import Metric
from hf_emms.ranking import TIE_WIDTH
from hf_emms.scoring.arrays import assign_folds

# Parts of the rows, each left out once for the standard error: single rows of a small split, and of a large one at
# least so many, or as many as compute the metric on about `JACKKNIFE_ROWS` rows in all.
_MIN_PARTS, JACKKNIFE_ROWS = 20, 200_000


@dataclass(frozen=True)
class Measurement:
    """A metric's value on n rows, and its values without each of P parts of them, (P,), whose groups stay whole."""

    value: float
    without_part: np.ndarray

    @property
    def stderr(self) -> float:
        """The standard error by the jackknife; 0 where all rows are of a group."""
        return _error(self.without_part)

    def gain_stderr(self, other: Measurement) -> float:
        """Return the standard error of the difference to another measurement on the same rows."""
        return _error(self.without_part - other.without_part)

    def is_above(self, other: Measurement) -> bool:
        """Return whether the value is above another on the same rows by more than the noise of the difference."""
        return self.value - other.value > TIE_WIDTH * self.gain_stderr(other)


def _error(values: np.ndarray) -> float:
    return float(np.sqrt((len(values) - 1) * np.var(values))) if len(values) else 0.0


def measure(
    metric: Metric,
    predictions: Sequence[Any],
    references: Sequence[Any],
    groups: np.ndarray,
    *,
    max_rows: int = JACKKNIFE_ROWS,
) -> Measurement:
    """Return a metric of n predictions and references, whose groups are uint64 (n,).

    For a share of right answers, where each row is a group, the standard error is that of the binomial. The metric is
    computed on about `max_rows` rows in all, but at least 20 times.
    """
    parts = max(_MIN_PARTS, max_rows // len(groups))
    names, part_of = np.unique(groups, return_inverse=True)
    if parts < len(names):
        part_of = assign_folds(groups, parts, 0)
    values = []
    for part in np.unique(part_of):
        rows = np.flatnonzero(part_of != part).tolist()
        if rows:
            values.append(metric.compute([predictions[row] for row in rows], [references[row] for row in rows]))
    return Measurement(metric.compute(predictions, references), np.array(values))
