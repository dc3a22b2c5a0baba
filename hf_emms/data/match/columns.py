"""Determine the types of columns from their declared features, and from cells for a few documented layouts."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.data.files.media import MediaFiles, media_files, media_type, usual
from hf_emms.data.files.open_split import JoinedImages, OpenSplit
from hf_emms.data.files.tables import are_word_tags
from hf_emms.inputs import MODALITIES, UnusableError

if TYPE_CHECKING:
    import pyarrow as pa

PLURALS = {"class": "classes", "integer": "integers", "float": "floats"} | {
    kind.column_types[0]: kind.column_types[1] for kind in MODALITIES.values() if len(kind.column_types) > 1
}
# Lists with a 0 or 1 per class.
FLAGS = "flags"
# The type of columns of paths whose first file is missing, which no task reads.
_MISSING = "missing files"

# Number of texts that determine the type of a column.
_TEXTS = 1_000
# A list of two, such as [0, 1], may be two class ids.
_MIN_FLAGS = 2
# Longer texts are not lists of classes, and longer parts are not classes.
_MAX_CLASS_LIST, _MAX_CLASS = 5_000, 50
_MEDIA_TYPES = ("Video", "Pdf")
_BINARY = ("binary", "large_binary")
_LISTS = ("classes", "integers", "floats")
# Names of columns that number or identify rows.
_ID_NAME = re.compile(
    r"(?i:(.*[_\- .])?(ids?|idx|index|key|uuid|guid|no|nr)|unnamed: ?\d+|(row|line)_?(number|num|id)?)|.*(Id|ID)"
    r"|__index_level_\d+__"
)
Joined = JoinedImages | MediaFiles


@dataclass
class Columns:
    """The columns of a dataset.

    Attributes:
        types: Column or field → type, see `column_types`.
        cells: Column → its cells in Arrow: texts, numbers, and lists of them.
        joined: Column → the media that its ids or paths represent.
        flag_counts: Column of lists of zeros and ones → length of the lists.
        word_tags: Columns of lists with a tag per word of a sentence.
    """

    types: dict[str, str]
    cells: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    joined: dict[str, Joined] = field(default_factory=dict)
    flag_counts: dict[str, int] = field(default_factory=dict)
    word_tags: set[str] = field(default_factory=set)
    _known: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Columns without the fields of structs."""
        return [name for name in self.types if column_of(name, self.types) == name]

    def first_texts(self, name: str) -> list[str]:
        return [text for text in self.cells[name].slice(length=_TEXTS).to_pylist() if text and text.strip()]

    def is_id(self, name: str) -> bool:
        return self.types[name] in ("string", "integer", "float") and _ID_NAME.fullmatch(name) is not None

    def repeats(self, name: str) -> bool:
        """Return whether texts look like classes, because most of them occur several times."""
        if self.types[name] != "string" or name not in self.cells:
            return False
        if (name, "repeats") not in self._known:
            texts = self.first_texts(name)
            if len(texts) == _TEXTS and max(map(len, texts)) <= _MAX_CLASS:  # there may be many classes
                texts = self.cells[name].drop_null().to_pylist()
            few = bool(texts) and 2 * len(set(texts)) <= len(texts)
            several = few or class_separator(self.cells[name].slice(length=_TEXTS)) is not None
            self._known[name, "repeats"] = several
        return bool(self._known[name, "repeats"])

    def varies(self, name: str) -> bool:
        """Return whether the first cells of a column are not all equal."""
        cells = self.cells[name].slice(length=_TEXTS).to_pylist()
        return any(cell != cells[0] for cell in cells)

    def is_zero_one(self, name: str) -> bool:
        values = self.distinct(name) if self.types[name] == "integer" else set()
        return bool(values) and values <= {0, 1}

    def distinct(self, name: str) -> set[Any]:
        """Return the distinct cells of a column of texts or numbers."""
        if (name, "distinct") not in self._known:
            is_plain = self.types[name] in ("string", "integer", "float") and name in self.cells
            cells = self.cells[name].unique().to_pylist() if is_plain else []
            self._known[name, "distinct"] = {value for value in cells if value is not None and value == value}
        values: set[Any] = self._known[name, "distinct"]
        return values

    def are_classes(self, name: str, most: int) -> bool:
        """Return whether a column may contain classes: repeated texts, or few different whole numbers."""
        if self.types[name] != "integer":
            return self.types[name] in ("class", "classes", FLAGS) or self.repeats(name)
        values = self.distinct(name)
        return 1 < len(values) <= most and len(values) < len(self.cells[name].drop_null())


