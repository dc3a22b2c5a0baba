"""Limits of the files of a dataset: checks that are cheap, and what the process that reads the files may use."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hf_emms.data.files.lines import MAX_LINE, csv_rows, opened, too_long
from hf_emms.data.files.local import COMPRESSED, MEDIA, reader_of, walk
from hf_emms.errors import EmmsError
from hf_emms.formatting import format_bytes
from hf_emms.texts import setting_ref

# A JSON file with one list, an image and a sound are read at once.
MAX_FILE, MAX_CARD = 1 << 30, 16 << 20
_CHUNK = 1 << 20
MAX_UNPACKED, MAX_RATIO = 10 << 30, 100
MAX_COLUMNS = 10_000
# Rows of a parquet file whose average size is measured.
_FIRST_ROWS = 16
UNPACK_IT = "unpack it, and name the folder or file: " + setting_ref("dataset", "./NAME")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)


@dataclass(frozen=True)
class ReadingProcess:
    """What the process that reads data may use and must report.

    Attributes:
        max_bytes: The memory that reading may use; None without a limit.
        advanced: Called while reading advances.
    """

    max_bytes: int | None = None
    advanced: Callable[[], None] = lambda: None


WATCH: ContextVar[ReadingProcess] = ContextVar("WATCH", default=ReadingProcess())  # noqa: B039 (it is frozen)


def check_files(path: Path) -> None:
    """Check the sizes of a file or of the files of a folder.

    Raises:
        EmmsError: A line has more than 64 MB, a file is too large, or a path is not a regular file.
        OSError: A file or folder cannot be read.
    """
    for file in walk(path):
        reader = reader_of(file)
        if reader in MEDIA and file.stat().st_size > MAX_FILE:
            raise EmmsError("too-large", f"{file.name} has more than 1 GB", "split it, or remove it from the folder")
        if reader == "webdataset" or (file == path and file.suffix.lower() == ".zip"):
            check_archive(file)
        is_lines = reader in ("csv", "json", "conll") or file.suffix.lower() == ".txt"
        if is_lines and file.suffix.lower() not in COMPRESSED and file.stat().st_size > MAX_LINE:
            _check_lines(file)
        if file == path / "README.md" and file.stat().st_size > MAX_CARD:
            raise EmmsError("too-large", f"{str(file)!r} has more than {MAX_CARD >> 20} MB", "shorten or remove it")


def _check_lines(file: Path) -> None:
    with file.open("rb") as stream:
        first = stream.read(_CHUNK).lstrip().partition(b"\n")[0].rstrip()
        if ".json" in file.suffixes and (first[:1] == b"[" or (first[:1] == b"{" and not first.endswith(b"}"))):
            if file.stat().st_size > MAX_FILE:
                problem = f"{file.name} is a JSON document of more than 1 GB"
                raise EmmsError("too-large", problem, "write one JSON object per line")
            return
        line = stream.seek(0)
        while chunk := stream.read(_CHUNK):
            last = chunk.rfind(b"\n")
            line = line + len(chunk) if last < 0 else len(chunk) - last - 1
            if line > MAX_LINE:
                raise too_long(file)


def check_archive(archive: Path) -> None:
    """Raise an `EmmsError` if an archive unpacks to more than 10 GB, or to more than 100 times its size."""
    # A small archive may consist of one repeated line.
    most, size = min(MAX_UNPACKED, max(MAX_RATIO * archive.stat().st_size, MAX_LINE)), 0
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                size = sum(member.file_size for member in content.infolist())
        else:
            with tarfile.open(archive) as members:
                for member in members:
                    size += member.size
                    if size > most:
                        break
    except _BROKEN:
        return  # unpacking it reports the reason
    if size > most:
        problem = f"{archive.name} unpacks to more than {MAX_RATIO} times its size, or to more than"
        raise EmmsError("too-large", f"{problem} {MAX_UNPACKED >> 30} GB", UNPACK_IT)


def check_tables(path: Path) -> None:
    """Check the tables of a folder, or a table, before their values are read; see `check_table`."""
    for file in walk(path):
        check_table(file)


def check_table(file: Path) -> None:
    """Check the number of columns of a table, and the memory that a parquet file takes.

    Raises:
        EmmsError: It has too many columns, or takes more memory than the process may use.
    """
    reader = reader_of(file)
    if reader == "csv":
        check_width(file.name, len(next(csv_rows(file), ())))
    elif reader == "json":
        check_width(file.name, _count_keys(file))
    elif reader == "parquet":
        _check_parquet(file)


def check_width(name: str, n_columns: int) -> None:
    """Raise an `EmmsError` if a table has too many columns."""
    if n_columns > MAX_COLUMNS:
        problem = f"{name} has {n_columns:,} columns, more than {MAX_COLUMNS:,}"
        raise EmmsError("too-many-columns", problem, "write a file with the columns of inputs and labels only")


def _count_keys(file: Path) -> int:
    """Return the number of keys of the first row of a JSON file; 0 if it is not in a line of its own."""
    with opened(file) as stream:
        line = stream.readline(MAX_LINE)
    try:
        return len(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


def _check_parquet(file: Path) -> None:
    """Raise an `EmmsError` if a group of rows takes too much memory. Dictionaries and repeated values can hide it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file, memory_map=True)
        check_width(file.name, len(table.schema_arrow))
        limit, groups = WATCH.get().max_bytes, table.metadata.num_row_groups
        if limit is None or not groups:
            return
        rows: Any = next(table.iter_batches(_FIRST_ROWS, row_groups=[0]), ())
    except (pa.ArrowException, OSError):
        return  # the reader of ``datasets`` reports the problem
    if len(rows) and (size := rows.nbytes / len(rows) * table.metadata.row_group(0).num_rows) > limit:
        raise EmmsError(
            "too-much-memory",
            f"{file.name} has groups of rows of {format_bytes(size)}, but reading may use {format_bytes(limit)}",
            "write smaller groups of rows, or allow more: " + setting_ref("read_memory", ...),
        )
