"""Choose the reader of a local folder or file, and the files of each split."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from hf_emms.data.files.lines import csv_rows, pandas_arguments
from hf_emms.data.files.tables import (
    columns_of_words,
    conll_arguments,
    documents_table,
    json_objects,
    split_of,
    texts_by_class,
)
from hf_emms.errors import EmmsError, Note
from hf_emms.formatting import first_few
from hf_emms.inputs import MODALITIES
from hf_emms.texts import setting_ref

# Media that the folder readers of ``datasets`` skip.
_NOT_IN_FOLDERS = (".avif", ".oga", ".aif")
# Suffix → the builder of ``datasets`` that reads such files.
READERS = {
    **{".parquet": "parquet", ".csv": "csv", ".tsv": "csv", ".arrow": "arrow", ".feather": "arrow"},
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".conll", ".conllu", ".bio", ".iob", ".iob2"), "conll"),
    **{
        suffix: f"{modality.column_types[0]}folder"
        for modality in MODALITIES.values()
        for suffix in modality.suffixes
        if suffix not in _NOT_IN_FOLDERS
    },
}
MEDIA = ("imagefolder", "audiofolder")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# Files that describe a dataset.
_NO_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json")
# Suffixes of documents, and the fewest that are a corpus.
_DOCUMENTS, _FEWEST_DOCUMENTS = (".txt", ".md"), 10
_SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}")
READABLE = (
    "put PNG or JPEG images, WAV, FLAC or MP3 sounds, or .txt files in one folder per class, describe media in a "
    "metadata.csv with file_name and label, put 10 or more documents (.txt, .md) in a folder, or write a table: "
    ".parquet, .csv, .tsv, .json, .jsonl or .conll. Unpack archives, except .zip files of images or sounds"
)
_FIRST_ROWS = 20
_ARCHIVE = "unpack it, and name the folder"
# Suffix of files that cannot be read → what to do.
_UNREADABLE = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV, or pass pandas.read_excel(...) in Python"),
    **dict.fromkeys((".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"), _ARCHIVE),
}


@dataclass(frozen=True)
class LocalFiles:
    """The files of a local dataset.

    Attributes:
        reader: The name of a builder of ``datasets``.
        splits: Split → its files.
        tables: Split → its rows, if our own readers have read them.
        media_folder: The folder with the media that a table refers to by their file names.
    """

    reader: str = ""
    splits: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    tables: Mapping[str, Any] = field(default_factory=dict)
    media_folder: Path | None = None
    notes: tuple[Note, ...] = ()

    def builder(self, split: str, revision: str) -> Any:
        """Return the builder of ``datasets`` for a split, whose files have this revision."""
        import datasets
        from datasets.data_files import DataFilesList

        files = self.splits[split]
        arguments = pandas_arguments(files) if self.reader == "csv" else {}
        if self.reader == "conll":
            arguments = conll_arguments(files[0])
        # The revision is part of the key under which ``datasets`` caches the rows.
        paths = DataFilesList([str(file.absolute()) for file in files], [(revision,)])
        return datasets.load_dataset_builder(self.reader, data_files={split: paths}, **arguments)


def find_local(path: Path) -> LocalFiles:
    """Choose the reader of a folder or file, and the files of each split.

    A corpus wins if its documents are more than all other files that can be read. Media win over tables if they are in
    class folders, unless a table refers to them by their names.

    Raises:
        EmmsError: The folder contains nothing that can be read.
    """
    files = [file for file in walk(path) if file.name not in _NO_DATA or file == path]
    base = path.parent if path.is_file() else path
    by_reader = defaultdict[str, list[Path]](list)
    for file in files:
        if (reader := reader_of(file)) is not None:
            by_reader[reader].append(file)
    media_reader = max(MEDIA, key=lambda reader: len(by_reader[reader]))
    media, tables = by_reader[media_reader], {name: by_reader[name] for name in by_reader if name not in MEDIA}
    metadata = [file for file in files if file.name in _METADATA]
    has_classes = len({file.parent.name for file in media if split_of(file.parent.name) is None}) > 1
    if len(_documents(files)) > sum(map(len, by_reader.values())):
        local = _texts(path, files)
    elif media and metadata:
        local = LocalFiles(media_reader, _splits([*media, *metadata], base, by_folder=True))
    elif media and (describing := _tables_of_media(tables.get("csv", ()), base, has_classes=has_classes)):
        local = LocalFiles("csv", _splits(describing, base), media_folder=base)
    elif has_classes or not any(tables.values()):
        local = LocalFiles(media_reader, _splits(media, base, by_folder=True)) if media else _texts(path, files)
    else:
        reader = max(tables, key=lambda name: (len(tables[name]), name == "parquet"))
        local = _table(reader, tables[reader], base)
    if path.is_file():
        return replace(local, splits=dict.fromkeys(local.tables or ["train"], files))
    return replace(local, notes=_notes(local, files))


def _table(reader: str, files: Sequence[Path], base: Path) -> LocalFiles:
    for file in files:
        if not file.stat().st_size:
            raise EmmsError("empty-file", f"{file.name} is empty (0 bytes)", "write its rows, or remove the file")
    splits = _splits(files, base)
    for of_split in splits.values() if reader == "csv" else ():
        _check_columns(of_split)
    tables = json_objects(splits) or {} if reader == "json" else {}
    return LocalFiles(reader, dict.fromkeys(tables, files) if tables else splits, tables)


def _check_columns(files: Sequence[Path]) -> None:
    """Raise an `EmmsError` if CSV files of a split have different columns."""
    file_of = {tuple(sorted(next(csv_rows(file), []))): file for file in reversed(files)}
    if len(file_of) > 1:
        names = first_few([file.name for file in file_of.values()], 3)
        hint = "name one of them: " + setting_ref("dataset", *sorted(map(str, file_of.values())))
        raise EmmsError("different-columns", f"files of one split have different columns: {names}", hint)


def _documents(files: Sequence[Path]) -> list[Path]:
    """Return the text files of a corpus.

    A few text files may describe the other files of a folder, so they are no corpus.
    """
    documents = [file for file in files if file.suffix.lower() in _DOCUMENTS]
    return documents if len(documents) >= _FEWEST_DOCUMENTS else []


def _texts(path: Path, files: Sequence[Path]) -> LocalFiles:
    texts = [file for file in files if file.suffix.lower() == ".txt"]
    base = path if path.is_dir() else path.parent
    if texts and all(columns_of_words(file) for file in texts):
        return LocalFiles("conll", _splits(texts, base))
    tables = texts_by_class(_splits(texts, base, by_folder=True)) if path.is_dir() else {}
    if not tables and (documents := _documents(files)):
        return LocalFiles("text", {"train": documents}, {"train": documents_table(documents)})
    if not tables:
        content = f" contains {describe(files)}, which" if path.is_dir() and files else ""
        hints = (_UNREADABLE.get(file.suffix.lower()) for file in files)
        hint = next(filter(None, hints), READABLE)
        raise EmmsError("no-data-files", f"{str(path)!r}{content} cannot be read", hint)
    return LocalFiles("text", dict.fromkeys(tables, texts), tables)


def _tables_of_media(tables: Sequence[Path], base: Path, *, has_classes: bool) -> list[Path]:
    """Return the CSV files that list the images or sounds of a folder."""
    names = files_by_name(base) if tables else {}
    describing: dict[Path, list[str]] = {}
    for table in tables:
        header, *rows = [*islice(csv_rows(table), _FIRST_ROWS)] or [[]]
        columns = [*zip(*rows, strict=False)]
        if table.parent == base and any(
            all(cell in names or (not has_classes and (base / cell).is_file()) for cell in column) for column in columns
        ):
            describing[table] = header
    first = next((table for table in describing if split_of(table.stem) == "train"), next(iter(describing), None))
    return [table for table in describing if first is not None and describing[table] == describing[first]]


def files_by_name(folder: Path) -> dict[str, Path]:
    """Return file name → path for the media below a folder, with and without suffix. Repeated names are left out."""
    files = [file for file in walk(folder) if reader_of(file) in MEDIA]
    times = Counter(name for file in files for name in (file.name, file.stem))
    return {name: file for file in files for name in (file.name, file.stem) if times[name] == 1}


def _splits(files: Sequence[Path], base: Path, *, by_folder: bool = False) -> dict[str, list[Path]]:
    """Assign files to splits by the names of their folders or files. Without such names, all are "train".

    A class may be named "train". If only one split is named, all media must be in its folder.
    """
    splits = defaultdict[str | None, list[Path]](list)
    for file in files:
        *folders, name = file.relative_to(base).parts
        stem = name.partition(".")[0]
        names = folders if by_folder else [*folders, stem]
        split = next(filter(None, map(split_of, names)), None)
        if split is None and folders[-1:] == ["data"] and (shard := _SHARD.fullmatch(stem)):
            split = shard[1]
        splits[split].append(file)
    named = {split: of_split for split, of_split in splits.items() if split is not None}
    is_split = len(named) > 1 or (named and (None not in splits or not by_folder))
    return named if is_split else {"train": list(files)}


def reader_of(path: Path) -> str | None:
    """Return the reader of a file by its name, with or without a suffix of compression; None if it is not read."""
    if path.suffix.lower() == ".tar":
        return "webdataset"
    suffixes = path.suffixes[-2:] if path.suffix.lower() in COMPRESSED else path.suffixes[-1:]
    return READERS.get(suffixes[0].lower()) if suffixes else None


def card_names_files(folder: Path) -> bool:
    """Return whether the card of a folder lists configurations or features for ``datasets``."""
    readme = folder / "README.md"
    return (
        readme.is_file()
        and re.search("^(configs|dataset_info):", readme.read_text("utf-8", "replace"), re.M) is not None
    )


def describe(files: Sequence[Path]) -> str:
    """Describe files in an error: a count per suffix, and the first names."""
    suffixes = Counter(file.suffix.lower() or "other" for file in files).most_common(4)
    names = first_few([file.name for file in files], 3)
    return ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes) + f" ({names})"


def _notes(local: LocalFiles, files: Sequence[Path]) -> tuple[Note, ...]:
    used = {file for of_split in local.splits.values() for file in of_split}
    if local.media_folder is not None:
        used.update(file for file in files if reader_of(file) in MEDIA)
    unused = [file for file in files if file not in used and reader_of(file)]
    return (Note("files-not-read", f"not read: {describe(unused)}"),) if unused else ()


def walk(path: Path) -> list[Path]:
    """Return a file, or the files below a folder in order, without hidden ones.

    Raises:
        EmmsError: A pipe, a socket or a device has the name of a table, an image or a sound.
        OSError: A folder cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    if not path.is_dir():
        _check_regular(path)
        return [path]
    files = []
    for top, folders, names in os.walk(path, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        for file in (Path(top, name) for name in sorted(names) if not name.startswith(".")):
            if reader_of(file):
                _check_regular(file)
            if file.is_file():
                files.append(file)
    return files


def _check_regular(file: Path) -> None:
    if file.exists() and not file.is_file():
        raise EmmsError(
            "not-a-file", f"{file.name} is a pipe, a socket or a device, not a file", "write its rows into a file"
        )
