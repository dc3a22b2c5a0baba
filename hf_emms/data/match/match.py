"""Infer the task and its columns, or list all readings that fit in one error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.match.columns import (
    PLURALS,
    Columns,
    Joined,
    as_struct,
    class_separator,
    column_of,
    column_types,
    element_of,
    flag_count_in_texts,
    names_in,
    read_columns,
)
from hf_emms.errors import EmmsError, Note, Text, joined, setting_ref, setting_refs
from hf_emms.heads.split import IGNORED
from hf_emms.inputs import MODALITIES
from hf_emms.options import SampleOptions
from hf_emms.presets import DatasetPreset
from hf_emms.ranking.reading import shortened
from hf_emms.tasks import TASKS, Column, Task, get_task, use_column
from hf_emms.tasks.task import spelling

# How columns are found, surest first: by name; also by a type that only one column has, for inputs and declared
# classes; by such a type for all columns.
_BY_NAME, _BY_DECLARED_TYPE, _BY_TYPE = range(3)
# More different whole numbers than these may be values.
_MAX_NUMBERED_CLASSES = 20
# Datasets write −1 for a missing label. With fewer other classes it may be a class: negative, neutral, positive.
_UNKNOWN, _MIN_KNOWN = -1, 3
_NUMBERED = re.compile(r"(.*?)_?\d+")
# A conversation contains both the prompt and the response.
_SHARED_TYPES = ("messages",)
_MAX_READINGS, _MAX_COLUMNS, _MAX_CHOICES, _MAX_JOINED = 12, 20, 12, 3

Named = Mapping[str, str]


@dataclass(frozen=True)
class RowSchema:
    """The columns that a task reads, and the form of their cells.

    Attributes:
        columns: the task's column → the dataset's, inputs first; commas separate several columns.
        types: the dataset's column → its type, see `column_types`.
        class_names: the names of class ids in the label column; None if it has no ids.
        words: abbreviated label → the words that it stands for.
        joined: column of ids, paths or base64 → the media that they stand for.
        unused: the dataset's columns that are not read.
        flag_names: names of classes with a 0 or 1 each, in a list or in several columns.
        class_separator: the character between classes in a label's text, as in "a|b".
        missing: numbers in the label column that mean "no label".
        group_column: the column of groups; None if rows of equal content are a group.
        notes: warnings about the columns.
    """

    task: Task
    columns: Mapping[str, str]
    types: Mapping[str, str]
    class_names: list[str] | None
    words: Mapping[str, str]
    joined: Mapping[str, Joined]
    unused: tuple[str, ...] = ()
    flag_names: tuple[str, ...] | None = None
    class_separator: str | None = None
    missing: frozenset[int] = frozenset({IGNORED})
    group_column: str | None = None
    notes: tuple[Note, ...] = ()

    @property
    def columns_read(self) -> list[str]:
        names = [name for joined in self.columns.values() for name in self.names_of(joined)]
        names += filter(None, [self.position_column, self.end_column, self.group_column])
        return list(dict.fromkeys(self.column_of(name) for name in names))

    @property
    def label_column(self) -> str:
        return self.columns[self.task.label.name]

    @property
    def label_columns(self) -> list[str]:
        return self.names_of(self.label_column)

    def names_of(self, joined: str) -> list[str]:
        return names_in(joined, self.types)

    def column_of(self, name: str) -> str:
        return column_of(name, self.types)

    @property
    def joins_labels(self) -> bool:
        """Whether label columns are parts of one text; a numbered series contains several texts."""
        return self.task.is_text_to_text and not is_series(self.label_columns)

    @property
    def label_type(self) -> str:
        return self.types[self.label_columns[0]]

    @property
    def position_column(self) -> str | None:
        """The column or field with the start of each label in the input, as in SQuAD."""
        return self._beside_label(self.task.label_position)

    @property
    def end_column(self) -> str | None:
        """The column or field with the end of each label in the input."""
        return self._beside_label(self.task.label_end)

    def _beside_label(self, field: str | None) -> str | None:
        if field is None or self.has_parallel_labels:
            return None
        name = _sibling(self.label_column, field, self.types)
        return name if self.types.get(name) in ("integer", "integers") else None

    @property
    def list_columns(self) -> tuple[Column, ...]:
        """The task's columns with a list of separate inputs per row."""
        return tuple(
            column
            for column in self.task.inputs
            if self.types[self.names_of(self.columns[column.name])[0]] == "strings" and not column.is_list
        )

    @property
    def has_parallel_labels(self) -> bool:
        """Whether each element of a list of inputs has its own label."""
        return bool(self.list_columns) and all(self.types[name] == "strings" for name in self.label_columns)

    @property
    def multi_label(self) -> bool:
        is_list = self.label_type in PLURALS.values() or self.flag_names is not None or self.class_separator is not None
        return self.task.categorical and is_list

    @property
    def one_class(self) -> bool:
        return self.task.categorical and not self.multi_label

    def label_name(self, value: Any) -> str | None:
        """Return a raw label as text; None for a missing label."""
        if value is None:
            return None
        if isinstance(value, float) and self.label_type == "integer":
            value = int(value) if value == value else ""  # an empty cell among numbers
        if self.class_names is None and not isinstance(value, (str, bool)) and value in self.missing:
            return None
        if self.class_names is None or isinstance(value, str):
            name = str(value).strip() or None
        else:
            # ``datasets`` writes −1 in test splits with secret labels.
            name = self.class_names[value] if value in range(len(self.class_names)) else None
        return name and self.words.get(name, name)


