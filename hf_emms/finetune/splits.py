"""The rows of a fine-tuning: parts for training, validation and test that share no input."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_emms.cache import Cache
from hf_emms.data import Sample, load_sample
from hf_emms.errors import EmmsError
from hf_emms.finetune.recipe import most_rows
from hf_emms.formatting import pluralize
from hf_emms.inputs import Spans
from hf_emms.options import Options
from hf_emms.scoring.arrays import assign_folds
from hf_emms.tasks import Task

# Part of the key of every finished run: raise it when the same options give other parts.
SPLITS_VERSION = 1

_VALIDATION = ("validation", "valid", "val", "dev")
_TEST = ("test", "testdev")
# Of twenty groups in a row, those that become validation and test rows.
_TURNS, _VALIDATION_TURNS, _TEST_TURNS = 20, (4, 10, 16), (2, 7, 12, 17)
# Rows of an evaluation: enough for a standard error below half a point.
_MOST_EVALUATED = 10_000
_FEWEST = 2


@dataclass(frozen=True)
class Part:
    """Rows of one part.

    Attributes:
        source: where they are from, in words.
        inputs: the distinct inputs of the sample that they are from, as in `Sample`.
        input_of_row: int64, shape (n,).
        answers: n right answers: a class, a tuple of classes, a number, texts with their weights, a `Span` or a box.
        groups: uint64, shape (n,): rows of one group share a part.
        inputs_fingerprint: of the sample, see `Sample`.
        whole_split: the dataset's split that these rows are all of, if they are.
    """

    source: str
    inputs: Sequence[Any]
    input_of_row: np.ndarray
    answers: tuple[Any, ...]
    groups: np.ndarray
    inputs_fingerprint: str
    whole_split: str | None = None

    def __len__(self) -> int:
        return len(self.answers)

    def take(self, rows: np.ndarray) -> Part:
        """Some of the rows."""
        answers = tuple(self.answers[row] for row in rows)
        whole = self.whole_split if len(rows) == len(self) else None
        return replace(
            self, input_of_row=self.input_of_row[rows], answers=answers, groups=self.groups[rows], whole_split=whole
        )


@dataclass(frozen=True)
class Span:
    """An answer within the second text of a pair.

    Attributes:
        start: its first character.
        stop: behind its last one.
        text: what they cover.
    """

    start: int
    stop: int
    text: str


@dataclass(frozen=True)
class Splits:
    """What candidates are trained, chosen and tested on: the same rows for all.

    Attributes:
        task: what for.
        train: rows to train on.
        validation: rows that choose learning rates, the end of a run, and the best candidate.
        test: rows whose scores are reported; nothing is chosen by them.
        dataset: as the user named it.
        revision: of the dataset.
        notes: what was chosen or left out.
        fingerprint: 32 hex digits over everything that makes the parts what they are.
    """

    task: Task
    train: Part
    validation: Part
    test: Part
    dataset: str
    revision: str
    notes: tuple[str, ...]
    fingerprint: str

    @property
    def training_rows(self) -> int:
        """Rows of an epoch: of a picture with several captions, each makes one."""
        if self.task.id != "image-to-text":
            return len(self.train)
        return sum(len(captions) for captions in self.train.answers)

    @property
    def in_words(self) -> dict[str, str]:
        """Part → where its rows are from."""
        return {name: f"{pluralize(len(part), 'row')}, {part.source}" for name, part in self.parts.items()}

    @property
    def parts(self) -> dict[str, Part]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def load_splits(options: Options, cache: Cache | None = None) -> Splits:
    """Reads the rows of a fine-tuning.

    A test or validation split that the dataset has is used; what it lacks is split off from the rows that are ranked
    on, by group. Training rows whose group is also in another part are left out.

    Args:
        options: of the ranking; `most_rows` says how many rows are read.
        cache: where samples of streams are looked for and written.

    Raises:
        EmmsError: the dataset cannot be read, or has too few rows.
    """
    wanted = most_rows(options) or (options.max_samples if options.streaming else None)
    options = replace(
        options,
        max_samples=wanted,
        sampling="proportional",
        race=None,
        references="mean",
        prompt=None,
        label_form=None,
        folds=1,
    )
    sample = load_sample(options, cache)
    options = replace(options, task=sample.task.id)
    train, notes = _part(sample), list[str]()
    found: dict[str, Part] = {}
    for name, split in _own_splits(sample).items():
        try:
            own = load_sample(
                replace(options, split=split, max_samples=min(wanted or _MOST_EVALUATED, _MOST_EVALUATED))
            )
        except EmmsError as error:
            notes.append(f"split {split} is not used for {name}: {error.message}")
            continue
        found[name] = _part(own)
    if "validation" in found and "test" not in found:
        # Its rows were held out by the dataset's authors: they are the better test.
        found["test"] = found.pop("validation")
    parts = _split_off(train, found, options.seed)
    _check(parts, sample)
    return Splits(
        sample.task,
        parts["train"],
        parts["validation"],
        parts["test"],
        sample.dataset,
        sample.repo.revision,
        tuple(notes),
        _fingerprint(parts),
    )


def _own_splits(sample: Sample) -> dict[str, str]:
    """Part → the dataset's own split for it, other than the one that is ranked on."""
    others = [name for name in sample.splits if name != sample.split]
    found = {
        "validation": next((name for name in _VALIDATION if name in others), None),
        "test": next((name for name in _TEST if name in others), None),
    }
    return {part: name for part, name in found.items() if name is not None}


