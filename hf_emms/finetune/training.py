"""One run: transformers' `Trainer` on a network, evaluated every epoch, the best state kept, resumed after a kill."""

from __future__ import annotations

import logging
import math
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_model
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.utils import SAFE_WEIGHTS_NAME

from hf_emms.errors import EmmsError, checkpoint_errors, interruptions
from hf_emms.features.device import choose_device, is_out_of_memory
from hf_emms.features.load import quiet_transformers
from hf_emms.files import UNFINISHED
from hf_emms.finetune.heads import load_network
from hf_emms.finetune.network import Network, collate
from hf_emms.finetune.recipe import TrainingJob, head_of
from hf_emms.finetune.splits import LabeledSplit, Splits
from hf_emms.finetune.unfinished import (
    LostStateError,
    StorageError,
    check_whole,
    newest_state,
    remove_state,
    seal,
    storage_error,
)
from hf_emms.options import Options
from hf_emms.ranking import TrainingRun
from hf_emms.ranking.progress import Progress, Silent
from hf_emms.scoring.arrays import assign_folds
from hf_emms.tasks import Metric

_LOG = logging.getLogger(__name__)
# Losses are looked at so many times a run.
_LOGS = 50
# A loss that ends above this share of its start has not fallen.
_FALLEN = 0.98
_EVALUATION_BATCHES = 2  # evaluation takes no gradients: batches twice as large fit
# Parts of the test rows, each left out once for the standard error: single rows of small splits, and at least so many
# of large ones, whose metric is then computed on about so many rows in all.
_MIN_PARTS, _JACKKNIFE_ROWS = 20, 200_000
# What writing a state or a model raises on a full or read-only disk.
_UNWRITABLE = (OSError, RuntimeError, SafetensorError)
# Held by the thread that trains: PyTorch has one state of random numbers for all threads.
_TRAINING = threading.RLock()


class DivergedError(ArithmeticError):
    """The loss is no number any more."""


class UnsavedModelError(StorageError):
    """The model of a finished `run` could not be written."""

    run: TrainingRun


def run_job(
    job: TrainingJob,
    splits: Splits,
    options: Options,
    folder: Path,
    *,
    save_to: Path | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
) -> TrainingRun:
    """The result of one run, which is an error where it failed or the time limit had passed; see `Training`.

    Random states are as before at the end, and other threads wait.

    Raises:
        StorageError: a state or the model cannot be written.
    """
    if deadline is not None and time.time() > deadline:
        return TrainingRun(job.learning_rate, job.seed, error="not started: the time limit had passed")
    device = choose_device(options.device)
    training = Training(job, splits, folder, device, save_to=save_to, deadline=deadline, progress=progress)
    try:
        with _own_random_states(), remembered_interrupts(), checkpoint_errors():
            return training.run(lambda: load_network(job.plan, splits, options, job.recipe.method))
    except EmmsError as error:
        if isinstance(error.__cause__, StorageError):
            raise error.__cause__ from None
        diverged = isinstance(error.__cause__, DivergedError)
        return TrainingRun(job.learning_rate, job.seed, error=error.message, has_diverged=diverged)


@contextmanager
def _own_random_states() -> Iterator[None]:
    """Keeps the random states of the process, and other threads from changing those of a training."""
    with _TRAINING, torch.random.fork_rng(range(torch.cuda.device_count())):
        of_python, of_numpy = random.getstate(), np.random.get_state()
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


