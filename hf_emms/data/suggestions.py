"""Errors where no task fits the columns of a dataset, with the settings that read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hf_emms.data.cell_texts import are_addresses, detect_value_kind
from hf_emms.data.column_types import FLAGS, ColumnContents
from hf_emms.data.files.local import PANDAS_INDEX
from hf_emms.errors import EmmsError, Text, first_few, joined, setting_ref, setting_refs
from hf_emms.inputs import MODALITIES, TEXT
from hf_emms.tasks import TASKS, use_column
from hf_emms.tasks.text_pairs import spelling

# Types whose only column in a dataset must be the role's.
CLEAR_TYPES = ("class", "classes", "string", "strings", "integer", "float", FLAGS)
# A dataset with at least this many columns of numbers, and no others, is a table of numbers.
TABULAR = 2
# Names of columns that number or identify rows: never a label or an input unless named.
_ID_LIKE = re.compile(
    r"(?i:(.*[_\- .])?(ids?|idx|index|key|uuid|guid|no|nr)|unnamed: ?\d+|(row|line)_?(number|num|id)?)|.*(Id|ID)"
    rf"|{PANDAS_INDEX}\d+__"
)
# Parts of the names of labels: "binary_label".
_LABEL_WORDS = {"label", "labels", "class", "classes", "category"}
_DATE_TYPES = ("timestamp", "date")
# More different numbers than these are suggested as values.
_MAX_CLASSES = 20
# Texts that repeat are no classes where they are many, and as long as sentences.
_MIN_TEXTS, _MIN_CHARACTERS = 20, 30
_MAX_DESCRIBED = 20
# Cells of a column by which its texts are recognised.
FIRST = 1_000


def is_id_like(name: str, type: str) -> bool:
    return type in ("string", "integer", "float") and _ID_LIKE.fullmatch(name) is not None


def described(types: Mapping[str, str]) -> str:
    return first_few([f"{name} ({type})" for name, type in types.items()], _MAX_DESCRIBED)


def first_texts(contents: ColumnContents, name: str) -> list[str]:
    """Return the different texts among the first cells of a column; none where its cells are no texts."""
    if contents.types[name] != "string" or name not in contents.cells:
        return []
    texts = contents.cells[name].slice(0, FIRST).drop_null().unique().to_pylist()
    return sorted({text.strip() for text in texts} - {""})


def possible_labels(contents: ColumnContents) -> list[str]:
    """Return the columns that could be labels (classes, numbers, texts that repeat), preferably of usual names."""
    texts = _free_texts(contents)
    labels = [
        name
        for name, type in contents.types.items()
        if "." not in name
        and type in CLEAR_TYPES
        and not is_id_like(name, type)
        and name not in texts
        and (type not in ("string", "strings") or name in contents.repeating)
        and (type != "string" or len(first_texts(contents, name)) > 1)
    ]
    usual = _usual_labels(contents)
    named_so = [name for name in labels if _LABEL_WORDS.intersection(re.split(r"[_\W]", spelling(name)))]
    return [name for name in labels if spelling(name) in usual] or named_so or labels


def no_task(contents: ColumnContents, named: Mapping[str, str]) -> EmmsError:
    """Return the error that no task fits, which suggests columns."""
    types = {name: type for name, type in contents.types.items() if "." not in name}
    error = None if named else _suggestion(contents, types)
    if error is not None:
        return error
    return EmmsError(
        f"no task fits the columns {described(contents.types)}"
        + (f" with {', '.join(f'{role} = {names}' for role, names in named.items())}" if named else ""),
        "name the task and its columns, e.g. "
        + setting_refs(setting_ref("task", ...), use_column("image"), use_column("label"))
        + ", or "
        + use_column("text")
        + "; hf-emms presets lists the tasks",
    )


def _suggestion(contents: ColumnContents, types: Mapping[str, str]) -> EmmsError | None:
    """Return the error for columns of these types that says how they can be read; None where nothing can be said."""
    media_types = {kind.column_types[0] for kind in MODALITIES.values() if kind.recognised_by_type}
    keys = [name for name, type in types.items() if is_id_like(name, type)]
    media = [name for name, type in types.items() if type in media_types]
    numbers = [name for name, type in types.items() if type in ("integer", "float") and name not in keys]
    dates = [name for name, type in types.items() if type.startswith(_DATE_TYPES)]
    values = [
        name
        for name in types
        if detect_value_kind(first_texts(contents, name)) in ("dates or times", "numbers", "keys")
    ]
    texts = _free_texts(contents)
    labels = [name for name in possible_labels(contents) if name not in (*values, *(media or texts)[:1])]
    if dates and numbers and not (media or texts):
        return no_time_series(dates[0])
    has_text = any(_are_long(contents, name) for name in texts)
    stands_out = bool(texts and labels) and (has_text or len(labels) < len(numbers))
    if len(numbers) >= TABULAR and not (media or stands_out):
        return no_table(types, texts)
    if labels and (media or texts):
        if len(media) > 1:
            role = types[media[0]]
            remedy = setting_refs(use_column(role, *media), use_column("label", *labels))
            return EmmsError(
                f"a row has one {role}, not {' and '.join(media)}: {described(types)}", "name it: " + remedy
            )
        return unclear_label(contents, media or texts, labels)
    if len(texts) > 1 and not media:
        return EmmsError(
            f"no column is a label: {described(types)}", "two of the texts are read by " + _two_texts(texts)
        )
    if len(texts) == 1 and values + dates:
        return values_in_texts(contents, (values + dates)[0], None)
    if keys and len(types) < len(keys) + 2:
        remedy = "if it is the label: " + labelled(contents, texts, keys) if texts else use_column("label")
        return EmmsError(
            f"none of {described(types)} is clearly a label: {' and '.join(keys)} looks like a row number or a key",
            remedy,
        )
    only = f"there are no labels: {described(types)} is the only column"
    return EmmsError(only, "add a column of classes or values") if len(types) == 1 else None


def unclear_label(contents: ColumnContents, inputs: Sequence[str], labels: Sequence[str]) -> EmmsError:
    """Return the error that several columns may be the label, or the text, and how each is named."""
    types = {name: type for name, type in contents.types.items() if "." not in name}
    missing = "text" if len(inputs) > 1 and len(labels) == 1 else "label"
    return EmmsError(
        f"nothing says which column is the {missing}: {described(types)}",
        labelled_texts(contents, inputs, labels)
        if len(inputs) > 1
        else "name both: " + labelled(contents, inputs, labels),
    )


def no_table(types: Mapping[str, str], texts: Sequence[str]) -> EmmsError:
    return EmmsError(
        f"tabular data is not what hf-emms ranks for: none of {described(types)} is clearly a text or an image",
        "where one is a text, name it and the label: "
        + setting_refs(use_column("text", *texts[:1]), use_column("label")),
    )


def no_time_series(column: str) -> EmmsError:
    return EmmsError(
        f"forecasting of time series is not supported: column {column!r} holds dates, and no other is a text",
        "where one is a text, name it and the label: " + setting_refs(use_column("text"), use_column("label")),
    )


def values_in_texts(contents: ColumnContents, column: str, as_classes: Text | None) -> EmmsError:
    """Return the error of a label that holds values as texts or dates, with the settings that read it as classes."""
    texts = first_texts(contents, column)
    held = f"{detect_value_kind(texts)} in texts, such as {texts[0]!r}" if texts else "dates"
    remedy: str | Text = "for values write plain numbers into the column, of dates years or days"
    return EmmsError(
        f"column {column!r} holds {held}: nothing says whether they are classes or values",
        remedy + "; for classes: " + as_classes if as_classes is not None else remedy,
    )


def labelled_texts(contents: ColumnContents, texts: Sequence[str], labels: Sequence[str]) -> Text:
    """Return how to read several texts with any of some labels: two of them as a pair, or all joined."""
    whole = labelled(contents, [",".join(texts)], labels)
    if len(texts) != 2:
        return "as one text: " + whole
    return "as a pair: " + labelled(contents, texts, labels) + "; both as one text: " + whole


def labelled(contents: ColumnContents, inputs: Sequence[str], labels: Sequence[str]) -> Text:
    """Return the tasks that read inputs of these columns with a label, and their columns; labels are alternatives."""
    type = contents.types[inputs[0].split(",")[0]]
    readings = []
    for task in TASKS.built_in.values():
        reads_them = len(task.inputs) == len(inputs) and all(type in column.types for column in task.inputs)
        fits = [
            label
            for label in labels
            if contents.types[label] in task.label.types and _are_classes(contents, label) == task.categorical
        ]
        if reads_them and fits and (task.categorical or task.numbers is not None):
            columns = map(use_column, (column.name for column in task.inputs), inputs)
            readings.append(setting_refs(setting_ref("task", task.id), *columns, use_column(task.label.name, *fits)))
    if not readings:
        role = type if type in MODALITIES else TEXT.name
        return setting_refs(use_column(role, inputs[0]), use_column("label", *labels))
    return joined(readings, ", or ")


def _are_classes(contents: ColumnContents, label: str) -> bool:
    """Return whether a label is rather read as classes than as values."""
    type = contents.types[label]
    if type not in ("integer", "float"):
        return True
    return type == "integer" and len(contents.cells[label].drop_null().unique()) <= _MAX_CLASSES


def _free_texts(contents: ColumnContents) -> list[str]:
    """Return the columns of texts that are no classes, values, keys, or addresses beside other texts."""
    texts = [name for name, type in contents.types.items() if not is_id_like(name, type) and _are_free(contents, name)]
    return [name for name in texts if not are_addresses(first_texts(contents, name))] or texts


def is_class_like(contents: ColumnContents, name: str) -> bool:
    """Return whether the texts of a column are few, and repeat."""
    return name in contents.repeating and len(first_texts(contents, name)) < _MIN_TEXTS


def _are_free(contents: ColumnContents, name: str) -> bool:
    texts = first_texts(contents, name)
    if not texts or detect_value_kind(texts) is not None:
        return False
    return name not in contents.repeating or _are_long(contents, name)


def _are_long(contents: ColumnContents, name: str) -> bool:
    """Return whether texts are many, and as long as sentences."""
    texts = first_texts(contents, name)
    return len(texts) >= _MIN_TEXTS and sum(map(len, texts)) >= _MIN_CHARACTERS * len(texts)


def _two_texts(texts: Sequence[str]) -> Text:
    """Return the tasks of a text and another text, with the first two columns."""
    columns = {
        task.id: [*task.inputs, task.label]
        for task in TASKS.built_in.values()
        if task.is_text_to_text and len(task.inputs) == 1
    }
    return joined(
        (
            setting_refs(
                setting_ref("task", id),
                *(use_column(column.name, name) for column, name in zip(read, texts, strict=False)),
            )
            for id, read in columns.items()
        ),
        ", or ",
    )


def _usual_labels(contents: ColumnContents) -> set[str]:
    """Return the usual names of labels of other types than the inputs, of the tasks that read inputs of these types."""
    types = set(contents.types.values())
    return {
        name
        for task in TASKS.values()
        if not task.is_text_to_text and all(types.intersection(column.types) for column in task.inputs)
        for name in task.label.candidates
    }
