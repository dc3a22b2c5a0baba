"""What a model's outputs mean for a task: labels to train on, a loss, and answers to score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from hf_emms.finetune.splits import Part, Splits

# What a loss leaves out: the label of an answer that no training row has, which can only be missed.
IGNORED = -100


@dataclass(frozen=True)
class Outputs:
    """One answer a row from the outputs of one linear layer.

    Attributes:
        count: how many, C.
        labels: a part to the labels of its rows, (n, …).
        loss: outputs, float32 (b, C), and labels (b, …) to the mean loss.
        answers: outputs, float32 (n, C), to one answer a row, as in `Part.answers`.
        config: what a class of transformers with such a head is told.
        scale: the mean and deviation that outputs are trained to have removed; None where they are answers already.
    """

    count: int
    labels: Callable[[Part], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    answers: Callable[[np.ndarray], list[Any]]
    config: dict[str, Any] = field(default_factory=dict)
    scale: tuple[float, float] | None = None


def outputs_of(splits: Splits) -> Outputs:
    """What outputs mean for a task whose answers are classes, several classes a row, or numbers."""
    answer = splits.train.answers[0]
    if isinstance(answer, float):
        return _value(splits.train)
    if isinstance(answer, str):
        return _class(splits.train)
    return _classes(splits.train)


def _class(train: Part) -> Outputs:
    """One class a row."""
    classes = sorted(set(train.answers))
    number_of = {name: number for number, name in enumerate(classes)}
    return Outputs(
        len(classes),
        lambda part: torch.tensor([number_of.get(answer, IGNORED) for answer in part.answers]),
        lambda outputs, labels: cross_entropy(outputs, labels, ignore_index=IGNORED),
        lambda outputs: [classes[number] for number in outputs.argmax(1)],
        _named(classes, "single_label_classification"),
    )


def _classes(train: Part) -> Outputs:
    """Several classes a row, or none."""
    classes = sorted({name for answer in train.answers for name in answer})
    number_of = {name: number for number, name in enumerate(classes)}

    def labels(part: Part) -> Tensor:
        hot = torch.zeros(len(part), len(classes))
        for row, names in enumerate(part.answers):
            hot[row, [number_of[name] for name in names if name in number_of]] = 1
        return hot

    return Outputs(
        len(classes),
        labels,
        binary_cross_entropy_with_logits,
        lambda outputs: [tuple(classes[number] for number in np.flatnonzero(row > 0)) for row in outputs],
        _named(classes, "multi_label_classification"),
    )


def _value(train: Part) -> Outputs:
    """A number a row, trained with the mean and deviation of training rows removed."""
    mean, scale = float(np.mean(train.answers)), float(np.std(train.answers)) or 1.0
    return Outputs(
        1,
        lambda part: torch.tensor([(answer - mean) / scale for answer in part.answers], dtype=torch.float32),
        lambda outputs, labels: mse_loss(outputs[:, 0], labels),
        lambda outputs: (outputs[:, 0].astype(np.float64) * scale + mean).tolist(),
        {"num_labels": 1, "problem_type": "regression"},
        scale=(mean, scale),
    )


def _named(classes: list[str], problem_type: str) -> dict[str, Any]:
    return {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
        "problem_type": problem_type,
    }
