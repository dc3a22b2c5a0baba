"""Checks of columns that were named or inferred: each raises an `EmmsError` that tells how to name the right ones."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hf_emms.data.cell_texts import detect_value_kind
from hf_emms.data.column_types import FLAGS, PLURALS, ColumnContents
from hf_emms.data.suggestions import (
    TABULAR,
    described,
    first_texts,
    is_class_like,
    labelled_texts,
    no_table,
    no_time_series,
    possible_labels,
)
from hf_emms.errors import EmmsError, joined, setting_ref, setting_refs
from hf_emms.tasks import TASKS, Column, Task, use_column
from hf_emms.tasks.other_tasks import OTHER_TASKS
from hf_emms.tasks.text_pairs import named_columns, text_pairs
from hf_emms.tasks.token_classification import TOKEN_CLASSIFICATION

NUMBERED = re.compile(r"(.*?)_?\d+")


def column_of(name: str) -> str:
    """Return the column of a field's name: "answers" for "answers.text"."""
    return name.partition(".")[0]


def check_exist(named: Mapping[str, str], types: Mapping[str, str]) -> None:
    for role, names in named.items():
        for name in names.split(","):
            if name not in types and column_of(name) not in types:
                raise _no_column(role, name, types)


def checked_group_column(name: str | None, types: Mapping[str, str]) -> str | None:
    if name is not None and types.get(name) not in (None, "class", "string", "integer"):
        raise EmmsError(
            f"column {name!r} holds {types[name]}: groups are texts, classes or whole numbers",
            setting_ref("group_column", ...),
        )
    if name is not None and name not in types:
        raise _no_column("group", name, types)
    return name


def _no_column(role: str, name: str, types: Mapping[str, str]) -> EmmsError:
    close = difflib.get_close_matches(name, types, n=1)
    return EmmsError(f"there is no column {name!r}; it has: {described(types)}", use_column(role, *close))


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


def check_inferred_text(
    task: Task, columns: Mapping[str, str], contents: ColumnContents, named: Mapping[str, str]
) -> None:
    """Refuse a text that was recognised by its type alone, and holds dates or numbers, or repeats as classes do."""
    for column in task.inputs:
        name = columns[column.name]
        if column.name in named or column.is_called(name):
            continue
        values = detect_value_kind(first_texts(contents, name))
        if values is None and name not in contents.repeating:
            continue
        types = {name: type for name, type in contents.types.items() if "." not in name}
        if values == "dates or times" and task.numbers is not None:
            raise no_time_series(name)
        if sum(type in ("integer", "float") for type in types.values()) >= TABULAR:
            raise no_table(types, [name])
        held = f"holds {values}" if values else "its values repeat as classes do"
        raise EmmsError(
            f"column {name!r} is the only one that could be the {column.name}, and {held}",
            "if it is meant: "
            + setting_refs(setting_ref("task", task.id), *map(use_column, columns, columns.values())),
        )


def check_unsupported(contents: ColumnContents, columns: Mapping[str, str], task: Task | None) -> None:
    """Refuse a dataset of an unsupported task, and a task that reads a part of what belongs together.

    `task` is None where none fits. A label of an expected name is trusted, unless other columns say what it is.
    """
    read = {name for names in columns.values() for name in names.split(",")}
    if task is not None:
        check_word_tags(contents, columns, task)
    types = {name: type for name, type in contents.types.items() if "." not in name}
    has_usual_label = task is not None and task.label.is_called(columns[task.label.name])
    signs_of = {other: other.columns_in(types) for other in OTHER_TASKS if TASKS.find(other.id) is None}
    unread = {other: signs for other, signs in signs_of.items() if signs and not read.issuperset(signs)}
    for other, signs in unread.items():
        if other.is_sure:
            writes = task is not None and task.is_text_to_text
            raise _unsupported(other.id, signs, task if writes else None, columns)
    _check_pair(contents, types, read, columns, task)
    if task is not None and task.is_text_to_text and task.signs is None:
        _check_judged(contents, types, read, columns, task)
    for other, signs in unread.items():
        if not has_usual_label:
            raise _unsupported(other.id, signs, None, columns)


