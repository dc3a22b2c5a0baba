"""Read zip archives of images as folders, and refuse hostile ones before they fill the disk."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import datasets
import pytest

from hf_emms.data.files import zip_folder
from hf_emms.data.files.lines import MAX_LINE
from hf_emms.data.files.zip_folder import unpacked
from tests.helpers.rows import CSV, class_folders, labels_of, png, write
from tests.helpers.samples import load_sample, refused


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of unpacked archives, empty."""
    folder = tmp_path / "cache" / "extracted"
    monkeypatch.setattr(datasets.config, "EXTRACTED_DATASETS_PATH", folder)
    return folder


def zipped(archive: Path, **content: bytes | str) -> Path:
    """Write an archive of members by name."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for name, data in content.items():
            members.writestr(name, data)
    return archive


def photos(*names: str, color: int = 0) -> dict[str, bytes]:
    return {name: png((i, color, 0)) for i, name in enumerate(names)}


CLASSES = ("boot/0.png", "boot/1.png", "coat/0.PNG", "coat/1.png")


@pytest.mark.parametrize(
    ("names", "split", "rows"),
    [
        (CLASSES, "train", 4),
        ([f"my photos/{name}" for name in CLASSES], "train", 4),
        ([*CLASSES, "__MACOSX/boot/._0.png", ".DS_Store"], "train", 4),
        ([f"{split}/{name}" for split in ("train", "test") for name in CLASSES], "test", 4),
    ],
)
def test_an_archive_of_class_folders_is_read_as_the_folder(
    tmp_path: Path, names: list[str], split: str, rows: int
) -> None:
    sample = load_sample(str(zipped(tmp_path / "photos.zip", **photos(*names))), split=split)
    assert (sample.task.id, sample.split, len(sample)) == ("image-classification", split, rows)
    assert sample.label_texts == ("boot", "coat")
    with zipfile.ZipFile(tmp_path / "photos.zip") as archive:
        archive.extractall(tmp_path / "folder")
    assert labels_of(load_sample(str(tmp_path / "folder"), split=split)) == labels_of(sample)


def test_metadata_in_an_archive_and_a_stream_of_it_are_read(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(4)]
    rows = "".join(f"{name},a photo of number {i}\n" for i, name in enumerate(names))
    archive = zipped(tmp_path / "a.zip", **photos(*names), **{"metadata.csv": f"file_name,caption\n{rows}"})
    for settings in ({}, {"streaming": True, "max_samples": 10}):
        sample = load_sample(str(archive), **settings)
        assert (sample.task.id, len(sample)) == ("image-to-text", 4)


def test_only_a_changed_archive_is_unpacked_again(tmp_path: Path, cache: Path) -> None:
    archive = tmp_path / "photos.zip"
    first = load_sample(str(zipped(archive, **photos(*CLASSES))))
    (folder,) = cache.iterdir()
    before = folder.stat().st_ino
    assert load_sample(str(archive)).fingerprint == first.fingerprint
    assert [path.stat().st_ino for path in cache.iterdir()] == [before]
    changed = load_sample(str(zipped(archive, **photos(*CLASSES, color=9))))
    assert changed.fingerprint != first.fingerprint
    assert len([*cache.iterdir()]) == 2


def test_an_archive_without_media_is_refused_and_not_unpacked(tmp_path: Path, cache: Path) -> None:
    for number, content in enumerate(({"train.csv": CSV}, {"a.heic": b"x"}, {})):
        error = refused(str(zipped(tmp_path / f"{number}.zip", **content)))
        assert error.code == "no-media"
        assert f"{number}.zip" in error.message
        assert "dataset=" in str(error.hint)
    assert not cache.exists()


def test_an_archive_that_unpacks_to_too_much_is_refused_and_not_unpacked(tmp_path: Path, cache: Path) -> None:
    archive = zipped(tmp_path / "a.zip", **photos(*CLASSES), **{"boot/2.png": bytes(MAX_LINE + 1)})
    assert refused(str(archive)).code == "too-large"
    assert not cache.exists()


def test_an_archive_of_too_many_files_is_refused_and_not_unpacked(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_folder, "MAX_MEMBERS", 3)
    assert refused(str(zipped(tmp_path / "a.zip", **photos(*CLASSES)))).code == "too-many-files"
    assert not cache.exists()


def test_files_of_an_archive_have_the_limits_of_a_folder(tmp_path: Path, cache: Path) -> None:
    content = {**photos(*CLASSES), "train.csv": "text,label\n" + "ab" * MAX_LINE}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:  # stored, so that the ratio is 1
        for name, data in content.items():
            archive.writestr(name, data)
    assert "64 MB" in refused(str(tmp_path / "a.zip")).message
    assert [*cache.iterdir()] == []


@pytest.mark.parametrize("name", ["../../evil.png", "boot/../../../evil.png", "{outside}/evil.png"])
def test_no_file_leaves_the_folder_of_an_archive(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", **photos(*CLASSES, name.format(outside=tmp_path / "outside")))
    folder = unpacked(archive, "revision")
    assert [path.is_relative_to(folder) for path in tmp_path.rglob("evil.png")] == [True]


def test_a_link_in_an_archive_is_no_link_on_the_disk(tmp_path: Path, cache: Path) -> None:
    secret = write(tmp_path / "secret.png", png((1, 2, 3)))
    link = zipfile.ZipInfo("boot/link.png")
    link.external_attr = 0o120777 << 16
    archive = zipped(tmp_path / "a.zip", **photos(*(f"{name}/{i}.png" for name in ("a", "b") for i in range(30))))
    with zipfile.ZipFile(archive, "a") as members:
        members.writestr(link, str(secret))
    assert len(load_sample(str(archive))) == 60
    assert not any(path.is_symlink() for path in cache.rglob("*"))


@pytest.mark.parametrize("damage", ["cut", "empty", "wrong size", "encrypted"])
def test_a_damaged_archive_is_refused_and_leaves_nothing(tmp_path: Path, cache: Path, damage: str) -> None:
    class_folders(tmp_path / "photos", "a", "b")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as members:
        for file in sorted((tmp_path / "photos").rglob("*.png")):
            members.write(file, file.relative_to(tmp_path))
    content = bytearray(sink.getvalue())
    central = content.index(b"PK\x01\x02")
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    elif damage == "wrong size":
        content[central + 24 : central + 28] = (7).to_bytes(4, "little")  # of the first file after unpacking
    else:
        content[6] |= 1
        content[central + 8] |= 1
    archive = write(tmp_path / "a.zip", bytes(content))
    error = refused(str(archive))
    assert "a.zip" in error.message
    assert not cache.exists() or [*cache.iterdir()] == []
