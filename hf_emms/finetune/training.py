"""One run: transformers' `Trainer` on a network, evaluated every epoch, the best state kept, resumed after a kill."""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_model
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.utils import SAFE_WEIGHTS_NAME

from hf_emms.features.device import is_out_of_memory
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.collate import collate
from hf_emms.finetune.heads import Network
from hf_emms.finetune.recipe import Recipe
from hf_emms.finetune.splits import Part, Splits
from hf_emms.finetune.task_scores import Score, measured, standard_error
from hf_emms.ranking import TrainingRun

_LOG = logging.getLogger(__name__)
# Losses are looked at so many times a run.
_LOGS = 50
# A loss that ends above this share of its start has not fallen.
_FALLEN = 0.98
_NOT_FALLEN = "the loss did not fall"
_EVALUATION_BATCHES = 2  # evaluation takes no gradients: batches twice as large fit
# What a damaged checkpoint of a killed run raises when it is read.
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, EOFError, SafetensorError)


class DivergedError(ArithmeticError):
    """The loss is no number any more."""


@dataclass(frozen=True)
class RunPlan:
    """What a run is given besides its network.

    Attributes:
        splits: the rows.
        recipe: how.
        learning_rate: one of the recipe's.
        seed: one of the recipe's.
        scores: name → score, the first decides.
        device: where it runs.
        folder: of unfinished states; it is emptied at the end.
        save_to: where the finished model is written; None for nowhere.
        on_start: called with the number of steps, once a try.
        on_steps: called with the number of finished steps.
        deadline: of `time.monotonic`, when training ends; None for never.
    """

    splits: Splits
    recipe: Recipe
    learning_rate: float
    seed: int
    scores: Mapping[str, Score]
    device: torch.device
    folder: Path
    save_to: Path | None = None
    on_start: Callable[[int], None] = lambda steps: None
    on_steps: Callable[[int], None] = lambda steps: None
    deadline: float | None = None


