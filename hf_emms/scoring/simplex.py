"""The two small problems on the probability simplex that EMMS needs."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls


def project_simplex(point: np.ndarray) -> np.ndarray:
    """Euclidean projection of a point, shape (K,), on {t >= 0, sum t = 1}.

    Source: Duchi et al. 2008, figure 1.
    """
    descending = np.sort(point)[::-1]
    excess = (np.cumsum(descending) - 1.0) / np.arange(1, len(point) + 1)
    support = np.nonzero(descending > excess)[0][-1]
    return np.maximum(point - excess[support], 0.0)


def minimise_quadratic(matrix: np.ndarray) -> np.ndarray:
    """The argmin of tᵀ M t on the simplex for a symmetric positive semi-definite M, shape (K, K).

    With M = RᵀR this is the point of least norm in the convex hull of R's columns, which one non-negative least
    squares problem solves exactly (Lawson and Hanson 1974, chapter 23): min ‖[R; 1ᵀ]u − [0; 1]‖, t = u / sum u.

    Returns:
        float64, shape (K,): the weights t.
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
