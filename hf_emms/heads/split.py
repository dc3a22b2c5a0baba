"""Rows with reference answers, and predictions without a checkpoint, which fine-tuning has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_emms.formatting import pluralize
from hf_emms.heads.metrics import Metric

if TYPE_CHECKING:
    from hf_emms.features.device import Inputs
    from hf_emms.inputs.modality import BatchReader

# The label that losses ignore: padding, tokens that do not start a word, classes without a training row.
IGNORED = -100
# The most rules of baselines that are compared, and about the most training rows for comparing them.
MAX_BASELINES, _MAX_ROWS = 10, 500

LabeledSample = Any
"""A `data.Sample`. The package `data` is above this one, so it cannot be imported here."""


@dataclass(frozen=True)
class LabeledSplit:
    """Rows of a sample with reference answers.

    Attributes:
        split: The name of the dataset's split that contains them.
        held_out: Whether the rest of that split is used for training.
        inputs: The distinct inputs.
        input_hashes: See `Sample`.
        input_of_row: int64 (n,), the input of each row.
        references: N reference answers in the form that the task's head uses, such as a class, a number or tags.
        groups: uint64 (n,). Rows of a group are never in two splits.
        inputs_fingerprint: Hash of the inputs.
        label_order: Classes in the dataset's order, or empty if the dataset has no order.
    """

    split: str
    held_out: bool
    inputs: Sequence[Any]
    input_hashes: np.ndarray
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
        """Combine the rows of a sample, or other rows that a head makes of them, with n reference answers."""
        return cls(
            sample.split,
            held_out=False,
            inputs=sample.inputs if inputs is None else inputs,
            input_hashes=sample.input_hashes,
            input_of_row=sample.input_of_row if input_of_row is None else input_of_row,
            references=tuple(references),
            groups=sample.groups if groups is None else groups,
            inputs_fingerprint=sample.inputs_fingerprint,
            label_order=sample.label_order,
        )

    @classmethod
    def of_inputs(cls, inputs: Sequence[Any], references: Sequence[Any]) -> LabeledSplit:
        """Return n inputs to predict, with references that have no answer."""
        numbers = np.arange(len(inputs))
        ids = numbers.astype(np.uint64)
        return cls("", False, inputs, ids[:, None], numbers, tuple(references), ids, "")

    def __len__(self) -> int:
        return len(self.references)

    def classes(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the distinct names in the dataset's order, then the names that it does not order, sorted."""
        present = set(names)
        ordered = [name for name in self.label_order if name in present]
        return (*ordered, *sorted(present.difference(ordered)))

    @property
    def in_words(self) -> str:
        return f"{pluralize(len(self), 'row')}, {'held out of ' * self.held_out}split {self.split}"

    def take(self, rows: np.ndarray) -> LabeledSplit:
        return replace(
            self,
            input_of_row=self.input_of_row[rows],
            references=tuple(self.references[row] for row in rows),
            groups=self.groups[rows],
        )


class BatchedRows:
    """The dataset for `Trainer`. An item is the dataset and a row number, and `collate` reads items in batches.

    Args:
        read: Function from row numbers to the model's inputs.
        labels: Argument name of the model → labels of all rows, (n, …); empty for rows to predict.
        count: The number of rows.
        max_batch: The most rows that fit into memory together; None without a limit.
    """

    def __init__(self, read: BatchReader, labels: Inputs, count: int, max_batch: int | None = None) -> None:
        self.read, self._labels, self._count = read, labels, count
        self.max_batch = max_batch

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> tuple[BatchedRows, int]:
        return self, row

    def batch(self, rows: np.ndarray) -> Inputs:
        """Return the tensors of b rows, (b, …) each, by the names of the model's arguments."""
        return {**self.read(rows), **{name: labels[rows] for name, labels in self._labels.items()}}


def collate(items: Sequence[tuple[BatchedRows, int]]) -> Inputs:
    """Return a batch of items of a dataset."""
    (rows, _), *_ = items
    return rows.batch(np.array([number for _, number in items]))


# ---- baselines -------------------------------------------------------------------------------------------------------


class ConstantBaseline(NamedTuple):
    """Predictions for n rows by a rule, which `name` describes."""

    name: str
    predictions: Sequence[Any]


Rule = Callable[[LabeledSplit], Sequence[Any]]
"""Makes n predictions for a split without using its reference answers."""


def for_all_rows(prediction: Any) -> Rule:
    return lambda split: [prediction] * len(split)


def best_baseline(
    name: str, metric: Metric, rules: Iterable[Rule], train: LabeledSplit, split: LabeledSplit
) -> ConstantBaseline:
    """Predict a split by the rule with the best score on training rows; the first one wins ties."""
    part = train.take(np.arange(0, len(train), -(-len(train) // _MAX_ROWS)))
    best = max(rules, key=lambda rule: metric.compute(rule(part), part.references))
    return ConstantBaseline(name, best(split))
