"""Fine-tune the best checkpoints of a ranking."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError, Note
from hf_emms.finetune.fine_tune import (
    FineTuning,
    TrainOnce,
    fine_tune,
    keep_best,
    start_fine_tuning,
    train_here,
)
from hf_emms.finetune.recipe import TrainingJob, check_head
from hf_emms.finetune.splits import Splits
from hf_emms.hub import resolve
from hf_emms.options import SETTINGS, Options, RunOptions, settings_of
from hf_emms.options.calls import checked_call
from hf_emms.presets import dataset_preset
from hf_emms.ranking import Ranking, TrainingRun, check_ranking, is_commit
from hf_emms.ranking.progress import Progress
from hf_emms.ranking.progress_bars import reporting
from hf_emms.run.delivery import Finished, with_model
from hf_emms.run.plan import Session
from hf_emms.run.preflight import rate
from hf_emms.run.worker import Emit, EmittingProgress, Event, WorkerError, run_in_worker, runs_in_worker
from hf_emms.tasks import get_task

if TYPE_CHECKING:
    import datasets

    from hf_emms.data import DatasetSource


@checked_call
def confirm(
    ranking: Ranking,
    dataset: str | datasets.Dataset | None = None,
    *,
    top: int = 3,
    method: str | None = None,
    budget: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    learning_rates: float | str | Iterable[float | str] | None = None,
    seeds: int | None = None,
    confirm_samples: int | None = None,
    time_limit: str | None = None,
    save_model: str | None = None,
    push_model_to: str | None = None,
    batch_size: int | None = None,
    stall_limit: int = 120,
    read_memory: str | None = None,
    device: str = "auto",
    resume: bool = True,
    cache: bool = True,
    streaming: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | bool | None = None,
) -> Ranking:
    """Fine-tune the best checkpoints of a ranking, and return the ranking with their test scores.

    The scores apply to this budget. Each finished run is stored before the next run starts, so that the same call
    continues after an interruption.

    Args:
        ranking: The ranking whose best checkpoints are fine-tuned.
        dataset: The dataset of the ranking. By default found by its name in the ranking.
        top: The number of checkpoints. Checkpoints that share the last rank are fine-tuned too, up to twice this
            number.
        method: "full" (all weights, the default), "lora" or "head".
        budget: "quick" for few rows and epochs.
        epochs: The maximum number of epochs per run. By default by task. A run ends when it no longer improves.
        steps: The number of optimizer steps per run, instead of epochs.
        learning_rates: The peak learning rates to try. By default two, by the size of the checkpoint.
        seeds: The number of runs per checkpoint at its best learning rate.
        confirm_samples: The maximum number of rows. By default all.
        time_limit: The time limit of training, such as "90m" or "2h". Finished runs count.
        save_model: A folder for the best fine-tuned model.
        push_model_to: A model repository, "ORG/NAME", for the best model and its card. A new repository is private.
        batch_size: The number of rows per step.
        stall_limit: Seconds without progress after which a run, or reading the dataset, fails.
        read_memory: See `hf_emms.rank`.
        device: "auto", "cpu", "cuda" or "mps".
        resume: Reuse runs that an earlier call finished.
        cache: Read finished runs from the cache, and store them.
        streaming: Stream the dataset instead of downloading it.
        allow_pickle: See `hf_emms.rank`.
        trust_remote_code: See `hf_emms.rank`.
        progress: See `hf_emms.rank`.

    Returns:
        The ranking with `Row.fine_tuned`. `Ranking.best` is then the best fine-tuned checkpoint. If its model cannot be
            saved or uploaded, a warning and the last note explain the reason.

    Raises:
        EmmsError: The dataset or an argument is invalid.

    Examples:
        >>> import hf_emms
        >>> ranking = hf_emms.rank("demo_fashion")  # doctest: +SKIP
        >>> hf_emms.confirm(ranking, top=2).best.checkpoint  # doctest: +SKIP
        'emms-demo/resnet-fashion'
    """
    options = options_for(ranking, confirm=top, **settings_of(locals()))
    with reporting(progress) as receiver:
        session = start_session(ranking, options, receiver)
        return with_model(confirmed(ranking, session), session.options.training, receiver)


def options_for(ranking: Ranking, dataset: Any = None, **settings: Any) -> Options:
    """Return the options that read a ranking's dataset again.

    Raises:
        EmmsError: The dataset was in memory.
    """
    check_ranking(ranking)
    if dataset is None:
        dataset = ranking.dataset
        if not ranking.dataset_revision or ranking.dataset == "in-memory dataset":
            raise EmmsError(
                "dataset-in-memory", "the dataset of the ranking was in memory", "hf_emms.confirm(ranking, dataset)"
            )
        if is_commit(ranking.dataset_revision) and dataset_preset(dataset) is None:
            dataset = f"{ranking.dataset_id.partition('@')[0]}@{ranking.dataset_revision}"
    kept = {
        name: ranking.settings[name]
        for name, setting in SETTINGS.items()
        if setting.confirm == "kept" and ranking.settings.get(name) is not None
    }
    return Options.of(
        dataset,
        task=ranking.task,
        config=ranking.config,
        split=ranking.split,
        columns=ranking.columns,
        **kept,
        **settings,
    )


def start_session(ranking: Ranking, options: Options, progress: Progress) -> Session:
    """Return a session that fine-tunes the checkpoints of a stored ranking.

    Raises:
        EmmsError: A setting is invalid, or the task has no head.
    """
    session = Session.start(options, progress)
    check_head(get_task(ranking.task).for_columns(ranking.columns))
    return session


def fine_tuning_of(ranking: Ranking, session: Session, seconds_left: float | None = None) -> FineTuning:
    """Return the fine-tuning that `confirmed` would do."""
    options = session.options
    seconds = rate(options.running.device, get_task(ranking.task).input).seconds_per_parameter
    splits = session.read_splits(_at_revision(session.source, ranking))
    return start_fine_tuning(
        ranking,
        options,
        splits,
        session.cache,
        session.progress,
        seconds_per_parameter=seconds,
        seconds_left=seconds_left,
    )


def _at_revision(source: DatasetSource, ranking: Ranking) -> DatasetSource:
    """Return the dataset at the revision of the ranking, if a preset names it without revision."""
    revision = ranking.dataset_revision
    if source.repo.id != ranking.dataset_id or source.repo.revision == revision or not is_commit(revision):
        return source
    return replace(source, repo=resolve(source.repo.id, "dataset", revision=revision))


def confirmed(ranking: Ranking, session: Session, seconds_left: float | None = None) -> Finished:
    """Return a ranking whose `TrainingOptions.confirm` best checkpoints are fine-tuned. Its model is not kept yet."""
    work = fine_tuning_of(ranking, session, seconds_left)
    with _training(work.splits) as train_once:
        tuned = fine_tune(work, train_once)
    return Finished(tuned, partial(_keep_model, work, tuned))


def confirmed_or_not(ranking: Ranking, session: Session, seconds_left: float | None = None) -> Finished:
    """Return the result of `confirmed`. If it fails, the ranking has a note, and the delivery raises the error."""
    if session.options.training.confirm is None or ranking.best is None:
        return Finished(ranking)
    try:
        return confirmed(ranking, session, seconds_left)
    except EmmsError as error:
        failure = EmmsError(error.code, f"ranked, but not fine-tuned: {error.message}", error.hint)
        return Finished(ranking, errors=(failure,)).noted(Note("not-fine-tuned", failure.message))


def _keep_model(work: FineTuning, ranking: Ranking) -> None:
    if work.model_folder is not None:
        with _training(work.splits) as train_once:
            keep_best(work, work.model_folder, ranking, train_once)


@contextmanager
def _training(splits: Splits) -> Iterator[TrainOnce]:
    if not runs_in_worker():
        yield partial(train_here, splits.with_images_in_memory())
        return
    with training_in_worker(splits) as train_once:
        yield train_once


# ---- in the worker process -------------------------------------------------------------------------------------------


@contextmanager
def training_in_worker(splits: Splits) -> Iterator[TrainOnce]:
    """Yield a function that trains runs in the worker process."""
    with TemporaryDirectory(prefix="hf-emms-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "splits")
        path.write_bytes(pickle.dumps(splits))
        yield partial(_train_once, path)


def _train_once(splits: Path, work: FineTuning, job: TrainingJob, folder: Path) -> TrainingRun:
    def receive(event: Event) -> None:
        name, values = event
        getattr(work.progress, name)(*values)

    arguments = (job, splits, work.options.running, folder, work.runs.models_of(job), work.deadline)
    try:
        (run,) = run_in_worker(work.options.running.stall_limit, train_job, *arguments, on_event=receive)
    except WorkerError as error:
        return TrainingRun(job.learning_rate, job.seed, error=error.message)
    return run


def train_job(
    emit: Emit,
    job: TrainingJob,
    splits: Path,
    options: RunOptions,
    folder: Path,
    models: Path | None,
    deadline: float | None,
) -> Iterator[TrainingRun]:
    """Yield the result of a run; a job for `run_in_worker`."""
    from hf_emms.finetune.training import run_job

    progress = EmittingProgress(emit)
    yield run_job(job, _splits(splits), options, folder, models=models, deadline=deadline, progress=progress)


@lru_cache(maxsize=1)
def _splits(path: Path) -> Splits:
    """Return the splits of a file, whose images are decoded once for all runs of this process."""
    splits: Splits = pickle.loads(path.read_bytes())
    return splits.with_images_in_memory()
