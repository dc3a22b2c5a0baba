"""Looks at every row of a split cheaply, to decide which ones are worth reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hf_emms.data.collect import hash64
from hf_emms.data.kinds import column_of, value_of
from hf_emms.data.unfold import Layout

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


def scan_items(rows: Any, layout: Layout, seed: int) -> Items:
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


def _cheap_rows(batch: Any, columns: list[str], layout: Layout) -> Iterator[dict[str, Any]]:
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
