"""The features of one checkpoint: from the cache, or from a run of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.cache import Cache
from hf_emms.engines.progress import Progress
from hf_emms.engines.settings import Settings
from hf_emms.scoring.estimators import ESTIMATORS
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.data import Target
    from hf_emms.features.load import Extractor
    from hf_emms.features.plan import ExtractionPlan
    from hf_emms.hub import Repo


class About(msgspec.Struct, frozen=True):
    """What a row tells of the checkpoint; kept beside its features. The fields are those of `Row`."""

    parameters: int
    width: int
    architecture: str
    pooling: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Extraction:
    """Features of all inputs, float32 (M, D1), or moments where nobody needs the rows.

    Attributes:
        features: one or the other.
        about: the checkpoint.
        cached: whether the cache had them.
    """

    features: np.ndarray | Moments
    about: About
    cached: bool


def extract(
    repo: Repo, target: Target, labels: LabelTable, settings: Settings, cache: Cache, progress: Progress
) -> Extraction:
    """Features of a target's inputs. The checkpoint is loaded only where the cache does not have them.

    Raises:
        EmmsError: the checkpoint cannot be loaded, or fails on an input.
    """
    if cache.enabled:
        key = features_key(_plan(repo, target, settings), target)
        stored = cache.get("features", key)
        if stored is not None:
            progress.advanced(len(target.inputs))
            about = msgspec.json.decode(stored["about"].tobytes(), type=About)
            return Extraction(stored["features"], about, True)
    from hf_emms.features.load import load_extractor

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
        batches = _counted(extractor.batches(target.inputs, batch_size=settings.batch_size), progress)
        if not cache.enabled and not needs_rows(settings):
            moments = _streamed(batches, extractor.width, target, labels, settings)
            return Extraction(moments, _about(extractor), False)
        features = np.empty((len(target.inputs), extractor.width), np.float32)
        for positions, batch in batches:
            features[positions] = batch
    finally:
        extractor.close()
    about = _about(extractor)
    if cache.enabled:
        encoded = np.frombuffer(msgspec.json.encode(about), np.uint8)
        cache.put("features", key, {"features": features, "about": encoded})
    return Extraction(features, about, False)


def bring(repo: Repo, target: Target, settings: Settings, cache: Cache) -> None:
    """Downloads what `extract` will load, and nothing where the cache has the features.

    Raises:
        EmmsError: it cannot be downloaded, or cannot be used.
    """
    from hf_emms.features.files import fetch_weights

    plan = _plan(repo, target, settings)
    if not cache.holds("features", features_key(plan, target)):
        fetch_weights(repo, subfolder=plan.subfolder, allow_pickle=settings.allow_pickle)


def features_key(plan: ExtractionPlan, target: Target) -> dict[str, Any]:
    """The cache key of a checkpoint's features: everything that changes them."""
    return {
        "id": plan.repo.id,
        "revision": plan.repo.revision,
        "inputs": target.fingerprint,
        "task": target.task.id,
        "extractor": plan.fingerprint,
    }


def needs_rows(settings: Settings) -> bool:
    """Whether an estimator needs features of single rows, not moments alone."""
    return any(ESTIMATORS[name].needs_rows for name in settings.estimators)


def _plan(repo: Repo, target: Target, settings: Settings) -> ExtractionPlan:
    from hf_emms.features.plan import plan_extraction

    return plan_extraction(
        repo,
        target.task.modality,
        target.task.id,
        dtype=settings.dtype,
        trust_remote_code=settings.trust_remote_code,
    )


def _about(extractor: Extractor) -> About:
    return About(
        extractor.parameters, extractor.width, extractor.architecture, extractor.pooling, tuple(extractor.notes)
    )


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
