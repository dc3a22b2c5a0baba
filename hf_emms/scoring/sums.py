"""Sums over the rows of each fold, to which rows and other sums are added.

Rows come a chunk at a time, each gathered, centred, summed up and multiplied before the next, so that all of it happens
in cache and no copy of all rows is made. Products of few rows are summed up in the rows' precision, those in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hf_emms.scoring.arrays import content_keys
from hf_emms.scoring.labels import LabelBasis
from hf_emms.scoring.linalg import BLOCK_ROWS, add_gram, as_slice, column_sums, row_blocks

# Rows of the sample in which neighbours are looked for: the cost of the search does not grow with N.
SAMPLE_ROWS = 8_192

# Rows of a matrix product: enough for its full speed, few enough to be in cache when it reads them.
CHUNK_ROWS = 1024

# Rows whose products are summed up in the input's precision: few enough for float32.
PRODUCT_ROWS = 8192

# Rows, evenly spaced, whose mean is the origin.
ORIGIN_ROWS = 512


class LazyRows:
    """Rows of [B_1 | B_2 | …], put together where they are needed: all at once would cost a pass and its memory.

    `blocks` are arrays (n, width), `places` (N,) the place of each row in them.
    """

    def __init__(self, blocks: Sequence[np.ndarray], places: np.ndarray) -> None:
        self.blocks = blocks
        self.places = places
        self.dtype = np.result_type(*blocks)
        self.width = sum(block.shape[1] for block in blocks)

    def take(self, chosen: np.ndarray | slice, out: np.ndarray) -> np.ndarray:
        """Write the chosen rows into `out`, (b, width), and return it."""
        places, stop = as_slice(self.places[chosen]), 0
        for block in self.blocks:
            start, stop = stop, stop + block.shape[1]
            out[:, start:stop] = block[places]
        return out

    def joined(self) -> np.ndarray:
        out = np.empty((len(self.places), self.width), self.dtype)
        for start in range(0, len(out), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            self.take(rows, out[rows])
        return out


@dataclass
class Examples:
    """Rows that are not accumulated yet."""

    x: np.ndarray  # (n, D1), features
    places: np.ndarray  # (N,), the place in x of each row's features
    y: LazyRows  # N rows of the label side, see `ColumnBasis.blocks`
    folds: np.ndarray  # (N,)

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> Examples:
        """Return rows of features (n, D1) and labels in the same order."""
        places = np.arange(len(x))
        return cls(x, places, LazyRows((y,), places), folds)

    @classmethod
    def joined(cls, several: Sequence[Examples]) -> Examples:
        columns = zip(*((rows.x[as_slice(rows.places)], rows.y.joined(), rows.folds) for rows in several), strict=True)
        return cls.of(*map(np.concatenate, columns))

    def take(self, chosen: np.ndarray) -> Examples:
        y = LazyRows(self.y.blocks, self.y.places[chosen]).joined()
        return Examples.of(np.array(self.features(chosen), order="C"), y, self.folds[chosen])

    def __len__(self) -> int:
        return len(self.folds)

    def features(self, chosen: np.ndarray) -> np.ndarray:
        return self.x[as_slice(self.places[chosen])]


@dataclass(frozen=True)
class ExampleSample:
    """The `size` rows with the smallest hashes of their features: the same in any order, batches and processes."""

    size: int
    rows: Examples | None = None
    # uint64 (n,), their hashes.
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))

    def add(self, rows: Examples) -> ExampleSample:
        keys = content_keys(rows.features(np.arange(len(rows))))
        chosen = np.arange(len(keys)) if len(self.keys) < self.size else np.flatnonzero(keys < self.keys.max())
        chosen = chosen[smallest_keys(keys[chosen], self.size)]
        return self._joined(rows.take(chosen), keys[chosen])

    def merge(self, other: ExampleSample) -> ExampleSample:
        return self if other.rows is None else self._joined(other.rows, other.keys)

    def _joined(self, rows: Examples, keys: np.ndarray) -> ExampleSample:
        if self.rows is None:
            return ExampleSample(self.size, rows, keys)
        keys = np.concatenate([self.keys, keys])
        kept = smallest_keys(keys, self.size)
        return ExampleSample(self.size, Examples.joined((self.rows, rows)).take(kept), keys[kept])


def smallest_keys(keys: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the `count` smallest keys (n,), in their order."""
    if len(keys) <= count:
        return np.arange(len(keys))
    return np.sort(np.argpartition(keys, count - 1)[:count])