@contextmanager
def remembered_interrupts() -> Iterator[None]:
    """Has Ctrl-C end a training also where Python drops its exception, as in a callback of the garbage collector."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is not signal.default_int_handler:
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        interruptions.append(KeyboardInterrupt())
        raise interruptions[-1]

    before = len(interruptions)
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        del interruptions[before:]


class Training:
    """One run of a network, and a second try where it fails.

    Unfinished states are in `folder`, and the finished model is written to `save_to`. Training ends at `deadline`, of
    `time.time`; another run in the same folder goes on from there.
    """

    def __init__(
        self,
        job: TrainingJob,
        splits: Splits,
        folder: Path,
        device: torch.device,
        *,
        save_to: Path | None = None,
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._job, self._splits, self._folder, self._device = job, splits, folder, device
        self._save_to, self._deadline, self._progress = save_to, deadline, progress or Silent()
        self._metrics = head_of(splits.task).metrics(splits.train.references)

    def run(self, load: Callable[[], Network]) -> TrainingRun:
        """Fine-tunes once; where memory runs out or the loss is no number, once more with half the batch.

        Raises:
            DivergedError: the loss is no number, with half the batch too.
            RuntimeError: memory ran out twice, or another failure of the checkpoint's code.
        """
        batch_size, accumulation = self._job.recipe.batch_size, 1
        first, second = self._folder / "first", self._folder / "second"
        try:
            return self._attempt(load, first, batch_size, accumulation, ())
        except DivergedError as error:
            note = f"{error}; trained again with half the batch"
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            accumulation, note = 2, "memory ran out; trained again with two half batches a step"
        # Outside the except block: the traceback would keep the failed run's tensors alive.
        shutil.rmtree(first, ignore_errors=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._attempt(load, second, max(1, batch_size // 2), accumulation, (note,))

    def _attempt(
        self, load: Callable[[], Network], folder: Path, batch_size: int, accumulation: int, notes: tuple[str, ...]
    ) -> TrainingRun:
        """One try; where its best state has gone, again in a folder of its own.

        Only machines whose locks do not reach each other train in one folder, as jobs that share a bucket.
        """
        try:
            return self._train(load, folder, batch_size, accumulation, notes)
        except LostStateError:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
                return self._train(load, Path(own), batch_size, accumulation, notes)

    def _train(
        self, load: Callable[[], Network], folder: Path, batch_size: int, accumulation: int, notes: tuple[str, ...]
    ) -> TrainingRun:
        started, job, splits, metric = time.perf_counter(), self._job, self._splits, self._metrics[0]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(folder, error) from error
        set_seed(job.seed)
        network = load()
        watch = _Watch(job.name, self._deadline, self._progress, f"eval_{metric.name}", job.recipe.patience)
        with quiet_transformers():
            trainer = self._trainer(network, folder, batch_size, accumulation, watch)
            _fit(trainer, folder, watch)
            outputs = _outputs(trainer, network, splits.validation)
            validation = metric.compute(network.predictions(outputs, splits.validation), splits.validation.references)
            outputs = _outputs(trainer, network, splits.test)
            save_error = self._save(network)
        self._progress.advanced(job.name, trainer.state.max_steps - watch.steps)
        predictions, references = network.predictions(outputs, splits.test), splits.test.references
        stagnation = _note_on_losses(trainer)
        run = TrainingRun(
            job.learning_rate,
            job.seed,
            validation=validation,
            scores=self._scores(predictions, references),
            stderr=standard_error(metric, predictions, references, splits.test.groups),
            steps=trainer.state.global_step,
            batch_size=batch_size * accumulation,
            seconds=time.perf_counter() - started,
            curve=tuple(watch.curve(trainer.state.log_history)),
            loss=None if network.loss is None else network.loss(outputs, splits.test),
            notes=(*network.notes, *notes, *stagnation, *watch.notes),
            has_diverged=bool(stagnation),
            unfinished=watch.unfinished,
        )
        if save_error is not None:
            save_error.run = run
            raise save_error
        return run

    def _save(self, network: Network) -> UnsavedModelError | None:
        """Writes the model where it is kept, whole or not at all; the error where that fails, which costs no result."""
        if self._save_to is None:
            return None
        unfinished = self._save_to.with_name(f"{UNFINISHED}{self._save_to.name}")
        for folder in (self._save_to, unfinished):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            network.save(unfinished)
            unfinished.rename(self._save_to)
        except _UNWRITABLE as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            reason = storage_error(self._save_to, error)
            return UnsavedModelError(reason.message, reason.hint)
        return None

    def _scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {metric.name: metric.compute(predictions, references) for metric in self._metrics}

    def _trainer(self, network: Network, folder: Path, batch_size: int, accumulation: int, watch: _Watch) -> Trainer:
        recipe, device, validation = self._job.recipe, self._device, self._splits.validation
        train = network.rows(self._splits.train, True)
        total = recipe.total_steps(len(train))
        evaluations = max(1, round(total / -(-len(train) // recipe.batch_size)))
        every = max(1, total // evaluations)
        # Otherwise a step of two half batches would sum their losses.
        network.model.accepts_loss_kwargs = False
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=total,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=_EVALUATION_BATCHES * batch_size,
            gradient_accumulation_steps=accumulation,
            learning_rate=self._job.learning_rate,
            weight_decay=recipe.weight_decay,
            warmup_steps=math.ceil(recipe.warmup * total),
            lr_scheduler_type="linear",
            seed=self._job.seed,
            eval_strategy="steps",
            eval_steps=every,
            save_strategy="steps",
            save_steps=every,
            load_best_model_at_end=True,
            metric_for_best_model=self._metrics[0].name,
            greater_is_better=True,
            logging_steps=max(1, total // _LOGS),
            logging_first_step=True,
            logging_nan_inf_filter=False,
            bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(),
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type == "cuda",
            remove_unused_columns=False,
            disable_tqdm=True,
            report_to="none",
        )
        if device.type == "cuda":
            arguments._n_gpu = 1  # one of several GPUs, not a copy of the model on each

        def scores(evaluation: Any) -> dict[str, float]:
            return self._scores(network.predictions(evaluation.predictions, validation), validation.references)

        trainer = _NetworkTrainer(
            network,
            arguments,
            data_collator=collate,
            train_dataset=train,
            eval_dataset=network.rows(validation, False),
            compute_metrics=scores,
            callbacks=[watch],
        )
        trainer.remove_callback(PrinterCallback)
        return trainer


def standard_error(metric: Metric, predictions: Sequence[Any], references: Sequence[Any], groups: np.ndarray) -> float:
    """The delete-a-part jackknife over parts of the rows, whose groups, uint64 (n,), stay together.

    Of a share of right answers in rows that are all groups of their own it is the binomial standard error.
    """
    parts = max(_MIN_PARTS, _JACKKNIFE_ROWS // max(1, len(groups)))
    names, part_of = np.unique(groups, return_inverse=True)
    if parts < len(names):
        part_of = assign_folds(groups, parts, 0)
    values = []
    for part in np.unique(part_of):
        rows = np.flatnonzero(part_of != part).tolist()
        if rows:
            values.append(metric.compute([predictions[row] for row in rows], [references[row] for row in rows]))
    count = len(values)
    return float(np.sqrt((count - 1) * np.var(values))) if count > 1 else 0.0


def _fit(trainer: Trainer, folder: Path, watch: _Watch) -> None:
    """Trains from the last whole state that an earlier call has left, or from the start."""
    state = newest_state(folder)
    if state is None:
        shutil.rmtree(folder, ignore_errors=True)
        trainer.train()
        return
    path, content = state
    if content["global_step"] < trainer.args.max_steps and not watch.has_stopped_improving(content["log_history"]):
        trainer.train(resume_from_checkpoint=str(path))
        return
    trainer.state = TrainerState.load_from_json(str(path / TRAINER_STATE_NAME))
    trainer._load_from_checkpoint(trainer.state.best_model_checkpoint or str(path))
    watch.on_train_begin(trainer.args, trainer.state, trainer.control)


def _outputs(trainer: Trainer, network: Network, split: LabeledSplit) -> Any:
    trainer.compute_metrics = None
    outputs = trainer.predict(network.rows(split, False)).predictions
    for array in outputs if isinstance(outputs, tuple) else (outputs,):
        if not np.isfinite(array).all():
            raise DivergedError("outputs are no numbers")
    return outputs


def _note_on_losses(trainer: Trainer) -> list[str]:
    """A note where the mean loss of the last fifth is about that of the first fifth or above it."""
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    fifth = len(losses) // 5
    if not fifth:
        return []
    first, last = float(np.mean(losses[:fifth])), float(np.mean(losses[-fifth:]))
    return [f"the loss did not fall: {first:.3g} at first, {last:.3g} at last"] if last > _FALLEN * first else []


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

    def _save_checkpoint(self, *arguments: Any) -> None:
        folder = Path(self.args.output_dir)
        newest = folder / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(*arguments)
            seal(newest)
        except _UNWRITABLE as error:
            raise storage_error(newest, error) from error
        best = self.state.best_model_checkpoint
        for state in folder.glob("checkpoint-*"):
            if state != newest and str(state) != best:
                remove_state(state)

    def _load_best_model(self) -> None:
        check_whole(Path(self.state.best_model_checkpoint))
        super()._load_best_model()

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
    """Reports steps; ends a run at its deadline or after `patience` evaluations that were no better, or fails it.

    Attributes:
        steps: that were reported.
        unfinished: how far the run came where its deadline ended it.
    """

    def __init__(self, name: str, deadline: float | None, progress: Progress, metric: str, patience: int) -> None:
        self._name, self._deadline, self._progress = name, deadline, progress
        self._metric, self._patience = metric, patience
        self.steps = 0
        self.unfinished: str | None = None

    @property
    def notes(self) -> list[str]:
        return [f"ended by the time limit {self.unfinished}"] if self.unfinished else []

    def curve(self, log_history: Sequence[dict[str, float]]) -> list[float]:
        """The validation scores so far."""
        return [log[self._metric] for log in log_history if self._metric in log]

    def has_stopped_improving(self, log_history: Sequence[dict[str, float]]) -> bool:
        scores = self.curve(log_history)
        return bool(scores) and len(scores) - 1 - int(np.argmax(scores)) >= self._patience

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._progress.started(self._name, state.max_steps)
        self.steps = 0
        self._advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._advance(state.global_step)
        if self._deadline is not None and time.time() > self._deadline and state.global_step < state.max_steps:
            self.unfinished = f"after {state.global_step:,} of {state.max_steps:,} steps"
            # Without another evaluation: the run that goes on from here is to be as one that was not ended.
            control.should_training_stop = control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if self.has_stopped_improving(state.log_history):
            control.should_training_stop = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        _check_interrupts()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise DivergedError(f"the loss was no number after {state.global_step:,} steps")

    def _advance(self, step: int) -> None:
        _check_interrupts()
        self._progress.advanced(self._name, step - self.steps)
        self.steps = step


def _check_interrupts() -> None:
    if interruptions:
        raise interruptions[0]
