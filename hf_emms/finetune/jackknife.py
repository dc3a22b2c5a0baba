"""A metric with its standard error by the jackknife, and the standard error of the gain over other predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_emms.heads import Metric
from hf_emms.ranking import TIE_WIDTH
from hf_emms.scoring.arrays import assign_folds

# The jackknife leaves out each part of the rows once. Each row of a small split is a part. A large split has at least
# `_MIN_PARTS` parts, and more only while the metric reads at most about `JACKKNIFE_ROWS` rows in total.
_MIN_PARTS, JACKKNIFE_ROWS = 20, 200_000


@dataclass(frozen=True)
class Measurement:
    """The value of a metric on n rows, with the leave-one-part-out values of a jackknife."""

    value: float
    without_part: np.ndarray

    @property
    def stderr(self) -> float:
        """The standard error by the jackknife; 0 if all rows share a group."""
        return _error(self.without_part)

    def gain_stderr(self, other: Measurement) -> float:
        """Return the standard error of the difference to another measurement on the same rows."""
        return _error(self.without_part - other.without_part)

    def is_above(self, other: Measurement) -> bool:
        """Return whether the value exceeds another on the same rows by more than the noise of the difference."""
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

    The standard error of a share of right answers equals the binomial one if each row is a group. The metric is
    computed on about `max_rows` rows in total, but at least 20 times.
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
