"""From a dataset row to the items in it: an input and its labels each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_emms.data.columns import column_of, feature_of, value_of
from hf_emms.data.image_files import encoded_picture
from hf_emms.data.spans import Span, find_spans
from hf_emms.tasks import Role, Task

_LISTS = ("strings", "classes", "integers", "floats", "images")


class UnusableError(ValueError):
    """A row or an item that has to be left out; the message says why."""


@dataclass(frozen=True)
class RowSchema:
    """How the rows of one dataset are read for a task.

    Attributes:
        task: the task.
        columns: role → column; several columns of one role are joined by commas.
        kinds: column → kind.
        name: a raw class or number to its text; None where the row has no label.
        joined: column of ids → the picture that an id stands for.
    """

    task: Task
    columns: Mapping[str, str]
    kinds: Mapping[str, str]
    name: Callable[[Any], str | None]
    joined: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)

    @property
    def needed(self) -> list[str]:
        """The dataset's columns that are read, each once."""
        names = [name for joined in self.columns.values() for name in joined.split(",")]
        return list(dict.fromkeys(map(column_of, [*names, *filter(None, [self.start_column])])))

    @property
    def label_columns(self) -> list[str]:
        return self.columns[self.task.label.name].split(",")

    @property
    def start_column(self) -> str | None:
        """The column or field that says at which character of its text each label starts, as in SQuAD."""
        column, dot, _ = self.columns[self.task.label.name].partition(".")
        name = f"{column}.answer_start" if dot else "answer_start"
        fits = self.task.spans_of is not None and self.kinds.get(name) in ("integer", "integers")
        return name if fits and not self.parallel else None

    @property
    def spread(self) -> tuple[Role, ...]:
        """The texts of the input that a row holds a list of: one item an element."""
        return tuple(role for role in self.task.inputs if self.kinds[self.columns[role.name]] == "strings")

    @property
    def parallel(self) -> bool:
        """Whether a list of labels goes along with the list of inputs, and is not one label's several texts."""
        return bool(self.spread) and all(self.kinds[name] == "strings" for name in self.label_columns)

    @property
    def multi_label(self) -> bool:
        """Whether a row has several classes."""
        return self.task.categorical and self.kinds[self.label_columns[0]] in _LISTS

    def count(self, row: Mapping[str, Any]) -> int:
        """How many items a row holds."""
        return len(value_of(row, self.columns[self.spread[0].name]) or ()) if self.spread else 1

    def parts(self, row: Mapping[str, Any], place: int) -> tuple[Any, ...]:
        """The contents of an item's input: texts, pictures encoded and known to decode.

        Raises:
            UnusableError: one of them is missing or cannot be read.
        """
        spread = self.spread
        if len({len(value_of(row, self.columns[role.name]) or ()) for role in spread}) > 1:
            raise UnusableError(f"{' and '.join(role.name + 's' for role in spread)} of a row differ in number")
        return tuple(self._part(row, role, place if role in spread else None) for role in self.task.inputs)

    def labels(self, row: Mapping[str, Any], place: int) -> list[Any]:
        """The raw labels of an item, in the dataset's order: texts, or values that `Task.numbers` measures.

        Raises:
            UnusableError: there is none, and the task has no text for that.
        """
        values = self._values(row, place)
        if self.task.numbers is None:
            values = [text for value in values if (text := self._text(value)) is not None]
        else:
            values = [value for value in values if value is not None]
        if not values and self.task.empty is not None:
            return [self.task.empty]
        if not values:
            raise UnusableError(f"no {self.task.label.name} in column {self.columns[self.task.label.name]!r}")
        return values

    def spans(self, row: Mapping[str, Any], place: int, contents: tuple[Any, ...]) -> list[Span]:
        """Where an item's labels stand in the input that they may be spans of, in the dataset's order.

        Args:
            row: the dataset's row.
            place: which of its items.
            contents: the item's input, see `parts`.
        """
        if self.task.spans_of is None:
            return []
        text = contents[[role.name for role in self.task.inputs].index(self.task.spans_of)]
        values = self._values(row, place)
        told = value_of(row, self.start_column) if self.start_column else None
        starts = told if isinstance(told, list) else [told]
        starts = starts if len(starts) == len(values) else [None] * len(values)
        return find_spans(text, [(said, start) for said, start in zip(values, starts, strict=True) if said])

    def _values(self, row: Mapping[str, Any], place: int) -> list[Any]:
        """What the label columns hold of an item, empty values included.

        Raises:
            UnusableError: there are fewer labels than inputs.
        """
        values: list[Any] = []
        for name in self.label_columns:
            value = value_of(row, name)
            if self.parallel:
                if len(value or ()) <= place:
                    raise UnusableError(f"there is no {self.task.label.name} to the last {self.spread[0].name}")
                value = value[place]
            whole = self.task.numbers is not None or not isinstance(value, (list, tuple))
            values += [value] if whole else value
        return values

    def _text(self, value: Any) -> str | None:
        if self.task.categorical or not isinstance(value, str):
            return self.name(value)
        return value if value.strip() else None

    def _part(self, row: Mapping[str, Any], role: Role, place: int | None) -> Any:
        column = self.columns[role.name]
        value = value_of(row, column)
        if self.kinds[column] in ("image", "images"):
            return _picture(self.joined[column](value) if column in self.joined else value)
        text = value[place] if place is not None else value
        text = role.clean(text) if role.clean and isinstance(text, str) else text
        if not isinstance(text, str) or not text.strip():
            raise UnusableError(f"the {role.name} is empty")
        return text


def namer(features: Mapping[str, Any], column: str) -> Callable[[Any], str | None]:
    """How raw values of a label column become names; None for a row without a label."""
    names = getattr(feature_of(features, column), "names", None)

    def name(value: Any) -> str | None:
        if value is None:
            return None
        if names is not None and not isinstance(value, str):
            # −1 is what datasets writes in test splits whose labels are secret.
            return names[value] if 0 <= value < len(names) else None
        return str(value).strip() or None

    return name


def _picture(value: Any) -> bytes:
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise UnusableError(f"a row has {len(value)} pictures, and one is needed")
        value = value[0]
    try:
        encoded = encoded_picture(value)
    except OSError as error:
        raise UnusableError(f"a picture's file cannot be read: {error}") from error
    if not encoded:
        raise UnusableError("there is no picture")
    return encoded
