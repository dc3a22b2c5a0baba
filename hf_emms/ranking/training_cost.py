"""Estimate what fine-tuning a checkpoint costs, from the time of its forward passes and its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hf_emms.formatting import format_bytes, format_duration
from hf_emms.ranking.columns import inputs_per_second
from hf_emms.ranking.records import RankingData, Row

# A step costs a forward pass, a backward pass that takes twice as long, and padding, because batches are not sorted by
# length. The optimizer and the trainer take their own time, which dominates for a small checkpoint.
STEP_FORWARDS, STEP_SECONDS = 2.5, 0.006
_BATCH_SIZE = 16
# 32-bit weights, their gradients and the two moments of Adam.
_BYTES_PER_PARAMETER = 16


class Budget(NamedTuple):
    """The length of a fine-tuning: rows (None for all) and epochs."""

    rows: int | None
    epochs: int


BUDGETS: Mapping[str, Budget] = {"quick": Budget(1000, 3), "full": Budget(None, 10)}


def training_seconds(ranking: RankingData, row: Row, budget: str) -> float | None:
    """Return about how long one run takes on the machine of the ranking; None if the speed was not measured."""
    speed, (rows, epochs) = inputs_per_second(ranking, row), BUDGETS[budget]
    if speed is None:
        return None
    available = ranking.available or ranking.n
    examples = epochs * min(rows or available, available)
    return examples * (STEP_FORWARDS / speed + STEP_SECONDS / _BATCH_SIZE)


def cost_in_words(ranking: RankingData, row: Row) -> str:
    """Return what fine-tuning took, or else about what it takes.

    "fine-tuning about 2m (quick) to 3h (full), 1.4 GB"
    """
    result = row.fine_tuned
    measured = sum(run.seconds for run in result.runs) if result is not None else 0.0
    memory = f", {format_bytes(_BYTES_PER_PARAMETER * row.parameters)}" if row.parameters is not None else ""
    if measured:
        return f"fine-tuning took {format_duration(measured)}{memory}"
    quick, full = (training_seconds(ranking, row, budget) for budget in BUDGETS)
    if quick is None or full is None:
        return f"fine-tuning needs about {memory.removeprefix(', ')}" if memory else ""
    return f"fine-tuning about {format_duration(quick)} (quick) to {format_duration(full)} (full){memory}"
