"""Which columns of a dataset are read, and as what: from column names and types to a task and its columns."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hf_emms.data.reading import JoinedImages, OpenSplit
from hf_emms.errors import EmmsError
from hf_emms.inputs import INPUT_KINDS
from hf_emms.options import COLUMN_FLAGS, Options
from hf_emms.presets import DatasetPreset
from hf_emms.tasks import TASKS, Column, Task, column_flag, get_task

_PLURALS = {"class": "classes", "integer": "integers", "float": "floats"} | {
    kind.column_types[0]: kind.column_types[1] for kind in INPUT_KINDS.values() if len(kind.column_types) > 1
}
_NUMBERED = re.compile(r"(.*?)_?\d+")
# How a column may be recognised, surest first: by its name (an image by its type), a class by its type, any by it.
_BY_NAME, _BY_CLASS, _BY_TYPE = range(3)
# Names of columns that number or identify rows: never a label or an input unless named.
_ID_LIKE = re.compile(
    r"(?i:(.*[_\- .])?(ids?|idx|index|key|uuid|guid|no|nr)|unnamed: ?\d+|(row|line)_?(number|num|id)?)|.*(Id|ID)"
)
# How many rows of a stream show what a column holds.
_ROWS_LOOKED_AT = 100
# Types of which the only column is the one that is meant.
_CLEAR_TYPES = ("class", "string", "strings", "integer")


@dataclass(frozen=True)
class RowSchema:
    """How the rows of one dataset are read for a task.

    Attributes:
        columns: the task's column → the dataset's, inputs first; several are joined by commas.
        types: the dataset's column → its type, see `column_types`.
        class_names: the names of class ids in the label column; None where it holds none.
        words: abbreviated label → the words that it stands for.
        joined: column of ids → the images behind them.
    """

    task: Task
    columns: Mapping[str, str]
    types: Mapping[str, str]
    class_names: list[str] | None
    words: Mapping[str, str]
    joined: Mapping[str, JoinedImages]

    @property
    def columns_read(self) -> list[str]:
        names = [name for joined in self.columns.values() for name in joined.split(",")]
        return list(dict.fromkeys(map(column_of, [*names, *filter(None, [self.position_column])])))

    @property
    def label_column(self) -> str:
        return self.columns[self.task.label.name]

    @property
    def label_columns(self) -> list[str]:
        return self.label_column.split(",")

    @property
    def label_type(self) -> str:
        return self.types[self.label_columns[0]]

    @property
    def position_column(self) -> str | None:
        """The column or field that says at which character of the input each label starts, as in SQuAD."""
        if self.task.label_position is None or self.has_parallel_labels:
            return None
        column, dot, _ = self.label_column.partition(".")
        name = f"{column}.{self.task.label_position}" if dot else self.task.label_position
        return name if self.types.get(name) in ("integer", "integers") else None

    @property
    def list_columns(self) -> tuple[Column, ...]:
        """The task's columns of which a row holds a list: each element is an input of its own."""
        return tuple(
            column
            for column in self.task.inputs
            if self.types[self.columns[column.name]] == "strings" and not column.is_list
        )

    @property
    def has_parallel_labels(self) -> bool:
        """Whether a list of labels goes along with the list of inputs, and is not one label's several texts."""
        return bool(self.list_columns) and all(self.types[name] == "strings" for name in self.label_columns)

    @property
    def multi_label(self) -> bool:
        return self.task.categorical and self.label_type in _PLURALS.values()

    @property
    def one_class(self) -> bool:
        return self.task.categorical and not self.multi_label

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


def columns_of(split: OpenSplit, preset: DatasetPreset | None, options: Options) -> RowSchema:
    """The task and its columns: as the options name them, else as the preset does, else by names and types.

    What was chosen is added to the notes of the split.

    Raises:
        EmmsError: columns are absent or of the wrong type, no task or several fit, or an option is not for this task.
    """
    features, named = split.rows.features, options.columns
    types = column_types(features) | dict.fromkeys(split.joined, "image")
    _check_exist(named, types)
    of_preset: dict[str, str] = {}
    if options.task is None and preset is None:
        task, columns = find_task(types, named)
        split.notes.append(f"task {task.id} inferred from the columns")
    else:
        task = get_task(options.task or (preset.task if preset else ""))
        of_preset = dict(preset.columns) if preset and preset.task == task.id else {}
        for role in of_preset.keys() - named.keys():
            _check_preset(task, role, of_preset[role], types, split.name)
        columns = find_columns(task, types, {**of_preset, **named})
    if task.label.name not in {**of_preset, **named}:
        _check_inferred_label(split, task, columns, chosen=options.task is not None or preset is not None)
    read = [f"{role} = {names} ({types[names.split(',')[0]]})" for role, names in columns.items()]
    split.notes.append(f"columns {', '.join(read)}")
    _check_names(task, columns, features)

    label, _, field = columns[task.label.name].split(",")[0].partition(".")
    feature = _element(features[label])
    class_names = getattr(_element(feature[field]) if field else feature, "names", None)
    words = preset.words if preset and columns == dict(preset.columns) else {}
    schema = RowSchema(task, columns, types, class_names, words, split.joined)
    _check_options(options, schema)
    return schema


