"""Per-fold sums over rows, and how rows and other sums are added to them.

Everything that scoring needs to know of N rows, in memory that does not grow with N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from hf_emms.atomic_files import atomic_file
from hf_emms.errors import EmmsError
from hf_emms.scoring.arrays import BLOCK_ROWS, Columns, Labels, as_labels, as_matrix
from hf_emms.scoring.folds import assign_folds, group_ids
from hf_emms.scoring.label_basis import LabelTable, label_pairs
from hf_emms.scoring.linalg import steps, symmetric
from hf_emms.scoring.products import ColumnProducts, Products, Rows, TextProducts

# Rows whose products are summed up in the input's precision: few enough for float32.
PRODUCT_ROWS = 8192

# Rows, evenly spaced, whose mean is the origin.
ORIGIN_ROWS = 512


@dataclass
class Sums:
    """Per-fold sums over rows x (features minus `origin_x`) and y (labels minus `origin_y`), all float64.

    xx holds upper triangles: what is below the diagonals counts nowhere.
    Only xy takes the labels as they came: x is centred already, and a centred copy of all labels would cost a pass.

    y is the F-labels side by side (q = ΣD2_k), or, for a label table, the indicator of the row's text (q = U).

    Shape: n (F,), x (F, D1), xx (F, D1, D1), y (F, q), xy (F, D1, q), yy (F, pairs, max D2_k): the per-column
    products of F-labels j <= k over the columns both have (no pairs for a label table); origin_x (D1,), origin_y (q,).
    """

    n: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    origin_x: np.ndarray
    origin_y: np.ndarray

    @classmethod
    def empty(cls, folds: int, d1: int, q: int, widths: Sequence[int], *, by_text: bool) -> Sums:
        pairs = 0 if by_text else len(label_pairs(widths))
        return cls(
            n=np.zeros(folds),
            x=np.zeros((folds, d1)),
            xx=np.zeros((folds, d1, d1)),
            y=np.zeros((folds, q)),
            xy=np.zeros((folds, d1, q)),
            yy=np.zeros((folds, pairs, max(widths))),
            origin_x=np.zeros(d1),
            origin_y=np.zeros(q),
        )

    @property
    def by_text(self) -> bool:
        return self.yy.shape[1] == 0

    @property
    def whole_y(self) -> np.ndarray:
        """(F, q): sums of the labels as they came."""
        return self.y + self.n[:, None] * self.origin_y

    def arrays(self) -> dict[str, np.ndarray]:
        return dict(vars(self))

    def copy(self) -> Sums:
        return Sums(**{name: array.copy() for name, array in self.arrays().items()})

    def complete(self) -> Sums:
        """The same sums with whole symmetric matrices xx."""
        return replace(self, xx=np.stack([symmetric(product) for product in self.xx]))

    def add_rows(self, rows: Rows, widths: Sequence[int]) -> None:
        if not self.n.any():
            # Products of centred columns keep their digits; the mean of some rows is centre enough.
            some = np.linspace(0, len(rows) - 1, min(len(rows), ORIGIN_ROWS)).astype(np.int64)
            self.origin_x = rows.features(some).mean(axis=0, dtype=np.float64)
            if not self.by_text:
                labels = rows.take_labels(some, np.empty((len(some), self.y.shape[1]), rows.y.dtype))
                self.origin_y = labels.mean(axis=0, dtype=np.float64)
        products = self._products(rows, widths)
        for fold in range(len(self.n)):
            members = np.flatnonzero(rows.folds == fold)
            for start in range(0, len(members), PRODUCT_ROWS):
                part = members[start : start + PRODUCT_ROWS]
                products.set_to(part)
                self._add(fold, products)
                self.n[fold] += len(part)

    def _add(self, fold: int, products: Products) -> None:
        pairs = [(getattr(self, name)[fold], getattr(products, name)) for name in ("x", "y", "xy", "yy")]
        pairs += [(self.xx[fold][step], products.xx[step]) for step in steps(products.xx.shape, upper=True)]
        for total, product in pairs:
            if self.n[fold]:
                total += product
            else:
                np.copyto(total, product)  # reads no zeros

    def _products(self, rows: Rows, widths: Sequence[int]) -> Products:
        if self.by_text:
            return TextProducts(rows, self.origin_x, self.y.shape[1])
        return ColumnProducts(rows, self.origin_x, self.origin_y, widths)

    def add_sums(self, other: Sums, widths: Sequence[int]) -> None:
        if not self.n.any():
            self.origin_x, self.origin_y = other.origin_x.copy(), other.origin_y.copy()
        moved = other.about(self.origin_x, self.origin_y, widths)
        for name in ("n", "x", "xx", "y", "xy", "yy"):
            getattr(self, name)[:] += getattr(moved, name)

    def about(self, origin_x: np.ndarray, origin_y: np.ndarray, widths: Sequence[int]) -> Sums:
        """The same sums as they would be about other origins."""
        shift_x, shift_y = self.origin_x - origin_x, self.origin_y - origin_y
        if not shift_x.any() and not shift_y.any():
            return self
        n = self.n[:, None]
        cross = self.x[:, :, None] * shift_x
        xx = self.xx + cross + cross.transpose(0, 2, 1) + n[:, :, None] * np.outer(shift_x, shift_x)
        x = self.x + n * shift_x
        xy = self.xy + shift_x[:, None] * self.whole_y[:, None, :]
        if self.by_text:
            return Sums(self.n, x, xx, self.y, xy, self.yy, origin_x, origin_y)
        yy = self.yy.copy()
        for index, pair in enumerate(label_pairs(widths)):
            a, b = shift_y[pair.left], shift_y[pair.right]
            added = self.y[:, pair.left] * b + self.y[:, pair.right] * a + n * a * b
            yy[:, index, : pair.common] += added
        return Sums(self.n, x, xx, self.y + n * shift_y, xy, yy, origin_x, origin_y)


def column_squares(rows: np.ndarray) -> np.ndarray:
    """Σ_n rows[n, d]² for every column d, in float64; shape (D,)."""
    out = np.zeros(rows.shape[1])
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        out += np.einsum("nd,nd->d", block, block)
    return out


FORMAT = 1

# Matrices of the features' width that held-out scoring works with beside the sums, in the input's precision.
WORKING_COPIES = 8


class Moments:
    """Per-fold sufficient statistics of (features, F-labels): a commutative monoid.

    Rows are folded in and forgotten. Up to `capacity` rows wait in a buffer, so that small batches cost no more
    than large ones, and so that fewer rows than features never pay for a D1 x D1 matrix.

    Args:
        d1: feature width D1.
        widths: the K widths D2_k of the F-labels.
        folds: number of folds F; a row's fold is a hash of its group.
        seed: seed of that hash.
        tables: K arrays (U, D2_k): labels then arrive as a `LabelTable` and are kept as U sums, never as N x D2.

    Raises:
        EmmsError: a size below 1, or tables whose widths differ from `widths`.

    Example:
        >>> import numpy as np
        >>> moments = Moments(d1=4, widths=[3])
        >>> for start in (0, 50):
        ...     rows = np.random.default_rng(start).normal(size=(50, 7))
        ...     moments.update(rows[:, :4], rows[:, 4:], groups=range(start, start + 50))
        >>> moments.n
        100
    """

    def __init__(
        self,
        d1: int,
        widths: Sequence[int],
        *,
        folds: int = 5,
        seed: int = 0,
        tables: Sequence[np.ndarray] | None = None,
    ) -> None:
        if d1 < 1 or folds < 1 or not widths or min(widths) < 1:
            raise EmmsError(f"d1={d1}, widths={list(widths)}, folds={folds}: every size must be at least 1")
        self.d1 = int(d1)
        self.widths = tuple(int(width) for width in widths)
        self.folds = int(folds)
        self.seed = int(seed)
        self.tables = None if tables is None else tuple(np.asarray(table, dtype=np.float64) for table in tables)
        if self.tables is not None and tuple(table.shape[1] for table in self.tables) != self.widths:
            raise EmmsError(f"tables have widths {[t.shape[1] for t in self.tables]} but widths={self.widths}")
        self.dtype = np.dtype(np.float32)
        self.n = 0
        self._sums: Sums | None = None
        self._waiting: list[Rows] = []

    @classmethod
    def like(cls, labels: Labels, d1: int, *, folds: int = 5, seed: int = 0) -> Moments:
        """Empty moments in the form that fits these labels.

        A label table with few texts (or classes, whose ids the baselines need) is kept as sums per text; one with
        more distinct texts than label columns is cheaper as dense columns.
        """
        if not isinstance(labels, LabelTable):
            return cls(d1, [block.shape[1] for block in labels], folds=folds, seed=seed)
        tables = labels.tables if kept_by_text(labels) else None
        return cls(d1, labels.widths, folds=folds, seed=seed, tables=tables)

    @property
    def label_size(self) -> int:
        """q: columns of the label side (ΣD2_k, or the number of texts)."""
        return sum(self.widths) if self.tables is None else len(self.tables[0])

    @property
    def capacity(self) -> int:
        """Rows that may wait before they are folded into sums."""
        return max(4096, 2 * self.d1)

    def update(self, features: Any, labels: Any, groups: Any = None) -> None:
        """Fold in a batch of rows.

        Args:
            features: (b, D1), numpy or torch.
            labels: (b, D2), (b, D2, K), a list of (b, D2_k) or a `LabelTable` with the tables given at the start.
            groups: (b,) integers, strings or bytes; what a row shares with its near-copies. None: every row is a
                group of its own, numbered in the order of arrival (pass ids when shards are to be merged).

        Raises:
            EmmsError: bad values, or shapes other than those given at the start.
        """
        x = as_matrix(features, "features")
        if x.shape[1] != self.d1:
            raise EmmsError(f"features has shape {x.shape} but these moments were made for d1={self.d1}")
        ids = group_ids(range(self.n, self.n + len(x)) if groups is None else groups, len(x))
        self.update_checked(x, as_labels(labels, len(x)), ids)

    def update_checked(self, x: np.ndarray, labels: Labels, ids: np.ndarray) -> None:
        """`update` for arrays that `as_matrix`, `as_labels` and `group_ids` have been through."""
        self.dtype = np.result_type(self.dtype, x.dtype)
        folds = assign_folds(ids, self.folds, self.seed)
        order = np.argsort(folds, kind="stable")
        if len(x) > self.capacity:
            rows = Rows(np.ascontiguousarray(x), self._label_source(labels, order), folds[order], order)
            self.n += len(x)
            self._fold(rows)
            return
        # Copies: the caller may read the next batch into the same buffers.
        self._waiting.append(Rows(x[order], self.label_rows(labels, order), folds[order]))
        self.n += len(x)
        if sum(map(len, self._waiting)) > self.capacity:
            self._flush()

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of rows, as a new object.

        Raises:
            EmmsError: the two were made for other sizes, folds, seeds or label tables.
        """
        self._check_mergeable(other)
        merged = self.copy()
        merged.dtype = np.result_type(self.dtype, other.dtype)
        merged.n += other.n
        if other._sums is not None:
            merged._sums = merged._sums or merged._empty_sums()
            merged._sums.add_sums(other._sums, self.widths)
        merged._waiting += other._waiting
        if sum(map(len, merged._waiting)) > merged.capacity:
            merged._flush()
        return merged

    def copy(self) -> Moments:
        twin = Moments(self.d1, self.widths, folds=self.folds, seed=self.seed, tables=self.tables)
        twin.dtype, twin.n = self.dtype, self.n
        twin._waiting = list(self._waiting)
        twin._sums = self._sums and self._sums.copy()
        return twin

    def save(self, path: str | Path) -> None:
        """Write to one .npz file, atomically."""
        header = {"format": FORMAT, "d1": self.d1, "folds": self.folds, "seed": self.seed, "n": self.n}
        arrays: dict[str, np.ndarray] = {name: np.asarray(value) for name, value in header.items()}
        arrays |= {"widths": np.asarray(self.widths), "zero": np.zeros(0, self.dtype)}
        arrays |= {f"table_{k}": table for k, table in enumerate(self.tables or ())}
        sums = self._sums.complete().arrays() if self._sums else {}
        arrays |= {f"sum_{name}": array for name, array in sums.items()}
        waiting = self._joined()
        if waiting is not None:
            arrays |= {"rows_x": waiting.x, "rows_y": waiting.labels(), "rows_folds": waiting.folds}
        with atomic_file(Path(path)) as file, file.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Moments:
        """Read what `save` wrote.

        Raises:
            EmmsError: not such a file, or written by another version.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            if int(arrays["format"]) != FORMAT:
                raise EmmsError(f"{path} has moments format {int(arrays['format'])}; this version reads {FORMAT}")
            return cls._from_arrays(arrays)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise EmmsError(f"{path} is not a moments file: {error}", "write one with Moments.save(path)") from None

    @classmethod
    def _from_arrays(cls, arrays: dict[str, np.ndarray]) -> Moments:
        tables = [arrays[f"table_{k}"] for k in range(len(arrays["widths"]))] if "table_0" in arrays else None
        widths = arrays["widths"].tolist()
        loaded = cls(int(arrays["d1"]), widths, folds=int(arrays["folds"]), seed=int(arrays["seed"]), tables=tables)
        loaded.n, loaded.dtype = int(arrays["n"]), arrays["zero"].dtype
        if "sum_n" in arrays:
            loaded._sums = Sums(**{name[4:]: array for name, array in arrays.items() if name.startswith("sum_")})
        if "rows_x" in arrays:
            loaded._waiting = [Rows(arrays["rows_x"], arrays["rows_y"], arrays["rows_folds"])]
        return loaded

    def folded(self) -> Sums:
        """The sums over all rows so far."""
        self._flush()
        return self._sums if self._sums is not None else self._empty_sums()

    def waiting_rows(self) -> Rows | None:
        """All rows so far while none has been folded into sums, else None."""
        return None if self._sums is not None else self._joined()

    def with_features(self, x: np.ndarray) -> Moments:
        """The same waiting rows, labels and folds with other features, shape (n, D)."""
        rows = self.waiting_rows()
        if rows is None or len(x) != len(rows):
            raise EmmsError(f"{len(x)} feature rows cannot stand in for {self.n} rows that may be folded already")
        twin = Moments(x.shape[1], self.widths, folds=self.folds, seed=self.seed, tables=self.tables)
        twin.n, twin.dtype = self.n, self.dtype
        twin._waiting = [Rows(x, rows.y, rows.folds)]
        return twin

    def label_rows(self, labels: Labels, order: np.ndarray) -> np.ndarray:
        """The label side of rows in an order, shape (n, q), or (n,) codes where labels are kept by text.

        Raises:
            EmmsError: labels other than these moments were made for.
        """
        y = self._label_source(labels, order)
        return y.joined() if isinstance(y, Columns) else y

    def _label_source(self, labels: Labels, order: np.ndarray) -> np.ndarray | Columns:
        """`label_rows`, with columns that are not put together yet."""
        if self.tables is None:
            if isinstance(labels, LabelTable):
                columns = Columns(labels.tables, labels.codes[order])
            else:
                columns = Columns(labels, order)
            found = tuple(block.shape[1] for block in columns.blocks)
            if found != self.widths:
                raise EmmsError(f"label_embeddings have widths {found} but these moments were made for {self.widths}")
            return columns
        if not isinstance(labels, LabelTable) or (labels.n_texts, labels.widths) != (
            self.label_size,
            self.widths,
        ):
            raise EmmsError("these moments were made for a LabelTable; pass one with the same tables")
        return labels.codes[order]

    def _joined(self) -> Rows | None:
        if not self._waiting:
            return None
        if len(self._waiting) > 1:
            columns = zip(*((rows.x, rows.y, rows.folds) for rows in self._waiting), strict=True)
            self._waiting = [Rows(*map(np.concatenate, columns))]
        return self._waiting[0]

    def _flush(self) -> None:
        rows = self._joined()
        if rows is not None:
            self._waiting = []
            self._fold(rows)

    def _fold(self, rows: Rows) -> None:
        if self._sums is None:
            self._sums = self._empty_sums()
        self._sums.add_rows(rows, self.widths)

    def _empty_sums(self) -> Sums:
        by_text = self.tables is not None
        return Sums.empty(self.folds, self.d1, self.label_size, self.widths, by_text=by_text)

    def _check_mergeable(self, other: Moments) -> None:
        for name in ("d1", "widths", "folds", "seed"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise EmmsError(f"cannot merge moments with {name}={mine} and {name}={theirs}")
        same = (self.tables is None) == (other.tables is None)
        if not same or any(
            not np.array_equal(a, b) for a, b in zip(self.tables or (), other.tables or (), strict=True)
        ):
            raise EmmsError("cannot merge moments made for different label tables")


def kept_by_text(labels: LabelTable) -> bool:
    """Whether `Moments.like` keeps sums per text and not per label column."""
    return labels.categorical or labels.n_texts <= sum(labels.widths)


def needed_bytes(rows: int, d1: int, label_size: int, folds: int) -> int:
    """About how much memory held-out scoring of float32 features takes beside them.

    Args:
        rows: N.
        d1: feature width D1.
        label_size: columns of the label side, or the number of texts.
        folds: number of folds.

    Returns:
        Bytes of the float64 sums of every fold and of the working copies; with fewer rows than features these are
        as wide as there are rows.
    """
    width = min(rows, d1)
    return 8 * folds * width * (width + label_size) + 4 * WORKING_COPIES * width**2
