"""Looks at every row of a split cheaply, to decide which ones are worth reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hf_emms.data.collect import hash64

_HEAD = 4096
_BATCH = 1_000


def row_keys(rows: Any, column: str, seed: int) -> np.ndarray:
    """A random number per row that depends on the seed and the input's content, not on its place.

    Pictures held as bytes go in by length and first 4 KiB, pictures held as files by the last two parts of their path:
    reading all of a large dataset to draw a few rows of it would take longer than ranking does.

    Args:
        rows: a ``datasets.Dataset``.
        column: the input column.
        seed: any integer.

    Returns:
        uint64, shape (N,).
    """
    salt = str(seed).encode()
    keys: list[int] = []
    for batch in rows.select_columns([column]).with_format("arrow").iter(_BATCH):
        keys += [hash64(salt, *_head(value)) for value in batch.column(column)]
    return np.array(keys, dtype=np.uint64)


def column_values(rows: Any, column: str) -> list[Any]:
    """All values of one small column, as plain Python values."""
    return rows.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()


def iterate(rows: Any, order: np.ndarray, chunk: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields (row number, row) in the given order, read a chunk at a time."""
    for start in range(0, len(order), chunk):
        numbers = order[start : start + chunk].tolist()
        columns = rows[numbers]
        for place, number in enumerate(numbers):
            yield number, {name: values[place] for name, values in columns.items()}


def namer(feature: Any) -> Callable[[Any], str | None]:
    """How raw values of a label column become names; None for a row without a label."""
    names: Sequence[str] | None = getattr(feature, "names", None)

    def name(value: Any) -> str | None:
        if value is None:
            return None
        if names is not None and not isinstance(value, str):
            # −1 is what datasets writes in test splits whose labels are secret.
            return names[value] if 0 <= value < len(names) else None
        return str(value).strip() or None

    return name


def _head(value: Any) -> tuple[bytes, ...]:
    """What identifies an Arrow scalar, without copying more than its head."""
    if not value.is_valid:
        return ()
    if hasattr(value, "as_buffer"):
        buffer = memoryview(value.as_buffer())
        return str(len(buffer)).encode(), bytes(buffer[:_HEAD])
    content = value["bytes"]
    if content.is_valid:
        return _head(content)
    path = value["path"].as_py() or ""
    return tuple(part.encode() for part in PurePosixPath(path.replace("\\", "/")).parts[-2:])
