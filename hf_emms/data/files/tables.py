"""Read the tables that ``datasets`` does not: spreadsheets, JSON objects, SQuAD, texts in class folders, CoNLL."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hf_emms.data.files.lines import MAX_LINE, UTF_8, lines_of, opened
from hf_emms.data.files.memory import as_dataset
from hf_emms.data.files.split_names import SPLIT_WORDS, split_of
from hf_emms.errors import EmmsError

# Folders of texts that belong to no class.
_UNLABELLED = ("unsup", "unlabeled", "unlabelled")
# Columns of CoNLL-U, and those between tokens and tags in files of CoNLL-2003.
_UNIVERSAL = ("position", "tokens", "lemma", "upos", "xpos", "features", "head", "relation", "deps", "misc")
_NAMES_BETWEEN = {4: ("pos_tags", "chunk_tags")}
# Tags in the schemes IOB, IOB2, BIOES and BILOU.
_TAG = re.compile(r"O|[BILOUES][-_].+")
_INSIDE = re.compile(r"[BI][-_].+")
_COMMENT = "# "
_FIRST_LINES = 200
# Split → the rows of a file; "train" if the file does not name splits.
Tables = Mapping[str, Any]


def read_tables(reader: str, splits: Mapping[str, Sequence[Path]]) -> dict[str, Any] | None:
    """Read spreadsheets and JSON objects as ``datasets.Dataset`` per split; None if ``datasets`` reads the files.

    Raises:
        EmmsError: A file is not a table, or a package is missing.
    """
    import datasets

    read: Callable[[Path], Tables | None] | None = {"sheets": _sheets, "json": _json_tables}.get(reader)
    parts = defaultdict[str, list[Any]](list)
    for split, files in splits.items():
        for file in files:
            tables = read(file) if read else None
            if tables is None:
                return None
            for name, rows in tables.items():
                parts[name if len(tables) > 1 else split].append(as_dataset(rows))
    return {split: datasets.concatenate_datasets(rows) for split, rows in parts.items()}


def _sheets(file: Path) -> Tables:
    import pandas as pd  # type: ignore[import-untyped]

    try:
        sheets = pd.read_excel(file, sheet_name=None, keep_default_na=False, na_values=[""])
    except ImportError as error:
        raise EmmsError(f"{file.name} is a spreadsheet, which requires openpyxl.", "pip install openpyxl") from error
    except (ValueError, KeyError, OSError) as error:
        raise EmmsError(f"{file.name} cannot be read: {error}", "Save it as .xlsx or .csv.") from error
    tables = {str(name): frame for name, frame in sheets.items() if len(frame)}
    for frame in tables.values():
        for name in frame.columns:  # a number in a column of texts is a text
            if frame[name].map(lambda cell: isinstance(cell, str)).any():
                frame[name] = frame[name].map(str, na_action="ignore")
    if len(tables) > 1:
        splits = {split: frame for name, frame in tables.items() if (split := split_of(name)) is not None}
        if len(splits) < len(tables):
            raise EmmsError(
                f"{file.name} has several sheets: {', '.join(tables)}.", "Save the sheet with the rows as a .csv file."
            )
        return splits
    if not tables:
        raise EmmsError(f"{file.name} has no sheet with rows.", "Choose another file.")
    return {"train": next(iter(tables.values()))}


# ---- JSON ----------------------------------------------------------------------------------------------------------


def _json_tables(file: Path) -> Tables | None:
    """Return the tables in a file that is a single JSON object; None for lists and lines of objects."""
    with opened(file, "rb") as stream:
        start = stream.readline(MAX_LINE).removeprefix(b"\xef\xbb\xbf").strip()
        are_lines = start.endswith(b"}") and stream.readline(MAX_LINE).strip()
    if not start.startswith(b"{") or are_lines:
        return None
    whole = b"".join(lines_of(file))
    try:
        content = json.loads(whole)
    except ValueError:  # the reader of ``datasets`` reports where
        return None
    return tables_of_object(content, file.name) if isinstance(content, dict) else None


def tables_of_object(content: Mapping[str, Any], name: str) -> Tables | None:
    """Return the tables in a JSON object: columns, rows by their ids, rows per split, or one list of rows.

    Raises:
        EmmsError: The object has several lists of rows.
    """
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):  # as pandas writes "split"
        columns = map(list, zip(*content["data"], strict=True))
        return {"train": dict(zip(map(str, content["columns"]), columns, strict=True))}
    lists = {key: value for key, value in content.items() if isinstance(value, list) and value}
    rows = {key: value for key, value in lists.items() if all(isinstance(row, dict) for row in value)}
    if rows:
        if all(key.lower() in SPLIT_WORDS for key in rows):
            return {str(split_of(key)): of_split for key, of_split in rows.items()}
        if len(rows) > 1:
            raise EmmsError(
                f"{name} contains several lists of objects: {', '.join(rows)}.", "Write a file with one list, or lines."
            )
        (only,) = rows.values()
        return {"train": _squad_rows(only) or only}
    if len(lists) > 1 and len({len(column) for column in lists.values()}) == 1:
        return {"train": lists}
    values = list(content.values())
    if len(values) > 1 and all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
        if all(key.isdecimal() for key in values[0]):  # columns as pandas writes them: cells by row number
            return {"train": {key: list(column.values()) for key, column in content.items()}}
        return {"train": values}
    return None


def _squad_rows(articles: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per question of articles in SQuAD's format; nothing for other rows."""
    if not all(isinstance(article.get("paragraphs"), list) for article in articles):
        return []
    return [
        {
            "id": question.get("id"),
            "context": paragraph["context"],
            "question": question["question"],
            "answers": {
                key: [answer[key] for answer in question.get("answers", ())] for key in ("text", "answer_start")
            },
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph.get("qas", ())
    ]


# ---- texts ---------------------------------------------------------------------------------------------------------


def texts_by_class(splits: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Read a text per file, whose folder is its class; nothing unless a split has several classes."""
    rows = {
        split: [
            {"text": _text(file), "label": file.parent.name}
            for file in files
            if split_of(file.parent.name) is None and file.parent.name.lower() not in _UNLABELLED
        ]
        for split, files in splits.items()
    }
    several = any(len({row["label"] for row in of_split}) > 1 for of_split in rows.values())
    return {split: as_dataset(of_split) for split, of_split in rows.items() if of_split} if several else {}


def documents_table(files: Sequence[Path]) -> Any:
    """Read a text per file."""
    return as_dataset([{"text": _text(file)} for file in files])


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EmmsError(f"{file.name} cannot be read: {error}", UTF_8) from error


def conll_arguments(file: Path) -> dict[str, Any]:
    """Return the arguments of the CoNLL reader of ``datasets``.

    Raises:
        EmmsError: The lines of the file have different forms.
    """
    if importlib.util.find_spec("datasets.packaged_modules.conll") is None:
        raise EmmsError(f"{file.name} requires a later version of datasets.", "pip install -U datasets")
    columns = columns_of_words(file)
    if columns is None:
        raise EmmsError(
            f"{file.name} is not in the CoNLL format: a word and its tags per line, the last one such as B-PER or O.",
            'Correct its lines, or write a .jsonl file: {"tokens": ["Ann", …], "ner_tags": ["B-PER", …]}',
        )
    return {"column_names": columns, "comment_prefix": _COMMENT if any(map(_is_comment, _first_lines(file))) else None}


def columns_of_words(file: Path) -> list[str] | None:
    """Return the column names of a file with a word and its tags per line, as CoNLL has them; None for other files."""
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
    return [line.decode("utf-8", "replace") for line in islice(lines_of(file), _FIRST_LINES)]


def _is_comment(line: str) -> bool:
    return line.startswith(_COMMENT) and not _TAG.fullmatch(line.split()[-1])


def are_word_tags(names: Collection[str]) -> bool:
    """Return whether texts are tags of the words of a sentence."""
    return any(map(_INSIDE.fullmatch, names)) and all(map(_TAG.fullmatch, names))
