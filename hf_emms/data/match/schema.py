"""The schema of a dataset's rows: the columns that a task reads, and the form of their cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.match.columns import (
    PLURALS,
    Columns,
    Joined,
    as_struct,
    column_of,
    column_types,
    element_of,
    names_in,
    read_columns,
    split_classes,
)
from hf_emms.data.match.named_columns import check_exists, is_series, sibling
from hf_emms.data.match.readings import find_reading
from hf_emms.data.match.unclear import UnclearColumnsError
from hf_emms.errors import EmmsError, Note
from hf_emms.heads.split import IGNORED
from hf_emms.inputs import UnusableError
from hf_emms.options import CLASS_FORMS, LabelForm, SampleOptions
from hf_emms.presets import DatasetPreset
from hf_emms.tasks import Column, Task, get_task, use_column
from hf_emms.tasks.task import FLAG_LISTS
from hf_emms.texts import Text, setting_ref


@dataclass(frozen=True)
class RowSchema:
    """The columns that a task reads, and the form of their cells.

    Attributes:
        columns: The task's column → the dataset's, inputs first; commas separate several columns.
        types: The dataset's column → its type, see `column_types`.
        class_names: The names of class ids in the label column; None if it has no ids.
        words: Abbreviated label → the words that it abbreviates.
        joined: Column of ids or paths → the media that they represent.
        unused: The dataset's columns that are not read.
        flag_names: Names of classes with a 0 or 1 each, in a list or in several columns.
        class_separator: The character between classes in a label's text, as in "a|b".
        group_column: The column of groups; None if rows of equal content are a group.
        notes: Warnings about the columns.
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
        name = sibling(self.label_column, field, self.types)
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
        if self.class_names is None and isinstance(value, int) and value == IGNORED:
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
        EmmsError: No reading or several readings fit, a named column is unusable, or an option is for another task.
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
        check_exists(role, name, columns)
    task, read = find_reading(columns, {**of_preset, **named}, task, split.name)
    words = preset.words if preset and read == dict(preset.columns) else {}
    schema = RowSchema(task, read, columns.types, None, words, columns.joined)
    schema = _with_label_form(schema, features, columns, options)
    schema = replace(schema, group_column=_checked_group_column(options.group_column, columns))
    schema = replace(schema, unused=tuple(_unused(features, schema)), notes=tuple(_warnings(schema, columns)))
    _check_options(options, schema)
    return schema


def _checked_group_column(name: str | None, columns: Columns) -> str | None:
    if name is not None:
        check_exists("group", name, columns)
        if columns.types[name] not in ("class", "bool", "string", "integer"):
            problem = f"column {name!r} contains {columns.types[name]}. Groups must be texts, classes or whole numbers"
            raise UnclearColumnsError("column-unsuitable", problem, columns, "group")
    return name


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


def _with_label_form(
    schema: RowSchema, features: Mapping[str, Any], columns: Columns, options: SampleOptions
) -> RowSchema:
    """Add class names to a schema, and how its label cells store labels."""
    names, task = schema.label_columns, schema.task
    column = schema.column_of(names[0])
    feature, field = element_of(as_struct(features[column])), names[0].removeprefix(f"{column}.")
    class_names = getattr(element_of(feature[field]) if field != column else feature, "names", None)
    schema = replace(schema, class_names=class_names)
    if not task.categorical:
        _check_converted(schema, columns)
        return schema
    separator = options.label_separator if schema.label_type == "string" else None
    schema = replace(schema, class_separator=separator)
    if len(names) > 1:
        return replace(schema, flag_names=tuple(name.rpartition(".")[2] for name in names))
    if task.items is not None or names[0] not in columns.cells:
        return schema
    return replace(schema, flag_names=_flag_names(schema, columns.cells[names[0]], options.label_form))


def _check_converted(schema: RowSchema, columns: Columns) -> None:
    """Raise an `EmmsError` unless all texts in a column of numbers can be converted."""
    column, name = schema.task.label, schema.label_column
    if schema.label_type not in column.converted or column.clean is None:
        return
    try:
        for text in filter(None, columns.cells[name].unique().to_pylist()):
            column.clean(text)
    except UnusableError as error:
        problem = f"column {name!r} contains texts, and {error}"
        raise EmmsError("column-unsuitable", problem, "name a column of numbers: " + use_column(column.name)) from error


def _flag_names(schema: RowSchema, cells: Any, form: LabelForm | None) -> tuple[str, ...] | None:
    """Return the names of the classes if the label cells are a 0 or 1 per class, else None.

    Raises:
        EmmsError: Whole numbers may be ids of classes, or a 0 or 1 per class.
    """
    import pyarrow.compute as pc

    cells = cells.drop_null()
    if schema.label_type == "string":
        first = next(iter(cells.to_pylist()), "") if form == "flags" else ""
        return tuple(map(str, range(len(split_classes(first, schema.class_separator or " "))))) or None
    if schema.label_type not in ("classes", "integers", *FLAG_LISTS):
        return None
    lengths, names = pc.list_value_length(cells).unique().to_pylist(), schema.class_names
    count = lengths[0] if len(lengths) == 1 else 0
    if names is not None:  # as ids, every row would have all classes
        return tuple(names) if form == "flags" or count == len(names) else None
    if form == "flags" or schema.label_type in FLAG_LISTS:
        return tuple(map(str, range(count)))
    if form is None and count > 1 and {*pc.list_flatten(cells).unique().to_pylist()} <= {0, 1}:
        raise EmmsError(
            "label-form-unclear",
            f"column {schema.label_column!r} has lists of {count} zeros and ones: one per class, or ids of classes",
            "name the form: " + setting_ref("label_form", *CLASS_FORMS),
        )
    return None


def _warnings(schema: RowSchema, columns: Columns) -> Iterator[Note]:
    """Yield warnings about an input that equals the label."""
    label, task = schema.label_column, schema.task
    cells = columns.cells.get(label)
    for role, name in schema.columns.items():
        other = columns.cells.get(name) if name != label else None
        if cells is not None and other is not None and other.type == cells.type and other.equals(cells):
            yield Note("equal-columns", f"columns {name!r} ({role}) and {label!r} ({task.label.name}) are equal")


def _check_options(options: SampleOptions, schema: RowSchema) -> None:
    """Raise an `EmmsError` for an option that is for another task."""
    task = schema.task
    forms = ("text", "numbers", "both") if task.numbers else ("text", "spans") if task.items else ()
    forms = CLASS_FORMS if schema.multi_label and not task.items else forms
    is_misplaced: dict[Text, bool] = {
        setting_ref("label_template"): bool(options.label_template) and not task.categorical,
        setting_ref("sampling", "balanced"): options.sampling == "balanced" and not task.categorical,
        setting_ref("references", options.references): options.references != "mean"
        and (task.numbers is not None or schema.one_class),
        setting_ref("label_form", options.label_form): options.label_form not in (None, *forms),
        setting_ref("label_separator", options.label_separator): bool(options.label_separator)
        and schema.class_separator is None,
        setting_ref("box_format", options.box_format): bool(options.box_format)
        and not (task.numbers and task.numbers.formats),
    }
    for setting, misplaced in is_misplaced.items():
        if misplaced:
            raise EmmsError(
                "setting-without-effect", setting + f" does not fit the {task.label.name} of {task.id}", "remove it"
            )