def read_schema(split: OpenSplit, preset: DatasetPreset | None, options: SampleOptions) -> RowSchema:
    """Return the task and its columns, from the options, the preset, or the columns' names and types.

    Raises:
        EmmsError: no reading or several readings fit, a named column is unusable, or an option is for another task.
    """
    features, named = split.rows.features, options.columns
    task_id = options.task or (preset.task if preset else None)
    task = None if task_id is None else get_task(task_id)
    of_preset = dict(preset.columns) if preset and task is not None and preset.task == task.id else {}
    if task is not None and set(task.columns) <= set(of_preset):  # the preset saves reading cells
        columns = Columns(column_types(features) | dict.fromkeys(split.joined, "image"), joined=dict(split.joined))
    else:
        columns = read_columns(split)
    for role, name in named.items():
        _check_exists(role, name, columns)
    if task is not None:
        _check_preset(task, {role: of_preset[role] for role in of_preset.keys() - named.keys()}, columns, split.name)
    task, read = find_reading(columns, {**of_preset, **named}, task, split.name)
    words = preset.words if preset and read == dict(preset.columns) else {}
    schema = RowSchema(task, read, columns.types, None, words, columns.joined)
    schema = _with_label_form(schema, features, columns)
    schema = replace(schema, group_column=_checked_group_column(options.group_column, columns))
    schema = replace(schema, unused=tuple(_unused(features, schema)), notes=tuple(_warnings(schema, columns)))
    _check_options(options, schema)
    return schema


def find_reading(columns: Columns, named: Named, task: Task | None, dataset: str) -> tuple[Task, dict[str, str]]:
    """Return the only task that fits, with role → the dataset's column.

    Args:
        columns: the dataset's columns.
        named: role → column, from the user or the preset.
        task: the task of the user or the preset; None to infer it.
        dataset: name for messages.

    Raises:
        EmmsError: no reading fits, or several readings do.
    """
    if task is not None:
        named = {role: _checked_names(task, role, names, columns) for role, names in named.items()}
    candidates = [task] if task is not None else _candidates(columns, named)
    tasks = candidates if task is not None else [each for each in candidates if _may_be_inferred(each, columns, named)]
    for how in (_BY_NAME, _BY_DECLARED_TYPE, _BY_TYPE):
        filled = {each.id: read for each in tasks if (read := _fill(each, columns, named, how)) is not None}
        if task is not None and filled:
            return task, filled[task.id]
        fits = {
            id: read
            for id, read in filled.items()
            if not any(_is_preferred(TASKS[other], filled[other], TASKS[id], read, columns, named) for other in filled)
        }
        if len(fits) == 1:
            ((id, read),) = fits.items()
            if _is_sure(TASKS[id], read, columns, named, candidates):
                return TASKS[id], read
        if fits:
            raise _unclear(columns, named, candidates, dataset, several=True)
    raise _unclear(columns, named, candidates, dataset, several=False)