def _split_off(train: Part, found: dict[str, Part], seed: int) -> dict[str, Part]:
    """All parts: those found, and the missing ones from the training rows; of these, no group is in another part."""
    taken = np.unique(np.concatenate([part.groups for part in found.values()])) if found else np.array([], np.uint64)
    train = train.take(np.flatnonzero(~np.isin(train.groups, taken)))
    groups, first, group_of_row = np.unique(train.groups, return_index=True, return_inverse=True)
    # Groups in a seeded order, by class where rows have one: every class is in every part as often as it can be.
    order = assign_folds(groups, 2**15 - 1, seed).astype(np.int64)
    of_class = all(isinstance(answer, str) for answer in train.answers)
    classes = np.unique([train.answers[row] for row in first], return_inverse=True)[1] if of_class else order
    turn = np.empty(len(groups), np.int64)
    turn[np.lexsort((groups, order, classes))] = np.arange(len(groups)) % _TURNS
    sizes = np.bincount(group_of_row)
    parts, left = dict(found), np.full(len(groups), True)
    for name, turns in (("validation", _VALIDATION_TURNS), ("test", _TEST_TURNS)):
        if name not in found:
            chosen = np.flatnonzero(np.isin(turn, turns))
            chosen = chosen[np.argsort(order[chosen], kind="stable")]
            chosen = chosen[np.cumsum(sizes[chosen]) <= _MOST_EVALUATED]
            left[chosen] = False
            rows = np.flatnonzero(np.isin(group_of_row, chosen))
            parts[name] = replace(train.take(rows), source=f"held out of {train.source}")
    return {**parts, "train": train.take(np.flatnonzero(left[group_of_row]))}


def _check(parts: dict[str, Part], sample: Sample) -> None:
    for name, part in parts.items():
        if len(part) < _FEWEST:
            raise EmmsError(
                f"{sample.dataset!r} has {pluralize(len(sample), 'row')}, of which {len(part)} would be for {name}",
                "fine-tuning needs more rows",
            )


def _part(sample: Sample) -> Part:
    """The rows of a sample with their right answers; of spans, the pairs that have one."""
    inputs, rows, groups = sample.inputs, sample.input_of_row, sample.groups
    if isinstance(inputs, Spans):
        right = np.flatnonzero(sample.codes == 1)
        bounds, groups = inputs.bounds[rows[right]], groups[right]
        inputs, rows = inputs.inputs, bounds[:, 0]
        texts = [str(inputs[pair][1]) for pair in rows]
        answers = [
            Span(start, stop, text[start:stop])
            for text, (start, stop) in zip(texts, bounds[:, 1:].tolist(), strict=True)
        ]
    else:
        labels = _labels(sample)
        answers = [labels[code] for code in sample.codes.tolist()]
    whole = sample.split if len(answers) == sample.total_rows else None
    return Part(f"split {sample.split}", inputs, rows, tuple(answers), groups, sample.inputs_fingerprint, whole)


def _labels(sample: Sample) -> list[Any]:
    """The right answer of each of the U labels."""
    if sample.label_values is not None:
        values = [tuple(row) for row in sample.label_values.tolist()]
        return [row[0] for row in values] if len(values[0]) == 1 else values
    if sample.soft_labels is None:
        texts: list[Any] = list(sample.label_texts)
        return texts if sample.task.categorical else [((text, 1.0),) for text in texts]
    soft = sample.soft_labels
    labels: list[list[tuple[str, float]]] = [[] for _ in range(soft.count)]
    for label, text, weight in zip(soft.labels.tolist(), soft.texts.tolist(), soft.weights.tolist(), strict=True):
        labels[label].append((sample.label_texts[text], weight))
    if sample.task.categorical:
        return [tuple(text for text, _ in label) for label in labels]
    return [tuple(label) for label in labels]


def _fingerprint(parts: dict[str, Part]) -> str:
    digest = hashlib.blake2b(f"{SPLITS_VERSION}".encode(), digest_size=16)
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {part.inputs_fingerprint}".encode())
        digest.update(part.input_of_row.tobytes() + part.groups.tobytes())
        digest.update(repr(part.answers).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
