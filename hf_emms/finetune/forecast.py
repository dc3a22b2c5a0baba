"""Estimate how long the planned runs of a fine-tuning take."""

from __future__ import annotations

from collections.abc import Sequence

from hf_emms.finetune.recipe import Recipe, head_of
from hf_emms.finetune.splits import Splits
from hf_emms.formatting import format_duration, pluralize
from hf_emms.ranking import Row
from hf_emms.ranking.training_cost import STEP_FORWARDS, STEP_SECONDS

# Seconds until a run has loaded its checkpoint, if that was not measured.
LOAD_SECONDS = 0.5
# Overhead of writing a token.
_TOKEN_SECONDS = 0.001


def seconds_of_runs(recipe: Recipe, splits: Splits, seconds_per_forward: float, loading: float = LOAD_SECONDS) -> float:
    """Return about how long the runs of a checkpoint take if none stops early."""
    head = head_of(splits.task)
    steps, written = recipe.total_steps(splits.training_rows), head.count_written(splits.test)
    trained = steps * recipe.batch_size
    evaluations = max(1, round(trained / splits.training_rows)) + 1 + head.is_measured_first
    forwards = STEP_FORWARDS * trained * head.inputs_per_row
    forwards += evaluations * head.count_inputs(splits.validation) + head.count_inputs(splits.test) + written
    overhead = loading + steps * STEP_SECONDS + written * _TOKEN_SECONDS
    return recipe.runs * (overhead + forwards * seconds_per_forward)


def seconds_per_forward(row: Row, n_inputs: int, seconds_per_parameter: float) -> float:
    """Return the seconds per input, as measured when the checkpoint was scored, or estimated from its size."""
    if row.seconds.forward and row.cached != "features" and n_inputs:
        return row.seconds.forward / n_inputs
    return seconds_per_parameter * (row.parameters or 0)


def forecast_text(recipes: Sequence[Recipe], seconds: float, splits: Splits) -> str:
    """Return the number of runs, their length, and about how long they take as text."""
    runs, recipe = sum(recipe.runs for recipe in recipes), recipes[0]
    sizes = ", ".join(f"{name} {size}" for name, size in splits.sizes.items())
    quick = " (a quick budget: the best at it may not be the best at yours)" if recipe.budget else ""
    return (
        f"fine-tuning {pluralize(len(recipes), 'checkpoint')}: {pluralize(runs, 'run')} of "
        f"{recipe.length}{quick}, about {format_duration(seconds)} on an idle machine; {sizes}"
    )
