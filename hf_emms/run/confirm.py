"""The best checkpoints of a ranking are fine-tuned, in this process or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError
from hf_emms.finetune.fine_tune import DEFAULT_TOP, FineTuning, check_settings, fine_tune, prepare
from hf_emms.finetune.recipe import check_head
from hf_emms.finetune.saving import ModelFolder, push_best
from hf_emms.hub import resolve
from hf_emms.options import SETTINGS, Options, settings_of
from hf_emms.presets import dataset_preset
from hf_emms.ranking import Ranking, check_ranking, is_commit
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.ranking.progress_bars import reporting
from hf_emms.run.plan import Session, reading_note
from hf_emms.run.preflight import rate
from hf_emms.tasks import get_task

if TYPE_CHECKING:
    import datasets

    from hf_emms.data import DatasetSource


def confirm(
    ranking: Ranking,
    dataset: str | datasets.Dataset | None = None,
    *,
    top: int = DEFAULT_TOP,
    method: str | None = None,
    budget: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    learning_rates: float | str | Iterable[float | str] | None = None,
    seeds: int | None = None,
    confirm_samples: int | None = None,
    time_limit: str | None = None,
    save_model: str | None = None,
    keep_adapter: bool = False,
    push_to_hub: str | None = None,
    batch_size: int | None = None,
    stall_limit: int = 120,
    device: str = "auto",
    engine: str = "local",
    ray_address: str | None = None,
    resume: bool = True,
    cache: bool = True,
    streaming: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | bool | None = None,
) -> Ranking:
    """Fine-tune the best checkpoints of a ranking, and return the ranking with their test scores.

    The scores hold for this budget. Every finished run is on disk before the next run starts, so that the same call
    continues where it was interrupted.

    Args:
        ranking: whose best checkpoints are fine-tuned.
        dataset: what it was made on; by default found under the ranking's name for it.
        top: how many; those that share the last rank are fine-tuned too, up to twice as many.
        method: "full" (all weights; the default), "lora" or "head"; of similarity also "cross-encoder", no bi-encoder.
        budget: "quick": few rows and epochs.
        epochs: the most epochs a run; by default it depends on the task, and a run ends when it no longer improves.
        steps: optimizer steps a run, instead of epochs.
        learning_rates: peaks that are tried; by default two, by the size of the checkpoint.
        seeds: runs of each checkpoint at its best rate.
        confirm_samples: the most rows that are read; all by default.
        time_limit: when training ends, e.g. "90m" or "2h"; what is finished counts.
        save_model: a folder for the best fine-tuned model.
        keep_adapter: save the LoRA adapter alone, not merged into the model; for checkpoints that write responses.
        push_to_hub: a model repository, "ORG/NAME", that it is uploaded to with its card; created, and private then, if
            needed.
        batch_size: rows a step.
        stall_limit: seconds without progress after which a run fails.
        device: "auto", "cpu", "cuda" or "mps".
        engine: "local", one run after the other, or "ray", as many at a time as the cluster has GPUs or cores for.
        ray_address: see `hf_emms.rank`.
        resume: take runs that an earlier call finished.
        cache: read finished runs from the cache, and store them there.
        streaming: read the dataset without downloading all of it.
        allow_pickle: see `hf_emms.rank`.
        trust_remote_code: see `hf_emms.rank`.
        progress: see `hf_emms.rank`.

    Returns:
        The ranking with `Row.fine_tuned`; `Ranking.best` is then the best by what was measured.

    Raises:
        EmmsError: the dataset or an argument is not usable.

    Example:
        >>> import hf_emms
        >>> ranking = hf_emms.rank("demo_fashion")  # doctest: +SKIP
        >>> hf_emms.confirm(ranking, top=2).best.checkpoint  # doctest: +SKIP
        'emms-demo/resnet-fashion'
    """
    options = options_for(ranking, confirm=top, **settings_of(locals()))
    with reporting(progress) as receiver:
        result = confirmed(ranking, start_session(ranking, options, receiver))
        push_best(options.training, receiver.noted)
        return result


def options_for(ranking: Ranking, dataset: Any = None, **settings: Any) -> Options:
    """Return the options that read a ranking's dataset again; raises for a dataset that was in memory."""
    check_ranking(ranking)
    if dataset is None:
        dataset = ranking.dataset
        if not ranking.dataset_revision or ranking.dataset == "in-memory dataset":
            raise EmmsError("the ranking is of a dataset in memory", "hf_emms.confirm(ranking, dataset)")
        if is_commit(ranking.dataset_revision) and dataset_preset(dataset) is None:
            dataset = f"{ranking.dataset_id.partition('@')[0]}@{ranking.dataset_revision}"
    kept = {
        name: ranking.settings[name] or None if setting.zero_is_none else ranking.settings[name]
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
    """Return a session that confirms a kept ranking; raises if a setting is not usable, or the task has no head."""
    if options.engine == "jobs":
        raise EmmsError("a job does not confirm a ranking that is kept here", "hf-emms rank --engine jobs --confirm N")
    session = Session.start(options, progress)
    check_settings(options)
    check_head(get_task(ranking.task), options.training)
    return session


def prepared(ranking: Ranking, session: Session, model_folder: ModelFolder | None = None) -> FineTuning:
    """Return the fine-tuning that `confirmed` would do."""
    options = session.options
    seconds = rate(options.device, get_task(ranking.task).input).seconds_per_parameter
    with noted_while(session.progress, reading_note(options.sample)):
        source = _at_revision(session.source, ranking)
        return prepare(
            ranking,
            options,
            source,
            session.cache,
            session.progress,
            seconds_per_parameter=seconds,
            model_folder=model_folder,
        )


def _at_revision(source: DatasetSource, ranking: Ranking) -> DatasetSource:
    """Return the dataset at the revision that was ranked, where a preset names the dataset without one."""
    revision = ranking.dataset_revision
    if source.repo.id != ranking.dataset_id or source.repo.revision == revision or not is_commit(revision):
        return source
    return replace(source, repo=resolve(source.repo.id, "dataset", revision=revision))


class NotConfirmedError(EmmsError):
    """The best checkpoints of a finished `ranking` could not be fine-tuned."""

    ranking: Ranking


def confirmed(ranking: Ranking, session: Session, model_folder: ModelFolder | None = None) -> Ranking:
    """Return a ranking with its shortlist, of `TrainingOptions.confirm` checkpoints, fine-tuned."""
    return fine_tune(prepared(ranking, session, model_folder), session.train_all)
