"""The choice of a task and its columns by the names and types of a dataset's columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hf_emms.data.cell_texts import class_separator
from hf_emms.data.column_checks import (
    NUMBERED,
    check_column,
    check_exist,
    check_inferred_text,
    check_names,
    check_preset,
    check_sentences,
    check_separators,
    check_unsupported,
    check_word_tags,
    checked_group_column,
    column_of,
    is_series,
)
from hf_emms.data.column_types import (
    PATH,
    PLURALS,
    SHARED_TYPES,
    ColumnContents,
    Joined,
    as_struct,
    column_types,
    element_of,
    flag_count_in_texts,
    look_into,
)
from hf_emms.data.files.local import PANDAS_INDEX
from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.label_checks import check_label, missing_labels
from hf_emms.data.suggestions import CLEAR_TYPES, described, is_id_like, no_task
from hf_emms.errors import EmmsError, setting_ref
from hf_emms.heads.split import IGNORED
from hf_emms.inputs import MODALITIES
from hf_emms.options import SampleOptions
from hf_emms.presets import DatasetPreset
from hf_emms.tasks import TASKS, Column, Task, get_task, use_column
from hf_emms.tasks.other_tasks import OTHER_TASKS
from hf_emms.tasks.text_pairs import named_columns

# How a column may be recognised, surest first: by name (images by type), classes by type, any column by type.
_BY_NAME, _BY_CLASS, _BY_TYPE = range(3)
_MAX_NAMED = 6


class SeveralTasksError(EmmsError):
    """Raised where several tasks fit, so that the user has to name the task."""


@dataclass(frozen=True)
class RowSchema:
    """The columns of a dataset for a task, and their forms.

    Attributes:
        columns: the task's column → the dataset's, inputs first; several are joined by commas.
        types: the dataset's column → its type, see `column_types`.
        class_names: the names of class ids in the label column; None where it holds none.
        words: abbreviated label → the words that it stands for.
        joined: column of ids, paths or base64 → the images behind them.
        unused: the dataset's columns that are not read.
        flag_names: the names of classes whose zeros and ones the label columns hold, in a list or a column each; None
            where they hold something else.
        class_separator: the character between several classes in a label's text, as in "a|b"; None without several.
        missing: numbers in the label column that mean that there is no label.
        group_column: the column whose values are the groups of rows; None where rows of equal content are groups.
        notes: choices in words.
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
    notes: tuple[str, ...] = ()

    @property
    def columns_read(self) -> list[str]:
        names = [name for joined in self.columns.values() for name in joined.split(",")]
        return list(
            dict.fromkeys(
                map(column_of, [*names, *filter(None, [self.position_column, self.end_column, self.group_column])])
            )
        )

    @property
    def label_column(self) -> str:
        return self.columns[self.task.label.name]

    @property
    def label_columns(self) -> list[str]:
        return self.label_column.split(",")

    @property
    def joins_labels(self) -> bool:
        """Whether the label columns are parts of a single text; a numbered series has several texts."""
        return self.task.is_text_to_text and not is_series(self.label_columns)

    @property
    def label_type(self) -> str:
        return self.types[self.label_columns[0]]

    @property
    def position_column(self) -> str | None:
        """The column or field with the character of the input at which each label starts, as in SQuAD."""
        return self._beside_label(self.task.label_position)

    @property
    def end_column(self) -> str | None:
        """The column or field with the character of the input at which each label ends."""
        return self._beside_label(self.task.label_end)

    def _beside_label(self, field: str | None) -> str | None:
        if field is None or self.has_parallel_labels:
            return None
        column, dot, _ = self.label_column.partition(".")
        name = f"{column}.{field}" if dot else field
        return name if self.types.get(name) in ("integer", "integers") else None

    @property
    def list_columns(self) -> tuple[Column, ...]:
        """The task's columns with a list in each row, whose elements are separate inputs."""
        return tuple(
            column
            for column in self.task.inputs
            if self.types[self.columns[column.name].split(",")[0]] == "strings" and not column.is_list
        )

    @property
    def has_parallel_labels(self) -> bool:
        """Whether a list of labels goes along with the list of inputs; else its texts are a single label."""
        return bool(self.list_columns) and all(self.types[name] == "strings" for name in self.label_columns)

    @property
    def multi_label(self) -> bool:
        is_list = self.label_type in PLURALS.values() or self.flag_names is not None or self.class_separator is not None
        return self.task.categorical and is_list

    @property
    def one_class(self) -> bool:
        return self.task.categorical and not self.multi_label

    def label_name(self, value: Any) -> str | None:
        """Return a raw class or other value as text; None where it means that there is no label."""
        if value is None:
            return None
        if isinstance(value, float) and self.label_type == "integer":
            value = int(value) if value == value else ""  # an empty cell among numbers
        if value in self.missing and self.label_type in ("integer", "integers"):
            return None
        if self.class_names is None or isinstance(value, str):
            name = str(value).strip() or None
        else:
            # −1 is what datasets writes in test splits whose labels are secret.
            name = self.class_names[value] if value in range(len(self.class_names)) else None
        return name and self.words.get(name, name)


