"""Checks of a folder or file of data on this machine before ``datasets`` reads it, which leaves things out silently."""

from __future__ import annotations

import csv
import os
import re
import shlex
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from hf_emms.errors import EmmsError, first_few, pluralize
from hf_emms.tasks import TASKS

FORMATS = {
    **{".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".arrow": "arrow", ".feather": "arrow"},
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".conll", ".conllu", ".bio", ".iob", ".iob2"), "conll"),
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
# Suffixes of files that are not read → what to do with them.
REMEDIES = {
    **dict.fromkeys(
        (".heic", ".heif", ".avif", ".svg", ".dng", ".cr2", ".dcm", ".nii"), "save pictures as PNG or JPEG"
    ),
    **dict.fromkeys((".xls", ".ods", ".xlsx", ".sav", ".dta"), "save tables as .xlsx or .csv"),
    **dict.fromkeys((".m4a", ".aac", ".wma"), "save sounds as WAV, FLAC or MP3"),
    **dict.fromkeys(
        (".npy", ".npz", ".pt", ".h5", ".mat", ".pkl"),
        "save pictures as PNG and sounds as WAV, or pass arrays in memory: {'image': [array, …], 'label': […]}",
    ),
    **dict.fromkeys(
        (
            *(
                ".pdf",
                ".doc",
                ".docx",
                ".odt",
                ".rtf",
                ".tex",
                ".epub",
                ".ppt",
                ".pptx",
                ".txt",
                ".md",
                ".eml",
                ".html",
            ),
            *(".htm", ".xml", ".json", ".csv", ".tsv", ".parquet", ".zip", ".gz", ".tar"),
        ),
        "write the texts of the files into a column",
    ),
}
_SEPARATORS = ";\t|"
# What pandas names a column that it makes of cells before the first name, or of the index of a saved table.
PANDAS_INDEX = "__index_level_"
QUOTES = 'put texts that hold the separator between double quotes, in every line: "one, two",label'
_PATTERN = "*?["
# Folders that are no classes.
_EXPECTED = ("__pycache__", "__MACOSX")
_MAX_NAMED = 3
# Lines of a table by which its media are recognised.
_FIRST_LINES = 20
# Characters of a table by which its quotation marks are recognised.
_START = 1 << 16


def format_of(path: Path) -> str | None:
    """Return the format of a file by its name, with or without a suffix of compression; None if it is not read."""
    suffixes = path.suffixes[-2:] if path.suffix.lower() in COMPRESSED else path.suffixes[-1:]
    return FORMATS.get(suffixes[0].lower()) if suffixes else None


def check_readable(path: Path) -> None:
    """Refuse paths with files that ``datasets`` cannot read or see: no permission, odd names, patterns as names."""
    if path.is_dir() and (odd := set(str(path.resolve())) & set(_PATTERN)):
        raise EmmsError(
            f"the path {str(path)!r} holds {' and '.join(map(repr, sorted(odd)))}, which the library datasets reads as "
            "a pattern of names",
            "rename that folder: classes inside it may be named so, the path to it may not",
        )
    for entry in [path, *walk(path)]:
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


def remedy_for(names: Iterable[str]) -> str | None:
    """Return what to do with files that are not read, by the suffix that is most frequent among their names."""
    suffixes = Counter(PurePosixPath(name.lower()).suffix for name in names)
    return next((REMEDIES[suffix] for suffix, _ in suffixes.most_common() if suffix in REMEDIES), None)


def unread_files(folder: Path) -> tuple[str, str | None]:
    """Return in words which files a folder holds that are not read, and what to do with them."""
    names = [file.name for file in walk(folder) if file.is_file() and file.suffix]
    if not names:
        return "", None
    (suffix, times), *_ = Counter(PurePosixPath(name.lower()).suffix for name in names).most_common()
    return f", but {pluralize(times, f'{suffix} file')}", remedy_for(names)


def card_names_files(folder: Path) -> bool:
    """Return whether the card of a folder says which files are read."""
    readme = folder / "README.md"
    return readme.is_file() and "data_files" in readme.read_text("utf-8", "replace")


