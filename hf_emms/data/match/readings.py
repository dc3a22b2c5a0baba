"""Infer the task and its columns from declared types and usual names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hf_emms.data.match.columns import SHARED_TYPES, Columns, column_of, names_in
from hf_emms.data.match.named_columns import checked_names, field_of, sibling
from hf_emms.data.match.unclear import UnclearColumnsError, candidates
from hf_emms.tasks import TASKS, Column, Task, use_column
from hf_emms.tasks.task import ONLY_LABELS, RATINGS, spelling
from hf_emms.texts import joined

_NUMBERED = re.compile(r"(.*?)_?\d+")
# Types that are labels whatever their name, if a dataset has one such column: first none, then declared classes. A
# float is a label if the dataset has no other columns than the inputs.
_FLOAT = ("float",)
_LABELS_BY_TYPE = ((), ("class", "classes", "bool", "bools"), _FLOAT)

Named = Mapping[str, str]


def find_reading(columns: Columns, named: Named, task: Task | None, dataset: str) -> tuple[Task, dict[str, str]]:
    """Return the only task that fits, with role → the dataset's column.

    Args:
        columns: The dataset's columns.
        named: Role → column, from the user or the preset.
        task: The task of the user or the preset; None to infer it.
        dataset: Name for messages.

    Raises:
        UnclearColumnsError: No reading fits, or several readings do.
    """
    if task is not None:
        named = {role: checked_names(task, role, names, columns) for role, names in named.items()}
    tasks = [each for each in candidates(columns, named) if _may_be_inferred(each, columns, named)]
    for labels in _LABELS_BY_TYPE:
        filled = {
            each.id: read
            for each in ([task.converting] if task is not None else tasks)
            if (read := _fill(each, columns, named, labels)) is not None
        }
        fits = [
            (TASKS[id] if task is None else task, read)
            for id, read in filled.items()
            if not any(_is_preferred(TASKS[other], filled[other], TASKS[id], read) for other in filled if other != id)
        ]
        if len(fits) == 1 and not _has_rivals(*fits[0], columns, named):
            return fits[0]
        if fits:
            raise _unclear(columns, named, dataset, "several readings fit")
    if task and (documents := _documents_alone(task, columns, named)):
        return task.for_columns(documents), documents
    raise _unclear(columns, named, dataset, "no reading surely fits")


def _unclear(columns: Columns, named: Named, dataset: str, problem: str) -> UnclearColumnsError:
    typed = joined(use_column(role, name) for role, name in named.items())
    of_data = joined([f"{problem} the columns of {dataset!r}", " with " if named else "", typed], "")
    return UnclearColumnsError("unclear-columns", of_data, columns)


def _may_be_inferred(task: Task, columns: Columns, named: Named) -> bool:
    spellings = {spelling(column_of(name, columns.types)) for name in columns.types}
    are_named = {column.name for column in task.inputs} <= named.keys()
    return task.signs is None or are_named or any(spellings.issuperset(sign) for sign in task.signs)


def _fill(task: Task, columns: Columns, named: Named, labels: Sequence[str]) -> dict[str, str] | None:
    """Find a column for each role of a task. Return None if a required role has no column.

    `labels` are the types of labels whose names need not be usual.
    """
    read = {
        role: ",".join(field_of(task.all_columns[role], name, columns.types) for name in names_in(names, columns.types))
        for role, names in named.items()
    }
    if not named.keys() & {column.name for column in task.inputs}:
        read |= _inputs_by_name(task, columns)
    needed = (*task.inputs, task.label) if task.is_text_to_text else (task.label, *task.inputs)
    for column in needed:
        if column.name not in read:
            free = _free(column, read, columns)
            name = _named_usually(task, column, free, columns)
            if name is None and (labels or column.kind.recognized_by_type):
                name = _only_one(task, column, free, columns, labels)
            if name is not None:
                read[column.name] = name
    read = _with_beside(task, read, columns, named)
    if not read.keys() >= task.columns.keys() or not _is_readable(task, read, columns):
        return None
    if labels == _FLOAT and any(not columns.is_id(name) for name in columns.types if name not in read.values()):
        return None
    return {role: read[role] for role in task.all_columns if role in read}


def _documents_alone(task: Task, columns: Columns, named: Named) -> dict[str, str] | None:
    """Return the document column of a dataset without queries; None if there may be queries, or must be."""
    if task.corpus is None or not named.keys() <= task.corpus.columns.keys():
        return None
    read = next(filter(None, (_fill(task.corpus, columns, named, labels) for labels in _LABELS_BY_TYPE)), None)
    others = [] if read is None else _free(task.inputs[0], read, columns)
    may_be_queries = any(not columns.is_id(name) and spelling(name) not in ONLY_LABELS for name in others)
    return None if may_be_queries and not named else read


def _free(column: Column, read: Named, columns: Columns) -> list[str]:
    """Return the columns that could have this role and have no other role yet."""
    taken = {part for name in read.values() for part in names_in(name, columns.types)}
    accepted = [name for name, type in columns.types.items() if type in column.types]
    return [name for name in accepted if name not in taken or column.shares or columns.types[name] in SHARED_TYPES]


def _with_beside(task: Task, read: Named, columns: Columns, named: Named) -> dict[str, str]:
    """Add the task's optional columns, such as negatives, to a reading."""
    read = {role: name for role, name in named.items() if role not in read} | dict(read)
    for column in task.beside:
        free = _free(column, read, columns)
        name = None if column.name in read else _named_usually(task, column, free, columns)
        if name is not None:
            read[column.name] = name
    return read


