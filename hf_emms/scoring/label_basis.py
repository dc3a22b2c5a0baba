"""Labels that repeat: one code a row, one embedding a distinct text.

Which columns two F-labels of different widths have in common.
How products over the label side shrink to the K x K numbers that the weights act on.

Every method needs only sums over label columns d of (something of F-label j)[d] * (something of F-label k)[d]. Two
bases hold those somethings: the F-labels' own columns, or the distinct texts (with the Gram matrix of their
embeddings).
F-labels narrower than the widest count as padded with zero columns and scaled to the same total variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.scoring.linalg import cross, symmetric


@dataclass(frozen=True)
class LabelTable:
    """K F-labels of N rows, stored once per distinct label text.

    Row ``i`` has the F-labels ``tables[k][codes[i]]`` for k in 0..K-1.

    Attributes:
        codes: int64, shape (N,): which of the U texts is the label of each row.
        tables: K float arrays of shape (U, D2_k); the widths may differ.
        names: K names of the F-labels (the encoders), for reports.
        texts: the U label texts, or empty where they are not known.
        categorical: whether the codes are classes (few, exchangeable) and not texts that happen to repeat.

    Raises:
        EmmsError: codes or tables of the wrong type or shape, or a code outside 0..U-1.
    """

    codes: np.ndarray
    tables: tuple[np.ndarray, ...]
    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    categorical: bool = True

    def __post_init__(self) -> None:
        codes = np.asarray(self.codes)
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise EmmsError(
                f"codes has dtype {codes.dtype} and shape {codes.shape}; LabelTable needs integers of shape (N,)",
                "codes = np.unique(labels, return_inverse=True)[1]",
            )
        object.__setattr__(self, "codes", codes.astype(np.int64, copy=False))
        object.__setattr__(self, "tables", tuple(np.asarray(table) for table in self.tables))
        if not self.tables:
            raise EmmsError("tables is empty; LabelTable needs at least one array of shape (U, D2)")
        texts = {table.shape[0] for table in self.tables if table.ndim == 2}
        if len(texts) != 1 or any(table.ndim != 2 or table.shape[1] == 0 for table in self.tables):
            shapes = [table.shape for table in self.tables]
            raise EmmsError(f"tables has shapes {shapes}; every table must be (U, D2) with the same U")
        if codes.size and (codes.min() < 0 or codes.max() >= self.n_texts):
            raise EmmsError(
                f"codes reach from {codes.min()} to {codes.max()} but tables has {pluralize(self.n_texts, 'row')}",
                "every code must be a row number of the tables",
            )

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_texts(self) -> int:
        return int(self.tables[0].shape[0])

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(int(table.shape[1]) for table in self.tables)

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> LabelTable:
        """The same tables with the codes of some rows only."""
        return LabelTable(self.codes[rows], self.tables, self.names, self.texts, self.categorical)


@dataclass(frozen=True)
class Pair:
    """F-labels j <= k: where the columns that both have stand in [Z_1 | … | Z_K]."""

    j: int
    k: int
    common: int
    left: slice
    right: slice


def label_pairs(widths: Sequence[int]) -> list[Pair]:
    """Every pair of F-labels of these widths, in the order of `Sums.yy`."""
    starts = np.cumsum((0, *widths)).tolist()
    pairs = []
    for j, k in combinations_with_replacement(range(len(widths)), 2):
        common = min(widths[j], widths[k])
        pairs.append(Pair(j, k, common, slice(starts[j], starts[j] + common), slice(starts[k], starts[k] + common)))
    return pairs


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