def column_types(features: Mapping[str, Any]) -> dict[str, str]:
    """Column → "image", "class", "string", "integer", "float", their plurals (a list a row), "struct" or another type.

    The fields of structs, and of lists of them, follow their column as "answers.text".
    """
    types = {}
    for name, feature in features.items():
        types[name] = _type_of(feature)
        element = _element(feature)
        if isinstance(element, Mapping) and _type_of(element) == "struct":
            for field, inner in element.items():
                type = _type_of(inner)
                types[f"{name}.{field}"] = type if element is feature else _PLURALS.get(type, "list")
    return types


def column_of(name: str) -> str:
    """The column that a name is of: "answers" for "answers.text"."""
    return name.partition(".")[0]


def find_task(types: Mapping[str, str], named: Mapping[str, str]) -> tuple[Task, dict[str, str]]:
    """The only task whose columns can all be filled, those that the user named included, and with what.

    A task that reads all columns of another and more is preferred: with images, a question and an answer are no
    captions.
    """
    tasks = _tasks_to_infer(types)
    for how in (_BY_NAME, _BY_CLASS, _BY_TYPE):
        # Of several inputs, types alone do not say which is which.
        candidates = [task for task in tasks.values() if how != _BY_TYPE or len(task.inputs) == 1]
        filled = {task.id: columns for task in candidates if (columns := _fill(task, types, named, how)) is not None}
        fits = {
            id: columns
            for id, columns in filled.items()
            if not any(_is_more_specific(other, id, filled) for other in filled)
        }
        if len(fits) == 1:
            ((task_id, columns),) = fits.items()
            return TASKS[task_id], columns
        if fits:
            choices = "; ".join(f"{id} from {_pairs(columns)}" for id, columns in fits.items())
            raise EmmsError(f"the columns fit several tasks: {choices}", f"--task {' or --task '.join(fits)}")
    for kind in INPUT_KINDS.values():
        if kind.recognised_by_type and set(types.values()) == {kind.column_types[0]}:
            raise EmmsError(
                f"the {kind.plural} have no labels: {_described(types)} is the only column, as of one class or none",
                "put them in one folder per class, two or more, or add a metadata.csv with file_name and caption",
            )
    ids = [name for name in types if _is_id_like(name, types[name])]
    if ids and not named:
        raise EmmsError(
            f"none of {_described(types)} is clearly a label: {' and '.join(ids)} looks like a row number or a key",
            f"name the label: {column_flag('label', '|'.join(types))}",
        )
    flags = ", ".join(f"--{name}-column" for name in COLUMN_FLAGS)
    raise EmmsError(
        f"no task fits the columns {_described(types)}" + (f" with {_pairs(named)}" if named else ""),
        f"name the task (--task {'|'.join(TASKS)}) and its columns ({flags})",
    )


def find_columns(task: Task, types: Mapping[str, str], named: Mapping[str, str]) -> dict[str, str]:
    """What every column of a task is in the dataset, inputs first; the user or a preset may have named some."""
    named = {role: _check_column(task, role, names, types) for role, names in named.items()}
    # Two texts cannot be distinguished by type.
    distinct = len({column.kind for column in task.inputs}) == len(task.inputs)
    ways = (_BY_NAME, _BY_CLASS, _BY_TYPE) if distinct else (_BY_NAME, _BY_CLASS)
    for how in ways:
        columns = _fill(task, types, named, how)
        if columns is not None:
            return columns
    filled = _filled(task, types, named, ways[-1])
    missing = next(column for column in (task.label, *task.inputs) if column.name not in filled)
    raise EmmsError(
        f"no column for the {missing.name} of {task.id} among {_described(types)}",
        f"name it: {column_flag(missing.name)} ({' or '.join(missing.types)})",
    )