def _inputs_by_name(task: Task, columns: Columns) -> dict[str, str]:
    """Return input columns by the first pair of usual names, such as premise and hypothesis."""
    by_spelling = {spelling(name): name for name, type in columns.types.items() if type == "string"}
    for names in task.input_names:
        if by_spelling.keys() >= set(names):
            return {column.name: by_spelling[name] for column, name in zip(task.inputs, names, strict=True)}
    return {}


def _named_usually(task: Task, column: Column, free: Sequence[str], columns: Columns) -> str | None:
    """Return the column whose name is usual for a role, or a numbered series of such columns."""
    if column in task.inputs and task.input_names:
        return None
    by_spelling = {column.spelling(name): name for name in reversed(free)}
    for names in (candidate.split(",") for candidate in column.candidates):  # commas join several texts
        if by_spelling.keys() >= {*names}:
            return ",".join(by_spelling[name] for name in names)
    if not task.categorical and "strings" in column.types and not column.is_list:
        series = [name for name in free if (m := _NUMBERED.fullmatch(name.lower())) and m[1] in column.candidates]
        return ",".join(sorted(series, key=lambda name: (len(name), name))) or None
    return None


def _has_rivals(task: Task, read: Named, columns: Columns, named: Named) -> bool:
    """Return whether other columns may be the classes, such as the topic next to the sentiment."""
    label = task.label.name
    if label in named or not task.categorical or task.items or task.label.spelling(read[label]) in ONLY_LABELS:
        return False
    return any(task.label.is_called(name) for name in _free(task.label, read, columns))


def _only_one(task: Task, column: Column, free: Sequence[str], columns: Columns, labels: Sequence[str]) -> str | None:
    """Return the column for a role if it is the only one with a suitable type, else None."""
    suitable = [name for name in free if not columns.is_id(name) and column_of(name, columns.types) == name]
    if not column.kind.recognized_by_type:
        if task.is_text_to_text or (task.input_names and column in task.inputs):
            return None
        is_value = labels == _FLOAT and task.numbers is not None
        is_content = column in task.inputs or not task.inputs
        types = ("string",) if is_content else labels if task.categorical or is_value else ()
        suitable = [name for name in suitable if not is_content or spelling(name) not in ONLY_LABELS]
        suitable = [name for name in suitable if columns.types[name] in types]
    return suitable[0] if len(suitable) == 1 else None


def _is_readable(task: Task, read: Named, columns: Columns) -> bool:
    types = columns.types
    for role, names in read.items():
        column = task.all_columns[role]
        if any(types.get(name) not in column.types for name in names_in(names, types)):
            return False
    # Spans need their ends.
    return task.label_end is None or sibling(read[task.label.name], task.label_end, types) in types


def _is_preferred(task: Task, read: Named, other: Task, other_read: Named) -> bool:
    """Return whether one reading is clearly better than another: more columns, or more usual names."""
    names, others = set(read.values()), set(other_read.values())
    if names != others:
        # A score with a prompt and a response may rate the response, or be the label of a pair.
        return names > others and not (other.is_text_to_text and task.numbers is not None)
    if (task.signs is None) != (other.signs is None):
        return task.signs is not None
    if task.categorical and other.is_free_text and len(other.inputs) == len(task.inputs):
        return True  # a target of a text
    if task.categorical and other.numbers is not None:
        label = task.label.spelling(read[task.label.name])
        return label in task.label.candidates and label not in RATINGS
    return other.categorical and task.numbers is None and not task.categorical and len(task.inputs) > 1
