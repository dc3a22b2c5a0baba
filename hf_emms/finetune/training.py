"""Train a checkpoint once and measure it. A run that is interrupted is resumed from its last state."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from transformers import EarlyStoppingCallback, set_seed

from hf_emms.cache.files import atomic_folder
from hf_emms.errors import EmmsError, Note, checkpoint_errors
from hf_emms.features.device import choose_device, is_out_of_memory
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.jackknife import Measurement
from hf_emms.finetune.network import apply_method, load_network
from hf_emms.finetune.recipe import TrainingJob, head_of
from hf_emms.finetune.resume_states import StorageError, storage_error
from hf_emms.finetune.splits import Splits, measure_part
from hf_emms.finetune.trainer import (
    UNWRITABLE,
    DivergedError,
    NetworkTrainer,
    OnStep,
    Watch,
)
from hf_emms.heads import Metric
from hf_emms.heads.head import Network
from hf_emms.heads.split import BatchedRows, LabeledSplit
from hf_emms.options import RunOptions
from hf_emms.ranking import BaselineScore, TrainingRun
from hf_emms.ranking.columns import format_measured, metric_title
from hf_emms.ranking.progress import Progress

# A loss did not fall if it ends above the first share of its start. It rose if it ends above the second share, and by
# more than two standard errors.
_FALLEN, _RISEN, _MAX_ERRORS = 0.98, 1.02, 2
# Differences of outputs that are rounding: in float32, and in bfloat16.
_ROUNDING = 1e-3, 5e-2
_LOGS = 50  # losses that a run logs
_PARTS = 5  # of the losses, of which the first and the last are compared


def run_job(
    job: TrainingJob,
    splits: Splits,
    options: RunOptions,
    folder: Path,
    *,
    models: Path | None = None,
    deadline: float | None = None,
    progress: Progress | None = None,
) -> TrainingRun:
    """Train once, see `Training`.

    Returns a run with an error if training failed or the time limit had passed.

    Raises:
        StorageError: A state or the model cannot be written.
    """
    if deadline is not None and time.time() > deadline:
        return TrainingRun(job.learning_rate, job.seed, error="not started: the time limit had passed")
    training = Training(
        job,
        splits,
        folder,
        choose_device(options.device),
        models,
        deadline,
        progress or Progress(),
    )

    def load() -> Network:
        network = load_network(job.spec, splits, job.recipe.method)
        job.spec.check_unchanged()
        return network

    try:
        with checkpoint_errors():
            result = training.run(load)
            job.spec.check_unchanged()  # transformers may read weights from their files until they are trained
            return result
    except EmmsError as error:
        if isinstance(error.__cause__, StorageError):
            raise error.__cause__ from None
        diverged = isinstance(error.__cause__, DivergedError)
        return TrainingRun(job.learning_rate, job.seed, error=error.message, has_diverged=diverged)


@dataclass(frozen=True)
class Training:
    """A training of a network with a learning rate and a seed, and a second attempt if it fails.

    Attributes:
        folder: For the states of an unfinished run, from which another training with the same folder continues.
        models: A folder for the finished model, whose folder is named by its steps; None to keep no model.
        deadline: When training ends, a `time.time`.
    """

    job: TrainingJob
    splits: Splits
    folder: Path
    device: torch.device
    models: Path | None = None
    deadline: float | None = None
    progress: Progress = field(default_factory=Progress)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return head_of(self.splits.task).metrics(self.splits.train.references)

    def run(self, load: Callable[[], Network]) -> TrainingRun:
        """Train once. If memory runs out or the loss is not finite, train once more with half the batch.

        Raises:
            DivergedError: The loss is not finite with half the batch either.
            RuntimeError: Memory ran out twice, or the checkpoint's code failed.
            StorageError: A state or the model cannot be written.
        """
        batch_size, parts = self.job.recipe.batch_size, 1
        first, second = self.folder / "first", self.folder / "second"
        try:
            return self._train(load, first, batch_size, parts, ())
        except DivergedError as error:
            batch_size, text = max(1, batch_size // 2), f"{error}; trained again with half the batch"
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            parts, text = 2, "memory ran out; trained again with two half batches per step"
        # Outside the except block: the traceback would keep the failed run's tensors alive.
        shutil.rmtree(first, ignore_errors=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._train(load, second, batch_size, parts, (Note("trained-again", text),))

    def _train(
        self, load: Callable[[], Network], folder: Path, batch_size: int, parts: int, notes: tuple[Note, ...]
    ) -> TrainingRun:
        started, job = time.perf_counter(), self.job
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(folder, error) from error
        set_seed(job.seed)
        network = load()
        watch = Watch(self.progress, job.name, self.deadline)
        with quiet_transformers():
            trainer = self._trainer(network, folder, batch_size, parts, watch)
            self.progress.started(job.name, trainer.args.max_steps)
            run = self._fit(trainer, network, load)
            outputs = self._test_outputs(trainer, network)
        self.progress.advanced(job.name, trainer.state.max_steps - watch.step)
        run = self._tested(run, network, outputs)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        ended = [Note("time-limit", f"ended by the time limit {watch.unfinished}")] if watch.unfinished else []
        run = msgspec.structs.replace(
            run,
            steps=trainer.state.global_step,
            batch_size=batch_size,
            seconds=time.perf_counter() - started,
            notes=(*network.notes, *notes, *run.notes, *note_on_losses(losses), *ended),
            has_diverged=has_risen(losses),
            unfinished=watch.unfinished,
        )
        if self.models is None:
            return run
        model, rounding = self.models / str(run.steps), _ROUNDING[trainer.args.bf16]
        self._save(network, model)
        del trainer  # and its optimizer, to have memory for the saved model
        return self._compared(run, network, model, outputs, rounding)

    def _fit(self, trainer: NetworkTrainer, network: Network, load: Callable[[], Network]) -> TrainingRun:
        """Train, load the original weights again if training did not help, and return the validation scores."""
        metric, splits = self.metrics[0], self.splits
        untrained = self._validation(trainer, network) if head_of(splits.task).measures_first(network) else None
        trainer.fit()
        name, log = f"eval_{metric.name}", trainer.state.log_history
        curve = [entry[name] for entry in log if name in entry]
        validation, notes, discarded = self._validation(trainer, network), list[Note](), dict[str, float]()
        helped = True
        if untrained is not None:
            curve.insert(0, untrained.value)
            helped, note = has_helped(metric, untrained, validation)
            notes.append(note)
            if not helped:
                trained = network.test_predictions(self._test_outputs(trainer, network), splits.test)
                discarded = _scores(self.metrics, trained, splits.test)
                network.model.load_state_dict(load().model.state_dict())
                validation = untrained
        baselines = splits.baselines
        return TrainingRun(
            self.job.learning_rate,
            self.job.seed,
            validation=validation.value,
            curve=tuple(curve),
            notes=tuple(notes),
            has_learned=not baselines or validation.is_above(baselines["validation"][1]),
            is_untrained=not helped,
            discarded_scores=discarded,
        )

    def _validation(self, trainer: NetworkTrainer, network: Network) -> Measurement:
        """Measure a network, as it is, on the validation rows."""
        split = self.splits.validation
        return measure_part(self.metrics[0], network.predictions(trainer.outputs(split), split), split, "validation")

    def _test_outputs(self, trainer: NetworkTrainer, network: Network) -> Any:
        """Return the outputs for the test rows, and mark the notes on how these are read."""
        notes, network.notes = network.notes, []
        outputs = trainer.outputs(self.splits.test)
        network.notes = [*notes, *(replace(note, text=f"test rows: {note.text}") for note in network.notes)]
        return outputs

    def _tested(self, run: TrainingRun, network: Network, outputs: Any) -> TrainingRun:
        """Add the test scores to a run, given the outputs for the test rows."""
        split, baselines = self.splits.test, self.splits.baselines
        predictions = network.test_predictions(outputs, split)
        test = measure_part(self.metrics[0], predictions, split, "test")
        return msgspec.structs.replace(
            run,
            scores=_scores(self.metrics, predictions, split),
            stderr=test.stderr,
            loss=network.loss(outputs, split),
            baseline=_baseline(test, *baselines["test"]) if baselines else None,
        )

    def _compared(self, run: TrainingRun, network: Network, model: Path, outputs: Any, rounding: float) -> TrainingRun:
        """Add the scores of the saved model to a run, with a note, if its outputs for test rows are not these."""
        from hf_emms.finetune.saved_check import compare, opened

        notes, scores, name = [*run.notes], dict[str, float](), self.metrics[0].name
        measured = f"{metric_title(name)} {format_measured(name, run.scores[name])}"
        try:
            with checkpoint_errors(), quiet_transformers():
                read = opened(model, network, self.splits, self.job, partial(self.progress.advanced, self.job.name, 0))
                differs, unread, compared = compare(read, outputs, rounding)
                if unread:
                    text = f"the saved model cannot read {unread:,} of {compared:,} test rows, which are too short"
                    notes.append(Note("rows-too-short", text))
                if differs:
                    every, test = read(np.arange(len(network.rows(self.splits.test, False)))), self.splits.test
                    every = np.where(np.isnan(every), outputs, every) if unread else every
                    predictions = network.test_predictions(every, test)
                    # Outputs per token, for the padding of a batch too, depend on the other rows of the batch.
                    is_padded = isinstance(outputs, tuple) or outputs.ndim > 2 or outputs.dtype.kind == "i"
                    if not is_padded or predictions != network.test_predictions(outputs, test):
                        scores = _scores(self.metrics, predictions, test)
                        text = f"the saved model has {format_measured(name, scores[name])} instead of {measured}"
                        notes.append(Note("saved-model-differs", text))
        except EmmsError as error:
            text = f"the saved model does not open, measured {measured}: {error.message}"
            notes.append(Note("saved-model-differs", text))
        return msgspec.structs.replace(run, saved_scores=scores, notes=tuple(notes))

    def _save(self, network: Network, folder: Path) -> None:
        try:
            with atomic_folder(folder) as unfinished:
                if network.adapter is not None:
                    network.adapter.merge_and_unload()
                network.save(unfinished, self.splits.task.id)
        except UNWRITABLE as error:
            raise storage_error(folder, error) from error

    def _trainer(self, network: Network, folder: Path, batch_size: int, parts: int, watch: Watch) -> NetworkTrainer:
        recipe, validation, metrics = self.job.recipe, self.splits.validation, self.metrics
        train = network.rows(self.splits.train, True)
        total, epoch = recipe.total_steps(len(train)), -(-len(train) // recipe.batch_size)
        every = total // max(1, round(total / epoch))  # about an epoch

        def scores(evaluation: Any) -> dict[str, float]:
            predictions = network.predictions(evaluation.predictions, validation)
            return _scores(metrics, predictions, validation)

        return NetworkTrainer(
            network,
            train,
            self.job,
            self.device,
            folder,
            batch_size=batch_size,
            parts=parts,
            arguments={
                "eval_strategy": "steps",
                "eval_steps": every,
                "save_strategy": "steps",
                "save_steps": every,
                "load_best_model_at_end": True,
                "metric_for_best_model": metrics[0].name,
                "greater_is_better": True,
                "restore_callback_states_from_checkpoint": True,
                "logging_steps": max(1, total // _LOGS),
                "logging_first_step": True,
            },
            eval_dataset=network.rows(validation, False),
            compute_metrics=scores,
            callbacks=[watch, EarlyStoppingCallback(recipe.patience)],
        )


def train_once(
    network: Network, rows: BatchedRows, job: TrainingJob, device: torch.device, on_step: Callable[[], None]
) -> None:
    """Train a network without evaluations or states."""
    quiet = {"save_strategy": "no", "logging_strategy": "no"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        set_seed(job.seed)
        apply_method(network, job.recipe.method)
        NetworkTrainer(network, rows, job, device, Path(folder), arguments=quiet, callbacks=[OnStep(on_step)]).train()


def _scores(metrics: Sequence[Metric], predictions: list[Any], split: LabeledSplit) -> dict[str, float]:
    return {metric.name: metric.compute(predictions, split.references) for metric in metrics}


def _baseline(test: Measurement, name: str, baseline: Measurement) -> BaselineScore:
    return BaselineScore(name, baseline.value, baseline.stderr, test.gain_stderr(baseline))


# ---- the outcome ----------------------------------------------------------------------------------------------------


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


def note_on_losses(losses: Sequence[float]) -> list[Note]:
    """Return a note if the losses did not end clearly below their start."""
    first, last = _ends(losses)
    if last <= _FALLEN * first:
        return []
    return [Note("loss-did-not-fall", f"the loss did not fall: {first:.3g} at the start, {last:.3g} at the end")]


def has_risen(losses: Sequence[float]) -> bool:
    """Return whether the losses of a training rose by more than their scatter."""
    if len(losses) < _PARTS:
        return False
    first, last = _ends(losses)
    # Differences of successive losses do not contain the trend.
    error = np.std(np.diff(losses)) / math.sqrt(len(losses) // _PARTS)
    return bool(last > _RISEN * first and last - first > _MAX_ERRORS * error)


def _ends(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the first and of the last fifth of the losses."""
    count = len(losses) // _PARTS
    return (float(np.mean(losses[:count])), float(np.mean(losses[-count:]))) if count else (0.0, 0.0)
