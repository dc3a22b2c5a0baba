"""Everything that scoring needs to know of N rows, in memory that does not grow with N."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from scipy.sparse import csr_array

from hf_emms.errors import EmmsError
from hf_emms.scoring.arrays import Labels, as_labels, as_matrix, stack_columns
from hf_emms.scoring.folds import assign_folds, group_ids
from hf_emms.scoring.label_table import LabelTable

PRODUCT_ROWS = 8192
FORMAT = 1


@dataclass
class Sums:
    """Per-fold sums over rows x (features minus `origin_x`) and y (labels minus `origin_y`), all float64.

    y is the F-labels side by side (q = ΣD2_k), or, for a label table, the indicator of the row's text (q = U).

    Shape: n (F,), x (F, D1), xx (F, D1, D1), y (F, q), xy (F, D1, q), and yy (F, pairs, max D2_k): the
    per-column products of F-labels j <= k over the columns both have (empty for a label table).
    """

    n: np.ndarray
    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in ("n", "x", "xx", "y", "xy", "yy")}


@dataclass
class Rows:
    """Rows that are not folded into sums yet: x (n, D1), y (n, q) or codes (n,), folds (n,)."""

    x: np.ndarray
    y: np.ndarray
    folds: np.ndarray

    def __len__(self) -> int:
        return len(self.folds)


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
        self._origin_x = np.zeros(self.d1)
        self._origin_y = np.zeros(self.label_size)
        self._waiting: list[Rows] = []

    @classmethod
    def like(cls, labels: Labels, d1: int, *, folds: int = 5, seed: int = 0) -> Moments:
        """Empty moments in the form that fits these labels.

        A label table with few texts (or classes, whose ids the baselines need) is kept as sums per text; one with
        more distinct texts than label columns is cheaper as dense columns.
        """
        if not isinstance(labels, LabelTable):
            return cls(d1, [block.shape[1] for block in labels], folds=folds, seed=seed)
        by_text = labels.categorical or labels.n_texts <= sum(labels.widths)
        return cls(d1, labels.widths, folds=folds, seed=seed, tables=labels.tables if by_text else None)

    @property
    def label_size(self) -> int:
        """q: columns of the label side (ΣD2_k, or the number of texts)."""
        return sum(self.widths) if self.tables is None else len(self.tables[0])

    @property
    def pairs(self) -> list[tuple[int, int]]:
        return list(combinations_with_replacement(range(len(self.widths)), 2))

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
        rows = Rows(x, self._label_rows(labels), assign_folds(ids, self.folds, self.seed))
        self.n += len(x)
        if len(rows) > self.capacity:
            self._fold(rows)
            return
        self._waiting.append(Rows(np.array(x), rows.y, rows.folds))
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
            merged._add_sums(other)
        merged._waiting += other._waiting
        if sum(map(len, merged._waiting)) > merged.capacity:
            merged._flush()
        return merged

    def copy(self) -> Moments:
        twin = Moments(self.d1, self.widths, folds=self.folds, seed=self.seed, tables=self.tables)
        twin.dtype, twin.n = self.dtype, self.n
        twin._origin_x, twin._origin_y = self._origin_x.copy(), self._origin_y.copy()
        twin._waiting = list(self._waiting)
        if self._sums is not None:
            twin._sums = Sums(**{name: array.copy() for name, array in self._sums.arrays().items()})
        return twin

    def save(self, path: str | Path) -> None:
        """Write to one .npz file, atomically."""
        header = {"format": FORMAT, "d1": self.d1, "folds": self.folds, "seed": self.seed, "n": self.n}
        arrays: dict[str, np.ndarray] = {name: np.asarray(value) for name, value in header.items()}
        arrays |= {"widths": np.asarray(self.widths), "zero": np.zeros(0, self.dtype)}
        arrays |= {"origin_x": self._origin_x, "origin_y": self._origin_y}
        arrays |= {f"table_{k}": table for k, table in enumerate(self.tables or ())}
        arrays |= {f"sum_{name}": array for name, array in (self._sums.arrays() if self._sums else {}).items()}
        waiting = self._joined()
        if waiting is not None:
            arrays |= {"rows_x": waiting.x, "rows_y": waiting.y, "rows_folds": waiting.folds}
        target = Path(path)
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        Path(partial).replace(target)

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
        loaded._origin_x, loaded._origin_y = arrays["origin_x"], arrays["origin_y"]
        if "sum_n" in arrays:
            loaded._sums = Sums(**{name: arrays[f"sum_{name}"] for name in ("n", "x", "xx", "y", "xy", "yy")})
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

    @property
    def origin_x(self) -> np.ndarray:
        """What was subtracted from every feature row before the products, shape (D1,)."""
        return self._origin_x

    @property
    def origin_y(self) -> np.ndarray:
        """What was subtracted from every dense label row, shape (q,); zeros for a label table."""
        return self._origin_y

    def _label_rows(self, labels: Labels) -> np.ndarray:
        if self.tables is None:
            blocks = [t[labels.codes] for t in labels.tables] if isinstance(labels, LabelTable) else labels
            found = tuple(block.shape[1] for block in blocks)
            if found != self.widths:
                raise EmmsError(f"label_embeddings have widths {found} but these moments were made for {self.widths}")
            return stack_columns(blocks, np.result_type(*blocks))
        if not isinstance(labels, LabelTable) or (labels.n_texts, labels.widths) != (
            self.label_size,
            self.widths,
        ):
            raise EmmsError("these moments were made for a LabelTable; pass one with the same tables")
        return labels.codes

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

    def _empty_sums(self) -> Sums:
        shape = (self.folds, self.d1)
        pairs = len(self.pairs) if self.tables is None else 0
        return Sums(
            n=np.zeros(self.folds),
            x=np.zeros(shape),
            xx=np.zeros((*shape, self.d1)),
            y=np.zeros((self.folds, self.label_size)),
            xy=np.zeros((*shape, self.label_size)),
            yy=np.zeros((self.folds, pairs, max(self.widths))),
        )

    def _fold(self, rows: Rows) -> None:
        if self._sums is None:
            self._sums = self._empty_sums()
            # Products of centred columns keep their digits; the mean of the first rows is centre enough.
            first = slice(PRODUCT_ROWS)
            self._origin_x = _column_sums(rows.x[first]) / len(rows.x[first])
            if self.tables is None:
                self._origin_y = _column_sums(rows.y[first]) / len(rows.y[first])
        for fold, chosen in self._slices(rows.folds):
            x = _less(rows.x[chosen], self._origin_x)
            if self.tables is None:
                self._add_dense(fold, x, _less(rows.y[chosen], self._origin_y))
            else:
                self._add_by_text(fold, x, rows.y[chosen])

    def _slices(self, folds: np.ndarray) -> Iterator[tuple[int, np.ndarray | slice]]:
        for fold in range(self.folds):
            members = np.flatnonzero(folds == fold)
            for start in range(0, len(members), PRODUCT_ROWS):
                end = min(start + PRODUCT_ROWS, len(members))
                # Where a fold holds every row there is nothing to gather.
                yield fold, slice(start, end) if len(members) == len(folds) else members[start:end]

    def _add_features(self, sums: Sums, fold: int, x: np.ndarray) -> None:
        sums.n[fold] += len(x)
        sums.x[fold] += _column_sums(x)
        sums.xx[fold] += x.T @ x  # numpy sends this to syrk: half the work of a general product

    def _add_dense(self, fold: int, x: np.ndarray, y: np.ndarray) -> None:
        assert self._sums is not None
        self._add_features(self._sums, fold, x)
        self._sums.y[fold] += _column_sums(y)
        self._sums.xy[fold] += x.T @ y
        starts = np.cumsum((0, *self.widths))
        for pair, (j, k) in enumerate(self.pairs):
            common = min(self.widths[j], self.widths[k])
            left, right = (y[:, starts[i] : starts[i] + common] for i in (j, k))
            self._sums.yy[fold, pair, :common] += column_products(left, right)

    def _add_by_text(self, fold: int, x: np.ndarray, codes: np.ndarray) -> None:
        assert self._sums is not None
        self._add_features(self._sums, fold, x)
        self._sums.y[fold] += np.bincount(codes, minlength=self.label_size)
        one = np.ones(len(codes), dtype=x.dtype)
        indicator = csr_array((one, (codes, np.arange(len(codes)))), shape=(self.label_size, len(codes)))
        self._sums.xy[fold] += (indicator @ x).T

    def _add_sums(self, other: Moments) -> None:
        assert other._sums is not None
        if self._sums is None:
            self._sums = self._empty_sums()
            self._origin_x, self._origin_y = other._origin_x.copy(), other._origin_y.copy()
        moved = _moved(other, self._origin_x, self._origin_y)
        for name, array in self._sums.arrays().items():
            array += getattr(moved, name)

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


def _column_sums(rows: np.ndarray) -> np.ndarray:
    return np.ones(len(rows), rows.dtype) @ rows  # a matrix product: several times as fast as sum(axis=0)


def _less(rows: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """The rows − origin in the rows' precision, in place where indexing made a copy already."""
    return np.subtract(rows, origin.astype(rows.dtype), out=None if rows.base is not None else rows)


