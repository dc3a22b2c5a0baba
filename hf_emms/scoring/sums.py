"""Sums over the rows of each fold.

Rows are processed in chunks that stay in cache, so that no copy of all rows is needed. Products of a few thousand rows
are summed up in the input's precision, and these sums in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_emms.scoring.labels import LabelBasis, LabelTable
from hf_emms.scoring.linalg import BLOCK_ROWS, add_gram, as_slice, column_sums, row_blocks

# Rows of the sample for the search of neighbors, whose cost then does not grow with N.
SAMPLE_ROWS = 8_192

# Rows per matrix product: enough for full speed, and few enough to stay in cache.
CHUNK_ROWS = 1024

# Rows whose products are summed up in the input's precision. Float32 is accurate enough for so few.
PRODUCT_ROWS = 8192

# Rows, evenly spaced, whose mean is the origin.
ORIGIN_ROWS = 512


@dataclass(frozen=True)
class Examples:
    """Features (n, D1) and labels of n rows, with the fold of each row, (n,)."""

    x: np.ndarray
    labels: LabelTable
    folds: np.ndarray

    def __len__(self) -> int:
        return len(self.folds)


def smallest_keys(keys: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the `count` smallest keys, sorted."""
    if len(keys) <= count:
        return np.arange(len(keys))
    return np.sort(np.argpartition(keys, count - 1)[:count])


@dataclass
class Sums:
    """Per-fold sums over rows x (features minus `origin_x`) and y (labels minus `origin_y`), float64.

    xx contains upper triangles. y is in a `LabelBasis` with q columns. xy uses uncentered labels, because x is centered
    already and centring all labels would cost another pass.

    Shapes: n (F,), x (F, D1), xx (F, D1, D1), y (F, q), xy (F, D1, q), yy (F, pairs, max D2_k), origin_x (D1,),
    origin_y (q,). yy contains the products of common columns for each pair of the basis.
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
            yy=np.zeros((folds, len(basis.pairs), basis.d2)),
            origin_x=np.zeros(d1),
            origin_y=np.zeros(basis.size),
        )

    @property
    def whole_y(self) -> np.ndarray:
        """(F, q): sums of the uncentered labels."""
        return self.y + self.n[:, None] * self.origin_y

    def add_rows(self, rows: Examples, basis: LabelBasis) -> None:
        if not self.n.any():
            # Centered columns keep the digits of products, and the mean of some rows is close enough. LogME of features
            # with many tiny eigenvalues depends on the choice of these rows in the third digit.
            some = np.linspace(0, len(rows) - 1, min(len(rows), ORIGIN_ROWS)).astype(np.int64)
            some = np.argsort(rows.folds, kind="stable")[some]
            labels = basis.read(rows.labels, some, np.empty((len(some), basis.y_width), rows.labels.tables[0].dtype))
            self.origin_x, self.origin_y = rows.x[some].mean(axis=0, dtype=np.float64), basis.origin(labels)
        products = ProductSums(rows, basis, self.origin_x, self.origin_y)
        for fold in range(len(self.n)):
            members = np.flatnonzero(rows.folds == fold)
            for start in range(0, len(members), PRODUCT_ROWS):
                part = members[start : start + PRODUCT_ROWS]
                products.compute(part)
                self._add(fold, products)
                self.n[fold] += len(part)

    def _add(self, fold: int, products: ProductSums) -> None:
        pairs = [(getattr(self, name)[fold], getattr(products, name)) for name in ("x", "y", "xy", "yy")]
        pairs += [(self.xx[fold][step], products.xx[step]) for step in row_blocks(products.xx.shape, upper=True)]
        for total, product in pairs:
            if self.n[fold]:
                total += product
            else:
                np.copyto(total, product)  # avoids reading zeros


class ProductSums:
    """Sums over some rows of a fold, in the input's precision."""

    def __init__(self, rows: Examples, basis: LabelBasis, origin_x: np.ndarray, origin_y: np.ndarray) -> None:
        d1, dtype, y_dtype = rows.x.shape[1], rows.x.dtype, np.result_type(*rows.labels.tables)
        self._rows, self._basis = rows, basis
        self._origin_x, self._origin_y = origin_x.astype(dtype), origin_y.astype(y_dtype)
        size = min(CHUNK_ROWS, len(rows))
        self._chunk_x = np.empty((size, d1), dtype)
        self._chunk_y = np.empty((size, basis.y_width), np.int64 if basis.by_text else y_dtype)
        self._scratch = np.empty((BLOCK_ROWS, basis.y_width), y_dtype)
        self.x = np.zeros(d1)
        self.xx = np.zeros((d1, d1), dtype)
        self.y = np.zeros(basis.size)
        self.xy = basis.empty_cross(d1, dtype, y_dtype)
        self.yy = np.zeros((len(basis.pairs), basis.d2))

    def compute(self, chosen: np.ndarray) -> None:
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
                np.subtract(rows.x[as_slice(part[block])], self._origin_x, out=x[block])
            self.x += column_sums(x)
            add_gram(self.xx, x, beta=beta)
            for block in blocks:
                labels = basis.read(rows.labels, part[block], y[block])
                basis.add_block(labels, self._origin_y, self.y, self.yy, self._scratch[: len(labels)])
            basis.add_cross(x, y, self.xy, beta=beta)