def read_columns(split: OpenSplit) -> Columns:
    """Return the columns of a split with their types.

    Reads all numbers and lists of a table, and its first texts.
    """
    types = column_types(split.rows.features)
    types |= _types_of_bytes(split, types) | _types_of_json(split) | dict.fromkeys(split.joined, "image")
    names = [name for name in split.rows.features if types[name] in ("string", "strings", "integer", "float", *_LISTS)]
    cells = split.select(names).with_format("arrow")[:].columns if names else []
    columns = Columns(types, dict(zip(names, cells, strict=True)), dict(split.joined))
    for name, cells in columns.cells.items():
        type = types[name]
        if type in _LISTS or type == "strings":
            _recognize_list(columns, name, cells, getattr(element_of(split.rows.features[name]), "names", None))
        elif type == "float" and _are_whole(cells):
            types[name] = "integer"
        if type in ("string", "integer"):
            _recognize_files(columns, split, name, cells)
    return columns


def column_of(name: str, names: Mapping[str, Any]) -> str:
    """Return the column of a field: "answers" for "answers.text"."""
    column = name.partition(".")[0]
    return column if column in names else name


def names_in(joined: str, names: Mapping[str, Any]) -> list[str]:
    """Split a setting such as "title,body"; a name with a comma is one column if it exists."""
    return [joined] if joined in names else joined.split(",")


def column_types(features: Mapping[str, Any]) -> dict[str, str]:
    """Return the type of each column: "image", "class", "string", "integer", "float", "struct", …; plurals are lists.

    The fields of structs, and of lists of them, follow their column as "answers.text".
    """
    types = {}
    for name, feature in features.items():
        feature = as_struct(feature)
        types[name] = _type_of(feature)
        element = element_of(feature)
        if isinstance(element, Mapping) and _type_of(element) == "struct":
            for field_name, inner in element.items():
                type = _type_of(inner)
                types[f"{name}.{field_name}"] = type if element is feature else PLURALS.get(type, "list")
    return types


def as_struct(feature: Any) -> Any:
    """Return a `datasets.Translation` as a struct with a text per language. Other types stay."""
    import datasets

    return dict.fromkeys(feature.languages, datasets.Value("string")) if hasattr(feature, "languages") else feature


def element_of(feature: Any) -> Any:
    """Return the type of a list's elements; other types unchanged."""
    return getattr(feature, "feature", feature)


def _type_of(feature: Any) -> str:
    if type(feature).__name__ == "ClassLabel":
        return "class"
    for kind in MODALITIES.values():
        if kind.holds(feature):
            return kind.column_types[0]
    if type(feature).__name__ in _MEDIA_TYPES:
        return type(feature).__name__.lower()
    if isinstance(feature, Mapping):
        return "struct"
    if element_of(feature) is not feature:
        return PLURALS.get(_type_of(element_of(feature)), "list")
    dtype = str(getattr(feature, "dtype", type(feature).__name__))
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return "integer"
    return "float" if dtype.startswith("float") else dtype


def _first_cell(split: OpenSplit, name: str) -> Any:
    row: dict[str, Any] = next(iter(split.select([name])), {})
    return row.get(name)


def _types_of_bytes(split: OpenSplit, types: Mapping[str, str]) -> dict[str, str]:
    """Determine from their first bytes whether undeclared binary columns contain images or sounds."""
    features = split.rows.features
    readers = {kind.column_types[0]: kind for kind in MODALITIES.values() if kind.recognized_by_type}
    untyped = [name for name, feature in features.items() if types[name] in readers and not hasattr(feature, "_type")]
    untyped += [name for name, feature in features.items() if getattr(feature, "dtype", "") in _BINARY]
    recognized = {}
    for name in untyped:
        cell: Any = _first_cell(split, name)
        content = cell.get("bytes") if isinstance(cell, Mapping) else cell
        for type, kind in readers.items():
            if isinstance(content, bytes) and kind.recognizes(content):
                recognized[name] = type
    return recognized


def _types_of_json(split: OpenSplit) -> dict[str, str]:
    """Determine the types of columns with JSON lists from their first cell."""
    features = split.rows.features
    types = {}
    for name in features:
        if getattr(getattr(features[name], "feature", None), "_type", "") == "Json":
            cell = _first_cell(split, name)
            kinds = (kind.column_types[0] for kind in MODALITIES.values() if kind.recognizes_cell(cell))
            types[name] = next(kinds, "list")
    return types


# ---- files -----------------------------------------------------------------------------------------------------------


def _recognize_files(columns: Columns, split: OpenSplit, name: str, cells: pa.ChunkedArray) -> None:
    """Set the type of a column of paths or of names of media."""
    values = [str(value) for value in cells.slice(length=_TEXTS).to_pylist() if value is not None and value != ""]
    type = usual(map(media_type, values)) if columns.types[name] == "string" else None
    files = media_files(split.repo, split.folders, split.media_folder)
    if type is not None:
        first = next(value for value in values if media_type(value) == type)
        columns.types[name], columns.joined[name] = type if _is_file(files, first) else _MISSING, files
    elif values and set(values) <= set(files.by_name):
        type = usual(media_type(files.by_name[value].name) for value in values)
        if type is not None:
            columns.types[name], columns.joined[name] = type, files


