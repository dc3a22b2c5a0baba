"""What a training has come to: how sure its score is, whether it helped, and whether its loss has fallen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hf_emms.heads import LabeledSplit, Metric
from hf_emms.ranking.columns import format_measured, metric_title
from hf_emms.scoring.arrays import assign_folds

# A loss has not fallen where it ends above the first share of its start. It has risen where it ends above the second,
# by more than two standard errors.
_FALLEN, _RISEN, _MAX_ERRORS = 0.98, 1.02, 2
_PARTS = 5  # of the losses: the first is compared with the last
# Parts of the test rows, each left out once for the standard error: single rows of a small split, and of a large one
# at least 20, or as many as compute the metric on about 200,000 rows in all.
_MIN_PARTS, _JACKKNIFE_ROWS = 20, 200_000


def standard_error(metric: Metric, predictions: Sequence[Any], references: Sequence[Any], groups: np.ndarray) -> float:
    """Return a metric's standard error over n rows, whose groups, uint64 (n,), stay whole.

    For a share of right answers, where each row is a group, it is the binomial standard error.
    """
    return _jackknife(lambda rows: _score_of(metric, rows, predictions, references), groups)


def _score_of(metric: Metric, rows: Sequence[int], predictions: Sequence[Any], references: Sequence[Any]) -> float:
    return metric.compute([predictions[row] for row in rows], [references[row] for row in rows])


def _jackknife(statistic: Callable[[list[int]], float], groups: np.ndarray) -> float:
    """Return the standard error of a statistic of n rows, by leaving parts of them out, whose groups stay whole."""
    parts = max(_MIN_PARTS, _JACKKNIFE_ROWS // max(1, len(groups)))
    names, part_of = np.unique(groups, return_inverse=True)
    if parts < len(names):
        part_of = assign_folds(groups, parts, 0)
    values = []
    for part in np.unique(part_of):
        rows = np.flatnonzero(part_of != part).tolist()
        if rows:
            values.append(statistic(rows))
    count = len(values)
    return float(np.sqrt((count - 1) * np.var(values))) if count > 1 else 0.0


def has_helped(metric: Metric, before: list[Any], after: list[Any], split: LabeledSplit) -> tuple[bool, str]:
    """Return whether training has raised the score of a split's n predictions, and a note with both scores.

    The best of several epochs is a little higher by chance, so that what is within a standard error does not count.
    """
    references = split.references
    score, untrained = metric.compute(after, references), metric.compute(before, references)

    def gain(rows: list[int]) -> float:
        return _score_of(metric, rows, after, references) - _score_of(metric, rows, before, references)

    error = _jackknife(gain, split.groups)
    written = [format_measured(metric.name, value) for value in (untrained, score)]
    scores = f"validation {metric_title(metric.name)} {written[0]} before, {written[1]} after"
    if score - untrained > error:
        return True, f"fine-tuning helped: {scores}"
    within = ", within a standard error" if score > untrained else ""
    return False, f"fine-tuning did not help: {scores}{within}; the checkpoint is kept as it was"


def note_on_losses(losses: Sequence[float]) -> list[str]:
    """Return a note where the losses ended about where they had started, or above."""
    first, last = _ends(losses)
    return [f"the loss did not fall: {first:.3g} at first, {last:.3g} at last"] if last > _FALLEN * first else []


def has_risen(losses: Sequence[float]) -> bool:
    """Return whether the losses of a training ended above where they had started, beyond their scatter."""
    first, last = _ends(losses)
    # Differences of successive losses scatter without the trend.
    error = np.std(np.diff(losses)) / math.sqrt(max(1, len(losses) // _PARTS)) if len(losses) > 1 else 0.0
    return bool(last > _RISEN * first and last - first > _MAX_ERRORS * error)


def _ends(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the first fifth of losses and of the last; zeros where these are fewer than five."""
    count = len(losses) // _PARTS
    return (float(np.mean(losses[:count])), float(np.mean(losses[-count:]))) if count else (0.0, 0.0)
