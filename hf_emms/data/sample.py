"""The sample of a dataset that checkpoints are ranked on, made from the drawn rows and their labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any

import msgspec
import numpy as np

from hf_emms.cache import Cache, Key, cache_key
from hf_emms.data.files.open_split import OpenSplit
from hf_emms.data.files.sources import DatasetSource
from hf_emms.data.labels import Labels, SoftLabels
from hf_emms.data.rows import NO_CLASS, DrawnRows, value_of
from hf_emms.errors import EmmsError, Note, pluralize, setting_ref
from hf_emms.hub import Repo
from hf_emms.inputs import Modality, Pairs, SearchCollection, Spans, hash64
from hf_emms.options import LabelForm, SampleOptions
from hf_emms.options.registry import installed_versions, plugin_versions
from hf_emms.ranking.reading import ColumnReading, Reading, class_counts, shortened
from hf_emms.tasks import Task, get_task, use_column

# Part of the key of every stored sample: raise it when the same options would draw another sample.
SAMPLE_VERSION = 14

_FEW = 5
# Enough rows and classes where the dataset says that labels are classes.
_MANY = 20
_REFERENCES = {
    "all": "a row for each {label}",
    "first": "the first {label} of each",
    "one-per-image": "one {label} of each",
    "majority": "the most frequent {label} of each",
    "mean": "the mean of every {label} of each",
}
# Fields of a stored sample that are neither arrays nor plain values.
_RECORDS = ("dataset", "repo", "task", "inputs", "soft_labels", "reading")
_SOFT = "soft:"


@dataclass(frozen=True)
class Sample:
    """The sample that checkpoints are ranked on.

    Rows and inputs are in the order of their content's hash, so that the order of files does not matter.

    Attributes:
        dataset: as the user typed it.
        repo: the repository at its pinned state.
        columns: the task's column → the dataset's, several joined by commas: as `SampleOptions.columns` takes them.
        unused_columns: the dataset's columns that were not read.
        no_class: the label text of rows that have no class of several; None where every row has a class.
        inputs: the M distinct inputs: strings, `Images`, `Pairs`, or `Spans`; of a search a `SearchCollection`, whose
            relevant documents are the labels of its queries.
        input_of_row: int64, shape (N,): the input of each row.
        label_texts: the T distinct label texts, sorted.
        label_order: those that are classes of the dataset in its own order; empty where it has none.
        reading: how the dataset was read, for users.
        codes: int64, shape (N,): the number of each row's label among the U distinct labels.
        groups: uint64, shape (N,): hash of the content whose rows share a fold, see `Task.group_by`.
        skipped: dataset rows left out because they could not be read or lack a label.
        total_rows: rows of the split; None where a stream does not have the number.
        fingerprint: 32 hex digits of a hash of the whole sample.
        inputs_fingerprint: 32 hex digits over the inputs alone: other labels of the same inputs need no new features.
        soft_labels: the texts whose mean each label is; None where label u is text u.
        label_numbers: float32, shape (U, D2): a further F-label, for labels that are numbers.
        label_values: float64, shape (U, P): those numbers as they were measured, see `tasks.task.NumericLabels`.
        form: of the F-labels: "text", "numbers" or "both"; "spans" where rows are items of the task, spans of an input.
        available: the most rows that a sample of the split can have, N where this sample is all of it (for items, the
            inputs); None where the number is unknown.
    """

    dataset: str
    repo: Repo
    config: str | None
    split: str
    task: Task
    columns: dict[str, str]
    inputs: Sequence[Any]
    input_of_row: np.ndarray
    label_texts: tuple[str, ...]
    codes: np.ndarray
    groups: np.ndarray
    skipped: int
    total_rows: int | None
    notes: tuple[Note | str, ...]
    fingerprint: str
    inputs_fingerprint: str
    soft_labels: SoftLabels | None = None
    label_numbers: np.ndarray | None = None
    label_values: np.ndarray | None = None
    form: LabelForm = "text"
    available: int | None = None
    unused_columns: tuple[str, ...] = ()
    no_class: str | None = None
    splits: tuple[str, ...] = ()
    label_order: tuple[str, ...] = ()
    reading: Reading | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def categorical(self) -> bool:
        return (self.task.categorical or self.form == "spans") and self.soft_labels is None

    @property
    def n_read(self) -> int:
        """How many inputs a checkpoint reads: spans of an input are read together."""
        return len(self.inputs.inputs if isinstance(self.inputs, Spans) else self.inputs)

    @property
    def numbers_name(self) -> str:
        """The name of the F-label of numbers among those of the encoders."""
        return f"{self.task.label.name} (numbers)"

    def label_embeddings(self, embedded: np.ndarray) -> np.ndarray:
        """Return the embeddings of the labels, (U, D2), from those of the texts, (T, D2)."""
        return embedded if self.soft_labels is None else self.soft_labels.mean_of(embedded)

    @property
    def has_several_texts(self) -> bool:
        """Whether a label may be the mean of several texts."""
        return self.soft_labels is not None

    @property
    def weighted_texts(self) -> list[tuple[tuple[str, float], ...]]:
        """The texts of each of the U labels, with their weights."""
        soft = self.soft_labels
        if soft is None:
            return [((text, 1.0),) for text in self.label_texts]
        weighted: list[list[tuple[str, float]]] = [[] for _ in range(soft.count)]
        for label, text, weight in zip(soft.labels.tolist(), soft.texts.tolist(), soft.weights.tolist(), strict=True):
            weighted[label].append((self.label_texts[text], weight))
        return list(map(tuple, weighted))

    def texts_of(self, label: int) -> list[str]:
        """Return the texts whose mean a label is."""
        soft = self.soft_labels
        if soft is None:
            return [self.label_texts[label]]
        first, last = np.searchsorted(soft.labels, (label, label + 1))
        return [self.label_texts[text] for text in soft.texts[first:last].tolist()]


def assemble(split: OpenSplit, drawn: DrawnRows, labels: Labels) -> Sample:
    """Return the sample of the drawn rows: inputs and rows in the order of their content, notes and fingerprints."""
    _check_labels(drawn, labels)
    schema, options, task = drawn.schema, drawn.options, drawn.schema.task
    grouped_by = [column.name for column in task.inputs].index(task.group_by or task.inputs[0].name)
    drawn_inputs = [drawn.inputs[input] for input in labels.inputs.tolist()]
    by_column = schema.group_column is not None
    group_of_row = [drawn.group if by_column else drawn.hashes[grouped_by] for drawn in drawn_inputs]
    groups = np.array(group_of_row, dtype=np.uint64)
    spans = labels.spans if labels.spans is not None else np.zeros_like(labels.codes)[:, None]
    order = np.lexsort((labels.codes, *reversed(spans.T), labels.inputs, groups))
    hashes, groups, codes, spans = labels.inputs[order], groups[order], labels.codes[order], spans[order]
    # Whether a row's input or its span differs from that of the row before.
    new_input = np.append(True, hashes[1:] != hashes[:-1])
    new_span = new_input | np.diff(spans, axis=0, prepend=spans[:1]).any(axis=1)
    inputs = _collect(drawn, hashes[new_input].tolist())
    n_inputs = len(inputs)
    if labels.spans is not None:
        inputs = Spans(inputs, np.column_stack([np.cumsum(new_input) - 1, spans])[new_span])

    hashed_spans = [] if labels.spans is None else [spans]
    soft, hashed_inputs = labels.soft, [] if np.array_equal(hashes, groups) else [hashes]
    of_labels = [] if soft is None else [soft.labels, soft.texts, soft.weights]
    of_labels += [] if labels.numbers is None else [labels.numbers]
    content = b"".join(array.tobytes() for array in (groups, codes, *hashed_inputs, *hashed_spans, *of_labels))
    repo = pinned(split.repo, content)
    identity = [
        *(repo.revision, split.config, split.split, task.id, sorted(schema.columns.items())),
        *(options.sampling, options.references, options.seed, options.max_samples, options.prompt, labels.texts),
        *(labels.form, options.box_format),
    ]
    skipped, total = drawn.skipped + drawn.set_aside + drawn.unlabelled, split.total
    usable = len(drawn.inputs) if task.counts_items else n_inputs
    # A row of the split makes at most a row of the sample, but for lists of inputs and separate texts.
    makes_several = bool(schema.list_columns) or options.references == "all"
    most = None if makes_several or total is None else total - skipped
    return Sample(
        dataset=split.name,
        repo=repo,
        config=split.config,
        split=split.split,
        task=task,
        columns=dict(schema.columns),
        inputs=inputs,
        input_of_row=np.cumsum(new_span) - 1,
        label_texts=labels.texts,
        codes=codes,
        groups=groups,
        skipped=skipped,
        total_rows=total,
        notes=(
            *split.notes,
            *schema.notes,
            *drawn.notes,
            *labels.notes,
            *_notes(drawn, labels, n_inputs, len(np.unique(groups)), skipped, total),
        ),
        fingerprint=digest(content + json.dumps(identity).encode()),
        inputs_fingerprint=digest(b"".join(array[new_span].tobytes() for array in (hashes, *hashed_spans))),
        soft_labels=soft,
        label_numbers=labels.numbers,
        label_values=labels.values,
        form=labels.form,
        available=most if drawn.is_full else (usable if labels.spans is not None else len(codes)),
        unused_columns=schema.unused,
        no_class=NO_CLASS if schema.flag_names is not None and NO_CLASS not in schema.flag_names else None,
        splits=split.splits,
        label_order=labels.order,
        reading=_reading(split, drawn, labels, skipped),
    )


def _reading(split: OpenSplit, drawn: DrawnRows, labels: Labels, skipped: int) -> Reading:
    schema, task = drawn.schema, drawn.schema.task
    columns = []
    for role, column in schema.columns.items():
        example = _example(value_of(drawn.first, column)) if drawn.first is not None else ""
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
        unused=schema.unused,
        skipped=skipped,
        reasons=tuple(drawn.reasons),
    )


def _label_content(drawn: DrawnRows, labels: Labels) -> dict[str, Any]:
    """Return the classes of a label with their counts, or the range of its values."""
    counts = drawn.class_counts
    if drawn.schema.task.counts_items:
        counts = {labels.texts[code]: int(times) for code, times in enumerate(np.bincount(labels.codes))}
    if counts:
        return {"n_classes": len(counts), "classes": class_counts(counts)}
    if labels.values is not None and labels.values.shape[1] == 1:
        return {"low": float(labels.values.min()), "high": float(labels.values.max())}
    return {}


def _example(cell: Any) -> str:
    """Return a cell in a few words: a text in quotes, the name of a file."""
    if isinstance(cell, str):
        return shortened(cell)
    if isinstance(cell, bytes):
        return f"{len(cell):,} bytes"
    if isinstance(cell, Mapping) and "bytes" in cell:
        return PurePath(cell["path"]).name if cell.get("path") else _example(cell["bytes"])
    if isinstance(cell, Mapping):
        return _example(" ".join(str(value) for value in cell.values()))
    if isinstance(cell, list):
        texts = [_example(each).strip('"') for each in cell[:_FEW]]
        return shortened(", ".join(texts))
    return "" if cell is None else str(cell)


def _collect(drawn: DrawnRows, hashes: Sequence[int]) -> Sequence[Any]:
    """Return the contents of inputs in this order; inputs of several parts have each distinct content once."""
    task = drawn.schema.task
    if len(task.inputs) == 1:
        contents = drawn.contents[0]
        return task.inputs[0].kind.collect([contents[drawn.inputs[hash].hashes[0]] for hash in hashes])
    parts: list[Sequence[Any]] = []
    numbers = []
    hashes_by_column = np.array([drawn.inputs[hash].hashes for hash in hashes], np.uint64).T
    for column, of_column, contents in zip(task.inputs, hashes_by_column, drawn.contents, strict=True):
        unique, number = np.unique(of_column, return_inverse=True)
        parts.append(column.kind.collect([contents[int(hash)] for hash in unique]))
        numbers.append(number)
    return Pairs(parts[0], parts[1], np.stack(numbers, axis=1).astype(np.int64))


def _check_labels(drawn: DrawnRows, labels: Labels) -> None:
    schema, task, column = drawn.schema, drawn.schema.task, drawn.schema.label_column
    if task.numbers is not None and labels.form != "numbers" and len(labels.texts) == 1:
        raise EmmsError(
            f"in words every {task.label.name} of the sample is the same: {labels.texts[0]!r}",
            setting_ref("label_form", "numbers") + ", or draw more rows: " + setting_ref("max_samples", ...),
        )
    if len(np.unique(labels.codes)) == 1:
        raise EmmsError(
            f"every row of the sample has the same {task.label.name} in column {column!r}: {labels.texts[0]!r}",
            "a ranking needs at least two; draw more rows ("
            + setting_ref("max_samples")
            + ") or name "
            + use_column(task.label.name),
        )
    n_rows = len(labels.codes)  # a row of the dataset may have many, as a sentence with its words has
    are_classes = len(labels.texts) < n_rows or (schema.label_type in ("class", "classes") and n_rows >= _MANY)
    if task.categorical and labels.soft is None and not are_classes:
        raise EmmsError(
            f"no class has two rows: column {column!r} holds {n_rows} different values in {pluralize(n_rows, 'row')}",
            "draw more rows ("
            + setting_ref("max_samples")
            + "), or name the column of the class: "
            + use_column(task.label.name),
        )


def pinned(repo: Repo, content: bytes) -> Repo:
    """Return the repository of a sample; its revision is a hash of the sample's content where it has no other."""
    return repo if repo.revision else replace(repo, revision=f"local-{hash64(content):016x}")


