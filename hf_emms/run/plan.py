"""Plan a ranking: resolve and pin its data, checkpoints and encoders before anything runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any, Self, TypeVar

import msgspec
import numpy as np

from hf_emms.cache import Cache, Key, cache_key, default_root
from hf_emms.errors import EmmsError, Note, checkpoint_errors
from hf_emms.features.feature_spec import FeatureSpec, device_in_keys, make_feature_spec
from hf_emms.finetune.fine_tune import check_settings
from hf_emms.finetune.recipe import check_head, max_rows
from hf_emms.formatting import parse_count, pluralize
from hf_emms.hub import Repo, cached_revisions, resolve
from hf_emms.options import (
    DEFAULT_ENCODERS,
    DEFAULT_ESTIMATORS,
    FeatureOptions,
    Options,
    RunOptions,
    SampleOptions,
    ScoringOptions,
)
from hf_emms.options.registry import installed_versions, versions
from hf_emms.presets import (
    DatasetPreset,
    checkpoint_presets,
    dataset_preset,
    default_checkpoints,
    expand_checkpoints,
    expand_encoders,
)
from hf_emms.ranking import EMMS, Part, Row
from hf_emms.ranking.estimators import get_estimators
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.run.bm25_baseline import bm25_row
from hf_emms.run.reading import read_dataset
from hf_emms.scoring.estimators import EstimatorList
from hf_emms.tasks import TASKS, Task, get_task
from hf_emms.texts import printable, redacted, setting_ref

if TYPE_CHECKING:
    from hf_emms.data import DatasetSource, Sample
    from hf_emms.finetune.splits import Splits

T = TypeVar("T")

# Part of the key of every row. Increase it if the same inputs produce a different row.
ROW_VERSION = 17

# Number of checkpoints to look up at the same time.
_THREADS = 4
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """The options, dataset and cache that ranking and fine-tuning share.

    Attributes:
        cached_before: The revisions in the Hub's cache at the start, if this run deletes what it downloads.
    """

    options: Options
    progress: Progress
    cache: Cache
    cached_before: frozenset[str] = frozenset()

    @classmethod
    def start(cls, options: Options, progress: Progress) -> Self:
        """Return a session.

        Raises:
            EmmsError: The estimators need more folds, this machine lacks the device, or fine-tuning cannot start.
        """
        for estimator in get_estimators(options.scoring.estimators):
            if "folds" in estimator.needs and options.scoring.folds < 2:
                problem = f"{estimator.name} needs at least two folds, not {options.scoring.folds}"
                raise EmmsError("few-folds", problem, setting_ref("folds", 5))
        if options.running.device not in ("auto", "cpu"):  # import torch only if the user named a device
            from hf_emms.features.device import choose_device

            choose_device(options.running.device)
        if options.training.confirm is not None:
            check_settings(options)
        before = cached_revisions() if options.running.delete_downloads else frozenset()
        return cls(options, progress, Cache(default_root() if options.running.cache else None, progress.noted), before)

    @property
    def preset(self) -> DatasetPreset | None:
        """The preset of the dataset; None if the user named another dataset."""
        name = self.options.sample.dataset
        return dataset_preset(name) if isinstance(name, str) else None

    @cached_property
    def source(self) -> DatasetSource:
        """The dataset that the user named, at a fixed revision. It is resolved on first use."""
        from hf_emms.data import open_dataset

        return open_dataset(self.options.sample)

    @property
    def sample(self) -> Sample:
        """The sample that checkpoints are ranked on."""
        return self._read[0]

    @property
    def reading_seconds(self) -> float:
        """The CPU seconds of reading the sample, which other programs on the machine do not change."""
        return self._read[1]

    @cached_property
    def _read(self) -> tuple[Sample, float]:
        from hf_emms.data import load_sample

        sample, seconds = self._read_in_worker(load_sample, self.source)
        if sample.reading is not None:
            self.progress.noted(str(sample.reading))
        _check_groups(sample, self.options)
        _check_prompts(sample.task, self.options.features)
        if self.options.training.confirm is not None:
            check_head(sample.task)
        return sample, seconds

    def read_splits(self, source: DatasetSource) -> Splits:
        """Return the rows of a dataset for fine-tuning."""
        from hf_emms.finetune.splits import load_splits

        splits, _ = self._read_in_worker(load_splits, source, max_rows=max_rows(self.options.training))
        return splits

    def _read_in_worker(self, read: Callable[..., T], source: DatasetSource, **settings: Any) -> tuple[T, float]:
        options = self.options
        with noted_while(self.progress, reading_note(options.sample)):
            return read_dataset(read, options.sample, source, options.running, **settings)


@dataclass(frozen=True)
class PlannedCheckpoint:
    """A checkpoint of a plan.

    Attributes:
        id: The name from the user, or the new name of a renamed repository.
        repo: None if the checkpoint was not found.
        row: Its finished row from the cache, or its failed row if it cannot run.
        spec: How to compute its features. None if it cannot run.
    """

    id: str
    repo: Repo | None
    row: Row | None
    spec: FeatureSpec | None = None


@dataclass(frozen=True)
class RankingPlan:
    """The resolved plan of a ranking.

    Attributes:
        session: What ranking and fine-tuning share.
        options: The options of the session, with the estimators of the task if the user named none.
        sample: The sample that checkpoints are ranked on.
        encoders: The label encoders.
        checkpoints: The checkpoints, in the user's order.
        notes: What the user may want to know or change.
        parts: The part of the checkpoints that the options name.
        missing_parts: The other parts.
    """

    session: Session
    options: Options
    sample: Sample
    encoders: tuple[Repo, ...]
    checkpoints: tuple[PlannedCheckpoint, ...]
    notes: tuple[Note, ...]
    parts: tuple[Part, ...] = ()
    missing_parts: tuple[Part, ...] = ()

    @cached_property
    def estimators(self) -> EstimatorList:
        return get_estimators(self.options.scoring.estimators)

    @cached_property
    def baselines(self) -> tuple[Row, ...]:
        """The rows without a checkpoint."""
        if "search" not in self.estimators.needs:
            return ()
        return tuple(filter(None, [bm25_row(self.sample, self.options.scoring, self.session.cache)]))

    @property
    def kept_revisions(self) -> frozenset[str] | None:
        """The commits in the Hub's cache that a finished checkpoint does not delete; None for all."""
        if not self.options.running.delete_downloads:
            return None
        return self.session.cached_before.union(encoder.revision for encoder in self.encoders)

    @property
    def to_run(self) -> dict[str, FeatureSpec]:
        """Name → feature spec of the checkpoints without a row."""
        waiting = (checkpoint for checkpoint in self.checkpoints if checkpoint.row is None)
        return {checkpoint.id: checkpoint.spec for checkpoint in waiting if checkpoint.spec}


