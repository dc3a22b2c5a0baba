"""What a column holds, in a word, and how a column or a field of one is read from a row.

Which column is what: from column types and names to roles, and from roles to a task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.tasks import ROLES, TASKS, Role, Task, column_flag

_SEVERAL = {"string": "strings", "class": "classes", "integer": "integers", "float": "floats", "image": "images"}


def column_types(features: Mapping[str, Any]) -> dict[str, str]:
    """What each column holds.

    Returns:
        column → "image", "class", "string", "integer", "float", their plurals (a list a row), "struct", "list" or the
        type's own name. The fields of structs, and of lists of them, stand behind their column as "answers.text".
    """
    kinds = {}
    for name, feature in features.items():
        kinds[name] = _kind(feature)
        for field, inner, listed in _fields(feature):
            kind = _kind(inner)
            kinds[f"{name}.{field}"] = _SEVERAL.get(kind, "list") if listed else kind
    return kinds


def describe(kinds: Mapping[str, str]) -> str:
    """Columns and their kinds, for messages."""
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items())


def column_of(name: str) -> str:
    """The column that a name is of: "answers" for "answers.text"."""
    return name.partition(".")[0]


def feature_of(features: Mapping[str, Any], name: str) -> Any:
    """The type of one element of a column or field, whether rows hold one or a list."""
    column, _, field = name.partition(".")
    feature = _element(features[column])
    return _element(feature[field]) if field else feature


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column or field: of a list of structs, the list of that field."""
    column, _, field = name.partition(".")
    value = row[column]
    if not field or value is None:
        return value
    return value.get(field) if isinstance(value, Mapping) else [one and one.get(field) for one in value]


def undecoded(feature: Any) -> Any:
    """The same type with its pictures as they are encoded."""
    import datasets

    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    if isinstance(feature, Mapping):
        return {name: undecoded(one) for name, one in feature.items()}
    inner = undecoded(feature.feature) if _is_list(feature) else None
    return feature if inner is None or inner == feature.feature else datasets.List(inner)


def _fields(feature: Any) -> list[tuple[str, Any, bool]]:
    inner = _element(feature)
    if not isinstance(inner, Mapping) or _kind(inner) == "image":
        return []
    return [(name, one, inner is not feature) for name, one in inner.items()]


def _element(feature: Any) -> Any:
    return feature.feature if _is_list(feature) else feature


def _is_list(feature: Any) -> bool:
    return type(feature).__name__ in ("List", "LargeList", "Sequence")


def _kind(feature: Any) -> str:
    name = type(feature).__name__
    if name == "Image":
        return "image"
    if name == "ClassLabel":
        return "class"
    if isinstance(feature, Mapping):
        return "image" if set(feature) == {"bytes", "path"} else "struct"
    if _is_list(feature):
        return _SEVERAL.get(_kind(feature.feature), "list")
    dtype = str(getattr(feature, "dtype", name))
    if dtype in ("string", "large_string", "string_view"):
        return "string"
    if dtype in ("binary", "large_binary"):
        return "image"
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return "integer"
    return "float" if dtype.startswith("float") else dtype


_NUMBERED = re.compile(r"(.*?)_?\d+")
# How a column may be recognised, surest first: by its name (a picture by its type), a class by its type, any by it.
_BY_NAME, _BY_CLASS, _BY_TYPE = range(3)
# Types of which the only column is the one that is meant.
_TELLING = ("image", "class", "string", "strings", "integer")


def find_task(kinds: Mapping[str, str], given: Mapping[str, str]) -> tuple[Task, dict[str, str]]:
    """Infers the task from the columns.

    Args:
        kinds: column → kind, from `column_types`.
        given: role → column, as far as the user says.

    Returns:
        The only task whose roles can all be filled, and role → column. One that reads all columns of another and more
        is preferred to it: questions and answers beside pictures are no captions.

    Raises:
        EmmsError: no task fits, or several do.
    """
    pictures = {"image", "images"} & set(kinds.values())
    # Who ranks for a task on the texts beside pictures, or for one of another package, will name it.
    tasks = {id: one for id, one in TASKS.built_in.items() if one.modality.startswith("image") or not pictures}
    for how in (_BY_NAME, _BY_CLASS, _BY_TYPE):
        # A type alone does not tell two texts apart.
        found = {id: _fill(t, kinds, given, how) for id, t in tasks.items() if how != _BY_TYPE or len(t.inputs) == 1}
        fits = {id: columns for id, columns in found.items() if columns is not None}
        fits = {id: columns for id, columns in fits.items() if not any(_beats(one, id, fits) for one in fits)}
        if len(fits) == 1:
            ((task_id, columns),) = fits.items()
            return TASKS[task_id], columns
        if fits:
            options = "; ".join(f"{id} from {_pairs(columns)}" for id, columns in fits.items())
            raise EmmsError(f"the columns fit several tasks: {options}", f"--task {' or --task '.join(fits)}")
    flags = ", ".join(f"--{role}-column" for role in ROLES)
    raise EmmsError(
        f"no task fits the columns {describe(kinds)}" + (f" with {_pairs(given)}" if given else ""),
        f"name the task (--task {'|'.join(TASKS)}) and its columns ({flags})",
    )


