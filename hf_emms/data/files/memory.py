"""Read data in memory: ``datasets`` objects, tables of pandas, polars and Arrow, columns and rows of Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hf_emms.data.files.split_names import SPLIT_WORDS
from hf_emms.errors import EmmsError

_FORMS = (
    "Pass columns, {'text': [...], 'label': [...]}, a list of dictionaries, a DataFrame or a datasets.Dataset; "
    "or a Hub id, a preset name or a path as a string."
)
# Types of pandas and NumPy for an empty cell, in addition to NaN.
_MISSING = ("NAType", "NaTType")


def as_dataset(value: Any) -> Any:
    """Convert data in memory to a ``datasets`` object; streams are returned unchanged.

    Raises:
        EmmsError: It is not a table, or a column mixes types.
    """
    import datasets

    if isinstance(value, (datasets.Dataset, datasets.IterableDataset)):
        return value
    if hasattr(value, "collect") and hasattr(value, "collect_schema"):  # a LazyFrame of polars
        value = value.collect()
    if _is_frame(value):
        return _of_columns(_columns_of_frame(value))
    if _is_arrow(value):
        return _of_arrow(value)
    if isinstance(value, Mapping):
        return _of_columns({str(name): _cells(cells) for name, cells in value.items()})
    rows = list(value) if isinstance(value, (list, tuple)) else []
    if rows and all(isinstance(row, Mapping) for row in rows):
        names = dict.fromkeys(name for row in rows for name in row)
        return _of_columns({str(name): [_cell(row.get(name)) for row in rows] for name in names})
    if isinstance(value, (list, tuple)) and not rows:
        raise EmmsError(f"The dataset is an empty {type(value).__name__}.", "Pass a dataset with rows.")
    content = f" of {type(rows[0]).__name__}" if rows else ""
    raise EmmsError(f"The dataset is of the type {type(value).__name__}{content}.", _FORMS)


def are_splits(tables: Mapping[str, Any]) -> bool:
    """Return whether the values of a dictionary are tables, not columns."""
    import datasets

    types = (datasets.Dataset, datasets.IterableDataset, Mapping)
    return all(
        isinstance(table, types)
        or _is_frame(table)
        or _is_arrow(table)
        or (str(name).lower() in SPLIT_WORDS and isinstance(table, list) and isinstance((*table, None)[0], Mapping))
        for name, table in tables.items()
    )


def _is_frame(value: Any) -> bool:
    return hasattr(value, "iloc") and hasattr(value, "columns")


def _is_arrow(value: Any) -> bool:
    """Return whether a value is a table, not a column, that Arrow reads: of polars, DuckDB or Arrow itself."""
    return hasattr(value, "__arrow_c_stream__") and (hasattr(value, "columns") or hasattr(value, "schema"))


def _of_arrow(value: Any) -> Any:
    import datasets
    import pyarrow as pa

    try:
        table = pa.table(value)
        for number, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):  # categories; Arrow casts few types of them
                table = table.set_column(number, field.name, [table.column(number).to_pylist()])
        return datasets.Dataset(table)
    except (ValueError, TypeError, NotImplementedError, pa.ArrowException) as error:
        raise EmmsError(f"The {type(value).__name__} cannot be read: {error}", _FORMS) from error


def _columns_of_frame(frame: Any) -> dict[str, list[Any]]:
    """Return the columns of a pandas DataFrame, including an index with a name; images stay images."""
    if any(name is not None and name not in frame.columns for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise EmmsError(f"The DataFrame has columns of the same name: {', '.join(names)}.", "Rename them.")
    return {name: _cells(frame.iloc[:, number]) for number, name in enumerate(names)}


def _of_columns(columns: Mapping[str, list[Any]]) -> Any:
    import datasets

    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise EmmsError(f"The columns have different lengths: {counts}.", "Give each row a cell in every column.")
    if not any(lengths.values()):
        raise EmmsError("The dataset has no rows.", "Pass a dataset with rows.")
    arrays = {}
    for name, cells in columns.items():
        try:
            features = datasets.Features({name: pixels}) if (pixels := _pixels(cells)) is not None else None
            arrays[name] = datasets.Dataset.from_dict({name: cells}, features=features)
        except (ValueError, TypeError, OverflowError) as error:  # pyarrow's are of these
            raise EmmsError(
                f"The column {name!r} cannot be read: {error}",
                f"Give its cells one type, df[{name!r}] = df[{name!r}].astype(str), or remove the column.",
            ) from error
    return datasets.concatenate_datasets(list(arrays.values()), axis=1)


def _pixels(cells: Sequence[Any]) -> Any:
    """Return the type of pixel arrays of equal shape; None for other cells."""
    import datasets

    types = {2: datasets.Array2D, 3: datasets.Array3D}
    shapes = {(getattr(cell, "shape", ()), str(getattr(cell, "dtype", ""))) for cell in cells}
    if len(shapes) != 1:
        return None
    ((shape, dtype),) = shapes
    return types[len(shape)](tuple(shape), dtype) if len(shape) in types else None


def _cells(column: Any) -> list[Any]:
    """Return the cells of a column of Python, NumPy or a table, with None for missing ones."""
    if isinstance(column, (str, bytes)) or not hasattr(column, "__iter__"):
        raise EmmsError(f"A column of the dataset is {column!r:.60}, not a list.", _FORMS)
    if hasattr(column, "detach"):  # a tensor
        column = column.detach().cpu().numpy()
    is_flat = getattr(column, "ndim", 1) == 1 and hasattr(column, "tolist")
    return [_cell(cell) for cell in (column.tolist() if is_flat else column)]


def _cell(value: Any) -> Any:
    if (isinstance(value, float) and value != value) or type(value).__name__ in _MISSING:
        return None
    return os.fspath(value) if isinstance(value, os.PathLike) else value
