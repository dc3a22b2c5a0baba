"""Which rows are drawn first. A sample of N rows is the first N that can be read in this order.

Reads rows one by one into a sample: checks them, gathers the labels of each input, holds each part once.
Looks at every row of a split cheaply, to decide which ones are worth reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hf_emms.data.columns import column_of, value_of
from hf_emms.data.image_files import image_problem, picture_size
from hf_emms.data.rows import RowSchema, UnusableError
from hf_emms.data.spans import Span
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.options import Options
from hf_emms.tasks import column_flag


def balanced_order(keys: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """One row of every class, then a second of every class, and so on.

    A prefix holds every class equally often as far as its rows reach; the left-over goes evenly to the others.

    Args:
        keys: uint64, shape (N,): random by content; decides within a class.
        classes: int64, shape (N,): the class of each row.

    Returns:
        int64, shape (N,): row numbers.
    """
    rank, _ = _rank_within_class(keys, classes)
    return np.lexsort((keys, rank))


def proportional_order(keys: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Rows such that every prefix holds the classes in the dataset's proportions, to within a row or so.

    Args:
        keys: uint64, shape (N,): random by content; decides within a class.
        classes: int64, shape (N,): the class of each row.

    Returns:
        int64, shape (N,): row numbers.
    """
    rank, count = _rank_within_class(keys, classes)
    return np.lexsort((keys, (rank + 0.5) / count))


def plain_order(keys: np.ndarray) -> np.ndarray:
    """Rows by key alone: rows of the same key (the same input) stay together.

    Args:
        keys: uint64, shape (N,).

    Returns:
        int64, shape (N,): row numbers.
    """
    return np.argsort(keys, kind="stable")


