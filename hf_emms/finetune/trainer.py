"""A `Trainer` for a network and a recipe, with its callbacks."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint, rotate_checkpoints
from transformers.utils import SAFE_WEIGHTS_NAME

from hf_emms.cache.files import atomic_folder
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.finetune.resume_states import storage_error
from hf_emms.formatting import pluralize
from hf_emms.heads import LabeledSplit
from hf_emms.heads.head import Network
from hf_emms.heads.split import BatchedRows, collate
from hf_emms.ranking.progress import Progress

_EVALUATION_BATCHES = 2  # evaluation takes no gradients: batches twice as large fit
# Raised when a state or a model is written to a full or read-only disk.
UNWRITABLE = (OSError, RuntimeError, SafetensorError)


class DivergedError(ArithmeticError):
    """The loss or the outputs of a training are not finite."""


class NetworkTrainer(Trainer):
    """A `Trainer` of a network for a recipe.

    Args:
        batch_size: Rows per step, by default the recipe's.
        parts: The least number of equal parts of a step; memory may require more.
        arguments: More `TrainingArguments`.
    """

    compute_metrics: Any

    def __init__(
        self,
        network: Network,
        rows: BatchedRows,
        job: TrainingJob,
        device: torch.device,
        folder: Path,
        *,
        batch_size: int | None = None,
        parts: int = 1,
        arguments: dict[str, Any],
        callbacks: list[TrainerCallback],
        **others: Any,
    ) -> None:
        recipe = job.recipe
        total, batch_size = recipe.total_steps(len(rows)), batch_size or recipe.batch_size
        most, largest = rows.max_batch or batch_size, getattr(others.get("eval_dataset"), "max_batch", None)
        divisors = (count for count in range(parts, batch_size) if batch_size % count == 0)
        parts = next((count for count in divisors if batch_size // count <= most), batch_size)
        # Models of transformers would sum the losses of the parts of a step.
        network.model.accepts_loss_kwargs = getattr(network.model, "accepts_loss_kwargs", False)
        settings = TrainingArguments(
            output_dir=str(folder),
            max_steps=total,
            per_device_train_batch_size=batch_size // parts,
            per_device_eval_batch_size=largest or _EVALUATION_BATCHES * batch_size // parts,
            gradient_accumulation_steps=parts,
            learning_rate=job.learning_rate,
            warmup_steps=math.ceil(recipe.warmup * total),
            lr_scheduler_type="linear",
            seed=job.seed,
            logging_nan_inf_filter=False,
            bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(),
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type == "cuda",
            remove_unused_columns=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            report_to="none",
            **arguments,
        )
        if device.type == "cuda":
            settings._n_gpu = 1  # do not copy the model to all GPUs
        super().__init__(
            network.model,
            settings,
            collate,
            train_dataset=rows,
            optimizers=(_optimizer(network, recipe.weight_decay, job.learning_rate), None),
            callbacks=callbacks,
            **others,
        )
        self._network = network
        self.remove_callback(PrinterCallback)

    def fit(self) -> None:
        """Train, starting from the last state in the folder if there is one, and load the best state."""
        last = self._last_state()
        if last is None:
            shutil.rmtree(self.args.output_dir, ignore_errors=True)
            self.train()
            return
        folder, state = last
        stopping = state.stateful_callbacks[EarlyStoppingCallback.__name__]
        evaluations_without_gain = stopping["attributes"]["early_stopping_patience_counter"]
        if state.global_step < self.args.max_steps and evaluations_without_gain < self._patience:
            self.train(resume_from_checkpoint=folder)
        else:  # training ended, but its result was not stored
            self.state = state
            self._load_best_model()

    def _last_state(self) -> tuple[str, TrainerState] | None:
        """Return the last state in the folder, or None if there is none or its best state is missing."""
        folder = get_last_checkpoint(self.args.output_dir)
        if folder is None:
            return None
        state = TrainerState.load_from_json(str(Path(folder, TRAINER_STATE_NAME)))
        is_whole = state.best_model_checkpoint is None or Path(state.best_model_checkpoint).is_dir()
        return (folder, state) if is_whole else None

    @property
    def _patience(self) -> int:
        (stopping,) = (each for each in self.callback_handler.callbacks if isinstance(each, EarlyStoppingCallback))
        return stopping.early_stopping_patience

    def outputs(self, split: LabeledSplit) -> Any:
        """Return the outputs for the rows of a split.

        Raises:
            DivergedError: An output is not finite.
        """
        compute_metrics, self.compute_metrics = self.compute_metrics, None
        outputs = self.predict(self._network.rows(split, False)).predictions
        self.compute_metrics = compute_metrics
        for array in outputs if isinstance(outputs, tuple) else (outputs,):
            if not np.isfinite(array).all():
                raise DivergedError("outputs are not finite")
        return outputs

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, Any, torch.Tensor]:
        inputs = send_to_device(inputs, self.args.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = self._network.predict(model, inputs)
        # `Trainer` computes metrics only if there are labels.
        return None, outputs, torch.zeros(len(next(iter(inputs.values()))))

    def save_model(self, output_dir: str | None = None, **others: Any) -> None:
        """Write all weights under the names that `load_state_dict` expects, unlike `save_pretrained`."""
        assert output_dir is not None
        tensors, addresses = dict[str, torch.Tensor](), set[int]()
        for name, tensor in self.model.state_dict().items():  # several names may share one tensor
            address = tensor.untyped_storage().data_ptr()
            tensors[name] = tensor.clone() if address in addresses else tensor.contiguous()
            addresses.add(address)
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_file(tensors, Path(output_dir, SAFE_WEIGHTS_NAME))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a state under a temporary name and rename it when it is complete; keep the best and the last state."""
        folder, state = self.args.output_dir, self.state
        place = Path(folder, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")
        try:
            with atomic_folder(place) as unfinished:
                self.args.output_dir = str(unfinished.parent)
                super()._save_checkpoint(model, trial)
                if state.best_global_step is not None:
                    best = place.with_name(f"{PREFIX_CHECKPOINT_DIR}-{state.best_global_step}")
                    state.best_model_checkpoint = str(best)
                    state.save_to_json(str(unfinished / TRAINER_STATE_NAME))
        except UNWRITABLE as error:
            raise storage_error(place, error) from error
        finally:
            self.args.output_dir = folder
        rotate_checkpoints(folder, 1, state.best_model_checkpoint)


def _optimizer(network: Network, weight_decay: float, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW with one kernel per step. The new weights of a head learn at their own, higher rate."""
    parts: list[list[Any]] = [[], []]
    for name, parameter in network.model.named_parameters():
        if parameter.requires_grad:
            parts[name in network.head].append(parameter)
    rates = learning_rate, max(learning_rate, network.head_rate)
    groups = [{"params": part, "lr": rate} for part, rate in zip(parts, rates, strict=True) if part]
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)


# ---- callbacks -------------------------------------------------------------------------------------------------------


class OnStep(TrainerCallback):
    """Call a function after each step."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._call()


class Watch(TrainerCallback):
    """Report the steps of a training, end it at its deadline, and stop it if its loss is not finite.

    Attributes:
        step: The last step that was reported.
        unfinished: How far the training came before its deadline ended it, else None.
    """

    def __init__(self, progress: Progress, name: str, deadline: float | None) -> None:
        self._progress, self._name, self._deadline = progress, name, deadline
        self.step = 0
        self.unfinished: str | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._progress.advanced(self._name, state.global_step - self.step)
        self.step = state.global_step
        if self._deadline is not None and time.time() > self._deadline and state.global_step < state.max_steps:
            self.unfinished = f"after {state.global_step:,} of {state.max_steps:,} steps"
            # Without another evaluation, so that a resumed training equals one that was not interrupted.
            control.should_training_stop = control.should_save = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._progress.advanced(self._name, 0)  # an evaluation may take longer than the stall limit

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise DivergedError(f"the loss was not finite after {pluralize(state.global_step, 'step')}")
