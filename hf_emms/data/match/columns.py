"""Determine the types of columns from their declared features, and from cells for a few documented layouts."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.data.files.media import MediaFiles, media_files, media_type, usual
from hf_emms.data.files.open_split import JoinedImages, OpenSplit
from hf_emms.inputs import MODALITIES, UnusableError
from hf_emms.ranking.reading import shortened

if TYPE_CHECKING:
    import pyarrow as pa

PLURALS = {"class": "classes", "bool": "bools", "integer": "integers", "float": "floats"} | {
    kind.column_types[0]: kind.column_types[1] for kind in MODALITIES.values() if len(kind.column_types) > 1
}
# Types that no task reads: paths whose first file is missing, and texts in a column of images or sounds.
_MISSING, NOT_FILES = "missing files", "texts that are no files"
# A conversation contains both the prompt and the response.
SHARED_TYPES = ("messages",)
_MEDIA_NAMES = ("image", "img", "jpg", "png", "audio", "wav", "mp3")

# Number of cells that determine whether a column contains paths.
_FIRST = 1_000
# Elements of a list in an example.
_MAX_ELEMENTS = 5
_MEDIA_TYPES = ("Video", "Pdf")
_BINARY = ("binary", "large_binary")
# Names of columns that are the place of a content, or that number or identify rows.
_PLACE_NAME = re.compile(r"(?i:(.*[_\- .])?(key|url|uri|path|link)_*|file_?names?)")
_ID_NAME = re.compile(
    r"(?i:(.*[_\- .])?(ids?|idx|index|uuid|guid|no|nr)_*|unnamed: ?\d+|(row|line)_?(number|num|id)?)|.*(Id|ID)"
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
        first: The first row, with encoded media.
    """

    types: dict[str, str]
    cells: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    joined: dict[str, Joined] = field(default_factory=dict)
    first: Mapping[str, Any] = field(default_factory=dict)

    def is_id(self, name: str) -> bool:
        """Return whether a column numbers or identifies rows, or is the place of their content."""
        is_plain = self.types[name] in ("string", "integer", "float")
        return is_plain and (self.is_place(name) or _ID_NAME.fullmatch(name) is not None)

    def is_place(self, name: str) -> bool:
        return _PLACE_NAME.fullmatch(name) is not None


def read_columns(split: OpenSplit) -> Columns:
    """Return the columns of a split with their types, and the cells of texts, numbers and lists of them."""
    types = column_types(split.rows.features)
    types |= _types_of_bytes(split, types) | _types_of_json(split) | dict.fromkeys(split.joined, "image")
    plain = ("string", "strings", "integer", "float", "classes", "integers", "floats", "bools")
    names = [name for name in split.rows.features if types[name] in plain]
    cells = split.select(names).with_format("arrow")[:].columns if names else []
    first: Mapping[str, Any] = next(iter(split.select(list(split.rows.features))), {})
    columns = Columns(types, dict(zip(names, cells, strict=True)), dict(split.joined), first)
    for name, cells in columns.cells.items():
        if types[name] == "float" and _are_integers(cells):
            types[name] = "integer"
        if types[name] in ("string", "integer"):
            _recognize_files(columns, split, name, cells)
    return columns


def column_of(name: str, names: Mapping[str, Any]) -> str:
    """Return the column of a field: "answers" for "answers.text"."""
    parts = name.split(".")  # a column may contain a point, too
    columns = (".".join(parts[:number]) for number in range(1, len(parts)))
    return next((column for column in columns if column in names), name)


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
    if dtype.startswith(("int", "uint")):
        return "integer"
    return "float" if dtype.startswith("float") else dtype


def _first_cell(split: OpenSplit, name: str) -> Any:
    row: dict[str, Any] = next(iter(split.select([name])), {})
    return row.get(name)


def _types_of_bytes(split: OpenSplit, types: Mapping[str, str]) -> dict[str, str]:
    """Determine from their first bytes whether undeclared binary columns contain images or sounds."""
    features = split.rows.features
    readers = {kind.column_types[0]: kind for kind in MODALITIES.values() if kind.recognized_by_type}
    untyped = [name for name, feature in features.items() if types[name] in readers and isinstance(feature, dict)]
    untyped += [name for name, feature in features.items() if getattr(feature, "dtype", "") in _BINARY]
    recognized = {}
    for name in untyped:
        cell: Any = _first_cell(split, name)
        content = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if isinstance(content, bytes):
            recognized[name] = next((type for type, kind in readers.items() if kind.recognizes(content)), "bytes")
    return recognized


def _types_of_json(split: OpenSplit) -> dict[str, str]:
    """Determine the types of columns with JSON lists from their first cell."""
    features = split.rows.features
    types = {}
    for name in features:
        if type(getattr(features[name], "feature", None)).__name__ == "Json":
            cell = _first_cell(split, name)
            kinds = (kind.column_types[0] for kind in MODALITIES.values() if kind.recognizes_cell(cell))
            types[name] = next(kinds, "list")
    return types


# ---- files -----------------------------------------------------------------------------------------------------------


def _recognize_files(columns: Columns, split: OpenSplit, name: str, cells: pa.ChunkedArray) -> None:
    """Set the type of a column of paths or of names of media."""
    values = [str(value) for value in cells.slice(length=_FIRST).to_pylist() if value is not None and value != ""]
    type = usual(map(media_type, values)) if columns.types[name] == "string" else None
    files = media_files(split.repo, split.folders, split.media_folder)
    if type is not None:
        first = next(value for value in values if media_type(value) == type)
        columns.types[name], columns.joined[name] = type if _is_file(files, first) else _MISSING, files
    elif values and set(values) <= set(files.by_name):
        type = usual(media_type(files.by_name[value].name) for value in values)
        if type is not None:
            columns.types[name], columns.joined[name] = type, files
    elif columns.types[name] == "string" and name.lower() in _MEDIA_NAMES:
        columns.types[name] = NOT_FILES


def _is_file(files: MediaFiles, path: str) -> bool:
    try:
        return files.find(path) is not None
    except UnusableError:
        return False


# ---- cells -----------------------------------------------------------------------------------------------------------


def _are_integers(cells: pa.ChunkedArray) -> bool:
    """Return whether floats are integers of a file without types, which become floats if a cell is empty."""
    values = np.asarray(cells, dtype=np.float64)
    is_empty = np.isnan(values)
    return bool(is_empty.any() and (~is_empty).any() and (values[~is_empty] == np.round(values[~is_empty])).all())


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


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column or field; a list of values for joined columns and lists of structs."""
    if name in row:
        return row[name]
    if "," in name:
        return [value_of(row, part) for part in name.split(",")]
    column = column_of(name, row)
    value, field = row[column], name.removeprefix(f"{column}.")
    if value is None:
        return None
    return value.get(field) if isinstance(value, Mapping) else [struct and struct.get(field) for struct in value]


def shown_cell(cell: Any) -> str:
    """Return a short form of a cell: a text in quotes, or the name of a file."""
    if isinstance(cell, str):
        return shortened(cell)
    if isinstance(cell, bytes):
        return f"{len(cell):,} bytes"
    if isinstance(cell, Mapping) and "bytes" in cell:
        return PurePath(cell["path"]).name if cell.get("path") else shown_cell(cell["bytes"])
    if isinstance(cell, Mapping):
        return shown_cell(" ".join(str(value) for value in cell.values()))
    if isinstance(cell, list):
        texts = [shown_cell(each).strip('"') for each in cell[:_MAX_ELEMENTS]]
        return shortened(", ".join(texts))
    return "" if cell is None else str(cell)