def _is_sure(task: Task, read: Named, columns: Columns, named: Named, candidates: Sequence[Task]) -> bool:
    """Return whether cells are as the task expects, and no other column could be the label."""
    if task.fits is not None and not task.fits({role: columns.cells.get(name) for role, name in read.items()}):
        return False
    label = read[task.label.name]
    is_declared = columns.types.get(label) in ("class", "classes")
    if task.label.name in named or _is_usual(task, task.label.name, label) or is_declared:
        return True
    return not any(
        set(names_in(other[each.label.name], columns.types)).isdisjoint(names_in(label, columns.types))
        or each.is_text_to_text
        for each, other in possible_readings(columns, named, candidates)
        if not each.is_text_to_text or all(_is_usual(each, role, name) for role, name in other.items())
    )


def is_series(names: Sequence[str]) -> bool:
    """Return whether names differ in a number alone, as "answer_1" and "answer_2"; True for a single name."""
    return len({match[1] if (match := _NUMBERED.fullmatch(name)) else name for name in names}) == 1


# ---- filling the columns of a task -----------------------------------------------------------------------------------


def _candidates(columns: Columns, named: Named) -> list[Task]:
    """Return the tasks with the named columns. If the dataset has images or sounds, prefer tasks that read them."""
    types = set(columns.types.values())
    media = {kind.name for kind in MODALITIES.values() if kind.recognised_by_type and types & set(kind.column_types)}
    tasks = [task for task in TASKS.built_in.values() if named.keys() <= task.all_columns.keys()]
    reading_media = [task for task in tasks if media & {column.kind.name for column in task.inputs}]
    return reading_media or tasks


def _may_be_inferred(task: Task, columns: Columns, named: Named) -> bool:
    spellings = {spelling(column_of(name, columns.types)) for name in columns.types}
    are_named = {column.name for column in task.inputs} <= named.keys()
    return task.signs is None or are_named or any(spellings.issuperset(sign) for sign in task.signs)


def _fill(task: Task, columns: Columns, named: Named, how: int) -> dict[str, str] | None:
    """Return role → column if the task finds all columns that it requires, else None."""
    read = {
        role: ",".join(
            _field_of(task.all_columns[role], name, columns.types) for name in names_in(names, columns.types)
        )
        for role, names in named.items()
    }
    if not named.keys() & {column.name for column in task.inputs}:
        read |= _inputs_by_name(task, columns)
    needed = (*task.inputs, task.label) if task.is_text_to_text else (task.label, *task.inputs)
    for column in needed:
        if column.name not in read:
            free = _free(task, column, read, columns)
            name = _named_usually(task, column, free, columns) or _only_one(task, column, free, columns, how)
            if name is not None:
                read[column.name] = name
    read = _with_beside(task, read, columns, named)
    if not read.keys() >= task.columns.keys() or not _is_readable(task, read, columns):
        return None
    return {role: read[role] for role in task.all_columns if role in read}


def _accepted(task: Task, column: Column, columns: Columns) -> list[str]:
    """Return the columns with a type that a role accepts. Tags of words are labels of words only."""
    return [
        name
        for name, type in columns.types.items()
        if type in column.types and not (column is task.label and name in columns.word_tags and task.items is None)
    ]


def _free(task: Task, column: Column, read: Named, columns: Columns) -> list[str]:
    """Return the columns that a role accepts and no other role uses."""
    taken = {name for names in read.values() for name in names_in(names, columns.types)}
    accepted = _accepted(task, column, columns)
    return [name for name in accepted if name not in taken or columns.types[name] in _SHARED_TYPES]


def _with_beside(task: Task, read: Named, columns: Columns, named: Named) -> dict[str, str]:
    """Add optional columns, such as negatives, if the dataset has them."""
    read = {role: name for role, name in named.items() if role not in read} | dict(read)
    for column in task.beside:
        name = (
            None if column.name in read else _named_usually(task, column, _free(task, column, read, columns), columns)
        )
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
    """Return the column with an expected name, or a numbered series of such columns."""
    if column in task.inputs and task.input_names:
        return None
    by_spelling = {column.spelling(name): name for name in reversed(free)}
    for candidate in column.candidates:
        names = candidate.split(",")  # several texts that are joined
        if all(name in by_spelling for name in names):
            name = ",".join(by_spelling[each] for each in names)
            # Repeated texts are probably classes, not responses.
            if column is task.label and task.is_free_text and columns.types.get(name) == "string":
                return None if columns.repeats(name) else name
            return name
    if not task.categorical and "strings" in column.types and not column.is_list:
        series = [name for name in free if (m := _NUMBERED.fullmatch(name.lower())) and m[1] in column.candidates]
        return ",".join(sorted(series, key=lambda name: (len(name), name))) or None
    return None


