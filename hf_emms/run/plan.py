"""What a ranking will run on, resolved and pinned before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any, Self

import msgspec
import numpy as np

from hf_emms.cache import Cache, default_cache
from hf_emms.errors import EmmsError, install_command, printable, redacted, use
from hf_emms.features.extraction_plan import ExtractionPlan, plan_extraction
from hf_emms.finetune.fine_tune import FineTuning, train_here
from hf_emms.finetune.memory import check_short_run
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.formatting import pluralize
from hf_emms.heads.response import longest_tokens
from hf_emms.hub import Repo, resolve
from hf_emms.inputs.prompt import MAX_TOKENS
from hf_emms.options import DEFAULT_ENCODERS, DEFAULT_ESTIMATORS, Options
from hf_emms.presets import DatasetPreset, dataset_preset, default_checkpoints, expand_checkpoints, expand_encoders
from hf_emms.publish.results import KnownRankings
from hf_emms.ranking import EMMS, Row, TrainingRun
from hf_emms.ranking.estimators import get_estimator
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.registry import versions
from hf_emms.run.engines import Engine, or_failed_row
from hf_emms.run.engines.extraction import needs_label_embeddings, trains, weight_bytes
from hf_emms.run.engines.local import LocalEngine
from hf_emms.run.engines.race import RaceEngine
from hf_emms.tasks import TASKS, Task, get_task

if TYPE_CHECKING:
    from hf_emms.data import DatasetSource, Sample

# Part of the key of every finished row: raise it when the same inputs give another row.
ROW_VERSION = 9

# Checkpoints that are looked up at the same time.
_THREADS = 4


@dataclass(frozen=True)
class Session:
    """What a ranking and the fine-tuning of its best checkpoints share."""

    options: Options
    progress: Progress
    cache: Cache
    engine: Engine

    @classmethod
    def start(cls, options: Options, progress: Progress) -> Self:
        """A session; raises if the engine's package is not installed, or it does not support the other options."""
        return cls(options, progress, default_cache(options.cache, progress.noted), _engine_for(options))

    @cached_property
    def source(self) -> DatasetSource:
        """The dataset, found and pinned once."""
        from hf_emms.data import open_dataset

        return open_dataset(self.options.sample)

    def train_all(
        self, work: FineTuning, jobs: Sequence[TrainingJob]
    ) -> Generator[tuple[TrainingJob, TrainingRun], None, None]:
        """A `TrainAll`: where the options say."""
        if self.options.engine != "ray":
            return train_here(work, jobs)
        from hf_emms.run.engines.ray import train_on_ray

        return train_on_ray(work, jobs)


def _engine_for(options: Options) -> Engine:
    if options.engine != "ray" and options.ray_address is not None:
        problem = use("ray_address") + f" is for a Ray cluster, but the engine is {options.engine}"
        raise EmmsError(problem, use("engine", "ray"))
    if options.race is not None:
        if options.engine != "local":
            problem = use("race") + " runs in this process, not on " + use("engine", options.engine)
            raise EmmsError(problem, "leave one of them out")
        return RaceEngine(options.race, get_estimator(options.estimators[0]), options.layers)
    if options.engine != "ray":
        return LocalEngine()
    if options.ray_address is None and "RAY_ADDRESS" not in os.environ:
        # Ray reads this when it is imported: its processes then listen on the loopback device only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        from hf_emms.run.engines.ray import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise EmmsError(use("engine", "ray") + " needs Ray, which is not installed", install_command("ray")) from None
    return RayEngine(options.ray_address)


@dataclass(frozen=True)
class Candidate:
    """A checkpoint of a plan.

    Attributes:
        id: as the user named it; a repository that was renamed has its present name.
        repo: None if it could not be resolved.
        row: its finished row, if the cache has it, or its failed row if it cannot be run.
        extraction: how its features are made; None if it cannot be run.
    """

    id: str
    repo: Repo | None
    row: Row | None
    extraction: ExtractionPlan | None = None


@dataclass(frozen=True)
class Plan:
    """What a ranking will run on, everything resolved; for `elsewhere` see `KnownRankings.elsewhere`."""

    session: Session
    sample: Sample
    encoders: tuple[Repo, ...]
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    elsewhere: Mapping[str, float] = field(default_factory=dict)

    @property
    def options(self) -> Options:
        return self.session.options

    @property
    def to_run(self) -> dict[str, ExtractionPlan]:
        """Name → how features are made, of the checkpoints that have no row yet."""
        return {each.id: each.extraction for each in self.candidates if each.extraction and each.row is None}


ModelResolver = Callable[[str], Repo]


def find_model(id: str) -> Repo:
    """The model repository or folder of a name, at its exact revision."""
    return resolve(id, "model")


