"""From sums about the origin to standardised sums about a mean: one pass over each matrix, in steps that stay in cache.

What centring takes off a matrix of products is a sum of outer products, so no step needs another whole matrix.

Moments → the standardised second moments that the methods solve with (DESIGN: standardise moments, never rows).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy.linalg import qr

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.scoring.label_basis import ColumnTargets, Targets, TextTargets, label_pairs
from hf_emms.scoring.linalg import cross, steps
from hf_emms.scoring.moments import Moments, Sums, column_squares
from hf_emms.scoring.products import Rows


@dataclass(frozen=True)
class FoldStats:
    """The columns of features, or of labels: how they are scaled, and where one fold's rows lie.

    Attributes:
        scale: (c,), 1 / standard deviation.
        own: (c,), sum of the fold's standardised rows.
        mean: (c,), mean of the other folds' standardised rows.
        shift: (c,), `mean` less the mean of all rows.
    """

    scale: np.ndarray
    own: np.ndarray
    mean: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, index: int, n: np.ndarray, sums: np.ndarray, scale: np.ndarray) -> FoldStats:
        """Of a fold, from the sizes (F,) and the sums (F, c) of all folds."""
        total = sums.sum(axis=0)
        mean = (total - sums[index]) * scale / (n.sum() - n[index])
        return cls(scale, sums[index] * scale, mean, mean - total * scale / n.sum())


@dataclass(frozen=True)
class Split:
    """Products (D, c) over a fold's rows and over the rest, both about the mean of the rest and divided by N."""

    own: np.ndarray
    rest: np.ndarray


def centred_total(
    products: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    scale: tuple[np.ndarray, np.ndarray],
    dtype: np.dtype | type,
    *,
    upper: bool = False,
) -> np.ndarray:
    """(Σ products − left ⊗ right) · scale[0] ⊗ scale[1]: (D, c).

    Args:
        products: float64 (F, D, c).
        left: (D,), sums of rows.
        right: (c,), means of rows.
        scale: of rows (D,) and columns (c,).
        dtype: of the outcome.
        upper: whether only the upper triangle counts.
    """
    out = np.empty(products.shape[1:], dtype)
    for rows, columns in steps(out.shape, upper=upper):
        step = products[:, rows, columns].sum(axis=0)
        step -= np.multiply.outer(left[rows], right[columns])
        step *= scale[0][rows, None]
        np.multiply(step, scale[1][columns], out=out[rows, columns], casting="same_kind")
    return out


def split_fold(
    product: np.ndarray, total: np.ndarray, n: tuple[float, float], x: FoldStats, y: FoldStats, *, upper: bool = False
) -> Split:
    """A fold and the rest. Scaled once into the precision of `total`; what centres it is taken off there.

    Args:
        product: float64 (D, c), the fold's sums of products about the origin.
        total: (D, c), those of all rows about their mean, standardised and divided by N.
        n: rows of the fold, and N.
        x: of the D rows of the matrix.
        y: of its c columns.
        upper: whether only the upper triangle counts.
    """
    own, rest, dtype = np.empty_like(total), np.empty_like(total), total.dtype
    scale, mean = x.scale / n[1], (x.mean / n[1]).astype(dtype)
    spread = ((x.own - n[0] * x.mean) / n[1]).astype(dtype)
    shift_x, shift_y, sum_y, mean_y = (side.astype(dtype) for side in (x.shift, y.shift, y.own, y.mean))
    for rows, columns in steps(total.shape, upper=upper):
        step = own[rows, columns]
        np.multiply(product[rows, columns] * scale[rows, None], y.scale[columns], out=step, casting="same_kind")
        step -= np.multiply.outer(mean[rows], sum_y[columns])
        step -= np.multiply.outer(spread[rows], mean_y[columns])
        other = np.multiply.outer(shift_x[rows], shift_y[columns], out=rest[rows, columns])
        other += total[rows, columns]  # all rows about the mean of the rest
        other -= step
    return Split(own, rest)


# A column whose standard deviation is below this many rounding errors of its values carries only rounding noise.
CONSTANT_ROUNDINGS = 32.0


@dataclass(frozen=True)
class Fold:
    """A fold that is held out, and the rest of the rows.

    Attributes:
        rest: share of the rows that lie in the rest.
        xx: products of features (D, D), upper triangles.
        xy: products of features and labels (D, q).
    """

    rest: float
    xx: Split
    xy: Split


