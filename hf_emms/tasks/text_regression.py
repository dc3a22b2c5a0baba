"""Texts and a number each."""

import math
from typing import Any

import numpy as np

from hf_emms.inputs import TEXT
from hf_emms.tasks.task import Column, NumericLabels, Task, clean_caption, rbf_features

_BUMPS = 8


def _measure(raw: Any, size: tuple[int, int] | None) -> tuple[float, ...]:
    value = float(raw)
    if not math.isfinite(value):
        raise ValueError(f"the label is {value}")
    return (value,)


def _encode(values: np.ndarray) -> np.ndarray:
    # From 0 to 1: large numbers that differ little would be one number in float32.
    places = (values - values.min()) / (np.ptp(values) or 1.0)
    return np.hstack([places, rbf_features(places[:, 0], np.linspace(0, 1, _BUMPS))]).astype(np.float32)


REGRESSION = Task(
    id="text-regression",
    input=TEXT,
    inputs=(
        Column("text", ("text", "sentence", "content", "gloss", "review", "document", "essay"), ("string",), TEXT),
    ),
    label=Column(
        "label",
        ("score", "value", "rating", "stars", "label", "target"),
        ("float", "integer"),
    ),
    categorical=False,
    label_text=clean_caption,
    aliases=("regression",),
    source_tags=("text-classification", "fill-mask", "feature-extraction", "sentence-similarity"),
    numbers=NumericLabels(_measure, _encode, describe=lambda values: f"{values[0]:.4g}"),
    label_form="numbers",
)
