"""Train a network with transformers' `Trainer`: evaluated every epoch, the best state kept, resumed after a kill."""

from __future__ import annotations

import gc
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
from safetensors.torch import load_file, save_file
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME

from hf_emms.cache.files import UNFINISHED
from hf_emms.errors import EmmsError, checkpoint_errors, format_bytes, interruptions
from hf_emms.features.device import choose_device, is_out_of_memory
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.jackknife import Measurement
from hf_emms.finetune.memory import held_bytes
from hf_emms.finetune.network import apply_method, load_network, save_network
from hf_emms.finetune.recipe import TrainingJob, head_of
from hf_emms.finetune.resume_states import (
    LostStateError,
    StorageError,
    check_whole,
    newest_state,
    remove_state,
    seal,
    seal_model,
    storage_error,
)
from hf_emms.finetune.splits import Splits, measure_part
from hf_emms.finetune.training_outcome import has_helped, has_risen, note_on_losses
from hf_emms.heads import LabeledSplit
from hf_emms.heads.head import Network
from hf_emms.heads.split import LabeledRows, collate
from hf_emms.options import RunOptions
from hf_emms.ranking import BaselineScore, TrainingRun
from hf_emms.ranking.progress import Progress, Silent

# Losses that a run logs.
_LOGS = 50
_EVALUATION_BATCHES = 2  # evaluation takes no gradients: batches twice as large fit
# Raised by writing a state or a model to a full or read-only disk.
_UNWRITABLE = (OSError, RuntimeError, SafetensorError)
# PyTorch has one state of random numbers for all threads: one of them trains at a time.
_TRAINING = threading.RLock()


class DivergedError(ArithmeticError):
    """The loss of a training is no number any more."""


class UnsavedModelError(StorageError):
    """The model of a finished `run` could not be written."""

    run: TrainingRun


def run_job(
    job: TrainingJob,
    splits: Splits,
    options: RunOptions,
    folder: Path,
    *,
    keep_adapter: bool = False,
    save_to: Path | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
) -> TrainingRun:
    """Train once, see `Training`, and return the result: an error where it failed or the time limit had passed.

    Raises:
        StorageError: a state or the model cannot be written.
    """
    if deadline is not None and time.time() > deadline:
        return TrainingRun(job.learning_rate, job.seed, error="not started: the time limit had passed")
    device = choose_device(options.device)
    training = Training(
        job,
        splits,
        folder,
        device,
        save_to=save_to,
        deadline=deadline,
        progress=progress,
        keep_adapter=keep_adapter,
    )

    def load() -> Network:
        network = load_network(
            job.plan, splits, job.recipe.method, keep_adapter=keep_adapter, allow_pickle=options.allow_pickle
        )
        job.plan.check_unchanged()
        return network

    try:
        with isolated(), checkpoint_errors():
            result = training.run(load)
            job.plan.check_unchanged()  # transformers may read weights from their files until they are trained
            return result
    except EmmsError as error:
        if isinstance(error.__cause__, StorageError):
            raise error.__cause__ from None
        diverged = isinstance(error.__cause__, DivergedError)
        return TrainingRun(job.learning_rate, job.seed, error=error.message, has_diverged=diverged)


@contextmanager
def isolated() -> Iterator[None]:
    """Keep random states, interrupts and garbage of a training from the rest of the process; other threads wait."""
    with _TRAINING, torch.random.fork_rng(range(torch.cuda.device_count())), remembered_interrupts():
        python_state, numpy_state = random.getstate(), np.random.get_state()
        # Each `train` of Trainer collects garbage: a quarter of a second in a process that has imported torch.
        gc.freeze()
        try:
            yield
        finally:
            gc.collect()
            gc.unfreeze()
            random.setstate(python_state)
            np.random.set_state(numpy_state)


