"""From rows of a dataset to the inputs and raw labels in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_emms.data.match.columns import split_classes
from hf_emms.data.match.match import RowSchema
from hf_emms.errors import EmmsError, Note, joined, pluralize, setting_ref
from hf_emms.inputs import OtherUseError, UnusableError, as_bytes, hash64
from hf_emms.options import SampleOptions
from hf_emms.tasks import Column, Example, use_column

# At most max(2, 5 %) of the rows may be skipped.
MAX_SKIPPED = 0.05
FEW_SKIPPED = 2
ALLOWED = f"{FEW_SKIPPED} rows or {MAX_SKIPPED:.0%} may be left out"

# The label of a row that has no class of several.
NO_CLASS = "none"
# A raw label with its start and end in the input, where the dataset has them.
PlacedLabel = tuple[Any, int | None, int | None]


def too_many(left_out: int, total: int) -> bool:
    """Return whether too many rows are left out for the others to represent all."""
    return left_out > max(FEW_SKIPPED, MAX_SKIPPED * total) or left_out == total > 0


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """Return the value of a column or field; for a list of structs and for joined columns, a list of values."""
    if name in row:
        return row[name]
    if "," in name:
        return [value_of(row, part) for part in name.split(",")]
    column, _, field = name.partition(".")
    value = row[column]
    if value is None:
        return None
    return value.get(field) if isinstance(value, Mapping) else [struct and struct.get(field) for struct in value]


def read_input(schema: RowSchema, row: Mapping[str, Any], index: int) -> tuple[Any, ...]:
    """Return the contents (texts, encoded media) of a row's input of this index, for each of the task's input columns.

    Raises:
        UnusableError: a content is missing.
    """
    lists = schema.list_columns
    if len({len(value_of(row, schema.columns[column.name]) or ()) for column in lists}) > 1:
        raise UnusableError(f"{' and '.join(column.name + 's' for column in lists)} of a row differ in number")
    return tuple(
        _read_content(schema, row, column, index if column in lists else None) for column in schema.task.inputs
    )


def read_labels(schema: RowSchema, row: Mapping[str, Any], index: int) -> list[PlacedLabel]:
    """Return the raw labels of an input, in the dataset's order: texts, or values that `Task.numbers` measures.

    Raises:
        UnusableError: there is no label, and the task has no text for that.
    """
    task, values = schema.task, _label_values(schema, row, index)
    places = [_places(row, column, len(values)) for column in (schema.position_column, schema.end_column)]
    raws = values if task.numbers is not None else [_label_text(schema, value) for value in values]
    labels = [placed for placed in zip(raws, *places, strict=True) if placed[0] is not None]
    if not labels and task.no_label_text is None:
        raise UnusableError(f"no {task.label.name} in column {schema.label_column!r}")
    return labels


def _places(row: Mapping[str, Any], column: str | None, count: int) -> list[int | None]:
    """Return the places of a row's labels in a column or field; None each where it has none."""
    places = value_of(row, column) if column else None
    places = places if isinstance(places, list) else [places]
    return places if len(places) == count else [None] * count


def _read_content(schema: RowSchema, row: Mapping[str, Any], column: Column, index: int | None) -> Any:
    name = schema.columns[column.name]
    value: Any = value_of(row, name)
    value = _as_lines(value) if len(schema.names_of(name)) > 1 else value
    value = schema.joined[name][value] if name in schema.joined else value
    value = value[index] if index is not None else value
    value = column.clean(value) if column.clean and value is not None else value
    content = column.kind.read(value, column.name)
    task = schema.task
    return column.kind.instructed(content, task.instruction(schema.columns)) if task.instruction else content


def _as_lines(texts: Iterable[str | None]) -> str:
    """Return texts joined, a line each, without those that are empty."""
    return "\n".join(text for text in texts if text and text.strip())