def digest(content: bytes) -> str:
    """Return 32 hex digits of a hash."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


# ---- notes -----------------------------------------------------------------------------------------------------------


def _notes(
    drawn: DrawnRows, labels: Labels, n_inputs: int, n_groups: int, skipped: int, total: int | None
) -> list[str]:
    """Return notes on rows, texts and omissions; the notes on items are the task's."""
    schema, task, label = drawn.schema, drawn.schema.task, drawn.schema.task.label.name
    notes: list[str] = []
    if task.instruction is not None:
        asked = task.instruction(schema.columns).text
        notes.append(f"decoders read {asked!r} behind each {task.inputs[0].name}, T5 before it")
    if labels.spans is None:
        notes += (
            _notes_on_classes(drawn, labels, total)
            if task.categorical
            else [_note_on_inputs(drawn, labels, n_inputs, n_groups)]
        )
        empty = sum(raws == [task.no_label_text] for _, raws in drawn.rows)
        if empty:
            notes.append(f"rows without {label}: {empty}; their label text is {task.no_label_text!r}")
    if drawn.normalized:
        notes.append(f"every {label} is read as fractions of its image, not as pixels")
    if labels.numbers is not None:
        columns = pluralize(labels.numbers.shape[1], "column")
        notes.append(f"the {label} is an F-label of {columns}" + (" and a text" * (labels.form == "both")))
    unnamed_flags = schema.flag_names is not None and all(name.isdigit() for name in schema.flag_names)
    are_truths = {"False", "True"}.issuperset(labels.texts)
    are_ids = schema.label_type in ("integer", "integers") or {"0", "1"}.issuperset(labels.texts)
    unnamed_ids = schema.flag_names is None and are_ids and not are_truths and not schema.words
    if task.categorical and (unnamed_flags or unnamed_ids):
        notes.append("labels are numbers without names; names would make better label texts")
    if skipped:
        more = "; …" if skipped > len(drawn.reasons) else ""
        reasons = f" ({'; '.join(drawn.reasons)}{more})" if drawn.reasons else ""
        notes.append(f"{pluralize(skipped, 'row')} left out{reasons}")
    return notes


