"""How a checkpoint is fine-tuned: everything that changes what a run measures, and what is chosen where users don't."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import msgspec

from hf_emms.errors import EmmsError
from hf_emms.formatting import parse_duration, pluralize
from hf_emms.options import Options

# Epochs over all rows, by task; early stopping ends a run that no longer improves.
EPOCHS = {
    "image-classification": 10,
    "image-to-text": 10,
    "text-classification": 5,
    "text-regression": 5,
    "question-answering": 5,
    "visual-question-answering": 10,
    "referring-expression": 20,
}
QUICK_EPOCHS, QUICK_ROWS = 3, 1_000
BATCH_SIZE = 32
# Evaluations without a better score that end a run; of one in epochs, half of these.
PATIENCE = 5
# Most parameters of a checkpoint, and its two peak learning rates for AdamW: small ones need larger rates.
_RATES = (
    (10_000_000, (5e-4, 2e-3)),
    (50_000_000, (1e-4, 4e-4)),
    (float("inf"), (2e-5, 1e-4)),
)
_LORA_FACTOR = 10  # adapters start at zero and are trained at larger rates
_HEAD_RATES = (1e-3, 1e-2)
_PACKAGES = {"full": ("accelerate",), "head": ("accelerate",), "lora": ("accelerate", "peft")}


class Recipe(msgspec.Struct, frozen=True):
    """How the runs of one checkpoint are done.

    Attributes:
        method: "full", "lora" or "head".
        epochs: the most, over all training rows; None where `steps` is given.
        steps: optimizer steps, instead of epochs.
        learning_rates: peaks that are tried with the first seed.
        seeds: of the runs at the best rate.
        batch_size: rows a step.
        weight_decay: of AdamW.
        warmup: share of the steps in which the rate rises to its peak, from which it falls linearly to 0.
        patience: evaluations without a better validation score after which a run ends.
        budget: "quick" where the run is shorter than a user's would be.
    """

    method: str
    epochs: int | None
    steps: int | None
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    batch_size: int = BATCH_SIZE
    weight_decay: float = 0.01
    warmup: float = 0.1
    patience: int = PATIENCE
    budget: str | None = None

    @property
    def runs(self) -> int:
        """How many runs a checkpoint takes: its rates once each, its further seeds at the best one."""
        return len(self.learning_rates) + len(self.seeds) - 1

    def as_json(self) -> dict[str, Any]:
        """Setting → value, as JSON holds them."""
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return found

    def total_steps(self, rows: int) -> int:
        """Optimizer steps of a run that is not stopped early."""
        return self.steps or (self.epochs or 1) * -(-rows // self.batch_size)

    def in_words(self) -> str:
        """The budget: what a result holds for."""
        if self.steps:
            return f"{self.steps:,} steps of {self.batch_size} rows"
        return f"up to {pluralize(self.epochs or 1, 'epoch')}"


def recipe_for(options: Options, task_id: str, parameters: int | None, method: str = "full") -> Recipe:
    """The recipe of a checkpoint: what the options say, and for the rest what suits its task, size and method.

    Raises:
        EmmsError: a learning rate that is no number, or both epochs and steps.
    """
    if options.epochs and options.steps:
        raise EmmsError("both epochs and steps are given", "leave --epochs or --steps out")
    epochs = options.epochs or (QUICK_EPOCHS if options.budget else EPOCHS[task_id])
    rates = _rates(options.learning_rates) or default_rates(parameters, method)
    return Recipe(
        method,
        None if options.steps else epochs,
        options.steps,
        rates,
        tuple(options.seed + i for i in range(options.seeds or 1)),
        patience=PATIENCE if options.steps else -(-epochs // 2),
        batch_size=options.batch_size or BATCH_SIZE,
        budget=options.budget,
    )


def default_rates(parameters: int | None, method: str = "full") -> tuple[float, ...]:
    """Two peak learning rates for a checkpoint of so many parameters."""
    if method == "head":
        return _HEAD_RATES
    rates = next(rates for most, rates in _RATES if (parameters or 0) <= most)
    return tuple(float(f"{rate * _LORA_FACTOR:g}") for rate in rates) if method == "lora" else rates


def most_rows(options: Options) -> int | None:
    """The most rows that fine-tuning reads; None for all."""
    return options.confirm_samples or (QUICK_ROWS if options.budget else None)


def check_settings(options: Options) -> None:
    """Checks before a long ranking that its best checkpoints can be fine-tuned.

    Raises:
        EmmsError: a setting is wrong, or a package is missing.
    """
    recipe_for(options, "image-classification", None)
    if options.save_model or options.push_to_hub:
        from hf_emms.finetune.saving import check_push, keeper_for

        keeper_for(options)
        check_push(options)
    if options.time_limit:
        parse_duration(options.time_limit)
    missing = [name for name in _PACKAGES[options.method or "full"] if find_spec(name) is None]
    if missing:
        extra = "lora" if "peft" in missing else "finetune"
        raise EmmsError(f"fine-tuning needs {' and '.join(missing)}, not installed", f"pip install 'hf-emms[{extra}]'")


def check_task(task_id: str) -> None:
    """Checks that checkpoints can be fine-tuned for a task.

    Raises:
        EmmsError: they cannot: it is a task of another package.
    """
    if task_id not in EPOCHS:
        raise EmmsError(f"fine-tuning for the task {task_id} is not supported", f"--confirm is for {', '.join(EPOCHS)}")


def _rates(texts: Sequence[Any]) -> tuple[float, ...]:
    rates = []
    for text in texts:
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if not 0 < rate < 1:
            raise EmmsError(f"the learning rate {text!r} is no number between 0 and 1", "--learning-rate 1e-4")
        rates.append(rate)
    return tuple(dict.fromkeys(rates))
