"""Limits of the files of a dataset. They are checked before anything reads the files completely."""

from __future__ import annotations

import lzma
import re
import tarfile
import zipfile
import zlib
from pathlib import Path

from hf_emms.data.files.lines import MAX_LINE, opened, too_long
from hf_emms.data.files.local import COMPRESSED, MEDIA, reader_of, walk
from hf_emms.errors import EmmsError
from hf_emms.texts import setting_ref

# A JSON file with one list, an image and a sound are read at once.
MAX_FILE = 1 << 30
MAX_UNPACKED, MAX_RATIO = 10 << 30, 100
MAX_CARD, MAX_ALIASES = 16 << 20, 20
_CHUNK = 1 << 20
UNPACK_IT = "Unpack it, and name the folder or file: " + setting_ref("dataset", "./NAME")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)


def check_files(path: Path) -> None:
    """Check the sizes of a file or of the files of a folder.

    Raises:
        EmmsError: A line has more than 64 MB, a file is too large, or the path is not a regular file.
        OSError: A file or folder cannot be read.
    """
    for file in walk(path):
        check_file(file)
    if (path / "README.md").is_file():
        _check_card(path / "README.md")


def check_file(file: Path) -> None:
    """Check the size of a table, an image or a sound, and the length of a table's lines; see `check_files`."""
    reader = reader_of(file)
    if reader in MEDIA and file.stat().st_size > MAX_FILE:
        raise EmmsError("too-large", f"{file.name} has more than 1 GB.", "Split it, or remove it from the folder.")
    if reader == "webdataset":
        check_archive(file)
    if reader in ("csv", "json", "conll") or file.suffix.lower() == ".txt":
        _check_lines(file)


def check_archive(archive: Path) -> None:
    """Raise an `EmmsError` if an archive unpacks to more than 10 GB, or to more than 100 times its size."""
    size = 0
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as content:
                size = sum(member.file_size for member in content.infolist())
        else:
            with tarfile.open(archive) as members:
                for member in members:
                    size += member.size
                    if size > _most_unpacked(archive):
                        break
    except _BROKEN:
        return  # unpacking it reports the reason
    if size > _most_unpacked(archive):
        raise _too_much(archive)


def _most_unpacked(file: Path) -> int:
    # A small file may consist of one repeated line.
    return min(MAX_UNPACKED, max(MAX_RATIO * file.stat().st_size, MAX_LINE))


def _too_much(file: Path) -> EmmsError:
    return EmmsError(
        "too-large",
        f"{file.name} unpacks to more than {MAX_RATIO} times its size, or to more than {MAX_UNPACKED >> 30} GB.",
        UNPACK_IT,
    )


def _check_lines(path: Path) -> None:
    is_compressed = path.suffix.lower() in COMPRESSED
    if not is_compressed and path.stat().st_size <= MAX_LINE:
        return
    is_document = ".json" in path.suffixes and _is_document(path)
    size = line = 0
    with opened(path) as stream:
        while chunk := stream.read(_CHUNK):
            last = chunk.rfind(b"\n")
            line = line + len(chunk) if last < 0 else len(chunk) - last - 1
            if line > MAX_LINE and not is_document:
                raise too_long(path)
            size += len(chunk)
            if is_document and size > MAX_FILE:
                raise EmmsError(
                    "too-large", f"{path.name} is a JSON document of more than 1 GB.", "Write one JSON object per line."
                )
            if is_compressed and size > _most_unpacked(path):
                raise _too_much(path)


def _is_document(path: Path) -> bool:
    """Return whether a JSON file is a list or one object, instead of an object per line."""
    with opened(path) as stream:
        first = stream.read(_CHUNK).lstrip().partition(b"\n")[0].rstrip()
    return first[:1] == b"[" or (first[:1] == b"{" and not first.endswith(b"}"))


def _check_card(card: Path) -> None:
    """Raise an `EmmsError` for a dataset card that would fill the memory, also by YAML aliases."""
    is_large = card.stat().st_size > MAX_CARD
    text = "" if is_large else card.read_text("utf-8", "replace").lstrip()
    top, end, _ = text.removeprefix("---").partition("\n---")
    has_yaml = text.startswith("---") and bool(end)
    if is_large or (has_yaml and len(re.findall(r"[\s\[{,:]\*[\w-]", top)) > MAX_ALIASES):
        limit = f"{MAX_CARD >> 20} MB, or more than {MAX_ALIASES} aliases in the YAML at its top"
        raise EmmsError("too-large", f"{str(card)!r} has more than {limit}.", "Shorten or remove it.")
