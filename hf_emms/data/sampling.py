"""Draw the rows of a sample: the first N usable rows, in an order that depends on their content.

The order needs only the first bytes of each input, so a large dataset is not read in full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hf_emms.data.files.limits import WATCH
from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.match import RowSchema
from hf_emms.data.match.columns import value_of
from hf_emms.data.rows import ALLOWED, FEW_SKIPPED, DrawnRows, classes_of, too_many
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.inputs import UnusableError, as_bytes, hash64
from hf_emms.options import SampleOptions
from hf_emms.tasks import use_column
from hf_emms.texts import setting_ref

_BATCH = 1_000
# Number of bytes that identify a content, together with its length.
_HEAD = 4096


def draw(split: OpenSplit, schema: RowSchema, options: SampleOptions) -> DrawnRows:
    """Draw rows until the sample is full."""
    rows = split.select(schema.columns_read)
    keys, row_of, n_empty = scan_inputs(rows, schema, options.seed)
    counts: dict[str, int] = {}
    if schema.task.categorical:
        order, unlabeled, counts = _order_by_class(rows, split, schema, options, keys, n_empty)
    else:
        # Rows with the same key have equal inputs, and stay together.
        order, unlabeled = np.argsort(keys, kind="stable"), np.array([], dtype=np.int64)
    drawn = DrawnRows(schema, options, _are_normalized(rows, schema), n_empty + len(unlabeled))
    drawn.class_counts = counts
    drawn.reasons += [f"{_place(split, int(row))}: no label" for row in unlabeled[:FEW_SKIPPED]]
    index_of = np.arange(len(row_of)) - np.searchsorted(row_of, row_of)
    last = None
    for number, row in zip(order.tolist(), _in_order(rows, row_of[order], schema.task.input.chunk_rows), strict=True):
        # The last input gets all its texts.
        if drawn.is_full and (drawn.one_row_per_label or keys[number] != last):
            break
        last = keys[number]
        drawn.add(row, int(index_of[number]), _place(split, int(row_of[number])))
    drawn.check()
    return drawn


def balanced_order(keys: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return row numbers, int64 (N,), that take one row of each class in turn.

    Args:
        keys: uint64, shape (N,): random numbers that order the rows of a class.
        classes: int64, shape (N,): the class of each row.
    """
    rank, _ = _rank_within_class(keys, classes)
    return np.lexsort((keys, rank))


