"""Which columns of a dataset are read, and as what: from column names and types to a task and its roles."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hf_emms.data.reading import JoinedColumn, OpenSplit
from hf_emms.errors import EmmsError
from hf_emms.inputs import IMAGE, TEXT_PAIR
from hf_emms.options import COLUMN_FLAGS, Options
from hf_emms.presets import DatasetPreset
from hf_emms.tasks import TASKS, Column, Task, column_flag, get_task

_PLURALS = {"string": "strings", "class": "classes", "integer": "integers", "float": "floats", "image": "images"}
_NUMBERED = re.compile(r"(.*?)_?\d+")
# How a column may be recognised, surest first: by its name (an image by its type), a class by its type, any by it.
_BY_NAME, _BY_CLASS, _BY_TYPE = range(3)
# Names of columns that number or identify rows: never a label or an input unless named.
_ID_LIKE = re.compile(
    r"(?i:(.*[_\- .])?(ids?|idx|index|key|uuid|guid|no|nr)|unnamed: ?\d+|(row|line)_?(number|num|id)?)|.*(Id|ID)"
)
# How many rows of a stream show what a column holds.
_SHOWN = 100
# Types of which the only column is the one that is meant.
_CLEAR_TYPES = ("image", "class", "string", "strings", "integer")


@dataclass(frozen=True)
class RowSchema:
    """How the rows of one dataset are read for a task.

    Attributes:
        task: the task.
        columns: role → column, inputs first; several columns of one role are joined by commas.
        types: column → type, see `column_types`.
        class_names: the names of class ids in the label column; None where it holds none.
        words: abbreviated label → the words that it stands for.
        joined: column of ids → images by id.
    """

    task: Task
    columns: Mapping[str, str]
    types: Mapping[str, str]
    class_names: list[str] | None
    words: Mapping[str, str]
    joined: Mapping[str, JoinedColumn]

    @property
    def needed(self) -> list[str]:
        """The dataset's columns that are read, each once."""
        names = [name for several in self.columns.values() for name in several.split(",")]
        return list(dict.fromkeys(map(column_of, [*names, *filter(None, [self.start_column])])))

    @property
    def label_column(self) -> str:
        """The label's column, or several, joined by commas."""
        return self.columns[self.task.label.name]

    @property
    def label_columns(self) -> list[str]:
        return self.label_column.split(",")

    @property
    def label_type(self) -> str:
        """The type of the label's first column."""
        return self.types[self.label_columns[0]]

    @property
    def start_column(self) -> str | None:
        """The column or field that holds at which character of its text each label starts, as in SQuAD."""
        column, dot, _ = self.label_column.partition(".")
        name = f"{column}.answer_start" if dot else "answer_start"
        fits = self.task.answer_span_input is not None and self.types.get(name) in ("integer", "integers")
        return name if fits and not self.parallel else None

    @property
    def list_roles(self) -> tuple[Column, ...]:
        """The texts of the input that a row holds a list of: one item an element."""
        return tuple(role for role in self.task.inputs if self.types[self.columns[role.name]] == "strings")

    @property
    def parallel(self) -> bool:
        """Whether a list of labels goes along with the list of inputs, and is not one label's several texts."""
        return bool(self.list_roles) and all(self.types[name] == "strings" for name in self.label_columns)

    @property
    def multi_label(self) -> bool:
        """Whether a row has several classes."""
        return self.task.categorical and self.label_type in _PLURALS.values()

    def label_name(self, value: Any) -> str | None:
        """A raw class or other value as text; None where it stands for no label."""
        if value is None:
            return None
        if self.class_names is None or isinstance(value, str):
            name = str(value).strip() or None
        else:
            # −1 is what datasets writes in test splits whose labels are secret.
            name = self.class_names[value] if 0 <= value < len(self.class_names) else None
        return name and self.words.get(name, name)