def notes_on_unused(folder: Path, used: Iterable[str]) -> list[str]:
    """Return notes on the unread files of a folder: of another format than most, or in folders that count as hidden."""
    if card_names_files(folder):
        return []
    suffixes = {*FORMATS, *media_suffixes(), *REMEDIES}
    read = {os.path.realpath(file) for file in used}
    notes: list[str] = []
    unused: list[Path] = []
    for entry in walk(folder):
        if entry.is_dir():
            if entry.name.startswith("__") and entry.name not in _EXPECTED:
                notes.append(f"the folder {entry.name!r} is left out, because its name starts with two underscores")
            elif next(entry.iterdir(), None) is None:
                notes.append(f"the folder {entry.name!r} is empty")
        elif (
            (entry.suffix.lower() in suffixes or format_of(entry))
            and entry.name != "README.md"
            and not any(part.startswith("__") for part in entry.relative_to(folder).parts[:-1])
        ):
            unused += [entry] if os.path.realpath(entry) not in read else []
    if read and unused:
        kinds = "/".join(sorted({Path(file).suffix or "other" for file in read}))
        names = first_few([str(file.relative_to(folder)) for file in unused], _MAX_NAMED)
        notes.append(f"files of the folder that are not read: {names}; only its {kinds} files of one layout are")
    return notes


def notes_on_undescribed(files: Sequence[str], rows: int) -> list[str]:
    """Return a note on how many images or sounds are left out because their metadata file does not name them."""
    from datasets.packaged_modules.folder_based_builder.folder_based_builder import FolderBasedBuilder

    media = sum(Path(file).suffix.lower() in media_suffixes() for file in files)
    metadata = [Path(file).name for file in files if Path(file).name in FolderBasedBuilder.METADATA_FILENAMES]
    if not metadata or media <= rows:
        return []
    return [f"files that are not in {metadata[0]} are left out: {media - rows:,} of {media:,}"]


def separator_of(file: str, expected: str) -> str:
    """Return the separator of a file's columns: the expected if the first line holds it, else ; or | or a tab."""
    line = _first_line(file)
    if expected in line:
        return expected
    return max(_SEPARATORS, key=line.count) if any(separator in line for separator in _SEPARATORS) else expected


def csv_settings(files: Sequence[str], expected: str) -> dict[str, Any]:
    """Return the settings of the CSV reader: the separator, quotation marks, and the texts of missing values.

    NA, None and null are texts in columns of texts, and missing in those of numbers.

    Raises:
        EmmsError: a file has no line of names, or more cells in its first row than names.
    """
    import pandas as pd  # type: ignore[import-untyped]
    from pandas._libs.parsers import STR_NA_VALUES  # type: ignore[import-untyped]

    file = files[0]
    try:
        separator = separator_of(file, expected)
        head = pd.read_csv(file, sep=separator, nrows=10_000)
        quoting: dict[str, Any] = {}
        if separator == "\t" and _has_lines_in_cells(head):  # a quotation mark that is a character of a text
            quoting = {"quoting": csv.QUOTE_NONE}
            head = pd.read_csv(file, sep=separator, nrows=10_000, quoting=csv.QUOTE_NONE)
        if _escapes_quotes(file):
            quoting |= {"escapechar": "\\"}
            head = pd.read_csv(file, sep=separator, nrows=10_000, **quoting)
        starts = [head, *(pd.read_csv(other, sep=separator, nrows=1) for other in files[1:])]
    except (OSError, ValueError):
        return {}  # the reader reports why
    for name, start in zip(files, starts, strict=True):
        if not isinstance(start.index, pd.RangeIndex):
            _check_first_line(name, separator)
    _check_header(Path(file), head)
    numeric = [str(name) for name in head if pd.api.types.is_numeric_dtype(head[name]) and head[name].notna().any()]
    missing = {"keep_default_na": False, "na_values": {name: sorted(STR_NA_VALUES) for name in numeric}}
    return missing | quoting | ({"sep": separator} if separator != expected else {})


