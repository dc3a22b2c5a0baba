"""What a user should know of a sample, in words.

Turns a collected sample into a sample: labels, codes, canonical order, notes, fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hf_emms.data.sample import Images, Pairs, Sample, Spans
from hf_emms.data.sample_labels import OTHERS, Labels, number_labels, span_rows, text_labels
from hf_emms.data.sampling import Collector
from hf_emms.data.sources import Source
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.tasks import column_flag

_FEW = 5
_KEPT = {
    "all": "a row for each {label}",
    "first": "the first {label} of each",
    "one-per-image": "one {label} of each",
    "majority": "the most frequent {label} of each",
    "mean": "the mean of each one's {label}s",
}


def sample_notes(
    collector: Collector, labels: Labels, n_inputs: int, n_groups: int, skipped: int, total: int | None
) -> list[str]:
    """Notes on how many rows there are, what became of several texts of one input, and what was left out."""
    layout, task = collector.layout, collector.layout.task
    if labels.form == "spans":
        notes = _of_spans(collector, labels, n_inputs, n_groups)
    elif task.categorical:
        notes = _of_classes(collector, labels, total)
    else:
        notes = [_of_inputs(collector, labels, n_inputs, n_groups)]
    if task.empty is not None and labels.form != "spans":
        empty = sum(raws == [task.empty] for _, raws in collector.rows)
        notes += [f"rows without {task.label.name}: {empty}; their label text is {task.empty!r}"] if empty else []
    if collector.unsized:
        notes.append(f"every {task.label.name} is read as parts of its picture, not as pixels")
    if labels.numbers is not None:
        shape = pluralize(labels.numbers.shape[1], "column")
        notes.append(f"the {task.label.name} is an F-label of {shape}" + (" and a text" * (labels.form == "both")))
    if layout.kinds[layout.label_columns[0]] in ("integer", "integers") and task.categorical:
        notes.append("labels are numbers without names; names would make better label texts")
    if skipped:
        first = f" (the first one: {collector.example})" if collector.example else ""
        notes.append(f"{pluralize(skipped, 'row')} left out{first}")
    return notes


def _of_classes(collector: Collector, labels: Labels, total: int | None) -> list[str]:
    of_total = f" of {total:,}" if total else ""
    rows = len(labels.codes)
    if labels.mixtures is not None:
        count = sum(len(set(raws)) for _, raws in collector.rows) / rows
        return [f"{rows:,}{of_total} rows, {len(labels.texts)} classes, {count:.1f} a row: F-labels are their means"]
    counts = np.bincount(labels.codes)
    how = collector.options.sampling or "balanced"
    fewest, most = int(np.min(counts)), int(np.max(counts))
    spread = pluralize(most, "row") if fewest == most else f"{fewest} to {pluralize(most, 'row')}"
    notes = [f"{rows:,}{of_total} rows, {how}: {len(counts)} classes of {spread}"]
    if np.median(counts) < _FEW:
        notes.append(f"most classes have fewer than {_FEW} rows: draw more with --max-samples")
    return notes


def _of_spans(collector: Collector, labels: Labels, n_inputs: int, n_groups: int) -> list[str]:
    task = collector.layout.task
    label, asked, context = task.label.name, task.inputs[0].name, task.spans_of
    notes = [
        f"{pluralize(len(labels.codes), 'span')} of {pluralize(n_groups, str(context))}, "
        f"for {pluralize(n_inputs, asked)}: the {label} and {OTHERS} others of as many words, where there is room"
    ]
    left = len(collector.inputs) - n_inputs
    if left:
        notes.append(f"{asked}s left out, because no {label} stands in their {context}: {left:,}")
    return notes


def _of_inputs(collector: Collector, labels: Labels, n_inputs: int, n_groups: int) -> str:
    task = collector.layout.task
    of_pictures = task.group is None and task.modality == "image"
    inputs = pluralize(n_inputs, "picture" if of_pictures else "text")
    if len(task.inputs) > 1:
        inputs = f"{pluralize(n_inputs, 'pair')} of {task.inputs[0].name} and {task.inputs[1].name}"
    shared = f", {pluralize(n_groups, task.group)}" if task.group else ""
    label = "caption" if task.id == "image-to-text" else task.label.name
    several = labels.mixtures is not None or len(collector.rows) > n_inputs or collector.options.references != "mean"
    kept = _KEPT[collector.options.references].format(label=label) if several and task.numbers is None else ""
    return f"{pluralize(len(labels.codes), 'row')} from {inputs}{shared}" + (f": {kept}" if kept else "")


def assemble(source: Source, collector: Collector, unlabelled: int, total: int | None) -> Sample:
    """Builds the sample from the rows that were read.

    Raises:
        EmmsError: fewer than two distinct labels, or labels that are no classes.
    """
    layout, options, task = collector.layout, collector.options, collector.layout.task
    notes = list(source.notes)
    numbers, spans, labels = _rows(collector, notes)
    _check_labels(labels, collector)

    shared = [role.name for role in task.inputs].index(task.group or task.input.name)
    groups = np.array([collector.inputs[number][shared] for number in numbers.tolist()], dtype=np.uint64)
    # The order of content: the same sample is the same sample in whatever order its files came.
    order = np.lexsort((labels.codes, *spans.T[::-1], numbers, groups))
    numbers, groups, codes, spans = numbers[order], groups[order], labels.codes[order], spans[order]
    read = np.append(True, numbers[1:] != numbers[:-1])
    starts = read | np.append(True, (spans[1:] != spans[:-1]).any(axis=1))
    distinct = [int(number) for number in numbers[read]]
    inputs = _inputs(collector, distinct)
    in_spans = labels.form == "spans"
    if isinstance(inputs, Pairs) and in_spans:
        inputs = Spans(inputs, np.column_stack([np.cumsum(read) - 1, spans])[starts])

    parts = [groups, codes] if len(task.inputs) == 1 else [groups, codes, numbers]
    parts += [spans] if in_spans else []
    content = b"".join(array.tobytes() for array in (*parts, *_label_arrays(labels)))
    repo = source.repo
    if not repo.revision:
        repo = replace(repo, revision=f"local-{_digest(content)[:16]}")
    identity = [
        *(repo.revision, source.config, source.split, task.id, sorted(layout.columns.items())),
        *(options.sampling, options.references, options.seed, options.max_samples, options.prompt, labels.texts),
        *(labels.form, options.box_format),
    ]
    skipped = collector.skipped + unlabelled
    n_groups = len(np.unique(groups))
    return Sample(
        dataset=source.name,
        repo=repo,
        config=source.config,
        split=source.split,
        task=task,
        columns=dict(layout.columns),
        inputs=inputs,
        input_of_row=np.cumsum(starts) - 1,
        label_texts=labels.texts,
        codes=codes,
        groups=groups,
        skipped=skipped,
        total_rows=total,
        notes=(*notes, *sample_notes(collector, labels, len(distinct), n_groups, skipped, total)),
        fingerprint=_digest(content + json.dumps(identity, ensure_ascii=False).encode("utf-8", "surrogatepass")),
        inputs_fingerprint=_digest(b"".join(array[starts].tobytes() for array in (numbers, *parts[3:]))),
        mixtures=labels.mixtures,
        label_numbers=labels.numbers,
        form=labels.form,
        available=_available(collector, len(distinct) if in_spans else len(numbers), skipped, total),
    )


def _rows(collector: Collector, notes: list[str]) -> tuple[np.ndarray, np.ndarray, Labels]:
    """The input of each row, uint64 (N,), the span of it, int64 (N, 2), zeros where it is all of it, and the labels."""
    task, options = collector.layout.task, collector.options
    in_spans = span_rows(collector, notes)
    if in_spans is not None:
        return in_spans.numbers, in_spans.spans, in_spans.labels
    numbers = np.array([number for number, _ in collector.rows], dtype=np.uint64)
    whole = np.zeros((len(numbers), 2), dtype=np.int64)
    if task.numbers is None:
        return numbers, whole, text_labels(task, [raws for _, raws in collector.rows], options, notes)
    raws = [raws[0] for _, raws in collector.rows]
    return numbers, whole, number_labels(task, raws, options.label_form, notes)


def _available(collector: Collector, used: int, skipped: int, total: int | None) -> int | None:
    """The most rows that a sample can have, as far as can be told without reading all of the split."""
    if not collector.full:
        return used
    # A row of the split makes at most one of the sample, but for lists of inputs and separate texts.
    several = collector.layout.spread or collector.options.references == "all"
    return None if several or total is None else total - skipped


def _digest(content: bytes) -> str:
    """32 hex digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _inputs(collector: Collector, distinct: Sequence[int]) -> Sequence[Any]:
    """The contents of the inputs, in their order; each distinct part once."""
    hashes = np.array([collector.inputs[number] for number in distinct], dtype=np.uint64)
    held = []
    places = []
    for column, contents in zip(hashes.T, collector.parts, strict=True):
        unique, place = np.unique(column, return_inverse=True)
        part = [contents[int(number)] for number in unique]
        held.append(Images(part) if isinstance(part[0], bytes) else part)
        places.append(place)
    if len(held) == 1:
        return held[0]  # sorted by their hash, as the rows are
    return Pairs(held[0], held[1], np.stack(places, axis=1).astype(np.int64))


