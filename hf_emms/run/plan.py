"""What a ranking will run on, resolved and pinned before anything runs, and what that will cost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.pool import ThreadPool
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.cache import Cache, default_cache, default_root
from hf_emms.errors import EmmsError, printable, redacted
from hf_emms.features.checkpoint_files import needed_files, needed_weights
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo, RepoFile, listing, resolve
from hf_emms.hub.known_models import KnownModel, remember
from hf_emms.inputs import InputKind
from hf_emms.options import DEFAULT_ENCODERS, SETTINGS, Options
from hf_emms.presets import DatasetPreset, dataset_preset, default_checkpoints, expand_checkpoints, expand_encoders
from hf_emms.publish.results import KnownRankings
from hf_emms.ranking import EMMS, Ranking, Row
from hf_emms.ranking.estimators import get_estimator
from hf_emms.ranking.progress import Progress
from hf_emms.registry import versions
from hf_emms.run.engines.base import Engine, or_failed_row
from hf_emms.run.engines.local import LocalEngine
from hf_emms.run.engines.race import RaceEngine
from hf_emms.tasks import get_task

if TYPE_CHECKING:
    from hf_emms.data import Sample


# Part of the key of every finished row: raise it when the same inputs give another row.
ROW_VERSION = 6

# Checkpoints that are looked up at the same time.
_THREADS = 4

# Seconds for one input and one parameter, on one CPU core or two: two operations for each parameter and token, 197
# tokens for an image of 224 × 224, some 32 for a text, 200 for a pair of texts, 5 · 10¹⁰ operations a second. Right
# within a factor of about three.
GPU_SPEEDUP = 100
# The time of shorter runs is mostly that of loading.
_MIN_SECONDS = 5.0
_MAX_RANKINGS = 50
_BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class Candidate:
    """A checkpoint of a plan.

    Attributes:
        id: as the user named it; a repository that was renamed has its present name.
        repo: the checkpoint at its exact revision; None if it could not be resolved.
        row: its finished row, if the cache has it, or its failed row if it could not be resolved.
    """

    id: str
    repo: Repo | None
    row: Row | None


@dataclass(frozen=True)
class Plan:
    """What a ranking will run on, everything resolved.

    `elsewhere` has the mean ranks of checkpoints on other datasets, see `KnownRankings.elsewhere`.
    """

    options: Options
    sample: Sample
    encoders: tuple[Repo, ...]
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]
    elsewhere: Mapping[str, float] = field(default_factory=dict)


Find = Callable[[str], Repo]
"""The model repository or folder of a name, at its exact revision; raises an `EmmsError`."""


def find_model(id: str) -> Repo:
    """See `Find`."""
    return resolve(id, "model")


def plan(options: Options, progress: Progress, find: Find = find_model) -> Plan:
    """Reads the dataset and resolves every checkpoint and encoder; runs none of them.

    Args:
        options: of the ranking.
        progress: receives events while the dataset is read.
        find: resolves checkpoints and encoders, in several threads.

    Raises:
        EmmsError: the dataset, an encoder or an argument is not usable.
    """
    from hf_emms.data import load_sample

    for name in options.estimators:
        if get_estimator(name).folds and options.folds < 2:
            raise EmmsError(f"{name} holds rows out, which takes two folds or more, not {options.folds}", "--folds 5")
    engine_for(options)
    preset = dataset_preset(options.dataset) if isinstance(options.dataset, str) else None
    if preset is not None:
        preset.check_usable()
    known = KnownRankings.read(options.results) if options.results is not None else None
    # If it is known already that there will be label texts, a wrong encoder fails before a long download.
    encoders = _resolve_encoders(options, preset, find) if _surely_texts(options, preset) else ()
    cache = open_cache(options, progress)
    sample = load_sample(options, cache)
    if sample.form == "numbers":
        encoders = ()
    elif not encoders:
        encoders = _resolve_encoders(options, preset, find)
    ids, missing = checkpoint_names(options, preset, sample.task.id)
    candidates = _candidates(tuple(dict.fromkeys(ids)), options, sample, encoders, cache, find)
    notes = [*sample.notes, *missing]
    if options.encoders and not encoders:
        notes.append("labels are numbers, which no encoder embeds: --label-form both adds their words")
    if len(candidates) < len(ids):
        notes.append(f"named twice and ranked once: {pluralize(len(ids) - len(candidates), 'checkpoint')}")
    if known is None:
        return Plan(options, sample, encoders, candidates, tuple(notes))
    options = replace(options, results=f"{known.repo.id}@{known.repo.revision}")
    ranks, found = known.elsewhere(sample.task.id, sample.repo.id, sample.config)
    return Plan(options, sample, encoders, candidates, (*notes, *found), ranks)


def open_cache(options: Options, progress: Progress) -> Cache:
    """The cache that the options ask for; it reports problems to `progress`."""
    return default_cache(options.cache, progress.noted)


def engine_for(options: Options) -> Engine:
    """The engine that the options ask for.

    Raises:
        EmmsError: its package is not installed, or it does not support the other options.
    """
    if options.engine == "local":
        for name in ("ray_address", "shard_size"):
            if getattr(options, name) is not None:
                raise EmmsError(f"{SETTINGS[name].flag} is for a Ray cluster, but the engine is local", "--engine ray")
    if options.race is not None:
        if options.engine != "local":
            raise EmmsError(f"--race runs in this process, not on --engine {options.engine}", "leave one of them out")
        return RaceEngine(options.race, get_estimator(options.estimators[0]), options.layers)
    if options.engine == "local":
        return LocalEngine()
    if options.ray_address is None and "RAY_ADDRESS" not in os.environ:
        # Ray reads this when it is imported: its processes then listen on the loopback device only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        from hf_emms.run.engines.ray_engine import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise EmmsError("--engine ray needs Ray, which is not installed", "pip install 'hf-emms[ray]'") from None
    return RayEngine(options.ray_address, options.shard_size)


def row_key(repo: Repo, options: Options, sample: Sample, encoders: tuple[Repo, ...]) -> dict[str, Any]:
    """The cache key of a finished row: everything that changes it."""
    return {
        "id": repo.id,
        "revision": repo.revision,
        "sample": sample.fingerprint,
        "task": sample.task.id,
        "encoders": [[encoder.id, encoder.revision] for encoder in encoders],
        "options": options.cache_key_fields("features", "scores"),
        "versions": versions(),
        "code": ROW_VERSION,
    }


def _surely_texts(options: Options, preset: DatasetPreset | None) -> bool:
    """Whether it is known before the dataset is read that labels become texts, which encoders embed."""
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


def _resolve_encoders(options: Options, preset: DatasetPreset | None, find: Find) -> tuple[Repo, ...]:
    try:
        return tuple(map(find, encoder_names(options, preset)))
    except EmmsError as error:
        hint = f"{error.hint}; or --encoder demo: those ship with hf-emms"
        raise EmmsError(f"a label encoder cannot be used: {error.message}", hint) from error


def _shown(id: str) -> str:
    """The name of a checkpoint in the ranking, which every file can hold."""
    return printable(redacted(id))


def _candidates(
    ids: Sequence[str], options: Options, sample: Sample, encoders: tuple[Repo, ...], cache: Cache, find: Find
) -> tuple[Candidate, ...]:
    """Resolves checkpoints, several at a time: the Hub takes long to answer, and a folder is read completely."""
    # Its threads are daemons, which do not keep an interrupted program from ending.
    with ThreadPool(_THREADS) as pool:
        resolved = pool.map(lambda id: or_failed_row(_shown(id), None, partial(find, id)), ids, 1)
    candidates = []
    known: set[Repo] = set()
    for id, repo in zip(map(_shown, ids), resolved, strict=True):
        if isinstance(repo, Row):
            candidates.append(Candidate(id, None, repo))
            continue
        if repo in known:
            continue
        known.add(repo)
        if repo.folder is None:
            id = _shown("".join((repo.id, *id.partition("@")[1:])))
        key, made_of = row_key(repo, options, sample, encoders), partial(_finished_row, id, options, len(encoders))
        row = cache.get_json("rows", key, made_of) if options.resume else None
        candidates.append(Candidate(id, repo, row))
    return tuple(candidates)


def _finished_row(id: str, options: Options, encoders: int, stored: dict[str, Any]) -> Row:
    """The row that is stored.

    Raises:
        ValueError: it is not one of these options, or its numbers are none.
    """
    row = msgspec.convert({**stored, "checkpoint": id, "cached": "row"}, Row)
    if row.error is not None or options.estimators[0] not in row.scores or not set(row.scores) <= {*options.estimators}:
        raise ValueError("its scores are those of other estimators")
    for name in EMMS:
        weights = row.scores[name].details["weights"] if name in row.scores else ()
        if name in row.scores and not (encoders <= len(weights) <= encoders + 1 and np.isfinite(weights).all()):
            raise ValueError("its weights are not those of the label encoders")
    return row


@dataclass(frozen=True)
class Cost:
    """What one checkpoint or encoder costs.

    Attributes:
        files: number of files that are needed.
        bytes: to download.
        cached: bytes that are on this machine already.
        seconds: of computing features, by the `Rate`; None for an encoder.
        problem: why the rest is unknown.
        weights: bytes of the weights.
    """

    files: int = 0
    bytes: int = 0
    cached: int = 0
    seconds: float | None = None
    problem: str | None = None
    weights: int = 0


@dataclass(frozen=True)
class Rate:
    """Seconds for one input and one parameter, and where the number comes from."""

    seconds: float
    source: str


def rate(options: Options, kind: InputKind) -> Rate:
    """How fast checkpoints run here: the median of earlier rankings on this device, or a rule of thumb."""
    measured = [
        row.seconds.features / (row.parameters * ranking.n_inputs)
        for ranking in _earlier_rankings()
        if ranking.settings.get("device") == options.device and _input_kind(ranking) == kind
        for row in ranking.rows
        if row.parameters and row.n is None and row.seconds.features >= _MIN_SECONDS
    ]
    if measured:
        return Rate(median(measured), f"as fast as {pluralize(len(measured), 'checkpoint')} before")
    gpu = options.device.startswith(("cuda", "mps"))
    seconds = kind.cpu_seconds / (GPU_SPEEDUP if gpu else 1)
    return Rate(seconds, f"rule of thumb: {seconds * 1e9:g} ns × parameters × {kind.plural}")


def cost(repo: Repo, options: Options, inputs: int | None, rate: Rate) -> Cost:
    """What a checkpoint (or, without inputs, an encoder) will download, and how long it will run."""
    try:
        files = listing(repo)
        memory = default_cache(options.cache)
        needed = needed_files(repo, files, memory, code=options.trust_remote_code)
        weights = needed_weights(repo, files, memory)
    except EmmsError as error:
        return Cost(problem=error.message)
    if repo.folder is None:
        remember(repo.id, KnownModel(bytes=_total(weights)), memory)
    parameters = _total(weights) / _BYTES_PER_PARAMETER
    return Cost(
        len(needed),
        _total(file for file in needed if not file.cached),
        _total(file for file in needed if file.cached),
        parameters * inputs * rate.seconds if inputs is not None else None,
        weights=_total(weights),
    )


def forecast(plan: Plan) -> tuple[dict[Repo, Cost], Rate]:
    """The cost of everything in a plan that is still to be done, encoders included."""
    speed = rate(plan.options, plan.sample.task.input)
    costs = {encoder: cost(encoder, plan.options, None, speed) for encoder in plan.encoders}
    for candidate in plan.candidates:
        if candidate.repo is not None and candidate.row is None:
            costs[candidate.repo] = cost(candidate.repo, plan.options, plan.sample.n_read, speed)
    return costs, speed


def _input_kind(ranking: Ranking) -> InputKind | None:
    try:
        return get_task(ranking.task).input
    except EmmsError:  # the package that added the task is gone
        return None


def _total(files: Iterable[RepoFile]) -> int:
    return sum(file.bytes for file in files)


def _earlier_rankings() -> list[Ranking]:
    """The latest rankings that the command line has saved."""
    paths = sorted((default_root() / "rankings").glob("*.json"), key=lambda path: path.stat().st_mtime)
    rankings = []
    for path in paths[-_MAX_RANKINGS:]:
        try:
            rankings.append(Ranking.from_json(path.read_text(encoding="utf-8")))
        except (EmmsError, OSError):
            continue  # of a newer version, or removed meanwhile
    return rankings
