"""Files whose rows ``datasets`` does not find by itself: spreadsheets, JSON objects, texts in folders of classes."""

from __future__ import annotations

import glob
import importlib.util
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_emms.data.files.folder_names import SPLIT_WORDS, split_of
from hf_emms.data.files.local import card_names_files, format_of, media_suffixes, walk
from hf_emms.data.files.memory import as_dataset
from hf_emms.errors import EmmsError

SHEETS = (".xlsx", ".xlsm")
# Folders of texts that belong to no class.
_UNLABELLED = ("unsup", "unlabeled", "unlabelled")
# Lines by which the columns of words and tags are recognised.
_FIRST_LINES = 200
_ONLY = "train"
# Columns of CoNLL-U; those between words and entities in files of CoNLL-2003.
_UNIVERSAL = ("position", "tokens", "lemma", "upos", "xpos", "features", "head", "relation", "deps", "misc")
_NAMES_BETWEEN = {4: ("pos_tags", "chunk_tags")}
# Tags of the words of a sentence in the schemes IOB, IOB2, BIOES and BILOU.
_TAG = re.compile(r"O|[BILOUES][-_].+")
_INSIDE = re.compile(r"[BI][-_].+")
_COMMENT = "# "
# The table of a file by split; `_ONLY` where the file does not name splits.
Tables = Mapping[str, Any]


def read_tables(path: Path) -> tuple[Tables, tuple[str, ...]] | None:
    """Return the splits of a file or a folder as ``datasets.Dataset``, with notes; None where ``datasets`` reads them.

    Raises:
        EmmsError: a file is no table, or a package that reads it is not installed.
    """
    import datasets

    if card_names_files(path):
        return None
    files = [path] if path.is_file() else [file for file in walk(path) if file.is_file()]
    sheets = [file for file in files if file.suffix.lower() in SHEETS]
    others = [file for file in files if format_of(file) or file.suffix.lower() in media_suffixes()]
    if sheets and not others:
        tables = [(file, _sheets(file)) for file in sheets]
    elif others and all(".json" in map(str.lower, file.suffixes) for file in others):
        tables = [(file, table) for file in others if (table := _json_tables(file))]
        if len(tables) < len(others):
            return None
    elif path.is_dir() and not others:
        return _texts_by_class(path, files)
    else:
        return None
    parts = defaultdict[str, list[Any]](list)
    for file, table in tables:
        for split, rows in table.items():
            parts[split if len(table) > 1 else (split_of(file.stem) or split)].append(as_dataset(rows))
    return {split: datasets.concatenate_datasets(rows) for split, rows in parts.items()}, ()


# ---- spreadsheets --------------------------------------------------------------------------------------------------


def _sheets(file: Path) -> Tables:
    import pandas as pd  # type: ignore[import-untyped]

    try:
        sheets = pd.read_excel(file, sheet_name=None, keep_default_na=False, na_values=[""])
    except ImportError as error:
        raise EmmsError(f"{file.name} is a spreadsheet, which needs openpyxl", "pip install openpyxl") from error
    except (ValueError, KeyError, OSError) as error:
        raise EmmsError(f"{file.name} cannot be read: {error}", "save it as .xlsx or .csv") from error
    tables = {name: _of_one_type(frame) for name, frame in sheets.items() if len(frame)}
    if not tables:
        raise EmmsError(f"{file.name} has no sheet with rows", "name another file")
    if len(tables) == 1:
        return {_ONLY: next(iter(tables.values()))}
    splits = {str(name): split_of(str(name)) for name in tables}
    if None in splits.values() or len(set(splits.values())) < len(splits):
        raise EmmsError(
            f"{file.name} has several sheets: {', '.join(splits)}", "save the sheet with the rows as a .csv file"
        )
    return {str(splits[str(name)]): frame for name, frame in tables.items()}


def _of_one_type(frame: Any) -> Any:
    """Return a sheet with texts in the columns that hold texts and other values, such as numbers."""
    for name in frame.columns:
        cells = frame[name].dropna()
        if cells.map(lambda cell: isinstance(cell, str)).any():
            frame[name] = frame[name].map(str, na_action="ignore")
    return frame