def _label_arrays(labels: Labels) -> list[np.ndarray]:
    mixtures = labels.mixtures
    arrays = [] if mixtures is None else [mixtures.labels, mixtures.texts, mixtures.weights]
    return arrays if labels.numbers is None else [*arrays, labels.numbers]


def _check_labels(labels: Labels, collector: Collector) -> None:
    layout, task = collector.layout, collector.layout.task
    column, n_rows = layout.columns[task.label.name], len(collector.rows)
    if task.numbers is not None and labels.form != "numbers" and len(labels.texts) < 2:
        raise EmmsError(
            f"in words every {task.label.name} of the sample is the same: {labels.texts[0]!r}",
            "--label-form numbers, or draw more rows (--max-samples)",
        )
    if len(np.unique(labels.codes)) < 2:
        raise EmmsError(
            f"every row of the sample has the same {task.label.name} in column {column!r}: {labels.texts[0]!r}",
            f"a ranking needs at least two; draw more rows (--max-samples) or name {column_flag(task.label.name)}",
        )
    single = task.categorical and labels.mixtures is None
    if (
        single
        and layout.kinds[layout.label_columns[0]] not in ("class", "classes")
        and len(labels.texts) == n_rows >= 20
    ):
        raise EmmsError(
            f"column {column!r} holds {n_rows} different values in {n_rows} rows: it is no class",
            f"name the column of the class: {column_flag(task.label.name)}",
        )
