"""Read the inputs and raw labels of a dataset's rows, and count the rows that cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_emms.data.match import RowSchema
from hf_emms.data.match.columns import split_classes, value_of
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.inputs import UnusableError, as_bytes, hash64
from hf_emms.options import SampleOptions
from hf_emms.tasks import Column, Example, use_column
from hf_emms.texts import joined, setting_ref

# At most max(2, 5 %) of the rows may be skipped.
MAX_SKIPPED = 0.05
FEW_SKIPPED = 2
# Share of boxes that may leave their images.
MAX_LEAVING = 0.02
ALLOWED = f"at most {FEW_SKIPPED} rows or {MAX_SKIPPED:.0%} may be skipped"

# The label of a row without a class, in multi-label data.
NO_CLASS = "none"
# A raw label with its start and end in the input, if the dataset has them.
PlacedLabel = tuple[Any, int | None, int | None]


def too_many(left_out: int, total: int) -> bool:
    """Return whether too many rows are skipped for the others to represent the dataset."""
    return left_out > max(FEW_SKIPPED, MAX_SKIPPED * total) or left_out == total > 0


def read_input(schema: RowSchema, row: Mapping[str, Any], index: int) -> tuple[Any, ...]:
    """Return the content (text, encoded media) of each input column of the task.

    Args:
        schema: The columns of the dataset.
        row: A row of the dataset.
        index: The position of the input in lists of inputs.

    Raises:
        UnusableError: A content is missing.
    """
    lists = schema.list_columns
    if len({len(value_of(row, schema.columns[column.name]) or ()) for column in lists}) > 1:
        raise UnusableError(f"{' and '.join(column.name + 's' for column in lists)} of a row differ in number")
    return tuple(
        _read_content(schema, row, column, index if column in lists else None) for column in schema.task.inputs
    )


def read_labels(schema: RowSchema, row: Mapping[str, Any], index: int) -> list[PlacedLabel]:
    """Return the raw labels of an input in the dataset's order: texts, or values for `Task.numbers`.

    Raises:
        UnusableError: The input has no label, and the task requires one.
    """
    task, values = schema.task, _label_values(schema, row, index)
    places = [_places(row, column, len(values)) for column in (schema.position_column, schema.end_column)]
    raws = values if task.numbers is not None else [_label_text(schema, value) for value in values]
    labels = [placed for placed in zip(raws, *places, strict=True) if placed[0] is not None]
    if not labels and task.no_label_text is None:
        raise UnusableError(f"no {task.label.name} in column {schema.label_column!r}")
    return labels


def _places(row: Mapping[str, Any], column: str | None, count: int) -> list[int | None]:
    """Return the start or end of each label in its input; None for a label without one."""
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
    """Join texts with line breaks; skip empty texts."""
    return "\n".join(text for text in texts if text and text.strip())


def classes_of(schema: RowSchema, row: Mapping[str, Any]) -> list[str]:
    """Return the names of a row's classes."""
    return [name for value in _label_values(schema, row, 0) if (name := schema.label_name(value)) is not None]


def _label_values(schema: RowSchema, row: Mapping[str, Any], index: int) -> list[Any]:
    """Return the cells of the label columns for an input, including empty cells."""
    if schema.flag_names is not None:
        return _flagged_classes(schema, row)
    if schema.joins_labels:
        return [_as_lines(value_of(row, schema.label_column))]
    values: list[Any] = []
    for name in schema.label_columns:
        value = value_of(row, name)
        clean = schema.task.label.clean
        value = clean(value) if clean is not None and value is not None else value
        if value == [] and schema.task.categorical and schema.task.items is None:
            value = NO_CLASS
        if schema.class_separator is not None and value is not None:
            value = split_classes(value, schema.class_separator)
        if schema.has_parallel_labels:
            if len(value or ()) <= index:
                column = schema.list_columns[0].name
                raise UnusableError(f"the last {column} has no {schema.task.label.name}")
            value = value[index]
        is_several = isinstance(value, (list, tuple)) and schema.task.numbers is None
        values += value if is_several else [value]
    return values


def _flagged_classes(schema: RowSchema, row: Mapping[str, Any]) -> list[str]:
    """Return the names of the classes with a 1; `NO_CLASS` for a row of zeros."""
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
    """A distinct input, with the raw labels of all rows that share it.

    Attributes:
        hashes: Hashes of its contents.
        group: Hash of its first row's group; None without a column of groups.
        labels: Raw labels of all rows with this input.
        row: Index of its row in the sample.
    """

    hashes: tuple[int, ...]
    group: int | None = None
    labels: list[PlacedLabel] = field(default_factory=list)
    row: int | None = None


