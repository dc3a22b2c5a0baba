"""Per-fold sums over rows, and how rows and other sums are added to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from scipy.sparse import csr_array

from hf_emms.scoring.arrays import BLOCK_ROWS
from hf_emms.scoring.blas import column_sums, cross, gram

# Rows of one matrix product: enough for its full speed, few enough for float32 sums.
PRODUCT_ROWS = 8192

# Rows of one step of an outer product: the step stays in cache.
OUTER_ROWS = 32


@dataclass
class Rows:
    """Rows that are not folded into sums yet: x (n, D1), y (n, q) or codes (n,), folds (n,).

    `places` (n,) tells where in x the features of each row stand, where that is not their own order.
    """

    x: np.ndarray
    y: np.ndarray
    folds: np.ndarray
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.folds)


@dataclass(frozen=True)
class Pair:
    """F-labels j <= k: where the columns that both have stand in [Z_1 | … | Z_K]."""

    j: int
    k: int
    common: int
    left: slice
    right: slice


def label_pairs(widths: Sequence[int]) -> list[Pair]:
    """Every pair of F-labels of these widths, in the order of `Sums.yy`."""
    starts = np.cumsum((0, *widths)).tolist()
    pairs = []
    for j, k in combinations_with_replacement(range(len(widths)), 2):
        common = min(widths[j], widths[k])
        pairs.append(Pair(j, k, common, slice(starts[j], starts[j] + common), slice(starts[k], starts[k] + common)))
    return pairs


@dataclass
class Sums:
    """Per-fold sums over rows x (features minus `origin_x`) and y (labels minus `origin_y`), all float64.

    Only xy takes the labels as they came: x is centred already, and a centred copy of all labels would cost a pass.

    y is the F-labels side by side (q = ΣD2_k), or, for a label table, the indicator of the row's text (q = U).

    Shape: n (F,), x (F, D1), xx (F, D1, D1), y (F, q), xy (F, D1, q), yy (F, pairs, max D2_k): the per-column
    products of F-labels j <= k over the columns both have (no pairs for a label table); origin_x (D1,), origin_y (q,).
    """

    n: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    origin_x: np.ndarray
    origin_y: np.ndarray

    @classmethod
    def empty(cls, folds: int, d1: int, q: int, widths: Sequence[int], *, by_text: bool) -> Sums:
        pairs = 0 if by_text else len(label_pairs(widths))
        return cls(
            n=np.zeros(folds),
            x=np.zeros((folds, d1)),
            xx=np.zeros((folds, d1, d1)),
            y=np.zeros((folds, q)),
            xy=np.zeros((folds, d1, q)),
            yy=np.zeros((folds, pairs, max(widths))),
            origin_x=np.zeros(d1),
            origin_y=np.zeros(q),
        )

    @property
    def by_text(self) -> bool:
        return self.yy.shape[1] == 0

    @property
    def whole_y(self) -> np.ndarray:
        """(F, q): sums of the labels as they came."""
        return self.y + self.n[:, None] * self.origin_y

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(vars(self))

    def copy(self) -> Sums:
        return Sums(**{name: array.copy() for name, array in self.arrays().items()})

    def add_rows(self, rows: Rows, widths: Sequence[int]) -> None:
        if not self.n.any():
            # Products of centred columns keep their digits; the mean of the first rows is centre enough.
            first = slice(PRODUCT_ROWS)
            self.origin_x = column_sums(rows.x[first]) / len(rows.x[first])
            if not self.by_text:
                self.origin_y = column_sums(rows.y[first]) / len(rows.y[first])
        origin = self.origin_x.astype(rows.x.dtype)
        # One buffer for all slices: fresh memory of this size costs as much as what is written to it.
        buffer = np.empty((min(PRODUCT_ROWS, len(rows)), rows.x.shape[1]), rows.x.dtype)
        for fold, chosen in self._slices(rows.folds):
            x = _less(rows.x, chosen if rows.places is None else rows.places[chosen], origin, buffer)
            self.n[fold] += len(x)
            self.x[fold] += column_sums(x)
            self.xx[fold] += gram(x)
            if self.by_text:
                self._add_texts(fold, x, rows.y[chosen])
            else:
                self._add_columns(fold, x, rows.y[chosen], widths)

    def _slices(self, folds: np.ndarray) -> Iterator[tuple[int, np.ndarray | slice]]:
        """Where a fold's rows are: a slice where they stand together, so that nothing is gathered."""
        for fold in range(len(self.n)):
            members = np.flatnonzero(folds == fold)
            together = len(members) and members[-1] - members[0] + 1 == len(members)
            for start in range(0, len(members), PRODUCT_ROWS):
                part = members[start : start + PRODUCT_ROWS]
                yield fold, slice(part[0], part[-1] + 1) if together else part

    def _add_columns(self, fold: int, x: np.ndarray, y: np.ndarray, widths: Sequence[int]) -> None:
        origin = self.origin_y.astype(y.dtype)
        self.xy[fold] += cross(x, y)
        pairs = label_pairs(widths)
        for start in range(0, len(y), BLOCK_ROWS):
            block = y[start : start + BLOCK_ROWS] - origin
            self.y[fold] += column_sums(block)
            for total, pair in zip(self.yy[fold], pairs, strict=True):
                total[: pair.common] += np.einsum("nd,nd->d", block[:, pair.left], block[:, pair.right])

    def _add_texts(self, fold: int, x: np.ndarray, codes: np.ndarray) -> None:
        texts = self.y.shape[1]
        self.y[fold] += np.bincount(codes, minlength=texts)
        indicator = csr_array((np.ones(len(codes), x.dtype), (codes, np.arange(len(codes)))), (texts, len(codes)))
        self.xy[fold] += (indicator @ x).T

    def add_sums(self, other: Sums, widths: Sequence[int]) -> None:
        if not self.n.any():
            self.origin_x, self.origin_y = other.origin_x.copy(), other.origin_y.copy()
        moved = other.about(self.origin_x, self.origin_y, widths)
        for name in ("n", "x", "xx", "y", "xy", "yy"):
            getattr(self, name)[:] += getattr(moved, name)

    def about(self, origin_x: np.ndarray, origin_y: np.ndarray, widths: Sequence[int]) -> Sums:
        """The same sums as they would be about other origins."""
        shift_x, shift_y = self.origin_x - origin_x, self.origin_y - origin_y
        if not shift_x.any() and not shift_y.any():
            return self
        n = self.n[:, None]
        cross = self.x[:, :, None] * shift_x
        xx = self.xx + cross + cross.transpose(0, 2, 1) + n[:, :, None] * np.outer(shift_x, shift_x)
        x = self.x + n * shift_x
        xy = self.xy + shift_x[:, None] * self.whole_y[:, None, :]
        if self.by_text:
            return Sums(self.n, x, xx, self.y, xy, self.yy, origin_x, origin_y)
        yy = self.yy.copy()
        for index, pair in enumerate(label_pairs(widths)):
            a, b = shift_y[pair.left], shift_y[pair.right]
            added = self.y[:, pair.left] * b + self.y[:, pair.right] * a + n * a * b
            yy[:, index, : pair.common] += added
        return Sums(self.n, x, xx, self.y + n * shift_y, xy, yy, origin_x, origin_y)


