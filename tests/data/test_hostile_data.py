"""Refuse unreadable folders and files with an error; never skip them silently."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hf_emms.options import Options
from hf_emms.ranking.progress import Progress
from hf_emms.run.plan import make_plan
from tests.helpers.errors import raises_code
from tests.helpers.rows import CSV, class_folders, error_of, texts, write
from tests.helpers.samples import load_sample, reasons, refused

NOBODY = 65534


@contextmanager
def without_rights() -> Iterator[Path]:
    """A folder of a user who is not root, whom no permission would stop."""
    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    folder.chmod(0o777)
    try:
        if user == 0:
            os.seteuid(NOBODY)
        yield folder
    finally:
        os.seteuid(user)
        shutil.rmtree(folder, ignore_errors=True)


# ---- labels that are none --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["id", "row_id", "sampleId", "Unnamed: 0"])
def test_a_column_named_as_a_key_is_never_inferred_as_the_label(tmp_path: Path, name: str) -> None:
    rows = "".join(f"{i * 7 % 30},some text {i}\n" for i in range(30))
    error = refused(str(write(tmp_path / "x.csv", f"{name},text\n{rows}")))
    assert f"{name} (integer)" in error.message
    assert f"label = {name}" not in str(error.hint)


def test_fewer_rows_than_folds_are_refused() -> None:
    few = error_of(lambda: make_plan(Options.of(texts(4, ["a", "b"]), cache=False), Progress()))
    assert "5 folds" in few.message
    assert "folds=4" in str(few.hint)


# ---- folders ---------------------------------------------------------------------------------------------------


def test_a_folder_or_file_without_permission_is_named() -> None:
    with without_rights() as folder:
        class_folders(folder / "set", "apple", "pear")
        file = write(folder / "x.csv", CSV)
        for closed, dataset in ((folder / "set" / "apple", folder / "set"), (file, file)):
            closed.chmod(0)
            error = refused(str(dataset))
            closed.chmod(0o700)
            assert repr(str(closed)) in error.message
            assert "Permission denied" in error.message


def test_brackets_and_line_breaks_in_names_are_read(tmp_path: Path) -> None:
    names = ("b*?", "fi\ng", "fig [ripe]")
    folder = class_folders(tmp_path / "set [v1]", *names)
    assert load_sample(str(folder)).label_texts == ("b*?", "fi g", "fig [ripe]")
    assert refused(str(class_folders(folder, os.fsdecode(b"fi\xe9g")))).hint, "bytes that are not UTF-8"


def test_a_pipe_in_a_folder_is_ignored(tmp_path: Path) -> None:
    os.mkfifo(class_folders(tmp_path, "a", "b") / "a" / "pipe")
    assert len(load_sample(str(tmp_path))) == 8


def test_media_without_labels_say_what_the_folder_contains(tmp_path: Path) -> None:
    class_folders(tmp_path, "images/train", "images/val")
    for i in range(4):
        write(tmp_path / "labels" / f"{i}.txt", "0 0.5 0.5 1 1")
    error = refused(str(tmp_path))
    assert "8 .png, 4 .txt" in error.message
    assert "metadata.csv" in str(error.hint)


# ---- options that do not apply -----------------------------------------------------------------------------------


def test_a_configuration_or_revision_of_local_data_is_refused(tmp_path: Path) -> None:
    file = str(write(tmp_path / "x.csv", CSV))
    for dataset in (file, texts(6, ["a", "b"])):
        error = refused(dataset, config="nosuch")
        assert "nosuch" in error.message
    for dataset in (file, str(tmp_path), "emms-demo/digits"):
        error = refused(f"{dataset}@v1")
        assert error.hint == f"dataset={json.dumps(dataset)}"


# ---- files -----------------------------------------------------------------------------------------------------


def test_files_of_other_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", CSV)
    write(tmp_path / "b.csv", CSV.replace("text,label", "body,kind"))
    error = refused(str(tmp_path))
    assert error.code == "different-columns"
    assert f'dataset="{tmp_path / "a.csv"}" or ' in str(error.hint)


@pytest.mark.parametrize("config", ["3", "confignam: default"])
def test_a_broken_readme_is_an_error(tmp_path: Path, config: str) -> None:
    write(tmp_path / "train.csv", CSV)
    write(tmp_path / "README.md", f"---\nconfigs:\n- {config}\n---\n")
    assert refused(str(tmp_path)).hint


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("as_folder", [False, True])
def test_texts_like_na_are_texts(tmp_path: Path, streaming: bool, as_folder: bool) -> None:
    words = ["NA", "None", "null", "nan", "N/A", "so"]
    file = write(tmp_path / "x.csv", "text,label\n" + "".join(f"{w},{'NA' if w < 'O' else 'None'}\n" for w in words))
    sample = load_sample(str(tmp_path if as_folder else file), streaming=streaming, max_samples=6)
    assert sorted(sample.inputs) == sorted(words)
    assert sample.label_texts == ("NA", "None")


def test_missing_numbers_are_skipped_with_file_row_and_reason(tmp_path: Path) -> None:
    rows = [f"t {i},{'NA' if i == 5 else i / 2}" for i in range(40)]
    sample = load_sample(str(write(tmp_path / "x.csv", "\n".join(["text,score", *rows]))))
    assert len(sample) == 39
    assert reasons(sample) == ("row 6 of x.csv: no label in column 'score'",)


def test_skipped_rows_are_listed_with_their_images(tmp_path: Path) -> None:
    folder = class_folders(tmp_path, "a", "b")
    (folder / "b" / "2.png").write_bytes(b"no picture")
    (reason,) = reasons(load_sample(str(folder)))
    assert reason.startswith(f"row 7, {folder / 'b' / '2.png'}: ")


def test_a_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with without_rights() as folder:
        closed: Any = folder / "closed"
        closed.mkdir(mode=0o500)
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", closed)
        assert str(closed) in refused(str(write(folder / "x.csv", CSV))).message


def test_texts_that_are_not_utf8_are_an_error(tmp_path: Path) -> None:
    rows = [f'{{"text": "word {n} about it", "label": "{"ab"[n % 2]}"}}' for n in range(40)]
    content = "\n".join(rows).encode().replace(b"word 3 ", b"word \xca ")
    (tmp_path / "rows.jsonl").write_bytes(content)
    with raises_code("cannot-read-dataset", "UTF-8"):
        load_sample(str(tmp_path / "rows.jsonl"))
