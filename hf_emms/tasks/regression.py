"""Texts and a number each."""

import math
from typing import Any

import numpy as np

from hf_emms.tasks.base import Numbers, Role, Task
from hf_emms.tasks.smooth import bumps
from hf_emms.tasks.text import clean_caption

_BUMPS = 8


def _measure(raw: Any, size: tuple[int, int] | None) -> tuple[float, ...]:
    value = float(raw)
    if not math.isfinite(value):
        raise ValueError(f"the label is {value}")
    return (value,)


def _encode(values: np.ndarray) -> np.ndarray:
    column = values[:, 0]
    centers = np.linspace(column.min(), column.max(), _BUMPS)
    return np.hstack([values, bumps(column, centers)]).astype(np.float32)


REGRESSION = Task(
    id="text-regression",
    modality="text",
    inputs=(Role("text", ("text", "sentence", "content", "gloss", "review", "document", "essay"), ("string",)),),
    label=Role(
        "label",
        ("score", "value", "rating", "stars", "label", "target"),
        ("float", "integer"),
    ),
    categorical=False,
    label_text=clean_caption,
    aliases=("regression",),
    sources=("text-classification", "fill-mask", "feature-extraction", "sentence-similarity"),
    numbers=Numbers(_measure, _encode, describe=lambda values: f"{values[0]:.4g}"),
    form="numbers",
)
