"""One checkpoint after the other, in this process: features → moments → scores → row."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hf_emms.cache import Cache
from hf_emms.engines.extraction import extract, needs_rows
from hf_emms.engines.progress import Progress
from hf_emms.engines.settings import Settings
from hf_emms.errors import EmmsError
from hf_emms.ranking import Row, RowScore, Seconds, plain
from hf_emms.scoring.estimators import ESTIMATORS, Evidence
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.data import Target
    from hf_emms.hub import Repo

# Rows that enter the moments at once: enough for fast products, few enough to stay small.
CHUNK_ROWS = 2048

_LOG = logging.getLogger(__name__)


def run_checkpoint(
    name: str,
    repo: Repo,
    target: Target,
    labels: LabelTable,
    settings: Settings,
    cache: Cache,
    progress: Progress,
    files_there: Callable[[Repo], None] = lambda repo: None,
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
        files_there: waits for the checkpoint's download, where one runs ahead.

    Returns:
        Its row, without a rank. A checkpoint that cannot be loaded, run or scored is a row with an error.
    """
    progress.started(name, len(target.inputs))
    try:
        files_there(repo)
        row = _scored(name, repo, target, labels, settings, cache, progress)
    except failures() as error:
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
    started = time.perf_counter()
    extraction = extract(repo, target, labels, settings, cache, progress)
    featured = time.perf_counter()
    scores, notes = _scores(extraction.features, target, labels, settings)
    seconds = Seconds(round(featured - started, 3), round(time.perf_counter() - featured, 3))
    about = extraction.about
    return Row(
        name,
        repo.revision,
        scores=scores,
        parameters=about.parameters,
        width=about.width,
        architecture=about.architecture,
        pooling=about.pooling,
        seconds=seconds,
        cached="features" if extraction.cached else "none",
        notes=(*about.notes, *notes),
    )


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
    rows = features[target.input_of_row] if needs_rows(settings) else None
    return Evidence(moments, rows, labels, target.groups)


def _score(name: str, evidence: Evidence) -> RowScore:
    score = ESTIMATORS[name].score(evidence)
    numbers = [score.value, *score.folds, *([] if score.stderr is None else [score.stderr])]
    if not np.isfinite(numbers).all():
        raise EmmsError(f"{name} gave {score.value} ± {score.stderr}, which is not a finite number")
    return RowScore(float(score.value), plain(score.stderr), tuple(map(float, score.folds)), plain(score.details))


def failures() -> tuple[type[Exception], ...]:
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
