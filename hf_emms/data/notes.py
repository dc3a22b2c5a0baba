"""What a user should know of a sample, in words."""

from __future__ import annotations

import numpy as np

from hf_emms.data.collect import Collector
from hf_emms.data.labels import Labels
from hf_emms.data.span_rows import OTHERS
from hf_emms.words import counted

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
        shape = counted(labels.numbers.shape[1], "column")
        notes.append(f"the {task.label.name} is an F-label of {shape}" + (" and a text" * (labels.form == "both")))
    if layout.kinds[layout.label_columns[0]] in ("integer", "integers") and task.categorical:
        notes.append("labels are numbers without names; names would make better label texts")
    if skipped:
        first = f" (the first one: {collector.example})" if collector.example else ""
        notes.append(f"{counted(skipped, 'row')} left out{first}")
    return notes


def _of_classes(collector: Collector, labels: Labels, total: int | None) -> list[str]:
    of_total = f" of {total:,}" if total else ""
    rows = len(labels.codes)
    if labels.mixtures is not None:
        count = sum(len(set(raws)) for _, raws in collector.rows) / rows
        return [f"{rows:,}{of_total} rows, {len(labels.texts)} classes, {count:.1f} a row: F-labels are their means"]
    counts = np.bincount(labels.codes)
    how = collector.request.sampling or "balanced"
    fewest, most = int(np.min(counts)), int(np.max(counts))
    spread = counted(most, "row") if fewest == most else f"{fewest} to {counted(most, 'row')}"
    notes = [f"{rows:,}{of_total} rows, {how}: {len(counts)} classes of {spread}"]
    if np.median(counts) < _FEW:
        notes.append(f"most classes have fewer than {_FEW} rows: draw more with --max-samples")
    return notes


def _of_spans(collector: Collector, labels: Labels, n_inputs: int, n_groups: int) -> list[str]:
    task = collector.layout.task
    label, asked, context = task.label.name, task.inputs[0].name, task.spans_of
    notes = [
        f"{counted(len(labels.codes), 'span')} of {counted(n_groups, str(context))}, for {counted(n_inputs, asked)}: "
        f"the {label} and {OTHERS} others of as many words, where there is room"
    ]
    left = len(collector.inputs) - n_inputs
    if left:
        notes.append(f"{asked}s left out, because no {label} stands in their {context}: {left:,}")
    return notes


def _of_inputs(collector: Collector, labels: Labels, n_inputs: int, n_groups: int) -> str:
    task = collector.layout.task
    of_pictures = task.group is None and task.modality == "image"
    inputs = counted(n_inputs, "picture" if of_pictures else "text")
    if len(task.inputs) > 1:
        inputs = f"{counted(n_inputs, 'pair')} of {task.inputs[0].name} and {task.inputs[1].name}"
    shared = f", {counted(n_groups, task.group)}" if task.group else ""
    label = "caption" if task.id == "image-to-text" else task.label.name
    several = labels.mixtures is not None or len(collector.rows) > n_inputs or collector.request.references != "mean"
    kept = _KEPT[collector.request.references].format(label=label) if several and task.numbers is None else ""
    return f"{counted(len(labels.codes), 'row')} from {inputs}{shared}" + (f": {kept}" if kept else "")
