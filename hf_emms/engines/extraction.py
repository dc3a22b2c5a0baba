"""The features of one checkpoint: from the cache, or from a run of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.cache import Cache
from hf_emms.engines.parts import Batches, Part, streamed_moments, whole
from hf_emms.engines.scores import needs_rows
from hf_emms.engines.settings import Settings
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.data import Target
    from hf_emms.features.plan import ExtractionPlan
    from hf_emms.features.running import Running
    from hf_emms.hub import Repo
    from hf_emms.tasks import Task


class About(msgspec.Struct, frozen=True):
    """What a row tells of the checkpoint; kept beside its features. The first fields are those of `Row`.

    Attributes:
        remarks: notes that are true of any part of the inputs alike.
        cut: how many texts were cut.
        limit: the tokens at which they were.
    """

    parameters: int
    width: int
    architecture: str
    pooling: str
    remarks: tuple[str, ...] = msgspec.field(default=(), name="notes")
    cut: int = 0
    limit: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the row should know."""
        from hf_emms.features.running import cut_notes

        return (*self.remarks, *cut_notes(self.cut, self.limit))

    def joined(self, other: About) -> About:
        """About the inputs of both, which went through the same checkpoint."""
        remarks = tuple(dict.fromkeys((*self.remarks, *other.remarks)))
        limit = max(self.limit, other.limit)
        return msgspec.structs.replace(self, remarks=remarks, cut=self.cut + other.cut, limit=limit)


@dataclass(frozen=True)
class Extraction:
    """What a checkpoint makes of all inputs.

    Attributes:
        features: float32 (M, D1); None where nobody needs the rows.
        moments: of the rows, where there are no features.
        about: the checkpoint.
        cached: whether the cache had it.
    """

    features: np.ndarray | None
    moments: Moments | None
    about: About
    cached: bool = False


def extract(
    repo: Repo,
    target: Target,
    labels: LabelTable,
    settings: Settings,
    cache: Cache,
    on_inputs: Callable[[int], None] = lambda count: None,
) -> Extraction:
    """What a checkpoint makes of a target's inputs. It is loaded only where the cache does not have its features.

    Raises:
        EmmsError: the checkpoint cannot be loaded, or fails on an input.
    """
    kept = KeptFeatures(repo, target, settings, cache)
    stored = kept.load()
    if stored is not None:
        on_inputs(len(target.inputs))
        return stored
    extractor = load(repo, target.task, settings)
    try:
        part = whole(target)
        batches = batches_of(extractor, part, settings, on_inputs)
        if not cache.enabled and not needs_rows(settings):
            moments = streamed_moments(batches, extractor.width, part, labels, settings)
            return Extraction(None, moments, about_of(extractor))
        features = filled(batches, len(part.inputs), extractor.width)
    finally:
        extractor.close()
    about = about_of(extractor)
    kept.store(features, about)
    return Extraction(features, None, about)


def load(repo: Repo, task: Task, settings: Settings) -> Running:
    """Loads a checkpoint.

    Raises:
        EmmsError: it cannot be loaded.
    """
    from hf_emms.features.load import load_extractor

    return load_extractor(
        repo,
        task.modality,
        task.id,
        device=settings.device,
        dtype=settings.dtype,
        allow_pickle=settings.allow_pickle,
        trust_remote_code=settings.trust_remote_code,
    )


def batches_of(
    extractor: Running, part: Part, settings: Settings, on_inputs: Callable[[int], None] = lambda count: None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features of a part's inputs, batch by batch, see `Batches`; `on_inputs` is told how many inputs a batch had."""
    for positions, features in extractor.batches(part.inputs, batch_size=settings.batch_size):
        yield positions, features
        on_inputs(len(positions))


def filled(batches: Batches, inputs: int, width: int) -> np.ndarray:
    """The features of batches in the order of the inputs, float32 (m, D1)."""
    features = np.empty((inputs, width), np.float32)
    for positions, batch in batches:
        features[positions] = batch
    return features


def about_of(extractor: Running) -> About:
    """What a row tells of a checkpoint; its notes grow while batches are taken."""
    return About(
        extractor.parameters,
        extractor.width,
        extractor.architecture,
        extractor.pooling,
        extractor.remarks,
        extractor.cut,
        extractor.limit,
    )


class KeptFeatures:
    """The place in a cache of one checkpoint's features of one target.

    Raises:
        EmmsError: the checkpoint's configuration cannot be had or used; only where the cache is enabled.
    """

    def __init__(self, repo: Repo, target: Target, settings: Settings, cache: Cache) -> None:
        self._cache = cache
        self._key = features_key(_plan(repo, target, settings), target) if cache.enabled else {}

    def load(self) -> Extraction | None:
        """What is stored."""
        stored = self._cache.get("features", self._key)
        if stored is None:
            return None
        about = msgspec.json.decode(stored["about"].tobytes(), type=About)
        return Extraction(stored["features"], None, about, cached=True)

    def store(self, features: np.ndarray, about: About) -> None:
        """Keeps features, float32 (M, D1)."""
        encoded = np.frombuffer(msgspec.json.encode(about), np.uint8)
        self._cache.put("features", self._key, {"features": features, "about": encoded})


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


def _plan(repo: Repo, target: Target, settings: Settings) -> ExtractionPlan:
    from hf_emms.features.plan import plan_extraction

    return plan_extraction(
        repo,
        target.task.modality,
        target.task.id,
        dtype=settings.dtype,
        trust_remote_code=settings.trust_remote_code,
    )
