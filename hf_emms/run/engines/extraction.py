"""Compute the features of a checkpoint by layer, or read them from the cache, and sum them up as moments."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.cache import Key, cache_key
from hf_emms.errors import EmmsError, one_line, pluralize, setting_ref
from hf_emms.features.checkpoint_files import fetch_weights, needed_weights
from hf_emms.features.extractor import ExtractorPool, pool_or_own
from hf_emms.features.feature_spec import FeatureInfo, FeatureSpec, LayerError, device_in_keys
from hf_emms.hub import Repo, listing
from hf_emms.inputs import Spans
from hf_emms.options import RunOptions, ScoringOptions
from hf_emms.run.engines import EngineInput
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.data import Sample
    from hf_emms.features.extractor import Extractor

# Rows that are added to the moments at once: enough for fast products, few enough to need little memory.
CHUNK_ROWS = 2048

# Weights in half precision double when they are loaded, and linear layers on a CPU have a packed copy.
LOADED_FACTOR = 2


# ---- inputs ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InputSlice:
    """Some inputs of a sample with all rows that use them.

    A row's fold depends on its group alone, so slices never change folds.

    Attributes:
        inputs: The m inputs, as `Modality.collect` makes them.
        rows: int64 (n,): the rows of the sample that use them.
        input_of_row: int64 (n,): the number of each of these rows' input among the m inputs.
        groups: uint64 (n,): as in the sample.
    """

    inputs: Sequence[Any]
    rows: np.ndarray
    input_of_row: np.ndarray
    groups: np.ndarray

    def groups_of_inputs(self, count: int) -> np.ndarray:
        """Return the group of the rows of each of the first inputs, uint64 (count,), all of which have rows."""
        groups = np.zeros(count, np.uint64)
        groups[self.input_of_row] = self.groups
        return groups


def whole_sample(sample: Sample) -> InputSlice:
    return InputSlice(sample.inputs, np.arange(len(sample)), sample.input_of_row, sample.groups)


# ---- features --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Extraction:
    """The features of a checkpoint for m inputs, by layer.

    Attributes:
        features: Layer → float32 (m, D1).
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
    spec: FeatureSpec,
    engine_input: EngineInput,
    on_inputs: Callable[[int], None] = lambda count: None,
    pool: ExtractorPool | None = None,
) -> Extraction:
    """Return the features of a sample's inputs. The checkpoint is loaded only if the cache lacks some.

    `on_inputs` is called with the number of inputs after each batch. The pool contains only this checkpoint, which
    stays loaded there.
    """
    started = time.perf_counter()
    store, layers = FeatureCache(spec, engine_input), engine_input.features.read_layers
    cached = store.load()
    missing = tuple(layer for layer in layers if layer not in cached.info)
    if not missing:
        on_inputs(len(engine_input.sample.inputs))
        return replace(cached, seconds=time.perf_counter() - started)
    try:
        computed = _run(spec, engine_input, missing, on_inputs, pool)
    except LayerError as error:
        if not cached.info:
            raise
        computed = Extraction({}, refused=dict.fromkeys(missing, one_line(error)))
    spec.check_unchanged()  # save only results of the revision that the cache key names
    for layer, features in computed.features.items():
        store.save(layer, features, computed.info[layer])
    info = cached.info | computed.info
    return Extraction(
        {layer: info[layer] for layer in layers if layer in info},
        cached.features | computed.features,
        computed.refused,
        time.perf_counter() - started,
        computed.loading,
        computed.memory,
        cached=not computed.info,
    )