def _rank_within_class(keys: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's place among its class by key, and the size of its class."""
    by_class = np.lexsort((keys, classes))
    _, start, count = np.unique(classes[by_class], return_index=True, return_counts=True)
    rank = np.empty(len(keys), dtype=np.int64)
    rank[by_class] = np.arange(len(keys)) - np.repeat(start, count)
    size = np.empty(len(keys), dtype=np.int64)
    size[by_class] = np.repeat(count, count)
    return rank, size


# Of the rows that are read, and in any case so many: of eight rows a single one would be more.
MAX_SKIPPED = 0.05
FEW_SKIPPED = 2
ALLOWED = f"{FEW_SKIPPED} rows or {MAX_SKIPPED:.0%} may be left out"


def too_many(left_out: int, total: int) -> bool:
    """Whether so many rows are left out that the others cannot stand for all."""
    return left_out > max(FEW_SKIPPED, MAX_SKIPPED * total) or left_out == total > 0


def hash64(*parts: bytes) -> int:
    """A 64-bit hash of byte strings; where one ends and the next begins counts."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def encoded(content: str | bytes) -> bytes:
    """Content as bytes: pictures as they are, texts in UTF-8."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


@dataclass
class Collector:
    """Takes raw rows until the sample is full.

    Attributes:
        layout: how rows are read.
        options: how many rows, and which texts of an input.
        unsized: whether labels are measured without the size of their pictures, as parts of them.
        parts: for each part of the input, hash of content → content (encoded picture or text).
        inputs: hash of an input → hashes of its parts.
        rows: (input, its raw labels), one a row of the sample.
        spans: hash of an input → where its labels stand in `Task.spans_of`, as far as they do.
        seen: items read.
        skipped: items left out.
        example: why the first one was left out.
    """

    layout: RowSchema
    options: Options
    unsized: bool = False
    parts: tuple[dict[int, Any], ...] = field(init=False)
    inputs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    rows: list[tuple[int, list[Any]]] = field(default_factory=list)
    spans: dict[int, list[Span]] = field(default_factory=dict)
    seen: int = 0
    skipped: int = 0
    example: str | None = None
    _row_of: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parts = tuple({} for _ in self.layout.task.inputs)

    @property
    def full(self) -> bool:
        """Whether the sample has all its rows. More texts of its last input may still come."""
        wanted = self.options.max_samples
        return wanted is not None and len(self.rows) >= wanted

    @property
    def separate(self) -> bool:
        """Whether each label makes a row of its own."""
        task = self.layout.task
        single = task.categorical and not self.layout.multi_label
        return single or task.numbers is not None or self.options.references == "all"

    def add(self, row: Mapping[str, Any], place: int) -> None:
        """Takes one item of a dataset row, or counts why not.

        Raises:
            EmmsError: so many were left out that the sample can no longer be trusted.
        """
        self.seen += 1
        try:
            contents = self.layout.parts(row, place)
            hashes = self._checked(contents)
            labels = self._labels(row, place, contents)
            spans = self.layout.spans(row, place, contents)
        except UnusableError as problem:
            self._skip(str(problem))
            return
        number = hashes[0] if len(hashes) == 1 else hash64(*(one.to_bytes(8, "little") for one in hashes))
        if self.full and number not in self._row_of:
            return
        for held, one, content in zip(self.parts, hashes, contents, strict=True):
            held[one] = content
        self.inputs[number] = hashes
        self.spans.setdefault(number, []).extend(spans)
        self._take(number, labels)

    def text_of(self, number: int) -> str:
        """The text of an input that its labels may be spans of."""
        which = [role.name for role in self.layout.task.inputs].index(self.layout.task.spans_of or "")
        return str(self.parts[which][self.inputs[number][which]])

    def finish(self) -> None:
        """Says so when too many of the rows that were read had to be left out, or none was left.

        Raises:
            EmmsError: more than 5 % (and more than two) were left out, or the sample is empty.
        """
        if not self.rows and not self.skipped:
            raise EmmsError("the split has no rows", "--split NAME")
        if too_many(self.skipped, self.seen):
            task = self.layout.task
            flags = ", ".join(map(column_flag, task.roles))
            forms = (
                f", or --box-format {'|'.join(task.numbers.formats)}" if task.numbers and task.numbers.formats else ""
            )
            raise EmmsError(
                f"{self.skipped} of {pluralize(self.seen, 'row')} could not be read, and {ALLOWED}; "
                f"the first one: {self.example}",
                f"repair the data, or name other columns: {flags}{forms}",
            )

    def _skip(self, problem: str) -> None:
        self.skipped += 1
        self.example = self.example or problem
        # Past this point even a sample whose other rows are all good would be refused.
        wanted = self.options.max_samples
        if wanted is not None and too_many(self.skipped, wanted + self.skipped):
            self.finish()

    def _checked(self, contents: tuple[Any, ...]) -> tuple[int, ...]:
        """Hashes of the parts; a picture that is new has to decode."""
        hashes = tuple(hash64(encoded(content)) for content in contents)
        for held, one, content in zip(self.parts, hashes, contents, strict=True):
            if isinstance(content, bytes) and one not in held and (problem := image_problem(content)):
                raise UnusableError(f"a picture cannot be decoded: {problem}")
        return hashes

    def _labels(self, row: Mapping[str, Any], place: int, contents: tuple[Any, ...]) -> list[Any]:
        labels = self.layout.labels(row, place)
        numbers = self.layout.task.numbers
        if numbers is None:
            return labels
        form = self.options.box_format
        measure = numbers.formats[form] if form else numbers.measure
        size = picture_size(contents[0]) if isinstance(contents[0], bytes) and not self.unsized else None
        try:
            return [measure(label, size) for label in labels]
        except (TypeError, ValueError) as problem:
            raise UnusableError(str(problem)) from problem

    def _take(self, number: int, labels: list[Any]) -> None:
        if self.separate:
            for label in labels:
                if not self.full:
                    self._row_of[number] = len(self.rows)
                    self.rows.append((number, [label]))
        elif number in self._row_of and not self.layout.task.categorical:
            self.rows[self._row_of[number]][1].extend(labels)
        elif not self.full:
            self._row_of[number] = len(self.rows)
            self.rows.append((number, labels))


_HEAD = 4096
_BATCH = 1_000


@dataclass(frozen=True)
class Items:
    """The items of a split: an input and its labels each.

    Attributes:
        keys: uint64, shape (I,): random by seed and content.
        rows: int64, shape (I,): the row that holds each item.
        places: int64, shape (I,): which of that row's items it is.
        empty: rows that hold none.
    """

    keys: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    empty: int


def scan_items(rows: Any, layout: RowSchema, seed: int) -> Items:
    """A random number per item that depends on the seed and the input's content, not on its place.

    Pictures held as bytes go in by length and first 4 KiB, pictures held as files by the last two parts of their path:
    reading all of a large dataset to draw a few rows of it would take longer than ranking does.

    Args:
        rows: a ``datasets.Dataset``.
        layout: how its rows are read.
        seed: any integer.
    """
    salt = str(seed).encode()
    names = [layout.columns[role.name] for role in layout.task.inputs]
    spread = {layout.columns[role.name] for role in layout.spread}
    keys: list[int] = []
    counts: list[int] = []
    columns = list(dict.fromkeys(map(column_of, names)))
    for batch in rows.select_columns(columns).with_format("arrow").iter(_BATCH):
        for row in _cheap_rows(batch, columns, layout):
            values = [value_of(row, name) for name in names]
            count = min((len(v or ()) for n, v in zip(names, values, strict=True) if n in spread), default=1)
            counts.append(count)
            heads = [None if name in spread else _head(value) for name, value in zip(names, values, strict=True)]
            for place in range(count):
                parts = [_head(v[place]) if h is None else h for h, v in zip(heads, values, strict=True)]
                keys.append(hash64(salt, *(piece for part in parts for piece in part)))
    items = np.array(counts, dtype=np.int64)
    starts = np.repeat(np.cumsum(items) - items, items)
    return Items(
        np.array(keys, dtype=np.uint64),
        np.repeat(np.arange(len(items)), items),
        np.arange(len(keys)) - starts,
        int((items == 0).sum()),
    )


def column_values(rows: Any, name: str) -> list[Any]:
    """All values of one small column or field, as plain Python values."""
    column = column_of(name)
    values = rows.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    return [value_of({column: value}, name) for value in values]


def iterate(rows: Any, order: np.ndarray, chunk: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields (row number, row) in the given order, read a chunk at a time."""
    for start in range(0, len(order), chunk):
        numbers = order[start : start + chunk].tolist()
        columns = rows[numbers]
        for place, number in enumerate(numbers):
            yield number, {name: values[place] for name, values in columns.items()}


def _cheap_rows(batch: Any, columns: list[str], layout: RowSchema) -> Iterator[dict[str, Any]]:
    """Rows of an Arrow table: texts as Python values, pictures still in Arrow but for those that are fields."""
    heavy = {name for name in columns if layout.kinds[name] in ("image", "images") and name not in layout.joined}
    values = [batch.column(name) if name in heavy else batch.column(name).to_pylist() for name in columns]
    for row in zip(*values, strict=True):
        yield dict(zip(columns, row, strict=True))


def _head(value: Any) -> tuple[bytes, ...]:
    """What identifies a text, an id or a picture, as Arrow scalar or plain, without copying more than its head."""
    if value is None:
        return ()
    if isinstance(value, (str, int, bytes)):
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        return str(len(content)).encode(), content[:_HEAD]
    if isinstance(value, list):  # of the one picture that a row may have
        return _head(value[0]) if value else ()
    if isinstance(value, Mapping):
        return _path_head(value["path"]) if value["bytes"] is None else _head(value["bytes"])
    if not value.is_valid:
        return ()
    if hasattr(value, "as_buffer"):
        buffer = memoryview(value.as_buffer())
        return str(len(buffer)).encode(), bytes(buffer[:_HEAD])
    if type(value).__name__.endswith("ListScalar"):
        return _head(value[0]) if len(value) else ()
    return _head(value["bytes"]) if value["bytes"].is_valid else _path_head(value["path"].as_py())


def _path_head(path: str | None) -> tuple[bytes, ...]:
    return tuple(part.encode() for part in PurePosixPath((path or "").replace("\\", "/")).parts[-2:])