def make_plan(options: Options, progress: Progress) -> RankingPlan:
    """Return the plan of a ranking. Checkpoints are resolved in several threads.

    Raises:
        EmmsError: The dataset, an encoder or an argument is invalid.
    """
    return plan_with(Session.start(options, progress), options)


def plan_with(session: Session, options: Options) -> RankingPlan:
    """Return the plan of a ranking on the sample of a session. The options may name other checkpoints."""
    preset = session.preset
    if preset is not None:
        preset.check_usable()
    # If encoders are surely needed, resolve them now, so that a wrong name fails before a long download.
    at_once = _surely_embeds_texts(options, preset)
    encoders = resolve_encoders(encoder_names(options.features, preset)) if at_once else ()
    sample = session.sample
    estimators = _estimators_for(sample.task, options.scoring)
    options = options.replaced(estimators=estimators.names)
    embeds = estimators.need_label_embeddings
    if sample.form == "numbers":
        encoders = ()
    elif embeds and not encoders:
        encoders = resolve_encoders(encoder_names(options.features, preset))
    ids = checkpoint_names(options.features, preset, sample.task.id)
    notes: list[Note] = [*sample.notes]
    if options.features.encoders and not embeds:
        unused = f"{setting_ref('encoders')} has no effect: {', '.join(estimators.names)} use no label embeddings"
        notes.append(Note("encoders-unused", unused))
    elif options.features.encoders and not encoders:
        unused = (
            f"{setting_ref('encoders')} has no effect: labels are numbers; {setting_ref('label_form', 'both')} adds "
        )
        notes.append(Note("encoders-unused", unused + "their texts"))
    names = tuple(dict.fromkeys(ids))
    of_part, parts, missing_parts = _parts_of(names, options.running)
    if repeated := len(ids) - len(names):
        notes.append(Note("checkpoints-repeated", f"{pluralize(repeated, 'checkpoint')} named twice are ranked once"))
    checkpoints = _checkpoints(of_part, session, options, sample, encoders)
    return RankingPlan(session, options, sample, encoders, checkpoints, tuple(notes), parts, missing_parts)