def _less(rows: np.ndarray, chosen: np.ndarray | slice, origin: np.ndarray, buffer: np.ndarray) -> np.ndarray:
    """The chosen rows − origin, in the buffer."""
    if isinstance(chosen, slice):
        return np.subtract(rows[chosen], origin, out=buffer[: chosen.stop - chosen.start])
    out = buffer[: len(chosen)]
    np.take(rows, chosen, axis=0, out=out, mode="clip")  # the other modes buffer what they write
    out -= origin
    return out


def subtract_outer(product: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Product −= outer(left, right), in place.

    Not BLAS's `ger`: it wakes threads for a pass that takes less time than they need to get up.
    """
    left, right = left.astype(product.dtype), right.astype(product.dtype)
    buffer = np.empty((OUTER_ROWS, len(right)), product.dtype)
    for start in range(0, len(left), OUTER_ROWS):
        part = product[start : start + OUTER_ROWS]
        part -= np.multiply(left[start : start + OUTER_ROWS, None], right, out=buffer[: len(part)])


def column_squares(rows: np.ndarray) -> np.ndarray:
    """Σ_n rows[n, d]² for every column d, in float64; shape (D,)."""
    out = np.zeros(rows.shape[1])
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        out += np.einsum("nd,nd->d", block, block)
    return out