def plan(options: Options, progress: Progress, resolver: ModelResolver = find_model) -> Plan:
    """Reads the dataset and resolves every checkpoint and encoder, in several threads; runs none of them.

    Raises:
        EmmsError: the dataset, an encoder or an argument is not usable.
    """
    from hf_emms.data import load_sample

    for name in options.estimators:
        if get_estimator(name).folds and options.folds < 2:
            raise EmmsError(
                f"{name} holds rows out, which takes two folds or more, not {options.folds}", use("folds", 5)
            )
    session = Session.start(options, progress)
    rankings = KnownRankings.read(options.results) if options.results is not None else None
    if rankings is not None:
        options = replace(options, results=f"{rankings.repo.id}@{rankings.repo.revision}")
        session = replace(session, options=options)
    preset = dataset_preset(options.dataset) if isinstance(options.dataset, str) else None
    if preset is not None:
        preset.check_usable()
    # If it is clear already that label texts will be embedded, a wrong encoder fails before a long download.
    embeds = needs_label_embeddings(options)
    encoders = _resolve_encoders(options, preset, resolver) if embeds and _surely_texts(options, preset) else ()
    with noted_while(progress, reading_note(options)):
        sample = load_sample(options.sample, session.cache, session.source)
    check_folds(sample, options)
    options = _with_task_estimators(options, sample.task)
    session = replace(session, options=options)
    if sample.form == "numbers":
        encoders = ()
    elif embeds and not encoders:
        encoders = _resolve_encoders(options, preset, resolver)
    ids, missing = checkpoint_names(options, preset, sample.task.id)
    notes = [*sample.notes, *missing]
    if options.encoders and not embeds:
        notes.append(
            f"no label embeddings are made, since none enter {', '.join(options.estimators)}: {use('encoders')} "
            "changes nothing"
        )
    elif options.encoders and not encoders:
        notes.append(f"labels are numbers, which no encoder embeds: {use('label_form', 'both')} adds their words")
    names = tuple(dict.fromkeys(ids))
    if len(names) < len(ids):
        notes.append(f"named twice and ranked once: {pluralize(len(ids) - len(names), 'checkpoint')}")
    candidates = _candidates(names, session, sample, encoders, resolver)
    if rankings is None:
        return Plan(session, sample, encoders, candidates, tuple(notes))
    ranks, from_where = rankings.elsewhere(sample.task.id, sample.repo.id, sample.config)
    return Plan(session, sample, encoders, candidates, (*notes, *from_where), ranks)


def check_folds(sample: Sample, options: Options) -> None:
    """Raise an `EmmsError` if a sample has fewer groups of rows than there are folds."""
    n_groups = len(np.unique(sample.groups))
    if n_groups < options.folds:
        groups = f"values in {options.group_column!r}" if options.group_column else "different inputs"
        rows = pluralize(len(sample), "row") + f" of {n_groups} {groups}" * (n_groups < len(sample))
        fewer = ", or " + use("folds", n_groups) if n_groups > 1 else ""
        raise EmmsError(
            f"{rows} cannot fill {options.folds} folds: too few to tell checkpoints apart",
            "take a dataset or a split with more rows" + fewer,
        )


def _with_task_estimators(options: Options, task: Task) -> Options:
    """The options with the task's own estimators where the user names none.

    Raises:
        EmmsError: an estimator needs the checkpoint itself, where nothing gives it that.
    """
    if task.estimators and options.estimators == DEFAULT_ESTIMATORS:
        first, *others = task.estimators
        beside = [name for name in others if options.race is None or not get_estimator(name).needs_model]
        options = replace(options, estimators=(first, *beside))
    names = [name for name in options.estimators if get_estimator(name).needs_model]
    unfit = next((name for name in names if name not in task.estimators), None)
    if unfit is not None:
        fitting = ", ".join(other.id for other in TASKS.values() if unfit in other.estimators)
        raise EmmsError(
            f"{unfit} is for labels that checkpoints write, and not for {task.id}",
            "name other " + use("estimators") + f"; tasks that it is for: {fitting}",
        )
    if names and options.race is not None:
        raise EmmsError(
            use("race") + f" stops checkpoints by their features, and {names[0]} needs the checkpoints themselves",
            "leave " + use("race") + " out, or race by EMMS: " + use("estimators", "emms_knn"),
        )
    return options


def row_key(extraction: ExtractionPlan, options: Options, sample: Sample, encoders: tuple[Repo, ...]) -> dict[str, Any]:
    """The cache key of a finished row: everything that changes it."""
    return {
        "id": extraction.repo.id,
        "revision": extraction.repo.revision,
        "extractor": extraction.fingerprint,
        "sample": sample.fingerprint,
        "task": sample.task.id,
        "encoders": [[encoder.id, encoder.revision] for encoder in encoders],
        "options": options.features.in_keys() | options.scoring.in_keys() | options.running.in_keys(),
        "device": options.device,
        "versions": versions(),
        "code": ROW_VERSION,
    }


def _surely_texts(options: Options, preset: DatasetPreset | None) -> bool:
    """Whether it is clear before the dataset is read that labels become texts, which encoders embed."""
    task = options.task or (preset.task if preset else None)
    return task is not None and (options.label_form or get_task(task).label_form) != "numbers"


