"""Standardize moments: second moments of standardized columns about a mean, in one pass over each matrix.

Standardization is applied to sums and not to rows. Centring subtracts outer products block by block, so that no second
matrix is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.linalg import qr

from hf_emms.errors import EmmsError
from hf_emms.scoring.labels import LabelBasis, TextBasis
from hf_emms.scoring.linalg import as_slice, column_squares, inverse_deviation, least_squarable, row_blocks
from hf_emms.scoring.moments import Moments
from hf_emms.scoring.sums import Examples, Sums


@dataclass(frozen=True)
class FoldStats:
    """Scales of the columns of features or labels, and the columns' sums over one fold."""

    scale: np.ndarray  # 1 / standard deviation
    test_sum: np.ndarray  # of the standardized test rows
    train_mean: np.ndarray  # of the standardized rows of the other folds
    shift: np.ndarray  # `train_mean` minus the mean of all rows

    @classmethod
    def of(cls, index: int, n: np.ndarray, sums: np.ndarray, scale: np.ndarray) -> FoldStats:
        """Compute the statistics of a fold from the sizes (F,) and sums (F, c) of all folds."""
        total = sums.sum(axis=0)
        mean = (total - sums[index]) * scale / (n.sum() - n[index])
        return cls(scale, sums[index] * scale, mean, mean - total * scale / n.sum())


@dataclass(frozen=True)
class Split:
    """Products of one fold's test rows and of its training rows, divided by N."""

    test: np.ndarray
    train: np.ndarray


def centered_total(
    products: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    scale: tuple[np.ndarray, np.ndarray],
    dtype: np.dtype | type,
    *,
    upper: bool = False,
) -> np.ndarray:
    """Return (Σ products − left ⊗ right) · scale[0] ⊗ scale[1], (D, c), from products (F, D, c), or a triangle."""
    out = np.empty(products.shape[1:], dtype)
    for rows, columns in row_blocks(out.shape, upper=upper):
        step = products[:, rows, columns].sum(axis=0, dtype=np.float64)
        step -= np.multiply.outer(left[rows], right[columns])
        step *= scale[0][rows, None]
        np.multiply(step, scale[1][columns], out=out[rows, columns], casting="same_kind")
    return out


def split_fold(
    product: np.ndarray, total: np.ndarray, n: tuple[float, float], x: FoldStats, y: FoldStats, *, upper: bool = False
) -> Split:
    """Return the products of a fold and of the other folds, about the training mean, in the precision of `total`.

    `product` (D, c) is the product of the fold about the origin. `total` is the product of all rows about their mean,
    standardized and divided by N. n contains the row count of the fold, and N. x scales the matrix' D rows, y its c
    columns.
    """
    test, train, dtype = np.empty_like(total), np.empty_like(total), total.dtype
    scale, mean = (x.scale / n[1]).astype(product.dtype), (x.train_mean / n[1]).astype(dtype)
    scale_y = y.scale.astype(product.dtype)
    spread = ((x.test_sum - n[0] * x.train_mean) / n[1]).astype(dtype)
    shift_x, shift_y, sum_y, mean_y = (a.astype(dtype) for a in (x.shift, y.shift, y.test_sum, y.train_mean))
    for rows, columns in row_blocks(total.shape, upper=upper):
        step = test[rows, columns]
        np.multiply(product[rows, columns] * scale[rows, None], scale_y[columns], out=step, casting="same_kind")
        step -= np.multiply.outer(mean[rows], sum_y[columns])
        step -= np.multiply.outer(spread[rows], mean_y[columns])
        other = np.multiply.outer(shift_x[rows], shift_y[columns], out=train[rows, columns])
        other += total[rows, columns]  # all rows about the training mean
        other -= step
    return Split(test, train)


@dataclass(frozen=True)
class Fold:
    """Products of a fold: its rows are test rows, and the rows of the other folds are training rows."""

    train_share: float  # of the rows
    xx: Split  # products of features (D, D), upper triangles
    xy: Split  # products of features and labels (D, q)


