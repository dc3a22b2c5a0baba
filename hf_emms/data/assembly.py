"""Assemble a sample from drawn rows and their labels, with a preview of how they were read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.labels import Labels
from hf_emms.data.match.columns import shown_cell, value_of
from hf_emms.data.rows import NO_CLASS, DrawnRows
from hf_emms.data.sample import Sample, digest, pinned
from hf_emms.errors import EmmsError, Note
from hf_emms.formatting import pluralize
from hf_emms.inputs import Pairs, Spans
from hf_emms.ranking.reading import ColumnReading, Reading, class_counts
from hf_emms.tasks import TASKS, Column, use_column
from hf_emms.texts import setting_ref

# Minimum rows of a sample in which all classes may differ, if the dataset declares that labels are classes.
_MANY = 20
# Share of skipped rows above which a note warns.
_FEW_SKIPPED = 0.01
# Names of classes that usually mean a missing label.
_NULLS = ("", "nan", "null", "none", "n/a")
# Further names of columns that look like a part of the input, or like a label.
_LIKE_INPUTS = ("choices", "options", "passage", "score", "rating", "label", "image", "audio")


@dataclass(frozen=True)
class _Rows:
    """The N rows of a sample, in the order of their content.

    Attributes:
        hashes: Hashes of the inputs, uint64 (N,).
        groups: uint64 (N,).
        codes: Indices of the label texts, (N,).
        spans: (N, 2), or zeros (N, 1) if rows have no spans.
        is_new_input: Whether the input differs from the input of the row before, (N,).
        is_new_span: Whether the input or the span does, (N,).
    """

    hashes: np.ndarray
    groups: np.ndarray
    codes: np.ndarray
    spans: np.ndarray
    is_new_input: np.ndarray
    is_new_span: np.ndarray


def _ordered(drawn: DrawnRows, labels: Labels) -> _Rows:
    schema, task = drawn.schema, drawn.schema.task
    grouped_by = [column.name for column in task.inputs].index(task.group_by or task.inputs[0].name)
    by_column = schema.group_column is not None
    inputs = [drawn.inputs[input] for input in labels.inputs.tolist()]
    groups = np.array([each.group if by_column else each.hashes[grouped_by] for each in inputs], dtype=np.uint64)
    spans = labels.spans if labels.spans is not None else np.zeros_like(labels.codes)[:, None]
    order = np.lexsort((labels.codes, *reversed(spans.T), labels.inputs, groups))
    hashes, spans = labels.inputs[order], spans[order]
    is_new_input = np.append(True, hashes[1:] != hashes[:-1])
    is_new_span = is_new_input | np.diff(spans, axis=0, prepend=spans[:1]).any(axis=1)
    return _Rows(hashes, groups[order], labels.codes[order], spans, is_new_input, is_new_span)


def _content(rows: _Rows, labels: Labels) -> bytes:
    """Return the bytes that identify rows and their labels."""
    soft = labels.soft
    hashed_inputs = [] if np.array_equal(rows.hashes, rows.groups) else [rows.hashes]
    hashed_spans = [] if labels.spans is None else [rows.spans]
    of_labels = [] if soft is None else [soft.labels, soft.texts, soft.weights]
    of_labels += [] if labels.numbers is None else [labels.numbers]
    arrays = (rows.groups, rows.codes, *hashed_inputs, *hashed_spans, *of_labels)
    return b"".join(array.tobytes() for array in arrays)


def _available(split: OpenSplit, drawn: DrawnRows, labels: Labels, n_inputs: int) -> int | None:
    """Return how many rows a sample of the split can have, or None if that is unknown."""
    schema = drawn.schema
    if not drawn.is_full:
        usable = len(drawn.inputs) if schema.task.counts_items else n_inputs
        return usable if labels.spans is not None else len(labels.codes)
    # A row of the split makes at most one row of the sample, except lists of inputs and separate texts.
    makes_several = bool(schema.list_columns) or drawn.options.references == "all"
    return None if makes_several or split.total is None else split.total - drawn.skipped - drawn.unlabeled


def assemble(split: OpenSplit, drawn: DrawnRows, labels: Labels) -> Sample:
    """Return the sample of drawn rows, with rows and inputs in the order of their content."""
    _check_labels(drawn, labels)
    rows, schema, options, task = _ordered(drawn, labels), drawn.schema, drawn.options, drawn.schema.task
    distinct = rows.hashes[rows.is_new_input].tolist()
    input_hashes = np.array([drawn.inputs[hash].hashes for hash in distinct], np.uint64)
    inputs = _collect(drawn, input_hashes)
    n_inputs, hashed = len(inputs), [rows.hashes]
    if labels.spans is not None:
        inputs = Spans(inputs, np.column_stack([np.cumsum(rows.is_new_input) - 1, rows.spans])[rows.is_new_span])
        hashed.append(rows.spans)
    content = _content(rows, labels)
    repo = pinned(split.repo, content)
    identity = [
        *(repo.revision, split.config, split.split, task.id, sorted(schema.columns.items())),
        *(options.sampling, options.references, options.seed, options.max_samples, options.label_template),
        *(labels.texts, labels.form, options.box_format),
    ]
    skipped = drawn.skipped + drawn.unlabeled
    return Sample(
        dataset=split.name,
        repo=repo,
        config=split.config,
        split=split.split,
        task=task,
        columns=dict(schema.columns),
        inputs=inputs,
        input_hashes=input_hashes,
        input_of_row=np.cumsum(rows.is_new_span) - 1,
        label_texts=labels.texts,
        codes=rows.codes,
        groups=rows.groups,
        skipped=skipped,
        notes=(
            *split.notes,
            *schema.notes,
            *_warnings(drawn, labels, skipped, split.total),
        ),
        fingerprint=digest(content + json.dumps(identity).encode()),
        inputs_fingerprint=digest(b"".join(array[rows.is_new_span].tobytes() for array in hashed)),
        soft_labels=labels.soft,
        label_numbers=labels.numbers,
        label_values=labels.values,
        form=labels.form,
        available=_available(split, drawn, labels, n_inputs),
        unused_columns=schema.unused,
        no_class=NO_CLASS if schema.multi_label and NO_CLASS not in (schema.flag_names or ()) else None,
        splits=split.splits,
        label_order=labels.order,
        reading=_reading(
            split, drawn, labels, skipped, [*_facts(drawn, labels, n_inputs, len(np.unique(rows.groups)))]
        ),
    )


def _reading(split: OpenSplit, drawn: DrawnRows, labels: Labels, skipped: int, facts: Sequence[str]) -> Reading:
    schema, task = drawn.schema, drawn.schema.task
    columns = []
    for role, column in schema.columns.items():
        example = shown_cell(value_of(drawn.first, column)) if drawn.first is not None else ""
        each = ColumnReading(role, column, example)
        if role == task.label.name:
            each = msgspec.structs.replace(each, **_label_content(drawn, labels))
        columns.append(each)
    return Reading(
        dataset=split.name,
        split=split.split,
        splits=split.splits,
        examples=split.total,
        task=task.id,
        columns=tuple(columns),
        facts=tuple(facts),
        unused=schema.unused,
        unused_inputs=tuple(name for name in schema.unused if name.lower() in _input_names()),
        skipped=skipped,
        reasons=tuple(drawn.reasons),
    )


def _label_content(drawn: DrawnRows, labels: Labels) -> dict[str, Any]:
    """Return the preview of the labels: their classes with counts, or their range."""
    counts = drawn.class_counts
    if drawn.schema.task.counts_items:
        counts = {labels.texts[code]: int(times) for code, times in enumerate(np.bincount(labels.codes))}
    if counts:
        return {"n_classes": len(counts), "classes": class_counts(counts)}
    if labels.values is not None and labels.values.shape[1] == 1:
        return {"low": float(labels.values.min()), "high": float(labels.values.max())}
    return {}


def _collect(drawn: DrawnRows, hashes: np.ndarray) -> Sequence[Any]:
    """Return the input contents with these hashes, uint64 (M, C). Pairs store each distinct content once."""
    task = drawn.schema.task
    if len(task.inputs) == 1:
        return task.inputs[0].kind.collect([drawn.contents[0][hash] for hash in hashes[:, 0].tolist()])
    parts: list[Sequence[Any]] = []
    numbers = []
    for column, of_column, contents in zip(task.inputs, hashes.T, drawn.contents, strict=True):
        unique, number = np.unique(of_column, return_inverse=True)
        parts.append(column.kind.collect([contents[int(hash)] for hash in unique]))
        numbers.append(number)
    return Pairs(parts[0], parts[1], np.stack(numbers, axis=1).astype(np.int64))


def _check_labels(drawn: DrawnRows, labels: Labels) -> None:
    schema, task, column = drawn.schema, drawn.schema.task, drawn.schema.label_column
    if task.numbers is not None and labels.form != "numbers" and len(labels.texts) == 1:
        raise EmmsError(
            "labels-all-equal",
            f"all rows have the same {task.label.name} in words: {labels.texts[0]!r}",
            "use " + setting_ref("label_form", "numbers") + ", or draw more rows: " + setting_ref("max_samples", ...),
        )
    more_rows = (
        "draw more rows (" + setting_ref("max_samples") + "), or choose another column: " + use_column(task.label.name)
    )
    if len(np.unique(labels.codes)) == 1:
        raise EmmsError(
            "labels-all-equal",
            f"all rows have the same {task.label.name} in column {column!r}: {labels.texts[0]!r}",
            "a ranking needs at least two. " + more_rows,
        )
    n_rows = len(labels.codes)
    are_classes = len(labels.texts) < n_rows or (schema.label_type in ("class", "classes") and n_rows >= _MANY)
    if task.categorical and labels.soft is None and not are_classes:
        raise EmmsError(
            "labels-all-different",
            f"no class has two rows: column {column!r} has {n_rows} different values in {pluralize(n_rows, 'row')}",
            more_rows,
        )


def _input_names() -> set[str]:
    """Return the names that input columns of any task usually have."""
    columns: list[Column] = [column for task in TASKS.built_in.values() for column in (*task.inputs, *task.beside)]
    return {name for column in columns for name in column.candidates} | {*_LIKE_INPUTS}


def _facts(drawn: DrawnRows, labels: Labels, n_inputs: int, n_groups: int) -> Iterator[str]:
    """Yield the preview's facts about the sample: its size, its label texts and its groups."""
    schema, task = drawn.schema, drawn.schema.task
    yield from labels.facts
    yield from _conversions(drawn)
    if task.instruction is not None:
        yield f"decoders read {task.instruction(schema.columns).text!r} after each {task.inputs[0].name}, T5 before it"
    if labels.spans is None:
        yield _sampled(drawn, labels) if task.categorical else _inputs(drawn, labels, n_inputs, n_groups)
    if drawn.one_row_per_label and drawn.options.references != "all" and (more := len(labels.codes) - n_inputs) > 0:
        yield f"{pluralize(more, 'duplicate')}: rows with the same {' and '.join(each.name for each in task.inputs)}"
    if drawn.boxes:
        yield _boxes(drawn)
    if schema.group_column is not None:
        yield f"rows with the same {schema.group_column} stay in one fold and one split"


