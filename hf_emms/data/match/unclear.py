"""The error about columns: what the dataset has, the tasks that fit, and one command that reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product, zip_longest
from typing import Any

from hf_emms.data.match.columns import NOT_FILES, SHARED_TYPES, Columns, column_of, names_in, shown_cell, value_of
from hf_emms.errors import EmmsError
from hf_emms.inputs import MODALITIES
from hf_emms.options import SampleOptions
from hf_emms.tasks import TASKS, Column, Task, get_task, use_column
from hf_emms.texts import command, joined, setting_ref

_MAX_COLUMNS, _MAX_TASKS, _MAX_CHOICES = 40, 5, 8
# Readings of a task that are tried for the command, and choices for each role in them.
_MAX_TRIED, _MAX_TRIED_CHOICES = 6, 4
# Types of columns in the order in which they usually are classes.
_CLASS_ORDER = ("class", "classes", "bool", "bools", "integer", "string")

# A column of the exports of Label Studio.
_LABEL_STUDIO = "annotations.result"
# Types of columns that may be metadata of documents.
_METADATA = ("struct", "Json")

Named = Mapping[str, str]


class UnclearColumnsError(EmmsError):
    """No reading of the columns fits, or several do.

    Args:
        code: As for `EmmsError`.
        problem: What happened, without a full stop.
        columns: The columns of the dataset.
        role: The role whose column was named wrongly; None if no name is wrong.
    """

    def __init__(self, code: str, problem: Any, columns: Columns, role: str | None = None) -> None:
        lines = "".join(f"\n  {line}" for line in described(columns))
        super().__init__(code, joined([problem, ". Its columns:", lines], ""))
        self.columns, self.role = columns, role

    def choices(self, options: SampleOptions, preset_task: str | None) -> Iterator[SampleOptions]:
        """Yield options that may read the dataset: first the usual columns of each task that fits, then others."""
        named = self._named(options)
        fitting = self._fitting(options, preset_task, named)
        readings = (islice(_readings(task, fits, self.columns, named), _MAX_TRIED) for task, fits in fitting)
        for turn in zip_longest(*readings):
            for (task, _), read in zip(fitting, turn, strict=True):
                if read is not None:
                    group = None if self.role == "group" else options.group_column
                    yield dataclasses.replace(options, task=task.id, columns=read, group_column=group)

    def with_hint(self, options: SampleOptions, preset_task: str | None, chosen: SampleOptions | None) -> EmmsError:
        """Return the error with the tasks that fit, and the command of the chosen reading."""
        named = self._named(options)
        tasks = [_roles(task, fits) for task, fits in self._fitting(options, preset_task, named)]
        lines = ["tasks that fit:", *tasks] if tasks else [self._misfit(options.task or preset_task)]
        hint = joined([*self._advice(), joined(lines, "\n    ")], "\n  ")
        if chosen is not None:
            hint += joined(["\n  The most usual reading: ", _command(chosen)], "")
        elif tasks:
            hint += "\n  None of them reads these rows with the usual columns: name other columns"
        code = self.code
        return EmmsError(code, self.message, hint)

    def _misfit(self, task: str | None) -> str:
        """Return that no task fits, with the roles of the task if the user or the preset names one."""
        if task is None:
            return "no task fits these types: docs/tasks.md lists them"
        named = get_task(task)
        return f"{named.id} reads {', '.join(named.columns)}: it does not fit these types: docs/tasks.md lists them"

    def _advice(self) -> Iterator[str]:
        """Yield how to convert what is no table of a task's columns."""
        if _LABEL_STUDIO in self.columns.types:
            yield "this is an export of Label Studio: docs/recipe-entities.md converts it"
        for name in (name for name, type in self.columns.types.items() if type == NOT_FILES):
            yield f"save the content of {name!r} as files: docs/tasks.md decodes base64"

    def _named(self, options: SampleOptions) -> Named:
        return {role: name for role, name in options.columns.items() if role != self.role}

    def _fitting(
        self, options: SampleOptions, preset_task: str | None, named: Named
    ) -> list[tuple[Task, dict[str, list[str]]]]:
        """Return the tasks that fit by type, the most usual first, with role → the columns that fit."""
        id = options.task or preset_task
        tasks = candidates(self.columns, named) if id is None else [get_task(id).converting]
        by_task = [(task, _columns_by_role(task, self.columns, named)) for task in tasks]
        corpora = [task.corpus for task in tasks if task.corpus and named.keys() <= task.corpus.columns.keys()]
        of_documents = [(corpus, _columns_by_role(corpus, self.columns, named)) for corpus in corpora]
        by_task += [(corpus, fits) for corpus, fits in of_documents if id is not None or _covers(fits, self.columns)]
        fitting = [(task, fits) for task, fits in by_task if fits is not None]

        def rank(fit: tuple[Task, dict[str, list[str]]]) -> tuple[bool, int, int]:
            task, fits = fit
            usual = sum(role in named or task.columns[role].is_called(names[0]) for role, names in fits.items())
            return bool(task.inputs) or _covers(fits, self.columns), usual - len(fits), -len(fits)

        return sorted(fitting, key=rank, reverse=True)[:_MAX_TASKS]


