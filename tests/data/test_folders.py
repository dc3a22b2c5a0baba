"""Read folders: class folders, splits by name, and tables next to media."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_emms.data import Sample
from hf_emms.errors import Note
from tests.helpers.rows import CLASSES, CSV, N, class_folders, labels_of, png, write, write_text_file
from tests.helpers.samples import load_sample, refused


def note(sample: Sample, code: str) -> str | None:
    return next((note.text for note in sample.notes if isinstance(note, Note) and note.code == code), None)


@pytest.mark.parametrize(
    ("files", "folders", "classes"),
    [
        ("testing_list.txt validation_list.txt", "up down", "down up"),  # Speech Commands
        ("images.txt train_test_split.txt", "images/a images/b", "a b"),  # CUB-200
        (
            "meta/train.json meta/test.json meta/train.txt",
            "images/apple_pie images/ramen",
            "apple pie ramen",
        ),  # Food-101
        ("train.csv", "images/a images/b", "a b"),
        ("", "train bus", "bus train"),
        ("", "train/train train/bus test/train test/bus", "bus train"),
        ("", "Training/a Training/b Testing/a Testing/b", "a b"),
    ],
)
def test_class_folders_of_media_win_over_files_beside_them(
    tmp_path: Path, files: str, folders: str, classes: str
) -> None:
    class_folders(tmp_path, *folders.split())
    for name in files.split():
        write(tmp_path / name, CSV)
    sample = load_sample(str(tmp_path))
    assert (sample.split, " ".join(sample.label_texts), len(sample)) == ("train", classes, 8)
    assert set(sample.splits) == ({"train", "test"} if "est" in folders else {"train"})


def test_splits_are_found_whatever_their_case(tmp_path: Path) -> None:
    for name in ("Train", "Test", "other"):
        write(tmp_path / f"{name}.csv", CSV.replace("text ", f"{name} "))
    sample = load_sample(str(tmp_path), split="test")
    assert {text.split()[0] for text in sample.inputs} == {"Test"}
    assert "other.csv" in str(note(sample, "files-not-read"))
    write(tmp_path / "hub" / "data" / "more-00000-of-00001.csv", CSV)
    write(tmp_path / "hub" / "data" / "train-00000-of-00001.csv", CSV)
    assert set(load_sample(str(tmp_path / "hub")).splits) == {"more", "train"}


def test_pictures_of_a_folder_are_drawn_by_the_seed(tmp_path: Path) -> None:
    folder = class_folders(tmp_path, "a", "b")
    drawn = [load_sample(str(folder), max_samples=4, seed=seed) for seed in (*range(4), 0)]
    assert all(np.bincount(sample.codes).tolist() == [2, 2] for sample in drawn)
    assert len({frozenset(labels_of(sample)) for sample in drawn}) > 1
    assert drawn[0].fingerprint == drawn[-1].fingerprint


@pytest.mark.parametrize("path", ["images/{}.png", "{}.png", "{}"])
@pytest.mark.parametrize("classes", [False, True])
def test_a_table_may_refer_to_media_beside_it(tmp_path: Path, path: str, classes: bool) -> None:
    for i in range(N):
        place = f"part_{i % 2}/" if classes else ""
        write(tmp_path / "images" / f"{place}p{i}.png", png((i, 0, 0)))
    lines = [f"{path.format(f'p{i}')},{name}" for i, name in enumerate(CLASSES)]
    write(tmp_path / "train.csv", "\n".join(["file,label", *lines]))
    write(tmp_path / "test.csv", "\n".join(["file", *(path.format(f"p{i}") for i in range(N))]))
    sample = load_sample(str(tmp_path))
    assert (sample.task.id, len(sample)) == ("image-classification", N)
    by_path = classes and "/" in path
    assert sample.label_texts == (("part 0", "part 1") if by_path else ("cat", "dog"))
    unread = "2 .csv (test.csv, train.csv)" if by_path else "1 .csv (test.csv)"
    assert note(sample, "files-not-read") == f"not read: {unread}"


def test_the_error_of_an_unreadable_folder_lists_its_content(tmp_path: Path) -> None:
    error = refused(str(class_folders(tmp_path / "s", "a", "b", suffix="heic")))
    assert "8 .heic (0.heic, 1.heic, 2.heic and 5 more)" in error.message
    assert "PNG or JPEG" in str(error.hint)


def test_the_most_frequent_format_is_read_and_hidden_folders_are_not(tmp_path: Path) -> None:
    for name in ("train.csv", "__pycache__/x.csv", ".git/y.csv", "README.md"):
        write(tmp_path / name, CSV)
    sample = load_sample(str(tmp_path))
    assert (len(sample), note(sample, "files-not-read")) == (N, None)
    write_text_file(tmp_path / "train.parquet")
    sample = load_sample(str(tmp_path))
    assert (len(sample), note(sample, "files-not-read")) == (6, "not read: 1 .csv (train.csv)")


def test_unknown_suffixes_are_listed(tmp_path: Path) -> None:
    empty: Any = refused(str(tmp_path))
    assert "parquet" in str(empty.hint)
    write(tmp_path / "a.geojson", "{}")
    assert "1 .geojson (a.geojson)" in refused(str(tmp_path)).message
