"""Rows with their right answers, as networks are trained and measured on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hf_emms.errors import pluralize

if TYPE_CHECKING:
    from hf_emms.features.device import Inputs
    from hf_emms.inputs.modality import BatchReader

# Losses leave out what has this label: padding, tokens that begin no word, classes that no training row has.
IGNORED = -100


class LabeledSample(Protocol):
    """The fields of a `data.Sample` that heads read."""

    @property
    def dataset(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def total_rows(self) -> int | None: ...
    @property
    def inputs(self) -> Sequence[Any]: ...
    @property
    def inputs_fingerprint(self) -> str: ...
    @property
    def input_of_row(self) -> np.ndarray: ...
    @property
    def groups(self) -> np.ndarray: ...
    @property
    def codes(self) -> np.ndarray: ...
    @property
    def label_texts(self) -> tuple[str, ...]: ...
    @property
    def label_values(self) -> np.ndarray | None: ...
    @property
    def label_order(self) -> tuple[str, ...]: ...
    @property
    def no_class(self) -> str | None: ...
    @property
    def has_several_texts(self) -> bool: ...
    @property
    def weighted_texts(self) -> list[tuple[tuple[str, float], ...]]: ...


@dataclass(frozen=True)
class LabeledSplit:
    """Rows with their right answers; their inputs are those of a sample.

    Attributes:
        split: the dataset's split that they are from.
        held_out: whether they were taken out of it for an evaluation, so that the rest can be trained on.
        whole: whether they are all of its rows.
        references: n right answers, as the task's head has them: a class, a number, texts with their weights, tags.
        groups: uint64, shape (n,): rows of a group are never in two splits.
        label_order: classes in the dataset's order; empty where it has none.
    """

    split: str
    held_out: bool
    whole: bool
    inputs: Sequence[Any]
    input_of_row: np.ndarray
    references: tuple[Any, ...]
    groups: np.ndarray
    inputs_fingerprint: str
    label_order: tuple[str, ...] = ()

    @classmethod
    def from_sample(
        cls,
        sample: LabeledSample,
        references: Sequence[Any],
        inputs: Sequence[Any] | None = None,
        input_of_row: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> LabeledSplit:
        """Return the rows of a sample, or others that a head makes of them, with n right answers."""
        return cls(
            sample.split,
            held_out=False,
            whole=len(references) == sample.total_rows,
            inputs=sample.inputs if inputs is None else inputs,
            input_of_row=sample.input_of_row if input_of_row is None else input_of_row,
            references=tuple(references),
            groups=sample.groups if groups is None else groups,
            inputs_fingerprint=sample.inputs_fingerprint,
            label_order=sample.label_order,
        )

    @classmethod
    def of_inputs(cls, inputs: Sequence[Any], references: Sequence[Any]) -> LabeledSplit:
        """Return n inputs, a row each, to predict; their references hold no answer."""
        numbers = np.arange(len(inputs))
        return cls("", False, True, inputs, numbers, tuple(references), numbers.astype(np.uint64), "")

    def __len__(self) -> int:
        return len(self.references)

    def classes(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the distinct names of classes in the dataset's order; those that it does not order sorted behind."""
        present = set(names)
        ordered = [name for name in self.label_order if name in present]
        return (*ordered, *sorted(present.difference(ordered)))

    @property
    def in_words(self) -> str:
        return f"{pluralize(len(self), 'row')}, {'held out of ' * self.held_out}split {self.split}"

    def take(self, rows: np.ndarray) -> LabeledSplit:
        return replace(
            self,
            whole=self.whole and len(rows) == len(self),
            input_of_row=self.input_of_row[rows],
            references=tuple(self.references[row] for row in rows),
            groups=self.groups[rows],
        )


class LabeledRows:
    """Rows for `Trainer`: an item is this object and a row's number, which `collate` makes batches of.

    The labels of all rows, (n, …) each, are by the names of the model's arguments; there are none for rows to predict.

    Attributes:
        max_batch: the most rows that memory holds together; None where nothing limits them.
    """

    def __init__(self, read: BatchReader, labels: Inputs, count: int, max_batch: int | None = None) -> None:
        self._read, self._labels, self._count = read, labels, count
        self.max_batch = max_batch

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> tuple[LabeledRows, int]:
        return self, row

    def batch(self, rows: np.ndarray) -> Inputs:
        """Return the tensors of b rows, (b, …) each, by the names of the model's arguments."""
        return {**self._read(rows), **{name: labels[rows] for name, labels in self._labels.items()}}


def collate(items: Sequence[tuple[LabeledRows, int]]) -> Inputs:
    """Return a batch of items of a split."""
    (rows, _), *_ = items
    return rows.batch(np.array([number for _, number in items]))
