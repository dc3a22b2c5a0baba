"""Checks of columns that were named or inferred: each raises an `EmmsError` that tells how to name the right ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hf_emms.data.column_types import FLAGS, ColumnContents
from hf_emms.data.local_files import PANDAS_INDEX
from hf_emms.errors import EmmsError, joined, together, use
from hf_emms.tasks import TASKS, Column, Task, use_column
from hf_emms.tasks.other_tasks import OTHER_TASKS
from hf_emms.tasks.text_pairs import text_pairs
from hf_emms.tasks.token_classification import TOKEN_CLASSIFICATION

# Names of columns that number or identify rows: never a label or an input unless named.
_ID_LIKE = re.compile(
    r"(?i:(.*[_\- .])?(ids?|idx|index|key|uuid|guid|no|nr)|unnamed: ?\d+|(row|line)_?(number|num|id)?)|.*(Id|ID)"
    rf"|{PANDAS_INDEX}\d+__"
)
# Types whose only column in a dataset must be the role's.
CLEAR_TYPES = ("class", "classes", "string", "strings", "integer", "float", FLAGS)
# More different numbers than these may be classes or values.
_MAX_NUMBERED_CLASSES = 20
_MAX_DESCRIBED = 20
# A dataset with at least this many columns of numbers, and no others, is a table of numbers.
TABULAR = 2


def is_id_like(name: str, type: str) -> bool:
    return type in ("string", "integer", "float") and _ID_LIKE.fullmatch(name) is not None


def usual_labels() -> set[str]:
    """Return the usual names of labels: of another type than the input, of classes, or of values."""
    return {name for task in TASKS.values() if not task.is_text_to_text for name in task.label.candidates}


def possible_labels(contents: ColumnContents) -> list[str]:
    """Return the columns that could be labels (classes, numbers, texts that repeat), preferably of usual names."""
    labels = [
        name
        for name, type in contents.types.items()
        if "." not in name
        and type in CLEAR_TYPES
        and not is_id_like(name, type)
        and (type not in ("string", "strings") or name in contents.repeating)
    ]
    usual = usual_labels()
    return [name for name in labels if name.lower() in usual] or labels


def column_of(name: str) -> str:
    """Return the column of a field's name: "answers" for "answers.text"."""
    return name.partition(".")[0]


def check_exist(named: Mapping[str, str], types: Mapping[str, str]) -> None:
    for role, names in named.items():
        for name in names.split(","):
            if name not in types and column_of(name) not in types:
                close = difflib.get_close_matches(name, types, n=1)
                raise EmmsError(
                    f"there is no column {name!r}; it has: {described(types)}",
                    use_column(role, *close),
                )


def checked_group_column(name: str | None, types: Mapping[str, str]) -> str | None:
    if name is not None and types.get(name) not in (None, "class", "string", "integer"):
        raise EmmsError(
            f"column {name!r} holds {types[name]}: groups are texts, classes or whole numbers", use("group_column", ...)
        )
    if name is not None and name not in types:
        close = difflib.get_close_matches(name, types, n=1)
        raise EmmsError(
            f"there is no column {name!r}; it has: {described(types)}",
            use("group_column", *(close or (...,))),
        )
    return name


def check_column(task: Task, role: str, names: str, types: Mapping[str, str]) -> str:
    """Return the names of the columns for a role, checked; for a struct the name of the field that the task reads."""
    if role not in task.all_columns:
        raise EmmsError(
            f"{task.id} has no {role} column",
            "its columns are " + joined(map(use_column, task.all_columns)),
        )
    return ",".join(_checked_name(task, task.all_columns[role], name, types) for name in names.split(","))


def _checked_name(task: Task, column: Column, name: str, types: Mapping[str, str]) -> str:
    hint = use_column(column.name)
    if name not in types:
        raise EmmsError(f"there is no column {name!r}; the dataset has {described(types)}", hint)
    if types[name] in column.types:
        return name
    fields = {column.spelling(field): field for field in types if field.startswith(f"{name}.")}
    for candidate in column.candidates:
        if candidate in fields and types[fields[candidate]] in column.types:
            return fields[candidate]
    raise EmmsError(
        f"column {name!r} holds {types[name]}; the {column.name} of {task.id} must be {' or '.join(column.types)}",
        hint + f"; the dataset has {described(types)}",
    )