def _check_groups(sample: Sample, options: Options) -> None:
    """Raise an `EmmsError` if a sample has fewer groups than folds."""
    n_groups = len(np.unique(sample.groups))
    if n_groups < options.scoring.folds:
        groups = f"values in {options.sample.group_column!r}" if options.sample.group_column else "different inputs"
        rows = pluralize(len(sample), "row") + f" of {n_groups} {groups}" * (n_groups < len(sample))
        fewer = ", or " + setting_ref("folds", n_groups) if n_groups > 1 else ""
        raise EmmsError(
            "few-rows",
            f"{rows} are too few for {options.scoring.folds} folds",
            "use a dataset or split with more rows" + fewer,
        )


def _check_prompts(task: Task, options: FeatureOptions) -> None:
    """Raise an `EmmsError` if prompts of queries or documents are set for a task without a search."""
    for name in ("query_prompt", "document_prompt"):
        if getattr(options, name) is not None and name not in task.input.sentence_settings:
            raise EmmsError(
                "setting-without-effect", setting_ref(name) + f" is for searches, not for {task.id}", "leave it out"
            )


def _estimators_for(task: Task, options: ScoringOptions) -> EstimatorList:
    """Return the estimators of the options, or the defaults of the task.

    Raises:
        EmmsError: The task does not support an estimator.
    """
    estimators = _named_or_default(task, options)
    special = [estimator for estimator in estimators if estimator.needs & {"model", "search"}]
    unfit = next((estimator for estimator in special if estimator.name not in task.estimators), None)
    with_queries = TASKS.find(task.id) or task
    if (
        unfit is not None
        and with_queries.corpus is not None
        and unfit.name in (*with_queries.estimators, *with_queries.corpus.estimators)
    ):
        without = "without" if task.inputs else "with"
        raise EmmsError(
            "estimator-unsuitable",
            f"{unfit.name} is for datasets {without} queries",
            "choose other " + setting_ref("estimators"),
        )
    if unfit is not None:
        searched = "rerankers" if unfit.reranks else "searches of a corpus"
        what = searched if "search" in unfit.needs else "labels that checkpoints write"
        fitting = ", ".join(other.id for other in TASKS.values() if unfit.name in other.estimators)
        raise EmmsError(
            "estimator-unsuitable",
            f"{unfit.name} is for {what}, and not for {task.id}",
            "choose other " + setting_ref("estimators") + f", or one of the tasks {fitting}",
        )
    first = estimators[0]
    if options.dimensions and (first.reranks or "search" not in first.needs):
        problem = setting_ref("dimensions") + f" truncates embeddings of a search, but {first.name} orders the ranking"
        raise EmmsError("setting-without-effect", problem, "leave " + setting_ref("dimensions") + " out")
    return estimators


