"""Check the columns that users name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hf_emms.data.match.columns import Columns, column_of, names_in
from hf_emms.data.match.unclear import UnclearColumnsError
from hf_emms.tasks import Column, Task, use_column
from hf_emms.tasks.task import FLAG_TYPES
from hf_emms.texts import joined

_NUMBERED = re.compile(r"(.*?)_?\d+")


def is_series(names: Sequence[str]) -> bool:
    """Return whether names differ only in a number, such as "answer_1" and "answer_2"."""
    return len({match[1] if (match := _NUMBERED.fullmatch(name)) else name for name in names}) == 1


def sibling(label: str, field: str, types: Mapping[str, str]) -> str:
    """Return the name of another column, or another field of the same struct: "start", or "start_offset"."""
    column = column_of(label, types)
    name = field if column == label else f"{column}.{field}"
    return name if name in types else f"{name}_offset"


def check_exists(role: str, names: str, columns: Columns) -> None:
    for name in names_in(names, columns.types):
        if name not in columns.types and column_of(name, columns.types) not in columns.types:
            raise UnclearColumnsError("unknown-column", f"the dataset has no column {name!r}", columns, role)


def checked_names(task: Task, role: str, names: str, columns: Columns) -> str:
    """Return the named columns of a role; for a struct, the field that the task reads.

    Raises:
        UnclearColumnsError: The task does not have this role, or cannot read the columns.
    """
    if role not in task.all_columns:
        roles = str(joined(map(use_column, task.all_columns)))
        raise UnclearColumnsError("unknown-role", f"{task.id} has no {role} column, but {roles}", columns, role)
    column, types = task.converting.all_columns[role], columns.types
    checked = [_checked_name(column, name, columns, task) for name in names_in(names, types)]
    if len(checked) > 1 and not _can_join(task, role, checked, columns):
        texts = "columns of 0 and 1" if role == task.label.name and task.categorical else "texts"
        problem = f"the {role} of {task.id} is one column, not {' and '.join(checked)}. Only {texts} can be joined"
        raise UnclearColumnsError("columns-cannot-be-joined", problem, columns, role)
    return ",".join(checked)


def _checked_name(column: Column, name: str, columns: Columns, task: Task) -> str:
    types = columns.types
    field = field_of(column, name, types)
    if types.get(field) in column.types:
        return field
    content = f"contains {types[name]}" if name in types else "does not exist"
    problem = f"column {name!r} {content}. The {column.name} of {task.id} must be {' or '.join(column.types)}"
    raise UnclearColumnsError("column-unsuitable", problem, columns, column.name)


def field_of(column: Column, name: str, types: Mapping[str, str]) -> str:
    """Return the field of a struct that a role reads; other columns unchanged."""
    fields = {column.spelling(field): field for field in types if field.startswith(f"{name}.")}
    readable = [fields[candidate] for candidate in column.candidates if candidate in fields]
    readable = [field for field in readable if types[field] in column.types]
    return readable[0] if readable and types.get(name) not in column.types else name


def _can_join(task: Task, role: str, names: Sequence[str], columns: Columns) -> bool:
    if role == task.label.name:
        if task.categorical:
            return all(columns.types[name] in FLAG_TYPES for name in names)
        if not task.is_text_to_text or is_series(names):
            return task.numbers is None
    # Starts of answers count characters of a single text.
    return task.items is None and all(columns.types[name] == "string" for name in names)
