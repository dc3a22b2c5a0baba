"""Read data in memory: ``datasets`` objects, tables of pandas, polars and Arrow, columns and rows of Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from hf_emms.errors import EmmsError

_FORMS = (
    "pass columns, {'text': [...], 'label': [...]}, a list of dictionaries, a DataFrame or a datasets.Dataset; "
    "or a Hub id, a preset name or a path as a string"
)
# Height, width and channels.
_IMAGE_DIMENSIONS = 3
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
    try:
        columns = {name: _cells(cells) for name, cells in _columns(value).items()}
        tables = [datasets.Dataset.from_dict({name: cells}) for name, cells in columns.items()]
        dataset = datasets.concatenate_datasets(tables, axis=1)
    except (ValueError, TypeError, OverflowError) as error:  # pyarrow's are of these
        raise EmmsError(
            "malformed-data", f"the {type(value).__name__} cannot be read as a dataset: {error}", _FORMS
        ) from error
    if not dataset.num_rows:
        raise EmmsError("no-rows", "the dataset has no rows", "pass a dataset with rows")
    return dataset


def are_splits(tables: Mapping[str, Any]) -> bool:
    """Return whether a dictionary maps splits to tables, and not names to columns."""
    import datasets

    def is_table(value: Any) -> bool:
        is_dataset = isinstance(value, (datasets.Dataset, datasets.IterableDataset, Mapping))
        return is_dataset or _is_frame(value) or _is_arrow(value)

    return all(map(is_table, tables.values()))


def _is_frame(value: Any) -> bool:
    return hasattr(value, "iloc") and hasattr(value, "columns")


def _is_arrow(value: Any) -> bool:
    """Return whether a value is a table, not a column, that Arrow reads: of polars, DuckDB or Arrow itself."""
    return hasattr(value, "__arrow_c_stream__") and (hasattr(value, "columns") or hasattr(value, "schema"))


def _columns(value: Any) -> Mapping[str, Any]:
    """Return the columns of a table; of a pandas DataFrame including an index with a name."""
    if _is_frame(value):
        if any(name is not None and name not in value.columns for name in value.index.names):
            value = value.reset_index()
        return {str(name): value[name] for name in value.columns}
    if _is_arrow(value):
        import pyarrow as pa

        return pa.table(value).to_pydict()
    if isinstance(value, Mapping):
        return {str(name): cells for name, cells in value.items()}
    if not isinstance(value, (list, tuple)) or not all(isinstance(row, Mapping) for row in value):
        raise TypeError("it has no named columns")
    names = dict.fromkeys(name for row in value for name in row)
    return {str(name): [row.get(name) for row in value] for name in names}


def _cells(column: Any) -> list[Any]:
    """Return the cells of a column of Python, NumPy or a table, with None for missing ones."""
    if isinstance(column, (str, bytes)) or not hasattr(column, "__iter__"):
        raise TypeError(f"{column!r:.60} is not a list of cells")
    if hasattr(column, "detach"):  # a tensor
        column = column.detach().cpu().numpy()
    is_flat = getattr(column, "ndim", 1) == 1 and hasattr(column, "tolist")
    return [_cell(cell) for cell in (column.tolist() if is_flat else column)]


def _cell(value: Any) -> Any:
    if (isinstance(value, float) and value != value) or type(value).__name__ in _MISSING:
        return None
    if getattr(value, "dtype", None) == np.uint8 and value.ndim == _IMAGE_DIMENSIONS:
        from PIL import Image

        return Image.fromarray(value.squeeze())
    return os.fspath(value) if isinstance(value, os.PathLike) else value
