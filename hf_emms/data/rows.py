"""From rows of a dataset to the items in them, and from items to the rows of a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_emms.data.columns import RowSchema
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.inputs import UnusableError, as_bytes, hash64
from hf_emms.options import Options
from hf_emms.tasks import Column, column_flag

# Of the rows that are read, and in any case so many: of eight rows a single one would be more.
MAX_SKIPPED = 0.05
FEW_SKIPPED = 2
ALLOWED = f"{FEW_SKIPPED} rows or {MAX_SKIPPED:.0%} may be left out"


def too_many(left_out: int, total: int) -> bool:
    """Whether so many rows are left out that the others cannot represent all."""
    return left_out > max(FEW_SKIPPED, MAX_SKIPPED * total) or left_out == total > 0


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column or field: of a list of structs, the list of that field."""
    column, _, field = name.partition(".")
    value = row[column]
    if not field or value is None:
        return value
    return value.get(field) if isinstance(value, Mapping) else [one and one.get(field) for one in value]


def read_input(schema: RowSchema, row: Mapping[str, Any], index: int) -> tuple[Any, ...]:
    """The parts of an item's input: texts, and images encoded.

    Args:
        schema: how rows are read.
        row: a row of the dataset.
        index: which of its items.

    Raises:
        UnusableError: one of them is missing.
    """
    lists = schema.list_roles
    if len({len(value_of(row, schema.columns[role.name]) or ()) for role in lists}) > 1:
        raise UnusableError(f"{' and '.join(role.name + 's' for role in lists)} of a row differ in number")
    return tuple(_read_part(schema, row, role, index if role in lists else None) for role in schema.task.inputs)


def read_labels(schema: RowSchema, row: Mapping[str, Any], index: int) -> list[Any]:
    """The raw labels of an item, in the dataset's order: texts, or values that `Task.numbers` measures.

    Raises:
        UnusableError: there is none, and the task has no text for that.
    """
    task, values = schema.task, _label_values(schema, row, index)
    if task.numbers is not None:
        labels = [value for value in values if value is not None]
    else:
        labels = [text for value in values if (text := _label_text(schema, value)) is not None]
    if not labels and task.no_label_text is not None:
        return [task.no_label_text]
    if not labels:
        raise UnusableError(f"no {task.label.name} in column {schema.label_column!r}")
    return labels


def _read_part(schema: RowSchema, row: Mapping[str, Any], role: Column, index: int | None) -> Any:
    column = schema.columns[role.name]
    value = value_of(row, column)
    value = schema.joined[column][value] if column in schema.joined else value
    value = value[index] if index is not None else value
    value = role.clean(value) if role.clean and isinstance(value, str) else value
    assert role.kind is not None
    return role.kind.read(value, role.name)


def _label_values(schema: RowSchema, row: Mapping[str, Any], index: int) -> list[Any]:
    """What the label columns hold of an item, empty values included.

    Raises:
        UnusableError: there are fewer labels than inputs.
    """
    values: list[Any] = []
    for name in schema.label_columns:
        value = value_of(row, name)
        if schema.parallel:
            if len(value or ()) <= index:
                role = schema.list_roles[0].name
                raise UnusableError(f"there is no {schema.task.label.name} to the last {role}")
            value = value[index]
        several = isinstance(value, (list, tuple)) and schema.task.numbers is None
        values += value if several else [value]
    return values


def _label_text(schema: RowSchema, value: Any) -> str | None:
    if schema.task.categorical or not isinstance(value, str):
        return schema.label_name(value)
    return value if value.strip() else None


def _read_answers(schema: RowSchema, row: Mapping[str, Any], index: int) -> list[tuple[str, int | None]]:
    """The labels of an item that may be spans of its input, and at which character each starts where that is known."""
    if schema.task.answer_span_input is None:
        return []
    values = _label_values(schema, row, index)
    given = value_of(row, schema.start_column) if schema.start_column else None
    starts = given if isinstance(given, list) else [given]
    starts = starts if len(starts) == len(values) else [None] * len(values)
    return [(text, start) for text, start in zip(values, starts, strict=True) if text]