@contextmanager
def remembered_interrupts() -> Iterator[None]:
    """Have Ctrl-C end a training also where Python drops its exception, as in a callback of the garbage collector."""
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
    """A training of a network with a learning rate and a seed, and a second try where it fails.

    States are written to `folder`, and the finished model to `save_to`. Training ends at `deadline`, a `time.time`;
    another one in the same folder goes on from there.
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
        keep_adapter: bool = False,
    ) -> None:
        self._job, self._splits, self._folder, self._device = job, splits, folder, device
        self._save_to, self._deadline, self._progress = save_to, deadline, progress or Silent()
        self._keep_adapter = keep_adapter
        self._metrics = head_of(splits.task).metrics(splits.train.references)

    def run(self, load: Callable[[], Network]) -> TrainingRun:
        """Train once; where memory runs out or the loss is no number, once more with half the batch.

        Raises:
            DivergedError: the loss is no number, with half the batch too.
            RuntimeError: memory ran out twice, or another failure of the checkpoint's code.
        """
        batch_size, parts = self._job.recipe.batch_size, 1
        first, second = self._folder / "first", self._folder / "second"
        try:
            return self._attempt(load, first, batch_size, parts, ())
        except DivergedError as error:
            batch_size, note = max(1, batch_size // 2), f"{error}; trained again with half the batch"
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            parts, note = 2, "memory ran out; trained again with two half batches a step"
        # Outside the except block: the traceback would keep the failed run's tensors alive.
        shutil.rmtree(first, ignore_errors=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._attempt(load, second, batch_size, parts, (note,))

    def _attempt(
        self, load: Callable[[], Network], folder: Path, batch_size: int, parts: int, notes: tuple[str, ...]
    ) -> TrainingRun:
        """Train in a folder; where another process has removed the best state from it, again in a temporary one.

        Only machines whose locks do not reach each other share a folder, as jobs with one bucket do.
        """
        try:
            return self._train(load, folder, batch_size, parts, notes)
        except LostStateError:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
                return self._train(load, Path(temporary), batch_size, parts, notes)

    def _train(
        self, load: Callable[[], Network], folder: Path, batch_size: int, parts: int, notes: tuple[str, ...]
    ) -> TrainingRun:
        started, job, splits, metric, helped = time.perf_counter(), self._job, self._splits, self._metrics[0], True
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(folder, error) from error
        set_seed(job.seed)
        network = load()
        watch = _Watch(job.name, self._deadline, self._progress, f"eval_{metric.name}", job.recipe.patience)
        memory = PeakMemory(self._device)
        with quiet_transformers():
            trainer = self._trainer(network, folder, batch_size, parts, [watch, memory])
            before = self._predicted(trainer, network) if head_of(splits.task).measures_first(network) else None
            _fit(trainer, network, folder, watch)
            predictions, curve = self._predicted(trainer, network), watch.curve(trainer.state.log_history)
            validation = measure_part(metric, predictions, splits.validation, "validation")
            if before is not None:
                untrained = measure_part(metric, before, splits.validation, "validation")
                curve.insert(0, untrained.value)
                helped, note = has_helped(metric, untrained, validation)
                notes = *notes, note
                if not helped:
                    network.model.load_state_dict(load().model.state_dict())
                    validation = untrained
            outputs = _outputs(trainer, network, splits.test)
            save_error = self._save(network, trainer.state.global_step, watch.unfinished)
        self._progress.advanced(job.name, trainer.state.max_steps - watch.steps)
        for note in memory.notes:  # of this process, not of the result
            self._progress.noted(f"{job.name}: {note}")
        predictions = network.test_predictions(outputs, splits.test)
        test, baselines = measure_part(metric, predictions, splits.test, "test"), splits.baselines
        losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
        run = TrainingRun(
            job.learning_rate,
            job.seed,
            validation=validation.value,
            scores=self._scores(predictions, splits.test.references),
            stderr=test.stderr,
            steps=trainer.state.global_step,
            batch_size=batch_size,
            seconds=time.perf_counter() - started,
            curve=tuple(curve),
            loss=network.loss(outputs, splits.test),
            notes=(*network.notes, *notes, *note_on_losses(losses), *watch.notes),
            has_diverged=has_risen(losses),
            has_learnt=not baselines or validation.is_above(baselines["validation"][1]),
            baseline=_baseline(test, *baselines["test"]) if baselines else None,
            is_untrained=not helped,
            unfinished=watch.unfinished,
        )
        if save_error is not None:
            save_error.run = run
            raise save_error
        return run

    def _save(self, network: Network, steps: int, ended: str | None) -> UnsavedModelError | None:
        """Write the model, whole or not at all, and return the error where that fails, which costs no result."""
        if self._save_to is None:
            return None
        unfinished = self._save_to.with_name(f"{UNFINISHED}{self._save_to.name}")
        for folder in (self._save_to, unfinished):
            shutil.rmtree(folder, ignore_errors=True)
        try:
            adapter_of = self._job.plan if self._keep_adapter else None
            save_network(network, unfinished, self._splits.task.id, adapter_of)
            seal_model(unfinished, steps, ended)
            unfinished.rename(self._save_to)
        except _UNWRITABLE as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            reason = storage_error(self._save_to, error)
            return UnsavedModelError(reason.message, reason.hint)
        return None

    def _predicted(self, trainer: Trainer, network: Network) -> list[Any]:
        """Return the predictions of a network, as it is, for the validation rows."""
        split = self._splits.validation
        return network.predictions(_outputs(trainer, network, split), split)

    def _scores(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        return {metric.name: metric.compute(predictions, references) for metric in self._metrics}

    def _trainer(
        self, network: Network, folder: Path, batch_size: int, parts: int, callbacks: list[TrainerCallback]
    ) -> NetworkTrainer:
        job, validation = self._job, self._splits.validation
        train = network.rows(self._splits.train, True)
        total = job.recipe.total_steps(len(train))
        evaluations = max(1, round(total / -(-len(train) // job.recipe.batch_size)))
        every = total // evaluations
        evaluated = {
            "eval_strategy": "steps",
            "eval_steps": every,
            "save_strategy": "steps",
            "save_steps": every,
            "metric_for_best_model": self._metrics[0].name,
            "greater_is_better": True,
            "logging_steps": max(1, total // _LOGS),
            "logging_first_step": True,
        }

        def scores(evaluation: Any) -> dict[str, float]:
            return self._scores(network.predictions(evaluation.predictions, validation), validation.references)

        return NetworkTrainer(
            network,
            train,
            job,
            self._device,
            folder,
            batch_size=batch_size,
            parts=parts,
            arguments=evaluated,
            eval_dataset=network.rows(validation, False),
            compute_metrics=scores,
            callbacks=[*callbacks, _States()],
        )


def train_once(network: Network, rows: LabeledRows, job: TrainingJob, device: torch.device) -> list[str]:
    """Train a network without evaluations or states, and return notes."""
    memory, quiet = PeakMemory(device), {"save_strategy": "no", "logging_strategy": "no"}
    with isolated(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        set_seed(job.seed)
        apply_method(network, job.recipe.method)
        NetworkTrainer(network, rows, job, device, Path(folder), arguments=quiet, callbacks=[memory]).train()
    return memory.notes


def _baseline(test: Measurement, name: str, baseline: Measurement) -> BaselineScore:
    return BaselineScore(name, baseline.value, baseline.stderr, test.gain_stderr(baseline))


def _fit(trainer: Trainer, network: Network, folder: Path, watch: _Watch) -> None:
    """Train from the last whole state that an earlier call has left, or from the start, and load the best state."""
    state = newest_state(folder)
    if state is None:
        shutil.rmtree(folder, ignore_errors=True)
        _train(trainer)
    else:
        path, content = state
        if content["global_step"] < trainer.args.max_steps and not watch.has_stopped_improving(content["log_history"]):
            _train(trainer, resume_from_checkpoint=str(path))
        else:
            trainer.state = TrainerState.load_from_json(str(path / TRAINER_STATE_NAME))
            watch.on_train_begin(trainer.args, trainer.state, trainer.control)
    if trainer.state.best_model_checkpoint is not None:
        best = Path(trainer.state.best_model_checkpoint)
        check_whole(best)
        network.model.load_state_dict(load_file(best / SAFE_WEIGHTS_NAME))


def _train(trainer: Trainer, **settings: Any) -> None:
    try:
        trainer.train(**settings)
    except _UNWRITABLE as error:
        # A step that is evaluated is saved after that.
        if trainer.control.should_save and not trainer.control.should_evaluate:
            raise storage_error(Path(trainer.args.output_dir), error) from error
        raise


def _outputs(trainer: Trainer, network: Network, split: LabeledSplit) -> Any:
    compute_metrics, trainer.compute_metrics = trainer.compute_metrics, None
    outputs = trainer.predict(network.rows(split, False)).predictions
    trainer.compute_metrics = compute_metrics
    for array in outputs if isinstance(outputs, tuple) else (outputs,):
        if not np.isfinite(array).all():
            raise DivergedError("outputs are no numbers")
    return outputs


class NetworkTrainer(Trainer):
    """`Trainer` of a network by a recipe, which predicts rows without labels, and writes all weights by their names.

    A step of `batch_size` rows, else the recipe's, is done in equal parts: at least `parts`, and as many as memory
    needs. `arguments` are those of `TrainingArguments` about evaluations, states and logs.
    """

    def __init__(
        self,
        network: Network,
        rows: LabeledRows,
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
        most = rows.max_batch or batch_size
        divisors = (count for count in range(parts, batch_size) if batch_size % count == 0)
        parts = next((count for count in divisors if batch_size // count <= most), batch_size)
        # Models of transformers would sum the losses of the parts of a step.
        network.model.accepts_loss_kwargs = getattr(network.model, "accepts_loss_kwargs", False)
        settings = TrainingArguments(
            output_dir=str(folder),
            max_steps=total,
            per_device_train_batch_size=batch_size // parts,
            per_device_eval_batch_size=_EVALUATION_BATCHES * batch_size // parts,
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
            disable_tqdm=True,
            report_to="none",
            **arguments,
        )
        if device.type == "cuda":
            settings._n_gpu = 1  # one of several GPUs, not a copy of the model on each
        super().__init__(
            network.model,
            settings,
            collate,
            train_dataset=rows,
            optimizers=(_optimizer(network, recipe.weight_decay, job.learning_rate), None),
            callbacks=[*callbacks, _Interrupts()],
            **others,
        )
        self._network = network
        self.remove_callback(PrinterCallback)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, Any, torch.Tensor]:
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = self._network.predict(model, inputs)
        # Without labels of some kind the scores would not be computed.
        return None, outputs, torch.zeros(len(next(iter(inputs.values()))))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Several names may share one tensor, such as the tables of a decoder's words.
        assert output_dir is not None
        tensors, addresses = dict[str, torch.Tensor](), set[int]()
        for name, tensor in self.model.state_dict().items():
            address = tensor.untyped_storage().data_ptr()
            tensors[name] = tensor.clone() if address in addresses else tensor.contiguous()
            addresses.add(address)
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_file(tensors, Path(output_dir, SAFE_WEIGHTS_NAME))


def _optimizer(network: Network, weight_decay: float, learning_rate: float) -> torch.optim.Optimizer:
    """Return AdamW, one kernel a step; new weights of a head learn at a rate of their own where others' is low."""
    parts: list[list[Any]] = [[], []]
    for name, parameter in network.model.named_parameters():
        if parameter.requires_grad:
            parts[name in network.head].append(parameter)
    rates = learning_rate, max(learning_rate, network.head_rate)
    groups = [{"params": part, "lr": rate} for part, rate in zip(parts, rates, strict=True) if part]
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=weight_decay, fused=True)