# ---- JSON ----------------------------------------------------------------------------------------------------------


def _json_tables(file: Path) -> Tables | None:
    """Return the tables in a file that is a single JSON object; None for lists and lines of objects."""
    import fsspec

    with fsspec.open(str(file), "rt", compression="infer", encoding="utf-8-sig", errors="replace") as stream:
        start = stream.readline()
        if not start.lstrip().startswith("{") or (_is_object(start) and stream.readline().strip()):
            return None
        stream.seek(0)
        try:
            content = json.load(stream)
        except ValueError:  # the reader of datasets says where
            return None
    for tables_of in (_split_form, _table_of_columns, _table_of_objects, _lists_of_rows):
        if (tables := tables_of(content, file.name)) is not None:
            return tables
    return None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _split_form(content: dict[str, Any], name: str) -> Tables | None:
    """Return the table that pandas writes as names of columns and lists of cells."""
    names, rows = content.get("columns"), content.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return None
    return {_ONLY: dict(zip(map(str, names), map(list, zip(*rows, strict=True)), strict=True))}


def _table_of_columns(content: dict[str, Any], name: str) -> Tables | None:
    """Return the table of lists of cells, or of objects of cells by the number of their row, as pandas writes."""
    lists = {key: column for key, column in content.items() if isinstance(column, list)}
    columns = list(lists.values() or content.values())
    if len(columns) < 2:
        return None
    if all(isinstance(column, list) and column and not isinstance(column[0], dict) for column in columns):
        if all(split_of(key) for key in lists):
            raise EmmsError(
                f"the rows of {name} are lists without names: {json.dumps(columns[0][0], ensure_ascii=False)[:100]}",
                'write each as an object: {"text": ..., "label": ...}',
            )
        return {_ONLY: lists} if len({len(column) for column in columns}) == 1 else None
    if all(isinstance(column, dict) for column in columns):
        keys = list(columns[0])
        if keys and all(key.isdecimal() for key in keys) and all(list(column) == keys for column in columns):
            return {_ONLY: {key: list(column.values()) for key, column in content.items()}}
    return None


def _table_of_objects(content: dict[str, Any], name: str) -> Tables | None:
    """Return the rows of an object of rows by their ids."""
    rows = list(content.values())
    are_rows = len(rows) > 1 and all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows)
    return {_ONLY: rows} if are_rows and not any(key in SPLIT_WORDS for key in content) else None


def _lists_of_rows(content: dict[str, Any], name: str) -> Tables | None:
    """Return the rows of each split, or the only list of rows beside other values."""
    lists = {
        key: rows
        for key, rows in content.items()
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    }
    if lists and all(key.lower() in SPLIT_WORDS for key in lists):
        return lists
    if len(lists) > 1:
        raise EmmsError(
            f"{name} holds several lists of objects: {', '.join(lists)}",
            "write a file with an object for each row: a .json list or .jsonl lines",
        )
    rows = next(iter(lists.values()), None)
    return None if rows is None else {_ONLY: _squad_rows(rows) or rows}