@dataclass
class DrawnRows:
    """The rows that are drawn for a sample, up to its size.

    Attributes:
        schema: how rows are read.
        options: how many rows, and which texts of an input.
        relative: whether labels are measured without the size of their images, as parts of them.
        unlabelled: rows that were not drawn because they hold no label or no item.
        parts: for each part of the input, hash of content → content (encoded image or text).
        inputs: hash of an input → hashes of its parts.
        rows: (hash of the input, raw labels), one a row of the sample.
        answers: hash of an input → the labels that may be spans of it, and where each starts.
        seen: items read.
        skipped: items left out.
        reasons: where the first ones are that were left out, and why.
    """

    schema: RowSchema
    options: Options
    relative: bool
    unlabelled: int
    parts: tuple[dict[int, Any], ...] = field(init=False)
    inputs: dict[int, tuple[int, ...]] = field(default_factory=dict)
    rows: list[tuple[int, list[Any]]] = field(default_factory=list)
    answers: dict[int, list[tuple[str, int | None]]] = field(default_factory=dict)
    seen: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)
    _row_of: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parts = tuple({} for _ in self.schema.task.inputs)

    @property
    def full(self) -> bool:
        """Whether the sample has all its rows. More texts of its last input may still come."""
        wanted = self.options.max_samples
        return wanted is not None and len(self.rows) >= wanted

    @property
    def separate(self) -> bool:
        """Whether each label makes a row of its own."""
        task = self.schema.task
        one_class = task.categorical and not self.schema.multi_label
        return one_class or task.numbers is not None or self.options.references == "all"

    def part_of(self, input: int, role: str) -> Any:
        """The content of a role of an input, by the input's hash."""
        which = [one.name for one in self.schema.task.inputs].index(role)
        return self.parts[which][self.inputs[input][which]]

    def add(self, row: Mapping[str, Any], index: int, where: str = "") -> None:
        """Takes one item of a dataset's row, or counts why not.

        Args:
            row: a row of the dataset.
            index: which of its items.
            where: the row's file and number, in words.

        Raises:
            EmmsError: so many were left out that the sample can no longer be trusted.
        """
        self.seen += 1
        try:
            contents = read_input(self.schema, row, index)
            hashes = tuple(hash64(as_bytes(content)) for content in contents)
            for role, known, hash, content in zip(self.schema.task.inputs, self.parts, hashes, contents, strict=True):
                if role.kind is not None and hash not in known:
                    role.kind.check(content)
            labels = self._measured(read_labels(self.schema, row, index), contents)
            answers = _read_answers(self.schema, row, index)
        except UnusableError as problem:
            self._skip(row, where, str(problem))
            return
        input = hashes[0] if len(hashes) == 1 else hash64(*(one.to_bytes(8, "little") for one in hashes))
        if self.full and input not in self._row_of:
            return
        for known, hash, content in zip(self.parts, hashes, contents, strict=True):
            known[hash] = content
        self.inputs[input] = hashes
        self.answers.setdefault(input, []).extend(answers)
        if input in self._row_of and not self.separate and not self.schema.task.categorical:
            self.rows[self._row_of[input]][1].extend(labels)
            return
        for several in [[label] for label in labels] if self.separate else [labels]:
            if not self.full:
                self._row_of[input] = len(self.rows)
                self.rows.append((input, several))

    def check(self) -> None:
        """Checks that most of the rows could be read.

        Raises:
            EmmsError: more than 5 % (and more than two) were left out, or the sample is empty.
        """
        if not self.rows and not self.skipped:
            raise EmmsError("the split has no rows", "--split NAME")
        if too_many(self.skipped, self.seen):
            task = self.schema.task
            flags = ", ".join(map(column_flag, task.columns))
            formats = "|".join(task.numbers.formats) if task.numbers else ""
            raise EmmsError(
                f"{self.skipped} of {pluralize(self.seen, 'row')} could not be read, and {ALLOWED}; "
                f"the first one: {self.reasons[0]}",
                f"repair the data, or name other columns: {flags}" + (f", or --box-format {formats}" * bool(formats)),
            )

    def _measured(self, labels: list[Any], contents: tuple[Any, ...]) -> list[Any]:
        numbers = self.schema.task.numbers
        if numbers is None:
            return labels
        form = self.options.box_format
        measure = numbers.formats[form] if form else numbers.measure
        kind = self.schema.task.inputs[0].kind
        size = kind.size(contents[0]) if kind is not None and not self.relative else None
        try:
            return [measure(label, size) for label in labels]
        except (TypeError, ValueError) as problem:
            raise UnusableError(str(problem)) from problem

    def _skip(self, row: Mapping[str, Any], where: str, problem: str) -> None:
        self.skipped += 1
        if len(self.reasons) < FEW_SKIPPED:
            paths = [value["path"] for value in row.values() if isinstance(value, Mapping) and value.get("path")]
            places = [one for one in (where, *map(str, paths)) if one]
            self.reasons.append(f"{', '.join(places)}: {problem}" if places else problem)
        # Past this point even a sample whose other rows are all good would be refused.
        wanted = self.options.max_samples
        if wanted is not None and too_many(self.skipped, wanted + self.skipped):
            self.check()
