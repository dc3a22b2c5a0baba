"""Infer the task and its columns, or list all readings that fit in one error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from hf_emms.data.match.columns import Columns, column_of, names_in
from hf_emms.data.match.named_columns import checked_names, described, field_of, sibling
from hf_emms.errors import EmmsError
from hf_emms.inputs import MODALITIES
from hf_emms.tasks import TASKS, Column, Task, use_column
from hf_emms.tasks.task import spelling
from hf_emms.texts import joined, setting_ref, setting_refs

# How columns are found, surest first: by name; also by a type that only one column has, for inputs and declared
# classes; by such a type for all columns.
_BY_NAME, _BY_DECLARED_TYPE, _BY_TYPE = range(3)
# More different whole numbers than these may be values.
_MAX_NUMBERED_CLASSES = 20
_NUMBERED = re.compile(r"(.*?)_?\d+")
# A conversation contains both the prompt and the response.
_SHARED_TYPES = ("messages",)
# Types of columns that may be metadata of documents.
_METADATA = ("struct", "Json")
_MAX_READINGS, _MAX_CHOICES, _MAX_JOINED = 12, 12, 3

Named = Mapping[str, str]


def find_reading(columns: Columns, named: Named, task: Task | None, dataset: str) -> tuple[Task, dict[str, str]]:
    """Return the only task that fits, with role → the dataset's column.

    Args:
        columns: The dataset's columns.
        named: Role → column, from the user or the preset.
        task: The task of the user or the preset; None to infer it.
        dataset: Name for messages.

    Raises:
        EmmsError: No reading fits, or several readings do.
    """
    if task is not None:
        named = {role: checked_names(task, role, names, columns) for role, names in named.items()}
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
            raise unclear_error(columns, named, candidates, dataset, several=True)
    documents = None if task is None else _documents_alone(task, columns, named)
    if task and task.corpus and documents and (named or not _may_have_inputs(task, documents, columns)):
        return task.corpus, documents
    raise unclear_error(columns, named, candidates, dataset, several=False)


def _is_sure(task: Task, read: Named, columns: Columns, named: Named, candidates: Sequence[Task]) -> bool:
    """Return whether a reading needs no confirmation: the cells fit, and no other column could be the label."""
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


def _candidates(columns: Columns, named: Named) -> list[Task]:
    """Return the tasks with the named columns. If the dataset has images or sounds, prefer tasks that read them."""
    types = set(columns.types.values())
    media = {kind.name for kind in MODALITIES.values() if kind.recognized_by_type and types & set(kind.column_types)}
    tasks = [task for task in TASKS.built_in.values() if named.keys() <= task.all_columns.keys()]
    reading_media = [task for task in tasks if media & {column.kind.name for column in task.inputs}]
    return reading_media or tasks


def _may_be_inferred(task: Task, columns: Columns, named: Named) -> bool:
    spellings = {spelling(column_of(name, columns.types)) for name in columns.types}
    are_named = {column.name for column in task.inputs} <= named.keys()
    return task.signs is None or are_named or any(spellings.issuperset(sign) for sign in task.signs)


def _fill(task: Task, columns: Columns, named: Named, how: int) -> dict[str, str] | None:
    """Find a column for each role of a task. Return None if a required role has no column."""
    read = {
        role: ",".join(field_of(task.all_columns[role], name, columns.types) for name in names_in(names, columns.types))
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


def _documents_alone(task: Task, columns: Columns, named: Named) -> dict[str, str] | None:
    """Return the document column of a dataset without queries.

    Returns None if the task always needs its inputs.
    """
    if task.corpus is None or not named.keys() <= task.corpus.columns.keys():
        return None
    return next(filter(None, (_fill(task.corpus, columns, named, how) for how in (_BY_NAME, _BY_TYPE))), None)


def _parts(read: Named, columns: Columns) -> set[str]:
    """Return the dataset's columns that a reading uses."""
    return {part for name in read.values() for part in names_in(name, columns.types)}


def _may_have_inputs(task: Task, read: Named, columns: Columns) -> bool:
    """Return whether columns that are not read may be an input of the task."""
    free = _free(task, task.inputs[0], read, columns)
    return any(_is_suitable(task, task.inputs[0], name, columns) for name in free)


