"""Recipes of fine-tuning and of short runs: the settings that change results, with defaults by model size."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hf_emms.errors import EmmsError
from hf_emms.features.main_memory import free_main_memory
from hf_emms.formatting import format_bytes, pluralize
from hf_emms.heads import Head
from hf_emms.options import TrainingOptions
from hf_emms.tasks import TASKS, Task
from hf_emms.texts import install_command, setting_ref

if TYPE_CHECKING:
    import torch

    from hf_emms.features.feature_spec import FeatureSpec

QUICK_EPOCHS, QUICK_ROWS = 3, 1_000
# Evaluations without a better score that end a run whose length is in steps. A run in epochs ends after half of them.
PATIENCE = 5
# The most parameters of a checkpoint that a short run trains in full. Larger checkpoints get an adapter.
_FULL_PARAMETERS = 300_000_000
# Smaller checkpoints need larger learning rates. Columns: the most parameters of a checkpoint; AdamW's peak rates for
# all weights with a head; its peak rates for an embedding model; the rate of a short run (in the last row, of an
# adapter).
_RATES = (
    (10_000_000, (5e-4, 2e-3), (1e-3, 3e-3), 1e-3),
    (50_000_000, (1e-4, 4e-4), (1e-4, 3e-4), 3e-4),
    (_FULL_PARAMETERS, (2e-5, 1e-4), (1e-4, 3e-4), 5e-5),
    (float("inf"), (2e-5, 1e-4), (2e-5, 1e-4), 2e-4),
)
_LORA_FACTOR = 10  # adapters start at zero and need larger rates
_HEAD_RATES = (1e-3, 1e-2)
_SHORT_EPOCHS, _SHORT_BATCH = 3, 8
# Bytes per parameter of weights, gradients and the two moments of AdamW in float32.
_BYTES_PER_PARAMETER = 16
# The share of free memory that weights, gradients and the optimizer may use; activations need the rest.
_MEMORY_SHARE = 0.7


class Recipe(msgspec.Struct, frozen=True):
    """The settings of all runs of a checkpoint.

    Attributes:
        method: The trained weights: "full", "lora" or "head".
        learning_rates: Peak rates. The first seed tries all of them; the other seeds run at the best one.
        batch_size: Rows per step.
        warmup: The share of the steps in which the rate rises, before it falls linearly to 0.
        patience: Evaluations without a better validation score that end a run.
        budget: "quick" if the recipe is shorter than a user's own would be.
    """

    method: str
    epochs: int | None
    steps: int | None
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup: float = 0.1
    patience: int = PATIENCE
    budget: str | None = None

    @property
    def runs(self) -> int:
        """Return the number of runs per checkpoint."""
        return len(self.learning_rates) + len(self.seeds) - 1

    def as_json(self) -> dict[str, Any]:
        settings: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return settings

    def total_steps(self, rows: int) -> int:
        """Return the optimizer steps of a run that does not stop early."""
        return self.steps or cast("int", self.epochs) * -(-rows // self.batch_size)

    @property
    def length(self) -> str:
        """Return the length of a run as text."""
        if self.steps:
            return f"{self.steps:,} steps of {self.batch_size} rows"
        return f"up to {pluralize(cast('int', self.epochs), 'epoch')}"


@dataclass(frozen=True)
class TrainingJob:
    """One training run of a checkpoint: a recipe, a seed and a learning rate."""

    checkpoint: str
    spec: FeatureSpec = field(compare=False)
    parameters: int | None
    recipe: Recipe
    learning_rate: float
    seed: int

    @property
    def name(self) -> str:
        seed = f", seed {self.seed}" if len(self.recipe.seeds) > 1 else ""
        return f"{self.checkpoint}, learning rate {self.learning_rate:g}{seed}"


def recipe_for(
    options: TrainingOptions, head: Head, parameters: int | None, method: str = "full", batch_size: int | None = None
) -> Recipe:
    """Return the recipe of a fine-tuning: the settings of the options, else defaults by head, size and method."""
    epochs = options.epochs or (QUICK_EPOCHS if options.budget else head.epochs)
    rates = tuple(dict.fromkeys(map(float, options.learning_rates))) or tuple(
        float(f"{rate * head.rate_factor:g}")
        for rate in default_rates(parameters, method, embeddings=head.trains_embeddings)
    )
    return Recipe(
        method,
        None if options.steps else epochs,
        options.steps,
        rates,
        tuple(options.seed + i for i in range(options.seeds or 1)),
        patience=PATIENCE if options.steps else -(-epochs // 2),
        batch_size=batch_size or head.batch_size,
        budget=options.budget,
    )


def default_rates(parameters: int | None, method: str = "full", *, embeddings: bool = False) -> tuple[float, ...]:
    """Return the two peak learning rates that fine-tuning tries for a checkpoint of this size."""
    if method == "head":
        return _HEAD_RATES
    usual, contrastive = next(
        (usual, contrastive) for most, usual, contrastive, _ in _RATES if (parameters or 0) <= most
    )
    rates = contrastive if embeddings else usual
    return tuple(float(f"{rate * _LORA_FACTOR:g}") for rate in rates) if method == "lora" else rates


def short_recipe(parameters: int, seed: int = 0, rate_factor: float = 1.0) -> Recipe:
    """Return the recipe of a short run, which depends on the checkpoint's size and its `Head.rate_factor` alone."""
    rate = float(f"{next(rate for most, *_, rate in _RATES if parameters <= most) * rate_factor:g}")
    method = "full" if parameters <= _FULL_PARAMETERS else "lora"
    return Recipe(method, _SHORT_EPOCHS, None, (rate,), (seed,), batch_size=_SHORT_BATCH)


def choose_method(options: TrainingOptions, parameters: int | None, device: torch.device) -> tuple[str, str | None]:
    """Return the requested method, else "full" if it fits into memory, else a smaller one and the reason."""
    from hf_emms.features.device import free_memory

    if options.method is not None:
        return options.method, None
    free = free_memory(device) if device.type == "cuda" else free_main_memory() if device.type == "cpu" else None
    needed = _BYTES_PER_PARAMETER * (parameters or 0)
    if free is None or needed <= free * _MEMORY_SHARE:
        return "full", None
    method = "lora" if find_spec("peft") is not None else "head"
    return method, (
        f"full fine-tuning needs {format_bytes(needed)} of memory and activations, but {format_bytes(free)} are free: "
        f"using {setting_ref('method', method)}"
    )


def max_rows(options: TrainingOptions) -> int | None:
    """Return the maximum number of rows for fine-tuning, or None for all."""
    return options.confirm_samples or (QUICK_ROWS if options.budget else None)


def check_head(task: Task) -> None:
    """Refuse a task without a head, and a missing package."""
    head = head_of(task)
    if head.module and find_spec(head.module) is None:
        package = head.module.replace("_", "-")
        raise EmmsError(
            "package-missing",
            f"fine-tuning for {task.id} needs {package}, which is not installed",
            install_command(head.extra),
        )


def head_of(task: Task) -> Head:
    """Return the head of a task, or raise an EmmsError if it has none or the dataset has no inputs."""
    if not task.inputs:
        raise EmmsError(
            "no-queries",
            "fine-tuning needs queries, and the dataset contains documents alone",
            "leave " + setting_ref("confirm") + " out, or write queries: docs/rank-search.md lists the layouts",
        )
    if task.head is None:
        names = ", ".join(other.id for other in TASKS.values() if other.head is not None)
        raise EmmsError(
            "no-head",
            f"fine-tuning for the task {task.id} is not supported: it has no head",
            setting_ref("confirm") + f" is for {names}",
        )
    return task.head