def _notes_on_classes(drawn: DrawnRows, labels: Labels, total: int | None) -> list[str]:
    n_rows = len(labels.codes)
    rows = f"{n_rows:,} of {total:,} rows" if total else f"{n_rows:,} rows"
    if labels.soft is not None:
        mean = sum(len(set(raws)) for _, raws in drawn.rows) / n_rows
        return [f"{rows}, {len(labels.texts)} classes, {mean:.1f} a row: F-labels are their means"]
    counts = np.bincount(labels.codes)
    fewest, most = int(np.min(counts)), int(np.max(counts))
    sizes = pluralize(most, "row") if fewest == most else f"{fewest} to {pluralize(most, 'row')}"
    notes = [f"{rows}, {drawn.options.sampling or 'balanced'}: {len(counts)} classes of {sizes}"]
    if np.median(counts) < _FEW:
        notes.append(f"most classes have fewer than {_FEW} rows: draw more with {setting_ref('max_samples')}")
    return notes


def _note_on_inputs(drawn: DrawnRows, labels: Labels, n_inputs: int, n_groups: int) -> str:
    task, references = drawn.schema.task, drawn.options.references
    inputs = pluralize(n_inputs, task.input.singular)
    if len(task.inputs) > 1:
        inputs = f"{pluralize(n_inputs, 'pair')} of {task.inputs[0].name} and {task.inputs[1].name}"
    groups = f", {pluralize(n_groups, task.group_by)}" if task.group_by else ""
    note = f"{pluralize(len(labels.codes), 'row')} from {inputs}{groups}"
    several = labels.soft is not None or len(drawn.rows) > n_inputs or references != "mean"
    if not several or task.numbers is not None:
        return note
    return f"{note}: {_REFERENCES[references].format(label=task.label_noun or task.label.name)}"


