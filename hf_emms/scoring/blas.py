"""Matrix products by scipy's BLAS, which the factorisations use too.

numpy and scipy each bring an OpenBLAS with a pool of threads. Waiting threads of one pool spin on the cores that the
other needs: products by the one between factorisations by the other cost several times what they should.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import get_blas_funcs

# Rows of one step that copies a triangle to the other side: the step stays in cache.
_TILE = 128


def gram(x: np.ndarray) -> np.ndarray:
    """XᵀX of C-ordered rows (n, D) for half the work of a general product: (D, D), in the rows' precision."""
    (multiply,) = get_blas_funcs(("syrk",), (x,))
    product = multiply(1.0, x.T, lower=True).T
    for start in range(0, len(product), _TILE):
        stop = start + _TILE
        tile = product[start:stop, start:stop]
        tile[:] = np.triu(tile) + np.triu(tile, 1).T
        product[stop:, start:stop] = product[start:stop, stop:].T
    return product


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """XᵀY of C-ordered rows (n, D) and (n, q): (D, q), C-ordered, in their common precision."""
    (multiply,) = get_blas_funcs(("gemm",), (x, y))
    return multiply(1.0, y.T, x.T, trans_b=True).T


def column_sums(rows: np.ndarray) -> np.ndarray:
    """Sums of the columns of C-ordered rows (n, D): (D,), several times as fast as sum(axis=0)."""
    (multiply,) = get_blas_funcs(("gemv",), (rows,))
    return multiply(1.0, rows.T, np.ones(len(rows), rows.dtype))
