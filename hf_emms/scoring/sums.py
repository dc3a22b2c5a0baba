"""Per-fold sums over rows, and how rows and other sums are added to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hf_emms.scoring.arrays import BLOCK_ROWS
from hf_emms.scoring.blas import steps, symmetric
from hf_emms.scoring.label_pairs import label_pairs
from hf_emms.scoring.products import ColumnProducts, Products, Rows, TextProducts

# Rows whose products are summed up in the input's precision: few enough for float32.
PRODUCT_ROWS = 8192

# Rows, evenly spaced, whose mean is the origin.
ORIGIN_ROWS = 512


@dataclass
class Sums:
    """Per-fold sums over rows x (features minus `origin_x`) and y (labels minus `origin_y`), all float64.

    xx holds upper triangles: what is below the diagonals counts nowhere.
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

    def complete(self) -> Sums:
        """The same sums with whole symmetric matrices xx."""
        return replace(self, xx=np.stack([symmetric(product) for product in self.xx]))

    def add_rows(self, rows: Rows, widths: Sequence[int]) -> None:
        if not self.n.any():
            # Products of centred columns keep their digits; the mean of some rows is centre enough.
            some = np.linspace(0, len(rows) - 1, min(len(rows), ORIGIN_ROWS)).astype(np.int64)
            self.origin_x = rows.features(some).mean(axis=0, dtype=np.float64)
            if not self.by_text:
                labels = rows.take_labels(some, np.empty((len(some), self.y.shape[1]), rows.y.dtype))
                self.origin_y = labels.mean(axis=0, dtype=np.float64)
        products = self._products(rows, widths)
        for fold in range(len(self.n)):
            members = np.flatnonzero(rows.folds == fold)
            for start in range(0, len(members), PRODUCT_ROWS):
                part = members[start : start + PRODUCT_ROWS]
                products.set_to(part)
                self._add(fold, products)
                self.n[fold] += len(part)

    def _add(self, fold: int, products: Products) -> None:
        pairs = [(getattr(self, name)[fold], getattr(products, name)) for name in ("x", "y", "xy", "yy")]
        pairs += [(self.xx[fold][step], products.xx[step]) for step in steps(products.xx.shape, upper=True)]
        for total, product in pairs:
            if self.n[fold]:
                total += product
            else:
                np.copyto(total, product)  # reads no zeros

    def _products(self, rows: Rows, widths: Sequence[int]) -> Products:
        if self.by_text:
            return TextProducts(rows, self.origin_x, self.y.shape[1])
        return ColumnProducts(rows, self.origin_x, self.origin_y, widths)

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


def column_squares(rows: np.ndarray) -> np.ndarray:
    """Σ_n rows[n, d]² for every column d, in float64; shape (D,)."""
    out = np.zeros(rows.shape[1])
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        out += np.einsum("nd,nd->d", block, block)
    return out