def find_columns(task: Task, kinds: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Finds the columns of a known task.

    Args:
        task: the task.
        kinds: column → kind, from `column_types`.
        given: role → column, as far as the user or a preset says; several columns are joined by commas.

    Returns:
        role → column for every role of the task, inputs first.

    Raises:
        EmmsError: a given column does not exist or holds the wrong type, or one cannot be found.
    """
    given = {name: check_column(task, name, column, kinds) for name, column in given.items()}
    # Of two texts, a type does not tell which is which.
    ways = (_BY_NAME, _BY_CLASS) if task.modality == "text+text" else (_BY_NAME, _BY_CLASS, _BY_TYPE)
    for how in ways:
        columns = _fill(task, kinds, given, how)
        if columns is not None:
            return columns
    filled = _filled(task, kinds, given, ways[-1])
    missing = next(role for role in (task.label, *task.inputs) if role.name not in filled)
    raise EmmsError(
        f"no column for the {missing.name} of {task.id} among {describe(kinds)}",
        f"name it: {column_flag(missing.name)} ({' or '.join(missing.kinds)})",
    )


def check_column(task: Task, role_name: str, column: str, kinds: Mapping[str, str]) -> str:
    """Checks that a named column exists and holds what its role needs.

    Returns:
        The column; where it is a struct, its field that the role knows ("answers" → "answers.text").

    Raises:
        EmmsError: the task has no such role, or the column is absent or of the wrong type.
    """
    role = task.roles.get(role_name)
    if role is None:
        raise EmmsError(
            f"{task.id} has no {role_name} column",
            f"its columns are {', '.join(map(column_flag, task.roles))}",
        )
    return ",".join(_checked(task, role, name, kinds) for name in column.split(","))


def _checked(task: Task, role: Role, name: str, kinds: Mapping[str, str]) -> str:
    hint = column_flag(role.name)
    if name not in kinds:
        raise EmmsError(f"there is no column {name!r}; the dataset has {describe(kinds)}", hint)
    if kinds[name] in role.kinds:
        return name
    fields = [one for one in role.candidates if one.startswith(f"{name}.") and kinds.get(one) in role.kinds]
    if fields:
        return fields[0]
    raise EmmsError(
        f"column {name!r} holds {kinds[name]}; the {role.name} of {task.id} must be {' or '.join(role.kinds)}",
        f"{hint}; the dataset has {describe(kinds)}",
    )


def _beats(one: str, other: str, fits: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a task reads all columns of another and more; of the same columns, numbers are classes first."""
    mine, its = set(fits[one].values()), set(fits[other].values())
    return mine > its or (mine == its and TASKS[other].numbers is not None and TASKS[one].numbers is None)


def _pairs(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{role} = {column}" for role, column in columns.items())


def _fill(task: Task, kinds: Mapping[str, str], given: Mapping[str, str], how: int) -> dict[str, str] | None:
    """Every role of a task filled, inputs first, or None."""
    if not set(given) <= set(task.roles):
        return None
    taken = _filled(task, kinds, given, how)
    if set(taken) != set(task.roles):
        return None
    fits = all(kinds.get(one) in task.roles[name].kinds for name in taken for one in taken[name].split(","))
    return {name: taken[name] for name in task.roles} if fits else None


def _filled(task: Task, kinds: Mapping[str, str], given: Mapping[str, str], how: int) -> dict[str, str]:
    """The roles that can be filled. The label goes first: it is told apart by its type more often."""
    taken = dict(given)
    for role in (task.label, *task.inputs):
        if role.name not in taken:
            column = _pick(role, kinds, tuple(taken.values()), how, plural=not task.categorical)
            if column is not None:
                taken[role.name] = column
    return taken


def _pick(role: Role, kinds: Mapping[str, str], taken: tuple[str, ...], how: int, *, plural: bool) -> str | None:
    """The column for a role: by name, by a numbered series of names, by the only one of its type."""
    free = {name: kind for name, kind in kinds.items() if name not in taken and kind in role.kinds}
    by_lower = {name.lower(): name for name in free}
    for candidate in role.candidates:
        if candidate in by_lower:
            return by_lower[candidate]
    if plural and "strings" in role.kinds:
        series = [n for n in free if (m := _NUMBERED.fullmatch(n.lower())) and m[1] in role.candidates]
        if series:
            return ",".join(sorted(series, key=lambda name: (len(name), name)))
    for kind in role.kinds:
        only = [name for name, its_kind in free.items() if its_kind == kind and "." not in name]
        sure = kind in ("image", "images") or (kind == "class" and how >= _BY_CLASS)
        telling = kind in _TELLING and (plural or kind != "strings")
        if len(only) == 1 and (sure or (how == _BY_TYPE and telling)):
            return only[0]
    return None