def _run(
    spec: FeatureSpec,
    engine_input: EngineInput,
    layers: tuple[str, ...],
    on_inputs: Callable[[int], None],
    pool: ExtractorPool | None,
) -> Extraction:
    """Return the features of all layers from one run of the checkpoint."""
    sample, running = engine_input.sample, engine_input.running
    part = whole_sample(sample)
    spans = isinstance(sample.inputs, Spans)
    loaded_for = (spec.fingerprint, sample.task.input.name, spans, layers, running.allow_pickle, running.device)
    peaks = []

    def load_it() -> Extractor:
        from hf_emms.features.device import gpu_peak

        peaks.append(gpu_peak(running.device))
        return load(spec, engine_input, layers)

    clock = _Clock(on_inputs)
    with pool_or_own(pool) as pool, pool.use(repr(loaded_for), load_it) as extractor:
        clock.loaded()
        extractor.reset_counts()
        side_by_side = read_features(extractor, part, running, clock.advanced)
    return Extraction(
        {layer: extractor.info(layer) for layer in extractor.layer_slices},
        {layer: side_by_side[:, columns] for layer, columns in extractor.layer_slices.items()},
        {layer: one_line(error) for layer, error in extractor.refused.items()},
        loading=clock.loading,
        memory=peaks[0]() if peaks else None,  # not measured if the checkpoint was loaded before
    )


class _Clock:
    """Tells the time for loading from that for inputs; a first batch takes longer, for libraries and kernels."""

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
        """The seconds until the checkpoint was loaded, with what its first batch took longer than the others."""
        (first, until_first), (inputs, total) = self._batches[1], self._batches[-1]
        if 2 * first > inputs:
            return self._loaded
        return max(self._loaded, total - (total - until_first) * inputs / (inputs - first))


def load(spec: FeatureSpec, engine_input: EngineInput, layers: tuple[str, ...] | None = None) -> Extractor:
    """Return the loaded checkpoint, which computes features of a sample's inputs at these layers, by default at all."""
    sample, running = engine_input.sample, engine_input.running
    extractor = sample.task.input.load_extractor(
        spec,
        device=running.device,
        allow_pickle=running.allow_pickle,
        layers=layers or engine_input.features.read_layers,
        spans=isinstance(sample.inputs, Spans),
    )
    spec.check_unchanged()
    return extractor


def read_features(
    extractor: Extractor, part: InputSlice, options: RunOptions, on_inputs: Callable[[int], None]
) -> np.ndarray:
    """Return the features of a part's inputs in their order, float32 (m, width of the extractor)."""
    features = np.empty((len(part.inputs), extractor.width), np.float32)
    for positions, batch in extractor.batches(part.inputs, batch_size=options.batch_size):
        features[positions] = batch
        on_inputs(len(positions))
    return features


class FeatureCache:
    """The entries of a cache with a checkpoint's features of a sample."""

    def __init__(self, spec: FeatureSpec, engine_input: EngineInput) -> None:
        self._cache, self._inputs = engine_input.cache, len(engine_input.sample.inputs)
        self._keys = {
            layer: features_key(spec, engine_input.sample, layer, engine_input.running)
            for layer in engine_input.features.read_layers
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


def prefetch_weights(spec: FeatureSpec, engine_input: EngineInput) -> None:
    """Download the weights that `extract` will load; none if the cache has all features."""
    if not FeatureCache(spec, engine_input).is_complete():
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


def weight_bytes(repo: Repo) -> int:
    """Return the bytes of the files of a checkpoint's weights; raises if it has none, or its files cannot be listed."""
    return sum(file.bytes for file in needed_weights(repo, listing(repo)))


# ---- moments ---------------------------------------------------------------------------------------------------


def moments_of(features: np.ndarray, part: InputSlice, labels: LabelTable, options: ScoringOptions) -> Moments:
    """Return the moments of a part's rows; its inputs have these features, float32 (m, D1), which must be finite."""
    _check_finite(features)
    moments = Moments.like(labels, features.shape[1], folds=options.folds, seed=options.seed)
    for start in range(0, len(part.rows), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        moments.update(features[part.input_of_row[chunk]], labels.take(part.rows[chunk]), part.groups[chunk])
    return moments


def _check_finite(features: np.ndarray) -> None:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise EmmsError(
            f"it gives NaN or infinite features for {int((~finite).sum()):,} of {pluralize(len(finite), 'input')}",
            setting_ref("dtype", "float32") + "; if it runs in that already, its weights are damaged",
        )
