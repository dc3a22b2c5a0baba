"""Folders and files whose names say more than a class: splits in any case, masks, domains, copies, other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.rows import CSV, class_folders, labels_of, png, write, write_text_file
from tests.helpers.samples import load_sample, refused


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("images", "masks"), "'images' and 'masks' are no classes"),
        (("Imgs", "Labels"), "'Imgs' and 'Labels' are no classes"),
        (("images/cat", "images/dog", "masks/cat", "masks/dog"), "'images' and 'masks' are no classes"),
        (("trainA", "trainB", "testA", "testB"), "two domains of images"),
        (("Training", "Testing"), "'Testing' and 'Training' are splits"),
        (("train", "test"), "'test' and 'train' are splits"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_folders_that_are_no_classes_are_refused(
    tmp_path: Path, names: tuple[str, ...], problem: str, streaming: bool
) -> None:
    folder = str(class_folders(tmp_path, *names))
    error = refused(folder, streaming=streaming, max_samples=8)
    assert problem in error.message
    assert "one folder per class" in str(error.hint)


def test_folders_of_classes_that_look_a_little_like_it_are_read(tmp_path: Path) -> None:
    for number, names in enumerate([("A", "B"), ("yes", "no"), ("images", "texts"), ("trainA", "cats")]):
        assert set(load_sample(str(class_folders(tmp_path / str(number), *names))).label_texts) == set(names)


@pytest.mark.parametrize(
    ("above", "said"), [("x", None), ("xy", "x, y"), ("wxyz", "w, x, y, z"), ("vwxyz", "v, w, x, y, …")]
)
def test_folders_above_those_of_classes_are_said(tmp_path: Path, above: str, said: str | None) -> None:
    folder = class_folders(tmp_path, *(f"{name}/{label}" for name in above for label in "ab"))
    notes = [note for note in load_sample(str(folder)).notes if "innermost" in note]
    together = "classes are the innermost folders; those above them are read together: "
    assert notes == ([] if said is None else [together + said])


def test_splits_are_found_whatever_their_case(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "s", "Training/a", "Training/b", "Testing/a", "Testing/b")
    sample = load_sample(str(folder))
    assert (sample.split, set(sample.splits), len(sample)) == ("train", {"train", "test"}, 8)
    assert labels_of(sample)[2, 1, 0] == ["b"]
    for name in ("Train", "Test"):
        write(tmp_path / "t" / f"{name}.csv", CSV.replace("text ", f"{name} "))
    assert {text.split()[0] for text in load_sample(str(tmp_path / "t"), split="test").inputs} == {"Test"}


def test_pictures_of_a_folder_are_drawn_by_the_seed(tmp_path: Path) -> None:
    folder = class_folders(tmp_path, "a", "b")
    drawn = [load_sample(str(folder), max_samples=4, seed=seed) for seed in (*range(4), 0)]
    assert all(np.bincount(sample.codes).tolist() == [2, 2] for sample in drawn)
    assert len({frozenset(labels_of(sample)) for sample in drawn}) > 1
    assert drawn[0].fingerprint == drawn[-1].fingerprint


@pytest.mark.parametrize("copy", ["train (1).csv", "train - Copy.csv", "train copy 2.csv", "Train(3).csv"])
def test_a_copy_of_a_table_beside_it_is_refused(tmp_path: Path, copy: str) -> None:
    for name in ("train.csv", copy):
        write(tmp_path / name, CSV)
    error = refused(str(tmp_path))
    assert f"{copy!r} looks like a copy of 'train.csv'" in error.message
    assert str(tmp_path / "train.csv") in str(error.hint)


def test_pictures_that_are_numbered_in_brackets_are_no_copies(tmp_path: Path) -> None:
    class_folders(tmp_path, "cat", "dog")
    for number, name in enumerate(("cat", "dog")):
        for i in range(4):
            write(tmp_path / name / f"{i} (1).png", png((i, 5, number)))
    assert len(load_sample(str(tmp_path))) == 16


@pytest.mark.parametrize(
    ("suffix", "remedy"),
    [("heic", "PNG"), ("avif", "PNG"), ("svg", "PNG"), ("m4a", "WAV"), ("npy", "arrays"), ("docx", "into a column")],
)
def test_formats_that_are_not_read_are_named(tmp_path: Path, suffix: str, remedy: str) -> None:
    error = refused(str(class_folders(tmp_path / "s", "a", "b", suffix=suffix)))
    assert f"no data file that can be read, but 8 .{suffix} files" in error.message
    assert remedy in str(error.hint)
    write(class_folders(tmp_path / "t", "a", "b") / "a" / f"x.{suffix}", "x")
    sample = load_sample(str(tmp_path / "t"))
    assert (
        sample.notes[0] == f"files of the folder that are not read: a/x.{suffix}; only its .png files of one layout are"
    )
    assert len(sample) == 8


def test_what_of_a_folder_is_not_read_is_listed(tmp_path: Path) -> None:
    for name in ("train.csv", *(f"{letter}.pdf" for letter in "abcd"), "__pycache__/x.csv", "__odd/y.csv", "README.md"):
        write(tmp_path / name, CSV)
    (tmp_path / "later").mkdir()
    left_out = (
        "the folder '__odd' is left out, because its name starts with two underscores",
        "the folder 'later' is empty",
    )
    others = (
        "files of the folder that are not read: a.pdf, b.pdf, c.pdf and {} more; only its {} files of one layout are"
    )
    assert load_sample(str(tmp_path)).notes[:3] == (*left_out, others.format(1, ".csv"))
    write_text_file(tmp_path / "train.parquet")
    assert load_sample(str(tmp_path)).notes[:3] == (*left_out, others.format(2, ".parquet"))
