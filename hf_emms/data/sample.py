"""The sample of a dataset that checkpoints are ranked on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_emms.errors import Note
from hf_emms.hub import Repo
from hf_emms.inputs import Spans, hash64
from hf_emms.options import LabelForm
from hf_emms.ranking.reading import Reading
from hf_emms.tasks import Task


@dataclass(frozen=True)
class SoftLabels:
    """Labels as weighted means of texts: text ``texts[i]`` has the weight ``weights[i]`` in label ``labels[i]``.

    Attributes:
        labels: int64, shape (E,).
        texts: int64, shape (E,).
        weights: float32, shape (E,); they sum to 1 for each label.
        count: Number U of labels.
    """

    labels: np.ndarray
    texts: np.ndarray
    weights: np.ndarray
    count: int

    def mean_of(self, embedded: np.ndarray) -> np.ndarray:
        """Return the label embeddings, float32 (U, D2), from the embeddings of texts, float32 (T, D2)."""
        means = np.zeros((self.count, embedded.shape[1]), dtype=np.float32)
        np.add.at(means, self.labels, embedded[self.texts] * self.weights[:, None])
        return means


@dataclass(frozen=True)
class Sample:
    """The sample that checkpoints are ranked on.

    Rows and inputs are in the order of their content's hash, so the order of files does not matter.

    Attributes:
        dataset: The dataset as the user typed it.
        repo: The repository at its pinned revision.
        columns: The task's column → the dataset's, as in `SampleOptions.columns`.
        inputs: The M distinct inputs: strings, `Images`, `Pairs` or `Spans`. For a search, a `SearchCollection`; its
            relevant documents are the labels.
        input_hashes: uint64, shape (M, C): hashes of the contents of each input's columns. Of `Spans`, these are the
            inputs that contain them, and of a search the queries.
        input_of_row: int64, shape (N,): index of each row's input.
        label_texts: The T distinct label texts, sorted.
        codes: int64, shape (N,): index of each row's label among the U distinct labels.
        groups: uint64, shape (N,): hash of the content whose rows share a fold, see `Task.group_by`.
        skipped: Number of dataset rows without a usable input or label.
        fingerprint: 32 hex digits, a hash of the complete sample.
        inputs_fingerprint: 32 hex digits, a hash of the inputs. Other labels of the same inputs need no new features.
        soft_labels: Each label as a mean of texts; None if label u is text u.
        label_numbers: float32, shape (U, D2): label embeddings of numbers; None for labels that are texts.
        label_values: float64, shape (U, P): the numbers themselves, see `tasks.task.NumericLabels`.
        form: Form of the label embeddings: "text", "numbers" or "both"; "spans" if rows are spans of inputs.
        available: The largest possible sample of the split; None if the number is unknown.
        unused_columns: The dataset's columns that were not read.
        no_class: Label text of multi-label rows without a class; None if all rows have a class.
        splits: Names of all splits.
        label_order: Label texts in the dataset's own order of classes; empty if it has none.
        reading: The preview of how the dataset was read.
    """

    dataset: str
    repo: Repo
    config: str | None
    split: str
    task: Task
    columns: dict[str, str]
    inputs: Sequence[Any]
    input_hashes: np.ndarray
    input_of_row: np.ndarray
    label_texts: tuple[str, ...]
    codes: np.ndarray
    groups: np.ndarray
    skipped: int
    notes: tuple[Note, ...]
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
        """Number of inputs that a checkpoint reads; it reads the spans of an input together."""
        return len(self.inputs.inputs if isinstance(self.inputs, Spans) else self.inputs)

    @property
    def largest_group(self) -> float:
        """The share of the rows in the largest group, which stays in one fold."""
        return float(np.unique(self.groups, return_counts=True)[1].max() / len(self.groups))

    @property
    def numbers_name(self) -> str:
        """Name of the label embeddings that are computed from numbers, without an encoder."""
        return f"{self.task.label.name} (numbers)"

    def label_embeddings(self, embedded: np.ndarray) -> np.ndarray:
        """Return the label embeddings, (U, D2), from the embeddings of texts, (T, D2)."""
        return embedded if self.soft_labels is None else self.soft_labels.mean_of(embedded)

    @property
    def has_several_texts(self) -> bool:
        """Whether a label may be the mean of multiple texts."""
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
        """Return the texts of a label."""
        soft = self.soft_labels
        if soft is None:
            return [self.label_texts[label]]
        first, last = np.searchsorted(soft.labels, (label, label + 1))
        return [self.label_texts[text] for text in soft.texts[first:last].tolist()]


def pinned(repo: Repo, content: bytes) -> Repo:
    """Return the repository of a sample; without a revision, it gets a hash of the sample's content."""
    return repo if repo.revision else replace(repo, revision=f"local-{hash64(content):016x}")


def digest(content: bytes) -> str:
    """Return a hash of bytes: 32 hex digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