def _escapes_quotes(file: str) -> bool:
    """Return whether quotation marks inside quoted texts stand behind backslashes, and are never doubled."""
    import fsspec

    with fsspec.open(file, "rt", compression="infer", encoding="utf-8", errors="replace") as stream:
        start = stream.read(_START)
    return re.search(r'"[^"\n]*[^"\n\\,;\t]?\\"[^",;\t\n]', start) is not None and '""' not in start


def _has_lines_in_cells(table: Any) -> bool:
    """Return whether a cell of a table whose separator is a tab holds tabs and line breaks: it is several rows."""
    cells = (cell for name in table for cell in table[name] if isinstance(cell, str))
    return any("\n" in cell and "\t" in cell for cell in cells)


def more_cells(name: str, line: str = "", hint: str = QUOTES) -> EmmsError:
    """Return the error of a CSV file whose rows have more cells than names: pandas makes the first cell an index."""
    problem = f"{name} has rows of more cells than names, so that half of a text would be read"
    return EmmsError(problem + (f": {line}" if line else ""), hint)


def _check_first_line(file: str, separator: str) -> None:
    lines = list(_first_lines(file, separator))
    for number, cells in lines[1:]:
        if (n_names := len(lines[0][1])) < len(cells):
            line = f"line {number}, {separator.join(cells)[:80]!r}, has {len(cells)} cells and {n_names} names"
            hint = QUOTES if any(cells[n_names:]) else f"take {separator!r} from the end of each line"
            raise more_cells(Path(file).name, line, hint)
    raise more_cells(Path(file).name)


def _first_lines(file: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the first lines of a table that are not empty, as cells with the number of the line."""
    import fsspec

    with fsspec.open(file, "rt", compression="infer", encoding="utf-8", errors="replace", newline="") as stream:
        lines = csv.reader(stream, delimiter=separator)
        yield from ((lines.line_num, cells) for cells in islice(lines, _FIRST_LINES) if cells)


def _check_header(file: Path, head: Any) -> None:
    usual = {name for task in TASKS.built_in.values() for column in task.columns.values() for name in column.candidates}
    names = [str(name) for name in head]
    if any(name.lower() in usual for name in names):
        return
    values = [name for name in names if (head[name].astype(str) == name).any()]
    # A line of names may occur again inside a file that was joined from several.
    if values and not (head.astype(str) == names).all(axis=1).any():
        line = " ".join(",".join(names).split())[:100]
        raise EmmsError(
            f"{file.name} has no line of names: its first line, {line!r}, would be read as the names of columns, "
            f"but {values[0]!r} is also a value of that column",
            "add a first line such as text,label",
        )


def _first_line(file: str) -> str:
    import fsspec

    with fsspec.open(file, "rt", compression="infer", encoding="utf-8", errors="replace") as stream:
        return str(stream.readline())


def first_columns(table: Path) -> list[list[str]]:
    """Return the first cells of each column of a table, without its name."""
    separator = separator_of(str(table), "\t" if ".tsv" in table.suffixes else ",")
    rows = [cells for _, cells in _first_lines(str(table), separator)]
    return [[*cells] for cells in zip(*rows[1:], strict=False)]


def broken_file(folder: Path) -> str | None:
    """Return in words which file of a folder is probably broken; None if none seems to be."""
    readme = folder / "README.md"
    if readme.is_file() and (problem := _readme_problem(readme)):
        return f"the block between --- and --- in its README.md: {problem}"
    files = (entry for entry in [folder, *walk(folder)] if format_of(entry) and entry.is_file())
    return next((f"{file.name} is empty (0 bytes)" for file in files if not file.stat().st_size), None)


def _readme_problem(readme: Path) -> str | None:
    """Return the error that ``datasets`` would raise for the metadata of a dataset's card, or None."""
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


def media_suffixes() -> set[str]:
    """Return the suffixes of the media that ``datasets`` reads as a row each: images, sounds."""
    from datasets.packaged_modules import _EXTENSION_TO_MODULE

    return {suffix for suffix, (module, _) in _EXTENSION_TO_MODULE.items() if module.endswith("folder")}


def walk(folder: Path) -> Iterator[Path]:
    """Yield everything below a folder in order, but hidden files; a folder that cannot be listed appears as a path."""
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in (*folders, *sorted(files)):
            if not name.startswith("."):
                yield Path(top, name)