def _is_file(files: MediaFiles, path: str) -> bool:
    try:
        return files.find(path) is not None
    except UnusableError:
        return False


# ---- lists -----------------------------------------------------------------------------------------------------------


def _recognize_list(columns: Columns, name: str, cells: pa.ChunkedArray, class_names: list[str] | None) -> None:
    """Recognize lists with a tag per word, or with a 0 or 1 per class."""
    import pyarrow.compute as pc

    if columns.types[name] == "strings":
        texts = pc.list_flatten(cells.slice(length=_TEXTS)).drop_null().unique().to_pylist()
        if are_word_tags(texts):
            columns.word_tags.add(name)
    elif class_names and are_word_tags(class_names):
        columns.word_tags.add(name)
    elif (count := _flag_count(cells, class_names)) is not None:
        columns.types[name], columns.flag_counts[name] = FLAGS, count


def _lengths(cells: pa.ChunkedArray) -> np.ndarray:
    """Return the length of each list; −1 for an empty cell."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.list_value_length(cells), -1))


def _flag_count(cells: pa.ChunkedArray, class_names: list[str] | None) -> int | None:
    """Return the length of lists with a 0 or 1 per class; None for other lists, such as class ids."""
    import pyarrow.compute as pc

    cells = cells.drop_null()
    lengths = np.unique(_lengths(cells))
    if len(lengths) != 1 or lengths[0] < _MIN_FLAGS or (class_names and len(class_names) != lengths[0]):
        return None
    values = pc.list_flatten(cells)
    if values.null_count or not set(values.unique().to_pylist()) <= {0, 1}:
        return None
    ones = np.asarray(values).reshape(-1, lengths[0]).sum(axis=1)
    # The ids in a list are unique.
    are_flags = lengths[0] > _MIN_FLAGS or bool((ones != 1).any())
    return int(lengths[0]) if are_flags else None


def _are_whole(cells: pa.ChunkedArray) -> bool:
    """Return whether all floats are whole numbers, as integers become if a cell is empty."""
    values = np.asarray(cells.drop_null(), dtype=np.float64)
    values = values[~np.isnan(values)]
    return len(values) > 0 and bool((values == np.round(values)).all()) and bool(np.isfinite(values).all())


# ---- several classes in a text ---------------------------------------------------------------------------------------


def class_separator(cells: pa.ChunkedArray) -> str | None:
    """Return the character between several classes in a text: |, ; or a comma; None if a text is a single class.

    One bar is enough, and so are brackets around all texts. A semicolon separates classes if one part occurs in
    several texts, a comma if most parts do, because names such as "tench, Tinca tinca" contain commas.
    """
    distinct = sorted({text.strip() for text in cells.drop_null().unique().to_pylist()})
    if not distinct or any(len(text) > _MAX_CLASS_LIST for text in distinct):
        return None
    bars = any(re.search(r"[^|\s]\s*\|\s*[^|\s]", text) for text in distinct)
    if bars or all(re.fullmatch(r"\[.*\]|\(.*\)", text) for text in distinct):
        return "|"
    if all(re.fullmatch(r"[01]( [01])+", text) for text in distinct):
        return " "
    for separator in ";,":
        split_texts = [set(split_classes(text, separator)) for text in distinct]
        parts = {part for several in split_texts if len(several) > 1 for part in several}
        times = Counter(part for several in split_texts for part in several)
        shared = sum(times[part] > 1 for part in parts)
        are_decimals = all(re.fullmatch(r"-?\d+,\d+", text) for text in distinct)
        few_are_enough = separator == ";" or all(map(str.isdigit, parts))
        if any(len(part) > _MAX_CLASS for part in parts) or are_decimals:
            continue
        if shared and (few_are_enough or 2 * shared > len(parts)):
            return separator
    return None


def split_classes(text: str, separator: str) -> list[str]:
    """Return the classes in a text: "a|b", "['a', 'b']", "('a', 'b')", "[0 1 0]"."""
    text = text.strip()
    if (text[:1], text[-1:]) not in (("[", "]"), ("(", ")")):
        return [part.strip() for part in text.split(separator) if part.strip()]
    try:
        return [str(part) for part in ast.literal_eval(text)]
    except (ValueError, SyntaxError):
        inside = text[1:-1]
        parts = inside.split(",") if "," in inside else inside.split()
        return [part.strip(" '\"") for part in parts if part.strip(" '\"")]


def flag_count_in_texts(texts: Sequence[str], separator: str) -> int | None:
    """Return the length of lists with a 0 or 1 per class that are written as texts; None for other texts."""
    import pyarrow as pa

    flags = [[int(part) if part in ("0", "1") else -1 for part in split_classes(text, separator)] for text in texts]
    return _flag_count(pa.chunked_array([flags]), None)
