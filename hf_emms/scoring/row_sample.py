"""A random sample of rows that stays the same in any order, batches and processes: those of the smallest hashes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hf_emms.scoring.folds import content_keys
from hf_emms.scoring.sums import Rows


@dataclass(frozen=True)
class RowSample:
    """The `size` rows with the smallest hashes of their features, of all rows that were added.

    Attributes:
        size: the most rows that are held.
        rows: the rows; None before the first ones.
        keys: uint64 (n,), their hashes.
    """

    size: int
    rows: Rows | None = None
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))

    def add(self, rows: Rows) -> RowSample:
        """The sample of these rows too."""
        keys = content_keys(rows.features(np.arange(len(rows))))
        chosen = np.arange(len(keys)) if len(self.keys) < self.size else np.flatnonzero(keys < self.keys.max())
        chosen = chosen[smallest(keys[chosen], self.size)]
        return self._joined(rows.take(chosen), keys[chosen])

    def merge(self, other: RowSample) -> RowSample:
        """The sample of the rows of both."""
        return self if other.rows is None else self._joined(other.rows, other.keys)

    def _joined(self, rows: Rows, keys: np.ndarray) -> RowSample:
        if self.rows is None:
            return RowSample(self.size, rows, keys)
        keys = np.concatenate([self.keys, keys])
        kept = smallest(keys, self.size)
        return RowSample(self.size, Rows.joined((self.rows, rows)).take(kept), keys[kept])


def smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """Places of the smallest keys (n,), at most so many, in their order."""
    if len(keys) <= count:
        return np.arange(len(keys))
    return np.sort(np.argpartition(keys, count - 1)[:count])