def _check_pair(
    contents: ColumnContents, types: Mapping[str, str], read: set[str], columns: Mapping[str, str], task: Task | None
) -> None:
    """Refuse a task that reads half of two texts that belong together, and two such texts without a task."""
    texts = [name for name, type in types.items() if type == "string" and not is_class_like(contents, name)]
    pair = next(text_pairs(texts), ())
    reads_media = task is not None and any(column.kind.recognised_by_type for column in task.inputs)
    labels = [columns[task.label.name]] if task is not None else possible_labels(contents)
    labels = [name for name in labels if name not in pair]
    if not pair or not labels or read.issuperset(pair) or reads_media:
        return
    hint = labelled_texts(contents, pair, labels[:1])
    if task is not None:
        label = use_column(task.label.name, labels[0])
        hint += "; the first one alone: " + setting_refs(
            setting_ref("task", task.id), use_column("text", pair[0]), label
        )
    raise EmmsError(
        f"{' and '.join(pair)} belong together" + (f", and {task.id} would read one of them" if task else ""), hint
    )


def _check_judged(
    contents: ColumnContents, types: Mapping[str, str], read: set[str], columns: Mapping[str, str], task: Task
) -> None:
    """Refuse responses beside labels that are not read, and may say which responses are right."""
    labels = [name for name in types if named_columns([name], ["label"]) and name not in read]
    texts = [columns[name] for name in task.columns]
    if labels and all(contents.types.get(name) == "string" for name in texts):
        hint = labelled_texts(contents, texts, labels)
        hint += f"; without {labels[0]}: " + setting_refs(
            setting_ref("task", task.id), *map(use_column, task.columns, texts)
        )
        raise EmmsError(
            f"{task.id} would leave out {labels[0]}, which may say which {task.label.name}s are right", hint
        )


def check_sentences(task: Task, columns: Mapping[str, str], contents: ColumnContents) -> list[str]:
    """Return the columns whose lists of texts are joined; refuse lists with a label for each text."""
    lists = [columns[column.name] for column in task.inputs if column.is_list and "string" in column.types]
    lists = [name for name in lists if contents.types.get(name) == "strings"]
    label = columns[task.label.name]
    for name in lists:
        if (
            task.categorical
            and contents.types.get(label) in (*PLURALS.values(), FLAGS)
            and contents.are_aligned(name, label)
        ):
            raise EmmsError(
                f"the lists of {name!r} are as long as those of {label!r}: each text has a label of its own",
                "write a row for each text, or join the texts of a list yourself",
            )
    return lists


def check_word_tags(contents: ColumnContents, columns: Mapping[str, str], task: Task) -> None:
    """Refuse tags of words, which would be several classes of a text, unless the task makes an item of each word."""
    tags = [name for name in columns[task.label.name].split(",") if name in contents.word_tags]
    if tags and task.items is None:
        raise EmmsError(
            f"column {tags[0]!r} holds tags of words, which are no classes of a text",
            setting_refs(
                setting_ref("task", TOKEN_CLASSIFICATION.id), use_column("tags", tags[0]), use_column("tokens")
            )
            + ", a column of lists",
        )


def _unsupported(id: str, signs: Sequence[str], task: Task | None, columns: Mapping[str, str]) -> EmmsError:
    hint = "if other columns are meant, name the task and the label: " + setting_refs(
        setting_ref("task", ...), use_column("label")
    )
    if task is not None:
        read = {name for names in columns.values() for name in names.split(",")}
        left_out = " and ".join(name for name in signs if name not in read)
        as_task = setting_refs(setting_ref("task", task.id), *map(use_column, columns, columns.values()))
        hint = f"to rank without {left_out}: " + as_task
    return EmmsError(
        f"{id} is not supported: that is what {' and '.join(signs)} look{'s' * (len(signs) == 1)} like", hint
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
            texts = "of zeros and ones" if role == task.label.name and task.categorical else "of texts"
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


def check_separators(contents: ColumnContents) -> None:
    """Refuse names of columns of texts that could not be written into a setting."""
    for name, column in contents.cells.items():
        if ("," in name or "." in name) and str(column.type) in ("string", "large_string"):
            mark = "a comma in a name separates several columns" if "," in name else "a dot a field from its column"
            raise EmmsError(
                f"the column {name!r} is not recognised, and cannot be named: {mark}", "give it a name without that"
            )


def is_series(names: Sequence[str]) -> bool:
    """Return whether columns differ in their number alone, as "answer_1" and "answer_2"; a single column does, too."""
    return len({match[1] if (match := NUMBERED.fullmatch(name)) else name for name in names}) == 1


def _can_join(task: Task, role: str, names: Sequence[str], contents: ColumnContents) -> bool:
    if role == task.label.name:
        if task.categorical:
            return contents.zero_one.issuperset(names)
        if not task.is_text_to_text or is_series(names):
            return task.numbers is None
    # The start of an answer in a text is not its start in several joined texts.
    return task.items is None and all(contents.types[name] == "string" for name in names)
