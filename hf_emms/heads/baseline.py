"""Predictions without a checkpoint, which fine-tuning has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from hf_emms.heads.metrics import Metric
from hf_emms.heads.split import LabeledSplit

# The most rules that are compared, and about the most training rows for comparing them.
MAX_BASELINES, _MAX_ROWS = 10, 500


class ConstantBaseline(NamedTuple):
    """Predictions for n rows by a rule, which `name` describes."""

    name: str
    predictions: Sequence[Any]


Rule = Callable[[LabeledSplit], Sequence[Any]]
"""Makes n predictions for a split without using its reference answers."""


def for_all_rows(prediction: Any) -> Rule:
    return lambda split: [prediction] * len(split)


def mean_baseline(train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
    """Predict the mean of the training rows' numbers for all rows."""
    return ConstantBaseline("the mean of the training rows", [float(np.mean(train.references))] * len(split))


def best_baseline(
    name: str, metric: Metric, rules: Iterable[Rule], train: LabeledSplit, split: LabeledSplit
) -> ConstantBaseline:
    """Predict a split by the rule with the best score on training rows; the first one wins ties."""
    part = train.take(np.arange(0, len(train), -(-len(train) // _MAX_ROWS)))
    best = max(rules, key=lambda rule: metric.compute(rule(part), part.references))
    return ConstantBaseline(name, best(split))