def _boxes(drawn: DrawnRows) -> str:
    """Return the format of boxes, the first box, and how many boxes leave their image."""
    box, size = drawn.boxes[0]
    unit = "fractions of the image" if size is None else f"pixels of an image of {size[0]} x {size[1]}"
    numbers = ", ".join(f"{number:g}" for number in box)
    count = f"{drawn.count_leaving(drawn.box_format)} of {pluralize(len(drawn.boxes), 'box', 'boxes')}"
    return f"boxes are {drawn.box_format}, such as {numbers} in {unit}; {count} leave their image"


def _conversions(drawn: DrawnRows) -> Iterator[str]:
    """Yield how label cells of another form became labels."""
    schema, label = drawn.schema, drawn.schema.task.label
    if schema.class_separator is not None and drawn.options.label_form != "flags":
        yield f"several classes per text, with {schema.class_separator!r} between them"
    elif schema.flag_names is not None and len(schema.label_columns) == 1:
        yield f"a 0 or 1 for each of {len(schema.flag_names)} classes"
    if schema.label_type in label.converted and label.clean is not None and drawn.first is not None:
        text = value_of(drawn.first, schema.label_column)
        yield f"texts are converted to numbers: {text!r} is {label.clean(text):g}"


def _sampled(drawn: DrawnRows, labels: Labels) -> str:
    rows = f"sample: {pluralize(len(labels.codes), 'row')}, {drawn.options.sampling or 'balanced'}"
    if labels.soft is not None:
        mean = sum(len(set(raws)) for _, raws in drawn.rows) / len(labels.codes)
        return f"{rows}, with {mean:.1f} classes per row"
    counts = np.bincount(labels.codes)
    fewest, most = int(np.min(counts)), int(np.max(counts))
    return f"{rows}, with {fewest}" + (f" to {most}" if most > fewest else "") + " rows per class"


