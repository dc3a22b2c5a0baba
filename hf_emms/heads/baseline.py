"""Predictions that need no checkpoint: what fine-tuning has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hf_emms.heads.metrics import Metric
from hf_emms.heads.split import LabeledSplit

# The most predictions that are compared, and about the most training rows that they are compared on.
MAX_BASELINES, _MAX_ROWS = 10, 500


class ConstantBaseline(NamedTuple):
    """Predictions for n rows by a rule, which `name` says in words; metrics compare them with references."""

    name: str
    predictions: Sequence[Any]


Rule = Callable[[LabeledSplit], Sequence[Any]]
"""Returns n predictions for a split, whose right answers it does not look at."""


def for_all_rows(prediction: Any) -> Rule:
    return lambda split: [prediction] * len(split)


def best_baseline(
    name: str, metric: Metric, rules: Iterable[Rule], train: LabeledSplit, split: LabeledSplit
) -> ConstantBaseline:
    """Return the predictions for a split by the rule that scores best on training rows, the first of equal ones."""
    part = train.take(np.arange(0, len(train), -(-len(train) // _MAX_ROWS)))
    best = max(rules, key=lambda rule: metric.compute(rule(part), part.references))
    return ConstantBaseline(name, best(split))
