"""Matrix products by scipy's BLAS, which the factorisations use too.

numpy and scipy each bring an OpenBLAS with a pool of threads. Waiting threads of one pool spin on the cores that the
other needs: products by the one between factorisations by the other cost several times what they should.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import get_blas_funcs

# Values that one step of a pass over a matrix takes: they stay in cache.
STEP_VALUES = 2**16


def add_gram(total: np.ndarray, x: np.ndarray, *, kept: float = 1.0) -> None:
    """Upper triangle of total = kept · total + XᵀX, for half the work of a general product.

    Args:
        total: (D, D), C-ordered, in the rows' precision; what is below its diagonal is left alone.
        x: C-ordered rows (n, D).
        kept: with 0 what was there does not count, not even NaN.
    """
    (update,) = get_blas_funcs(("syrk",), (total,))
    update(1.0, x.T, beta=kept, c=total.T, lower=True, overwrite_c=True)


def add_cross(total: np.ndarray, x: np.ndarray, y: np.ndarray, *, kept: float = 1.0) -> None:
    """Total = kept · total + XᵀY, for C-ordered rows (n, D), (n, q) and a C-ordered (D, q) in their precision."""
    (update,) = get_blas_funcs(("gemm",), (total,))
    update(1.0, y.T, x.T, beta=kept, c=total.T, trans_b=True, overwrite_c=True)


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """XᵀY of C-ordered rows (n, D) and (n, q): (D, q), C-ordered, in their common precision."""
    (multiply,) = get_blas_funcs(("gemm",), (x, y))
    return multiply(1.0, y.T, x.T, trans_b=True).T


def column_sums(rows: np.ndarray) -> np.ndarray:
    """Sums of the columns of C-ordered rows (n, D): (D,), several times as fast as sum(axis=0)."""
    (multiply,) = get_blas_funcs(("gemv",), (rows,))
    return multiply(1.0, rows.T, np.ones(len(rows), rows.dtype))


def steps(shape: tuple[int, ...], *, upper: bool = False) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the steps of a pass over a matrix, or over what holds its upper triangle."""
    rows = max(1, STEP_VALUES // shape[1])
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows), slice(start if upper else 0, None)


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """(D, D), of which only the upper triangle counts → the whole symmetric matrix."""
    return np.triu(matrix) + np.triu(matrix, 1).T


def one_norm(matrix: np.ndarray) -> float:
    """Largest sum of a column's absolute values, of a symmetric matrix by its upper triangle (D, D)."""
    sums = np.zeros(len(matrix), matrix.dtype)
    for rows, columns in steps(matrix.shape, upper=True):
        size = np.abs(matrix[rows, columns])
        size[:, : len(size)] = np.triu(size[:, : len(size)])
        sums[columns] += size.sum(axis=0)
        sums[rows] += size.sum(axis=1) - np.diagonal(size)
    return float(sums.max())
