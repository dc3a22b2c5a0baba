"""Texts and images with a number each, such as a rating or an age."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hf_emms.heads import NumberHead
from hf_emms.inputs import IMAGE, TEXT, UnusableError
from hf_emms.tasks.task import IMAGE_COLUMN, Column, NumericLabels, Task, clean_caption, join_sentences, rbf_features

_BUMPS = 8
# Squares of larger values overflow.
_MAX_VALUE = 1e100


# Numbers as people write them: "4,5" and "83 %".
_NUMBER = re.compile(r"\s*([-+]?\d+)(?:[.,](\d+))?\s*%?\s*")


def number_in(cell: Any) -> Any:
    """Return the number in a text such as "4,5" or "83 %"; other values unchanged.

    Raises:
        UnusableError: The text is not a number.
    """
    if not isinstance(cell, str):
        return cell
    match = _NUMBER.fullmatch(cell)
    if match is None:
        raise UnusableError(f"the label {cell!r:.40} is not a number")
    return float(f"{match[1]}.{match[2] or 0}")


def _measure(raw: Any, size: tuple[int, int] | None) -> tuple[float, ...]:
    value = float(raw)
    if not abs(value) < _MAX_VALUE:
        raise ValueError(f"the label is {value:g}")
    return (value,)


def _encode(values: np.ndarray) -> np.ndarray:
    # Scaled to 0 to 1, because large numbers that differ little are equal in float32.
    places = (values - values.min()) / (np.ptp(values) or 1.0)
    return np.hstack([places, rbf_features(places[:, 0], np.linspace(0, 1, _BUMPS))]).astype(np.float32)


def _describe(values: tuple[float, ...]) -> str:
    return f"{values[0]:.4g}"


# Worker processes get tasks, so none of their functions is a lambda.
VALUES = NumericLabels(_measure, _encode, _describe)

REGRESSION = Task(
    id="text-regression",
    input=TEXT,
    inputs=(
        Column(
            "text",
            ("text", "sentence", "content", "gloss", "review", "document", "essay"),
            ("string", "strings"),
            TEXT,
            clean=join_sentences,
            is_list=True,
        ),
    ),
    label=Column(
        "label",
        ("score", "value", "rating", "stars", "label", "target"),
        ("float", "integer"),
        clean=number_in,
        converted=("string",),
    ),
    categorical=False,
    label_text=clean_caption,
    head=NumberHead("AutoModelForSequenceClassification"),
    aliases=("sentiment-scoring", "text-scoring"),
    source_tags=("text-classification", "fill-mask", "feature-extraction", "sentence-similarity"),
    numbers=VALUES,
    label_form="numbers",
)

IMAGE_REGRESSION = Task(
    id="image-regression",
    input=IMAGE,
    inputs=(IMAGE_COLUMN,),
    label=REGRESSION.label,
    categorical=False,
    label_text=str,
    head=NumberHead("AutoModelForImageClassification", epochs=10),
    # The Hub has no task of this name.
    hub_tags=("image-feature-extraction",),
    source_tags=("image-classification",),
    numbers=VALUES,
    label_form="numbers",
)
