"""Batches as evaluate keeps them between ``add_batch`` and ``compute``: Arrow streams, on disk or in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Features, List, Value

from hf_emms.errors import EmmsError
from hf_emms.metrics.batch import Batch, check_layout


def alternatives() -> list[Features]:
    """Every form of predictions and references that the metric stores."""
    numbers = [List(Value(dtype)) for dtype in ("float32", "float64")]
    forms = [form for number in numbers for form in (number, List(number))]
    return [
        Features({"predictions": prediction, "references": reference})
        for prediction in numbers
        for reference in (*forms, Value("string"), Value("int64"))
    ]


def features_of(batch: Batch) -> Features:
    """Which of the `alternatives` a batch has."""
    return Features({"predictions": _feature(batch.x), "references": _feature(batch.y)})


def to_arrow(batches: Sequence[Batch], features: Features) -> pa.Table:
    """Batches of one layout as one table of these features."""
    schema = features.arrow_schema
    columns = ([batch.x for batch in batches], [batch.y for batch in batches])
    arrays = [_lists(np.concatenate(parts), kind) for parts, kind in zip(columns, schema.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


@dataclass(frozen=True)
class StoredRows:
    """Rows in files, one a process, or in a table in memory.

    Files are read batch by batch and not mapped: a mapped file counts as memory of the process.
    """

    files: tuple[str, ...]
    table: Any

    def __len__(self) -> int:
        return len(self.table)

    def batches(self) -> Iterator[Batch]:
        layout, seen = None, 0
        for record in self._records():
            if not len(record):
                continue
            batch = Batch(_array(record.column("predictions")), _array(record.column("references")))
            if layout is None:
                layout = batch.layout
            check_layout(batch, layout, seen)
            seen += len(batch)
            yield batch

    def _records(self) -> Iterable[pa.RecordBatch]:
        if not self.files:
            yield from self.table.to_batches()
        for file in self.files:
            with pa.OSFile(file) as source:
                yield from pa.ipc.open_stream(source)


def _feature(array: np.ndarray) -> Any:
    dtype = "string" if array.dtype == object else array.dtype.name
    feature: Any = Value(dtype)
    for _ in range(array.ndim - 1):
        feature = List(feature)
    return feature


def _lists(array: np.ndarray, kind: pa.DataType) -> pa.Array:
    """An array (b, …) as nested lists, without a Python object a number."""
    if array.ndim == 1:
        return pa.array(array, type=kind)
    innermost = kind
    while pa.types.is_list(innermost):
        innermost = innermost.value_type
    flat = pa.array(np.ascontiguousarray(array).reshape(-1).astype(innermost.to_pandas_dtype(), copy=False))
    for width in reversed(array.shape[1:]):
        offsets = np.arange(0, len(flat) + 1, width, dtype=np.int32)
        flat = pa.ListArray.from_arrays(offsets, flat)
    return flat


def _array(column: pa.Array) -> np.ndarray:
    shape = [len(column)]
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    while pa.types.is_list(column.type):
        column = column.flatten()
        shape.append(len(column) // int(np.prod(shape)))
    array = column.to_numpy(zero_copy_only=False)
    if int(np.prod(shape)) != len(array):  # only another process's hf_emms could have written that
        raise EmmsError("stored rows differ in length", "use one version of hf_emms in all processes")
    return array.reshape(shape)