def columns_of(split: OpenSplit, preset: DatasetPreset | None, options: SampleOptions) -> RowSchema:
    """Return the task and its columns: those of the options, else of the preset, else by names and types.

    Raises:
        EmmsError: columns are absent or of the wrong type, no task or several fit, or an option is not for this task.
    """
    features, named = split.rows.features, options.columns
    check_exist(named, column_types(features))
    task_id = options.task or (preset.task if preset else None)
    task = None if task_id is None else get_task(task_id)
    of_preset = dict(preset.columns) if preset and task is not None and preset.task == task.id else {}
    is_described = task is not None and set(task.columns) <= set(of_preset)
    types = column_types(features) | dict.fromkeys(split.joined, "image")
    contents = ColumnContents(types, joined=split.joined) if is_described else look_into(split)
    # A comma separates several columns that are named.
    contents = replace(contents, types={name: type for name, type in contents.types.items() if "," not in name})
    notes = list[str]()
    if task is None:
        task, columns, notes = _inferred(contents, named)
    else:
        for role in of_preset.keys() - named.keys():
            check_preset(task, role, of_preset[role], contents.types, split.name)
        columns = _named_or_found(task, contents, {**of_preset, **named})
    is_named = task.label.name in {**of_preset, **named}
    notes += check_label(contents, task, columns, chosen=task_id is not None, named=is_named)
    read = [f"{role} = {names} ({contents.types[names.split(',')[0]]})" for role, names in columns.items()]
    notes.append(f"columns {', '.join(read)}")
    lists = check_sentences(task, columns, contents)
    notes += [f"the texts in a list of {name} are read as one" for name in lists]
    notes += [f"{name} is the index of a saved DataFrame" for name in types if name.startswith(PANDAS_INDEX)]
    check_names(task, columns, features, contents)

    words = preset.words if preset and columns == dict(preset.columns) else {}
    schema = RowSchema(task, columns, contents.types, None, words, contents.joined, notes=tuple(notes))
    schema = _with_label_form(schema, features, contents)
    if schema.joins_labels:
        note = f"the {task.label.name} is {' and '.join(schema.label_columns)}, joined"
        schema = replace(schema, notes=(*schema.notes, note))
    group = checked_group_column(options.group_column, contents.types)
    if group is not None:
        note = f"rows of the same {group} are a group: never on both sides of a split"
        schema = replace(schema, group_column=group, notes=(*schema.notes, note))
    schema = replace(schema, unused=tuple(_unused(features, schema)))
    _check_options(options, schema)
    return schema


def _unused(features: Mapping[str, Any], schema: RowSchema) -> Iterator[str]:
    """Yield the columns that are not read, and the unread fields of columns that are read in part."""
    names = {name for joined in schema.columns.values() for name in joined.split(",")}
    names.update(filter(None, (schema.position_column, schema.end_column, schema.group_column)))
    for column in features:
        if column not in schema.columns_read:
            yield column
        elif column not in names:
            yield from (name for name in schema.types if column_of(name) == column != name and name not in names)


