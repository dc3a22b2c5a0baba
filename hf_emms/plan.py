"""What a ranking will run on: everything named, found and pinned before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any

import msgspec

from hf_emms.cache import Cache, default_root
from hf_emms.engines.choice import engine_of
from hf_emms.engines.engine import Engine
from hf_emms.engines.failures import one_line
from hf_emms.engines.progress import Progress
from hf_emms.engines.race import RaceEngine
from hf_emms.engines.versions import versions
from hf_emms.errors import EmmsError
from hf_emms.hub import Repo, resolve
from hf_emms.presets import DatasetPreset, checkpoint_preset, dataset_preset, encoder_preset, encoder_presets
from hf_emms.ranking import Row
from hf_emms.scoring.estimators import DEFAULT_ESTIMATORS, get_estimator
from hf_emms.tasks import get_task
from hf_emms.words import counted

if TYPE_CHECKING:
    import datasets

    from hf_emms.data import Target
    from hf_emms.data.request import References, Sampling
    from hf_emms.tasks.base import LabelForm

# Enough rows for a steady order (1,500 already are), few enough for an afternoon on one machine.
DEFAULT_MAX_SAMPLES = 5000
DEFAULT_ENCODERS = ("base",)

# Part of the key of every finished row: raise it when the same inputs give another row.
ROW_VERSION = 3

# Checkpoints that are looked up at a time.
_AT_ONCE = 4


@dataclass(frozen=True)
class Request:
    """Everything that decides a ranking; the fields are the arguments of `rank`, explained there."""

    dataset: str | datasets.Dataset
    checkpoints: tuple[str, ...] = ()
    task: str | None = None
    config: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    max_samples: int | None = DEFAULT_MAX_SAMPLES
    sampling: Sampling | None = None
    race: int | None = None
    references: References = "mean"
    prompt: str | None = None
    label_form: LabelForm | None = None
    box_format: str | None = None
    encoders: tuple[str, ...] = ()
    estimators: tuple[str, ...] = DEFAULT_ESTIMATORS
    seed: int = 0
    folds: int = 5
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    layers: tuple[str, ...] = ()
    resume: bool = True
    cache: bool = True
    streaming: bool = False
    allow_pickle: bool = False
    trust_remote_code: bool = False
    engine: str = "local"
    ray_address: str | None = None
    shard_size: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A checkpoint of a plan.

    Attributes:
        id: as the user named it.
        repo: the checkpoint at its exact revision; None where it could not be resolved.
        row: its finished row, where one is in the cache, or the failed row of one that could not be resolved.
    """

    id: str
    repo: Repo | None
    row: Row | None


@dataclass(frozen=True)
class Plan:
    """What a ranking will run on, everything resolved."""

    request: Request
    target: Target
    encoders: tuple[Repo, ...]
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


def plan(request: Request, progress: Progress) -> Plan:
    """Reads the dataset and resolves every checkpoint and encoder; runs none of them.

    Raises:
        EmmsError: the dataset, an encoder or an argument is not usable.
    """
    from hf_emms.data import load_target

    for name in request.estimators:
        get_estimator(name)
    engine_for(request)
    _check_numbers(request)
    preset = dataset_preset(request.dataset) if isinstance(request.dataset, str) else None
    if preset is not None:
        preset.check_usable()
    # Before a long download rather than after it, but numbers need no encoder, and the columns may turn out to be some.
    encoders = _encoders(request, preset) if _surely_texts(request, preset) else ()
    cache = open_cache(request, progress)
    target = load_target(
        request.dataset,
        task=request.task,
        config=request.config,
        split=request.split,
        columns=request.columns or None,
        max_samples=request.max_samples,
        sampling=request.sampling,
        references=request.references,
        seed=request.seed,
        streaming=request.streaming,
        prompt=request.prompt,
        label_form=request.label_form,
        box_format=request.box_format,
        cache=cache,
    )
    encoders = () if target.form == "numbers" else encoders or _encoders(request, preset)
    own = preset.checkpoints if preset is not None and preset.task == target.task.id else ()
    ids = request.checkpoints or own or checkpoint_preset(target.task.id)
    unique = tuple(dict.fromkeys(ids))
    notes = [*target.notes]
    if request.encoders and not encoders:
        notes.append("labels are numbers, which no encoder embeds: --label-form both adds their words")
    if len(unique) < len(ids):
        notes.append(f"named twice and ranked once: {counted(len(ids) - len(unique), 'checkpoint')}")
    found = zip(unique, _resolved(unique), strict=True)
    candidates = tuple(_candidate(id, repo, request, target, encoders, cache) for id, repo in found)
    return Plan(request, target, encoders, candidates, tuple(notes))