def _squad_rows(articles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each question of articles as SQuAD's own files have them; none for other rows."""
    if not all(isinstance(article.get("paragraphs"), list) for article in articles):
        return []
    return [
        {
            "id": question.get("id"),
            "context": paragraph["context"],
            "question": question["question"],
            "answers": {
                "text": [answer["text"] for answer in question.get("answers", ())],
                "answer_start": [answer["answer_start"] for answer in question.get("answers", ())],
            },
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph.get("qas", ())
    ]


# ---- texts ---------------------------------------------------------------------------------------------------------


def _texts_by_class(folder: Path, files: Iterable[Path]) -> tuple[Tables, tuple[str, ...]] | None:
    """Return the texts of .txt files in a folder for each class, in folders of splits if there are any."""
    rows = defaultdict[str, list[dict[str, str]]](list)
    left_out = defaultdict[str, int](int)
    for file in (file for file in files if file.suffix.lower() == ".txt"):
        above = file.relative_to(folder).parts[:-1]
        splits = [split for part in above if part.lower() in SPLIT_WORDS and (split := split_of(part))]
        if not above or above[-1].lower() in SPLIT_WORDS:
            left_out[above[-1] if above else folder.name] += 1
        elif above[-1].lower() in _UNLABELLED:
            left_out[above[-1]] += 1
        else:
            rows[splits[0] if splits else _ONLY].append({"text": _text(file), "label": above[-1]})
    if not any(len({row["label"] for row in of_split}) > 1 for of_split in rows.values()):
        return None
    notes = ["each .txt file is a text, and its folder its class"]
    notes += [f"{count:,} texts of {name!r}, which is no class, are left out" for name, count in left_out.items()]
    return {split: as_dataset(of_split) for split, of_split in rows.items()}, tuple(notes)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EmmsError(f"{file.name} cannot be read: {error}", "save the file as UTF-8") from error


def builder_arguments(path: Path) -> dict[str, Any] | None:
    """Return the arguments of the builder of ``datasets`` for a file, or for a folder whose format it does not know.

    Returns:
        Its name as "path", the patterns of files by split, and settings; None for other paths.

    Raises:
        EmmsError: a file of words and tags has lines of different forms.
    """
    if path.is_file():
        is_words = path.suffix.lower() == ".txt" and columns_of_words(path) is not None
        format, data = "conll" if is_words else format_of(path), [path]
    else:
        files = [] if card_names_files(path) else [file for file in walk(path) if file.is_file()]
        data = [file for file in files if format_of(file) or file.suffix.lower() in media_suffixes()]
        format = "arrow" if data and all(file.suffix.lower() == ".feather" for file in data) else None
        if all(format_of(file) == "conll" for file in data):
            texts = [file for file in files if file.suffix.lower() == ".txt" and columns_of_words(file)]
            format, data = "conll", [*data, *texts]
    if format is None or not data:
        return None
    patterns = defaultdict[str, list[str]](list)
    for file in data:
        parts = (*file.parts[len(path.parts) : -1], file.stem) if path.is_dir() else ()
        split = next((split for part in reversed(parts) if (split := split_of(part))), _ONLY)
        patterns[split].append(glob.escape(str(file)))
    settings = _settings_of_words(data[0]) if format == "conll" else {}
    return {"path": format, "data_files": dict(patterns), **settings}


def _settings_of_words(file: Path) -> dict[str, Any]:
    if importlib.util.find_spec("datasets.packaged_modules.conll") is None:
        raise EmmsError(f"{file.name} needs a later version of datasets", "pip install -U datasets")
    columns = columns_of_words(file)
    if columns is None:
        raise EmmsError(
            f"{file.name} is not in CoNLL's format: a word and its tags in each line, the last one such as B-PER or O",
            "repair its lines, or write it as .jsonl: " + '{"tokens": ["Ann", ...], "ner_tags": ["B-PER", ...]}',
        )
    return {"column_names": columns, "comment_prefix": _COMMENT if any(map(_is_comment, _first_lines(file))) else None}


def columns_of_words(file: Path) -> list[str] | None:
    """Return the names of the columns of a file with a word and its tags in a line, as CoNLL has them; else None."""
    lines = (line for line in _first_lines(file) if line.strip() and not line.startswith("-DOCSTART-"))
    rows = [line.split() for line in lines if not _is_comment(line)]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or (width := widths.pop()) < 2:
        return None
    if width == len(_UNIVERSAL) and all(row[0].replace("-", "").replace(".", "").isdecimal() for row in rows):
        return list(_UNIVERSAL)
    if not are_word_tags([row[-1] for row in rows]):
        return None
    between = _NAMES_BETWEEN.get(width) or tuple(f"column_{number}" for number in range(2, width))
    return ["tokens", *between, "ner_tags"]


def _first_lines(file: Path) -> list[str]:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return [line for line, _ in zip(stream, range(_FIRST_LINES), strict=False)]


def _is_comment(line: str) -> bool:
    return line.startswith(_COMMENT) and not _TAG.fullmatch(line.split()[-1])


def are_word_tags(names: Sequence[str]) -> bool:
    """Return whether texts are tags of the words of a sentence."""
    return any(map(_INSIDE.fullmatch, names)) and all(map(_TAG.fullmatch, names))
