"""Turns a collected sample into a target: labels, codes, canonical order, notes, fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hf_emms.data.collect import Collector
from hf_emms.data.labels import Labels, number_labels, text_labels
from hf_emms.data.notes import sample_notes
from hf_emms.data.source import Source
from hf_emms.data.span_rows import span_rows
from hf_emms.data.target import Images, Pairs, Spans, Target
from hf_emms.errors import EmmsError
from hf_emms.tasks import column_flag


def assemble(source: Source, collector: Collector, unlabelled: int, total: int | None) -> Target:
    """Builds the target from the rows that were read.

    Raises:
        EmmsError: fewer than two distinct labels, or labels that are no classes.
    """
    layout, request, task = collector.layout, collector.request, collector.layout.task
    notes = list(source.notes)
    numbers, spans, labels = _rows(collector, notes)
    _check_labels(labels, collector)

    shared = [role.name for role in task.inputs].index(task.group or task.input.name)
    groups = np.array([collector.inputs[number][shared] for number in numbers.tolist()], dtype=np.uint64)
    # The order of content: the same sample is the same target in whatever order its files came.
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
        *(request.sampling, request.references, request.seed, request.max_samples, request.prompt, labels.texts),
        *(labels.form, request.box_format),
    ]
    skipped = collector.skipped + unlabelled
    n_groups = len(np.unique(groups))
    return Target(
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
    task, request = collector.layout.task, collector.request
    in_spans = span_rows(collector, notes)
    if in_spans is not None:
        return in_spans.numbers, in_spans.spans, in_spans.labels
    numbers = np.array([number for number, _ in collector.rows], dtype=np.uint64)
    whole = np.zeros((len(numbers), 2), dtype=np.int64)
    if task.numbers is None:
        return numbers, whole, text_labels(task, [raws for _, raws in collector.rows], request, notes)
    raws = [raws[0] for _, raws in collector.rows]
    return numbers, whole, number_labels(task, raws, request.label_form, notes)


def _available(collector: Collector, used: int, skipped: int, total: int | None) -> int | None:
    """The most rows that a sample can have, as far as can be told without reading all of the split."""
    if not collector.full:
        return used
    # A row of the split makes at most one of the sample, but for lists of inputs and separate texts.
    several = collector.layout.spread or collector.request.references == "all"
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
