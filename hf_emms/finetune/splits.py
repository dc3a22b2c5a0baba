"""Disjoint splits for the training, validation and test of fine-tuning."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from hf_emms.data import DatasetSource, Sample, load_sample, open_dataset
from hf_emms.errors import EmmsError, Note
from hf_emms.finetune.jackknife import Measurement, measure
from hf_emms.finetune.recipe import head_of
from hf_emms.formatting import pluralize
from hf_emms.heads import LabeledSplit, Metric
from hf_emms.options import CLASS_FORMS, SampleOptions
from hf_emms.scoring.arrays import assign_folds
from hf_emms.tasks import Task

# Part of the cache key of every run: raise it if the splits of the same options change.
SPLITS_VERSION = 1

_VALIDATION = ("validation", "valid", "val", "dev")
_TEST = ("test", "testdev")
# Which of every 20 groups become validation and test rows.
_TURNS, _VALIDATION_TURNS, _TEST_TURNS = 20, (4, 10, 16), (2, 7, 12, 17)
# The maximum rows of an evaluation: enough for a standard error below half a point.
_MAX_EVALUATED = 10_000
_MIN_ROWS = 2
# If a larger share of a split's rows has groups of another split, the split is not used.
_MAX_SHARED = 0.5


@dataclass(frozen=True)
class Splits:
    """The rows for training, validation and test, the same for all checkpoints.

    Validation rows choose the learning rates, the end of a run and the best checkpoint. Test rows choose nothing.
    """

    task: Task
    train: LabeledSplit
    validation: LabeledSplit
    test: LabeledSplit
    revision: str
    notes: tuple[Note, ...]
    fingerprint: str

    @property
    def training_rows(self) -> int:
        """The number of rows per epoch. A row counts once for each of its target texts."""
        return head_of(self.task).count_rows(self.train)

    @cached_property
    def baselines(self) -> dict[str, tuple[str, Measurement]]:
        """Map "validation" and "test" to the name and the score of the baseline; empty if the head has none."""
        head, baselines = head_of(self.task), dict[str, tuple[str, Measurement]]()
        for name, part in (("validation", self.validation), ("test", self.test)):
            baseline = head.baseline(self.train, part)
            if baseline is not None:
                metric = head.metrics(self.train.references)[0]
                baselines[name] = baseline.name, measure_part(metric, baseline.predictions, part, name)
        return baselines

    @property
    def parts(self) -> dict[str, LabeledSplit]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def sizes(self) -> dict[str, str]:
        """Return the number of rows of each split, and which split of the dataset they come from."""
        return {name: part.in_words for name, part in self.parts.items()}

    def with_images_in_memory(self) -> Splits:
        """Return the same rows, with images that are decoded once for all checkpoints with the same processor."""
        from hf_emms.inputs.image import PixelCache, with_pixel_cache

        cache = PixelCache()
        train, validation, test = (
            replace(part, inputs=with_pixel_cache(part.inputs, cache))
            for part in (self.train, self.validation, self.test)
        )
        return replace(self, train=train, validation=validation, test=test)


def measure_part(metric: Metric, predictions: Sequence[Any], part: LabeledSplit, name: str) -> Measurement:
    """Measure predictions on the validation or test rows, with a standard error."""
    return measure(metric, predictions, part.references, part.groups, **({"max_rows": 0} if name != "test" else {}))


def load_splits(
    options: SampleOptions,
    source: DatasetSource | None = None,
    *,
    max_rows: int | None = None,
) -> Splits:
    """Return the splits for fine-tuning, with at most `max_rows` rows each.

    A missing validation or test split is held out of the ranked split, by group. Training rows whose group is also in
    another split are left out, and in searches documents that are relevant to queries of another split.

    Raises:
        EmmsError: A split cannot be read, the dataset has too few rows, or its task has no head.
    """
    limit = max_rows or (options.max_samples if options.streaming else None)
    reading = SampleOptions(  # without the settings for label embeddings
        options.dataset,
        task=options.task,
        config=options.config,
        split=options.split,
        columns=options.columns,
        max_samples=limit,
        corpus_size=options.corpus_size,
        sampling="proportional",
        label_form=options.label_form if options.label_form in CLASS_FORMS else None,
        label_separator=options.label_separator,
        box_format=options.box_format,
        group_column=options.group_column,
        streaming=options.streaming,
        seed=options.seed,
    )
    source = source or open_dataset(reading)
    sample = load_sample(reading, source, training=True)
    # Read the other splits in the same way.
    reading = replace(reading, task=sample.task.id, columns=sample.columns)
    head, several = head_of(sample.task), sample.has_several_texts
    train, notes = head.label(sample, several=several), list[Note]()
    evaluated: dict[str, LabeledSplit] = {}
    for name, split in _evaluation_splits(sample).items():
        reading = replace(reading, split=split, max_samples=min(limit or _MAX_EVALUATED, _MAX_EVALUATED))
        try:
            evaluated[name] = head.label(load_sample(reading, source, training=True), several=several)
            shared = np.isin(train.groups, evaluated[name].groups).mean()
            if options.group_column is not None and shared > _MAX_SHARED:
                del evaluated[name]
                notes.append(_unused(split, name, f"{train.split} has the same {options.group_column}s"))
        except EmmsError as error:
            if error.__cause__ is not None:  # the network or a file failed: a held-out test would not be comparable
                message = f"the split {split} cannot be read: {error.message}"
                raise EmmsError(error.code, message, error.hint) from error
            notes.append(_unused(split, name, error.message))
    if "validation" in evaluated and "test" not in evaluated:
        # The dataset's authors held out these rows, which makes them the better test.
        evaluated["test"] = evaluated.pop("validation")
    notes += _take_test_rows_out_of_validation(evaluated)
    parts = _hold_out(train, evaluated, options.seed)
    n_rows, evaluated_parts = head.count_rows(parts["train"]), (parts["validation"], parts["test"])
    parts["train"] = head.leave_out_shared(parts["train"], evaluated_parts)
    if n_shared := n_rows - head.count_rows(parts["train"]):
        shared = f"training leaves out {n_shared:,} of {n_rows:,} rows, whose documents answer held-out queries"
        notes.append(Note("documents-shared", shared))
    parts["validation"] = head.reduce_validation(parts["validation"])
    for name, part in parts.items():
        if len(part) < _MIN_ROWS:
            raise EmmsError(
                "few-rows",
                f"{sample.dataset!r} has {pluralize(len(sample), 'row')}, of which {len(part)} would be for {name}"
                + "; the others share documents with held-out queries" * (name == "train" and n_shared > 0),
                "choose a dataset or a split with more rows",
            )
    fingerprint = _fingerprint(parts)
    return Splits(sample.task, **parts, revision=sample.repo.revision, notes=tuple(notes), fingerprint=fingerprint)


def _unused(split: str, purpose: str, reason: str) -> Note:
    return Note("split-not-used", f"split {split} is not used for {purpose}: {reason}")


def _evaluation_splits(sample: Sample) -> dict[str, str]:
    """Return which of the dataset's splits to use for validation and for test."""
    splits = {}
    for purpose, usual_names in (("validation", _VALIDATION), ("test", _TEST)):
        name = next((name for name in usual_names if name in sample.splits and name != sample.split), None)
        if name is not None:
            splits[purpose] = name
    return splits