def _only_one(task: Task, column: Column, free: Sequence[str], columns: Columns, how: int) -> str | None:
    """Return the only column with a suitable type; None if there are several, or types are not enough."""
    suitable = [name for name in free if _is_suitable(task, column, name, columns)]
    if column.kind.recognised_by_type:
        return suitable[0] if len(suitable) == 1 else None
    if how == _BY_NAME or task.is_text_to_text:
        return None
    if column is not task.label:
        return suitable[0] if len(suitable) == 1 and not task.input_names else None
    declared = [name for name in suitable if columns.types[name] in ("class", "classes")]
    if declared or how == _BY_DECLARED_TYPE:
        return declared[0] if len(declared) == 1 else None
    if task.categorical:
        return _flag_columns(task, suitable, columns) or (suitable[0] if len(suitable) == 1 else None)
    return suitable[0] if len(suitable) == 1 else None


def _is_suitable(task: Task, column: Column, name: str, columns: Columns) -> bool:
    """Return whether a column's type and cells suit a role, whatever its name."""
    type = columns.types[name]
    if columns.is_id(name) or column_of(name, columns.types) != name:
        return False
    if column.kind.recognised_by_type or type in _SHARED_TYPES:
        return True
    if column is task.label and task.categorical:
        return task.items is not None or columns.are_classes(name, _MAX_NUMBERED_CLASSES)
    if column is task.label and task.numbers is not None:
        return not columns.is_zero_one(name) and (type != "float" or len(columns.distinct(name)) > 1)
    if type == "strings":
        return (column is task.label and columns.varies(name)) or task.items is not None
    return type == "string" and not columns.repeats(name) and columns.has_letters(name)


def _flag_columns(task: Task, suitable: Sequence[str], columns: Columns) -> str | None:
    """Return the columns with a 0 or 1 per class, if the dataset has no columns besides these and the inputs."""
    flags = [name for name in columns.names if columns.is_zero_one(name) and not columns.is_id(name)]
    others = [name for name in columns.names if name not in flags and not columns.is_id(name)]
    differ = any(len(columns.distinct(name)) > 1 for name in flags)
    fits = differ and len(others) <= len(task.inputs) and set(suitable) <= set(flags)
    return ",".join(flags) if fits else None


def _is_readable(task: Task, read: Mapping[str, str], columns: Columns) -> bool:
    types = columns.types
    names = [(role, name) for role, joined in read.items() for name in names_in(joined, types)]
    if any(types.get(name) not in task.all_columns[role].types for role, name in names):
        return False
    # Spans need their ends.
    return task.label_end is None or _sibling(read[task.label.name], task.label_end, types) in types


def _sibling(label: str, field: str, types: Mapping[str, str]) -> str:
    """Return the name of another field of the label's column, or of another column."""
    column = column_of(label, types)
    return field if column == label else f"{column}.{field}"


def _is_preferred(task: Task, read: Named, other: Task, other_read: Named, columns: Columns, named: Named) -> bool:
    """Return whether one fitting task rules out another, because it reads more columns or reads them more usually."""
    names, others = set(read.values()), set(other_read.values())
    if names != others:
        # A score with a prompt and a response may rate the response, or be the label of a pair.
        return names > others and not (other.is_text_to_text and task.numbers is not None)
    if (task.signs is None) != (other.signs is None):
        return task.signs is not None
    if task.categorical and other.numbers is not None:
        label = read[task.label.name]
        is_sure = columns.types.get(label) != "integer" or columns.is_zero_one(label) or task.label.is_called(label)
        return is_sure or (task.label.name in named and columns.are_classes(label, _MAX_NUMBERED_CLASSES))
    if other.categorical and task.numbers is None and not task.categorical:
        return len(task.inputs) > 1
    return False


# ---- the error -------------------------------------------------------------------------------------------------------