def columns_of(source: OpenSplit, preset: DatasetPreset | None, options: Options) -> RowSchema:
    """The task and its columns: as the options name them, else as the preset does, else by names and types.

    Args:
        source: what was chosen is added to its notes.
        preset: the preset of the dataset, if it has one.
        options: the settings of the ranking.

    Raises:
        EmmsError: columns are absent or of the wrong type, no task or several fit, or an option is not for this task.
    """
    features, given = source.rows.features, options.columns
    types = column_types(features) | dict.fromkeys(source.joined, "image")
    check_exist(given, types)
    expected: dict[str, str] = {}
    if options.task is None and preset is None:
        task, columns = find_task(types, given)
        source.notes.append(f"task {task.id} inferred from the columns")
    else:
        task = get_task(options.task or (preset.task if preset else ""))
        expected = dict(preset.columns) if preset and preset.task == task.id else {}
        for role, column in expected.items():
            if role not in given:
                _check_expected(task, role, column, types, source.name)
        columns = find_columns(task, types, {**expected, **given})
    if task.label.name not in {**expected, **given}:
        _check_inferred_label(source, task, columns, chosen=options.task is not None or preset is not None)
    found = [f"{role} = {column} ({types[column.split(',')[0]]})" for role, column in columns.items()]
    source.notes.append(f"columns {', '.join(found)}")
    _check_names(task, columns, features)

    label, _, field = columns[task.label.name].split(",")[0].partition(".")
    feature = _element(features[label])
    names = getattr(_element(feature[field]) if field else feature, "names", None)
    words = preset.words if preset and columns == dict(preset.columns) else {}
    schema = RowSchema(task, columns, types, names, words, source.joined)
    _check_options(options, schema)
    return schema


def check_exist(given: Mapping[str, str], types: Mapping[str, str]) -> None:
    """Checks that the columns that the user names exist.

    Args:
        given: role → column; several are joined by commas.
        types: column → type, from `column_types`.

    Raises:
        EmmsError: one does not exist.
    """
    for role, columns in given.items():
        for name in columns.split(","):
            if name not in types and column_of(name) not in types:
                close = difflib.get_close_matches(name, types, n=1)
                raise EmmsError(
                    f"there is no column {name!r}; it has: {_described(types)}",
                    column_flag(role, close[0] if close else "COLUMN"),
                )


def column_types(features: Mapping[str, Any]) -> dict[str, str]:
    """What each column holds.

    Returns:
        column → "image", "class", "string", "integer", "float", their plurals (a list a row), "struct", "list" or the
        type's own name. The fields of structs, and of lists of them, follow their column as "answers.text".
    """
    types = {}
    for name, feature in features.items():
        types[name] = _type_of(feature)
        element = _element(feature)
        if isinstance(element, Mapping) and _type_of(element) == "struct":
            for field, inner in element.items():
                one = _type_of(inner)
                types[f"{name}.{field}"] = one if element is feature else _PLURALS.get(one, "list")
    return types


def column_of(name: str) -> str:
    """The column that a name is of: "answers" for "answers.text"."""
    return name.partition(".")[0]


def find_task(types: Mapping[str, str], given: Mapping[str, str]) -> tuple[Task, dict[str, str]]:
    """Infers the task from the columns.

    Args:
        types: column → type, from `column_types`.
        given: role → column, as far as the user says.

    Returns:
        The only task whose roles can all be filled, and role → column. One that reads all columns of another and more
        is preferred: with images, a question and an answer are no captions.

    Raises:
        EmmsError: no task fits, or several do.
    """
    images = {"image", "images"} & set(types.values())
    # Tasks on the texts of a dataset with images, and tasks of other packages, have to be named.
    tasks = {id: one for id, one in TASKS.built_in.items() if IMAGE in (one.input, *one.input.parts) or not images}
    for how in (_BY_NAME, _BY_CLASS, _BY_TYPE):
        # Two texts cannot be distinguished by type.
        found = {id: _fill(t, types, given, how) for id, t in tasks.items() if how != _BY_TYPE or len(t.inputs) == 1}
        fits = {id: columns for id, columns in found.items() if columns is not None}
        fits = {id: columns for id, columns in fits.items() if not any(_beats(one, id, fits) for one in fits)}
        if len(fits) == 1:
            ((task_id, columns),) = fits.items()
            return TASKS[task_id], columns
        if fits:
            options = "; ".join(f"{id} from {_pairs(columns)}" for id, columns in fits.items())
            raise EmmsError(f"the columns fit several tasks: {options}", f"--task {' or --task '.join(fits)}")
    if set(types.values()) == {"image"}:
        raise EmmsError(
            f"the pictures have no labels: {_described(types)} is the only column, as of one class or none",
            "put them in one folder per class, two or more, or add a metadata.csv with file_name and caption",
        )
    ids = [name for name in types if _is_id_like(name, types[name])]
    if ids and not given:
        raise EmmsError(
            f"none of {_described(types)} is clearly a label: {' and '.join(ids)} looks like a row number or a key",
            f"name the label: {column_flag('label', '|'.join(types))}",
        )
    flags = ", ".join(f"--{role}-column" for role in COLUMN_FLAGS)
    raise EmmsError(
        f"no task fits the columns {_described(types)}" + (f" with {_pairs(given)}" if given else ""),
        f"name the task (--task {'|'.join(TASKS)}) and its columns ({flags})",
    )


