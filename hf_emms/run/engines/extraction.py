"""The features of a checkpoint, by layer: from the cache, or from running it on a shard of the inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.cache import Cache, default_cache
from hf_emms.errors import one_line
from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.extraction_plan import ExtractionPlan, FeatureInfo, LayerError, plan_extraction
from hf_emms.features.extractor_pool import ExtractorPool, pool_or_own
from hf_emms.options import LAST, Options
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.run.engines.shards import Shard, streamed_moments, whole
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.data import Sample
    from hf_emms.features.extractor import Extractor
    from hf_emms.hub import Repo
    from hf_emms.tasks import Task


@dataclass(frozen=True)
class Extraction:
    """What a checkpoint gives for m inputs, by layer.

    Attributes:
        info: layer → what a row reports about its features.
        features: layer → float32 (m, D1); empty if only moments are needed.
        moments: layer → moments of the rows of these inputs; empty if there are features.
        refused: layer → why the checkpoint cannot give it, in one line.
        seconds: wall time, loading included.
        cached: whether all of it came from the cache.
    """

    info: dict[str, FeatureInfo]
    features: dict[str, np.ndarray] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cached: bool = False

    def merge(self, other: Extraction) -> Extraction:
        """Information and seconds of two shards of inputs of one checkpoint, without features and moments."""
        return Extraction(
            {layer: info.merge(other.info[layer]) for layer, info in self.info.items()},
            refused=self.refused | other.refused,
            seconds=self.seconds + other.seconds,
        )


def extract(
    repo: Repo,
    sample: Sample,
    labels: LabelTable,
    options: Options,
    cache: Cache,
    on_inputs: Callable[[int], None] = lambda count: None,
    pool: ExtractorPool | None = None,
) -> Extraction:
    """What a checkpoint gives for all inputs of a sample. It is loaded only if the cache lacks some of its features.

    Args:
        repo: the checkpoint.
        sample: the inputs, and the rows made of them.
        labels: of the rows.
        options: how.
        cache: where features are looked for and stored.
        on_inputs: called with the number of inputs after each batch.
        pool: of this checkpoint alone, which stays loaded there; by default it is loaded for this call.

    Raises:
        EmmsError: the checkpoint cannot be loaded, or fails on an input.
    """
    started = time.perf_counter()
    store = FeatureCache(repo, sample, options, cache)
    cached = store.load()
    missing = tuple(layer for layer in options.read_layers if layer not in cached.info)
    if not missing:
        on_inputs(len(sample.inputs))
        return replace(cached, seconds=time.perf_counter() - started)
    try:
        computed = run_on_shard(
            repo,
            sample.task,
            whole(sample),
            labels,
            options,
            keep=needs_rows(options) or cache.enabled,
            layers=missing,
            on_inputs=on_inputs,
            pool=pool,
        )
    except LayerError as error:
        if not cached.info:
            raise
        computed = Extraction({}, refused=dict.fromkeys(missing, one_line(error)))
    for layer, features in computed.features.items():
        store.save(layer, features, computed.info[layer])
    info, features_of = cached.info | computed.info, cached.features | computed.features
    return Extraction(
        {layer: info[layer] for layer in options.read_layers if layer in info},
        features_of,
        computed.moments,
        computed.refused,
        time.perf_counter() - started,
        cached=not computed.info,
    )


def run_on_shard(
    repo: Repo,
    task: Task,
    shard: Shard,
    labels: LabelTable,
    options: Options,
    *,
    keep: bool,
    layers: tuple[str, ...] | None = None,
    on_inputs: Callable[[int], None] = lambda count: None,
    pool: ExtractorPool | None = None,
) -> Extraction:
    """Runs a checkpoint on a shard once, for all layers; it is loaded if the pool does not have it.

    Args:
        repo: the checkpoint.
        task: what it is ranked for.
        shard: the inputs.
        labels: of all rows of the sample.
        options: how.
        keep: whether the features are wanted; if not, moments are accumulated batch by batch, and no array of all
            features exists.
        layers: the layers; None for those of the options.
        on_inputs: called with the number of inputs after each batch.
        pool: see `extract`.

    Raises:
        EmmsError: the checkpoint cannot be loaded, or fails on an input.
    """
    started = time.perf_counter()
    features, moments = {}, {}
    loaded_for = (
        task.input.name,
        _are_spans(shard.inputs),
        layers,
        options.allow_pickle,
        options.cache_key_fields("features"),
    )
    load_it = partial(load, repo, task, options, shard.inputs, layers)
    with pool_or_own(pool) as pool, pool.use(repr(loaded_for), load_it) as extractor:
        extractor.reset_counts()
        if keep:
            side_by_side = read_features(extractor, shard, options, on_inputs)
            features = {layer: side_by_side[:, columns] for layer, columns in extractor.layer_slices.items()}
        else:
            batches = _batches(extractor, shard, options, on_inputs)
            moments = streamed_moments(batches, extractor.layer_slices, shard, labels, options)
    return Extraction(
        {layer: extractor.info(layer) for layer in extractor.layer_slices},
        features,
        moments,
        {layer: one_line(error) for layer, error in extractor.refused.items()},
        time.perf_counter() - started,
    )


def load(
    repo: Repo, task: Task, options: Options, inputs: Sequence[Any], layers: tuple[str, ...] | None = None
) -> Extractor:
    """Loads a checkpoint for inputs of one kind, to give these layers, or those of the options.

    Raises:
        EmmsError: it cannot be loaded.
    """
    return task.input.load_extractor(
        _plan(repo, task, options),
        device=options.device,
        allow_pickle=options.allow_pickle,
        layers=layers or options.read_layers,
        spans=_are_spans(inputs),
        cache=default_cache(options.cache),
    )


def _are_spans(inputs: Sequence[Any]) -> bool:
    from hf_emms.inputs import Spans

    return isinstance(inputs, Spans)


def read_features(
    extractor: Extractor, shard: Shard, options: Options, on_inputs: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """The features of a shard's inputs in their order, float32 (m, width of the extractor)."""
    features = np.empty((len(shard.inputs), extractor.width), np.float32)
    for positions, batch in _batches(extractor, shard, options, on_inputs):
        features[positions] = batch
    return features