def _take_test_rows_out_of_validation(evaluated: dict[str, LabeledSplit]) -> list[Note]:
    """Drop validation rows that share a group with test rows."""
    if len(evaluated) < 2:
        return []
    validation, test = evaluated["validation"], evaluated["test"]
    is_shared = np.isin(validation.groups, test.groups)
    if is_shared.mean() > _MAX_SHARED:
        del evaluated["validation"]
        return [_unused(validation.split, "validation", f"split {test.split} has the same rows")]
    if is_shared.any():
        evaluated["validation"] = validation.take(np.flatnonzero(~is_shared))
    return []


def _hold_out(train: LabeledSplit, evaluated: dict[str, LabeledSplit], seed: int) -> dict[str, LabeledSplit]:
    """Return all three splits. Missing ones are taken from the training rows by group."""
    if evaluated:
        taken = np.concatenate([part.groups for part in evaluated.values()])
        train = train.take(np.flatnonzero(~np.isin(train.groups, taken)))
    groups, first, group_of_row = np.unique(train.groups, return_index=True, return_inverse=True)
    # Groups are in a seeded order, and sorted by class if rows have one, so that each split has each class if possible.
    order = assign_folds(groups, 2**15 - 1, seed).astype(np.int64)
    are_classes = all(isinstance(reference, str) for reference in train.references)
    classes = np.unique([train.references[row] for row in first], return_inverse=True)[1] if are_classes else order
    turn = np.empty(len(groups), np.int64)
    turn[np.lexsort((groups, order, classes))] = np.arange(len(groups)) % _TURNS
    sizes = np.bincount(group_of_row)
    parts, left = dict(evaluated), np.full(len(groups), True)
    for name, turns in (("validation", _VALIDATION_TURNS), ("test", _TEST_TURNS)):
        if name not in evaluated:
            chosen = np.flatnonzero(np.isin(turn, turns))
            chosen = chosen[np.argsort(order[chosen], kind="stable")]
            chosen = chosen[np.cumsum(sizes[chosen]) <= _MAX_EVALUATED]
            left[chosen] = False
            rows = np.flatnonzero(np.isin(group_of_row, chosen))
            parts[name] = replace(train.take(rows), held_out=True)
    return {**parts, "train": train.take(np.flatnonzero(left[group_of_row]))}


def _fingerprint(parts: dict[str, LabeledSplit]) -> str:
    digest = hashlib.blake2b(f"{SPLITS_VERSION}".encode(), digest_size=16)
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {part.inputs_fingerprint}".encode())
        digest.update(part.input_of_row.tobytes() + part.groups.tobytes())
        digest.update(repr(part.references).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