def _inferred(contents: ColumnContents, named: Mapping[str, str]) -> tuple[Task, dict[str, str], list[str]]:
    """Return the task that fits the columns, the columns by role, and notes.

    Raises:
        EmmsError: no task or several fit, or the task that fits would leave out essential columns.
    """
    try:
        task, columns = find_task(contents, named)
    except SeveralTasksError:
        raise
    except EmmsError:
        check_unsupported(contents, {}, None)
        if contents.problems:
            raise next(iter(contents.problems.values())) from None
        check_separators(contents)
        raise
    check_unsupported(contents, columns, task)
    closed = {name: problem for name, problem in contents.problems.items() if contents.types[name] == PATH}
    if closed and not any(column.kind.recognised_by_type for column in task.inputs):
        name, problem = next(iter(closed.items()))
        remedy = problem.remedy + "; to" if problem.remedy else "to"
        raise EmmsError(problem.problem, remedy + f" leave {name!r} out: " + setting_ref("task", task.id)) from problem
    check_inferred_text(task, columns, contents, named)
    notes = [f"task {task.id} inferred from the columns" + (f": {task.reading}" if task.reading else "")]
    read = {name for names in columns.values() for name in names.split(",")}
    for other in OTHER_TASKS:
        beside = [name for name in other.columns_in(contents.types) if name not in read]
        if beside and TASKS.find(other.id) is None:
            notes.append(f"{other.id} is not supported: {' and '.join(beside)} is left out")
    return task, columns, notes


def _named_or_found(task: Task, contents: ColumnContents, named: Mapping[str, str]) -> dict[str, str]:
    try:
        columns = find_columns(task, contents, named)
    except EmmsError as error:
        of_inputs = [names for role, names in named.items() if role != task.label.name]
        problems = [problem for name, problem in contents.problems.items() if not of_inputs or name in of_inputs]
        raise problems[0] if problems else error from None
    check_word_tags(contents, columns, task)
    return columns


def find_task(contents: ColumnContents, named: Mapping[str, str]) -> tuple[Task, dict[str, str]]:
    """Return the only task whose columns can all be filled, with the named columns, and its columns by role.

    A task that reads all columns of another and more is preferred: with images, a question and an answer are no
    captions.
    """
    types = contents.types
    tasks = _tasks_to_infer(types)
    for how in (_BY_NAME, _BY_CLASS, _BY_TYPE):
        # Types alone do not tell several texts apart.
        candidates = [
            task
            for task in tasks.values()
            if how == _BY_NAME or not (task.is_text_to_text or (how == _BY_TYPE and len(task.inputs) > 1))
        ]
        filled = {task.id: columns for task in candidates if (columns := _fill(task, contents, named, how)) is not None}
        fits = {
            id: columns
            for id, columns in filled.items()
            if not any(_is_more_specific(other, id, filled, contents) for other in filled)
        }
        if len(fits) > 1:
            fits = {id: columns for id, columns in fits.items() if _is_accepted(TASKS[id], columns, contents, named)}
        if len(fits) == 1:
            ((task_id, columns),) = fits.items()
            return TASKS[task_id], columns
        if fits:
            choices = "; ".join(f"{id} from {_pairs(columns)}" for id, columns in fits.items())
            raise SeveralTasksError(f"the columns fit several tasks: {choices}", setting_ref("task", *fits))
    for kind in MODALITIES.values():
        if kind.recognised_by_type and set(types.values()) == {kind.column_types[0]}:
            raise EmmsError(
                f"the {kind.plural} have no labels: {described(types)} is the only column, as of one class or none",
                "put them in one folder per class, two or more, or add a metadata.csv with file_name and caption",
            )
    raise no_task(contents, named)


def find_columns(task: Task, contents: ColumnContents, named: Mapping[str, str]) -> dict[str, str]:
    """Return the dataset's column for every column of a task, inputs first; `named` are those of user and preset."""
    types = contents.types
    named = {role: check_column(task, role, names, types) for role, names in named.items()}
    # Two texts cannot be distinguished by type.
    distinct = len({column.kind for column in task.inputs}) == len(task.inputs)
    ways = (_BY_NAME, _BY_CLASS, _BY_TYPE) if distinct else (_BY_NAME, _BY_CLASS)
    for how in ways:
        columns = _fill(task, contents, named, how)
        if columns is not None:
            return columns
    filled = _filled(task, contents, named, ways[-1])
    missing = next(column for column in (task.label, *task.inputs) if column.name not in filled)
    raise EmmsError(
        f"no column for the {missing.name} of {task.id} among {described(types)}",
        "name it: " + use_column(missing.name) + f" ({' or '.join(missing.types)})",
    )


