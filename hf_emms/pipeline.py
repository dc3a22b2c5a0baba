"""The whole road: resolve, embed the labels, run every checkpoint, rank."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms import __version__
from hf_emms.cache import Cache, default_root
from hf_emms.engines.local import Settings, one_line, run_checkpoint
from hf_emms.engines.progress import Progress, Silent
from hf_emms.errors import EmmsError
from hf_emms.hub import Repo, resolve
from hf_emms.presets import checkpoint_preset, dataset_preset, encoder_preset, encoder_presets
from hf_emms.ranking import Encoder, Ranking, Row, ranked
from hf_emms.scoring.estimators import DEFAULT_ESTIMATORS, get_estimator
from hf_emms.scoring.label_table import LabelTable

if TYPE_CHECKING:
    import datasets

    from hf_emms.data import Target
    from hf_emms.data.request import Captions, Sampling

# Enough rows for a steady order (1,500 already are), few enough for an afternoon on one machine.
DEFAULT_MAX_SAMPLES = 5000
DEFAULT_ENCODERS = ("base",)

# Part of the key of every finished row: raise it when the same inputs give another row.
ROW_VERSION = 1
LABELS_VERSION = 1

_PACKAGES = ("torch", "transformers", "datasets", "numpy")


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
    captions: Captions = "all"
    prompt: str | None = None
    encoders: tuple[str, ...] = ()
    estimators: tuple[str, ...] = DEFAULT_ESTIMATORS
    seed: int = 0
    folds: int = 5
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    resume: bool = True
    cache: bool = True
    streaming: bool = False
    allow_pickle: bool = False
    trust_remote_code: bool = False


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


def rank(
    dataset: str | datasets.Dataset,
    checkpoints: str | Iterable[str] | None = None,
    *,
    task: str | None = None,
    config: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    max_samples: int | None = DEFAULT_MAX_SAMPLES,
    sampling: Sampling | None = None,
    captions: Captions = "all",
    prompt: str | None = None,
    encoders: str | Iterable[str] | None = None,
    estimators: str | Iterable[str] | None = None,
    seed: int = 0,
    folds: int = 5,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    resume: bool = True,
    cache: bool = True,
    streaming: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Ranking:
    """Ranks checkpoints for a dataset without fine-tuning any of them.

    Args:
        dataset: a preset name, a Hub dataset id, a folder or file, or a `datasets.Dataset`.
        checkpoints: Hub model ids (``ORG/NAME[@REVISION]``) or folders; the task's preset list by default.
        task: the Hub's task id; inferred from the columns by default.
        config: dataset configuration.
        split: dataset split.
        columns: role → column, e.g. ``{"image": "img", "label": "fine_label"}``; inferred by default.
        max_samples: the most rows that are used; None for all of them.
        sampling: "balanced" (evenly over classes) or "proportional".
        captions: "all", "first" or "one-per-image".
        prompt: template of the label texts, with ``{}`` where the label goes.
        encoders: sets ("paper", "base", "demo") or ids of the label encoders.
        estimators: names; the first one orders the rows.
        seed: of the sample and the folds.
        folds: number of folds of the held-out estimators.
        device: "auto", "cpu", "cuda" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_size: inputs a batch; chosen by default.
        resume: take rows that an earlier run with the same settings finished.
        cache: look for features, label embeddings and rows in the cache, and keep them there.
        streaming: read the dataset without downloading all of it.
        allow_pickle: load checkpoints that have pickled weights only.
        trust_remote_code: run code that checkpoints bring along.
        progress: is told what happens.

    Returns:
        The ranking; a checkpoint that failed is a row with an error.

    Raises:
        EmmsError: the dataset, an encoder or an argument is not usable. No checkpoint has run then.

    Example:
        >>> import hf_emms
        >>> ranking = hf_emms.rank("demo_glosses", max_samples=200)  # doctest: +SKIP
        >>> ranking.best.checkpoint  # doctest: +SKIP
        'emms-demo/bert-distilled'
    """
    request = Request(
        dataset,
        _names(checkpoints),
        task=task,
        config=config,
        split=split,
        columns=columns or {},
        max_samples=max_samples,
        sampling=sampling,
        captions=captions,
        prompt=prompt,
        encoders=_names(encoders),
        estimators=_names(estimators) or DEFAULT_ESTIMATORS,
        seed=seed,
        folds=folds,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        resume=resume,
        cache=cache,
        streaming=streaming,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    progress = progress or Silent()
    return run(plan(request, progress), progress)


def plan(request: Request, progress: Progress) -> Plan:
    """Reads the dataset and resolves every checkpoint and encoder; runs none of them.

    Raises:
        EmmsError: the dataset, an encoder or an argument is not usable.
    """
    from hf_emms.data import load_target

    for name in request.estimators:
        get_estimator(name)
    preset = dataset_preset(request.dataset) if isinstance(request.dataset, str) else None
    names = request.encoders or ((preset.encoders,) if preset and preset.encoders else DEFAULT_ENCODERS)
    encoders = tuple(map(_encoder, _expanded(names)))
    target = load_target(
        request.dataset,
        task=request.task,
        config=request.config,
        split=request.split,
        columns=request.columns or None,
        max_samples=request.max_samples,
        sampling=request.sampling,
        captions=request.captions,
        seed=request.seed,
        streaming=request.streaming,
        prompt=request.prompt,
    )
    ids = request.checkpoints or (preset.checkpoints if preset else ()) or checkpoint_preset(target.task.id)
    unique = tuple(dict.fromkeys(ids))
    notes = [*target.notes]
    if len(unique) < len(ids):
        notes.append(f"{len(ids) - len(unique)} checkpoints were named twice and are ranked once")
    cache = _cache(request, progress)
    candidates = tuple(_candidate(id, request, target, encoders, cache) for id in unique)
    return Plan(request, target, encoders, candidates, tuple(notes))


def run(plan: Plan, progress: Progress) -> Ranking:
    """Runs what a plan lists. Every finished row is on disk before the next checkpoint starts."""
    request, target = plan.request, plan.target
    cache = _cache(request, progress)
    labels = _labels(plan, cache, progress)
    settings = Settings(
        request.estimators,
        seed=request.seed,
        folds=request.folds,
        device=request.device,
        dtype=request.dtype,
        batch_size=request.batch_size,
        allow_pickle=request.allow_pickle,
        trust_remote_code=request.trust_remote_code,
    )
    rows = []
    for candidate in plan.candidates:
        row = candidate.row
        if row is not None or candidate.repo is None:
            assert row is not None
            progress.started(candidate.id, 0)
            progress.finished(row)
        else:
            row = run_checkpoint(candidate.repo, target, labels, settings, cache, progress)
            if row.error is None:
                key = _row_key(candidate.repo, request, target, plan.encoders)
                cache.put_json("rows", key, msgspec.to_builtins(row))
        rows.append(row)
    return _ranking(plan, labels, ranked(rows, request.estimators[0]))


def _names(names: str | Iterable[str] | None) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names or ())


def _expanded(names: Sequence[str]) -> tuple[str, ...]:
    ids = [id for name in names for id in (encoder_preset(name) if name in encoder_presets() else (name,))]
    return tuple(dict.fromkeys(ids))


def _encoder(id: str) -> Repo:
    try:
        return resolve(id, "model")
    except EmmsError as error:
        hint = f"{error.hint}; or --encoder demo: those ship with hf-emms"
        raise EmmsError(f"a label encoder cannot be used: {error.message}", hint) from error


def _cache(request: Request, progress: Progress) -> Cache:
    return Cache(default_root() if request.cache else None, progress.noted)


def _candidate(id: str, request: Request, target: Target, encoders: tuple[Repo, ...], cache: Cache) -> Candidate:
    try:
        repo = resolve(id, "model")
    except EmmsError as error:
        return Candidate(id, None, Row(id, error=one_line(error)))
    stored = cache.get_json("rows", _row_key(repo, request, target, encoders)) if request.resume else None
    row = msgspec.convert(stored, Row) if stored is not None else None
    return Candidate(id, repo, msgspec.structs.replace(row, cached="row") if row else None)


def _row_key(repo: Repo, request: Request, target: Target, encoders: tuple[Repo, ...]) -> dict[str, Any]:
    return {
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
        "versions": _versions(),
        "code": ROW_VERSION,
    }


def _labels(plan: Plan, cache: Cache, progress: Progress) -> LabelTable:
    """F-labels of the target's rows: each encoder embeds each distinct text once."""
    target = plan.target
    tables = tuple(_table(encoder, plan, cache, progress) for encoder in plan.encoders)
    names = tuple(encoder.id for encoder in plan.encoders)
    return LabelTable(target.codes, tables, names, target.label_texts, target.task.categorical)


