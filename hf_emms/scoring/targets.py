"""How products over the label side shrink to the K x K numbers that the weights act on.

Every method needs only sums over label columns d of (something of F-label j)[d] * (something of F-label k)[d]. Two
bases hold those somethings: the F-labels' own columns, or the distinct texts (with the Gram matrix of their
embeddings).
F-labels narrower than the widest count as padded with zero columns and scaled to the same total variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hf_emms.scoring.blas import cross, symmetric


@dataclass(frozen=True)
class ColumnTargets:
    """Arrays whose last axis is [Z_1 | … | Z_K], already standardised.

    Attributes:
        widths: the K widths D2_k.
    """

    widths: tuple[int, ...]

    @property
    def d2(self) -> int:
        return max(self.widths)

    @property
    def k(self) -> int:
        return len(self.widths)

    def _pair(self, left: np.ndarray, right: np.ndarray, j: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        starts = np.cumsum((0, *self.widths))
        common = min(self.widths[j], self.widths[k])
        return left[:, starts[j] : starts[j] + common], right[:, starts[k] : starts[k] + common]

    def row_products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Σ_d left_j[a, d]·right_k[a, d]: (r, q) and (r, q) → (r, K, K)."""
        out = np.empty((len(left), self.k, self.k), dtype=left.dtype)
        for j in range(self.k):
            for k in range(self.k):
                out[:, j, k] = np.vecdot(*self._pair(left, right, j, k))
        return out

    def inner(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Σ_rd left_j[r, d]·right_k[r, d]: (r, q) and (r, q) → (K, K), float64."""
        out = np.empty((self.k, self.k))
        for j in range(self.k):
            for k in range(j if left is right else 0, self.k):
                out[j, k] = np.vecdot(*self._pair(left, right, j, k)).sum(dtype=np.float64)
        return symmetric(out) if left is right else out


@dataclass(frozen=True)
class TextTargets:
    """Arrays whose last axis is the U distinct texts.

    Attributes:
        grams: (K, K, U, U): inner products of the standardised embeddings of F-labels j and k.
        d2: the widest F-label's width.
    """

    grams: np.ndarray
    d2: int

    @property
    def k(self) -> int:
        return len(self.grams)

    def row_products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Like `ColumnTargets.row_products`, (r, U) and (r, U) → (r, K, K)."""
        out = np.empty((len(left), self.k, self.k), dtype=left.dtype)
        for j in range(self.k):
            for k in range(self.k):
                out[:, j, k] = np.vecdot(left @ self.grams[j, k], right)
        return out

    def inner(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Like `ColumnTargets.inner`, (r, U) and (r, U) → (K, K)."""
        return self.contract(cross(left, right).astype(np.float64))

    def contract(self, matrix: np.ndarray) -> np.ndarray:
        """Σ_uv matrix[u, v]·<z_j[u], z_k[v]>: (U, U) → (K, K)."""
        return np.einsum("uv,jkuv->jk", matrix, self.grams)


Targets = ColumnTargets | TextTargets
