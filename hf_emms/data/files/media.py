"""Columns of paths of pictures or sounds, and the files that these paths may name."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from hf_emms.data.files.local import files_by_name, remedy_for
from hf_emms.errors import EmmsError, setting_ref
from hf_emms.hub import Repo
from hf_emms.inputs import MODALITIES, UnusableError

# The type of columns of files in base64 that no kind of input reads.
ENCODED = "encoded"
# Values of a column by which its content is recognised.
_FIRST = 20
# Suffixes of media that no kind of input reads.
_OTHER_SUFFIXES = {"video": (".mp4", ".avi", ".mov", ".mkv", ".webm")}
# Characters of a text in base64 by which its content is recognised, and the shortest such text.
_ENCODED_HEAD, _MIN_ENCODED = 64, 40
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;[\w.+=-]+)*;base64,")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\s]+={0,2}\s*")
# Names that `hf download --local-dir` and the Hub's cache leave in a folder.
_DOWNLOADED = Path(".cache", "huggingface", "download")
_HUB_CACHE = "snapshots"


def media_type(value: str) -> str | None:
    """Return the type of a column of paths such as this: "image", "audio", "video"; None for other texts."""
    suffix = PurePosixPath(value.rpartition("\\")[2]).suffix.lower()
    if not suffix or "\n" in value:
        return None
    kinds = (kind.column_types[0] for kind in MODALITIES.values() if suffix in kind.suffixes)
    others = (name for name, suffixes in _OTHER_SUFFIXES.items() if suffix in suffixes)
    return next(kinds, None) or next(others, None)


def is_document(value: str) -> bool:
    """Return whether a text is the name of a file that no kind of input reads, as "docs/13.pdf"."""
    is_name = "://" not in value and " " not in value.strip() and remedy_for([value]) is not None
    return is_name and media_type(value) is None


def usual(types: Iterable[str | None], share: float = 0.9) -> str | None:
    """Return the type that at least a `share` of values have; None where there is none, or other types beside it."""
    times = Counter(types)
    least = share * times.total()
    del times[None]
    return next(iter(times)) if len(times) == 1 and times.total() >= least else None


def encoded_type(values: Sequence[str]) -> str | None:
    """Return the type of texts that hold files in base64, alone or as data URIs; None for other texts.

    The type is "image" or "audio", "encoded" for a content that no kind of input reads.
    """
    return usual(map(_encoded_type, values[:_FIRST]), 0.5)


def _encoded_type(value: str) -> str | None:
    uri = _DATA_URI.match(value)
    payload = value[uri.end() :] if uri else value
    head = "".join(payload[: 2 * _ENCODED_HEAD].split())[:_ENCODED_HEAD]
    if not uri and (len(value) < _MIN_ENCODED or not _BASE64.fullmatch(head)):
        return None
    content = _decoded(head) or b""
    kinds = (kind.column_types[0] for kind in MODALITIES.values() if kind.recognises(content))
    return next(kinds, ENCODED if uri or _is_encoded(payload) else None)


def _is_encoded(text: str) -> bool:
    """Return whether a text is surely in base64: long, without spaces, with letters of both cases and digits.

    Sequences of bases or amino acids are in capitals, and digests in small letters.
    """
    mixes = any(map(str.isupper, text)) and any(map(str.islower, text)) and any(map(str.isdigit, text))
    return len(text) >= _ENCODED_HEAD and mixes and re.fullmatch(r"[\w+/-]+={0,2}", text, re.ASCII) is not None


def _decoded(text: str) -> bytes | None:
    """Return the bytes of a text in base64, with or without padding; None for other texts."""
    plain = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return None


class EncodedMedia:
    """A mapping from texts in base64, alone or as data URIs, to cells with their bytes."""

    def __getitem__(self, value: Any) -> dict[str, Any]:
        text = str(value)
        uri = _DATA_URI.match(text)
        content = _decoded(text[uri.end() :] if uri else text)
        if not content:
            raise UnusableError(f"the text {text[:40]!r} is no base64" if text else "the cell is empty")
        return {"bytes": content, "path": None}


def is_readable(type: str) -> bool:
    """Return whether a kind of input reads media of this type."""
    return any(kind.suffixes and kind.column_types[0] == type for kind in MODALITIES.values())


@dataclass(frozen=True)
class MediaFiles:
    """A mapping from the paths in a column, relative to folders or absolute, to cells with the files' paths.

    Attributes:
        root: the folder that no path may leave; None where any file of this machine may be read.
        by_name: name of a file, with and without its suffix → the file, where a table describes a folder.
    """

    folders: tuple[Path, ...]
    root: Path | None = None
    by_name: Mapping[str, Path] = field(default_factory=dict)

    def __getitem__(self, value: Any) -> dict[str, Any]:
        path = self.find(str(value))
        if path is None:
            raise UnusableError(f"there is no file {str(value)!r}")
        return {"bytes": None, "path": str(path)}

    def find(self, value: str) -> Path | None:
        """Return the file that a cell names, or None; an UnusableError where it may not be read."""
        if value in self.by_name:
            return self.by_name[value]
        for path in self.tried(value):
            if self.root is not None and not path.is_relative_to(self.root):
                raise UnusableError(f"the path {value!r} leaves the folder of the dataset, which was downloaded")
            if path.is_file():
                return path
        return None

    def tried(self, value: str) -> list[Path]:
        """Return the paths that are tried for a cell, in order."""
        plain = value.replace("\\", "/")
        return [Path(os.path.normpath(folder.absolute() / plain)) for folder in self.folders]


def media_files(repo: Repo, folders: Sequence[Path], media_folder: Path | None) -> MediaFiles:
    """Return the files that paths in a dataset may name: beside its files, or anywhere unless it was downloaded."""
    by_name = {} if media_folder is None else files_by_name(media_folder)
    return MediaFiles(tuple(dict.fromkeys(folders)) or (Path(),), _downloaded_root(repo), by_name)


def check_first(files: MediaFiles, repo: Repo, column: str, value: str) -> None:
    """Refuse a column of paths whose first path cannot be read.

    Raises:
        EmmsError: it is an address, or there is no such file; the message names the path that was tried.
    """
    if "://" in value:
        raise EmmsError(
            f"column {column!r} holds addresses, such as {value[:100]!r}, which hf-emms does not fetch",
            "download the files, and write their paths into the column",
        )
    if repo.folder is None and repo.revision:
        name = repo.id.rpartition("/")[2]
        raise EmmsError(
            f"column {column!r} holds paths, such as {value[:100]!r}, whose files are not downloaded with the rows",
            f"hf download {repo.id} --repo-type dataset --local-dir {name}, then "
            + setting_ref("dataset", f"./{name}"),
        )
    try:
        path = files.find(value)
    except UnusableError as problem:
        raise EmmsError(f"column {column!r}: {problem}", "repair the path, or take the column out") from problem
    if path is None:
        raise EmmsError(
            f"column {column!r} holds paths, and there is no file {str(files.tried(value)[0])!r}",
            "paths count from the folder of the file that holds them, or are absolute",
        )


def _downloaded_root(repo: Repo) -> Path | None:
    if repo.folder is None:
        return None
    place = repo.folder.absolute()
    for folder in (place, *place.parents):
        if (folder / _DOWNLOADED).is_dir() or folder.parent.name == _HUB_CACHE:
            return folder
    return None
