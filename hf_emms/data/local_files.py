"""A folder or file of data on this machine, checked before ``datasets`` reads it, which leaves things out silently."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv"}
_PATTERN = "*?["
# Folders that no one means as a class.
_EXPECTED = ("__pycache__", "__MACOSX")
_MOST_NAMED = 3


def check_readable(path: Path) -> None:
    """Checks that every file below a path can be read and is one that ``datasets`` sees.

    Raises:
        EmmsError: a file or folder without permission, a name that is no UTF-8 or that breaks a line, or a folder whose
            own name reads as a pattern.
    """
    if path.is_dir() and (odd := set(str(path.resolve())) & set(_PATTERN)):
        raise EmmsError(
            f"the path {str(path)!r} holds {' and '.join(map(repr, sorted(odd)))}, which the library datasets reads as "
            "a pattern of names",
            "rename that folder: classes inside it may be named so, the path to it may not",
        )
    for one in [path, *_walk(path)]:
        name = str(one if one == path else one.relative_to(path))
        of = "" if one == path else f" in {str(path)!r}"
        if "\n" in name or "::" in name or any("\ud800" <= character <= "\udfff" for character in name):
            raise EmmsError(
                f"the name {name!r}{of} holds a line break, '::' or bytes that are no UTF-8: it would not be read",
                "rename it",
            )
        try:
            mode = one.stat().st_mode
            if stat.S_ISDIR(mode):
                next(one.iterdir(), None)
            elif stat.S_ISREG(mode):  # opening another kind, such as a pipe, may wait for ever
                one.open("rb").close()
        except OSError as error:
            raise EmmsError(
                f"{name!r}{of} cannot be read: {error.strerror}",
                f"chmod -R u+rX {shlex.quote(str(path))}, or take it out of the folder",
            ) from error


def notes_on_unused(folder: Path, used: Iterable[str]) -> list[str]:
    """What of a folder is not read, in words: data of another format than most, folders that count as hidden."""
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    readme = folder / "README.md"
    if readme.is_file() and "data_files" in readme.read_text("utf-8", "replace"):
        return []  # which files are read is said there
    known = {*FORMATS, *ImageFolder.EXTENSIONS}
    read = {os.path.realpath(file) for file in used}
    notes, unused = [], []
    for one in _walk(folder):
        if one.is_dir():
            if one.name.startswith("__") and one.name not in _EXPECTED:
                notes.append(f"the folder {one.name!r} is left out, because its name starts with two underscores")
            elif next(one.iterdir(), None) is None:
                notes.append(f"the folder {one.name!r} is empty")
        elif one.suffix.lower() in known and not _is_hidden(one, folder):
            unused += [one] if os.path.realpath(one) not in read else []
    if read and unused:
        kinds = "/".join(sorted({Path(file).suffix or "other" for file in read}))
        named = ", ".join(str(one.relative_to(folder)) for one in unused[:_MOST_NAMED])
        more = f" and {len(unused) - _MOST_NAMED:,} more" if len(unused) > _MOST_NAMED else ""
        notes.append(f"files of the folder that are not read: {named}{more}; only its {kinds} files of one layout are")
    return notes


def notes_on_undescribed(files: Sequence[str], rows: int) -> list[str]:
    """How many pictures are left out, in words, because the metadata beside them does not name them."""
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    pictures = sum(Path(file).suffix.lower() in ImageFolder.EXTENSIONS for file in files)
    metadata = [Path(file).name for file in files if Path(file).name in ImageFolder.METADATA_FILENAMES]
    if not metadata or pictures <= rows:
        return []
    return [f"pictures that are not in {metadata[0]} are left out: {pictures - rows:,} of {pictures:,}"]


def texts_as_they_are(files: Iterable[str], separator: str) -> dict[str, Any]:
    """Settings of the CSV reader by which NA, None and null are texts in columns of texts, and missing in numbers."""
    import pandas as pd  # type: ignore[import-untyped]
    from pandas._libs.parsers import STR_NA_VALUES  # type: ignore[import-untyped]

    file = next(iter(files), None)
    if file is None or Path(file).suffix.lower() not in (".csv", ".tsv"):
        return {}
    try:
        head = pd.read_csv(file, sep=separator, nrows=10_000)
    except (OSError, ValueError):
        return {}  # whoever reads it says why
    numeric = [str(name) for name in head if pd.api.types.is_numeric_dtype(head[name]) and head[name].notna().any()]
    return {"keep_default_na": False, "na_values": {name: sorted(STR_NA_VALUES) for name in numeric}}


def broken_file(folder: Path) -> str | None:
    """Which file of a folder is probably why it cannot be read, in words."""
    readme = folder / "README.md"
    if readme.is_file():
        problem = _readme_problem(readme)
        if problem:
            return f"the block between --- and --- in its README.md: {problem}"
    files = (one for one in [folder, *_walk(folder)] if one.suffix.lower() in FORMATS and one.is_file())
    return next((f"{one.name} is empty (0 bytes)" for one in files if not one.stat().st_size), None)


def _readme_problem(readme: Path) -> str | None:
    """What ``datasets`` would raise about the metadata of a dataset's card."""
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    try:
        data = DatasetCard.load(readme).data
        MetadataConfigs.from_dataset_card_data(data)
        DatasetInfosDict.from_dataset_card_data(data)
    except Exception as error:  # noqa: BLE001  # a file that others wrote: whatever the reader stumbles over
        return " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return None


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder in order, but hidden files; what cannot be listed is left to the reader of its name."""
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in (*folders, *sorted(files)):
            if not name.startswith("."):
                yield Path(top, name)


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith("__") for part in file.relative_to(folder).parts[:-1])