def _is_accepted(task: Task, columns: Mapping[str, str], contents: ColumnContents, named: Mapping[str, str]) -> bool:
    try:
        check_label(contents, task, columns, chosen=True, named=task.label.name in named)
    except EmmsError:
        return False
    return True


def _tasks_to_infer(types: Mapping[str, str]) -> dict[str, Task]:
    """Return the tasks to choose from: where a dataset has images, those that read them."""
    kinds = {
        kind.name
        for kind in MODALITIES.values()
        if kind.recognised_by_type and set(kind.column_types) & set(types.values())
    }
    read = {task.id: {column.kind.name for column in task.inputs} for task in TASKS.built_in.values()}
    return {
        id: task
        for id, task in TASKS.built_in.items()
        if (not kinds or kinds & read[id])
        and (task.signs is None or any(named_columns(map(column_of, types), names) for names in task.signs))
    }


def _is_more_specific(id: str, other: str, filled: Mapping[str, Mapping[str, str]], contents: ColumnContents) -> bool:
    """Return whether a task reads all columns of another and more; of the same columns, classes come before numbers.

    Texts that repeat are classes before they are captions, and never before they are answers to a question on a text. A
    score beside a prompt and its response may rate them, or be what a pair of texts is compared by.
    """
    names, other_names = set(filled[id].values()), set(filled[other].values())
    task, other_task = TASKS[id], TASKS[other]
    if names != other_names:
        return names > other_names and not (other_task.is_text_to_text and task.numbers is not None)
    if (task.signs is None) != (other_task.signs is None):
        return task.signs is not None
    if (task.numbers is None) != (other_task.numbers is None):
        return task.numbers is None
    if len(task.inputs) > 1:
        return other_task.categorical and not task.categorical
    return task.categorical and not other_task.categorical and filled[id][task.label.name] in contents.repeating