# ---- callbacks -------------------------------------------------------------------------------------------------------


class PeakMemory(TrainerCallback):
    """Measures how much memory is held: after forwards, which keep activations, and before steps, with gradients."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._held = device, 0

    @property
    def notes(self) -> list[str]:
        memory = "the GPU's memory" if self._device.type == "cuda" else "memory"
        return [f"in training the process held at most {format_bytes(self._held)} of {memory}"] if self._held else []

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._hook = model.register_forward_hook(self._measure)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._measure()

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._hook.remove()

    def _measure(self, *forward: Any) -> None:
        self._held = max(self._held, held_bytes(self._device))


class _Interrupts(TrainerCallback):
    """Ends a training that was interrupted where Python has dropped the exception."""

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._check()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._check()

    def _check(self) -> None:
        if interruptions:
            raise interruptions[0]


class _States(TrainerCallback):
    """Marks states as whole, and deletes all but the newest and the best."""

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        folder = Path(args.output_dir)
        newest = folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
        try:
            seal(newest)
        except OSError as error:
            raise storage_error(newest, error) from error
        for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
            if path != newest and str(path) != state.best_model_checkpoint:
                remove_state(path)


class _Watch(TrainerCallback):
    """Reports steps, and ends a training: at its deadline, after `patience` evaluations that were no better, or failed.

    Attributes:
        steps: how many were reported.
        unfinished: how far the training came where its deadline ended it.
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
        """Return the validation scores so far."""
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
            # Without another evaluation: a training that goes on from here must be as one that was not ended.
            control.should_training_stop = control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if self.has_stopped_improving(state.log_history):
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise DivergedError(f"the loss was no number after {state.global_step:,} steps")

    def _advance(self, step: int) -> None:
        self._progress.advanced(self._name, step - self.steps)
        self.steps = step