# ---- stored samples of streams ---------------------------------------------------------------------------------------


def sample_key(source: DatasetSource, options: SampleOptions, *, training: bool = False) -> Key:
    """Return the cache key of a sample."""
    preset = source.preset
    return cache_key(
        "samples",
        source.repo.id,
        source.repo.revision,
        options.in_keys(),
        # The version of another package decides how its task cleans labels.
        versions=installed_versions("datasets") | plugin_versions(),
        code=SAMPLE_VERSION,
        dataset=source.name,
        config=source.config,
        split=source.split(options),
        training=training,
        preset={"columns": dict(preset.columns), "words": dict(preset.words)} if preset else None,
    )


def store_sample(
    cache: Cache | None, source: DatasetSource, options: SampleOptions, sample: Sample, *, training: bool = False
) -> None:
    """Store the sample of a stream: the next run needs no network. Other samples are drawn anew from their files."""
    if cache is None or not source.is_streamed(options):
        return
    values = {field.name: getattr(sample, field.name) for field in fields(Sample) if field.name not in _RECORDS}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    facts = {name: value for name, value in values.items() if name not in arrays}
    facts |= {"task": sample.task.id, "repo": [sample.repo.id, sample.repo.revision], "reading": sample.reading}
    inputs = sample.inputs
    if isinstance(inputs, Spans):
        arrays["bounds"], inputs = inputs.bounds, inputs.inputs
    parts: tuple[Sequence[Any], ...] = (inputs,)
    if isinstance(inputs, Pairs):
        arrays["parts"], parts = inputs.parts, (inputs.firsts, inputs.seconds)
    if isinstance(inputs, SearchCollection):
        arrays["judgements"], parts = inputs.judgements, (inputs.queries, inputs.documents)
    for number, (kind, part) in enumerate(zip(_stored_kinds(sample.task), parts, strict=True)):
        contents = kind.contents(part)
        arrays[f"contents_{number}"] = np.frombuffer(b"".join(contents), np.uint8)
        arrays[f"ends_{number}"] = np.cumsum([len(content) for content in contents], dtype=np.int64)
    if sample.soft_labels is not None:
        arrays |= {_SOFT + name: np.asarray(value) for name, value in vars(sample.soft_labels).items()}
    arrays["facts"] = np.frombuffer(msgspec.json.encode(facts), np.uint8)
    cache.put(sample_key(source, options, training=training), arrays)


