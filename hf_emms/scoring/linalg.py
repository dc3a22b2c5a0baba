"""Linear algebra for scoring: products, passes that stay in cache, column statistics, the probability simplex.

Products use SciPy's BLAS, as the factorisations do. NumPy and SciPy each have an OpenBLAS with a thread pool, and idle
threads of one pool spin on the cores that the other needs. Mixing both slows products down several times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.linalg import get_blas_funcs
from scipy.optimize import nnls
from scipy.sparse import csr_array, issparse

# Values per step of a pass over a matrix, and rows per step of a pass over features or labels. Such steps stay in
# cache, and float32 sums of so few rows are accurate enough.
STEP_VALUES = 2**16
BLOCK_ROWS = 64

# A column contains only rounding noise if its standard deviation is below this many rounding errors of its values.
CONSTANT_ROUNDINGS = 32.0


def add_gram(total: np.ndarray, x: np.ndarray, *, beta: float) -> None:
    """Set the upper triangle of `total` to beta · total + XᵀX, at half the cost of a general product.

    `total` (D, D) and x (n, D) are C-ordered and have the same dtype. Values below the diagonal are unchanged. If beta
    is 0, the previous values of `total` are ignored, even NaN.
    """
    (update,) = get_blas_funcs(("syrk",), (total,))
    update(1.0, x.T, beta=beta, c=total.T, lower=True, overwrite_c=True)


def add_cross(total: np.ndarray, x: np.ndarray, y: np.ndarray, *, beta: float = 1.0) -> None:
    """Set total (D, q) to beta · total + XᵀY for x (n, D) and y (n, q), all C-ordered and of one dtype."""
    (update,) = get_blas_funcs(("gemm",), (total,))
    update(1.0, y.T, x.T, beta=beta, c=total.T, trans_b=True, overwrite_c=True)


def cross(x: np.ndarray, y: np.ndarray | csr_array) -> np.ndarray:
    """Return XᵀY, (D, q), for C-ordered x (n, D) and y (n, q), or a sparse y, in their common precision."""
    if issparse(y):
        return (y.T @ x).T
    (multiply,) = get_blas_funcs(("gemm",), (x, y))
    return multiply(1.0, y.T, x.T, trans_b=True).T


def product(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return rows (n, D) times a matrix (D, q), both C-ordered, in their common precision."""
    (multiply,) = get_blas_funcs(("gemm",), (rows, matrix))
    return multiply(1.0, matrix.T, rows.T).T


def divide_by_factor(factor: np.ndarray, y: np.ndarray, *, overwrite: bool, transposed: bool = False) -> np.ndarray:
    """Return L⁻¹Y, or L⁻ᵀY if `transposed`, for a Fortran-ordered lower factor L (D, D) and C-ordered y (D, q)."""
    (divide,) = get_blas_funcs(("trsm",), (factor,))
    return divide(1.0, factor, y.T, side=1, lower=1, trans_a=not transposed, overwrite_b=overwrite).T


def column_sums(rows: np.ndarray) -> np.ndarray:
    """Return the column sums (D,) of C-ordered rows (n, D), several times as fast as sum(axis=0)."""
    (multiply,) = get_blas_funcs(("gemv",), (rows,))
    return multiply(1.0, rows.T, np.ones(len(rows), rows.dtype))


def column_squares(rows: np.ndarray) -> np.ndarray:
    """Return Σ_n rows[n, d]² for every column d, float64 (D,)."""
    out = np.zeros(rows.shape[1])
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        out += np.einsum("nd,nd->d", block, block)
    return out


def least_squarable(dtype: np.dtype) -> float:
    """Return the smallest number whose square has full precision."""
    return float(np.sqrt(np.finfo(dtype).tiny))


def inverse_deviation(
    n: float, total: np.ndarray, squares: np.ndarray, origin: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """Return 1 / standard deviation of each column, or 0 if it is constant up to rounding in `dtype`.

    `total` (D,) and `squares` (D,) are sums over n rows about the origin (D,).
    """
    mean = total / n
    variance = np.maximum(squares / n - mean**2, 0.0)
    rounding = CONSTANT_ROUNDINGS * np.finfo(dtype).eps * np.sqrt((mean + origin) ** 2 + variance)
    deviation = np.sqrt(variance)
    varies = deviation > np.maximum(rounding, least_squarable(dtype))
    return np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)


def as_slice(places: np.ndarray) -> np.ndarray | slice:
    """Convert row numbers to a slice if they are consecutive, so that indexing copies nothing."""
    first, stop = int(places[0]), int(places[-1]) + 1
    consecutive = stop - first == len(places) and bool((places[1:] > places[:-1]).all())
    return slice(first, stop) if consecutive else places


def row_blocks(shape: tuple[int, ...], *, upper: bool = False) -> Iterator[tuple[slice, slice]]:
    """Yield row and column slices for a pass over a matrix, or over its upper triangle."""
    rows = math.ceil(STEP_VALUES / shape[1])
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows), slice(start if upper else 0, None)


def symmetric(matrix: np.ndarray) -> np.ndarray:
    """Mirror the upper triangle of a matrix (D, D)."""
    return np.triu(matrix) + np.triu(matrix, 1).T


def one_norm(matrix: np.ndarray) -> float:
    """Return the 1-norm (largest absolute column sum) of a symmetric matrix, from its upper triangle."""
    sums = np.zeros(len(matrix), matrix.dtype)
    for rows, columns in row_blocks(matrix.shape, upper=True):
        size = np.abs(matrix[rows, columns])
        size[:, : len(size)] = np.triu(size[:, : len(size)])
        sums[columns] += size.sum(axis=0)
        sums[rows] += size.sum(axis=1) - np.diagonal(size)
    return float(sums.max())


def project_simplex(point: np.ndarray) -> np.ndarray:
    """Project a point (K,) on {t >= 0, sum t = 1} (Duchi et al. 2008, figure 1)."""
    descending = np.sort(point)[::-1]
    excess = (np.cumsum(descending) - 1.0) / np.arange(1, len(point) + 1)
    support = np.nonzero(descending > excess)[0][-1]
    return np.maximum(point - excess[support], 0.0)


def minimize_quadratic(matrix: np.ndarray) -> np.ndarray:
    """Minimize tᵀ M t over the simplex for a symmetric positive semi-definite M (K, K). Returns t, float64 (K,).

    With M = RᵀR, the solution is the point of least norm in the convex hull of R's columns. Non-negative least squares
    finds it exactly (Lawson and Hanson 1974, chapter 23): min ‖[R; 1ᵀ]u − [0; 1]‖, t = u / sum u.
    """
    size = len(matrix)
    scale = np.trace(matrix) / size
    if size == 1 or not scale > 0.0:
        return np.full(size, 1.0 / size)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / (2.0 * scale))
    root = np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T
    system = np.vstack([root, np.ones(size)])
    solution, _ = nnls(system, np.append(np.zeros(size), 1.0))
    return solution / solution.sum()
