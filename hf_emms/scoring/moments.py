"""Moments: the sums over N rows that scoring needs, in memory that does not grow with N."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hf_emms.errors import EmmsError, check_type
from hf_emms.scoring.arrays import as_labels, as_matrix, assign_folds, check_folds, content_keys, group_ids
from hf_emms.scoring.labels import ColumnBasis, LabelBasis, LabelTable, TextBasis
from hf_emms.scoring.linalg import as_slice
from hf_emms.scoring.sums import SAMPLE_ROWS, Examples, Sums, smallest_keys


class Moments:
    """Sums over features and label embeddings per fold. Batches can be added in any order.

    Up to `capacity` rows are buffered before they are summed up. Small batches then cost no more than large ones, and
    fewer rows than features need no D1 x D1 matrix.

    Args:
        d1: Feature width D1.
        widths: The widths D2_k of the K label embeddings.
        folds: Number of folds F. The fold of a row is a hash of its group.
        seed: Seed of that hash.
        tables: K arrays (U, D2_k). If given, labels are `LabelTable`s with these tables, and U sums are stored.

    Raises:
        EmmsError: If a size is below 1, or the widths of the tables differ from `widths`.

    Examples:
        >>> import numpy as np
        >>> moments = Moments(d1=4, widths=[3])
        >>> for start in (0, 50):
        ...     rows = np.random.default_rng(start).normal(size=(50, 7))
        ...     moments.update(rows[:, :4], rows[:, 4:])
        >>> moments.n
        100
    """

    def __init__(
        self,
        d1: int,
        widths: Sequence[int],
        *,
        folds: int = 5,
        seed: int = 0,
        tables: Sequence[np.ndarray] = (),
    ) -> None:
        check_folds(folds, seed)
        sizes = [d1, *widths] if isinstance(widths, Sequence | np.ndarray) and len(widths) else [0]
        if not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
            raise EmmsError(
                "invalid-value", f"d1={d1!r}, widths={widths!r:.80}: every size must be a whole number of at least 1"
            )
        self.basis: LabelBasis = (
            TextBasis(LabelTable(np.zeros(0, np.int64), tuple(tables)).tables) if tables else ColumnBasis(widths)
        )
        if self.basis.widths != tuple(widths):
            raise EmmsError("wrong-shape", f"tables have widths {self.basis.widths} but widths={tuple(widths)}")
        self.widths = self.basis.widths
        self.d1 = int(d1)
        self.folds = int(folds)
        self.seed = int(seed)
        self.dtype = np.dtype(np.float32)
        self.n = 0
        self._buffer: list[Examples] = []

    @classmethod
    def like(cls, labels: LabelTable, d1: int, *, folds: int = 5, seed: int = 0) -> Moments:
        """Return empty moments for such labels, in the basis of `LabelTable.basis`."""
        check_type("labels", labels, LabelTable)
        basis = labels.basis()
        return cls(d1, basis.widths, folds=folds, seed=seed, tables=basis.tables)

    def sample_of(self, x: np.ndarray, labels: LabelTable, groups: np.ndarray) -> Examples:
        """Choose at most `SAMPLE_ROWS` of these rows by a hash of their features, with the same folds."""
        chosen = smallest_keys(content_keys(x), SAMPLE_ROWS) if len(x) > SAMPLE_ROWS else np.arange(len(x))
        # Copy the labels, which may be strided and many more than the chosen ones.
        folds = assign_folds(groups[chosen], self.folds, self.seed)
        return Examples(x[as_slice(chosen)], self.basis.joined([labels.take(chosen)]), folds)

    @property
    def capacity(self) -> int:
        return max(4096, 2 * self.d1)

    def update(self, features: Any, labels: Any, groups: Any = None) -> None:
        """Add a batch of rows.

        Args:
            features: (b, D1), numpy or torch.
            labels: (b, D2), (b, K, D2), a list of (b, D2_k), or a `LabelTable` with the same tables for all batches.
            groups: (b,) integers, strings or bytes. Rows of a group share a fold. By default rows of equal features
                are a group.

        Raises:
            EmmsError: If values cannot be used, or shapes differ from earlier batches.
        """
        x = as_matrix(features, "features")
        if x.shape[1] != self.d1:
            raise EmmsError("wrong-shape", f"features has shape {x.shape}, but these moments need d1={self.d1}")
        if groups is None:
            ids = content_keys(x) if self.folds > 1 else np.zeros(len(x), dtype=np.uint64)
        else:
            ids = group_ids(groups, len(x))
        self.update_checked(x, as_labels(labels, len(x)), ids)

    def update_checked(self, x: np.ndarray, labels: LabelTable, ids: np.ndarray) -> None:
        """Add a batch that `as_matrix`, `as_labels` and `group_ids` have checked."""
        self.basis.check(labels)
        self.dtype = np.result_type(self.dtype, x.dtype)
        folds = assign_folds(ids, self.folds, self.seed)
        self.n += len(x)
        if len(x) > self.capacity:
            self._sums.add_rows(Examples(np.ascontiguousarray(x), labels, folds), self.basis)
            return
        # Copy, as the caller may reuse the buffers for the next batch.
        self._buffer.append(Examples(np.array(x, order="C"), self.basis.joined([labels]), folds))
        if sum(map(len, self._buffer)) > self.capacity:
            self.sums()

    def sums(self) -> Sums:
        """Return the sums of all rows."""
        if (rows := self._joined()) is not None:
            self._buffer = []
            self._sums.add_rows(rows, self.basis)
        return self._sums

    @cached_property
    def _sums(self) -> Sums:
        return Sums.empty(self.folds, self.d1, self.basis)

    def sums_of(self, rows: Examples) -> Sums:
        """Return the sums of other features for the same rows."""
        sums = Sums.empty(self.folds, rows.x.shape[1], self.basis)
        sums.add_rows(rows, self.basis)
        return sums

    def rows(self) -> Examples | None:
        """Return all rows if all of them are still buffered, else None."""
        rows = self._joined()
        return rows if rows is not None and len(rows) == self.n else None

    def _joined(self) -> Examples | None:
        if len(self._buffer) > 1:
            x, folds = (np.concatenate([getattr(rows, name) for rows in self._buffer]) for name in ("x", "folds"))
            self._buffer = [Examples(x, self.basis.joined([rows.labels for rows in self._buffer]), folds)]
        return self._buffer[0] if self._buffer else None