def train(load: Callable[[], Network], job: RunPlan) -> TrainingRun:
    """Fine-tunes a checkpoint once; where memory runs out or the loss is no number, once more with half the batch.

    Args:
        load: loads the network anew.
        job: how it is trained.

    Raises:
        DivergedError: the loss is no number, with half the batch too.
        RuntimeError: the same of memory, or another failure of the checkpoint's code.
    """
    batch_size, accumulation, note = job.recipe.batch_size, 1, ""
    try:
        return _train(load, job, batch_size, accumulation, ())
    except DivergedError as error:
        note = f"{error}; trained again with half the batch"
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        accumulation, note = 2, "memory ran out; trained again with two half batches a step"
    # Outside the except block: the traceback would keep the failed run's tensors alive.
    shutil.rmtree(job.folder, ignore_errors=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return _train(load, job, max(1, batch_size // 2), accumulation, (note,))


def is_too_fast(run: TrainingRun) -> bool:
    """Whether the loss of a run did not fall, or was no number."""
    if run.error is not None:
        return run.error.startswith(DivergedError.__name__)
    return any(note.startswith(_NOT_FALLEN) for note in run.notes)


def _train(
    load: Callable[[], Network], job: RunPlan, batch_size: int, accumulation: int, notes: tuple[str, ...]
) -> TrainingRun:
    started = time.perf_counter()
    set_seed(job.seed)
    network = load()
    splits = job.splits
    watch = _Watch(job)
    with quiet_transformers():
        trainer = _trainer(network, job, batch_size, accumulation, watch)
        _fit(trainer, job.folder)
        validation = _scored(trainer, network, splits.validation, job.scores)
        outputs = _outputs(trainer, network, splits.test)
        if job.save_to is not None:
            network.save(job.save_to)
    job.on_steps(trainer.state.max_steps - watch.steps)
    shutil.rmtree(job.folder, ignore_errors=True)
    answers, right = network.answers(outputs, splits.test), splits.test.answers
    name, score = next(iter(job.scores.items()))
    return TrainingRun(
        job.learning_rate,
        job.seed,
        validation[name],
        measured(job.scores, answers, right),
        standard_error(score, answers, right, splits.test.groups),
        trainer.state.global_step,
        batch_size * accumulation,
        time.perf_counter() - started,
        tuple(entry[f"eval_{name}"] for entry in trainer.state.log_history if f"eval_{name}" in entry),
        None if network.loss is None else network.loss(outputs, splits.test),
        (*network.notes, *notes, *_about_losses(trainer), *watch.notes),
    )


def _trainer(network: Network, job: RunPlan, batch_size: int, accumulation: int, watch: _Watch) -> Trainer:
    recipe, first = job.recipe, next(iter(job.scores))
    train, validation = network.rows(job.splits.train, True), network.rows(job.splits.validation, False)
    total = recipe.total_steps(len(train))
    a_pass = -(-len(train) // recipe.batch_size)
    evaluations = max(1, round(total / a_pass))
    every: dict[str, Any] = {"strategy": "steps", "steps": max(1, total // evaluations)}
    # Otherwise a step of two half batches would sum their losses.
    network.model.accepts_loss_kwargs = False
    arguments = TrainingArguments(
        output_dir=str(job.folder),
        max_steps=total,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=_EVALUATION_BATCHES * batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=job.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=math.ceil(recipe.warmup * total),
        lr_scheduler_type="linear",
        seed=job.seed,
        eval_strategy=every["strategy"],
        eval_steps=every["steps"],
        save_strategy=every["strategy"],
        save_steps=every["steps"],
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model=first,
        greater_is_better=True,
        logging_steps=max(1, total // _LOGS),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        bf16=job.device.type == "cuda" and torch.cuda.is_bf16_supported(),
        use_cpu=job.device.type == "cpu",
        dataloader_pin_memory=job.device.type == "cuda",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
    )
    if job.device.type == "cuda":
        arguments._n_gpu = 1  # one of several GPUs, not a copy of the model on each

    def scores(evaluation: Any) -> dict[str, float]:
        answers = network.answers(evaluation.predictions, job.splits.validation)
        return measured(job.scores, answers, job.splits.validation.answers)

    trainer = _NetworkTrainer(
        network,
        arguments,
        data_collator=collate,
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=scores,
        callbacks=[watch, *([EarlyStoppingCallback(recipe.patience)] if evaluations > recipe.patience else [])],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _fit(trainer: Trainer, folder: Path) -> None:
    """Trains from the last whole state that a killed run has left, or from the start."""
    # The file of the trainer's state is the last one of a checkpoint that is written.
    left = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    newest = max(left, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    if newest is not None:
        weights = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        try:
            trainer.train(resume_from_checkpoint=str(newest))
        except _UNREADABLE as error:
            if isinstance(error, RuntimeError) and is_out_of_memory(error):
                raise
            _LOG.debug("%s cannot be resumed", newest, exc_info=True)
            shutil.rmtree(folder, ignore_errors=True)
            trainer.model.load_state_dict(weights)
        else:
            return
    trainer.train()


def _scored(trainer: Trainer, network: Network, part: Part, scores: Mapping[str, Score]) -> dict[str, float]:
    return measured(scores, network.answers(_outputs(trainer, network, part), part), part.answers)


def _outputs(trainer: Trainer, network: Network, part: Part) -> Any:
    """The outputs of all rows of a part.

    Raises:
        DivergedError: an output is no number.
    """
    trainer.compute_metrics = None
    outputs = trainer.predict(network.rows(part, False)).predictions
    for array in outputs if isinstance(outputs, tuple) else (outputs,):
        if not np.isfinite(array).all():
            raise DivergedError("outputs are no numbers")
    return outputs


def _about_losses(trainer: Trainer) -> list[str]:
    """A note where the mean loss of the last fifth is about that of the first fifth or above it."""
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    fifth = len(losses) // 5
    if not fifth:
        return []
    first, last = float(np.mean(losses[:fifth])), float(np.mean(losses[-fifth:]))
    return [f"{_NOT_FALLEN}: {first:.3g} at first, {last:.3g} at last"] if last > _FALLEN * first else []


class _NetworkTrainer(Trainer):
    """Predicts as a network does, from rows without labels."""

    def __init__(self, network: Network, arguments: TrainingArguments, **others: Any) -> None:
        super().__init__(network.model, arguments, **others)
        self._network = network

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW; a head starts from random weights, and learns at a rate of its own where that of the rest is low."""
        if getattr(self, "optimizer", None) is None:
            arguments, head = self.args, self._network.head
            parts: list[list[Any]] = [[], []]
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    parts[name.replace(".base_layer.", ".") in head].append(parameter)
            rates = arguments.learning_rate, max(arguments.learning_rate, self._network.head_rate)
            groups = [{"params": part, "lr": rate} for part, rate in zip(parts, rates, strict=True) if part]
            self.optimizer = torch.optim.AdamW(groups, lr=arguments.learning_rate, weight_decay=arguments.weight_decay)
        return self.optimizer

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, Any, torch.Tensor]:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = self._network.predict(model, inputs)
        # Without labels of some kind the scores would not be computed.
        return None, outputs, torch.zeros(len(next(iter(inputs.values()))))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if isinstance(self.model, PreTrainedModel) or output_dir is None:
            super()._save(output_dir, state_dict)
            return
        # Several names may share one tensor, such as the tables of a decoder's words.
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_model(self.model, str(Path(output_dir, SAFE_WEIGHTS_NAME)))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Does nothing: what is missing are the other names of shared tensors."""


class _Watch(TrainerCallback):
    """Reports steps, ends a run at its deadline, and fails one whose loss is no number."""

    def __init__(self, job: RunPlan) -> None:
        self._job = job
        self.steps = 0
        self.notes: list[str] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._job.on_start(state.max_steps)
        self.steps = 0
        self._advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._advance(state.global_step)
        deadline = self._job.deadline
        if deadline is not None and time.monotonic() > deadline and state.global_step < state.max_steps:
            self.notes.append(f"ended by the time limit after {state.global_step:,} of {state.max_steps:,} steps")
            control.should_training_stop = control.should_evaluate = control.should_save = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise DivergedError(f"the loss was no number after {state.global_step:,} steps")

    def _advance(self, step: int) -> None:
        self._job.on_steps(step - self.steps)
        self.steps = step
