"""Tables whose rows have more cells than names, and the index that pandas makes of the first cells."""

from __future__ import annotations

from pathlib import Path

import datasets
import pandas as pd
import pytest

from tests.helpers.rows import error_of
from tests.helpers.samples import load_sample

N = 24
CLASSES = ["cat", "dog"] * (N // 2)
TEXTS = [f"text number {i}" for i in range(N)]


def csv_file(path: Path, rows: list[str], header: str = "text,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize("streaming", [False, True])
def test_texts_with_unquoted_commas_are_refused_with_the_line(tmp_path: Path, as_folder: bool, streaming: bool) -> None:
    file = csv_file(tmp_path / "s" / "a.csv", [f"hello, number {i},{name}" for i, name in enumerate(CLASSES)])
    dataset = str(file.parent if as_folder else file)
    error = error_of(lambda: load_sample(dataset, streaming=streaming, max_samples=10))
    assert "line 2, 'hello, number 0,cat', has 3 cells and 2 names" in error.message
    assert '"one, two",label' in str(error.hint)


def test_every_file_of_a_folder_is_looked_at(tmp_path: Path) -> None:
    csv_file(tmp_path / "train.csv", [f"{text},{name}" for text, name in zip(TEXTS, CLASSES, strict=True)])
    csv_file(tmp_path / "test.csv", [f"a, {text},{name}" for text, name in zip(TEXTS, CLASSES, strict=True)])
    assert "test.csv has rows of more cells" in error_of(lambda: load_sample(str(tmp_path))).message


def test_a_single_row_with_more_cells_says_its_line_and_how_to_quote(tmp_path: Path) -> None:
    rows = [f"{text}{', again' * (i == 5)},{CLASSES[i]}" for i, text in enumerate(TEXTS)]
    error = error_of(lambda: load_sample(str(csv_file(tmp_path / "a.csv", rows))))
    assert "Expected 2 fields in line 7, saw 3" in error.message
    assert "double quotes" in str(error.hint)


def test_a_separator_at_the_end_of_each_line_is_named(tmp_path: Path) -> None:
    file = csv_file(tmp_path / "a.csv", [f"{text},{name}," for text, name in zip(TEXTS, CLASSES, strict=True)])
    assert "take ',' from the end of each line" in str(error_of(lambda: load_sample(str(file))).hint)


@pytest.mark.parametrize("in_memory", [False, True])
def test_the_index_of_a_saved_table_is_no_text_and_no_label_and_is_said(tmp_path: Path, in_memory: bool) -> None:
    frame = pd.DataFrame({"text": TEXTS, "label": CLASSES}).sample(frac=1, random_state=0)
    frame.to_parquet(tmp_path / "a.parquet")
    sample = load_sample(datasets.Dataset.from_pandas(frame) if in_memory else str(tmp_path / "a.parquet"))
    assert sample.columns == {"text": "text", "label": "label"}
    assert "__index_level_0__ is the index of a saved DataFrame" in sample.notes
    frame.drop(columns="label").to_parquet(tmp_path / "b.parquet")
    assert "looks like a row number" in error_of(lambda: load_sample(str(tmp_path / "b.parquet"))).message