def _unclear(columns: Columns, named: Named, tasks: Sequence[Task], dataset: str, *, several: bool) -> EmmsError:
    """Return an error that lists the columns and all readings, as settings that users can paste."""
    readings = possible_readings(columns, named, tasks)
    if not readings and named:
        # Perhaps the named columns have other roles.
        named_columns = {name for names in named.values() for name in names_in(names, columns.types)}
        readings = [
            (task, read)
            for task, read in possible_readings(columns, {}, tasks if len(tasks) == 1 else _candidates(columns, {}))
            if named_columns <= {part for name in read.values() for part in names_in(name, columns.types)}
        ]
    if not readings and columns.problems:
        return next(iter(columns.problems.values()))
    how = "Several readings fit" if several or len(readings) > 1 else "No reading surely fits"
    typed = [use_column(role, name) for role, name in named.items()]
    problem = joined([f"{how} the columns of {dataset!r}"])
    problem = problem + " with " + joined(typed) if typed else problem
    problem += ":" + "".join(f"\n  {line}" for line in described(columns))
    if not readings:
        if len(tasks) == 1:
            roles = (use_column(role) + f" ({' or '.join(column.types)})" for role, column in tasks[0].columns.items())
            return EmmsError(problem, f"{tasks[0].id} requires the columns " + joined(roles))
        example = setting_refs(setting_ref("task", ...), use_column("text"), use_column("label"))
        return EmmsError(problem, "Name the task and its columns: " + example + ". docs/tasks.md lists them.")
    shown = [
        setting_refs(setting_ref("task", task.id), *(use_column(role, name) for role, name in read.items()))
        for task, read in readings[:_MAX_READINGS]
    ]
    others = len(readings) - len(shown)
    more = f"\n    and {others} more, see docs/tasks.md" if others > 0 else ""
    return EmmsError(problem, "Choose a reading:\n    " + joined(shown, "\n    ") + more)


def described(columns: Columns) -> list[str]:
    """Return a line per column: its name, its type and an example."""
    lines = []
    for name in [*columns.types][:_MAX_COLUMNS]:
        cells = columns.cells.get(name)
        example = next((cell for cell in cells.slice(length=1).to_pylist()), None) if cells is not None else None
        text = "" if example is None else f": {shortened(str(example))}"
        lines.append(f"{name} ({columns.types[name]}){text}")
    others = len(columns.types) - len(lines)
    return [*lines, *([f"and {others} more"] if others else [])]


def possible_readings(columns: Columns, named: Named, tasks: Sequence[Task]) -> list[tuple[Task, dict[str, str]]]:
    """Return all readings, ordered by the number of columns and the number of expected names."""
    readings = [
        (task, read)
        for task in tasks
        if named.keys() <= task.all_columns.keys()
        for read in _assignments(task, columns, named)
        if _is_readable(task, read, columns)
    ]

    def rank(reading: tuple[Task, dict[str, str]]) -> tuple[int, int]:
        task, read = reading
        unusual = sum(role not in named and not _is_usual(task, role, name) for role, name in read.items())
        n_read = sum(len(names_in(name, columns.types)) for name in read.values())
        return unusual - n_read, -n_read

    return sorted(readings, key=rank)


def _is_usual(task: Task, role: str, name: str) -> bool:
    column = task.all_columns[role]
    return column.is_called(name) or any(part in column.candidates for part in re.split(r"[_\W]+", name.lower()))


def _assignments(task: Task, columns: Columns, named: Named) -> Iterator[dict[str, str]]:
    """Yield role → column for all combinations of distinct columns that suit a task."""
    choices = [
        [named[column.name]] if column.name in named else _choices(task, column, columns)
        for column in task.columns.values()
    ]
    order = {name: place for place, name in enumerate(columns.types)}
    same_kind = len(task.inputs) > len({column.kind for column in task.inputs})
    for names in product(*choices):
        read = dict(zip(task.columns, names, strict=True))
        parts = [part for name in names for part in names_in(name, columns.types)]
        if len(set(parts)) < len(parts) and not all(columns.types[part] in _SHARED_TYPES for part in parts):
            continue
        # Keep the dataset's order of two texts.
        places = [order.get(read[column.name], 0) for column in task.inputs]
        if same_kind and places != sorted(places) and not _has_usual_inputs(task, read, named):
            continue
        if task.fits is not None and sum(_is_usual(task, role, name) for role, name in read.items()) < len(read):
            continue
        yield _with_beside(task, read, columns, named)


def _has_usual_inputs(task: Task, read: Named, named: Named) -> bool:
    return all(column.name in named or _is_usual(task, column.name, read[column.name]) for column in task.inputs)