def _named_or_default(task: Task, options: ScoringOptions) -> EstimatorList:
    if not task.estimators or options.estimators != DEFAULT_ESTIMATORS:
        return get_estimators(options.estimators)
    return get_estimators(task.estimators)


def row_key(spec: FeatureSpec, options: Options, sample: Sample, encoders: tuple[Repo, ...]) -> Key:
    """Return the cache key of a finished row."""
    packages = ("accelerate", "peft") if "training" in get_estimators(options.scoring.estimators).needs else ()
    return cache_key(
        "rows",
        spec.repo.id,
        spec.repo.revision,
        options.features.in_keys(),
        options.scoring.in_keys(),
        options.running.in_keys(),
        versions=versions() | spec.versions | installed_versions(*packages),
        code=ROW_VERSION,
        extractor=spec.fingerprint,
        sample=sample.fingerprint,
        task=sample.task.id,
        encoders=[[encoder.id, encoder.revision] for encoder in encoders],
        device=device_in_keys(options.running),
    )


def _surely_embeds_texts(options: Options, preset: DatasetPreset | None) -> bool:
    """Return whether it is certain before reading the dataset that label texts will be embedded."""
    name = options.sample.task or (preset.task if preset else None)
    if name is None:
        return False
    task = get_task(name)
    return (
        task.corpus is None
        and _named_or_default(task, options.scoring).need_label_embeddings
        and (options.sample.label_form or task.label_form) != "numbers"
    )


def encoder_names(options: FeatureOptions, preset: DatasetPreset | None) -> tuple[str, ...]:
    """Return the ids of the label encoders: the user's, the dataset preset's, or the default."""
    return expand_encoders(options.encoders or (preset.encoders if preset and preset.encoders else DEFAULT_ENCODERS,))


def _parts_of(ids: Sequence[str], options: RunOptions) -> tuple[Sequence[str], tuple[Part, ...], tuple[Part, ...]]:
    """Return the checkpoints to rank, the part that they are, and the other parts that have checkpoints."""
    if options.part is None:
        return ids, (), ()
    number, count = options.share
    if number > len(ids):
        problem = f"part {options.part} has none of {pluralize(len(ids), 'checkpoint')}"
        raise EmmsError("empty-part", problem, setting_ref("part", f"1/{len(ids)}"))
    shares = [largest_first(ids)[place::count] for place in range(min(count, len(ids)))]
    names = [tuple(printable(redacted(id)) for id in share) for share in shares]
    parts = [Part(f"{place}/{count}", checkpoints) for place, checkpoints in enumerate(names, 1)]
    part = parts.pop(number - 1)
    return shares[number - 1], (part,) if parts else (), tuple(parts)


def largest_first(ids: Iterable[str]) -> list[str]:
    """Order checkpoints by their size in the presets, which needs no request. Others follow in their order."""
    sizes = {preset.name: preset.parameters or 0 for presets in checkpoint_presets().values() for preset in presets}
    return sorted(ids, key=lambda id: -sizes.get(id, 0))


def checkpoint_names(options: FeatureOptions, preset: DatasetPreset | None, task_id: str) -> tuple[str, ...]:
    """Return the ids of the checkpoints: the user's, the dataset preset's, or the task's.

    Raises:
        EmmsError: The options name none, and the task has no list.
    """
    if options.max_params is not None:
        return expand_checkpoints(default_checkpoints(task_id, parse_count(options.max_params)))
    of_preset = preset.checkpoints if preset is not None and preset.task == task_id else ()
    return expand_checkpoints(options.checkpoints or of_preset or default_checkpoints(task_id))


def reading_note(options: SampleOptions) -> str:
    """Return the message to show while the dataset is read."""
    name = options.dataset if isinstance(options.dataset, str) else "the dataset"
    return f"reading {name}" + ("" if options.streaming else f" ({setting_ref('streaming', True)} reads only a part)")


