"""Compute the features of a checkpoint by layer, or read them from the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from hf_emms.cache import Cache, Key, cache_key
from hf_emms.errors import one_line
from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.feature_spec import FeatureInfo, FeatureSpec, LayerError, device_in_keys
from hf_emms.inputs import Spans
from hf_emms.options import FeatureOptions, RunOptions, ScoringOptions
from hf_emms.ranking.estimators import get_estimators
from hf_emms.ranking.progress import Progress
from hf_emms.scoring.estimators import EstimatorList
from hf_emms.scoring.labels import LabelTable

if TYPE_CHECKING:
    from hf_emms.data import Sample


@dataclass(frozen=True)
class EngineInput:
    """What the engine needs to run checkpoints: the sample, its labels and the options.

    Attributes:
        checkpoints: Name in the ranking → its feature spec, in the order of the plan.
        labels: The F-labels of the sample's N rows.
    """

    checkpoints: dict[str, FeatureSpec]
    sample: Sample
    labels: LabelTable
    features: FeatureOptions
    scoring: ScoringOptions
    running: RunOptions
    cache: Cache
    progress: Progress

    @cached_property
    def estimators(self) -> EstimatorList:
        """The estimators that `scoring` names."""
        return get_estimators(self.scoring.estimators)


@dataclass(frozen=True)
class Extraction:
    """The features of a checkpoint for the M inputs of a sample, by layer.

    Attributes:
        features: Layer → float32 (M, D1).
        refused: Layer → why the checkpoint lacks it, in a line.
        seconds: Wall time, loading included.
        loading: Wall time until the checkpoint was loaded and warm.
        memory: The most bytes of GPU memory that it needed. None if it was not measured.
        cached: Whether all of it came from the cache.
    """

    info: dict[str, FeatureInfo]
    features: dict[str, np.ndarray] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    loading: float = 0.0
    memory: int | None = None
    cached: bool = False


def extract(
    spec: FeatureSpec, inputs: EngineInput, on_inputs: Callable[[int], None] = lambda count: None
) -> Extraction:
    """Return the features of a sample's inputs. The checkpoint is loaded only if the cache lacks some.

    `on_inputs` is called with the number of inputs after each batch.
    """
    started = time.perf_counter()
    store, layers = FeatureCache(spec, inputs), inputs.features.read_layers
    cached = store.load()
    missing = tuple(layer for layer in layers if layer not in cached.info)
    if not missing:
        on_inputs(len(inputs.sample.inputs))
        return replace(cached, seconds=time.perf_counter() - started)
    try:
        computed = _computed(spec, inputs, missing, on_inputs)
    except LayerError as error:
        if not cached.info:
            raise
        computed = Extraction({}, refused=dict.fromkeys(missing, one_line(error)))
    spec.check_unchanged()  # save only results of the revision that the cache key names
    for layer, features in computed.features.items():
        store.save(layer, features, computed.info[layer])
    info = cached.info | computed.info
    return replace(
        computed,
        info={layer: info[layer] for layer in layers if layer in info},
        features=cached.features | computed.features,
        seconds=time.perf_counter() - started,
        cached=not computed.info,
    )


def _computed(
    spec: FeatureSpec, inputs: EngineInput, layers: tuple[str, ...], on_inputs: Callable[[int], None]
) -> Extraction:
    """Return the features of all layers from one run of the checkpoint."""
    from hf_emms.features.device import gpu_peak

    sample, running, clock = inputs.sample, inputs.running, _Clock(on_inputs)
    peak = gpu_peak(running.device)
    extractor = sample.task.input.load_extractor(
        spec,
        device=running.device,
        layers=layers,
        spans=isinstance(sample.inputs, Spans),
    )
    with closing(extractor):
        spec.check_unchanged()
        clock.loaded()
        side_by_side = np.empty((len(sample.inputs), extractor.width), np.float32)
        for positions, batch in extractor.batches(sample.inputs, batch_size=running.batch_size):
            side_by_side[positions] = batch
            clock.advanced(len(positions))
        return Extraction(
            {layer: extractor.info(layer) for layer in extractor.layer_slices},
            {layer: side_by_side[:, columns] for layer, columns in extractor.layer_slices.items()},
            {layer: one_line(error) for layer, error in extractor.refused.items()},
            loading=clock.loading,
            memory=peak(),
        )


class _Clock:
    """Measure loading separately from reading inputs. The first batch takes longer than others."""

    def __init__(self, on_inputs: Callable[[int], None], now: Callable[[], float] = time.perf_counter) -> None:
        self._on_inputs, self._now, self._started = on_inputs, now, now()
        self._loaded = 0.0
        # Inputs so far and seconds from the start, after each batch.
        self._batches: list[tuple[int, float]] = [(0, 0.0)]

    def loaded(self) -> None:
        self._loaded = self._now() - self._started

    def advanced(self, inputs: int) -> None:
        self._batches.append((self._batches[-1][0] + inputs, self._now() - self._started))
        self._on_inputs(inputs)

    @property
    def loading(self) -> float:
        """The seconds of loading the checkpoint, including the extra time of its first batch."""
        (first, until_first), (inputs, total) = self._batches[1], self._batches[-1]
        if 2 * first > inputs:
            return self._loaded
        return max(self._loaded, total - (total - until_first) * inputs / (inputs - first))


class FeatureCache:
    """The entries of a cache with a checkpoint's features of a sample."""

    def __init__(self, spec: FeatureSpec, inputs: EngineInput) -> None:
        self._cache, self._inputs = inputs.cache, len(inputs.sample.inputs)
        self._keys = {
            layer: features_key(spec, inputs.sample, layer, inputs.running) for layer in inputs.features.read_layers
        }

    def load(self) -> Extraction:
        """Return the cached layers, perhaps none."""
        info, features = {}, {}
        for layer, key in self._keys.items():
            stored = self._cache.get(key, self._features_of)
            if stored is not None:
                features[layer], info[layer] = stored
        return Extraction(info, features, cached=True)

    def _features_of(self, stored: Mapping[str, np.ndarray]) -> tuple[np.ndarray, FeatureInfo]:
        features, info = stored["features"], msgspec.json.decode(stored["info"].tobytes(), type=FeatureInfo)
        if features.shape != (self._inputs, info.width) or features.dtype != np.float32:
            raise ValueError(f"its shape is {features.shape}, for {self._inputs} inputs")
        return features, info

    def save(self, layer: str, features: np.ndarray, info: FeatureInfo) -> None:
        encoded = np.frombuffer(msgspec.json.encode(info), np.uint8)
        self._cache.put(self._keys[layer], {"features": features, "info": encoded})

    def is_complete(self) -> bool:
        """Return whether the features of all layers are cached, without reading them."""
        return all(map(self._cache.holds, self._keys.values()))


def prefetch_weights(spec: FeatureSpec, inputs: EngineInput) -> None:
    """Download the weights that `extract` will load; none if the cache has all features."""
    if not FeatureCache(spec, inputs).is_complete():
        fetch_weights(spec.repo, subfolder=spec.subfolder)


def features_key(spec: FeatureSpec, sample: Sample, layer: str, options: RunOptions) -> Key:
    """Return the cache key of a checkpoint's features at a layer."""
    return cache_key(
        "features",
        spec.repo.id,
        spec.repo.revision,
        options.in_keys(),
        versions=spec.versions,
        extractor=spec.fingerprint,
        inputs=sample.inputs_fingerprint,
        task=sample.task.id,
        layer=layer,
        device=device_in_keys(options),
    )