def _choices(task: Task, column: Column, columns: Columns) -> list[str]:
    is_label = column is task.label
    accepted = _accepted(task, column, columns)
    usual = [
        name
        for name in accepted
        if column.is_called(name)
        and not (is_label and task.numbers is not None and columns.is_zero_one(name))
        and not (is_label and task.categorical and not _is_suitable(task, column, name, columns))
    ]
    suitable = [name for name in accepted if name not in usual and _is_suitable(task, column, name, columns)]
    texts = [name for name in suitable if columns.types[name] == "string"]
    if column in task.inputs and len(task.inputs) == 1 and not task.is_text_to_text and not usual:
        if not suitable and "string" in column.types:  # the only texts may repeat
            return [name for name, type in columns.types.items() if type == "string" and not columns.is_id(name)]
        if 1 < len(texts) <= _MAX_JOINED:
            return [*suitable, ",".join(texts)]
    return [*usual, *suitable][:_MAX_CHOICES]


# ---- named columns ---------------------------------------------------------------------------------------------------


def _check_exists(role: str, names: str, columns: Columns) -> None:
    for name in names_in(names, columns.types):
        if name not in columns.types and column_of(name, columns.types) not in columns.types:
            close = difflib.get_close_matches(name, columns.types, n=1)
            raise EmmsError(_with_columns(f"The dataset has no column {name!r}", columns), use_column(role, *close))


def _with_columns(problem: str, columns: Columns) -> str:
    return problem + ". Its columns:" + "".join(f"\n  {line}" for line in described(columns))


def _checked_group_column(name: str | None, columns: Columns) -> str | None:
    if name is not None:
        _check_exists("group", name, columns)
        if columns.types[name] not in ("class", "string", "integer"):
            problem = f"Column {name!r} contains {columns.types[name]}. Groups must be texts, classes or whole numbers."
            raise EmmsError(problem, setting_ref("group_column", ...))
    return name


def _checked_names(task: Task, role: str, names: str, columns: Columns) -> str:
    """Return the named columns of a role; for a struct, the field that the task reads.

    Raises:
        EmmsError: the task does not have this role, or cannot read the columns.
    """
    if role not in task.all_columns:
        raise EmmsError(
            f"{task.id} has no {role} column.", "Its columns are " + joined(map(use_column, task.all_columns))
        )
    column, types = task.all_columns[role], columns.types
    checked = [_checked_name(column, name, columns, task) for name in names_in(names, types)]
    if len(checked) > 1 and not _can_join(task, role, checked, columns):
        texts = "zeros and ones" if role == task.label.name and task.categorical else "texts"
        raise EmmsError(
            f"The {role} of {task.id} is one column, not {' and '.join(checked)}. Only {texts} can be joined.",
            use_column(role),
        )
    return ",".join(checked)


def _checked_name(column: Column, name: str, columns: Columns, task: Task) -> str:
    types = columns.types
    field = _field_of(column, name, types)
    if types.get(field) in column.types:
        return field
    if name in columns.problems:
        raise columns.problems[name]
    content = f"contains {types[name]}" if name in types else "does not exist"
    problem = f"Column {name!r} {content}. The {column.name} of {task.id} must be {' or '.join(column.types)}"
    raise EmmsError(_with_columns(problem, columns), use_column(column.name))


def _field_of(column: Column, name: str, types: Mapping[str, str]) -> str:
    """Return the field of a struct that a role reads; other columns unchanged."""
    fields = {column.spelling(field): field for field in types if field.startswith(f"{name}.")}
    readable = [fields[candidate] for candidate in column.candidates if candidate in fields]
    readable = [field for field in readable if types[field] in column.types]
    return readable[0] if readable and types.get(name) not in column.types else name


def _can_join(task: Task, role: str, names: Sequence[str], columns: Columns) -> bool:
    if role == task.label.name:
        if task.categorical:
            return all(columns.is_zero_one(name) for name in names)
        if not task.is_text_to_text or is_series(names):
            return task.numbers is None
    # Starts of answers count characters of a single text.
    return task.items is None and all(columns.types[name] == "string" for name in names)


def _check_preset(task: Task, of_preset: Named, columns: Columns, name: str) -> None:
    for role, column in of_preset.items():
        try:
            _checked_names(task, role, column, columns)
        except EmmsError as error:
            problem = f"The preset {name!r} expects the {role} in column {column!r}"
            raise EmmsError(_with_columns(problem, columns), use_column(role)) from error


# ---- forms of labels, options, warnings ------------------------------------------------------------------------------


