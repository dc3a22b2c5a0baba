"""The record of how a dataset was read, which users see before any checkpoint runs."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter

import msgspec

from hf_emms.formatting import pluralize
from hf_emms.texts import setting_ref

# Classes are "not balanced" if the most frequent one has more than this many times the examples of the rarest.
_BALANCED = 3
_MAX_EXAMPLE = 44
_MOST_FREQUENT, _RAREST = 4, 2
_MAX_UNUSED = 12
# Characters per line of a preview, which terminals and the pages of the documentation show without scrolling.
_WIDTH = 80
_MAX_NAME, _MIN_CONTENT = 24, 16


class ColumnReading(msgspec.Struct, frozen=True):
    """A column of the dataset in a role of the task.

    Attributes:
        role: The task's name for the column, such as "label".
        column: The dataset's column; commas separate several columns.
        example: The content of the first example, shortened.
        n_classes: Number of classes; None for a column without classes.
        classes: Class → number of examples, for the most frequent and the rarest classes in this order.
        low, high: The range of a column of values; None for other columns.
    """

    role: str
    column: str
    example: str = ""
    n_classes: int | None = None
    classes: dict[str, int] = {}
    low: float | None = None
    high: float | None = None

    @property
    def content(self) -> str:
        """The classes with their counts, the range of values, or an example."""
        if self.n_classes is not None:
            return self._classes_text()
        if self.low is not None and self.high is not None:
            return f"{self.low:.6g} to {self.high:.6g}"
        return self.example

    def _classes_text(self) -> str:
        shown = [f"{name} ({count:,})" for name, count in self.classes.items()]
        assert self.n_classes is not None
        if self.n_classes > len(shown):
            shown.insert(_MOST_FREQUENT, "…")
        counts = list(self.classes.values())
        is_balanced = not counts or counts[0] <= _BALANCED * counts[-1]
        number = pluralize(self.n_classes, "class", "classes")
        return f"{number}: {', '.join(shown)}{'' if is_balanced else '; not balanced'}"


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How a dataset was read: the task, a column for each role, and everything that was left out.

    Attributes:
        dataset: The dataset as the user named it.
        split: The split that was read; `splits` are all splits.
        examples: Number of examples in the split; None if a stream does not have the number.
        columns: Inputs first, then the label.
        facts: How examples became the rows of the sample, one fact per line.
        unused: Columns that were not read.
        unused_inputs: The unused columns that look like a part of the input.
        skipped: Number of examples that were skipped; `reasons` are the first ones.
    """

    dataset: str
    split: str
    task: str
    columns: tuple[ColumnReading, ...]
    splits: tuple[str, ...] = ()
    examples: int | None = None
    facts: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    unused_inputs: tuple[str, ...] = ()
    skipped: int = 0
    reasons: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    @property
    def summary(self) -> str:
        """The columns by role, the classes or the range of values, and unused columns, on one line."""
        columns = []
        for each in self.columns:
            content = f" ({each.content})" if each.n_classes is not None or each.low is not None else ""
            columns.append(f"{each.role} = {each.column}{content}")
        unused = f"; unused: {', '.join(self.unused)}" if self.unused else ""
        return ", ".join(columns) + unused

    def lines(self) -> list[str]:
        """Return the preview: the task and each role with the setting that changes it. Long lines are wrapped."""
        others = [name for name in self.splits if name != self.split]
        count = "a stream" if self.examples is None else pluralize(self.examples, "example")
        head = f'{self.dataset}, split "{self.split}": {count}'
        head += f" (other splits: {', '.join(others)})" if others else ""
        facts = [line for fact in (*self.facts, *self._left_out()) for line in _wrapped(fact, _WIDTH - 4)]
        return [*_wrapped(head, _WIDTH), *self._settings(), *(f"  {line}" for line in facts)]

    def _settings(self) -> list[str]:
        """Return columns of texts: the role, what was read for it, and the setting that changes it."""
        flags = [str(setting_ref(name)) for name in ("task", *(f"{each.role}_column" for each in self.columns))]
        role_width = max(len("task"), *(len(each.role) for each in self.columns))
        name_width = min(_MAX_NAME, max(len(each.column) for each in self.columns))
        content_width = max(_MIN_CONTENT, _WIDTH - role_width - name_width - max(map(len, flags)) - 8)
        cells = [("task", _wrapped(self.task, name_width + content_width + 2))]
        for each in self.columns:
            names, contents = _wrapped(each.column, name_width), _wrapped(each.content, content_width)
            pairs = itertools.zip_longest(names, contents, fillvalue="")
            cells.append((each.role, [f"{name:<{name_width}}  {content}" for name, content in pairs]))
        text_width = max(len(text) for _, texts in cells for text in texts)
        lines = [f"{'':<{role_width + text_width + 4}}  change with"]
        for (role, texts), flag in zip(cells, flags, strict=True):
            for number, text in enumerate(texts):
                left, right = (role, flag) if number == 0 else ("", "")
                lines.append(f"  {left:<{role_width}}  {text:<{text_width}}  {right}".rstrip())
        return lines

    def _left_out(self) -> list[str]:
        lines = []
        if self.unused:
            more = f" and {len(self.unused) - _MAX_UNUSED} more" if len(self.unused) > _MAX_UNUSED else ""
            lines.append(f"unused: {', '.join(self.unused[:_MAX_UNUSED])}{more}")
        if self.unused_inputs:
            lines.append(f"look like a part of the input, and are unused: {', '.join(self.unused_inputs)}")
        if self.skipped:
            more = "; …" if self.skipped > len(self.reasons) else ""
            reasons = f" ({'; '.join(self.reasons)}{more})" if self.reasons else ""
            lines.append(f"skipped {pluralize(self.skipped, 'example')}{reasons}")
        return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text; a word that is longer than a line is split."""
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def shortened(text: str) -> str:
    """Return a text in quotes on one line, truncated to the width of a preview."""
    line = " ".join(text.split())
    return f'"{line[: _MAX_EXAMPLE - 1]}…"' if len(line) > _MAX_EXAMPLE else f'"{line}"'


def class_counts(counts: dict[str, int]) -> dict[str, int]:
    """Return the most frequent and the rarest classes with their counts, in descending order.

    Also returns all classes whose names differ only in case or spaces.
    """
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    times = Counter(map(_folded, ordered))
    shown = {*ordered[:_MOST_FREQUENT], *ordered[-_RAREST:], *(name for name in ordered if times[_folded(name)] > 1)}
    return {name: counts[name] for name in ordered if name in shown}


def _folded(name: str) -> str:
    return "".join(name.split()).casefold()
