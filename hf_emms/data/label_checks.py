"""Checks of a label by its values: classes that may be numbers, dates, row numbers, or spelt in several ways."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hf_emms.data.cell_texts import (
    MAX_MEASURED_CLASSES,
    are_structures,
    are_years,
    class_separator,
    detect_value_kind,
    say_nothing,
    shared_parts,
    spelt_differently,
)
from hf_emms.data.column_types import ColumnContents
from hf_emms.data.suggestions import FIRST, labelled, possible_labels, unclear_label, values_in_texts
from hf_emms.errors import EmmsError, Text, first_few, joined, pluralize, setting_ref, setting_refs
from hf_emms.heads.split import IGNORED
from hf_emms.tasks import TASKS, Task, use_column

# More different numbers than these may be classes or values.
_MAX_NUMBERED_CLASSES = 20
_MAX_SHOWN = 3
# What datasets write where a label is missing, and the fewest classes beside it: −1, 0 and 1 are opinions.
_UNKNOWN, _MIN_KNOWN = -1, 3
# Numbers that are written where a value is missing.
_STAND_INS = (-1.0, -9.0, -99.0, -999.0, -9999.0, 9999.0, 99999.0)


def check_label(
    contents: ColumnContents, task: Task, columns: Mapping[str, str], *, chosen: bool, named: bool
) -> list[str]:
    """Return notes on how the values of a label are read, and refuse those that may be meant otherwise.

    Args:
        contents: the dataset's columns.
        task: the task that the label is of.
        columns: the task's column → the dataset's.
        chosen: whether the task was named, and not inferred.
        named: whether the label's column was named.

    Raises:
        EmmsError: the label was not named and numbers rows, or nothing says whether it holds classes or values, or
            that another column is not meant.
    """
    label = columns[task.label.name]
    type = contents.types.get(label)
    if not (chosen or named or task.label.is_called(label)):
        labels = possible_labels(contents)
        read = {name for names in columns.values() for name in names.split(",")}
        if any(contents.types[name] not in ("integer", "float") or label not in labels for name in set(labels) - read):
            raise unclear_label(contents, [columns[column.name] for column in task.inputs], labels)
    if label not in contents.cells or type not in ("string", "integer", "float"):
        return []
    if type != "string":
        _check_numbers(contents, task, label, chosen=chosen, named=named)
        return [] if task.categorical else _notes_on_values(contents, label)
    first = contents.cells[label].slice(length=FIRST).drop_null()
    if are_structures(first):
        raise EmmsError(
            f"column {label!r} holds structures written as texts, such as {first[0].as_py()!r:.80}",
            "write them as they are into JSON or Parquet, or the text that is meant into a column",
        )
    if not task.categorical:
        is_response = task.is_text_to_text and task.items is None and task.signs is None
        if is_response and not (chosen or named) and label in contents.repeating:
            raise _unclear_response(contents, task, columns)
        return []
    cells = contents.cells[label].drop_null()
    distinct = sorted({text.strip() for text in cells.unique().to_pylist()} - {""})
    notes = _check_values(contents, task, label, distinct, asks=not chosen)
    if not (chosen or named or task.label.is_called(label)) and len(cells) > _MAX_NUMBERED_CLASSES:
        n_different = len(cells.unique())
        if 2 * n_different > len(cells) and label not in contents.repeating:
            raise EmmsError(
                f"column {label!r} is the only one that could be the label, and holds {n_different} different texts in "
                f"{len(cells)} rows: no classes",
                _hint(task, label),
            )
    separator = class_separator(cells)
    if separator is None:
        marks = [";"] if any(";" in text for text in distinct) else []
        marks += [","] if shared_parts(distinct, ",") else []
        marks += [mark for mark in " /+&\n\t" if shared_parts(distinct, mark) & set(distinct)]
        whole = [next(text for text in distinct if mark in text) for mark in marks]
        notes += [f"a {task.label.name} such as {text!r} is read whole, as one class" for text in whole]
    nothing = say_nothing(distinct)
    notes += [f"{', '.join(map(repr, nothing))} in column {label!r} is a class like others"] if nothing else []
    spellings = spelt_differently(distinct)
    if spellings:
        shown = first_few([", ".join(map(repr, names)) for names in spellings], _MAX_SHOWN, "; ")
        notes.append(f"classes that differ in capitals, spaces or a full stop alone are separate: {shown}")
    return notes


def _notes_on_values(contents: ColumnContents, label: str) -> list[str]:
    """Return a note where a value may stand for a missing value, such as −1 or −999 beside values from 0."""
    values = np.unique(np.asarray(contents.cells[label].drop_null(), dtype=np.float64))
    others = values[~np.isin(values, _STAND_INS)]
    stand_ins = [f"{value:g}" for value in values[np.isin(values, _STAND_INS)]]
    if not stand_ins or len(others) < _MIN_KNOWN or others.min() < 0 or np.nanmax(others) >= _STAND_INS[-2]:
        return []
    are_read = "is read as a value: it may say" if len(stand_ins) == 1 else "are read as values: they may say"
    return [f"{' and '.join(stand_ins)} in column {label!r} {are_read} that there is none"]


def _unclear_response(contents: ColumnContents, task: Task, columns: Mapping[str, str]) -> EmmsError:
    label = columns[task.label.name]
    inputs = [columns[column.name] for column in task.inputs]
    as_responses = setting_refs(setting_ref("task", task.id), *map(use_column, columns, columns.values()))
    hint = "as classes: " + labelled(contents, inputs, [label]) + f"; as a {task.label.name}: " + as_responses
    return EmmsError(
        f"column {label!r} may be the class or the {task.label.name}: its values repeat as classes do", hint
    )


def missing_labels(contents: ColumnContents, label: str) -> tuple[frozenset[int], tuple[str, ...]]:
    """Return the whole numbers of a label that mean that there is none, and a note.

    A −1 beside 0, 1, 2 … is none; −1, 0 and 1 are classes.
    """
    if contents.types.get(label) != "integer" or label not in contents.cells:
        return frozenset({IGNORED}), ()
    values = {value for value in contents.cells[label].unique().to_pylist() if value is not None and value == value}
    values.discard(IGNORED)
    classes = values - {_UNKNOWN}
    if _UNKNOWN not in values or len(classes) < _MIN_KNOWN or min(classes) != 0:
        return frozenset({IGNORED}), ()
    return frozenset({IGNORED, _UNKNOWN}), (f"a −1 in column {label!r} is no {label}, beside 0 to {max(classes):g}",)


def _check_values(contents: ColumnContents, task: Task, label: str, distinct: list[str], *, asks: bool) -> list[str]:
    """Return a note where classes are numbers or dates in texts; where that was not asked for, refuse many of them."""
    values = detect_value_kind(distinct)
    if values in (None, "keys") or (values == "whole numbers" and len(distinct) <= _MAX_NUMBERED_CLASSES):
        return []
    if not asks or len(distinct) <= MAX_MEASURED_CLASSES:
        return [f"{values} in texts, such as {distinct[0]!r}, are read as {len(distinct)} classes"]
    repeat = len(distinct) < len(contents.cells[label])
    as_classes = setting_refs(setting_ref("task", task.id), use_column(task.label.name, label)) if repeat else None
    raise values_in_texts(contents, label, as_classes)


def _check_numbers(contents: ColumnContents, task: Task, label: str, *, chosen: bool, named: bool) -> None:
    """Refuse a column that numbers rows, and numbers that may be classes or values."""
    cells = contents.cells[label].drop_null()
    numbers, n_different = np.asarray(cells), len(cells.unique())
    is_usual = task.label.is_called(label)
    if (
        not (is_usual or named)
        and len(numbers) == len(contents.cells[label]) > 1
        and (np.diff(numbers.astype(float)) > 0).all()
    ):
        raise EmmsError(
            f"column {label!r} may be a row number, not a label: its values are all different and increase",
            _hint(task, label),
        )
    if chosen or not _are_unclear(numbers, n_different, task, is_usual=is_usual, named=named):
        return
    type = contents.types[label]
    readings = [
        other.id
        for other in TASKS.built_in.values()
        if other.input == task.input
        and type in other.label.types
        and (other.numbers is not None or (other.categorical and n_different < len(numbers)))
    ]
    raise EmmsError(
        f"the {pluralize(n_different, 'different number')} in column {label!r} may be classes or values, and nothing "
        "says which",
        joined((setting_refs(setting_ref("task", id), use_column(task.label.name, label)) for id in readings), ", or "),
    )


def _are_unclear(numbers: np.ndarray, n_different: int, task: Task, *, is_usual: bool, named: bool) -> bool:
    """Return whether numbers may be classes as well as values; ids of many classes leave no gap."""
    if numbers.dtype == bool or not len(numbers):
        return False
    if not (is_usual or named) and task.numbers is not None:
        return True
    if not task.categorical:
        return False
    low, high = numbers.min(), numbers.max()
    have_gaps = high - low + 1 != n_different
    return bool(
        are_years(np.unique(numbers).tolist()) or (n_different > _MAX_NUMBERED_CLASSES and (have_gaps or not is_usual))
    )


def _hint(task: Task, label: str) -> Text:
    this_one = setting_refs(setting_ref("task", task.id), use_column(task.label.name, label))
    return "name the label: " + use_column(task.label.name) + ", or this one if it is meant: " + this_one