def _unused(features: Mapping[str, Any], schema: RowSchema) -> Iterator[str]:
    """Yield unused columns, and unused fields of structs."""
    names = {name for joined in schema.columns.values() for name in schema.names_of(joined)}
    names.update(filter(None, (schema.position_column, schema.end_column, schema.group_column)))
    for column in features:
        if column not in schema.columns_read:
            yield column
        elif column not in names:
            fields = (name for name in schema.types if schema.column_of(name) == column != name)
            yield from (name for name in fields if name not in names)


def _with_label_form(schema: RowSchema, features: Mapping[str, Any], columns: Columns) -> RowSchema:
    """Add the names of classes and the form of label cells."""
    names, task = schema.label_columns, schema.task
    column = schema.column_of(names[0])
    feature, field = element_of(as_struct(features[column])), names[0].removeprefix(f"{column}.")
    class_names = getattr(element_of(feature[field]) if field != column else feature, "names", None)
    schema = replace(schema, class_names=class_names)
    if not task.categorical:
        return schema
    if class_names is None and columns.types[names[0]] == "integer":
        classes = columns.distinct(names[0]) - {IGNORED, _UNKNOWN}
        if _UNKNOWN in columns.distinct(names[0]) and len(classes) >= _MIN_KNOWN and min(classes) == 0:
            schema = replace(schema, missing=frozenset({IGNORED, _UNKNOWN}))
    if len(names) > 1:
        return replace(schema, flag_names=tuple(name.rpartition(".")[2] for name in names))
    count, separator = columns.flag_counts.get(names[0]), None
    if columns.types[names[0]] == "string" and names[0] in columns.cells:
        separator = class_separator(columns.cells[names[0]])
        if separator is not None:
            count = flag_count_in_texts(columns.cells[names[0]].drop_null().to_pylist(), separator)
    flag_names = tuple(class_names or map(str, range(count))) if count is not None else None
    return replace(schema, flag_names=flag_names, class_separator=separator)


def _warnings(schema: RowSchema, columns: Columns) -> Iterator[Note]:
    """Yield warnings about a class that may mean "no label", and about an input that equals the label."""
    label, task = schema.label_column, schema.task
    if schema.one_class and schema.class_names is None and columns.types.get(label) in ("string", "integer"):
        for value in columns.distinct(label):
            if value == _UNKNOWN and _UNKNOWN not in schema.missing:
                yield Note("negative-class", f"-1 in column {label!r} is read as a class.")
            elif isinstance(value, str) and value.strip().lower() in _NULLS:
                yield Note("null-class", f"{value!r} in column {label!r} is read as a class.")
    cells = columns.cells.get(label)
    for role, name in schema.columns.items():
        other = columns.cells.get(name) if name != label else None
        if cells is not None and other is not None and other.type == cells.type and other.equals(cells):
            yield Note("equal-columns", f"Columns {name!r} ({role}) and {label!r} ({task.label.name}) are equal.")


# Texts that often mean "no label".
_NULLS = {"?", "-", "n/a", "na", "nan", "null", "none", "missing"}


def _check_options(options: SampleOptions, schema: RowSchema) -> None:
    """Raise an `EmmsError` for an option that is for another task."""
    task = schema.task
    form_fits = options.label_form is None or (task.items is not None and options.label_form in ("text", "spans"))
    misplaced: list[tuple[bool, Text, str]] = [
        (bool(options.prompt) and not task.categorical, setting_ref("prompt"), "classes"),
        (options.sampling == "balanced" and not task.categorical, setting_ref("sampling", "balanced"), "classes"),
        (
            options.references != "mean" and (task.numbers is not None or schema.one_class),
            setting_ref("references", options.references),
            "several texts per input, such as captions",
        ),
        (
            options.label_form == "spans" and task.items is None,
            setting_ref("label_form", "spans"),
            "answers and words in a text",
        ),
        (task.numbers is None and not form_fits, setting_ref("label_form", options.label_form), "numbers and boxes"),
        (
            bool(options.box_format) and not (task.numbers and task.numbers.formats),
            setting_ref("box_format", options.box_format),
            "boxes",
        ),
    ]
    for is_misplaced, setting, purpose in misplaced:
        if is_misplaced:
            raise EmmsError(setting + f" is for {purpose}, not for the {task.label.name} of {task.id}.", "Remove it.")
