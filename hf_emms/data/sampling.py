"""Which rows are drawn: a sample of N rows is the first N that can be read, in an order that depends on their content.

Every row of a split is looked at cheaply, to decide which ones are worth reading; of a stream, its first rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hf_emms.data.columns import RowSchema, column_of
from hf_emms.data.reading import OpenSplit
from hf_emms.data.rows import ALLOWED, FEW_SKIPPED, MAX_SKIPPED, DrawnRows, read_input, read_labels, too_many, value_of
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.inputs import IMAGE, UnusableError, as_bytes, hash64
from hf_emms.options import Options

_BATCH = 1_000
# Bytes by which a content is identified, with its length.
_HEAD = 4096
# A stream is shuffled within a buffer that is read before the first row comes out, and held in memory: smaller for
# images, and for small samples.
_BUFFER_PER_ROW = 20
# How many rows are read for one that is wanted, before a class that did not come is given up.
_PATIENCE = 10
# A row of ten questions on one image counts as no more than these: a sample should not be of few images.
_MOST_OF_A_ROW = 4


def draw(source: OpenSplit, schema: RowSchema, options: Options) -> DrawnRows:
    """Reads rows in their order of drawing until the sample has all it wants.

    Args:
        source: where the rows are; how a stream was read is added to its notes.
        schema: how they are read.
        options: how many rows, and how they are drawn.

    Raises:
        EmmsError: more than 5 % of the rows (and more than two) lack a label or cannot be read, or there are none.
    """
    rows = source.select(schema.needed)
    if source.streaming:
        rows = _start_of_stream(rows, source, schema, options)
    # A stream is shuffled, so that the number of a row in it says nothing.
    of_file = f" of {source.file}" if source.file else ""
    places = (lambda number: "") if source.streaming else (lambda number: f"row {number + 1:,}{of_file}")
    without: np.ndarray = np.array([], dtype=np.int64)
    keys, row_of, unlabelled = scan_items(rows, schema, options.seed)
    if schema.task.categorical:
        classes = _classes(rows, schema)
        labelled = classes >= 0
        without = np.flatnonzero(~labelled)
        unlabelled += len(without)
        if too_many(unlabelled, len(classes)):
            of_rows = f"{unlabelled} of {pluralize(len(classes), 'row')}"
            of_rows += f", the first is {places(int(without[0]))}" if len(without) and places(0) else ""
            raise EmmsError(
                f"no label in column {schema.label_column!r} (empty or −1): {of_rows}, and {ALLOWED}",
                "take a split with labels (--split train) or another column (--label-column)",
            )
        ordered = proportional_order if options.sampling == "proportional" else balanced_order
        order = np.flatnonzero(labelled)[ordered(keys[labelled], classes[labelled])]
    else:
        # Items of the same key have the same input, and stay together.
        order = np.argsort(keys, kind="stable")
    numbers = schema.task.numbers
    # Whether boxes are parts of their images can be seen from the whole column, not from one row.
    relative = bool(
        numbers and numbers.are_normalized and numbers.are_normalized(_values(rows, schema.label_columns[0]))
    )
    drawn, last = DrawnRows(schema, options, relative, unlabelled), None
    drawn.reasons += [f"{places(int(row))}: no label" for row in without[:FEW_SKIPPED] if not source.streaming]
    index_of = np.arange(len(row_of)) - np.searchsorted(row_of, row_of)
    for item, row in zip(order.tolist(), _in_order(rows, row_of[order], schema.task.input.chunk_rows), strict=True):
        # All texts of the last input count.
        if drawn.full and (drawn.separate or keys[item] != last):
            break
        last = keys[item]
        drawn.add(row, int(index_of[item]), places(int(row_of[item])))
    drawn.check()
    return drawn


def balanced_order(keys: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """One row of every class, then a second of every class, and so on.

    A prefix holds every class equally often as far as its rows reach; what is left over is shared by the others.

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

    Arguments and result are those of `balanced_order`.
    """
    rank, count = _rank_within_class(keys, classes)
    return np.lexsort((keys, (rank + 0.5) / count))


def scan_items(rows: Any, schema: RowSchema, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A random number per item that depends on the seed and the input's content, not on where it is.

    Images held as bytes are hashed by length and first 4 KiB, images held as files by the last two parts of their
    path: reading all of a large dataset to draw a few rows of it would take longer than ranking does.

    Args:
        rows: a ``datasets.Dataset``.
        schema: how its rows are read.
        seed: any integer.

    Returns:
        For each of the I items its key, uint64 (I,), and its row, int64 (I,), increasing; how many rows hold no item.
    """
    salt = str(seed).encode()
    names = [schema.columns[role.name] for role in schema.task.inputs]
    lists = {schema.columns[role.name] for role in schema.list_roles}
    keys: list[int] = []
    counts: list[int] = []
    columns = list(dict.fromkeys(map(column_of, names)))
    for batch in rows.select_columns(columns).with_format("arrow").iter(_BATCH):
        for row in _cheap_rows(batch, columns, schema):
            values = [value_of(row, name) for name in names]
            count = min((len(v or ()) for n, v in zip(names, values, strict=True) if n in lists), default=1)
            counts.append(count)
            heads = [None if name in lists else _head(value) for name, value in zip(names, values, strict=True)]
            for index in range(count):
                parts = [_head(v[index]) if h is None else h for h, v in zip(heads, values, strict=True)]
                keys.append(hash64(salt, *(piece for part in parts for piece in part)))
    row_of = np.repeat(np.arange(len(counts)), np.array(counts, dtype=np.int64))
    return np.array(keys, dtype=np.uint64), row_of, counts.count(0)