def classes_of(schema: RowSchema, row: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes that a row has."""
    return [name for value in _label_values(schema, row, 0) if (name := schema.label_name(value)) is not None]


def _label_values(schema: RowSchema, row: Mapping[str, Any], index: int) -> list[Any]:
    """Return the values of the label columns for an input, empty values included."""
    if schema.flag_names is not None:
        return _flagged_classes(schema, row)
    if schema.joins_labels:
        return [_as_lines(value_of(row, schema.label_column))]
    values: list[Any] = []
    for name in schema.label_columns:
        value = value_of(row, name)
        clean = schema.task.label.clean
        value = clean(value) if clean is not None and value is not None else value
        if schema.class_separator is not None and value is not None:
            value = split_classes(value, schema.class_separator)
        if schema.has_parallel_labels:
            if len(value or ()) <= index:
                column = schema.list_columns[0].name
                raise UnusableError(f"there is no {schema.task.label.name} to the last {column}")
            value = value[index]
        is_several = isinstance(value, (list, tuple)) and schema.task.numbers is None
        values += value if is_several else [value]
    return values


def _flagged_classes(schema: RowSchema, row: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes that are flagged by a 1; for a row of zeros, the label of no class."""
    names = schema.flag_names or ()
    columns = schema.label_columns
    flags = [value_of(row, name) for name in columns] if len(columns) > 1 else value_of(row, columns[0])
    if flags is None:
        return []
    if isinstance(flags, str):
        flags = [int(part) for part in split_classes(flags, schema.class_separator or "|")]
    if len(flags) != len(names) or not all(flag in (0, 1) for flag in flags):
        raise UnusableError(f"the {schema.task.label.name} is not {len(names)} times 0 or 1")
    return [name for name, flag in zip(names, flags, strict=True) if flag] or [NO_CLASS]


def _label_text(schema: RowSchema, value: Any) -> str | None:
    if schema.task.categorical or not isinstance(value, str):
        return schema.label_name(value)
    return value if value.strip() else None


@dataclass
class DrawnInput:
    """A distinct input: the hashes of its contents, the raw labels of all rows that share it, and the last of them.

    `group` is a hash of the group of its first row; None without a column of groups.
    """

    hashes: tuple[int, ...]
    group: int | None = None
    labels: list[PlacedLabel] = field(default_factory=list)
    row: int | None = None


@dataclass
class DrawnRows:
    """The rows that are drawn for a sample, up to its size.

    Attributes:
        normalized: whether labels are measured without the size of their images, as fractions of them.
        unlabelled: rows that were not drawn because they hold no label or no input.
        contents: for each of the task's input columns, hash → content.
        inputs: by their hashes.
        rows: (hash of the input, raw labels) of each row of the sample.
        n_read, skipped: inputs read, and those of them that were left out.
        set_aside: further inputs, for another use.
        notes: how a stream was read.
        reasons: places of the first inputs that were left out, and why.
        first: the cells of the first row of the sample.
        class_counts: class → number of rows of the split that have it.
    """

    schema: RowSchema
    options: SampleOptions
    normalized: bool
    unlabelled: int
    notes: tuple[Note, ...] = ()
    contents: tuple[dict[int, Any], ...] = field(init=False)
    inputs: dict[int, DrawnInput] = field(default_factory=dict)
    rows: list[tuple[int, list[Any]]] = field(default_factory=list)
    n_read: int = 0
    skipped: int = 0
    set_aside: int = 0
    reasons: list[str] = field(default_factory=list)
    first: Mapping[str, Any] | None = None
    class_counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.contents = tuple({} for _ in self.schema.task.inputs)

    @property
    def is_full(self) -> bool:
        """Whether the sample has all its rows; further texts of its last input may still come."""
        limit = self.options.max_samples
        return limit is not None and len(self.rows) >= limit

    @property
    def one_row_per_label(self) -> bool:
        one_label = self.schema.one_class or self.schema.task.numbers is not None
        return one_label or self.options.references == "all"

    def examples(self) -> list[Example]:
        """Return the inputs with all their labels, in the order of their hashes."""
        return [
            Example(
                id,
                tuple(contents[hash] for contents, hash in zip(self.contents, drawn.hashes, strict=True)),
                *(tuple(placed[part] for placed in drawn.labels) for part in range(3)),
            )
            for id, drawn in sorted(self.inputs.items())
        ]

    def add(self, row: Mapping[str, Any], index: int, where: str = "") -> None:
        """Add a row's input of this index, or count why not; `where` is the row's file and number, in words."""
        task = self.schema.task
        try:
            contents = read_input(self.schema, row, index)
            hashes = tuple(hash64(as_bytes(content)) for content in contents)
            for column, held, hash, content in zip(task.inputs, self.contents, hashes, contents, strict=True):
                if hash not in held:
                    column.kind.check(content)
            placed = read_labels(self.schema, row, index)
            raws = [label for label, *_ in placed]
            if task.check is not None:
                task.check(contents, raws)
            labels = self._measured(raws, contents) or [task.no_label_text]
            group = self._group(row)
        except OtherUseError as problem:
            self.set_aside += 1
            self._add_reason(row, where, str(problem))
            return
        except UnusableError as problem:
            self._skip(row, where, str(problem))
            return
        self.n_read += 1
        input = hashes[0] if len(hashes) == 1 else hash64(*(hash.to_bytes(8, "little") for hash in hashes))
        if self.is_full and input not in self.inputs:
            return
        for held, hash, content in zip(self.contents, hashes, contents, strict=True):
            held[hash] = content
        self.first = self.first or row
        drawn = self.inputs.setdefault(input, DrawnInput(hashes, group))
        drawn.labels += placed
        if drawn.row is not None and not self.one_row_per_label and not task.categorical:
            self.rows[drawn.row][1].extend(labels)
            return
        for several in [[label] for label in labels] if self.one_row_per_label else [labels]:
            if not self.is_full:
                drawn.row = len(self.rows)
                self.rows.append((input, several))

    def check(self) -> None:
        """Refuse an empty sample, and a sample where more than max(2, 5 %) of the rows were left out."""
        if not self.rows and self.set_aside and not self.skipped:
            raise EmmsError(
                f"each of {pluralize(self.set_aside, 'row')} is for another use; the first: {self.reasons[0]}",
                "take other data, or name other columns: " + joined(map(use_column, self.schema.task.columns)),
            )
        if not self.rows and not self.skipped:
            raise EmmsError("The split has no rows.", "Choose another: " + setting_ref("split", ...))
        if too_many(self.skipped, self.n_read):
            task = self.schema.task
            hint = "repair the data, or name other columns: " + joined(map(use_column, task.columns))
            if task.numbers is not None and task.numbers.formats:
                hint += ", or " + setting_ref("box_format", *task.numbers.formats)
            raise EmmsError(
                f"{self.skipped} of {pluralize(self.n_read, 'row')} could not be read, and {ALLOWED}; "
                f"the first: {self.reasons[0]}",
                hint,
            )

    def _group(self, row: Mapping[str, Any]) -> int | None:
        column = self.schema.group_column
        if column is None:
            return None
        value = value_of(row, column)
        if value is None or value == "":
            raise UnusableError(f"no group in column {column!r}")
        return hash64(as_bytes(str(value)))

    def _measured(self, labels: list[Any], contents: tuple[Any, ...]) -> list[Any]:
        task, form = self.schema.task, self.options.box_format
        if task.numbers is None:
            return labels
        measure = task.numbers.formats[form] if form else task.numbers.measure
        size = None if self.normalized else task.inputs[0].kind.size(contents[0])
        try:
            return [measure(label, size) for label in labels]
        except (TypeError, ValueError) as problem:
            raise UnusableError(str(problem)) from problem

    def _skip(self, row: Mapping[str, Any], where: str, problem: str) -> None:
        self.n_read += 1
        self.skipped += 1
        self._add_reason(row, where, problem)
        # With more, even a sample whose other rows are all good would be refused.
        limit = self.options.max_samples
        if limit is not None and too_many(self.skipped, limit + self.skipped):
            self.check()

    def _add_reason(self, row: Mapping[str, Any], where: str, problem: str) -> None:
        if len(self.reasons) < FEW_SKIPPED:
            paths = [str(value["path"]) for value in row.values() if isinstance(value, Mapping) and value.get("path")]
            places = [place for place in (where, *paths) if place]
            self.reasons.append(f"{', '.join(places)}: {problem}" if places else problem)
