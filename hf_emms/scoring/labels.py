"""Label embeddings of rows, and the basis of sums over them: distinct texts, or the columns of the embeddings.

The paper calls the embeddings (N, D2_k) of N label texts by encoder k an F-label. Each method needs only sums over
columns d of products of F-labels j and k. If few distinct texts occur, they follow from sums per text and Gram matrices
of the embeddings. Otherwise the columns are summed up. Narrow F-labels count as padded with zero columns to the widest,
and scaled to the same total variance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations_with_replacement
from typing import ClassVar, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse import csr_array, issparse

from hf_emms.errors import EmmsError
from hf_emms.scoring.linalg import add_cross, as_slice, cross, inverse_deviation, symmetric


def are_classes(n_different: int, rows: int) -> bool:
    """Return whether most labels repeat, as class names do and captions do not."""
    return 2 * n_different <= rows


@dataclass(frozen=True)
class LabelTable:
    """Label embeddings of N rows by K encoders, stored once per distinct label text.

    ``tables[k][codes[i]]`` is the embedding of row i by encoder k.

    Attributes:
        codes: int64, shape (N,): the index of each row's label among the U texts.
        tables: K float arrays of shape (U, D2_k). The widths may differ.
        names: K names of the encoders, for reports.
        texts: The U label texts, or empty if only their embeddings are known.
        categorical: Whether the codes are classes and not texts that happen to repeat.
        dense: Whether the tables contain one row per example, so that each batch has its own tables.

    Raises:
        EmmsError: If codes or tables have the wrong type or shape, or a code is outside 0..U-1.
    """

    codes: np.ndarray
    tables: tuple[np.ndarray, ...]
    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    categorical: bool = True
    dense: bool = False

    def __post_init__(self) -> None:
        codes = np.asarray(self.codes)
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise EmmsError(
                "wrong-type",
                f"codes has dtype {codes.dtype} and shape {codes.shape}; LabelTable needs integers of shape (N,)",
                "codes = np.unique(labels, return_inverse=True)[1]",
            )
        object.__setattr__(self, "codes", np.asarray(codes, np.int64))
        if not isinstance(self.tables, Iterable):
            raise EmmsError(
                "wrong-shape", f"tables is {self.tables!r:.80}; it must be K arrays of shape (U, D2)", "tables=[table]"
            )
        object.__setattr__(self, "tables", tuple(np.asarray(table) for table in self.tables))
        texts = {table.shape[0] for table in self.tables if table.ndim == 2}
        if len(texts) != 1 or any(table.ndim != 2 or table.shape[1] == 0 for table in self.tables):
            shapes = [table.shape for table in self.tables]
            raise EmmsError("wrong-shape", f"tables has shapes {shapes}; every table must be (U, D2) with the same U")
        if codes.size and (codes.min() < 0 or codes.max() >= self.n_texts):
            raise EmmsError(
                "unknown-row",
                f"codes reach from {codes.min()} to {codes.max()} but tables has {self.n_texts:,} rows",
                "every code must be a row number of the tables",
            )

    @classmethod
    def of_rows(cls, blocks: Sequence[np.ndarray]) -> LabelTable:
        """Create a table from K arrays (N, D2_k) with one row per example."""
        return cls(np.arange(len(blocks[0])), tuple(blocks), categorical=False, dense=True)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_texts(self) -> int:
        return int(self.tables[0].shape[0])

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(int(table.shape[1]) for table in self.tables)

    @property
    def embeddings(self) -> tuple[np.ndarray, ...]:
        """The label embeddings of the rows: K arrays (N, D2_k)."""
        return tuple(table[self.codes] for table in self.tables)

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> LabelTable:
        """Select some rows, with the same tables."""
        return replace(self, codes=self.codes[rows])

    def basis(self) -> LabelBasis:
        """Return the cheaper basis of sums: distinct texts, or label columns."""
        by_text = not self.dense and (self.categorical or self.n_texts <= sum(self.widths))
        return TextBasis(self.tables) if by_text else ColumnBasis(self.widths)


class Pair(NamedTuple):
    """Encoders j <= k with the slices of their common columns in [Z_1 | … | Z_K], and within a row of products."""

    j: int
    k: int
    left: slice
    right: slice
    common: slice


class _Basis:
    """The base class of both bases.

    Attributes:
        widths: The K widths D2_k.
        tables: float64 (U, D2_k), the embeddings of the texts. Empty if y contains the embeddings themselves.
        scale: (q,), factors that standardize y.
        columns: K slices of [Z_1 | … | Z_K].
        pairs: Pairs of encoders in the order (0, 0), (0, 1), …, (1, 1), … whose products of columns are summed up.
            For texts, sums per text replace these products.
    """

    by_text: ClassVar[bool]

    def __init__(self, widths: Sequence[int], tables: tuple[np.ndarray, ...], scale: np.ndarray) -> None:
        self.widths = tuple(int(width) for width in widths)
        self.tables = tables
        self.scale = scale
        ends = np.cumsum(self.widths).tolist()
        self.columns = [slice(end - width, end) for end, width in zip(ends, self.widths, strict=True)]
        self._all_pairs = [self._pair(j, k) for j in range(self.k) for k in range(j, self.k)]
        self.pairs = [] if self.by_text else self._all_pairs

    def _pair(self, j: int, k: int) -> Pair:
        common = min(self.widths[j], self.widths[k])
        left, right = (slice(self.columns[i].start, self.columns[i].start + common) for i in (j, k))
        return Pair(j, k, left, right, slice(common))

    @property
    def k(self) -> int:
        return len(self.widths)

    @property
    def d2(self) -> int:
        return max(self.widths)

    @property
    def size(self) -> int:
        """q: the number of texts, or ΣD2_k."""
        return len(self.scale)

    @cached_property
    def level(self) -> np.ndarray:
        """(ΣD2_k,): factors that scale narrow label embeddings to the total variance of the widest."""
        return np.concatenate([np.full(width, np.sqrt(self.d2 / width)) for width in self.widths])

    def row_products(self, rows: np.ndarray) -> np.ndarray:
        """Return Σ_d z_j[r, d]·z_k[r, d], (r, K, K), for standardized y (r, q)."""
        columns = self.expand(rows)
        out = np.empty((len(rows), self.k, self.k), dtype=rows.dtype)
        for pair in self._all_pairs:
            out[:, pair.j, pair.k] = np.vecdot(columns[:, pair.left], columns[:, pair.right])
            out[:, pair.k, pair.j] = out[:, pair.j, pair.k]
        return out

    def expand(self, rows: np.ndarray) -> np.ndarray:
        """Convert standardized y (r, q) to standardized columns of the label embeddings, (r, ΣD2_k)."""
        raise NotImplementedError

    def _scale(
        self, n: float, total: np.ndarray, squares: np.ndarray, origin: np.ndarray, dtype: np.dtype
    ) -> np.ndarray:
        """Return level / standard deviation of each column, (ΣD2_k,), or 0 for constant columns."""
        scale = self.level * inverse_deviation(n, total, squares, origin, dtype)
        rows = "1 row" if n == 1 else f"{int(n):,} rows"
        for k, columns in enumerate(self.columns):
            if not scale[columns].any():
                raise EmmsError(
                    "labels-all-equal",
                    f"label_embeddings[{k}] does not vary over {rows}, so there is nothing to explain",
                    "pass labels with at least two distinct values whose squares do not vanish",
                )
        return scale


class ColumnBasis(_Basis):
    """The basis of all label columns: y is the K label embeddings side by side, [Z_1 | … | Z_K], with q = ΣD2_k."""

    by_text = False

    def __init__(self, widths: Sequence[int], scale: np.ndarray | None = None) -> None:
        super().__init__(widths, (), np.ones(sum(widths)) if scale is None else scale)

    @property
    def y_width(self) -> int:
        """The columns that `read` returns."""
        return self.size

    def check(self, labels: LabelTable) -> None:
        """Raise an `EmmsError` unless labels have the widths or the tables of this basis."""
        if labels.widths != self.widths:
            raise EmmsError(
                "wrong-shape", f"label_embeddings has widths {labels.widths}, but these moments need {self.widths}"
            )

    def joined(self, several: Sequence[LabelTable]) -> LabelTable:
        """Return the labels of all batches as a contiguous copy."""
        rows = [[table[as_slice(labels.codes)] for table in labels.tables] for labels in several]
        return LabelTable.of_rows([np.concatenate(blocks) for blocks in zip(*rows, strict=True)])

    def read(self, labels: LabelTable, chosen: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write the label columns, or the codes, of the chosen rows to `out`, (b, y_width), and return it."""
        rows = as_slice(labels.codes[chosen])
        for table, columns in zip(labels.tables, self.columns, strict=True):
            out[:, columns] = table[rows]
        return out

    def origin(self, rows: np.ndarray) -> np.ndarray:
        """Return the origin (q,) of sums of y, from the result of `read` for some rows."""
        return rows.mean(axis=0, dtype=np.float64)

    def empty_cross(self, d1: int, x: np.dtype, y: np.dtype) -> np.ndarray:
        """Return zeros (D1, q) for `add_cross`, given the dtypes of features and labels."""
        return np.zeros((d1, self.size), np.result_type(x, y))

    def add_block(
        self, rows: np.ndarray, origin: np.ndarray, y: np.ndarray, yy: np.ndarray, scratch: np.ndarray
    ) -> None:
        """Add rows, as `read` returns them, to sums y (q,) and products yy (pairs, D2) about the origin.

        `scratch` has the shape of `rows`; reusing its memory avoids page faults.
        """
        centered = np.subtract(rows, origin, out=scratch)
        y += centered.sum(axis=0)
        for total, pair in zip(yy, self.pairs, strict=True):
            total[pair.common] += np.einsum("nd,nd->d", centered[:, pair.left], centered[:, pair.right])

    def add_cross(self, x: np.ndarray, rows: np.ndarray, xy: np.ndarray, *, beta: float) -> None:
        """Set xy to `beta` (0 or 1) times xy plus XᵀY, for features (n, D1) and rows from `read`."""
        add_cross(xy, x, rows, beta=beta)

    def standardized(self, n: float, y: np.ndarray, yy: np.ndarray, origin: np.ndarray, dtype: np.dtype) -> ColumnBasis:
        """Return the basis that scales y to label embeddings of mean 0 and equal total variance.

        The sums y (q,) and products yy (pairs, D2) over n rows are about the origin (q,). Columns that vary by no more
        than rounding in `dtype` count as constant.
        """
        squares = [total[pair.common] for total, pair in zip(yy, self.pairs, strict=True) if pair.j == pair.k]
        return ColumnBasis(self.widths, self._scale(n, y, np.concatenate(squares), origin, dtype))

    def combine(self, weights: csr_array, labels: LabelTable, dtype: np.dtype) -> np.ndarray:
        """Return weighted sums (r, q) of the rows' scaled y, not centered, by weights (r, N); sparse for texts."""
        out, scale = np.empty((weights.shape[0], self.size), dtype), self.scale.astype(dtype)
        places = labels.codes[weights.indices]
        for table, columns in zip(labels.tables, self.columns, strict=True):
            chosen = csr_array((weights.data, places, weights.indptr), (len(out), len(table)))
            np.multiply(chosen @ table, scale[columns], out=out[:, columns], casting="same_kind")
        return out

    def expand(self, rows: np.ndarray) -> np.ndarray:
        return rows

    def variances(self) -> np.ndarray:
        """Return the variances (ΣD2_k,) of the standardized columns, 0 for constant columns."""
        return self.level**2 * (self.scale > 0)

    def inner(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return Σ_rd left_j[r, d]·right_k[r, d], float64 (K, K), for standardized y (r, q) or results of `combine`."""
        out = np.empty((self.k, self.k))
        for pair in self.pairs:
            out[pair.j, pair.k] = np.vecdot(left[:, pair.left], right[:, pair.right]).sum(dtype=np.float64)
            if left is not right:
                out[pair.k, pair.j] = np.vecdot(left[:, pair.right], right[:, pair.left]).sum(dtype=np.float64)
        return symmetric(out) if left is right else out

    def products(self, n: float, y: np.ndarray, yy: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return Σ_d Σ_rows (z_j − mean_j)(z_k − mean_k) of standardized labels, (K, K), from sums over n rows."""
        out = np.empty((self.k, self.k))
        for total, pair in zip(yy, self.pairs, strict=True):
            left, right = mean[pair.left], mean[pair.right]
            centered = total[pair.common] - y[pair.left] * right + n * left * right - left * y[pair.right]
            product = centered @ (self.scale[pair.left] * self.scale[pair.right])
            out[pair.j, pair.k] = out[pair.k, pair.j] = product
        return out

    def some_columns(self, limit: int) -> tuple[ColumnBasis, np.ndarray, np.ndarray]:
        """Return a basis of at most `limit` evenly spaced columns per encoder, with their positions in y and in yy."""
        common = np.linspace(0, self.d2 - 1, limit).astype(np.int64)
        chosen = [columns.start + common[common < columns.stop - columns.start] for columns in self.columns]
        columns = np.concatenate(chosen)
        return ColumnBasis([len(block) for block in chosen], self.scale[columns]), columns, common


class TextBasis(_Basis):
    """The basis of U distinct texts: y has an indicator per text. It has the same methods as `ColumnBasis`."""

    by_text = True

    def __init__(self, tables: Sequence[np.ndarray]) -> None:
        doubles = tuple(np.asarray(table, dtype=np.float64) for table in tables)
        super().__init__([table.shape[1] for table in doubles], doubles, np.ones(len(doubles[0])))

    @cached_property
    def _grams(self) -> np.ndarray:
        """(K, K, U, U): inner products of the embeddings by encoders j and k."""
        grams = np.empty((self.k, self.k, self.size, self.size))
        for j, k in combinations_with_replacement(range(self.k), 2):
            common = min(self.widths[j], self.widths[k])
            grams[j, k] = cross(self.tables[j][:, :common].T, self.tables[k][:, :common].T)
            grams[k, j] = grams[j, k].T
        return grams

    def _contract(self, matrix: np.ndarray) -> np.ndarray:
        """Return Σ_uv matrix[u, v]·<z_j[u], z_k[v]>, (K, K), for a matrix (U, U)."""
        return np.einsum("uv,jkuv->jk", matrix, self._grams)

    @property
    def y_width(self) -> int:
        return 1

    def check(self, labels: LabelTable) -> None:
        if labels.dense or (labels.n_texts, labels.widths) != (self.size, self.widths):
            raise EmmsError(
                "other-tables", "these moments were made for a LabelTable; pass labels with the same tables"
            )

    def joined(self, several: Sequence[LabelTable]) -> LabelTable:
        return replace(several[0], codes=np.concatenate([labels.codes for labels in several]))

    def read(self, labels: LabelTable, chosen: np.ndarray, out: np.ndarray) -> np.ndarray:
        out[:, 0] = labels.codes[chosen]
        return out

    def origin(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros(self.size)

    def empty_cross(self, d1: int, x: np.dtype, y: np.dtype) -> np.ndarray:
        return np.zeros((self.size, d1), x).T

    def add_block(
        self, rows: np.ndarray, origin: np.ndarray, y: np.ndarray, yy: np.ndarray, scratch: np.ndarray
    ) -> None:
        np.add.at(y, rows[:, 0], 1.0)

    def add_cross(self, x: np.ndarray, rows: np.ndarray, xy: np.ndarray, *, beta: float) -> None:
        indicator = csr_array((np.ones(len(x), x.dtype), (rows[:, 0], np.arange(len(x)))), (self.size, len(x)))
        if not beta:
            xy.fill(0.0)
        yx = xy.T
        yx += indicator @ x

    def standardized(self, n: float, y: np.ndarray, yy: np.ndarray, origin: np.ndarray, dtype: np.dtype) -> TextBasis:
        share = y / n
        means = [share @ table for table in self.tables]
        centered = [table - mean for table, mean in zip(self.tables, means, strict=True)]
        squares = np.concatenate([n * (share @ table**2) for table in centered])
        ends = np.cumsum(self.widths)[:-1]
        scale = self._scale(n, np.zeros_like(squares), squares, np.concatenate(means), dtype)
        return TextBasis([table * block for table, block in zip(centered, np.split(scale, ends), strict=True)])

    def combine(self, weights: csr_array, labels: LabelTable, dtype: np.dtype) -> csr_array:
        return csr_array((weights.data, labels.codes[weights.indices], weights.indptr), (weights.shape[0], self.size))

    def expand(self, rows: np.ndarray) -> np.ndarray:
        return np.hstack([rows @ table for table in self.tables])

    def variances(self) -> np.ndarray:
        varies = np.concatenate([table.any(axis=0) for table in self.tables])
        return self.level**2 * varies

    def inner(self, left: np.ndarray | csr_array, right: np.ndarray | csr_array) -> np.ndarray:
        products = (left.T @ right).toarray() if issparse(left) else cross(left, right)
        return self._contract(products.astype(np.float64))

    def products(self, n: float, y: np.ndarray, yy: np.ndarray, mean: np.ndarray) -> np.ndarray:
        outer = np.outer(y, mean)
        return self._contract(np.diag(y) - outer - outer.T + n * np.outer(mean, mean))


LabelBasis: TypeAlias = ColumnBasis | TextBasis