@dataclass(frozen=True)
class Standardised:
    """Per-fold sums with the scales that turn columns into unit variance.

    Attributes:
        sums: the per-fold sums. Features may be rotated into fewer dimensions than D1 (see `standardise`).
        x_scale: (D,), 1 / standard deviation; 0 for a constant column.
        y_scale: (q,), the same for label columns, with the factor that levels F-labels of different widths.
        tables: standardised (U, D2_k) tables, or None.
        widths: the K widths.
        d1: the user's feature width.
        constant_columns: how many feature columns do not vary.
        dtype: precision of the input, in which the factorisations run.
    """

    sums: Sums
    x_scale: np.ndarray
    y_scale: np.ndarray
    tables: tuple[np.ndarray, ...] | None
    widths: tuple[int, ...]
    d1: int
    constant_columns: int
    dtype: np.dtype

    @cached_property
    def n(self) -> float:
        return float(self.sums.n.sum())

    @cached_property
    def targets(self) -> Targets:
        if self.tables is None:
            return ColumnTargets(self.widths)
        texts = len(self.tables[0])
        grams = np.empty((len(self.tables), len(self.tables), texts, texts))
        for j, left in enumerate(self.tables):
            for k, right in enumerate(self.tables[: j + 1]):
                common = min(left.shape[1], right.shape[1])
                grams[j, k] = cross(left[:, :common].T, right[:, :common].T)
                grams[k, j] = grams[j, k].T
        return TextTargets(grams, max(self.widths))

    @cached_property
    def working_targets(self) -> Targets:
        """The targets in the input's precision."""
        targets = self.targets
        return replace(targets, grams=targets.grams.astype(self.dtype)) if isinstance(targets, TextTargets) else targets

    @cached_property
    def zz(self) -> np.ndarray:
        """(K, K), Σ_d Z_jᵀZ_k / N over all rows, centred on their mean."""
        y = self.sums.y.sum(axis=0)
        return self._label_products(self.n, y, self.sums.yy.sum(axis=0), y / self.n) / self.n

    @cached_property
    def xx(self) -> np.ndarray:
        """`xx_in` the input's precision, to be left as it is."""
        return self.xx_in(self.dtype)

    @cached_property
    def xy(self) -> np.ndarray:
        """`xy_in` the input's precision, to be left as it is."""
        return self.xy_in(self.dtype)

    def xx_in(self, dtype: np.dtype | type) -> np.ndarray:
        """(D, D), the upper triangle of XᵀX / N over all rows, centred on their mean, from sums in float64."""
        x = self.sums.x.sum(axis=0)
        return centred_total(self.sums.xx, x, x / self.n, (self.x_scale / self.n, self.x_scale), dtype, upper=True)

    def xy_in(self, dtype: np.dtype | type) -> np.ndarray:
        """(D, q), XᵀY / N likewise, in the basis of the targets."""
        x, mean = self.sums.x.sum(axis=0), self.sums.whole_y.sum(axis=0) / self.n
        return centred_total(self.sums.xy, x, mean, (self.x_scale / self.n, self.y_scale), dtype)

    @property
    def filled(self) -> np.ndarray:
        """Numbers of the folds that hold rows."""
        return np.flatnonzero(self.sums.n)

    @cached_property
    def held_out_labels(self) -> np.ndarray:
        """(F, K, K): sums over each filled fold of products of labels about the mean of the rest."""
        sums = self.sums
        total_y = sums.y.sum(axis=0)
        out = []
        for n, y, yy in zip(sums.n, sums.y, sums.yy, strict=True):
            if n:
                out.append(self._label_products(n, y, yy, (total_y - y) / (self.n - n)))
        return np.stack(out)

    def fold(self, index: int, xx: Split | None = None) -> Fold:
        """One that holds rows, with the outcome of `split_xx` where it is known already."""
        n, sums = float(self.sums.n[index]), self.sums
        x, y = self._side(index, sums.x, self.x_scale), self._side(index, sums.whole_y, self.y_scale)
        xy = split_fold(sums.xy[index], self.xy, (n, self.n), x, y)
        return Fold(1.0 - n / self.n, xx or self.split_xx(index), xy)

    def split_xx(self, index: int) -> Split:
        """`Fold.xx`, which does not depend on the labels."""
        x = self._side(index, self.sums.x, self.x_scale)
        return split_fold(self.sums.xx[index], self.xx, (float(self.sums.n[index]), self.n), x, x, upper=True)

    def _side(self, index: int, sums: np.ndarray, scale: np.ndarray) -> FoldStats:
        return FoldStats.of(index, self.sums.n, sums, scale)

    def some_columns(self, limit: int) -> Standardised:
        """The same rows with at most `limit` evenly spaced columns of each F-label."""
        widest = max(self.widths)
        if self.tables is not None or widest <= limit:
            return self
        chosen = np.linspace(0, widest - 1, limit).astype(np.int64)
        widths = tuple(int((chosen < width).sum()) for width in self.widths)
        starts = np.cumsum((0, *self.widths))
        columns = np.concatenate([start + chosen[:n] for start, n in zip(starts[:-1], widths, strict=True)])
        sums = replace(
            self.sums,
            y=self.sums.y[:, columns],
            xy=self.sums.xy.take(columns, axis=2),
            yy=self.sums.yy[:, :, chosen],
            origin_y=self.sums.origin_y[columns],
        )
        return replace(self, sums=sums, y_scale=self.y_scale[columns], widths=widths)

    def _label_products(self, n: float, y: np.ndarray, yy: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Σ_d Σ_rows (z_j − mean_j)(z_k − mean_k) of standardised labels: (K, K)."""
        targets = self.targets
        if isinstance(targets, TextTargets):
            cross = np.outer(y, mean)
            return targets.contract(np.diag(y) - cross - cross.T + n * np.outer(mean, mean))
        out = np.empty((targets.k, targets.k))
        for products, pair in zip(yy, label_pairs(self.widths), strict=True):
            a, b = pair.left, pair.right
            centred = products[: pair.common] - y[a] * mean[b] - mean[a] * y[b] + n * mean[a] * mean[b]
            out[pair.j, pair.k] = out[pair.k, pair.j] = centred @ (self.y_scale[a] * self.y_scale[b])
        return out


def standardise(moments: Moments, *, scaled: bool = False) -> Standardised:
    """Standardise X and Z per column, on the moments.

    With fewer rows than features the rows themselves are still there: standardised, then rotated into n dimensions
    (QR of Xᵀ), which changes no inner product and so no ridge or least-squares solution.

    Args:
        moments: of all rows.
        scaled: the features are standardised, or rotated thereafter, and stay as they are.

    Raises:
        EmmsError: no rows, labels that do not vary, or values too large for the input's precision.
    """
    if moments.n == 0:
        raise EmmsError("features is empty: no rows were folded in", "call update(features, labels) first")
    rows = moments.waiting_rows()
    if scaled:
        source, sums = moments, moments.folded()
        x_scale, constant = np.ones(moments.d1), 0
    elif rows is None or moments.n >= moments.d1:
        source, sums = moments, moments.folded()
        squares = np.einsum("fdd->d", sums.xx)
        x_scale = _inverse_deviation(moments.n, sums.x.sum(axis=0), squares, sums.origin_x, moments.dtype)
        constant = int((x_scale == 0.0).sum())
    else:
        source, constant = _rotated(moments, rows)
        sums = source.folded()
        x_scale = np.ones(source.d1)
    if not (np.isfinite(np.einsum("fdd->", sums.xx)) and np.isfinite(sums.yy.sum())):
        raise EmmsError(
            f"features or label_embeddings are too large for {moments.dtype}: their products overflow",
            "rescale them or pass them as float64",
        )
    y_scale, tables = _label_scale(source, sums)
    return Standardised(sums, x_scale, y_scale, tables, moments.widths, moments.d1, constant, moments.dtype)


def _inverse_deviation(
    n: float, total: np.ndarray, squares: np.ndarray, origin: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """1 / standard deviation of each column, 0 where the column is constant up to rounding."""
    mean = total / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    rounding = CONSTANT_ROUNDINGS * np.finfo(dtype).eps * np.sqrt((mean + origin) ** 2 + variance)
    deviation = np.sqrt(variance)
    varies = deviation > np.maximum(rounding, np.finfo(np.float64).tiny)
    return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)


def _label_scale(moments: Moments, sums: Sums) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
    d2 = max(moments.widths)
    level = np.concatenate([np.full(width, np.sqrt(d2 / width)) for width in moments.widths])
    n = float(sums.n.sum())
    if moments.tables is not None:
        share = sums.y.sum(axis=0) / n
        centred = [table - share @ table for table in moments.tables]
        squares = np.concatenate([n * (share @ table**2) for table in centred])
        origin = np.concatenate([share @ table for table in moments.tables])
    else:
        diagonal = [index for index, pair in enumerate(label_pairs(moments.widths)) if pair.j == pair.k]
        products = sums.yy.sum(axis=0)[diagonal]
        squares = np.concatenate([products[k, :width] for k, width in enumerate(moments.widths)])
        origin = sums.origin_y
    total = np.zeros_like(squares) if moments.tables is not None else sums.y.sum(axis=0)
    scale = level * _inverse_deviation(n, total, squares, origin, moments.dtype)
    starts = np.cumsum((0, *moments.widths))
    blocks = [scale[a:b] for a, b in pairwise(starts)]
    for k, block in enumerate(blocks):
        if not block.any():
            raise EmmsError(
                f"label_embeddings[{k}] does not vary over {pluralize(int(moments.n), 'row')}: nothing to explain",
                "pass labels with at least two distinct values",
            )
    if moments.tables is None:
        return scale, None
    tables = tuple(table * block for table, block in zip(centred, blocks, strict=True))
    return np.ones(moments.label_size), tables


def rotate_rows(x: np.ndarray) -> np.ndarray:
    """Fewer rows than columns, (n, D) → (n, n) with the same inner products between rows."""
    return np.ascontiguousarray(qr(x.T, mode="r", overwrite_a=True, check_finite=False)[0][: len(x)].T)


def standardise_rows(rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Columns of mean 0 and variance 1, those that are constant up to rounding 0: (n, D), and how many these are."""
    mean = rows.mean(axis=0, dtype=np.float64)
    x = rows - mean.astype(rows.dtype)
    scale = _inverse_deviation(len(x), x.sum(axis=0, dtype=np.float64), column_squares(x), mean, rows.dtype)
    x *= scale.astype(x.dtype)
    return x, int((scale == 0.0).sum())


def _rotated(moments: Moments, rows: Rows) -> tuple[Moments, int]:
    x, constant = standardise_rows(rows.x)
    return moments.with_features(rotate_rows(x)), constant
