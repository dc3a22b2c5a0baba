"""One checkpoint after the other, in this process: features → moments → scores → row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hf_emms.cache import Cache
from hf_emms.engines.progress import Progress
from hf_emms.errors import EmmsError
from hf_emms.ranking import Row, RowScore, Seconds, plain
from hf_emms.scoring.estimators import ESTIMATORS, Evidence
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.data import Target
    from hf_emms.features.load import Extractor
    from hf_emms.hub import Repo

# Rows that enter the moments at once: enough for fast products, few enough to stay small.
CHUNK_ROWS = 2048

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How checkpoints are run and scored.

    Attributes:
        estimators: names; the first one decides whether a checkpoint is scored or failed.
        seed: of the folds.
        folds: number of folds.
        device: "auto", "cpu", "cuda", "mps".
        dtype: "auto", "float32", "bfloat16", "float16".
        batch_size: inputs a batch; None lets the extractor choose.
        allow_pickle: load pickled weights.
        trust_remote_code: run code that a checkpoint brings along.
    """

    estimators: tuple[str, ...]
    seed: int = 0
    folds: int = 5
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    allow_pickle: bool = False
    trust_remote_code: bool = False


def run_checkpoint(
    name: str, repo: Repo, target: Target, labels: LabelTable, settings: Settings, cache: Cache, progress: Progress
) -> Row:
    """Scores one checkpoint.

    Args:
        name: what the row calls it.
        repo: the checkpoint.
        target: the rows.
        labels: F-labels of the N rows of the target.
        settings: how.
        cache: where features are looked for and kept.
        progress: is told about it.

    Returns:
        Its row, without a rank. A checkpoint that cannot be loaded, run or scored is a row with an error.
    """
    progress.started(name, len(target.inputs))
    try:
        row = _scored(name, repo, target, labels, settings, cache, progress)
    except _failures() as error:
        _LOG.debug("%s failed", name, exc_info=True)
        row = Row(name, repo.revision, error=one_line(error))
    progress.finished(row)
    return row


def one_line(error: BaseException) -> str:
    """An error as one line: what happened, then the hint."""
    if isinstance(error, EmmsError):
        parts = [error.message, error.hint or ""]
    else:
        parts = [f"{type(error).__name__}: {error}" if str(error) else type(error).__name__]
    return " → ".join(" ".join(part.split()) for part in parts if part)


def _scored(
    name: str, repo: Repo, target: Target, labels: LabelTable, settings: Settings, cache: Cache, progress: Progress
) -> Row:
    from hf_emms.features.load import load_extractor

    started = time.perf_counter()
    extractor = load_extractor(
        repo,
        target.task.modality,
        target.task.id,
        device=settings.device,
        dtype=settings.dtype,
        allow_pickle=settings.allow_pickle,
        trust_remote_code=settings.trust_remote_code,
    )
    try:
        features, cached = _features(repo, extractor, target, labels, settings, cache, progress)
    finally:
        extractor.close()
    featured = time.perf_counter()
    scores, notes = _scores(features, target, labels, settings)
    seconds = Seconds(round(featured - started, 3), round(time.perf_counter() - featured, 3))
    return Row(
        name,
        repo.revision,
        scores=scores,
        parameters=extractor.parameters,
        width=extractor.width,
        architecture=extractor.architecture,
        pooling=extractor.pooling,
        seconds=seconds,
        cached="features" if cached else "none",
        notes=(*extractor.notes, *notes),
    )