def _tasks_to_infer(types: Mapping[str, str]) -> dict[str, Task]:
    """Of our tasks those that read the dataset's images, if it has any; texts beside them are rarely ranked alone."""
    kinds = {
        kind.name
        for kind in INPUT_KINDS.values()
        if kind.recognised_by_type and set(kind.column_types) & set(types.values())
    }
    read = {task.id: {column.kind.name for column in task.inputs} for task in TASKS.built_in.values()}
    return {id: task for id, task in TASKS.built_in.items() if not kinds or kinds & read[id]}


def _is_more_specific(id: str, other: str, filled: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a task reads all columns of another and more; of the same columns, numbers are classes first."""
    names, other_names = set(filled[id].values()), set(filled[other].values())
    numbers, other_numbers = TASKS[id].numbers, TASKS[other].numbers
    return names > other_names or (names == other_names and other_numbers is not None and numbers is None)


def _pairs(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{role} = {names}" for role, names in columns.items())


def _fill(task: Task, types: Mapping[str, str], named: Mapping[str, str], how: int) -> dict[str, str] | None:
    """Every column of a task filled, inputs first, or None."""
    if not set(named) <= set(task.columns):
        return None
    filled = _filled(task, types, named, how)
    if set(filled) != set(task.columns):
        return None
    fits = all(types.get(name) in task.columns[role].types for role in filled for name in filled[role].split(","))
    return {role: filled[role] for role in task.columns} if fits else None


def _filled(task: Task, types: Mapping[str, str], named: Mapping[str, str], how: int) -> dict[str, str]:
    """The columns that can be filled. The label goes first: its type is the more distinctive one."""
    filled = dict(named)
    for column in (task.label, *task.inputs):
        if column.name not in filled:
            taken = {name for names in filled.values() for name in names.split(",")}
            free = {name: type for name, type in types.items() if name not in taken and type in column.types}
            name = _pick(column, free, how, plural=not task.categorical)
            if name is not None:
                filled[column.name] = name
    return filled


def _pick(column: Column, free: Mapping[str, str], how: int, *, plural: bool) -> str | None:
    """Of the columns that fit: the one of an expected name, a series of such names, or the only one of its type."""
    by_lower = {name.lower(): name for name in free}
    for candidate in column.candidates:
        if candidate in by_lower:
            return by_lower[candidate]
    if plural and "strings" in column.types:
        series = [n for n in free if (m := _NUMBERED.fullmatch(n.lower())) and m[1] in column.candidates]
        if series:
            return ",".join(sorted(series, key=lambda name: (len(name), name)))
    for type in column.types:
        same_type = [n for n in free if free[n] == type and "." not in n and not _is_id_like(n, type)]
        sure = column.kind.recognised_by_type or (type == "class" and how >= _BY_CLASS)
        clear = type in _CLEAR_TYPES and (plural or type != "strings")
        if len(same_type) == 1 and (sure or (how == _BY_TYPE and clear)):
            return same_type[0]
    return None


def _is_id_like(name: str, type: str) -> bool:
    return type in ("string", "integer", "float") and _ID_LIKE.fullmatch(name) is not None


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_exist(named: Mapping[str, str], types: Mapping[str, str]) -> None:
    for role, names in named.items():
        for name in names.split(","):
            if name not in types and column_of(name) not in types:
                close = difflib.get_close_matches(name, types, n=1)
                raise EmmsError(
                    f"there is no column {name!r}; it has: {_described(types)}",
                    column_flag(role, close[0] if close else "COLUMN"),
                )


def _check_column(task: Task, role: str, names: str, types: Mapping[str, str]) -> str:
    """Columns that exist and hold what the task needs; of a struct its field that the task knows."""
    if role not in task.columns:
        raise EmmsError(
            f"{task.id} has no {role} column",
            f"its columns are {', '.join(map(column_flag, task.columns))}",
        )
    return ",".join(_checked_name(task, task.columns[role], name, types) for name in names.split(","))


def _checked_name(task: Task, column: Column, name: str, types: Mapping[str, str]) -> str:
    hint = column_flag(column.name)
    if name not in types:
        raise EmmsError(f"there is no column {name!r}; the dataset has {_described(types)}", hint)
    if types[name] in column.types:
        return name
    for candidate in column.candidates:
        if candidate.startswith(f"{name}.") and types.get(candidate) in column.types:
            return candidate
    raise EmmsError(
        f"column {name!r} holds {types[name]}; the {column.name} of {task.id} must be {' or '.join(column.types)}",
        f"{hint}; the dataset has {_described(types)}",
    )


def _check_inferred_label(split: OpenSplit, task: Task, columns: Mapping[str, str], *, chosen: bool) -> None:
    """Refuses a label that was found by type alone: it numbers rows, or is not clear and the task was not `chosen`."""
    label = columns[task.label.name]
    if label.lower() in task.label.candidates or label not in split.rows.features:
        return
    rows = split.rows.select_columns([label])
    if split.streaming:
        values = [row[label] for row in rows.take(_ROWS_LOOKED_AT)]
    else:
        values = list(rows.with_format(None)[label])
    numbers = [value for value in values if isinstance(value, (int, float))]
    if len(numbers) == len(values) > 1 and all(a < b for a, b in pairwise(numbers)):
        named = f"--task {task.id} {column_flag(task.label.name, label)}"
        raise EmmsError(
            f"column {label!r} may be a row number, not a label: its values are all different and increase",
            f"name the label: {column_flag(task.label.name)}, or this one if it is meant: {named}",
        )
    if task.numbers is not None and not chosen:
        classes = next(other.id for other in TASKS.built_in.values() if other.categorical and other.input == task.input)
        flag = column_flag(task.label.name, label)
        raise EmmsError(
            f"the numbers in column {label!r} may be classes or values, and nothing says which",
            f"--task {classes} {flag}, or --task {task.id} {flag}",
        )


def _check_preset(task: Task, role: str, column: str, types: Mapping[str, str], name: str) -> None:
    try:
        _check_column(task, role, column, types)
    except EmmsError as error:
        raise EmmsError(
            f"the preset {name!r} expects the {role} in column {column!r}, but the dataset has {_described(types)}",
            column_flag(role),
        ) from error


def _check_names(task: Task, columns: Mapping[str, str], features: Mapping[str, Any]) -> None:
    for role, joined in columns.items():
        names = joined.split(",")
        if len(names) > 1 and (role != task.label.name or task.categorical or task.numbers):
            raise EmmsError(
                f"the {role} of {task.id} is one column, not {' and '.join(names)}",
                f"join them in a column of their own, then: {column_flag(role)}",
            )
        for name in names:
            if column_of(name) not in features:
                raise EmmsError(
                    f"the column {name!r} cannot be the {role}: a dot in a name separates a field from its column",
                    f"give it a name without a dot, then: {column_flag(role)}",
                )


def _check_options(options: Options, schema: RowSchema) -> None:
    task = schema.task
    if not task.categorical and (options.prompt or options.sampling == "balanced"):
        raise EmmsError(f"{task.id} has no classes: --prompt and --sampling balanced are for those", "leave it out")
    if (task.numbers is not None or schema.one_class) and options.references != "mean":
        raise EmmsError(
            f"a row has one {task.label.name}: --references {options.references} is for several texts of "
            "an input, such as captions",
            "leave it out",
        )
    if options.label_form == "spans" and task.items is None:
        raise EmmsError(
            f"the {task.label.name} of {task.id} is no span of a text, which --label-form spans is for", "leave it out"
        )
    form_fits = options.label_form is None or (task.items is not None and options.label_form in ("text", "spans"))
    if task.numbers is None and (options.box_format or not form_fits):
        raise EmmsError(
            f"the {task.label.name} of {task.id} is no number: --label-form and --box-format are for those",
            "leave it out",
        )
    formats = task.numbers.formats if task.numbers else {}
    if options.box_format and options.box_format not in formats:
        raise EmmsError(f"box_format is {options.box_format!r}", f"--box-format {'|'.join(formats)}")


# ---- types -----------------------------------------------------------------------------------------------------------


def _described(types: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({type})" for name, type in types.items())


def _element(feature: Any) -> Any:
    """The type of a list's elements; of anything else, the type itself."""
    return getattr(feature, "feature", feature)


def _type_of(feature: Any) -> str:
    if type(feature).__name__ == "ClassLabel":
        return "class"
    for kind in INPUT_KINDS.values():
        if kind.holds(feature):
            return kind.column_types[0]
    if isinstance(feature, Mapping):
        return "struct"
    if _element(feature) is not feature:
        return _PLURALS.get(_type_of(_element(feature)), "list")
    dtype = str(getattr(feature, "dtype", type(feature).__name__))
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return "integer"
    return "float" if dtype.startswith("float") else dtype