def _pairs(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{role} = {names}" for role, names in columns.items())


def _fill(task: Task, contents: ColumnContents, named: Mapping[str, str], how: int) -> dict[str, str] | None:
    """Return every column that a task needs filled, inputs first, and those that it also reads; or None."""
    if not set(named) <= set(task.all_columns):
        return None
    filled = _filled(task, contents, named, how)
    if not set(filled) >= set(task.columns):
        return None
    fits = all(
        contents.types.get(name) in task.all_columns[role].types for role in filled for name in filled[role].split(",")
    )
    are_words = any(contents.types.get(filled[column.name]) == "strings" for column in task.inputs)
    if are_words and task.items is None and filled[task.label.name] in contents.word_tags:
        return None
    if task.label_end is not None:
        # Span labels need positions.
        column, dot, _ = filled[task.label.name].partition(".")
        fits = fits and (f"{column}.{task.label_end}" if dot else task.label_end) in contents.types
    return {role: filled[role] for role in task.all_columns if role in filled} if fits else None


def _filled(task: Task, contents: ColumnContents, named: Mapping[str, str], how: int) -> dict[str, str]:
    """Return the columns that can be filled; the label is filled first where its type is more distinctive."""
    filled = dict(named)
    needed = (*task.inputs, task.label) if task.is_text_to_text else (task.label, *task.inputs)
    for column in (*needed, *task.beside):
        if column.name not in filled:
            taken = {name for names in filled.values() for name in names.split(",")}
            free = {
                n: type
                for n, type in contents.types.items()
                if type in column.types and (n not in taken or type in SHARED_TYPES)
            }
            flags = _flag_columns(task, free, contents) if column is task.label and how == _BY_TYPE else None
            expected = _BY_NAME if column in task.beside else how
            name = flags or _pick(column, free, expected, plural=not task.categorical)
            if name is not None:
                filled[column.name] = name
    return filled


def _flag_columns(task: Task, free: Mapping[str, str], contents: ColumnContents) -> str | None:
    """Return the columns of zeros and ones if they are the label: two classes, or a class for each column."""
    usable = [name for name, type in free.items() if "." not in name and not is_id_like(name, type)]
    flags = [name for name in usable if name in contents.zero_one]
    differ = any(len(contents.cells[name].drop_null().unique()) > 1 for name in flags)
    texts = sum("string" in column.types for column in task.inputs)
    return ",".join(flags) if task.categorical and differ and len(usable) - len(flags) <= texts else None


def _pick(column: Column, free: Mapping[str, str], how: int, *, plural: bool) -> str | None:
    """Return the column that fits by an expected name, a series of such names, or the only column of a type."""
    by_spelling = {column.spelling(name): name for name in reversed(list(free))}
    for candidate in column.candidates:
        names = candidate.split(",")  # several texts that are joined
        if all(name in by_spelling for name in names):
            return ",".join(by_spelling[name] for name in names)
    if plural and "strings" in column.types and not column.is_list:
        series = [n for n in free if (m := NUMBERED.fullmatch(n.lower())) and m[1] in column.candidates]
        if series:
            return ",".join(sorted(series, key=lambda name: (len(name), name)))
    for type in column.types:
        same_type = [n for n in free if free[n] == type and "." not in n and not is_id_like(n, type)]
        sure = column.kind.recognised_by_type or (type in ("class", "classes") and how >= _BY_CLASS)
        clear = type in CLEAR_TYPES and (type != "strings" or (plural and not column.is_list))
        if len(same_type) == 1 and (sure or (how == _BY_TYPE and clear)):
            return same_type[0]
    return None


# ---- checks ----------------------------------------------------------------------------------------------------------


def _with_label_form(schema: RowSchema, features: Mapping[str, Any], contents: ColumnContents) -> RowSchema:
    """Return the schema with the names of its classes and the form of a label's cell, which the notes tell."""
    names, task = schema.label_columns, schema.task
    column, _, field = names[0].partition(".")
    feature = element_of(as_struct(features[column]))
    class_names = getattr(element_of(feature[field]) if field else feature, "names", None)
    if not task.categorical:
        return replace(schema, class_names=class_names)
    missing, said = missing_labels(contents, names[0]) if class_names is None else (schema.missing, ())
    schema = replace(schema, missing=missing, notes=(*schema.notes, *said))
    texts = contents.cells.get(names[0]) if contents.types[names[0]] == "string" else None
    separator = None if texts is None else class_separator(texts)
    count = contents.flag_counts.get(names[0]) if separator is None else flag_count_in_texts(texts, separator)
    if len(names) > 1:
        flag_names = tuple(name.rpartition(".")[2] for name in names)
    elif count is not None:
        flag_names = tuple(class_names or map(str, range(count)))
    else:
        note = f"a {task.label.name} holds several classes, separated by {separator} or written as a list"
        notes = schema.notes if separator is None else (*schema.notes, note)
        return replace(schema, class_names=class_names, class_separator=separator, notes=notes)
    more = ", …" * (len(flag_names) > _MAX_NAMED)
    note = f"each of {len(flag_names)} classes is a 0 or 1: {', '.join(flag_names[:_MAX_NAMED])}{more}"
    return replace(schema, flag_names=flag_names, class_separator=separator, notes=(*schema.notes, note))


def _check_options(options: SampleOptions, schema: RowSchema) -> None:
    task = schema.task
    if not task.categorical and (options.prompt or options.sampling == "balanced"):
        problem = (
            f"{task.id} has no classes: "
            + setting_ref("prompt")
            + " and "
            + setting_ref("sampling", "balanced")
            + " are for those"
        )
        raise EmmsError(problem, "leave it out")
    if (task.numbers is not None or schema.one_class) and options.references != "mean":
        raise EmmsError(
            f"a row has one {task.label.name}: "
            + setting_ref("references", options.references)
            + " is for several texts of an input, such as captions",
            "leave it out",
        )
    if options.label_form == "spans" and task.items is None:
        raise EmmsError(
            f"the {task.label.name} of {task.id} is no span of a text, which "
            + setting_ref("label_form", "spans")
            + " is for",
            "leave it out",
        )
    form_fits = options.label_form is None or (task.items is not None and options.label_form in ("text", "spans"))
    if task.numbers is None and (options.box_format or not form_fits):
        raise EmmsError(
            f"the {task.label.name} of {task.id} is no number: "
            + setting_ref("label_form")
            + " and "
            + setting_ref("box_format")
            + " are for those",
            "leave it out",
        )
    if options.box_format and task.numbers and not task.numbers.formats:
        raise EmmsError(
            f"the {task.label.name} of {task.id} is no box: " + setting_ref("box_format") + " is for those",
            "leave it out",
        )
