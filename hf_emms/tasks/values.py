"""Labels that are numbers, for several tasks."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_emms.tasks.task import NumericLabels, rbf_features

_BUMPS = 8
# Squares of larger values overflow.
_MAX_VALUE = 1e100


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