@dataclass
class DrawnRows:
    """The drawn rows of a sample, up to its size.

    Attributes:
        normalized: Whether boxes are fractions of their images, not pixels.
        unlabeled: Number of rows without a label or an input.
        contents: Hash → content, for each input column of the task.
        inputs: Hash → input.
        rows: Hash of the input and raw labels, for each row of the sample.
        n_read: Number of inputs read; `skipped` of them are unusable.
        reasons: The first skipped rows, and why each is unusable.
        first: The cells of the first row.
        class_counts: Class → number of rows in the split.
        boxes: The boxes of the rows, with the (width, height) of their images; None for fractions of images.
    """

    schema: RowSchema
    options: SampleOptions
    normalized: bool
    unlabeled: int
    contents: tuple[dict[int, Any], ...] = field(init=False)
    inputs: dict[int, DrawnInput] = field(default_factory=dict)
    rows: list[tuple[int, list[Any]]] = field(default_factory=list)
    n_read: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)
    first: Mapping[str, Any] | None = None
    class_counts: dict[str, int] = field(default_factory=dict)
    boxes: list[tuple[Any, tuple[int, int] | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.contents = tuple({} for _ in self.schema.task.inputs)

    @property
    def is_full(self) -> bool:
        """Whether the sample has enough rows. Further texts may still be added to its last input."""
        limit = self.options.max_samples
        return limit is not None and len(self.rows) >= limit

    @property
    def one_row_per_label(self) -> bool:
        one_label = self.schema.one_class or self.schema.task.numbers is not None
        return one_label or self.options.references == "all"

    def examples(self) -> list[Example]:
        """Return all inputs with their labels, ordered by hash."""
        return [
            Example(
                id,
                tuple(contents[hash] for contents, hash in zip(self.contents, drawn.hashes, strict=True)),
                *(tuple(placed[part] for placed in drawn.labels) for part in range(3)),
            )
            for id, drawn in sorted(self.inputs.items())
        ]

    def add(self, row: Mapping[str, Any], index: int, where: str) -> None:
        """Add the input and labels of a row, or count the row as skipped.

        Args:
            row: A row of the dataset.
            index: The position of the input in lists of inputs.
            where: The row's file and number, for messages.
        """
        task = self.schema.task
        try:
            contents, placed = read_input(self.schema, row, index), read_labels(self.schema, row, index)
            if task.arrange is not None:
                contents, arranged = task.arrange(contents, [label for label, *_ in placed])
                placed = [(label, None, None) for label in arranged]
            hashes = tuple(hash64(as_bytes(content)) for content in contents)
            for column, held, hash, content in zip(task.inputs, self.contents, hashes, contents, strict=True):
                if hash not in held:
                    column.kind.check(content)
            raws = [label for label, *_ in placed]
            if task.check is not None:
                task.check(contents, raws)
            labels = self._measured(raws, contents) or [task.no_label_text]
            group = self._group(row)
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
        """Raise an `EmmsError` if no row, or less than 95 % of the rows, can be used."""
        if not self.rows and not self.skipped:
            raise EmmsError("no-rows", "the split has no rows", "choose another: " + setting_ref("split", ...))
        self._check_boxes()
        if too_many(self.skipped, self.n_read):
            task = self.schema.task
            hint = "repair the data, or name other columns: " + joined(map(use_column, task.columns))
            if task.numbers is not None and task.numbers.formats:
                hint += ", or " + setting_ref("box_format", *task.numbers.formats)
            raise EmmsError(
                "rows-unusable",
                f"skipped {self.skipped} of {pluralize(self.n_read, 'row')}, but {ALLOWED}. First: {self.reasons[0]}",
                hint,
            )

    @property
    def box_format(self) -> str:
        """The format of boxes that the user named, or else the usual one."""
        assert self.schema.task.numbers is not None
        return self.options.box_format or next(iter(self.schema.task.numbers.formats))

    def count_leaving(self, form: str) -> int:
        """Return the number of boxes that leave their image in this format."""
        numbers = self.schema.task.numbers
        assert numbers is not None
        assert numbers.leaves is not None
        return sum(numbers.leaves(box, size, form) for box, size in self.boxes)

    def _check_boxes(self) -> None:
        """Raise an `EmmsError` if more than 2 % of the boxes leave their image, unless the user named their format."""
        numbers = self.schema.task.numbers
        if not self.boxes or numbers is None or self.options.box_format:
            return
        count = self.count_leaving(self.box_format)
        if count <= MAX_LEAVING * len(self.boxes):
            return
        fitting = [form for form in numbers.formats if not self.count_leaving(form)]
        named = setting_ref("box_format", *(fitting or numbers.formats))
        hint = ("no box leaves its image with " if fitting else "repair the boxes, or name their format: ") + named
        problem = f"{count} of {pluralize(len(self.boxes), 'box', 'boxes')} leave their image as {self.box_format}"
        raise EmmsError("boxes-leave-images", problem, hint)

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
        if task.numbers.leaves is not None:
            self.boxes += [(label, size) for label in labels]
        try:
            return [measure(label, size) for label in labels]
        except (TypeError, ValueError) as problem:
            raise UnusableError(str(problem)) from problem

    def _skip(self, row: Mapping[str, Any], where: str, problem: str) -> None:
        self.n_read += 1
        self.skipped += 1
        if len(self.reasons) < FEW_SKIPPED:
            paths = [str(value["path"]) for value in row.values() if isinstance(value, Mapping) and value.get("path")]
            self.reasons.append(f"{', '.join([where, *paths])}: {problem}")
        # Stop early: good rows alone could no longer bring the share below the limit.
        limit = self.options.max_samples
        if limit is not None and too_many(self.skipped, limit + self.skipped):
            self.check()
