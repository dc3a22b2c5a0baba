"""Which column is what: from feature types and names to roles, and from roles to a task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.tasks import TASKS, Role, Task

_NUMBERED = re.compile(r"(.*?)_?\d+")


def kinds_of(features: Mapping[str, Any]) -> dict[str, str]:
    """What each column holds: "image", "class", "string", "strings", "integer", or the type's own name."""
    return {name: _kind(feature) for name, feature in features.items()}


def find_task(kinds: Mapping[str, str], given: Mapping[str, str]) -> tuple[Task, dict[str, str]]:
    """Infers the task from the columns.

    Args:
        kinds: column → kind, from `kinds_of`.
        given: role → column, as far as the user says.

    Returns:
        The only task whose roles can all be filled, and role → column.

    Raises:
        EmmsError: no task fits, or several do.
    """
    # Who ranks for a task on the texts beside pictures will name it.
    tasks = {id: one for id, one in TASKS.items() if one.modality == "image" or "image" not in kinds.values()}
    for names_only in (True, False):
        found = {id: _fill(task, kinds, given, names_only) for id, task in tasks.items()}
        fits = {id: columns for id, columns in found.items() if columns is not None}
        if len(fits) == 1:
            ((task_id, columns),) = fits.items()
            return TASKS[task_id], columns
        if fits:
            options = "; ".join(f"{id} from {_pairs(columns)}" for id, columns in fits.items())
            raise EmmsError(f"the columns fit several tasks: {options}", f"--task {' or --task '.join(fits)}")
    raise EmmsError(
        f"no task fits the columns {describe(kinds)}" + (f" with {_pairs(given)}" if given else ""),
        f"name the task (--task {'|'.join(TASKS)}) and its columns (--image-column, --text-column, --label-column)",
    )


def find_columns(task: Task, kinds: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Finds the columns of a known task.

    Args:
        task: the task.
        kinds: column → kind, from `kinds_of`.
        given: role → column, as far as the user or a preset says; several columns are joined by commas.

    Returns:
        role → column for both roles of the task.

    Raises:
        EmmsError: a given column does not exist or holds the wrong type, or one cannot be found.
    """
    for role_name, column in given.items():
        check_column(task, role_name, column, kinds)
    for names_only in (True, False):
        columns = _fill(task, kinds, given, names_only)
        if columns is not None:
            return columns
    label = given.get(task.label.name) or _pick(task.label, kinds, (), names_only=False)
    missing = task.input if label else task.label
    raise EmmsError(
        f"no column for the {missing.name} of {task.id} among {describe(kinds)}",
        f"name it: --{missing.name}-column COLUMN ({' or '.join(missing.kinds)})",
    )


def check_column(task: Task, role_name: str, column: str, kinds: Mapping[str, str]) -> None:
    """Checks that a named column exists and holds what its role needs.

    Raises:
        EmmsError: the task has no such role, or the column is absent or of the wrong type.
    """
    role = {task.input.name: task.input, task.label.name: task.label}.get(role_name)
    if role is None:
        raise EmmsError(
            f"{task.id} has no {role_name} column",
            f"its columns are --{task.input.name}-column and --{task.label.name}-column",
        )
    flag = f"--{role_name}-column"
    for name in column.split(","):
        if name not in kinds:
            raise EmmsError(f"there is no column {name!r}; the dataset has {describe(kinds)}", f"{flag} COLUMN")
        if kinds[name] not in role.kinds:
            if task.categorical and role is task.label and kinds[name] in ("strings", "list"):
                raise EmmsError(
                    f"column {name!r} holds several labels a row; hf_emms ranks for one label a row so far",
                    f"pass a column with one label a row: {flag} COLUMN; the dataset has {describe(kinds)}",
                )
            raise EmmsError(
                f"column {name!r} holds {kinds[name]}; the {role_name} of {task.id} must be {' or '.join(role.kinds)}",
                f"{flag} COLUMN; the dataset has {describe(kinds)}",
            )


def describe(kinds: Mapping[str, str]) -> str:
    """Columns and their kinds, for messages."""
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items())


def _pairs(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{role} = {column}" for role, column in columns.items())


def _fill(task: Task, kinds: Mapping[str, str], given: Mapping[str, str], names_only: bool) -> dict[str, str] | None:
    """Both roles of a task filled, or None. The label goes first: it is told apart by its type more often."""
    roles = {task.label.name: task.label, task.input.name: task.input}
    if not set(given) <= set(roles):
        return None
    taken: dict[str, str] = dict(given)
    for name, role in roles.items():
        if name not in taken:
            column = _pick(role, kinds, tuple(taken.values()), names_only)
            if column is None:
                return None
            taken[name] = column
    fits = all(kinds.get(one) in roles[name].kinds for name, column in taken.items() for one in column.split(","))
    return {task.input.name: taken[task.input.name], task.label.name: taken[task.label.name]} if fits else None


def _pick(role: Role, kinds: Mapping[str, str], taken: tuple[str, ...], names_only: bool) -> str | None:
    """The column for a role: by name, by a numbered series of names, by the only one of its type."""
    free = {name: kind for name, kind in kinds.items() if name not in taken and kind in role.kinds}
    by_lower = {name.lower(): name for name in free}
    for candidate in role.candidates:
        if candidate in by_lower:
            return by_lower[candidate]
    if "strings" in role.kinds:
        series = [n for n in free if (m := _NUMBERED.fullmatch(n.lower())) and m[1] in role.candidates]
        if series:
            return ",".join(sorted(series, key=lambda name: (len(name), name)))
    for kind in role.kinds:
        only = [name for name, its_kind in free.items() if its_kind == kind]
        if len(only) == 1 and (kind in ("image", "class") or not names_only):
            return only[0]
    return None


def _kind(feature: Any) -> str:
    name = type(feature).__name__
    if name == "Image":
        return "image"
    if name == "ClassLabel":
        return "class"
    if isinstance(feature, Mapping):
        return "image" if set(feature) == {"bytes", "path"} else "struct"
    if name in ("List", "LargeList", "Sequence"):
        return "strings" if _kind(feature.feature) == "string" else "list"
    dtype = str(getattr(feature, "dtype", name))
    if dtype in ("string", "large_string", "string_view"):
        return "string"
    if dtype in ("binary", "large_binary"):
        return "image"
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return "integer"
    return dtype