@dataclass
class Sums:
    """Per-fold sums over rows x (features minus `origin_x`) and y (labels minus `origin_y`), float64.

    xy has the rows' precision where few rows a fold make a single product, which saves a copy of the largest sums.
    xx holds upper triangles: values below the diagonals are never read. y is in a `LabelBasis` with q columns.
    Only xy takes the labels uncentred: x is centred already, and a centred copy of all labels would cost a pass.

    Shape: n (F,), x (F, D1), xx (F, D1, D1), y (F, q), xy (F, D1, q), yy (F, pairs, max D2_k): the per-column
    products of the basis' pairs of F-labels over the columns both have; origin_x (D1,), origin_y (q,).
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
    def empty(cls, folds: int, d1: int, basis: LabelBasis) -> Sums:
        return cls(
            n=np.zeros(folds),
            x=np.zeros((folds, d1)),
            xx=np.zeros((folds, d1, d1)),
            y=np.zeros((folds, basis.size)),
            xy=np.zeros((folds, d1, basis.size)),
            yy=np.zeros((folds, basis.n_pairs, basis.d2)),
            origin_x=np.zeros(d1),
            origin_y=np.zeros(basis.size),
        )

    @property
    def whole_y(self) -> np.ndarray:
        """(F, q): sums of the uncentred labels."""
        return self.y + self.n[:, None] * self.origin_y

    def copy(self) -> Sums:
        return Sums(**{name: array.copy() for name, array in vars(self).items()})

    def add_rows(self, rows: Examples, basis: LabelBasis, *, more: bool) -> None:
        """Add rows; where `more` follow, sums are float64 from the start, and never copied to become so."""
        if not self.n.any():
            # Products of centred columns keep their digits; the mean of some rows is centre enough.
            some = np.linspace(0, len(rows) - 1, min(len(rows), ORIGIN_ROWS)).astype(np.int64)
            self.origin_x = rows.features(some).mean(axis=0, dtype=np.float64)
            self.origin_y = basis.origin(rows.y.take(some, np.empty((len(some), rows.y.width), rows.y.dtype)))
        products = ProductSums(rows, basis, self.origin_x, self.origin_y)
        few = not (more or self.n.any() or basis.by_text) and np.bincount(rows.folds).max() <= PRODUCT_ROWS
        self.xy = np.zeros(self.xy.shape, products.xy.dtype) if few else self.xy.astype(np.float64, copy=False)
        for fold in range(len(self.n)):
            members = np.flatnonzero(rows.folds == fold)
            if few:
                products.xy = self.xy[fold]
            for start in range(0, len(members), PRODUCT_ROWS):
                part = members[start : start + PRODUCT_ROWS]
                products.accumulate(part)
                self._add(fold, products)
                self.n[fold] += len(part)

    def _add(self, fold: int, products: ProductSums) -> None:
        names = [name for name in ("x", "y", "xy", "yy") if getattr(products, name).base is not self.xy]
        pairs = [(getattr(self, name)[fold], getattr(products, name)) for name in names]
        pairs += [(self.xx[fold][step], products.xx[step]) for step in row_blocks(products.xx.shape, upper=True)]
        for total, product in pairs:
            if self.n[fold]:
                total += product
            else:
                np.copyto(total, product)  # reads no zeros

    def add_sums(self, other: Sums, basis: LabelBasis) -> None:
        if not self.n.any():
            self.origin_x, self.origin_y = other.origin_x.copy(), other.origin_y.copy()
        self.xy = self.xy.astype(np.float64, copy=False)
        moved = other.about(self.origin_x, self.origin_y, basis)
        for name in ("n", "x", "xx", "y", "xy", "yy"):
            getattr(self, name)[:] += getattr(moved, name)

    def about(self, origin_x: np.ndarray, origin_y: np.ndarray, basis: LabelBasis) -> Sums:
        """Return the sums of the same rows about other origins."""
        shift_x, shift_y = self.origin_x - origin_x, self.origin_y - origin_y
        if not shift_x.any() and not shift_y.any():
            return self
        n = self.n[:, None]
        cross = self.x[:, :, None] * shift_x
        xx = self.xx + cross + cross.transpose(0, 2, 1) + n[:, :, None] * np.outer(shift_x, shift_x)
        xy = self.xy + shift_x[:, None] * self.whole_y[:, None, :]
        yy = self.yy.copy()
        for pairs in basis.pairs:
            a, b = shift_y[pairs.left], pairs.right(shift_y)
            moved = self.y[:, None, pairs.left] * b + pairs.right(self.y) * a + n[:, :, None] * (a * b)
            yy[:, pairs.places, : pairs.common] += moved
        return Sums(self.n, self.x + n * shift_x, xx, self.y + n * shift_y, xy, yy, origin_x, origin_y)


class ProductSums:
    """The `Sums` over rows of a fold, in the rows' precision; `accumulate` chooses the rows."""

    def __init__(self, rows: Examples, basis: LabelBasis, origin_x: np.ndarray, origin_y: np.ndarray) -> None:
        d1, dtype = rows.x.shape[1], rows.x.dtype
        self._rows, self._basis = rows, basis
        self._origin_x, self._origin_y = origin_x.astype(dtype), origin_y.astype(rows.y.dtype)
        size = min(CHUNK_ROWS, len(rows))
        self._chunk_x = np.empty((size, d1), dtype)
        self._chunk_y = np.empty((size, rows.y.width), rows.y.dtype)
        self._scratch = np.empty((BLOCK_ROWS, rows.y.width), rows.y.dtype)
        self.x = np.zeros(d1)
        self.xx = np.zeros((d1, d1), dtype)
        self.y = np.zeros(basis.size)
        self.xy = basis.empty_cross(d1, rows.x.dtype, rows.y.dtype)
        self.yy = np.zeros((basis.n_pairs, basis.d2))

    def accumulate(self, chosen: np.ndarray) -> None:
        """Replace the sums by those over the chosen rows."""
        rows, basis = self._rows, self._basis
        for total in (self.x, self.y, self.yy):
            total.fill(0.0)
        for start in range(0, len(chosen), CHUNK_ROWS):
            part = chosen[start : start + CHUNK_ROWS]
            x, y = self._chunk_x[: len(part)], self._chunk_y[: len(part)]
            blocks = [slice(first, first + BLOCK_ROWS) for first in range(0, len(part), BLOCK_ROWS)]
            beta = 1.0 if start else 0.0  # the first chunk overwrites
            for block in blocks:
                np.subtract(rows.features(part[block]), self._origin_x, out=x[block])
            self.x += column_sums(x)
            add_gram(self.xx, x, beta=beta)
            for block in blocks:
                labels = rows.y.take(part[block], y[block])
                basis.add_block(labels, self._origin_y, self.y, self.yy, self._scratch[: len(labels)])
            basis.add_cross(x, y, self.xy, beta=beta)
