"""What a model's outputs mean for a task: labels to train on, a loss, and answers to score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, l1_loss, mse_loss

from hf_emms.finetune.splits import Part, Splits
from hf_emms.finetune.task_scores import AGREEING

# What a loss leaves out: the label of an answer that no training row has, which can only be missed.
IGNORED = -100
# Answers that a classifier of answers chooses from: as many as those of VQA v2 (arXiv 1708.02711).
MAX_ANSWERS = 3_129
_BOX_HIDDEN = 64


@dataclass(frozen=True)
class Outputs:
    """One answer a row from the outputs of one head.

    Attributes:
        count: how many, C.
        labels: a part to the labels of its rows, (n, …).
        loss: outputs, float32 (b, C), and labels (b, …) to the mean loss.
        answers: outputs, float32 (n, C), to one answer a row, as in `Part.answers`.
        config: what a class of transformers with such a head is given.
        hidden: the width of a layer before the last one; None where a head of ours is linear.
        removed: mean and deviation of the answers, which training takes out of them; None where it does not.
    """

    count: int
    labels: Callable[[Part], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    answers: Callable[[np.ndarray], list[Any]]
    config: dict[str, Any] = field(default_factory=dict)
    hidden: int | None = None
    removed: tuple[float, float] | None = None


def outputs_of(splits: Splits) -> Outputs:
    """What outputs mean for a task whose answers are classes, numbers, boxes or known answers."""
    if splits.task.id == "visual-question-answering":
        return _known_answer(splits.train)
    if splits.task.id == "referring-expression":
        return _box()
    answer = splits.train.answers[0]
    if isinstance(answer, float):
        return _value(splits.train)
    return _class(splits.train) if isinstance(answer, str) else _classes(splits.train)


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
    return Outputs(
        len(classes),
        lambda part: _weights([[(name, 1.0) for name in answer] for answer in part.answers], classes),
        binary_cross_entropy_with_logits,
        lambda outputs: [tuple(classes[number] for number in np.flatnonzero(row > 0)) for row in outputs],
        _named(classes, "multi_label_classification"),
    )


def _known_answer(train: Part) -> Outputs:
    """One of the frequent answers of training rows, each as right as annotators gave it."""
    counts: Counter[str] = Counter()
    for answer in train.answers:
        for text, weight in answer:
            counts[text] += weight
    known = sorted(text for text, _ in counts.most_common(MAX_ANSWERS))

    def labels(part: Part) -> Tensor:
        rows = [[(text, min(1.0, weight / AGREEING)) for text, weight in answer] for answer in part.answers]
        return _weights(rows, known)

    return Outputs(
        len(known),
        labels,
        # Summed over answers, as ViLT does it: a mean over thousands of wrong ones would hardly move.
        lambda outputs, labels: binary_cross_entropy_with_logits(outputs, labels) * labels.shape[1],
        lambda outputs: [known[number] for number in outputs.argmax(1)],
        {name: value for name, value in _named(known, "").items() if name != "problem_type"},
    )


def _box() -> Outputs:
    """Centre, width and height as parts of the picture; L1 and generalised IoU as in DETR (arXiv 2005.12872)."""

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        from torchvision.ops import box_convert, generalized_box_iou_loss

        found = outputs.sigmoid()
        overlap = generalized_box_iou_loss(*(box_convert(one, "cxcywh", "xyxy") for one in (found, labels)), "mean")
        return 5 * l1_loss(found, labels) + 2 * overlap

    return Outputs(
        4,
        lambda part: torch.tensor(part.answers, dtype=torch.float32),
        loss,
        lambda outputs: [tuple(row) for row in (1 / (1 + np.exp(-outputs.astype(np.float64)))).tolist()],
        hidden=_BOX_HIDDEN,
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
        removed=(mean, scale),
    )


def _weights(rows: Sequence[Sequence[tuple[str, float]]], names: list[str]) -> Tensor:
    """float32 (n, C): the weight of each name in each row."""
    number_of = {name: number for number, name in enumerate(names)}
    weights = torch.zeros(len(rows), len(names))
    for row, found in enumerate(rows):
        for name, weight in found:
            if name in number_of:
                weights[row, number_of[name]] = weight
    return weights


def _named(classes: list[str], problem_type: str) -> dict[str, Any]:
    return {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
        "problem_type": problem_type,
    }
