"""Tables whose rows have more cells than names, and the index that pandas makes of the first cells."""

from __future__ import annotations

from pathlib import Path

import datasets
import pandas as pd
import pytest

from tests.helpers.rows import COLUMNS, CSV, write
from tests.helpers.samples import load_sample, refused

# A comma in each text, without quotation marks.
RAGGED = CSV.replace("text number", "text, number")


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize("streaming", [False, True])
def test_texts_with_unquoted_commas_are_refused_with_the_line(tmp_path: Path, as_folder: bool, streaming: bool) -> None:
    file = write(tmp_path / "s" / "a.csv", RAGGED.replace("number 0", f"number 0{'0' * 66}"))
    dataset = str(file.parent if as_folder else file)
    error = refused(dataset, streaming=streaming, max_samples=10)
    line = f"line 2, {'text, number 0' + 66 * '0'!r}, has 3 cells and 2 names"
    assert error.message == f"a.csv has rows of more cells than names, so that half of a text would be read: {line}"
    assert error.hint == 'put texts that hold the separator between double quotes, in every line: "one, two",label'


def test_every_file_of_a_folder_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", CSV)
    write(tmp_path / "test.csv", RAGGED)
    assert "test.csv has rows of more cells" in refused(str(tmp_path)).message


@pytest.mark.parametrize(
    ("content", "problem", "remedy"),
    [
        (CSV.replace("number 5,", "number 5, again,"), "Expected 2 fields in line 7, saw 3", "double quotes"),
        (CSV.replace("cat\n", "cat,\n").replace("dog\n", "dog,\n"), "", "take ',' from the end of each line"),
    ],
)
def test_a_row_with_more_cells_and_a_separator_at_the_end_of_each_are_named(
    tmp_path: Path, content: str, problem: str, remedy: str
) -> None:
    error = refused(str(write(tmp_path / "a.csv", content)))
    assert problem in error.message
    assert remedy in str(error.hint)


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_index_of_a_saved_table_is_no_text_and_no_label_and_is_said(tmp_path: Path, in_memory: bool) -> None:
    frame = pd.DataFrame(COLUMNS).sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "a.parquet")
    sample = load_sample(datasets.Dataset.from_pandas(frame) if in_memory else str(tmp_path / "a.parquet"))
    assert sample.columns == {"text": "text", "label": "label"}
    assert "__index_level_0__ is the index of a saved DataFrame" in sample.notes
    frame.drop(columns="label").to_parquet(tmp_path / "b.parquet")
    assert "looks like a row number" in refused(str(tmp_path / "b.parquet")).message
