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
_MAX_NAMED = 3


def check_readable(path: Path) -> None:
    """Refuses what ``datasets`` cannot read or see below a path: no permission, odd names, patterns in its own."""
    if path.is_dir() and (odd := set(str(path.resolve())) & set(_PATTERN)):
        raise EmmsError(
            f"the path {str(path)!r} holds {' and '.join(map(repr, sorted(odd)))}, which the library datasets reads as "
            "a pattern of names",
            "rename that folder: classes inside it may be named so, the path to it may not",
        )
    for entry in [path, *_walk(path)]:
        name = str(entry if entry == path else entry.relative_to(path))
        where = "" if entry == path else f" in {str(path)!r}"
        if "\n" in name or "::" in name or any("\ud800" <= character <= "\udfff" for character in name):
            raise EmmsError(
                f"the name {name!r}{where} holds a line break, '::' or bytes that are no UTF-8: it would not be read",
                "rename it",
            )
        try:
            mode = entry.stat().st_mode
            if stat.S_ISDIR(mode):
                next(entry.iterdir(), None)
            elif stat.S_ISREG(mode):  # opening another kind, such as a pipe, may wait for ever
                entry.open("rb").close()
        except OSError as error:
            raise EmmsError(
                f"{name!r}{where} cannot be read: {error.strerror}",
                f"chmod -R u+rX {shlex.quote(str(path))}, or take it out of the folder",
            ) from error


def notes_on_unused(folder: Path, used: Iterable[str]) -> list[str]:
    """What of a folder is not read, in words: data of another format than most, folders that count as hidden."""
    readme = folder / "README.md"
    if readme.is_file() and "data_files" in readme.read_text("utf-8", "replace"):
        return []  # which files are read is said there
    suffixes = {*FORMATS, *_media_suffixes()}
    read = {os.path.realpath(file) for file in used}
    notes: list[str] = []
    unused: list[Path] = []
    for entry in _walk(folder):
        if entry.is_dir():
            if entry.name.startswith("__") and entry.name not in _EXPECTED:
                notes.append(f"the folder {entry.name!r} is left out, because its name starts with two underscores")
            elif next(entry.iterdir(), None) is None:
                notes.append(f"the folder {entry.name!r} is empty")
        elif entry.suffix.lower() in suffixes and not any(
            part.startswith("__") for part in entry.relative_to(folder).parts[:-1]
        ):
            unused += [entry] if os.path.realpath(entry) not in read else []
    if read and unused:
        kinds = "/".join(sorted({Path(file).suffix or "other" for file in read}))
        names = ", ".join(str(file.relative_to(folder)) for file in unused[:_MAX_NAMED])
        more = f" and {len(unused) - _MAX_NAMED:,} more" if len(unused) > _MAX_NAMED else ""
        notes.append(f"files of the folder that are not read: {names}{more}; only its {kinds} files of one layout are")
    return notes


def notes_on_undescribed(files: Sequence[str], rows: int) -> list[str]:
    """How many images or sounds are left out, in words, because the metadata beside them does not name them."""
    from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder

    media = sum(Path(file).suffix.lower() in _media_suffixes() for file in files)
    metadata = [Path(file).name for file in files if Path(file).name in FolderBasedBuilder.METADATA_FILENAMES]
    if not metadata or media <= rows:
        return []
    return [f"files that are not in {metadata[0]} are left out: {media - rows:,} of {media:,}"]


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
    if readme.is_file() and (problem := _readme_problem(readme)):
        return f"the block between --- and --- in its README.md: {problem}"
    files = (entry for entry in [folder, *_walk(folder)] if entry.suffix.lower() in FORMATS and entry.is_file())
    return next((f"{file.name} is empty (0 bytes)" for file in files if not file.stat().st_size), None)


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


def _media_suffixes() -> set[str]:
    """Of the files that ``datasets`` reads one a row: images, sounds."""
    from datasets.packaged_modules import _EXTENSION_TO_MODULE

    return {suffix for suffix, (module, _) in _EXTENSION_TO_MODULE.items() if module.endswith("folder")}


def _walk(folder: Path) -> Iterator[Path]:
    """Everything below a folder in order, but hidden files; what cannot be listed is left to the reader of its name."""
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in (*folders, *sorted(files)):
            if not name.startswith("."):
                yield Path(top, name)
