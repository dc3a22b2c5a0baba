"""Products of rows, in their own precision: what `Sums` adds up in float64.

Rows come a chunk at a time, each gathered, centred, summed up and multiplied before the next, so that all of it happens
in cache and no copy of all rows is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from hf_emms.scoring.arrays import BLOCK_ROWS, Columns, run_of
from hf_emms.scoring.label_basis import label_pairs
from hf_emms.scoring.linalg import add_cross, add_gram, column_sums

# Rows of one matrix product: enough for its full speed, few enough to be in cache when it reads them.
CHUNK_ROWS = 1024


@dataclass
class Rows:
    """Rows that are not folded into sums yet: x (n, D1), y (n, q) or codes (n,), folds (n,).

    `places` (n,) tells where in x the features of each row stand, where that is not their own order; y are `Columns`
    where the labels stand elsewhere too.
    """

    x: np.ndarray
    y: np.ndarray | Columns
    folds: np.ndarray
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.folds)

    def features(self, chosen: np.ndarray) -> np.ndarray:
        """Of some rows: (b, D1)."""
        return self.x[run_of(chosen if self.places is None else self.places[chosen])]

    def labels(self) -> np.ndarray:
        """Of all rows: (n, q), or codes (n,)."""
        return self.y.joined() if isinstance(self.y, Columns) else self.y

    def take_labels(self, chosen: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Of some rows, written into (b, q), or codes (b,)."""
        if isinstance(self.y, Columns):
            self.y.take(chosen, out)
        else:
            out[:] = self.y[run_of(chosen)]
        return out


class Products(ABC):
    """Sums over rows of one fold about the origins, in the rows' precision.

    `x` (D1,) and the upper triangle of `xx` (D1, D1); `y`, `xy` and `yy` are those of `Sums`, by the subclasses.

    Args:
        rows: where they are.
        origin_x: (D1,), which is subtracted from features.
    """

    y: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    def __init__(self, rows: Rows, origin_x: np.ndarray) -> None:
        d1, dtype = rows.x.shape[1], rows.x.dtype
        self._rows = rows
        self._origin_x = origin_x.astype(dtype)
        self._chunk = np.empty((min(CHUNK_ROWS, len(rows)), d1), dtype)
        self.x = np.zeros(d1)
        self.xx = np.zeros((d1, d1), dtype)

    def set_to(self, chosen: np.ndarray) -> None:
        """The sums over some rows, instead of those that were here."""
        for total in (self.x, self.y, self.yy):
            total.fill(0.0)
        for start in range(0, len(chosen), CHUNK_ROWS):
            part = chosen[start : start + CHUNK_ROWS]
            x = self._chunk[: len(part)]
            for first in range(0, len(part), BLOCK_ROWS):
                block = self._rows.features(part[first : first + BLOCK_ROWS])
                np.subtract(block, self._origin_x, out=x[first : first + len(block)])
            self.x += column_sums(x)
            kept = 1.0 if start else 0.0  # the first chunk overwrites
            add_gram(self.xx, x, kept=kept)
            self._add_labels(part, x, kept)

    @abstractmethod
    def _add_labels(self, part: np.ndarray, x: np.ndarray, kept: float) -> None:
        """Adds a chunk's labels, with the chunk's centred features x, to `kept` times what is there."""


class TextProducts(Products):
    """With labels that are codes of texts: their columns are the indicators of a text, and yy is empty."""

    def __init__(self, rows: Rows, origin_x: np.ndarray, texts: int) -> None:
        super().__init__(rows, origin_x)
        self._codes = np.empty(len(self._chunk), np.int64)
        self._yx = np.zeros((texts, len(origin_x)), rows.x.dtype)
        self.y, self.xy, self.yy = np.zeros(texts), self._yx.T, np.zeros((0, 1))

    def _add_labels(self, part: np.ndarray, x: np.ndarray, kept: float) -> None:
        codes, texts = self._rows.take_labels(part, self._codes[: len(part)]), len(self.y)
        self.y += np.bincount(codes, minlength=texts)
        indicator = csr_array((np.ones(len(codes), x.dtype), (codes, np.arange(len(codes)))), (texts, len(codes)))
        if not kept:
            self._yx.fill(0.0)
        self._yx += indicator @ x


class ColumnProducts(Products):
    """With labels that are the columns of the F-labels."""

    def __init__(self, rows: Rows, origin_x: np.ndarray, origin_y: np.ndarray, widths: Sequence[int]) -> None:
        super().__init__(rows, origin_x)
        q, dtype = len(origin_y), rows.y.dtype
        self._pairs = label_pairs(widths)
        self._origin_y = origin_y.astype(dtype)
        self._labels = np.empty((len(self._chunk), q), dtype)
        self._block = np.empty((BLOCK_ROWS, q), dtype)
        self.y = np.zeros(q)
        self.xy = np.zeros((len(origin_x), q), np.result_type(rows.x, dtype))
        self.yy = np.zeros((len(self._pairs), max(widths)))

    def _add_labels(self, part: np.ndarray, x: np.ndarray, kept: float) -> None:
        y = self._labels[: len(part)]
        for start in range(0, len(part), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            self._add_squares(self._rows.take_labels(part[rows], y[rows]))
        add_cross(self.xy, x, y, kept=kept)

    def _add_squares(self, block: np.ndarray) -> None:
        centred = np.subtract(block, self._origin_y, out=self._block[: len(block)])
        self.y += centred.sum(axis=0)
        for total, pair in zip(self.yy, self._pairs, strict=True):
            total[: pair.common] += np.einsum("nd,nd->d", centred[:, pair.left], centred[:, pair.right])
