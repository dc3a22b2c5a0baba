"""The types of a dataset's columns, by their features and by their cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.data.cell_texts import class_separator, split_classes
from hf_emms.data.files.local import remedy_for
from hf_emms.data.files.media import (
    ENCODED,
    EncodedMedia,
    MediaFiles,
    check_first,
    encoded_type,
    is_document,
    is_readable,
    media_files,
    media_type,
    usual,
)
from hf_emms.data.files.open_split import JoinedImages, OpenSplit, translate_errors
from hf_emms.data.files.tables import are_word_tags
from hf_emms.errors import EmmsError, Text
from hf_emms.inputs import MODALITIES

if TYPE_CHECKING:
    import pyarrow as pa

PLURALS = {"class": "classes", "integer": "integers", "float": "floats"} | {
    kind.column_types[0]: kind.column_types[1] for kind in MODALITIES.values() if len(kind.column_types) > 1
}
# Types of columns that may hold both input and label: a conversation ends with the response.
SHARED_TYPES = ("messages",)
# Lists of 0 or 1 for each class, which say which classes a row has.
FLAGS = "flags"
# Paths of media that cannot be opened; names of files that no kind of input reads.
PATH, FILE_NAME = "path", "file name"

# Rows of a stream, and texts of a table, by which columns are recognised.
_STREAMED_ROWS, _TEXTS = 100, 1_000
# A list of two, [0, 1], may be both classes.
_MIN_FLAGS = 2
_MEDIA_TYPES = ("Video", "Pdf")
_BINARY = ("binary", "large_binary")
_LISTS = ("classes", "integers", "floats")
Joined = JoinedImages | MediaFiles | EncodedMedia


@dataclass(frozen=True)
class ColumnContents:
    """The columns of a dataset: their types by features and by cells.

    Attributes:
        types: column or field → type, see `column_types`.
        zero_one: columns whose cells are all 0 or 1, or false or true.
        word_tags: columns whose lists hold a tag for each word of a sentence.
        flag_counts: column of lists of zeros and ones → the length of the lists.
        repeating: columns of texts of which at most half are different, as of classes, or that hold several classes.
        joined: column → the media behind its cells: by their ids, by their paths, or in base64.
        problems: column → why its files cannot be read.
        cells: column → the cells that were read, as Arrow has them: texts, numbers, and lists of them.
    """

    types: Mapping[str, str]
    zero_one: frozenset[str] = frozenset()
    word_tags: frozenset[str] = frozenset()
    flag_counts: Mapping[str, int] = field(default_factory=dict)
    repeating: frozenset[str] = frozenset()
    joined: Mapping[str, Joined] = field(default_factory=dict)
    problems: Mapping[str, EmmsError] = field(default_factory=dict)
    cells: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)

    def are_aligned(self, first: str, second: str) -> bool:
        """Return whether two columns of lists have lists of the same lengths, which differ from row to row."""
        if first not in self.cells or second not in self.cells:
            return False
        lengths, others = (_lengths(self.cells[name].slice(length=_TEXTS)) for name in (first, second))
        return np.array_equal(lengths, others) and len(np.unique(lengths)) > 1


def look_into(split: OpenSplit) -> ColumnContents:
    """Return the columns of a split by types and by cells, which show paths of pictures, zeros and ones, tags of words.

    All numbers and lists and the first texts of a table are read, or the first rows of a stream.
    """
    types = column_types(split.rows.features)
    types |= _types_of_bytes(split, types) | _types_of_json(split) | dict.fromkeys(split.joined, "image")
    looked_at = ("string", "strings", "integer", "float", *_LISTS)
    names = [name for name in split.rows.features if types[name] in looked_at]
    table = _first_rows(split, names)
    contents = ColumnContents(types, joined=split.joined, cells=dict(zip(names, table.columns, strict=True)))
    for name, column in contents.cells.items():
        contents = _with_column(contents, split, name, column)
    return replace(contents, word_tags=contents.word_tags | _aligned_tags(contents))


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
            for field, inner in element.items():
                type = _type_of(inner)
                types[f"{name}.{field}"] = type if element is feature else PLURALS.get(type, "list")
    return types


def as_struct(feature: Any) -> Any:
    """Return the texts of a `datasets.Translation` by their languages; other types unchanged."""
    import datasets

    return dict.fromkeys(feature.languages, datasets.Value("string")) if hasattr(feature, "languages") else feature


def _types_of_bytes(split: OpenSplit, types: Mapping[str, str]) -> dict[str, str]:
    """Return the types of columns of bytes that the dataset does not describe, by the start of the bytes."""
    features = split.rows.features
    readers = {kind.column_types[0]: kind for kind in MODALITIES.values() if kind.recognised_by_type}
    untyped = [name for name, feature in features.items() if types[name] in readers and not hasattr(feature, "_type")]
    if not split.streaming:  # a stream would fetch many large cells
        untyped += [name for name, feature in features.items() if getattr(feature, "dtype", "") in _BINARY]
    recognised = {}
    for name in untyped:
        with translate_errors(split.name, split.repo, split.config):
            cell = next(iter(split.select([name])), {}).get(name)
        content = cell.get("bytes") if isinstance(cell, Mapping) else cell
        for type, kind in readers.items():
            if isinstance(content, bytes) and kind.recognises(content):
                recognised[name] = type
    return recognised


def _types_of_json(split: OpenSplit) -> dict[str, str]:
    """Return the types of columns of lists of JSON, by their first cell."""
    features = split.rows.features
    lists = [name for name in features if getattr(getattr(features[name], "feature", None), "_type", "") == "Json"]
    types = {}
    for name in lists:
        with translate_errors(split.name, split.repo, split.config):
            cell = next(iter(split.select([name])), {}).get(name)
        kinds = (kind.column_types[0] for kind in MODALITIES.values() if kind.recognises_cell(cell))
        types[name] = next(kinds, "list")
    return types


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


def _first_rows(split: OpenSplit, names: list[str]) -> pa.Table:
    import pyarrow as pa

    if not names:
        return pa.table({})
    rows = split.select(names)
    if split.streaming:
        with translate_errors(split.name, split.repo, split.config):
            first = list(rows.take(_STREAMED_ROWS))
        return pa.table({name: pa.array([row[name] for row in first]) for name in names})
    return rows.with_format("arrow")[:]


def _with_column(contents: ColumnContents, split: OpenSplit, name: str, column: pa.ChunkedArray) -> ColumnContents:
    """Return the contents with the cells of a further column."""
    type = contents.types[name]
    if type == "string":
        contents = _with_repeating(contents, name, column.slice(length=_TEXTS).drop_null())
        return _with_paths(contents, split, name, column)
    if type == "strings":
        words = _flat(column.slice(length=_TEXTS)).drop_null()
        contents = _with_repeating(contents, name, words)
        are_tags = are_word_tags(words.unique().to_pylist())
        return replace(contents, word_tags=contents.word_tags | {name}) if are_tags else contents
    if type in _LISTS:
        feature = element_of(split.rows.features[name])
        class_names = getattr(feature, "names", None)
        if class_names and are_word_tags(class_names):
            return replace(contents, word_tags=contents.word_tags | {name})
        count = _flag_count(column, class_names)
        if count is None:
            return contents
        return replace(_with_type(contents, name, FLAGS), flag_counts={**contents.flag_counts, name: count})
    if type == "integer":
        return _with_zero_one(_with_stems(contents, split, name, column), name, column)
    if type == "float" and not split.streaming and _are_whole(column):
        return _with_zero_one(_with_type(contents, name, "integer"), name, column)
    return contents


def _with_type(contents: ColumnContents, name: str, type: str) -> ColumnContents:
    return replace(contents, types={**contents.types, name: type})


def _with_repeating(contents: ColumnContents, name: str, texts: pa.ChunkedArray) -> ColumnContents:
    half = len(texts) and 2 * len(texts.unique()) <= len(texts)
    are_repeating = half or class_separator(texts) is not None
    return replace(contents, repeating=contents.repeating | {name}) if are_repeating else contents


def _with_zero_one(contents: ColumnContents, name: str, column: pa.ChunkedArray) -> ColumnContents:
    values = set(column.drop_null().unique().to_pylist())
    return replace(contents, zero_one=contents.zero_one | {name}) if values and values <= {0, 1} else contents


def _with_paths(contents: ColumnContents, split: OpenSplit, name: str, column: pa.ChunkedArray) -> ColumnContents:
    """Return the contents with a column of texts, which are paths if the first texts end as names of media do."""
    values = [value for value in column.slice(length=_TEXTS).to_pylist() if value]
    encoded = encoded_type(values)
    if encoded is not None:
        return _with_encoded(contents, name, encoded)
    if usual(FILE_NAME if is_document(value) else None for value in values):
        return _with_problem(
            contents,
            name,
            FILE_NAME,
            f"column {name!r} holds names of files, such as {values[0][:100]!r}, which are no texts",
            f"{remedy_for(values[:1])} Or leave the column out.",
        )
    type = usual(map(media_type, values))
    if type is None:
        return _with_stems(contents, split, name, column)
    values = [value for value in values if media_type(value) == type]
    if not is_readable(type):
        return _with_type(contents, name, type)
    files = media_files(split.repo, split.folders, split.media_folder)
    try:
        check_first(files, split.repo, name, values[0])
    except EmmsError as problem:
        return _with_problem(contents, name, PATH, problem.problem, problem.remedy)
    return replace(_with_type(contents, name, type), joined={**contents.joined, name: files})


def _with_encoded(contents: ColumnContents, name: str, type: str) -> ColumnContents:
    """Return the contents with a column of files in base64."""
    if type == ENCODED:
        problem = f"column {name!r} holds files in base64 that are neither pictures nor sounds in a known format"
        return _with_problem(contents, name, ENCODED, problem, "save them as PNG, JPEG, WAV or FLAC")
    return replace(_with_type(contents, name, type), joined={**contents.joined, name: EncodedMedia()})


def _with_problem(
    contents: ColumnContents, name: str, type: str, problem: str | Text, remedy: str | Text | None
) -> ColumnContents:
    contents = _with_type(contents, name, type)
    return replace(contents, problems={**contents.problems, name: EmmsError(problem, remedy)})


def _with_stems(contents: ColumnContents, split: OpenSplit, name: str, column: pa.ChunkedArray) -> ColumnContents:
    """Return the contents with a column that may name media of a folder without suffix, as "0a1b" for 0a1b.jpg."""
    if split.media_folder is None:
        return contents
    values = {str(value) for value in column.slice(length=_TEXTS).to_pylist() if value is not None}
    files = media_files(split.repo, split.folders, split.media_folder)
    if not values or not values <= set(files.by_name):
        return contents
    types = {media_type(files.by_name[value].name) for value in values}
    if len(types) > 1:
        return contents
    (type,) = types
    assert type is not None, "files by name are of media"
    return replace(_with_type(contents, name, type), joined={**contents.joined, name: files})


def _flat(column: pa.ChunkedArray) -> Any:
    import pyarrow.compute as pc

    return pc.list_flatten(column)


def _lengths(column: pa.ChunkedArray) -> np.ndarray:
    """Return the length of each list; −1 for an empty cell."""
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.list_value_length(column), -1))


def _flag_count(column: pa.ChunkedArray, class_names: list[str] | None) -> int | None:
    """Return the length of lists of zeros and ones that are no lists of the classes 0 and 1; None for other lists."""
    column = column.drop_null()
    lengths = np.unique(_lengths(column))
    if len(lengths) != 1 or lengths[0] < _MIN_FLAGS or (class_names and len(class_names) != lengths[0]):
        return None
    values = _flat(column)
    if values.null_count or not set(values.unique().to_pylist()) <= {0, 1}:
        return None
    ones = np.asarray(values).reshape(-1, lengths[0]).sum(axis=1)
    # The ids in a list are unique.
    are_flags = lengths[0] > _MIN_FLAGS or bool((ones != 1).any())
    return int(lengths[0]) if are_flags else None


def flag_count_in_texts(column: pa.ChunkedArray, separator: str) -> int | None:
    """Return the length of lists of zeros and ones that are written as texts; None for other texts."""
    import pyarrow as pa

    texts = column.drop_null().to_pylist()
    flags = [[int(part) if part in ("0", "1") else -1 for part in split_classes(text, separator)] for text in texts]
    return _flag_count(pa.chunked_array([flags]), None)


def _are_whole(column: pa.ChunkedArray) -> bool:
    """Return whether floats are whole numbers, as integers become in a column with an empty cell."""
    values = np.asarray(column.drop_null(), dtype=np.float64)
    values = values[~np.isnan(values)]
    return len(values) > 0 and bool(np.array_equal(values, np.round(values))) and bool(np.isfinite(values).all())


def _aligned_tags(contents: ColumnContents) -> frozenset[str]:
    """Return the columns whose lists of classes or numbers are as long as the lists of words in each row."""
    types = contents.types
    lengths = {
        name: _lengths(column.slice(length=_TEXTS))
        for name, column in contents.cells.items()
        if types[name] in ("strings", "classes", "integers")
    }
    return frozenset(
        tags
        for pair in combinations(lengths, 2)
        for words, tags in (pair, pair[::-1])
        if types[words] == "strings"
        and types[tags] != "strings"
        and len(np.unique(lengths[words])) > 1
        and np.array_equal(lengths[words], lengths[tags])
    )
