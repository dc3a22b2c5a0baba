"""A part's inputs go through a checkpoint, and come out as features, or as the moments of its rows.

The features of one checkpoint: from the cache, or from a run of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.cache import Cache
from hf_emms.engines.checkpoint import needs_rows
from hf_emms.engines.shards import Batches, Shard, streamed_moments, whole
from hf_emms.features.feature_plan import ExtractionPlan, FeatureInfo, plan_extraction
from hf_emms.features.files import fetch_weights
from hf_emms.features.hidden_layers import LAST, LayerError
from hf_emms.options import Options
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.data import Sample
    from hf_emms.features.extractor import Extractor
    from hf_emms.hub import Repo
    from hf_emms.tasks import Task


def batches_of(
    extractor: Extractor,
    part: Shard,
    options: Options,
    on_inputs: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features of a part's inputs, batch by batch, see `Batches`; `on_inputs` gets the number of inputs of each."""
    for positions, features in extractor.batches(part.inputs, batch_size=options.batch_size):
        yield positions, features
        on_inputs(len(positions))


@dataclass(frozen=True)
class Extraction:
    """What a checkpoint makes of all inputs at one layer.

    Attributes:
        features: float32 (M, D1); None where nobody needs the rows.
        moments: of the rows, where there are no features.
        about: the checkpoint.
        cached: whether the cache had it.
    """

    features: np.ndarray | None
    moments: Moments | None
    about: FeatureInfo
    cached: bool = False


@dataclass(frozen=True)
class Extractions:
    """What a checkpoint makes of all inputs.

    Attributes:
        layers: layer → what it gives; at least one.
        refused: layer → why the checkpoint cannot give it.
    """

    layers: dict[str, Extraction]
    refused: dict[str, LayerError]


def extract(
    repo: Repo,
    sample: Sample,
    labels: LabelTable,
    options: Options,
    cache: Cache,
    on_inputs: Callable[[int], None] = lambda count: None,
) -> Extractions:
    """What a checkpoint makes of a sample's inputs. It is loaded only where the cache does not have its features.

    Raises:
        EmmsError: the checkpoint cannot be loaded, or fails on an input.
    """
    kept = CachedFeatures(repo, sample, options, cache)
    found = {layer: kept.load(layer) for layer in options.read_layers}
    there = {layer: extraction for layer, extraction in found.items() if extraction is not None}
    missing = tuple(layer for layer in found if layer not in there)
    if not missing:
        on_inputs(len(sample.inputs))
        return Extractions(there, {})
    try:
        made = _extracted(repo, sample, labels, options, kept, missing, on_inputs)
    except LayerError as error:
        if not there:
            raise
        return Extractions(there, dict.fromkeys(missing, error))
    both = there | made.layers
    return Extractions({layer: both[layer] for layer in found if layer in both}, made.refused)


def _extracted(
    repo: Repo,
    sample: Sample,
    labels: LabelTable,
    options: Options,
    kept: CachedFeatures,
    layers: tuple[str, ...],
    on_inputs: Callable[[int], None],
) -> Extractions:
    """One run over the inputs, for all the layers."""
    extractor = load(repo, sample.task, options, sample.inputs, layers)
    try:
        part = whole(sample)
        if not kept.enabled and not needs_rows(options):
            batches = batches_of(extractor, part, options, on_inputs)
            moments = streamed_moments(batches, extractor.layer_slices, part, labels, options)
            streamed = {layer: Extraction(None, moments[layer], extractor.info(layer)) for layer in moments}
            return Extractions(streamed, extractor.refused)
        features = filled(batches_of(extractor, part, options, on_inputs), len(part.inputs), extractor.width)
    finally:
        extractor.close()
    made = {}
    for layer, own in extractor.layer_slices.items():
        about = extractor.info(layer)
        kept.store(features[:, own], about, layer)
        made[layer] = Extraction(features[:, own], None, about)
    return Extractions(made, extractor.refused)


def load(
    repo: Repo, task: Task, options: Options, inputs: Sequence[Any], layers: tuple[str, ...] | None = None
) -> Extractor:
    """Loads a checkpoint for inputs of one kind, to give some layers; without, all that the options ask for.

    Raises:
        EmmsError: it cannot be loaded.
    """
    from hf_emms.data import Spans
    from hf_emms.features.load import load_extractor

    return load_extractor(
        repo,
        task.modality,
        task.id,
        device=options.device,
        dtype=options.dtype,
        allow_pickle=options.allow_pickle,
        trust_remote_code=options.trust_remote_code,
        layers=layers or options.read_layers,
        spans=isinstance(inputs, Spans),
    )


def filled(batches: Batches, inputs: int, width: int) -> np.ndarray:
    """The features of batches in the order of the inputs, float32 (m, D1)."""
    features = np.empty((inputs, width), np.float32)
    for positions, batch in batches:
        features[positions] = batch
    return features


class CachedFeatures:
    """The place in a cache of one checkpoint's features of one sample.

    Attributes:
        enabled: whether the cache keeps anything.

    Raises:
        EmmsError: the checkpoint's configuration cannot be had or used; only where the cache is enabled.
    """

    def __init__(self, repo: Repo, sample: Sample, options: Options, cache: Cache) -> None:
        self.enabled = cache.enabled
        self._cache = cache
        self._target = sample
        self._plan = _plan(repo, sample, options) if cache.enabled else None

    def load(self, layer: str = LAST) -> Extraction | None:
        """What is stored of a layer."""
        if self._plan is None:
            return None
        stored = self._cache.get("features", features_key(self._plan, self._target, layer))
        if stored is None:
            return None
        about = msgspec.json.decode(stored["about"].tobytes(), type=FeatureInfo)
        return Extraction(stored["features"], None, about, cached=True)

    def store(self, features: np.ndarray, about: FeatureInfo, layer: str = LAST) -> None:
        """Keeps features of a layer, float32 (M, D1)."""
        if self._plan is not None:
            encoded = np.frombuffer(msgspec.json.encode(about), np.uint8)
            key = features_key(self._plan, self._target, layer)
            self._cache.put("features", key, {"features": np.ascontiguousarray(features), "about": encoded})


def prefetch_weights(repo: Repo, sample: Sample, options: Options, cache: Cache) -> None:
    """Downloads what `extract` will load, and nothing where the cache has the features.

    Raises:
        EmmsError: it cannot be downloaded, or cannot be used.
    """
    plan = _plan(repo, sample, options)
    if not all(cache.holds("features", features_key(plan, sample, layer)) for layer in options.read_layers):
        fetch_weights(repo, subfolder=plan.subfolder, allow_pickle=options.allow_pickle)


def features_key(plan: ExtractionPlan, sample: Sample, layer: str = LAST) -> dict[str, Any]:
    """The cache key of a checkpoint's features: everything that changes them."""
    key = {
        "id": plan.repo.id,
        "revision": plan.repo.revision,
        "inputs": sample.inputs_fingerprint,
        "task": sample.task.id,
        "extractor": plan.fingerprint,
    }
    return key if layer == LAST else {**key, "layer": layer}


def _plan(repo: Repo, sample: Sample, options: Options) -> ExtractionPlan:
    return plan_extraction(
        repo,
        sample.task.modality,
        sample.task.id,
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
    )
