"""From sums about the origin to standardised sums about a mean: one pass over each matrix, in steps that stay in cache.

What centring takes off a matrix of products is a sum of outer products, so no step needs another whole matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_emms.scoring.blas import steps


@dataclass(frozen=True)
class Side:
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
    def of(cls, index: int, n: np.ndarray, sums: np.ndarray, scale: np.ndarray) -> Side:
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
    product: np.ndarray, total: np.ndarray, n: tuple[float, float], x: Side, y: Side, *, upper: bool = False
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