@dataclass(frozen=True)
class Standardized:
    """Per-fold sums with the scales that turn columns into unit variance."""

    sums: Sums  # features may be rotated into fewer dimensions than D1 (see `standardize`)
    x_scale: np.ndarray  # (D,), 1 / standard deviation, or 0 for a constant column
    basis: LabelBasis  # of the labels, standardized
    constant_columns: int  # how many features do not vary
    dtype: np.dtype  # precision of the input and of the factorisations
    rotated: Examples | None = None  # standardized and rotated rows, if rotated

    @cached_property
    def n(self) -> float:
        return float(self.sums.n.sum())

    @cached_property
    def zz(self) -> np.ndarray:
        """Σ_d Z_jᵀZ_k / N, (K, K), over all rows about their mean."""
        y = self.sums.y.sum(axis=0)
        return self.basis.products(self.n, y, self.sums.yy.sum(axis=0), y / self.n) / self.n

    @cached_property
    def xx(self) -> np.ndarray:
        """XᵀX / N from `xx_in` in the input's precision. Do not modify it."""
        return self.xx_in(self.dtype)

    @cached_property
    def xy(self) -> np.ndarray:
        """XᵀY / N from `xy_in` in the input's precision. Do not modify it."""
        return self.xy_in(self.dtype)

    def xx_in(self, dtype: np.dtype | type) -> np.ndarray:
        """Return the upper triangle (D, D) of XᵀX / N over all rows about their mean, computed in float64."""
        x = self.sums.x.sum(axis=0)
        return centered_total(self.sums.xx, x, x / self.n, (self.x_scale / self.n, self.x_scale), dtype, upper=True)

    def xy_in(self, dtype: np.dtype | type) -> np.ndarray:
        """Return XᵀY / N, (D, q), over all rows about their mean, in the basis of the labels."""
        x, mean = self.sums.x.sum(axis=0), self.sums.whole_y.sum(axis=0) / self.n
        return centered_total(self.sums.xy, x, mean, (self.x_scale / self.n, self.basis.scale), dtype)

    def features(self, rows: Examples, chosen: np.ndarray) -> np.ndarray:
        """Standardize the features of some rows: (b, D)."""
        x = rows.x[as_slice(chosen)]
        out = x - (self.sums.origin_x + self.sums.x.sum(axis=0) / self.n).astype(x.dtype)
        out *= self.x_scale.astype(x.dtype)
        return out

    @property
    def filled(self) -> np.ndarray:
        return np.flatnonzero(self.sums.n)

    @cached_property
    def test_labels(self) -> np.ndarray:
        """Sums of label products about the training mean, per filled fold: (F, K, K)."""
        sums = self.sums
        means = (sums.y.sum(axis=0) - sums.y) / (self.n - sums.n)[:, None]
        products = (self.basis.products(sums.n[f], sums.y[f], sums.yy[f], means[f]) for f in self.filled)
        return np.stack(list(products))

    def fold(self, index: int, xx: Split | None) -> Fold:
        """Return the products of a filled fold. `xx` is the result of `split_xx`, if already computed."""
        n, sums = float(self.sums.n[index]), self.sums
        x = FoldStats.of(index, sums.n, sums.x, self.x_scale)
        y = FoldStats.of(index, sums.n, sums.whole_y, self.basis.scale)
        xy = split_fold(sums.xy[index], self.xy, (n, self.n), x, y)
        return Fold(1.0 - n / self.n, xx or self.split_xx(index), xy)

    def split_xx(self, index: int) -> Split:
        """Return `Fold.xx`, which does not depend on the labels."""
        x = FoldStats.of(index, self.sums.n, self.sums.x, self.x_scale)
        return split_fold(self.sums.xx[index], self.xx, (float(self.sums.n[index]), self.n), x, x, upper=True)

    def some_columns(self, limit: int) -> Standardized:
        """Return the sums of at most `limit` columns per label embedding, unless these are sums per text."""
        if isinstance(self.basis, TextBasis) or self.basis.d2 <= limit:
            return self
        basis, columns, common = self.basis.some_columns(limit)
        sums = replace(
            self.sums,
            y=self.sums.y[:, columns],
            xy=self.sums.xy.take(columns, axis=2),
            yy=self.sums.yy[:, :, common],
            origin_y=self.sums.origin_y[columns],
        )
        return replace(self, sums=sums, basis=basis)


def standardize(moments: Moments) -> Standardized:
    """Return the sums of all rows with the scales that standardize each column of X and Z.

    If all rows are still buffered and fewer than features, they are standardized and then rotated to n dimensions (QR
    of Xᵀ). The rotation keeps inner products, and so all ridge and least-squares solutions.
    """
    if moments.n == 0:
        raise EmmsError("no-rows", "the moments have no rows", "call update(features, labels) first")
    rows, rotated = moments.rows(), None
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        if rows is not None and moments.n < moments.d1:
            x, constant = standardize_rows(rows.x)
            rotated = replace(rows, x=rotate_rows(x))
            sums = moments.sums_of(rotated)
            x_scale, squares = np.ones(len(sums.origin_x)), column_squares(rows.x)
        else:
            sums = moments.sums()
            squares = np.einsum("fdd->d", sums.xx)
            x_scale = inverse_deviation(moments.n, sums.x.sum(axis=0), squares, sums.origin_x, moments.dtype)
            constant = int((x_scale == 0.0).sum())
        finite = np.isfinite(squares.sum()) and np.isfinite(sums.yy.sum())
    if not finite:
        raise EmmsError(
            "out-of-range",
            f"features or label_embeddings are too large for {moments.dtype}, their products overflow",
            "divide them by a power of ten, or pass them as float64",
        )
    y, yy = sums.y.sum(axis=0), sums.yy.sum(axis=0)
    basis = moments.basis.standardized(moments.n, y, yy, sums.origin_y, moments.dtype)
    largest = float(np.abs(sums.origin_x if rows is None or rotated is None else rows.x).max())
    if constant == moments.d1 and 0 < largest < least_squarable(moments.dtype):
        raise EmmsError(
            "out-of-range",
            f"features are too small for {moments.dtype}, their products vanish (values of about {largest:.0e})",
            "multiply them by a power of ten, or pass them as float64",
        )
    return Standardized(sums, x_scale, basis, constant, moments.dtype, rotated)


def rotate_rows(x: np.ndarray) -> np.ndarray:
    """Rotate rows (n, D) with n < D to (n, n), with the same inner products between rows."""
    return np.ascontiguousarray(qr(x.T, mode="r", overwrite_a=True)[0][: len(x)].T)


def standardize_rows(rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Standardize columns (n, D), set constant ones to 0, and count the constant ones."""
    mean = rows.mean(axis=0, dtype=np.float64)
    x = rows - mean.astype(rows.dtype)
    scale = inverse_deviation(len(x), x.sum(axis=0, dtype=np.float64), column_squares(x), mean, rows.dtype)
    x *= scale.astype(x.dtype)
    return x, int((scale == 0.0).sum())
