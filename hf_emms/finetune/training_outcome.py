"""The outcome of a training: whether it improved the score, and whether its loss fell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hf_emms.errors import Note
from hf_emms.finetune.jackknife import Measurement
from hf_emms.heads import Metric
from hf_emms.ranking.columns import format_measured, metric_title

# A loss did not fall if it ends above the first share of its start. It rose if it ends above the second share, and by
# more than two standard errors.
_FALLEN, _RISEN, _MAX_ERRORS = 0.98, 1.02, 2
_PARTS = 5  # of the losses, of which the first and the last are compared


def has_helped(metric: Metric, before: Measurement, after: Measurement) -> tuple[bool, Note]:
    """Return whether training raised a score on the same rows, and a note with both scores.

    A gain within its standard error counts, because few validation rows would otherwise hide most gains.
    """
    score, untrained = after.value, before.value
    written = [format_measured(metric.name, value) for value in (untrained, score)]
    scores = f"validation {metric_title(metric.name)} {written[0]} before, {written[1]} after"
    if score <= untrained:
        text = f"fine-tuning did not help: {scores}; the original weights were kept"
        return False, Note("training-did-not-help", text)
    within = "" if score - untrained > after.gain_stderr(before) else ", within a standard error"
    return True, Note("training-helped", f"fine-tuning helped: {scores}{within}")


def note_on_discarded(metric: Metric, score: float) -> Note:
    """Return a note with the test score of trained weights that were not kept."""
    text = f"the discarded weights: test {metric_title(metric.name)} {format_measured(metric.name, score)}"
    return Note("discarded-weights", text)


def note_on_losses(losses: Sequence[float]) -> list[Note]:
    """Return a note if the losses did not end clearly below their start."""
    first, last = _ends(losses)
    if last <= _FALLEN * first:
        return []
    return [Note("loss-did-not-fall", f"the loss did not fall: {first:.3g} at the start, {last:.3g} at the end")]


def has_risen(losses: Sequence[float]) -> bool:
    """Return whether the losses of a training ended above their start by more than their scatter."""
    if len(losses) < _PARTS:
        return False
    first, last = _ends(losses)
    # Differences of successive losses do not contain the trend.
    error = np.std(np.diff(losses)) / math.sqrt(len(losses) // _PARTS)
    return bool(last > _RISEN * first and last - first > _MAX_ERRORS * error)


def _ends(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the first and of the last fifth of the losses; zeros if there are fewer than five."""
    count = len(losses) // _PARTS
    return (float(np.mean(losses[:count])), float(np.mean(losses[-count:]))) if count else (0.0, 0.0)