def encoder_names(options: Options, preset: DatasetPreset | None) -> tuple[str, ...]:
    """The ids of the label encoders: those asked for, the dataset preset's, or the default."""
    return expand_encoders(options.encoders or (preset.encoders if preset and preset.encoders else DEFAULT_ENCODERS,))


def checkpoint_names(
    options: Options, preset: DatasetPreset | None, task_id: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ids that are ranked: those asked for, the dataset preset's, or the task's; and notes on sets of them.

    Raises:
        EmmsError: none is asked for, and the task has no list.
    """
    of_preset = preset.checkpoints if preset is not None and preset.task == task_id else ()
    return expand_checkpoints(options.checkpoints or of_preset or default_checkpoints(task_id))


def reading_note(options: Options) -> str:
    """What is said while rows are read."""
    name = options.dataset if isinstance(options.dataset, str) else "the dataset"
    return f"reading {name}" + ("" if options.streaming else f" ({use('streaming', True)} reads only a part)")


def _resolve_encoders(options: Options, preset: DatasetPreset | None, resolver: ModelResolver) -> tuple[Repo, ...]:
    try:
        return tuple(map(resolver, encoder_names(options, preset)))
    except EmmsError as error:
        remedy = error.remedy + "; or " if error.remedy else ""
        hint = remedy + use("encoders", "demo") + ": those ship with hf-emms"
        raise EmmsError("a label encoder cannot be used: " + error.problem, hint) from error


def _candidates(
    ids: Sequence[str], session: Session, sample: Sample, encoders: tuple[Repo, ...], resolver: ModelResolver
) -> tuple[Candidate, ...]:
    """Resolves checkpoints, several at a time: the Hub takes long to answer, and a folder is read completely."""
    resolve_it = partial(_resolved, options=session.options, task=sample.task, resolver=resolver)
    # Its threads are daemons, which do not keep an interrupted program from ending.
    with ThreadPool(_THREADS) as pool:
        resolved = pool.map(resolve_it, ids, 1)
    candidates: dict[Repo | str, Candidate] = {}
    for candidate in resolved:
        if candidate.extraction is not None and session.options.resume:
            key = row_key(candidate.extraction, session.options, sample, encoders)
            made_of = partial(_finished_row, candidate.id, session.options, len(encoders))
            candidate = replace(candidate, row=session.cache.get_json("rows", key, made_of))
        if candidate.extraction is not None and candidate.row is None and session.options.engine == "local":
            candidate = replace(candidate, row=_too_large(candidate, session, sample))
        candidates.setdefault(candidate.repo or candidate.id, candidate)
    return tuple(candidates.values())


def _too_large(candidate: Candidate, session: Session, sample: Sample) -> Row | None:
    """The failed row of a checkpoint whose short run does not fit into memory; its weights are not downloaded."""
    plan, options = candidate.extraction, session.options
    if plan is None or not trains(options):
        return None
    try:
        of_weights = weight_bytes(plan.weights_repo, session.cache)
    except EmmsError:
        return None  # which is said when it is loaded
    check = partial(check_short_run, plan, of_weights, longest_row(sample), options.device)
    failed = or_failed_row(candidate.id, plan.repo.revision, check)
    return failed if isinstance(failed, Row) else None


def longest_row(sample: Sample) -> int:
    """About how many tokens the longest prompt with the longest response has."""
    return longest_tokens(sample.task.input.contents(sample.inputs), sample.label_texts, MAX_TOKENS)


def _resolved(id: str, options: Options, task: Task, resolver: ModelResolver) -> Candidate:
    name = printable(redacted(id))  # which every file can hold
    repo = or_failed_row(name, None, lambda: resolver(id))
    if isinstance(repo, Row):
        return Candidate(name, None, repo)
    if repo.folder is None:
        name = printable(redacted("".join((repo.id, *id.partition("@")[1:]))))
    extraction = or_failed_row(name, repo.revision, lambda: planned_extraction(repo, options, task))
    if isinstance(extraction, Row):
        return Candidate(name, repo, extraction)
    return Candidate(name, repo, None, extraction)


def planned_extraction(repo: Repo, options: Options, task: Task) -> ExtractionPlan:
    """How the features of a checkpoint are made for a task."""
    return plan_extraction(repo, task.input, task.id, dtype=options.dtype, trust_remote_code=options.trust_remote_code)


def _finished_row(id: str, options: Options, encoders: int, stored: dict[str, Any]) -> Row:
    """The row that is stored; raises a `ValueError` if it is not one of these options, or its numbers are none."""
    row = msgspec.convert({**stored, "checkpoint": id, "cached": "row"}, Row)
    if row.error is not None or options.estimators[0] not in row.scores or not set(row.scores) <= {*options.estimators}:
        raise ValueError("its scores are those of other estimators")
    for name in EMMS:
        weights = row.scores[name].details["weights"] if name in row.scores else ()
        if name in row.scores and not (encoders <= len(weights) <= encoders + 1 and np.isfinite(weights).all()):
            raise ValueError("its weights are not those of the label encoders")
    return row