def _inputs(drawn: DrawnRows, labels: Labels, n_inputs: int, n_groups: int) -> str:
    task, references = drawn.schema.task, drawn.options.references
    inputs = pluralize(n_inputs, task.input.singular)
    if len(task.inputs) > 1:
        inputs = f"{pluralize(n_inputs, 'pair')} of {task.inputs[0].name} and {task.inputs[1].name}"
    groups = f", {pluralize(n_groups, task.group_by)}" if task.group_by else ""
    fact = f"sample: {pluralize(len(labels.codes), 'row')} from {inputs}{groups}"
    several = (labels.soft is not None and labels.numbers is None) or len(drawn.rows) > n_inputs or references != "mean"
    return f"{fact}; {task.label_noun or task.label.name}s of an input: {references}" if several else fact


def _warnings(drawn: DrawnRows, labels: Labels, skipped: int, total: int | None) -> Iterator[Note]:
    """Yield warnings about the sample."""
    task = drawn.schema.task
    if task.categorical and labels.spans is None and labels.soft is None:
        counts = np.bincount(labels.codes)
        if counts.max() == 1:
            yield Note("labels-all-different", "all rows have different classes")
        classes = drawn.class_counts if drawn.schema.one_class else {}
        for name in classes:
            if name.strip().lower() in _NULLS or (name == "-1" and {"0", "1", "2"} <= classes.keys()):
                text = f"class {name!r} ({pluralize(classes[name], 'row')}) may mean a missing label: remove its rows"
                yield Note("null-class", text)
    n_read = total or skipped + len(drawn.inputs)
    if skipped > _FEW_SKIPPED * n_read:
        yield Note("rows-skipped", f"skipped {skipped:,} of {pluralize(n_read, 'row')}")