def open_cache(request: Request, progress: Progress) -> Cache:
    """The cache that a request asks for; problems with it are told to `progress`."""
    return Cache(default_root() if request.cache else None, progress.noted)


def engine_for(request: Request) -> Engine:
    """The engine that a request asks for.

    Raises:
        EmmsError: there is none of that name, its package is not installed, or it cannot do what is asked.
    """
    if request.race is not None:
        if request.engine != "local":
            raise EmmsError(f"--race runs in this process, not on --engine {request.engine}", "leave one of them out")
        return RaceEngine(request.race, get_estimator(request.estimators[0]), request.layers)
    return engine_of(request.engine, ray_address=request.ray_address, shard_inputs=request.shard_size)


def row_key(repo: Repo, request: Request, target: Target, encoders: tuple[Repo, ...]) -> dict[str, Any]:
    """The cache key of a finished row: everything that changes it."""
    layers = {"layers": list(request.layers)} if request.layers else {}
    return {
        **layers,
        "id": repo.id,
        "revision": repo.revision,
        "target": target.fingerprint,
        "task": target.task.id,
        "encoders": [[encoder.id, encoder.revision] for encoder in encoders],
        "estimators": list(request.estimators),
        "seed": request.seed,
        "folds": request.folds,
        "device": request.device,
        "dtype": request.dtype,
        "trust_remote_code": request.trust_remote_code,
        "versions": versions(),
        "code": ROW_VERSION,
    }


def _check_numbers(request: Request) -> None:
    """Refuses at once what would fail every checkpoint."""
    fewest = {"folds": 1, "batch_size": 1, "seed": -(2**63)}
    for name, least in fewest.items():
        value = getattr(request, name)
        if value is not None and not least <= value < 2**63:
            raise EmmsError(f"{name} is {value}", f"--{name.replace('_', '-')} N with N from {least} on, below 2**63")


def _surely_texts(request: Request, preset: DatasetPreset | None) -> bool:
    """Whether it is known before the dataset is read that labels become texts, which encoders embed."""
    task = request.task or (preset.task if preset else None)
    return task is not None and (request.label_form or get_task(task).form) != "numbers"


def _encoders(request: Request, preset: DatasetPreset | None) -> tuple[Repo, ...]:
    names = request.encoders or ((preset.encoders,) if preset and preset.encoders else DEFAULT_ENCODERS)
    return tuple(map(_encoder, _expanded(names)))


def _expanded(names: Sequence[str]) -> tuple[str, ...]:
    ids = [id for name in names for id in (encoder_preset(name) if name in encoder_presets() else (name,))]
    return tuple(dict.fromkeys(ids))


def _encoder(id: str) -> Repo:
    try:
        return resolve(id, "model")
    except EmmsError as error:
        hint = f"{error.hint}; or --encoder demo: those ship with hf-emms"
        raise EmmsError(f"a label encoder cannot be used: {error.message}", hint) from error


def _resolved(ids: Sequence[str]) -> list[Repo | EmmsError]:
    """Checkpoints at their exact revisions, or why there is none, several at a time.

    The Hub answers slowly, and a folder is read to its end.
    """

    def found(id: str) -> Repo | EmmsError:
        try:
            return resolve(id, "model")
        except EmmsError as error:
            return error

    # Its threads are daemons, which do not keep an interrupted program from ending.
    with ThreadPool(_AT_ONCE) as pool:
        return pool.map(found, ids, chunksize=1)


def _candidate(
    id: str, repo: Repo | EmmsError, request: Request, target: Target, encoders: tuple[Repo, ...], cache: Cache
) -> Candidate:
    if isinstance(repo, EmmsError):
        return Candidate(id, None, Row(id, error=one_line(repo)))
    stored = cache.get_json("rows", row_key(repo, request, target, encoders)) if request.resume else None
    row = msgspec.convert(stored, Row) if stored is not None else None
    return Candidate(id, repo, msgspec.structs.replace(row, checkpoint=id, cached="row") if row else None)