def _features(
    repo: Repo,
    extractor: Extractor,
    target: Target,
    labels: LabelTable,
    settings: Settings,
    cache: Cache,
    progress: Progress,
) -> tuple[np.ndarray | Moments, bool]:
    """Features of all inputs and whether the cache had them; moments where nobody needs the rows."""
    key = {
        "id": repo.id,
        "revision": repo.revision,
        "inputs": target.fingerprint,
        "task": target.task.id,
        "extractor": extractor.fingerprint,
    }
    stored = cache.get("features", key)
    if stored is not None:
        progress.advanced(len(target.inputs))
        return stored["features"], True

    batches = _counted(extractor.batches(target.inputs, batch_size=settings.batch_size), progress)
    if not cache.enabled and not _needs_rows(settings):
        return _streamed(batches, extractor.width, target, labels, settings), False
    features = np.empty((len(target.inputs), extractor.width), np.float32)
    for positions, batch in batches:
        features[positions] = batch
    cache.put("features", key, {"features": features})
    return features, False


def _counted(
    batches: Iterator[tuple[np.ndarray, np.ndarray]], progress: Progress
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for positions, features in batches:
        yield positions, features
        progress.advanced(len(positions))


def _streamed(
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
    width: int,
    target: Target,
    labels: LabelTable,
    settings: Settings,
) -> Moments:
    """Moments straight from batches: no array of all features exists."""
    moments = Moments.like(labels, width, folds=settings.folds, seed=settings.seed)
    rows_of = _rows_by_input(target.input_of_row, len(target.inputs))
    for positions, features in batches:
        rows = [rows_of(position) for position in positions]
        spread = np.repeat(np.arange(len(positions)), [len(group) for group in rows])
        chosen = np.concatenate(rows)
        moments.update(features[spread], labels.take(chosen), target.groups[chosen])
    return moments


def _rows_by_input(input_of_row: np.ndarray, inputs: int) -> Callable[[int], np.ndarray]:
    order = np.argsort(input_of_row, kind="stable")
    ends = np.cumsum(np.bincount(input_of_row, minlength=inputs))

    def rows_of(position: int) -> np.ndarray:
        return order[ends[position - 1] if position else 0 : ends[position]]

    return rows_of


def _scores(
    features: np.ndarray | Moments, target: Target, labels: LabelTable, settings: Settings
) -> tuple[dict[str, RowScore], list[str]]:
    """Every estimator's score; one (but the first) that cannot score these rows becomes a note."""
    evidence = _evidence(features, target, labels, settings)
    scores: dict[str, RowScore] = {}
    notes: list[str] = []
    for place, name in enumerate(settings.estimators):
        try:
            scores[name] = _score(name, evidence)
        except EmmsError as error:
            if place == 0:
                raise
            notes.append(f"no {name} score: {one_line(error)}")
    return scores, notes


def _evidence(features: np.ndarray | Moments, target: Target, labels: LabelTable, settings: Settings) -> Evidence:
    if isinstance(features, Moments):
        return Evidence(features)
    moments = Moments.like(labels, features.shape[1], folds=settings.folds, seed=settings.seed)
    for start in range(0, len(labels), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        moments.update(features[target.input_of_row[chunk]], labels.take(chunk), target.groups[chunk])
    rows = features[target.input_of_row] if _needs_rows(settings) else None
    return Evidence(moments, rows, labels, target.groups)


def _needs_rows(settings: Settings) -> bool:
    return any(ESTIMATORS[name].needs_rows for name in settings.estimators)


def _score(name: str, evidence: Evidence) -> RowScore:
    score = ESTIMATORS[name].score(evidence)
    numbers = [score.value, *score.folds, *([] if score.stderr is None else [score.stderr])]
    if not np.isfinite(numbers).all():
        raise EmmsError(f"{name} gave {score.value} ± {score.stderr}, which is not a finite number")
    return RowScore(float(score.value), plain(score.stderr), tuple(map(float, score.folds)), plain(score.details))


def _failures() -> tuple[type[Exception], ...]:
    """What a checkpoint of somebody else may raise while it loads and runs."""
    from safetensors import SafetensorError

    return (
        EmmsError,
        OSError,
        RuntimeError,  # also torch's out-of-memory error and NotImplementedError
        ValueError,  # also JSON, Unicode and linear algebra errors
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        ImportError,
        MemoryError,
        SafetensorError,
    )
