"""Read data in memory: tables with empty cells, columns, rows, and arrays as images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.helpers.rows import CLASSES, COLUMNS, TEXTS, N, labels_of, pictures, write
from tests.helpers.samples import load_sample, reasons, refused

# ---- tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"note": [None, *TEXTS[1:]]},
        {"note": pd.Series([np.nan, *TEXTS[1:]], dtype=object)},
        {"note": pd.Series(["x", *[None] * 23], dtype="str")},
        {"when": pd.to_datetime(["2020-01-01"] * 23 + [None])},
        {"kind": pd.Categorical([*CLASSES[1:], None])},
        {"size": [1.5, *[np.nan] * 23]},
        {"count": pd.array([1] * 23 + [None], dtype="Int64")},
    ],
)
def test_a_frame_with_an_empty_cell_in_any_column_is_read(more: dict[str, Any]) -> None:
    sample = load_sample(pd.DataFrame({**COLUMNS, **more}))
    assert (len(sample), sample.unused_columns) == (N, tuple(more))


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_rows_with_an_empty_cell_are_skipped(column: str, make: Callable[[Any], Any]) -> None:
    sample = load_sample(make({**COLUMNS, column: [*COLUMNS[column][:-1], None]}))
    assert (len(sample), sample.skipped) == (N - 1, 1)
    assert reasons(sample)[0].startswith("row 24: ")


@pytest.mark.parametrize(
    "make",
    [
        pl.DataFrame,
        lambda columns: pl.DataFrame(columns, schema_overrides={"label": pl.Categorical}),
        lambda columns: datasets.Dataset.from_polars(pl.DataFrame(columns)),
        lambda columns: pd.DataFrame(columns).set_index("text"),
        pa.table,
        dict,
        lambda columns: {name: np.array(cells) for name, cells in columns.items()},
        lambda columns: {name: pl.Series(cells) for name, cells in columns.items()},
        lambda columns: [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)],
        lambda columns: {"train": pd.DataFrame(columns), "test": pd.DataFrame(columns)},
        lambda columns: {name: pa.array(cells) for name, cells in columns.items()},
    ],
)
def test_a_table_is_read_in_every_form(make: Callable[[Any], Any]) -> None:
    assert labels_of(load_sample(make(COLUMNS))) == labels_of(load_sample(datasets.Dataset.from_dict(COLUMNS)))


@pytest.mark.parametrize(
    ("data", "problem", "remedy"),
    [
        (TEXTS, "no named columns", "{'text': [...]"),
        ([], "list cannot be read", "{'text': [...]"),
        ({**COLUMNS, "label": CLASSES[1:]}, "rows must match", "{'text': [...]"),
        ({**COLUMNS, "label": "cat"}, "'cat'", "{'text': [...]"),
        ({"text": [], "label": []}, "no rows", "with rows"),
        (datasets.Dataset.from_dict(COLUMNS).select([]), "no rows", "split="),
        (datasets.Dataset.from_dict({"query": TEXTS, "passage": TEXTS}).select([]), "no rows", "split="),
        (np.zeros((3, 4)), "ndarray", "{'text': [...]"),
        (pd.Series(TEXTS), "Series", "a DataFrame"),
        (pd.DataFrame({**COLUMNS, "x": [1, *["a"] * 23]}), "DataFrame cannot be read", "{'text': [...]"),
    ],
)
def test_values_that_are_not_tables_are_refused_with_a_hint(data: Any, problem: str, remedy: str) -> None:
    error = refused(data)
    assert problem in error.message
    assert remedy in str(error.hint)


def test_image_paths_may_be_objects_or_typed_and_their_order_does_not_matter(tmp_path: Path) -> None:
    tables = []
    for place in ("here", "elsewhere"):
        paths = [write(tmp_path / place / "set" / f"{i}.png", picture) for i, picture in enumerate(pictures(N))]
        assert load_sample(pd.DataFrame({"image": paths, "label": CLASSES})).task.id == "image-classification"
        typed = datasets.Dataset.from_dict({"image": list(map(str, paths)), "label": CLASSES})
        tables.append(typed.cast_column("image", datasets.Image()))
    backwards = tables[0].select(range(N - 1, -1, -1))
    first, *others = (load_sample(rows, max_samples=8) for rows in (tables[0], backwards, tables[1]))
    assert (first.task.id, len(first)) == ("image-classification", 8)
    assert {sample.fingerprint for sample in others} == {first.fingerprint}


def test_an_empty_cell_does_not_change_the_type_of_images() -> None:
    sample = load_sample(pd.DataFrame({"image": [None, *pictures(N)[1:]], "label": CLASSES}))
    assert (sample.task.id, len(sample)) == ("image-classification", N - 1)