def proportional_order(keys: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return row numbers, int64 (N,), so that any prefix has about the dataset's proportions of classes."""
    rank, count = _rank_within_class(keys, classes)
    return np.lexsort((keys, (rank + 0.5) / count))


def scan_inputs(rows: Any, schema: RowSchema, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return a random key per input that depends on the seed and the input's content, not on its position.

    Hashes the length and the first 4 KiB of bytes, and the last two parts of a path. Reading all of a dataset to
    draw a few rows would take longer than ranking does.

    Returns:
        The key of each input, uint64 (I,), its row in increasing order, int64 (I,), and the number of rows without.
        input.
    """
    salt = str(seed).encode()
    names = [schema.columns[column.name] for column in schema.task.inputs]
    lists = {schema.columns[column.name] for column in schema.list_columns}
    # Media stay in Arrow, which reads their first bytes without a copy.
    media = {schema.columns[column.name] for column in schema.task.inputs if column.kind.recognized_by_type}
    media -= set(schema.joined)
    columns = list(dict.fromkeys(schema.column_of(name) for joined in names for name in schema.names_of(joined)))
    keys: list[int] = []
    counts: list[int] = []
    for batch in rows.select_columns(columns).with_format("arrow").iter(_BATCH):
        WATCH.get().advanced()
        cells = [batch.column(name) if name in media else batch.column(name).to_pylist() for name in columns]
        for row_cells in zip(*cells, strict=True):
            row = dict(zip(columns, row_cells, strict=True))
            values = [value_of(row, name) for name in names]
            count = min((len(v or ()) for n, v in zip(names, values, strict=True) if n in lists), default=1)
            counts.append(count)
            heads = [None if name in lists else _head(value) for name, value in zip(names, values, strict=True)]
            for index in range(count):
                parts = [_head(v[index]) if h is None else h for h, v in zip(heads, values, strict=True)]
                keys.append(hash64(salt, *(piece for part in parts for piece in part)))
    row_of = np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64))
    return np.array(keys, dtype=np.uint64), row_of, counts.count(0)


def _place(split: OpenSplit, number: int) -> str:
    """Return a description of a row for messages: its number and file."""
    return f"row {number + 1:,}" + (f" of {split.file}" if split.file else "")


def _order_by_class(
    rows: Any, split: OpenSplit, schema: RowSchema, options: SampleOptions, keys: np.ndarray, n_empty: int
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Return the order of rows with a class, the rows without one, and the number of rows per class."""
    classes, counts = _classes(rows, schema)
    unlabeled = np.flatnonzero(classes < 0)
    n_unlabeled = n_empty + len(unlabeled)
    if too_many(n_unlabeled, len(classes)):
        first = f", first {_place(split, int(unlabeled[0]))}" if len(unlabeled) else ""
        raise EmmsError(
            "no-labels",
            f"{n_unlabeled} of {pluralize(len(classes), 'row')} have no label in column "
            f"{schema.label_column!r}{first}, but {ALLOWED}",
            "choose a split with labels ("
            + setting_ref("split", "train")
            + ") or another column ("
            + use_column(schema.task.label.name)
            + ")",
        )
    labeled = np.flatnonzero(classes >= 0)
    ordered = proportional_order if options.sampling == "proportional" else balanced_order
    return labeled[ordered(keys[labeled], classes[labeled])], unlabeled, counts


def _are_normalized(rows: Any, schema: RowSchema) -> bool:
    """Return whether boxes are fractions of their images. Only the complete column shows this."""
    numbers = schema.task.numbers
    if numbers is None or numbers.are_normalized is None:
        return False
    name = schema.label_columns[0]
    column = schema.column_of(name)
    cells = rows.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    return numbers.are_normalized([value_of({column: cell}, name) for cell in cells])


def _rank_within_class(keys: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's rank by key within its class, and the size of its class."""
    by_class = np.lexsort((keys, classes))
    _, start, count = np.unique(classes[by_class], return_index=True, return_counts=True)
    rank = np.empty(len(keys), dtype=np.int64)
    rank[by_class] = np.arange(len(keys)) - np.repeat(start, count)
    size = np.empty(len(keys), dtype=np.int64)
    size[by_class] = np.repeat(count, count)
    return rank, size


def _classes(rows: Any, schema: RowSchema) -> tuple[np.ndarray, dict[str, int]]:
    """Return the class by which each row is drawn, int64 (N,), and the number of rows per class.

    A row is drawn by its rarest class; −1 marks a row without a class.
    """
    columns = list(dict.fromkeys(map(schema.column_of, schema.label_columns)))
    names_of_rows = [
        _classes_or_none(schema, row) for row in rows.select_columns(columns).with_format("arrow")[:].to_pylist()
    ]
    times = Counter(name for names in names_of_rows for name in names)
    code_of = {name: code for code, name in enumerate(sorted(times))}
    rarest = (min(names, key=lambda name: (times[name], name)) if names else None for names in names_of_rows)
    return np.array([-1 if name is None else code_of[name] for name in rarest], dtype=np.int64), dict(times)


def _classes_or_none(schema: RowSchema, row: Mapping[str, Any]) -> list[str]:
    try:
        return classes_of(schema, row)
    except UnusableError:
        return []


def _in_order(rows: Any, order: np.ndarray, chunk: int) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(order), chunk):
        WATCH.get().advanced()
        columns = rows[order[start : start + chunk].tolist()]
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def _head(value: Any) -> tuple[bytes, ...]:
    """Return the first bytes of a cell, which are enough to identify its text, id or medium."""
    if value is None or not getattr(value, "is_valid", True):
        return ()
    if isinstance(value, (str, int, bytes)):
        content = value if isinstance(value, bytes) else as_bytes(str(value))
        return str(len(content)).encode(), content[:_HEAD]
    if isinstance(value, list):
        return tuple(piece for element in value for piece in _head(element))
    if isinstance(value, Mapping):  # also structs of Arrow
        if "bytes" not in value:  # a message of a conversation
            return _head(list(value.values()))
        return _head(value["bytes"]) or _path_head(value["path"])
    if hasattr(value, "as_buffer"):
        buffer = memoryview(value.as_buffer())
        return str(len(buffer)).encode(), bytes(buffer[:_HEAD])
    if hasattr(value, "value") and type(value).__name__ == "ExtensionScalar":  # an array of pixels
        value = value.value
    return _head_of_list(value) if type(value).__name__.endswith("ListScalar") else _head(str(value.as_py()))


def _head_of_list(scalar: Any) -> tuple[bytes, ...]:
    """Return the first bytes that identify a list: of its first medium, or of all numbers."""
    import pyarrow as pa

    values = scalar.values
    while hasattr(values, "flatten") and hasattr(values.type, "value_type"):
        values = values.flatten()
    if pa.types.is_primitive(values.type):
        content = np.asarray(values).tobytes()
        return str(len(content)).encode(), content
    return _head(scalar[0]) if len(scalar) else ()


def _path_head(path: Any) -> tuple[bytes, ...]:
    """Return the last two parts of a path, which identify it in every folder."""
    path = path.as_py() if hasattr(path, "as_py") else path
    return tuple(part.encode() for part in PurePosixPath((path or "").replace("\\", "/")).parts[-2:])
