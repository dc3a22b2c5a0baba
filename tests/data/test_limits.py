"""Refuse files that would fill the memory or the disk, before anything reads them completely."""

from __future__ import annotations

import gzip
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_emms.data.files.limits import MAX_FILE, MAX_UNPACKED, check_archive, check_files
from hf_emms.data.files.lines import MAX_LINE
from tests.helpers.errors import raises_code
from tests.helpers.rows import CSV, write
from tests.helpers.samples import load_sample, refused

GB = 1 << 30


def sparse(path: Path, head: str, size: int = 10 * GB) -> Path:
    """A file of `head` and zeros, which uses no space on the disk."""
    os.truncate(write(path, head), size)
    return path


def search_folder(folder: Path, spoil: str, make: Callable[[Path], object]) -> Path:
    """A folder of a corpus, queries and judgments, one of which `make` replaces."""
    write(folder / "corpus.jsonl", '{"_id": "a", "text": "b"}\n')
    write(folder / "queries.jsonl", '{"_id": "q", "text": "b"}\n')
    write(folder / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1\n")
    (folder / spoil).unlink()
    make(folder / spoil)
    return folder


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv"])
def test_a_long_line_or_a_pipe_in_a_search_dataset_is_refused(tmp_path: Path, name: str) -> None:
    for number, make in enumerate((lambda path: sparse(path, '{"_id": "'), os.mkfifo)):
        folder = search_folder(tmp_path / str(number), name, make)
        assert Path(name).name in refused(str(folder), task="text-retrieval").message


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.conll", "a.txt"])
def test_a_long_line_is_refused(tmp_path: Path, name: str) -> None:
    sparse(tmp_path / name, "text,label\n")
    assert name in refused(str(tmp_path / name)).message


def test_a_large_json_document_is_refused(tmp_path: Path) -> None:
    sparse(tmp_path / "a.json", '[{"text": "', MAX_FILE + 1)
    assert "1 GB" in refused(str(tmp_path / "a.json")).message


def test_a_device_or_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    for path in (tmp_path / "a.csv", tmp_path, Path("/dev/zero")):
        assert "a pipe, a socket or a device" in refused(str(path)).message


def test_a_long_line_of_a_compressed_file_is_refused(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"text,label\n")
        for _ in range((MAX_LINE >> 20) + 2):
            file.write(bytes(1 << 20))
    assert "a line of more than 64 MB" in refused(str(tmp_path / "a.csv.gz")).message


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz", ".tar"])
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content, content.open("a.csv", "w") as file:
            for _ in range((MAX_LINE >> 20) + 1):
                file.write(bytes(1 << 20))
    else:
        member = tarfile.TarInfo("a.csv")
        member.size = MAX_UNPACKED + 1
        header = member.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)
        archive.write_bytes(gzip.compress(header) if suffix == ".tar.gz" else header)
    with raises_code("too-large"):
        check_archive(archive)


def test_a_small_archive_may_repeat_a_line(tmp_path: Path) -> None:
    rows = CSV * 3_000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows.encode()))
    assert len(rows) > 100 * (tmp_path / "a.csv.gz").stat().st_size
    check_files(tmp_path / "a.csv.gz")


def test_a_long_card_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", CSV)
    write(tmp_path / "README.md", "---\nconfigs: [" + "a" * (16 << 20) + "]\n---\n")
    assert "16 MB" in refused(str(tmp_path)).message


@pytest.mark.parametrize(
    "card",
    [
        "---\nfile: &file train.csv\nconfigs:\n- config_name: default\n  data_files: *file\n---\n",
        "# A card\n" + "- *emphasis*\n" * 100,
    ],
)
def test_a_card_with_a_few_aliases_or_many_stars_is_read(tmp_path: Path, card: str) -> None:
    write(tmp_path / "train.csv", CSV)
    write(tmp_path / "README.md", card)
    assert len(load_sample(str(tmp_path)))


def test_an_archive_that_a_card_names_is_checked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("a.csv", CSV + " " * (MAX_LINE + 1))
    write(tmp_path / "train.csv", CSV)
    write(tmp_path / "README.md", "---\nconfigs:\n- config_name: default\n  data_files: a.zip\n---\n")
    assert "unpacks to more than" in refused(str(tmp_path)).message


@pytest.mark.parametrize("content", ['{"text": "a", "label": ' + "[" * 10_000, '{"a":' * 100_000, "[" * 100_000])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_deep_json_is_an_error(tmp_path: Path, content: str, suffix: str) -> None:
    with raises_code("cannot-read-dataset"):
        load_sample(str(write(tmp_path / f"a.{suffix}", content)))
    folder = search_folder(tmp_path / "search", "corpus.jsonl", lambda path: write(path, content))
    with raises_code("malformed-file"):
        load_sample(str(folder), task="text-retrieval")