def check_inferred_label(contents: ColumnContents, task: Task, label: str, *, chosen: bool) -> None:
    """Refuse a label that was not named: it numbers rows, or is not clear and the task was not `chosen`."""
    is_usual = task.label.is_called(label)
    type = contents.types.get(label)
    if type not in ("string", "integer", "float") or (is_usual and (chosen or type != "integer")):
        return
    cells = contents.cells[label].drop_null()
    this_one = together(use("task", task.id), use_column(task.label.name, label))
    hint = "name the label: " + use_column(task.label.name) + ", or this one if it is meant: " + this_one
    n_different = len(cells.unique())
    if type != "string":
        numbers = np.asarray(cells)
        if (
            not is_usual
            and len(numbers) == len(contents.cells[label]) > 1
            and (np.diff(numbers.astype(float)) > 0).all()
        ):
            raise EmmsError(
                f"column {label!r} may be a row number, not a label: its values are all different and increase",
                hint,
            )
        if not chosen and _are_unclear(numbers, n_different, task, is_usual):
            readings = [
                other.id
                for other in TASKS.built_in.values()
                if other.input == task.input
                and type in other.label.types
                and (other.categorical or other.numbers is not None)
            ]
            raise EmmsError(
                f"the {n_different} different numbers in column {label!r} may be classes or values, and nothing says "
                "which",
                joined((together(use("task", id), use_column(task.label.name, label)) for id in readings), ", or "),
            )
    elif not chosen and task.categorical and len(cells) > _MAX_NUMBERED_CLASSES and 2 * n_different > len(cells):
        raise EmmsError(
            f"column {label!r} is the only one that could be the label, and holds {n_different} different texts in "
            f"{len(cells)} rows: no classes",
            hint,
        )


def _are_unclear(numbers: np.ndarray, n_different: int, task: Task, is_usual: bool) -> bool:
    """Return whether numbers may be classes as well as values; ids of many classes leave no gap."""
    if numbers.dtype == bool or not len(numbers):
        return False
    if not is_usual and task.numbers is not None:
        return True
    have_gaps = numbers.max() - numbers.min() + 1 != n_different
    return task.categorical and n_different > _MAX_NUMBERED_CLASSES and (have_gaps or not is_usual)


def check_inferred_text(
    task: Task, columns: Mapping[str, str], contents: ColumnContents, named: Mapping[str, str]
) -> None:
    """Refuse a text that was recognised by its type alone, and whose values repeat as classes do."""
    for column in task.inputs:
        name = columns[column.name]
        if column.name in named or column.is_called(name) or name not in contents.repeating:
            continue
        types = {name: type for name, type in contents.types.items() if "." not in name}
        if sum(type in ("integer", "float") for type in types.values()) >= TABULAR:
            raise no_table(types, [name])
        raise EmmsError(
            f"column {name!r} is the only one that could be the {column.name}, and its values repeat as classes do",
            "if it is meant: " + together(use("task", task.id), use_column(column.name, name)),
        )