def candidates(columns: Columns, named: Named) -> list[Task]:
    """Return the tasks with the named columns. If the dataset has images or sounds, prefer tasks that read them."""
    types = set(columns.types.values())
    media = {kind.name for kind in MODALITIES.values() if kind.recognized_by_type and types & set(kind.column_types)}
    tasks = [task for task in TASKS.built_in.values() if named.keys() <= task.all_columns.keys()]
    reading_media = [task for task in tasks if media & {column.kind.name for column in task.inputs}]
    return reading_media or tasks


def described(columns: Columns) -> list[str]:
    """Return a line per column or field: its name, its type and an example."""
    lines = []
    for name in [*columns.types][:_MAX_COLUMNS]:
        shown = shown_cell(value_of(columns.first, name)) if columns.first else ""
        lines.append(f"{name} ({columns.types[name]})" + (f": {shown}" if shown else ""))
    others = len(columns.types) - len(lines)
    return [*lines, *([f"and {others} more"] if others else [])]


def _columns_by_role(task: Task, columns: Columns, named: Named) -> dict[str, list[str]] | None:
    """Return the columns that fit each role, usual names first; None if a role has none of its own."""
    fits = {
        role: [named[role]] if role in named else _fitting_columns(task, column, columns)
        for role, column in task.columns.items()
    }
    usual = {names[0] for role, names in fits.items() if names and task.columns[role].is_called(names[0])}
    for role, names in fits.items():
        fits[role] = [name for name in names if name not in usual - {names[0]}] or names
    return fits if next(_readings(task, fits, columns, named), None) is not None else None


def _fitting_columns(task: Task, column: Column, columns: Columns) -> list[str]:
    def rank(name: str) -> tuple[int, bool, int]:
        spelled, type = column.spelling(name), columns.types[name]
        place = column.candidates.index(spelled) if spelled in column.candidates else len(column.candidates)
        order = _CLASS_ORDER.index(type) if type in _CLASS_ORDER else len(_CLASS_ORDER)
        is_class = column is task.label and task.categorical
        return place, name != column_of(name, columns.types), order if is_class else 0

    fits = [name for name, type in columns.types.items() if type in column.types and not columns.is_place(name)]
    fits = [name for name in fits if not columns.is_id(name)] or [n for n in fits if columns.types[n] == "string"]
    series = [names for names in column.candidates if "," in names and all(map(columns.types.get, names.split(",")))]
    return [*series, *sorted(fits, key=rank)]


def _covers(fits: Mapping[str, Sequence[str]] | None, columns: Columns) -> bool:
    """Return whether the usual columns of a reading are all columns, apart from ids and metadata."""
    read = {part for names in (fits or {}).values() for part in names_in(names[0], columns.types)}
    return bool(read) and all(
        name in read or columns.is_id(name) or type in _METADATA or column_of(name, columns.types) != name
        for name, type in columns.types.items()
    )


def _readings(task: Task, fits: Mapping[str, Sequence[str]], columns: Columns, named: Named) -> Iterator[Named]:
    """Yield role → column with distinct columns for all roles, the most usual first."""
    choices = (names[:_MAX_TRIED_CHOICES] for names in fits.values())
    for _, _, names in sorted((sum(places), places, names) for places, names in _numbered(choices)):
        parts = [part for name in names for part in names_in(name, columns.types)]
        unshared = [part for part in parts if columns.types[part] not in SHARED_TYPES]
        if len(set(unshared)) == len(unshared):
            yield {**dict(zip(fits, names, strict=True)), **named}


def _numbered(choices: Any) -> Iterator[tuple[tuple[int, ...], tuple[str, ...]]]:
    for combination in product(*map(enumerate, choices)):
        places, names = zip(*combination, strict=True)
        yield places, names


def _roles(task: Task, fits: Mapping[str, Sequence[str]]) -> str:
    roles = []
    for role, names in fits.items():
        more = f" and {len(names) - _MAX_CHOICES} more" if len(names) > _MAX_CHOICES else ""
        roles.append(f"{role} = {' | '.join(names[:_MAX_CHOICES])}{more}")
    return f"{task.id}: {'; '.join(roles)}"


def _command(options: SampleOptions) -> Any:
    """Return the command that ranks with these options."""
    default = SampleOptions("")
    dataset = options.dataset if isinstance(options.dataset, str) else ...
    changed = {
        item.name: getattr(options, item.name)
        for item in dataclasses.fields(options)
        if item.name not in ("dataset", "columns") and getattr(options, item.name) != getattr(default, item.name)
    }
    columns = (use_column(role, name) for role, name in options.columns.items())
    return command(
        setting_ref("dataset", dataset), *(setting_ref(name, value) for name, value in changed.items()), *columns
    )