def _rank_within_class(keys: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each row's rank among its class by key, and the size of its class."""
    by_class = np.lexsort((keys, classes))
    _, start, count = np.unique(classes[by_class], return_index=True, return_counts=True)
    rank = np.empty(len(keys), dtype=np.int64)
    rank[by_class] = np.arange(len(keys)) - np.repeat(start, count)
    size = np.empty(len(keys), dtype=np.int64)
    size[by_class] = np.repeat(count, count)
    return rank, size


def _classes(rows: Any, schema: RowSchema) -> np.ndarray:
    """The class that each row is drawn by, int64 (N,); −1 without one. Of several classes it is the rarest."""
    values = _values(rows, schema.label_columns[0])
    of_rows = [
        [name for one in several if (name := schema.label_name(one)) is not None]
        for several in (value or [] if schema.multi_label else [value] for value in values)
    ]
    times = Counter(name for names in of_rows for name in names)
    code_of = {name: code for code, name in enumerate(sorted(times))}
    rarest = (min(names, key=lambda name: (times[name], name)) if names else None for names in of_rows)
    return np.array([-1 if name is None else code_of[name] for name in rarest], dtype=np.int64)


def _values(rows: Any, name: str) -> list[Any]:
    """All values of one small column or field, as plain Python values."""
    column = column_of(name)
    values = rows.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    return [value_of({column: value}, name) for value in values]


def _in_order(rows: Any, order: np.ndarray, chunk: int) -> Iterator[Mapping[str, Any]]:
    """Rows in the given order, read a chunk at a time."""
    for start in range(0, len(order), chunk):
        columns = rows[order[start : start + chunk].tolist()]
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def _cheap_rows(batch: Any, columns: list[str], schema: RowSchema) -> Iterator[dict[str, Any]]:
    """Rows of an Arrow table: texts as Python values, images still in Arrow but for those that are fields."""
    heavy = {name for name in columns if schema.types[name] in IMAGE.column_types and name not in schema.joined}
    values = [batch.column(name) if name in heavy else batch.column(name).to_pylist() for name in columns]
    for row in zip(*values, strict=True):
        yield dict(zip(columns, row, strict=True))


def _head(value: Any) -> tuple[bytes, ...]:
    """What identifies a text, an id or an image, as Arrow scalar or plain, without copying more than its head."""
    if value is None:
        return ()
    if isinstance(value, (str, int, bytes)):
        content = value if isinstance(value, bytes) else as_bytes(str(value))
        return str(len(content)).encode(), content[:_HEAD]
    if isinstance(value, list):  # of the one image that a row may have
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


# ---- streams ---------------------------------------------------------------------------------------------------------


def _start_of_stream(rows: Any, source: OpenSplit, schema: RowSchema, options: Options) -> Any:
    """Reads enough of a stream into memory to draw a sample from, as a ``datasets.Dataset``.

    Balanced sampling reads on for classes that have not come yet.
    """
    wanted = options.max_samples
    if wanted is None:
        raise EmmsError("a stream is read up to a number of rows", "add --max-samples 1000, or leave --stream out")
    import datasets

    features, task = rows.features, schema.task
    buffer = min(task.input.buffer_rows, _BUFFER_PER_ROW * wanted)
    margin = wanted + int(2 * MAX_SKIPPED * wanted) + 1
    known: set[int] = set()
    with source.translate_errors():
        shuffled = rows.shuffle(seed=options.seed, buffer_size=buffer)
        if not task.categorical:
            taken, n_read = _first(shuffled, margin, lambda row: _n_rows(row, schema, options, known))
        elif options.sampling == "proportional" or schema.multi_label:
            taken, n_read = _first(shuffled, margin, lambda row: 1)
        else:
            taken, n_read = _evenly(shuffled, schema, wanted)
        table = datasets.Dataset.from_list([dict(row) for row in taken], features=features)
        for column, images in source.joined.items():
            images.fetch(table[column])
    n_rows = pluralize(n_read, "row")
    source.notes.append(f"streamed: drawn from the first {n_rows} of a shuffled stream, not from the whole split")
    return table


def _first(
    rows: Iterable[Mapping[str, Any]], wanted: int, count: Callable[[Mapping[str, Any]], int]
) -> tuple[list[Mapping[str, Any]], int]:
    """Rows until their counts add up to what is wanted, and how many were read."""
    taken: list[Mapping[str, Any]] = []
    total = 0
    for row in rows:
        taken.append(row)
        total += count(row)
        if total >= wanted:
            break
    return taken, len(taken)


def _n_rows(row: Mapping[str, Any], schema: RowSchema, options: Options, known: set[int]) -> int:
    """How many rows of the sample one row of the dataset makes; `known` holds the hashes of inputs so far."""
    if schema.list_roles:
        return min(len(value_of(row, schema.columns[schema.list_roles[0].name]) or ()), _MOST_OF_A_ROW)
    try:
        contents, labels = read_input(schema, row, 0), read_labels(schema, row, 0)
    except UnusableError:
        return 0
    if options.references == "all":
        return len(labels)
    before = len(known)
    known.add(hash64(*map(as_bytes, contents)))
    return len(known) - before


def _evenly(rows: Iterable[Mapping[str, Any]], schema: RowSchema, wanted: int) -> tuple[list[Mapping[str, Any]], int]:
    """Rows until each class has its share or patience runs out, some beyond their share, and how many were read."""
    n_classes = len(schema.class_names) if schema.class_names else None
    share = -(-wanted // n_classes) if n_classes else max(1, wanted // 2)
    enough = share * n_classes if n_classes else wanted
    taken: list[Mapping[str, Any]] = []
    reserve: list[Mapping[str, Any]] = []
    unlabelled: list[Mapping[str, Any]] = []
    counts: Counter[str] = Counter()
    n_read = 0
    for n_read, row in enumerate(rows, start=1):
        label = schema.label_name(value_of(row, schema.label_columns[0]))
        if label is None:
            unlabelled.append(row)
        elif counts[label] < share:
            counts[label] += 1
            taken.append(row)
        elif len(reserve) < wanted:
            reserve.append(row)
        if len(taken) >= enough or n_read >= _PATIENCE * wanted:
            break
    # A few are left out; where there are many, whoever draws from these rows has to see them.
    return taken + reserve + unlabelled * too_many(len(unlabelled), n_read), n_read