def _stored_kinds(task: Task) -> list[Modality]:
    """Return the kinds of the contents that are stored: of the inputs' parts, or of queries and of documents."""
    kinds = [column.kind for column in task.inputs]
    return [*kinds, task.label.kind] if task.input.is_collection else kinds


def stored_sample(
    cache: Cache | None, source: DatasetSource, options: SampleOptions, *, training: bool = False
) -> Sample | None:
    """Return the sample of a stream that was stored for the same options, or None."""
    if cache is None or not source.is_streamed(options):
        return None
    return cache.get(sample_key(source, options, training=training), lambda stored: _unpack(source, stored))


def _unpack(source: DatasetSource, stored: Mapping[str, np.ndarray]) -> Sample:
    facts = msgspec.json.decode(stored["facts"].tobytes())
    task = get_task(facts.pop("task"))
    id, revision = facts.pop("repo")
    reading = msgspec.convert(facts.pop("reading"), Reading | None)
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
    values["notes"] = tuple(msgspec.convert(note, Note | str) for note in values["notes"])
    values |= {field.name: stored[field.name] for field in fields(Sample) if field.name in stored}
    parts = []
    for number, kind in enumerate(_stored_kinds(task)):
        content, ends = stored[f"contents_{number}"].tobytes(), stored[f"ends_{number}"].tolist()
        pieces = [content[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        parts.append(kind.from_bytes(pieces))
    inputs = Pairs(parts[0], parts[1], stored["parts"]) if "parts" in stored else parts[0]
    if "judgements" in stored:
        inputs = SearchCollection(parts[0], parts[1], stored["judgements"])
    if "bounds" in stored:
        inputs = Spans(inputs, stored["bounds"])
    soft = {name.removeprefix(_SOFT): array for name, array in stored.items() if name.startswith(_SOFT)}
    return Sample(
        dataset=source.name,
        repo=replace(source.repo, revision=revision) if id == source.repo.id else Repo(id, "dataset", revision),
        task=task,
        inputs=inputs,
        soft_labels=SoftLabels(**soft | {"count": soft["count"].item()}) if soft else None,
        reading=reading,
        **values,
    )