def _batches(
    extractor: Extractor, shard: Shard, options: Options, on_inputs: Callable[[int], None]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """See `shards.Batches`."""
    for positions, features in extractor.batches(shard.inputs, batch_size=options.batch_size):
        yield positions, features
        on_inputs(len(positions))


def needs_rows(options: Options) -> bool:
    """Whether an estimator needs features of all rows, not moments alone."""
    return any(ESTIMATORS[name].needs_rows for name in options.estimators)


class FeatureCache:
    """The entries of a cache with one checkpoint's features of one sample.

    Raises:
        EmmsError: the checkpoint's configuration cannot be read or used; only if the cache is enabled.
    """

    def __init__(self, repo: Repo, sample: Sample, options: Options, cache: Cache) -> None:
        self._cache, self._inputs = cache, len(sample.inputs)
        self._keys: dict[str, dict[str, Any]] = {}
        if cache.enabled:
            plan = _plan(repo, sample.task, options)
            self._keys = {layer: features_key(plan, sample, layer) for layer in options.read_layers}

    def load(self) -> Extraction:
        """What is cached of the layers of the options, perhaps none."""
        info, features = {}, {}
        for layer, key in self._keys.items():
            stored = self._cache.get("features", key, self._features_of)
            if stored is not None:
                features[layer], info[layer] = stored
        return Extraction(info, features, cached=True)

    def _features_of(self, stored: Mapping[str, np.ndarray]) -> tuple[np.ndarray, FeatureInfo]:
        """What is stored of a layer.

        Raises:
            ValueError: other than one row of features an input.
        """
        features, info = stored["features"], msgspec.json.decode(stored["info"].tobytes(), type=FeatureInfo)
        if features.shape != (self._inputs, info.width) or features.dtype != np.float32:
            raise ValueError(f"its shape is {features.shape}, for {self._inputs} inputs")
        return features, info

    def save(self, layer: str, features: np.ndarray, info: FeatureInfo) -> None:
        """Stores the features of a layer, float32 (M, D1)."""
        if self._keys:
            encoded = np.frombuffer(msgspec.json.encode(info), np.uint8)
            self._cache.put("features", self._keys[layer], {"features": features, "info": encoded})


def prefetch_weights(repo: Repo, sample: Sample, options: Options, cache: Cache) -> None:
    """Downloads what `extract` will load; nothing if the cache has all features.

    Raises:
        EmmsError: it cannot be downloaded, or cannot be used.
    """
    plan = _plan(repo, sample.task, options)
    if not all(cache.holds("features", features_key(plan, sample, layer)) for layer in options.read_layers):
        fetch_weights(repo, cache, subfolder=plan.subfolder, code=plan.code)


def features_key(plan: ExtractionPlan, sample: Sample, layer: str) -> dict[str, Any]:
    """The cache key of a checkpoint's features: everything that changes them."""
    key = {
        "id": plan.repo.id,
        "revision": plan.repo.revision,
        "inputs": sample.inputs_fingerprint,
        "task": sample.task.id,
        "extractor": plan.fingerprint,
    }
    return key if layer == LAST else {**key, "layer": layer}


def _plan(repo: Repo, task: Task, options: Options) -> ExtractionPlan:
    return plan_extraction(
        repo,
        task.input,
        task.id,
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
    )