def _table(encoder: Repo, plan: Plan, cache: Cache, progress: Progress) -> np.ndarray:
    texts, request = plan.target.label_texts, plan.request
    key = {
        "id": encoder.id,
        "revision": encoder.revision,
        "texts": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
        "device": request.device,
        "trust_remote_code": request.trust_remote_code,
        "versions": _versions(),
        "code": LABELS_VERSION,
    }
    stored = cache.get("labels", key)
    if stored is not None:
        return stored["table"]
    from hf_emms.labels import embed_texts

    progress.noted(f"embedding {len(texts):,} label texts with {encoder.id}")
    table = embed_texts(
        encoder,
        texts,
        device=request.device,
        allow_pickle=request.allow_pickle,
        trust_remote_code=request.trust_remote_code,
    )
    cache.put("labels", key, {"table": table})
    return table


def _versions() -> dict[str, str]:
    return {"hf_emms": __version__, **{name: metadata.version(name) for name in _PACKAGES}}


def _ranking(plan: Plan, labels: LabelTable, rows: tuple[Row, ...]) -> Ranking:
    request, target = plan.request, plan.target
    return Ranking(
        dataset=target.dataset,
        dataset_id=target.repo.id,
        dataset_revision=target.repo.revision,
        config=target.config,
        split=target.split,
        columns=dict(target.columns),
        task=target.task.id,
        n=len(target.codes),
        n_inputs=len(target.inputs),
        n_labels=len(target.label_texts),
        skipped=target.skipped,
        seed=request.seed,
        folds=request.folds,
        max_samples=request.max_samples,
        sampling=request.sampling,
        captions=request.captions,
        prompt=request.prompt,
        device=request.device,
        dtype=request.dtype,
        encoders=_encoders(plan, labels, rows),
        estimators=request.estimators,
        versions=_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=plan.notes,
        rows=rows,
    )


def _encoders(plan: Plan, labels: LabelTable, rows: tuple[Row, ...]) -> tuple[Encoder, ...]:
    weights = [row.scores["emms"].details["weights"] for row in rows if "emms" in row.scores]
    means = np.mean(weights, axis=0).tolist() if weights else [None] * len(plan.encoders)
    return tuple(
        Encoder(encoder.id, encoder.revision, width, weight)
        for encoder, width, weight in zip(plan.encoders, labels.widths, means, strict=True)
    )
