"""What the outputs of heads mean that several tasks share: one class a row, or several. PyTorch loads on use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.tasks.metrics import (
    ACCURACY,
    BYTE_LIKELIHOOD,
    CHRF,
    FINAL_ANSWERS,
    MACRO_F1,
    MICRO_F1,
    has_final_answer,
)
from hf_emms.tasks.task import Head, HeadSpec, Metric

if TYPE_CHECKING:
    from torch import Tensor

# What `cross_entropy` leaves out: the label of a class that no training row has, which can only be missed.
_IGNORED = -100


def class_metrics(references: Sequence[Any]) -> tuple[Metric, ...]:
    """Of one class a row, or of several: those are tuples."""
    return (MICRO_F1, MACRO_F1, ACCURACY) if isinstance(references[0], tuple) else (ACCURACY, MACRO_F1)


def class_spec(references: Sequence[Any]) -> HeadSpec:
    """One output for each class of the training rows."""
    return _several_classes(references) if isinstance(references[0], tuple) else _one_class(references)


def _one_class(references: Sequence[str]) -> HeadSpec:
    import torch
    from torch.nn.functional import cross_entropy

    classes = sorted(set(references))
    number_of = {name: number for number, name in enumerate(classes)}
    return HeadSpec(
        len(classes),
        labels=lambda names: torch.tensor([number_of.get(name, _IGNORED) for name in names]),
        loss=lambda outputs, labels: cross_entropy(outputs, labels, ignore_index=_IGNORED),
        predictions=lambda outputs: [classes[number] for number in outputs.argmax(1)],
        config={**class_config(classes), "problem_type": "single_label_classification"},
        references=classes,
    )


def _several_classes(references: Sequence[tuple[str, ...]]) -> HeadSpec:
    from torch.nn.functional import binary_cross_entropy_with_logits

    classes = sorted({name for names in references for name in names})
    return HeadSpec(
        len(classes),
        labels=lambda rows: weight_table([[(name, 1.0) for name in names] for names in rows], classes),
        loss=binary_cross_entropy_with_logits,
        predictions=lambda outputs: [tuple(classes[number] for number in np.flatnonzero(row > 0)) for row in outputs],
        config={**class_config(classes), "problem_type": "multi_label_classification"},
        references=[classes],
    )


def weight_table(rows: Sequence[Sequence[tuple[str, float]]], names: Sequence[str]) -> Tensor:
    """float32 (n, C): the weight of each of C names in each of n rows; other names are left out."""
    import torch

    number_of = {name: number for number, name in enumerate(names)}
    weights = torch.zeros(len(rows), len(names))
    for row, weighted in enumerate(rows):
        for name, weight in weighted:
            if name in number_of:
                weights[row, number_of[name]] = weight
    return weights


def class_config(classes: Sequence[str]) -> dict[str, Any]:
    """How the configurations of transformers name classes."""
    return {
        "num_labels": len(classes),
        "id2label": dict(enumerate(classes)),
        "label2id": {name: number for number, name in enumerate(classes)},
    }


def response_head(*measures: Metric) -> Head:
    """A head for responses, which also measures what is written by some metrics of the task."""
    return Head("response", None, partial(_response_metrics, measures=measures), epochs=3, batch_size=8)


def _response_metrics(references: Sequence[Any], measures: tuple[Metric, ...]) -> tuple[Metric, ...]:
    """What responses cost, and chrF of what is written; of worked answers the share of right final ones, too."""
    are_worked = all(has_final_answer(text) for texts in references for text, _ in texts)
    return (BYTE_LIKELIHOOD, CHRF, *measures, *((FINAL_ANSWERS,) if are_worked else ()))
