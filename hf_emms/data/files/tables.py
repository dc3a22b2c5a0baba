"""Read the tables that ``datasets`` does not: objects of JSON such as SQuAD, texts in class folders, CoNLL."""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from hf_emms.data.files.lines import MAX_LINE, UTF_8, lines_of, opened
from hf_emms.data.files.memory import as_dataset
from hf_emms.errors import EmmsError

# Words in the names of files and folders → the split that they mean.
_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "publictrain"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "publictest", "privatetest"), "test"),
}
_WORDS = re.compile(r"[^\W_]+")
# Folders of texts that belong to no class.
_UNLABELED = ("unsup", "unlabeled", "unlabelled")
# Columns of CoNLL-U, and those between tokens and tags in files of CoNLL-2003.
_UNIVERSAL = ("position", "tokens", "lemma", "upos", "xpos", "features", "head", "relation", "deps", "misc")
_NAMES_BETWEEN = {4: ("pos_tags", "chunk_tags")}
# Tags in the schemes IOB, IOB2, BIOES and BILOU.
_TAG = re.compile(r"O|[BILOUES][-_].+")
_INSIDE = re.compile(r"[BI][-_].+")
_COMMENT = "# "
_FIRST_LINES = 200


def split_of(name: str) -> str | None:
    """Return the split that a name means in any case, such as "Testing" or "my_Train-2"; None for other names."""
    splits = {_SPLIT_WORDS[word] for word in _WORDS.findall(name.lower()) if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


# ---- JSON ----------------------------------------------------------------------------------------------------------


def json_objects(splits: Mapping[str, Sequence[Path]]) -> dict[str, Any] | None:
    """Read files that are a single JSON object as a ``datasets.Dataset`` per split; None for lists and lines."""
    import datasets

    tables = defaultdict[str, list[Any]](list)
    for split, files in splits.items():
        for file in files:
            rows = _rows_of_object(file)
            if rows is None:
                return None
            for name, of_split in rows.items():
                tables[name or split].append(as_dataset(of_split))
    return {split: datasets.concatenate_datasets(parts) for split, parts in tables.items()}


def _rows_of_object(file: Path) -> dict[str, Any] | None:
    """Return the rows of a file that is a single JSON object: its only list, a list per split, or else its columns.

    The keys are names of splits, or empty; the result is None for other files.
    """
    import pandas as pd  # type: ignore[import-untyped]

    with opened(file) as stream:
        start = stream.readline(MAX_LINE).removeprefix(b"\xef\xbb\xbf").strip()
        are_lines = start.endswith(b"}") and stream.readline(MAX_LINE).strip()
        if not start.startswith(b"{") or are_lines:
            return None
    with opened(file) as stream:
        whole = stream.read()
    try:
        content = json.loads(whole)
    except ValueError:  # the reader of ``datasets`` reports where
        return None
    if {"images", "annotations"} <= content.keys():
        problem = f"{file.name} is in the format of COCO, which has several objects per image"
        raise EmmsError("other-format", problem, "convert it to a row per image or object: see docs/tasks.md")
    lists = {key: value for key, value in content.items() if isinstance(value, list) and value}
    are_rows = lists and all(isinstance(row, dict) for rows in lists.values() for row in rows)
    if are_rows and (len(lists) == 1 or all(map(split_of, lists))):
        return {split_of(key) or "": _squad_rows(rows) or rows for key, rows in lists.items()}
    return {"": pd.read_json(io.BytesIO(whole), dtype=False)}


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
    """Read a folder with a text per file and a subfolder per class. Return nothing for fewer than two classes."""
    rows = {
        split: [
            {"text": _text(file), "label": file.parent.name}
            for file in files
            if split_of(file.parent.name) is None and file.parent.name.lower() not in _UNLABELED
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
        raise EmmsError("cannot-read", f"{file.name} cannot be read: {error}", UTF_8) from error


def conll_arguments(file: Path) -> dict[str, Any]:
    """Return the arguments of the CoNLL reader of ``datasets``.

    Raises:
        EmmsError: The lines of the file have different forms.
    """
    columns = columns_of_words(file)
    if columns is None:
        raise EmmsError(
            "malformed-file",
            f"{file.name} is not in the CoNLL format: a word and its tags per line, the last one such as B-PER or O",
            'correct its lines, or write a .jsonl file: {"tokens": ["Ann", …], "ner_tags": ["B-PER", …]}',
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