def resolve_encoders(ids: Iterable[str]) -> tuple[Repo, ...]:
    """Return the repositories of label encoders, or raise an `EmmsError`."""
    try:
        return tuple(resolve(id, "model") for id in ids)
    except EmmsError as error:
        others = setting_ref("encoders", "demo") + ", which ship with hf-emms"
        hint = f"{error.hint}; or " + others if error.hint else others
        raise EmmsError(error.code, f"a label encoder cannot be used: {error.message}", hint) from error


def _checkpoints(
    ids: Sequence[str],
    session: Session,
    options: Options,
    sample: Sample,
    encoders: tuple[Repo, ...],
) -> tuple[PlannedCheckpoint, ...]:
    """Return the checkpoints. Resolve several at a time, because the Hub answers slowly."""
    resolve_it = partial(_resolved, options=options, task=sample.task)
    # The threads are daemons, so that an interrupted program can end.
    with noted_while(session.progress, f"looking up {pluralize(len(ids), 'checkpoint')}"), ThreadPool(_THREADS) as pool:
        resolved = list(pool.imap(resolve_it, ids))
    n_embeddings = len(encoders) + (sample.label_numbers is not None)
    checkpoints: dict[Repo | str, PlannedCheckpoint] = {}
    for checkpoint in resolved:
        if checkpoint.spec is not None and options.running.resume:
            key = row_key(checkpoint.spec, options, sample, encoders)
            made_of = partial(_finished_row, checkpoint.id, options.scoring.estimators, n_embeddings)
            checkpoint = replace(checkpoint, row=session.cache.get_json(key, made_of))
        checkpoints.setdefault(checkpoint.repo or checkpoint.id, checkpoint)
    return tuple(checkpoints.values())


def _resolved(id: str, options: Options, task: Task) -> PlannedCheckpoint:
    name = printable(redacted(id))
    repo = or_failed_row(name, None, lambda: resolve(id, "model"))
    if isinstance(repo, Row):
        return PlannedCheckpoint(name, None, repo)
    if repo.folder is None:
        _, *revision = id.partition("@")
        name = printable(redacted("".join((repo.id, *revision))))
    spec = or_failed_row(name, repo.revision, lambda: spec_for(repo, options, task))
    if isinstance(spec, Row):
        return PlannedCheckpoint(name, repo, spec)
    return PlannedCheckpoint(name, repo, None, spec)


def or_failed_row(checkpoint: str, revision: str | None, call: Callable[[], T]) -> T | Row:
    """Call a function. If the checkpoint raises an error, return a failed row instead of a result."""
    try:
        with checkpoint_errors():
            return call()
    except EmmsError as error:
        _LOG.debug("%s failed", checkpoint, exc_info=True)
        return Row(checkpoint, revision, error=error.message)


def spec_for(repo: Repo, options: Options, task: Task) -> FeatureSpec:
    """Return how to compute a checkpoint's features for a task."""
    return make_feature_spec(
        repo,
        task.input,
        task.id,
        dtype=options.running.dtype,
        allow_pickle=options.running.allow_pickle,
        trust_remote_code=options.running.trust_remote_code,
        prompts=options.features,
    )


def _finished_row(id: str, estimators: Sequence[str], n_embeddings: int, stored: dict[str, Any]) -> Row:
    """Return a stored row.

    Raises:
        ValueError: The row has other estimators or invalid numbers.
    """
    row = msgspec.convert({**stored, "checkpoint": id, "cached": "row"}, Row)
    if row.error is not None or estimators[0] not in row.scores or not set(row.scores) <= {*estimators}:
        raise ValueError("its scores are from other estimators")
    for name in EMMS:
        if name in row.scores:
            weights = row.scores[name].details["weights"]
            if len(weights) != n_embeddings or not np.isfinite(weights).all():
                raise ValueError("its weights do not match the label embeddings")
    return row