def find_columns(task: Task, types: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Finds the columns of a known task.

    Args:
        task: the task.
        types: column → type, from `column_types`.
        given: role → column, as far as the user or a preset says; several columns are joined by commas.

    Returns:
        role → column for every role of the task, inputs first.

    Raises:
        EmmsError: a given column does not exist or holds the wrong type, or one cannot be found.
    """
    given = {name: check_column(task, name, column, types) for name, column in given.items()}
    # Two texts cannot be distinguished by type.
    ways = (_BY_NAME, _BY_CLASS) if task.input == TEXT_PAIR else (_BY_NAME, _BY_CLASS, _BY_TYPE)
    for how in ways:
        columns = _fill(task, types, given, how)
        if columns is not None:
            return columns
    filled = _filled(task, types, given, ways[-1])
    missing = next(role for role in (task.label, *task.inputs) if role.name not in filled)
    raise EmmsError(
        f"no column for the {missing.name} of {task.id} among {_described(types)}",
        f"name it: {column_flag(missing.name)} ({' or '.join(missing.types)})",
    )


def check_column(task: Task, role_name: str, column: str, types: Mapping[str, str]) -> str:
    """Checks that a named column exists and holds what its role needs.

    Returns:
        The column; where it is a struct, its field that the role knows ("answers" → "answers.text").

    Raises:
        EmmsError: the task has no such role, or the column is absent or of the wrong type.
    """
    role = task.columns.get(role_name)
    if role is None:
        raise EmmsError(
            f"{task.id} has no {role_name} column",
            f"its columns are {', '.join(map(column_flag, task.columns))}",
        )
    return ",".join(_checked(task, role, name, types) for name in column.split(","))


def _checked(task: Task, role: Column, name: str, types: Mapping[str, str]) -> str:
    hint = column_flag(role.name)
    if name not in types:
        raise EmmsError(f"there is no column {name!r}; the dataset has {_described(types)}", hint)
    if types[name] in role.types:
        return name
    fields = [one for one in role.candidates if one.startswith(f"{name}.") and types.get(one) in role.types]
    if fields:
        return fields[0]
    raise EmmsError(
        f"column {name!r} holds {types[name]}; the {role.name} of {task.id} must be {' or '.join(role.types)}",
        f"{hint}; the dataset has {_described(types)}",
    )


def _beats(one: str, other: str, fits: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a task reads all columns of another and more; of the same columns, numbers are classes first."""
    mine, its = set(fits[one].values()), set(fits[other].values())
    return mine > its or (mine == its and TASKS[other].numbers is not None and TASKS[one].numbers is None)


def _pairs(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{role} = {column}" for role, column in columns.items())


def _fill(task: Task, types: Mapping[str, str], given: Mapping[str, str], how: int) -> dict[str, str] | None:
    """Every role of a task filled, inputs first, or None."""
    if not set(given) <= set(task.columns):
        return None
    taken = _filled(task, types, given, how)
    if set(taken) != set(task.columns):
        return None
    fits = all(types.get(one) in task.columns[name].types for name in taken for one in taken[name].split(","))
    return {name: taken[name] for name in task.columns} if fits else None


def _filled(task: Task, types: Mapping[str, str], given: Mapping[str, str], how: int) -> dict[str, str]:
    """The roles that can be filled. The label goes first: its type is the more distinctive one."""
    taken = dict(given)
    for role in (task.label, *task.inputs):
        if role.name not in taken:
            column = _pick(role, types, tuple(taken.values()), how, plural=not task.categorical)
            if column is not None:
                taken[role.name] = column
    return taken


def _pick(role: Column, types: Mapping[str, str], taken: tuple[str, ...], how: int, *, plural: bool) -> str | None:
    """The column for a role: by name, by a numbered series of names, by the only one of its type."""
    free = {name: type for name, type in types.items() if name not in taken and type in role.types}
    by_lower = {name.lower(): name for name in free}
    for candidate in role.candidates:
        if candidate in by_lower:
            return by_lower[candidate]
    if plural and "strings" in role.types:
        series = [n for n in free if (m := _NUMBERED.fullmatch(n.lower())) and m[1] in role.candidates]
        if series:
            return ",".join(sorted(series, key=lambda name: (len(name), name)))
    for type in role.types:
        only = [n for n in free if free[n] == type and "." not in n and not _is_id_like(n, type)]
        sure = type in ("image", "images") or (type == "class" and how >= _BY_CLASS)
        clear = type in _CLEAR_TYPES and (plural or type != "strings")
        if len(only) == 1 and (sure or (how == _BY_TYPE and clear)):
            return only[0]
    return None


def _is_id_like(name: str, type: str) -> bool:
    """Whether a column of texts or numbers is named as one that numbers or identifies rows."""
    return type in ("string", "integer", "float") and _ID_LIKE.fullmatch(name) is not None


def _check_inferred_label(source: OpenSplit, task: Task, columns: Mapping[str, str], *, chosen: bool) -> None:
    """Refuses a label column that was found by its type alone where it numbers the rows or what it holds is not clear.

    Args:
        source: where the rows are.
        task: the task.
        columns: role → column.
        chosen: whether the user named the task.
    """
    label = columns[task.label.name]
    if label.lower() in task.label.candidates or label not in source.rows.features:
        return
    rows = source.rows.select_columns([label])
    values = list(rows.take(_SHOWN) if source.streaming else rows.with_format(None)[label])
    values = [row[label] for row in values] if source.streaming else values
    numbers = [value for value in values if isinstance(value, (int, float))]
    if len(numbers) == len(values) > 1 and all(a < b for a, b in pairwise(numbers)):
        named = f"--task {task.id} {column_flag('label', label)}"
        raise EmmsError(
            f"column {label!r} may be a row number, not a label: its values are all different and increase",
            f"name the label: {column_flag('label')}, or this one if it is meant: {named}",
        )
    if task.numbers is not None and not chosen:
        classes = next(one.id for one in TASKS.built_in.values() if one.categorical and one.input == task.input)
        raise EmmsError(
            f"the numbers in column {label!r} may be classes or values, and nothing says which",
            f"--task {classes} {column_flag('label', label)}, or --task {task.id} {column_flag('label', label)}",
        )


def _check_expected(task: Task, role: str, column: str, types: Mapping[str, str], name: str) -> None:
    try:
        check_column(task, role, column, types)
    except EmmsError as error:
        raise EmmsError(
            f"the preset {name!r} expects the {role} in column {column!r}, but the dataset has {_described(types)}",
            column_flag(role),
        ) from error


def _check_names(task: Task, columns: Mapping[str, str], features: Mapping[str, Any]) -> None:
    for role, names in columns.items():
        several = names.split(",")
        if len(several) > 1 and (role != task.label.name or task.categorical or task.numbers):
            raise EmmsError(
                f"the {role} of {task.id} is one column, not {' and '.join(several)}",
                f"join them in a column of their own, then: {column_flag(role)}",
            )
        for name in several:
            if column_of(name) not in features:
                raise EmmsError(
                    f"the column {name!r} cannot be the {role}: a dot in a name separates a field from its column",
                    f"give it a name without a dot, then: {column_flag(role)}",
                )


def _check_options(options: Options, schema: RowSchema) -> None:
    task = schema.task
    if not task.categorical and (options.prompt or options.sampling == "balanced"):
        raise EmmsError(f"{task.id} has no classes: --prompt and --sampling balanced are for those", "leave it out")
    one_label = task.numbers is not None or (task.categorical and not schema.multi_label)
    if one_label and options.references != "mean":
        raise EmmsError(
            f"a row has one {task.label.name}: --references {options.references} is for several texts of "
            "an input, such as captions",
            "leave it out",
        )
    if options.label_form == "spans" and task.answer_span_input is None:
        raise EmmsError(
            f"the {task.label.name} of {task.id} is no span of a text, which --label-form spans is for", "leave it out"
        )
    numeric = options.label_form not in ((None, "text", "spans") if task.answer_span_input else (None,))
    if task.numbers is None and (numeric or options.box_format):
        raise EmmsError(
            f"the {task.label.name} of {task.id} is no number: --label-form and --box-format are for those",
            "leave it out",
        )
    formats = task.numbers.formats if task.numbers else {}
    if options.box_format and options.box_format not in formats:
        raise EmmsError(f"box_format is {options.box_format!r}", f"--box-format {'|'.join(formats)}")


def _described(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({one})" for name, one in types.items())


def _element(feature: Any) -> Any:
    """The type of a list's elements; of anything else, the type itself."""
    return getattr(feature, "feature", feature)


def _type_of(feature: Any) -> str:
    name = type(feature).__name__
    if name in ("Image", "ClassLabel"):
        return "image" if name == "Image" else "class"
    if isinstance(feature, Mapping):
        return "image" if set(feature) == {"bytes", "path"} else "struct"
    if _element(feature) is not feature:
        return _PLURALS.get(_type_of(_element(feature)), "list")
    dtype = str(getattr(feature, "dtype", name))
    if dtype in ("string", "large_string", "string_view"):
        return "string"
    if dtype in ("binary", "large_binary"):
        return "image"
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return "integer"
    return "float" if dtype.startswith("float") else dtype
