"""What users pass as predictions and references: checked, and as evaluate stores it between its calls (Arrow)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from datasets import Features, List, Value

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.scoring.arrays import as_matrix, as_numpy, f_labels


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


Kind = Literal["embeddings", "texts", "class ids"]


@dataclass(frozen=True)
class Batch:
    """Rows that belong together.

    Attributes:
        x: features, float32 or float64 (b, D1).
        y: label embeddings (b, D2) or (b, K, D2), class ids int64 (b,), or texts (b,) of Python strings.
    """

    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    @property
    def kind(self) -> Kind:
        if self.y.ndim > 1:
            return "embeddings"
        return "texts" if self.y.dtype == object else "class ids"

    @property
    def blocks(self) -> list[np.ndarray]:
        """Label embeddings as K arrays (b, D2)."""
        return [self.y] if self.y.ndim == 2 else [self.y[:, k] for k in range(self.y.shape[1])]

    @property
    def layout(self) -> tuple[int, Kind, tuple[int, ...]]:
        """What all batches must share: D1, the kind of references and the shape of one."""
        return self.x.shape[1], self.kind, self.y.shape[1:]


class MetricRows(Protocol):
    """Rows in the order in which they were added; they can be gone through more than once."""

    def __len__(self) -> int: ...

    def batches(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class OneBatch:
    """Rows that are in memory at once."""

    batch: Batch

    def __len__(self) -> int:
        return len(self.batch)

    def batches(self) -> Iterator[Batch]:
        yield self.batch


def checked(predictions: Any, references: Any, first_row: int = 0) -> Batch:
    """Checks one batch.

    Args:
        predictions: features (b, D1): array, tensor or lists.
        references: label embeddings (b, D2), (b, K, D2) or (b, D2, K), or one class id or text a row.
        first_row: how many rows came before, for the messages.

    Raises:
        EmmsError: anything else, NaN or Inf included; it says which row.
    """
    where = f"rows {first_row} and following: " if first_row else ""
    if predictions is None or references is None:
        missing = "predictions" if predictions is None else "references"
        raise EmmsError(f"{where}{missing} is missing", "pass both: predictions=features, references=labels")
    try:
        x = as_matrix(_numbers(predictions, "predictions"), "predictions")
        y = _references(references)
        if len(x) != len(y):
            raise EmmsError(
                f"predictions has {pluralize(len(x), 'row')} but references has {len(y)}",
                "pass one reference for each prediction, in the same order",
            )
    except EmmsError as error:
        if not where:
            raise
        raise EmmsError(where + error.message, error.hint) from error
    return Batch(x, y)


def check_layout(batch: Batch, layout: tuple[int, Kind, tuple[int, ...]], first_row: int) -> None:
    """Checks that a batch looks like the rows before it.

    Raises:
        EmmsError: D1, the kind of references, K or D2 changed.
    """
    if batch.layout == layout:
        return
    raise EmmsError(
        f"rows {first_row} and following have {_described(batch.layout)}; the {pluralize(first_row, 'row')} before: "
        f"{_described(layout)}",
        "one computation takes one checkpoint and one set of labels; call compute() before you start another",
    )


def _described(layout: tuple[int, Kind, tuple[int, ...]]) -> str:
    d1, kind, shape = layout
    if kind != "embeddings":
        return f"D1={d1} and {kind}"
    k, d2 = shape if len(shape) == 2 else (1, shape[0])
    return f"D1={d1}, K={k}, D2={d2}"


def _references(value: Any) -> np.ndarray:
    array = _numbers(value, "references", texts_too=True)
    if array.dtype.kind in "US" or array.dtype == object:
        return _texts(array)
    if array.ndim == 1 and array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.ndim == 3 and array.size:
        array = f_labels(array)
        return as_matrix(array.reshape(len(array), -1), "references").reshape(array.shape)
    if array.ndim != 2:
        raise EmmsError(
            f"references has dtype {array.dtype} and shape {array.shape}; it must be (N, D2) or (N, K, D2) floats, "
            "or (N,) class ids or texts",
            "a single number a row is an embedding of width 1: references.reshape(-1, 1)",
        )
    return as_matrix(array, "references")


def _texts(array: np.ndarray) -> np.ndarray:
    if array.ndim != 1:
        raise EmmsError(
            f"references has texts in shape {array.shape}; texts must be (N,): one a row",
            "join or choose: a row has one text, and each encoder makes one F-label of it",
        )
    texts = array.astype(object)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise EmmsError(f"references[{row}] is {_shown(text)}, but other rows are texts", "pass one text a row")
    return texts


def _numbers(value: Any, name: str, *, texts_too: bool = False) -> np.ndarray:
    """An array of numbers (or texts, where they are welcome), or what is wrong with which row."""
    if isinstance(value, (str, bytes)):
        raise EmmsError(f"{name} is the text {_shown(value)}", f"pass one row a sample: {name}=[…]")
    if isinstance(value, Iterable) and not hasattr(value, "__array__"):
        value = [as_numpy(row) if hasattr(row, "detach") else row for row in value]
        # numpy turns [1, "a"] into two texts.
        if texts_too and any(isinstance(row, str) for row in value):
            value = np.fromiter(value, object, count=len(value))
    try:
        array = as_numpy(value)
    except (ValueError, TypeError):  # numpy says neither which row nor what to do
        raise _irregular(value, name) from None
    is_text = array.dtype.kind in "US" or (array.dtype == object and any(isinstance(one, str) for one in array.flat))
    if array.dtype == object and not is_text:
        raise _irregular(value, name)
    if is_text and not texts_too:
        wrong = _irregular(value, name)
        raise EmmsError(
            f"{wrong.message}; predictions are feature rows (N, D1)",
            "pass a checkpoint's hidden states, not its answers; labels go into references",
        )
    return array


def _irregular(rows: Any, name: str) -> EmmsError:
    """Finds the first row that is not like the first."""
    try:
        rows = list(rows)
    except TypeError:
        return EmmsError(f"{name} is {_shown(rows)}", f"pass one row a sample: {name}=[…]")
    expected = _shape(rows[0])
    for row, values in enumerate(rows):
        bad = _not_a_number(values)
        if bad is not None:
            return EmmsError(f"{name}[{row}]{bad}, not a number", "drop or repair that row")
        if _shape(values) is None:
            return EmmsError(f"{name}[{row}] is ragged: its parts differ in length", "every F-label needs one width")
        if _shape(values) != expected:
            return EmmsError(
                f"{name}[{row}] has shape {_shape(values)} but {name}[0] has shape {expected}",
                "every row needs the same length: pool over tokens, or pad",
            )
    return EmmsError(f"{name} holds what is not a number", f"{name} = np.asarray({name}, dtype=np.float32)")


def _shape(values: Any) -> tuple[int, ...] | None:
    try:
        return np.shape(values)
    except ValueError:
        return None


def _not_a_number(values: Any, place: str = "") -> str | None:
    """Where in a row something other than a number is, and what."""
    if isinstance(values, (Sequence, np.ndarray)) and not isinstance(values, (str, bytes)):
        found = (_not_a_number(value, f"{place}[{i}]") for i, value in enumerate(values))
        return next((bad for bad in found if bad is not None), None)
    return None if isinstance(values, (int, float, np.number, np.bool_)) else f"{place} is {_shown(values)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