def column_products(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Σ_n left[n, d]·right[n, d] for every column d, in float64; shape (D,)."""
    out = np.zeros(left.shape[1])
    for start in range(0, len(left), 512):  # short runs keep float32 sums exact enough and in cache
        block = slice(start, start + 512)
        out += np.einsum("nd,nd->d", left[block], right[block])
    return out


def _moved(moments: Moments, origin_x: np.ndarray, origin_y: np.ndarray) -> Sums:
    """The sums of `moments` as they would be about other origins."""
    sums = moments._sums
    assert sums is not None
    shift_x = moments._origin_x - origin_x
    shift_y = moments._origin_y - origin_y
    if not shift_x.any() and not shift_y.any():
        return sums
    n = sums.n[:, None]
    cross = sums.x[:, :, None] * shift_x
    xx = sums.xx + cross + cross.transpose(0, 2, 1) + n[:, :, None] * np.outer(shift_x, shift_x)
    y = sums.y if moments.tables is not None else sums.y + n * shift_y
    xy = sums.xy + shift_x[:, None] * sums.y[:, None, :]
    yy = sums.yy
    if moments.tables is None:
        xy += (sums.x + n * shift_x)[:, :, None] * shift_y
        yy = _moved_label_products(moments, sums, shift_y)
    return Sums(sums.n, sums.x + n * shift_x, xx, y, xy, yy)


def _moved_label_products(moments: Moments, sums: Sums, shift: np.ndarray) -> np.ndarray:
    yy = sums.yy.copy()
    starts = np.cumsum((0, *moments.widths))
    for pair, (j, k) in enumerate(moments.pairs):
        common = min(moments.widths[j], moments.widths[k])
        a, b = (slice(starts[i], starts[i] + common) for i in (j, k))
        yy[:, pair, :common] += sums.y[:, a] * shift[b] + sums.y[:, b] * shift[a]
        yy[:, pair, :common] += sums.n[:, None] * shift[a] * shift[b]
    return yy
