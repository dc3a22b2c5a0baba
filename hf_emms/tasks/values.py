"""What tasks share whose label is one number: how it is measured, encoded and learnt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_emms.tasks.metrics import R2, SPEARMAN
from hf_emms.tasks.task import Head, HeadSpec, NumericLabels, rbf_features

_BUMPS = 8
# Squares of larger values overflow.
_MAX_VALUE = 1e100


def _measure(raw: Any, size: tuple[int, int] | None) -> tuple[float, ...]:
    value = float(raw)
    if not abs(value) < _MAX_VALUE:
        raise ValueError(f"the label is {value:g}")
    return (value,)


def _encode(values: np.ndarray) -> np.ndarray:
    # From 0 to 1: large numbers that differ little would be one number in float32.
    places = (values - values.min()) / (np.ptp(values) or 1.0)
    return np.hstack([places, rbf_features(places[:, 0], np.linspace(0, 1, _BUMPS))]).astype(np.float32)


VALUES = NumericLabels(_measure, _encode, describe=lambda values: f"{values[0]:.4g}")


def value_head(auto_class: str, epochs: int = 5) -> Head:
    """Fine-tuning on a number a row."""
    return Head("row", auto_class, lambda references: (R2, SPEARMAN), value_spec, epochs=epochs)


def value_spec(references: Sequence[float]) -> HeadSpec:
    """A number a row, trained with the mean and deviation of training rows removed."""
    import torch
    from torch.nn.functional import mse_loss

    mean, scale = float(np.mean(references)), float(np.std(references)) or 1.0
    return HeadSpec(
        1,
        labels=lambda values: torch.tensor([(value - mean) / scale for value in values], dtype=torch.float32),
        loss=lambda outputs, labels: mse_loss(outputs[:, 0], labels),
        predictions=lambda outputs: (outputs[:, 0].astype(np.float64) * scale + mean).tolist(),
        config={"num_labels": 1, "problem_type": "regression"},
        removed=(mean, scale),
        references=[-1.0, 1.0],  # values as they are: without their mean 0 and their deviation 1
    )