def _accepted(task: Task, column: Column, columns: Columns) -> list[str]:
    """Return the columns with a type that a role accepts. Tags of words are labels of words only."""
    return [
        name
        for name, type in columns.types.items()
        if type in column.types and not (column is task.label and name in columns.word_tags and task.items is None)
    ]


def _free(task: Task, column: Column, read: Named, columns: Columns) -> list[str]:
    """Return the columns that could have this role and have no other role yet."""
    taken = _parts(read, columns)
    accepted = _accepted(task, column, columns)
    return [name for name in accepted if name not in taken or columns.types[name] in _SHARED_TYPES]


def _with_beside(task: Task, read: Named, columns: Columns, named: Named) -> dict[str, str]:
    """Add the task's optional columns, such as negatives, to a reading."""
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
    """Return the column whose name is usual for a role, or a numbered series of such columns."""
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
    """Return the column for a role if it is the only one with a suitable type, else None."""
    suitable = [name for name in free if _is_suitable(task, column, name, columns)]
    if column.kind.recognized_by_type:
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
    if column.kind.recognized_by_type or type in _SHARED_TYPES:
        return True
    if column is task.label and task.categorical:
        return task.items is not None or columns.are_classes(name, _MAX_NUMBERED_CLASSES)
    if column is task.label and task.numbers is not None:
        return not columns.is_zero_one(name) and (type != "float" or len(columns.distinct(name)) > 1)
    if type == "strings":
        return (column is task.label and columns.varies(name)) or task.items is not None
    return type == "string" and not columns.repeats(name)


def _flag_columns(task: Task, suitable: Sequence[str], columns: Columns) -> str | None:
    """Return the columns of a dataset that stores classes as one 0/1 column each."""
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
    return task.label_end is None or sibling(read[task.label.name], task.label_end, types) in types


def _is_preferred(task: Task, read: Named, other: Task, other_read: Named, columns: Columns, named: Named) -> bool:
    """Return whether one reading is clearly better than another: more columns, or more usual names."""
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


def unclear_error(columns: Columns, named: Named, tasks: Sequence[Task], dataset: str, *, several: bool) -> EmmsError:
    """Return an error that lists the columns and all readings, as settings that users can paste."""
    readings = [*_corpora(columns, named, tasks), *possible_readings(columns, named, tasks)]
    how = "Several readings fit" if several or len(readings) > 1 else "No reading surely fits"
    typed = [use_column(role, name) for role, name in named.items()]
    problem = joined([f"{how} the columns of {dataset!r}"])
    problem = problem + " with " + joined(typed) if typed else problem
    problem += ":" + "".join(f"\n  {line}" for line in described(columns))
    if not readings:
        if len(tasks) == 1:
            roles = (use_column(role) + f" ({' or '.join(column.types)})" for role, column in tasks[0].columns.items())
            return EmmsError("unclear-columns", problem, f"{tasks[0].id} requires the columns " + joined(roles))
        example = setting_refs(setting_ref("task", ...), use_column("text"), use_column("label"))
        return EmmsError(
            "unclear-columns", problem, "name the task and its columns: " + example + ". docs/tasks.md lists them"
        )
    shown = [
        setting_refs(setting_ref("task", task.id), *(use_column(role, name) for role, name in read.items()))
        for task, read in readings[:_MAX_READINGS]
    ]
    others = len(readings) - len(shown)
    more = f"\n    and {others} more" if others > 0 else ""
    more += "\n  Or name another task and its columns: docs/tasks.md lists them." if len(tasks) > 1 else ""
    return EmmsError("unclear-columns", problem, "choose a reading:\n    " + joined(shown, "\n    ") + more)


def _corpora(columns: Columns, named: Named, tasks: Sequence[Task]) -> Iterator[tuple[Task, dict[str, str]]]:
    """Yield the readings of a dataset as a corpus of documents without queries."""
    content = {name for name in columns.names if columns.types[name] not in _METADATA and not columns.is_id(name)}
    for task in tasks:
        read = _documents_alone(task, columns, named)
        if read is not None and (len(tasks) == 1 or content <= _parts(read, columns)):
            yield task, read


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
    """Yield all ways to assign distinct columns to the roles of a task."""
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