def check_unsupported(contents: ColumnContents, columns: Mapping[str, str], task: Task | None) -> None:
    """Refuse a dataset of an unsupported task, and a task that reads a single text of a pair.

    `task` is None where none fits. A label of an expected name is trusted, whatever else the dataset holds.
    """
    read = {name for names in columns.values() for name in names.split(",")}
    if task is not None:
        check_word_tags(contents, columns, task)
    types = {name: type for name, type in contents.types.items() if "." not in name}
    pair = next(text_pairs([name for name, type in types.items() if type == "string"]), ())
    reads_media = task is not None and any(column.kind.recognised_by_type for column in task.inputs)
    labels = [columns[task.label.name]] if task is not None else possible_labels(contents)
    if pair and labels and not read.issuperset(pair) and not reads_media:
        label = use_column("label", labels[0])
        as_pairs = (
            together(use("task", other.id), *map(use_column, other.columns, (*pair, labels[0])))
            for other in TASKS.built_in.values()
            if len(other.inputs) == len(pair)
            and (task is None or other.categorical == task.categorical)
            and all(column.types == ("string",) for column in other.inputs)
        )
        hint = "as a pair: " + next(as_pairs) + "; both as one text: "
        hint += together(use_column("text", ",".join(pair)), label)
        if task is not None:
            hint += "; the first one alone: " + together(use("task", task.id), use_column("text", pair[0]), label)
        raise EmmsError(
            f"{' and '.join(pair)} belong together" + (f", and {task.id} would read one of them" if task else ""),
            hint,
        )
    if task is not None and task.label.is_called(columns[task.label.name]):
        return
    for other in OTHER_TASKS:
        signs = other.columns_in(types)
        if signs and not read.issuperset(signs) and TASKS.find(other.id) is None:
            raise _unsupported(other.id, signs)


def check_word_tags(contents: ColumnContents, columns: Mapping[str, str], task: Task) -> None:
    """Refuse tags of words, which would be several classes of a text, unless the task makes an item of each word."""
    tags = [name for name in columns[task.label.name].split(",") if name in contents.word_tags]
    if tags and task.items is None:
        raise EmmsError(
            f"column {tags[0]!r} holds tags of words, which are no classes of a text",
            together(use("task", TOKEN_CLASSIFICATION.id), use_column("tags", tags[0]), use_column("tokens"))
            + ", a column of lists",
        )


def _unsupported(task_id: str, columns: Sequence[str]) -> EmmsError:
    return EmmsError(
        f"{task_id} is not supported: that is what {' and '.join(columns)} look{'s' * (len(columns) == 1)} like",
        "if other columns are meant, name the task and the label: " + together(use("task", ...), use_column("label")),
    )


def check_preset(task: Task, role: str, column: str, types: Mapping[str, str], name: str) -> None:
    try:
        check_column(task, role, column, types)
    except EmmsError as error:
        raise EmmsError(
            f"the preset {name!r} expects the {role} in column {column!r}, but the dataset has {described(types)}",
            use_column(role),
        ) from error


def check_names(task: Task, columns: Mapping[str, str], features: Mapping[str, Any], contents: ColumnContents) -> None:
    for role, typed in columns.items():
        names = typed.split(",")
        if len(names) > 1 and not _can_join(task, role, names, contents):
            texts = "of texts" if role != task.label.name else "of zeros and ones"
            raise EmmsError(
                f"the {role} of {task.id} is one column, not {' and '.join(names)}",
                f"several columns {texts} can be joined, others not: " + use_column(role),
            )
        for name in names:
            if column_of(name) not in features:
                raise EmmsError(
                    f"the column {name!r} cannot be the {role}: a dot in a name separates a field from its column",
                    "give it a name without a dot, then: " + use_column(role),
                )


def _can_join(task: Task, role: str, names: Sequence[str], contents: ColumnContents) -> bool:
    if role == task.label.name:
        are_flags = contents.zero_one.issuperset(names)
        return are_flags if task.categorical else task.numbers is None
    # The start of an answer in a text is not its start in several joined texts.
    return task.items is None and all(contents.types[name] == "string" for name in names)


def no_table(types: Mapping[str, str], texts: Sequence[str]) -> EmmsError:
    return EmmsError(
        f"tabular data is not what hf-emms ranks for: none of {described(types)} is clearly a text or an image",
        "where one is a text, name it and the label: " + together(use_column("text", *texts[:1]), use_column("label")),
    )


def described(types: Mapping[str, str]) -> str:
    described = [f"{name} ({type})" for name, type in types.items()]
    more = f" and {len(described) - _MAX_DESCRIBED} more" if len(described) > _MAX_DESCRIBED else ""
    return ", ".join(described[:_MAX_DESCRIBED]) + more
