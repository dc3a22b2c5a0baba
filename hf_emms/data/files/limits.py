"""Limits of the files of a dataset. They are checked before anything reads the files completely."""

from __future__ import annotations

import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_emms.data.files.archives import archive_in
from hf_emms.data.files.lines import MAX_LINE, csv_rows, opened, too_long
from hf_emms.data.files.local import COMPRESSED, MEDIA, reader_of, walk
from hf_emms.errors import EmmsError, setting_ref

# A JSON file with one list, an image and a sound are read at once.
MAX_FILE = 1 << 30
MAX_CARD = 16 << 20
MAX_UNPACKED, MAX_RATIO = 10 << 30, 100
MAX_MEMBERS = 50_000
_CHUNK = 1 << 20
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)
_UNPACK = "Unpack it, and name the folder or file: " + setting_ref("dataset", "./NAME")


def check_files(path: Path) -> None:
    """Check the sizes of a file or of the files of a folder.

    Raises:
        EmmsError: The path is not a regular file, a line or a cell has more than 64 MB, or a file is too large.
        OSError: A file or folder cannot be read.
    """
    if not path.is_dir() and not path.is_file():
        raise EmmsError(f"{str(path)!r} is a pipe, a socket or a device, not a file.", "Write its rows into a file.")
    for file in [path] if path.is_file() else walk(path):
        check_file(file)
    if (path / "README.md").is_file():
        _check_card(path / "README.md")
    archive = archive_in(path)
    if archive is not None:
        check_archive(archive, max_members=MAX_MEMBERS)


def check_file(file: Path) -> None:
    """Check the size of a table, an image or a sound, and the length of a table's lines; see `check_files`."""
    reader = reader_of(file)
    if reader in MEDIA and file.stat().st_size > MAX_FILE:
        raise EmmsError(f"{file.name} has more than 1 GB.", "Split it, or remove it from the folder.")
    if reader == "sheets":
        check_archive(file)
    elif reader in ("csv", "json", "conll") or file.suffix.lower() == ".txt":
        _check_lines(file)


def check_archive(archive: Path, max_members: int | None = None) -> None:
    """Check the size of an archive's content before it is unpacked.

    Raises:
        EmmsError: It unpacks to more than 10 GB, to more than 100 times its size, or to more than `max_members` files.
    """
    size, limit = 0, _most_unpacked(archive)
    try:
        for number, member in enumerate(_member_sizes(archive), start=1):
            size += member
            if size > limit:
                raise _too_much(archive)
            if max_members is not None and number > max_members:
                raise EmmsError(f"{archive.name} contains more than {max_members:,} files.", _UNPACK)
    except _BROKEN:
        return  # unpacking it reports the reason


def _member_sizes(archive: Path) -> Iterator[int]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as content:
            yield from (member.file_size for member in content.infolist())
    else:
        with tarfile.open(archive) as members:
            yield from (member.size for member in members)


def _most_unpacked(file: Path) -> int:
    # A small file may consist of one repeated line.
    return min(MAX_UNPACKED, max(MAX_RATIO * file.stat().st_size, MAX_LINE))


def _too_much(file: Path) -> EmmsError:
    is_large = _most_unpacked(file) == MAX_UNPACKED
    limit = f"{MAX_UNPACKED >> 30} GB" if is_large else f"{MAX_RATIO} times its size"
    return EmmsError(f"{file.name} unpacks to more than {limit}.", _UNPACK)


def _check_lines(path: Path) -> None:
    is_compressed, is_document = path.suffix.lower() in COMPRESSED, ".json" in path.suffixes and _is_document(path)
    if is_document and not is_compressed:
        _check_document(path, path.stat().st_size)
        return
    if not is_compressed and path.stat().st_size <= MAX_LINE:
        return
    size = line = text = quotes = 0  # bytes: of the file, since the last line break, since the last quotation mark
    is_csv = reader_of(path) == "csv"
    with opened(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            size, line = size + len(chunk), _after(chunk, b"\n", line)
            if is_document:
                _check_document(path, size)
            elif line > MAX_LINE:
                raise too_long(path)
            if is_compressed and size > _most_unpacked(path):
                raise _too_much(path)
            if is_csv:
                quotes, text = quotes + chunk.count(b'"'), _after(chunk, b'"', text)
            if text > MAX_LINE and quotes % 2:  # probably a cell that does not end
                for _ in csv_rows(path):
                    pass  # raises the error
                is_csv, text = False, 0


def _is_document(path: Path) -> bool:
    """Return whether a JSON file is a list or one object, instead of an object per line."""
    with opened(path, "rb") as stream:
        first = stream.read(_CHUNK).lstrip().partition(b"\n")[0].rstrip()
    return first[:1] == b"[" or (first[:1] == b"{" and not first.endswith(b"}"))


def _check_document(path: Path, size: int) -> None:
    if size > MAX_FILE:
        raise EmmsError(f"{path.name} is a JSON document of more than 1 GB.", "Write one JSON object per line.")


def _after(chunk: bytes, mark: bytes, before: int) -> int:
    """Return the length of the longest part without `mark` that ends in a chunk; `before` bytes precede the chunk."""
    first = chunk.find(mark)
    if first < 0:
        return before + len(chunk)
    return before + first if before + first > MAX_LINE else len(chunk) - chunk.rfind(mark) - 1


def _check_card(card: Path) -> None:
    import yaml

    problem = EmmsError(
        f"The YAML at the top of {str(card)!r} has more than {MAX_CARD >> 20} MB with its aliases.",
        "Shorten or remove it.",
    )
    if card.stat().st_size > MAX_CARD:
        raise problem
    top = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card.read_text("utf-8", "replace"), re.DOTALL)
    if top is None or "&" not in top[1]:
        return
    sizes: dict[int, int] = {}

    def expanded(node: Any) -> int:
        """Return the number of characters of a node, in which each alias counts as often as it is used."""
        if isinstance(node, yaml.ScalarNode):
            return 1 + len(node.value)
        if id(node) not in sizes:
            sizes[id(node)] = MAX_CARD  # of an alias inside its own node
            is_mapping = isinstance(node, yaml.MappingNode)
            parts = [part for pair in node.value for part in pair] if is_mapping else node.value
            sizes[id(node)] = 1 + sum(map(expanded, parts))
        return sizes[id(node)]

    try:
        root = yaml.compose(top[1], getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if root is not None and expanded(root) > MAX_CARD:
            raise problem
    except yaml.YAMLError:
        return  # the reader of ``datasets`` reports where
    except RecursionError:
        raise problem from None
