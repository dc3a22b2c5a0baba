"""Sound: held encoded, decoded, mixed down and resampled in a thread, read in batches of similar length."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, install_command
from hf_emms.features.bounds import check_processor_config
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, ReadCounts, load_error
from hf_emms.inputs.encoded import EncodedInputs, EncodedKind, prepare_ahead
from hf_emms.inputs.modality import BatchReader, TrainingReader, UnusableError

if TYPE_CHECKING:
    import torch

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel

# --- content of a dataset ---------------------------------------------------------------------------------

# A shorter sound has no frame in most families; a single label says little about a longer sound.
_MIN_SECONDS, _MAX_SECONDS = 0.05, 3_600
# Frames that are decoded at a time: a minute at 16 kHz.
_BLOCK = 2**20
# The least share of the samples that a header promises: estimates of compressed files may be a little off.
_WHOLE = 0.9
# The report of libsndfile on a WAV file whose data ends early; writers that cannot seek promise the largest number.
_CUT_OFF = re.compile(r"^\s*data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_NO_LENGTH = 0x7FFF_0000
_ARRAY = ("array", "sampling_rate")
# How files of WAV, AIFF, FLAC, OGG and MP3 start.
_START = re.compile(rb"(RIFF|FORM)....(WAVE|AIFF|AIFC)|fLaC|OggS|ID3|\xff[\xfb\xf3\xf2]", re.DOTALL)


class Sounds(EncodedInputs):
    """Sounds held as encoded bytes, which readers decode at their rate."""


def _soundfile() -> ModuleType:
    try:
        import soundfile  # type: ignore[import-untyped]
        import soxr  # noqa: F401
    except (ImportError, OSError) as error:
        raise EmmsError(
            "sound is read with soundfile and soxr, which are not installed", install_command("audio")
        ) from error
    return soundfile


def decode(encoded: bytes, rate: int) -> np.ndarray:
    """Return a sound as float32 samples (T,) at a rate in Hz: the mean of its channels, resampled."""
    import soxr

    with _soundfile().SoundFile(io.BytesIO(encoded)) as file:
        blocks = (block.mean(1) for block in file.blocks(_BLOCK, dtype="float32", always_2d=True))
        if file.samplerate == rate:
            return np.concatenate([*blocks])
        resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
        parts = [resampler.resample_chunk(block) for block in blocks]
        return np.concatenate([*parts, resampler.resample_chunk(np.empty(0, np.float32), last=True)])


def encode(samples: np.ndarray, rate: int) -> bytes:
    """Return samples (T,) or (T, channels) as a WAV file of 32-bit floats."""
    buffer = io.BytesIO()
    _soundfile().write(buffer, np.asarray(samples, np.float32), int(rate), format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def _problem_of(encoded: bytes) -> str | None:
    """Return why a sound cannot be used, in words, or None; it is decoded once, a block at a time."""
    try:
        with _soundfile().SoundFile(io.BytesIO(encoded)) as file:
            cut_off = _CUT_OFF.search(file.extra_info)
            if cut_off and int(cut_off[2]) < int(cut_off[1]) < _NO_LENGTH:
                return "its file is cut off"
            frames, heard = 0, False
            for block in file.blocks(_BLOCK, dtype="float32"):
                frames += len(block)
                heard = heard or bool(block.any())
                if not np.isfinite(block).all():
                    return "some of its samples are no numbers"
                if frames > _MAX_SECONDS * file.samplerate:
                    return f"it is longer than {_MAX_SECONDS // 60} minutes: cut it into clips that its label fits"
            if frames < _WHOLE * file.frames < _MAX_SECONDS * file.samplerate:
                return "its file is cut off"
            if frames < _MIN_SECONDS * file.samplerate:
                return f"it lasts {1_000 * frames / file.samplerate:.0f} ms, and {1_000 * _MIN_SECONDS:.0f} are needed"
            return None if heard else "it is silent"
    except RuntimeError as error:
        reason = getattr(error, "error_string", "") or str(error)
        return f"it cannot be decoded as WAV, FLAC, OGG or MP3: {reason.rstrip('.')}"


# --- how checkpoints read it ------------------------------------------------------------------------------

# The longest part of a clip that a checkpoint without a fixed length reads at once.
_PART_SECONDS = 30
# A batch ends where clips get shorter than this part of its longest clip.
_SIMILAR = 0.8
# Where padding changes features, clips are padded to multiples of this, so that many have equal lengths.
_STEP_SECONDS = 0.02
# Shorter parts are padded to this: the most that the convolutions of a family of the table look at together.
_MIN_PART_SECONDS = 0.1
# Masks of SpecAugment, ten frames each, need more in training.
_MIN_TRAINING_SECONDS = 0.5
# The relative change of a short clip's features beside a long clip that counts as none.
_SAME = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
_MODEL_INPUTS = ("input_values", "input_features", "attention_mask", "is_longer")


@dataclass(frozen=True)
class SoundReader:
    """Turns sounds into the tensors that a checkpoint reads.

    Attributes:
        extractor: the checkpoint's feature extractor of transformers.
        rate: of its samples, in Hz.
        part: samples of the longest part of a clip that it reads at once.
        fixed_length: whether every part is padded to that length.
        elements: numbers of a tensor per sample, on average.
    """

    extractor: Any
    rate: int
    part: int
    fixed_length: bool
    elements: float

    def process(self, parts: Sequence[np.ndarray]) -> Inputs:
        """Return the tensors of a batch of samples (T,), with an attention mask if the family has masks."""
        shortest = int(_MIN_PART_SECONDS * self.rate)
        return process_sounds(self.extractor, [_lengthened(part, shortest) for part in parts], self.rate)

    def training_batch(self, sounds: Sequence[bytes]) -> Inputs:
        """Return a batch of the first part of each sound, with an attention mask if the family is trained with it."""
        clips = [decode(encoded, self.rate)[: self.part] for encoded in sounds]
        shortest = int(_MIN_TRAINING_SECONDS * self.rate)
        inputs = process_sounds(self.extractor, [_lengthened(clip, shortest) for clip in clips], self.rate)
        if not getattr(self.extractor, "return_attention_mask", False):
            inputs.pop("attention_mask", None)
        return inputs

    def parts_of(self, samples: np.ndarray) -> list[np.ndarray]:
        """Return a clip cut into as few equal parts as the checkpoint can read."""
        return np.array_split(samples, -(-len(samples) // self.part))

    def size_of(self, samples: int) -> float:
        return self.elements * (self.part if self.fixed_length else samples)


def _lengthened(samples: np.ndarray, length: int) -> np.ndarray:
    """Return samples with silence behind them, up to a length."""
    lengthened = np.zeros(max(length, len(samples)), samples.dtype)
    lengthened[: len(samples)] = samples
    return lengthened


def process_sounds(extractor: Any, parts: Sequence[np.ndarray], rate: int) -> Inputs:
    """Return samples as tensors of a feature extractor of transformers, padded to the longest."""
    parameters = signature(extractor.__call__).parameters
    options: dict[str, Any] = {"return_attention_mask": True} if "return_attention_mask" in parameters else {}
    if "padding" in parameters and parameters["padding"].default is False:
        options["padding"] = True
    encoded = extractor([*parts], sampling_rate=rate, return_tensors="pt", **options)
    inputs = {name: encoded[name] for name in _MODEL_INPUTS if name in encoded}
    if "is_longer" in inputs:
        # CLAP's extractor draws a clip of the batch at random where none is longer than the model reads.
        inputs["is_longer"] = inputs["input_features"].new_zeros((len(parts), 1), dtype=bool)
    return inputs


def load_sound_reader(plan: FeatureSpec) -> SoundReader:
    """Return the reader with the checkpoint's feature extractor; an EmmsError if it cannot be loaded."""
    from transformers import AutoFeatureExtractor

    _soundfile()
    check_processor_config(plan.repo, plan.model_folder)
    try:
        extractor = AutoFeatureExtractor.from_pretrained(
            plan.model_folder, trust_remote_code=plan.code, local_files_only=True
        )
        rate = int(extractor.sampling_rate)
        short, long = (
            next(iter(process_sounds(extractor, [np.full(seconds * rate, 0.1, np.float32)], rate).values()))
            for seconds in (1, 2)
        )
    except EmmsError:
        raise
    except LOAD_FAILURES as error:
        raise load_error(plan, "feature extractor (preprocessor_config.json)", error) from error
    if short.shape != long.shape:
        return SoundReader(extractor, rate, _PART_SECONDS * rate, False, short.numel() / rate)
    part = _fixed_samples(extractor, rate)
    return SoundReader(extractor, rate, part, True, short.numel() / part)


def _fixed_samples(extractor: Any, rate: int) -> int:
    """Return how many samples fill the fixed length of an extractor: Whisper's, CLAP's, AST's (frames of 10 ms)."""
    for name in ("n_samples", "nb_max_samples"):
        if isinstance(samples := getattr(extractor, name, None), int):
            return samples
    frames = getattr(extractor, "max_length", None)
    return frames * rate // 100 if isinstance(frames, int) else _PART_SECONDS * rate


def example_sounds(count: int, seconds: float, rate: int) -> Sounds:
    noise = np.random.default_rng(0).normal(scale=0.1, size=int(seconds * rate))
    return Sounds([encode(noise, rate)] * count)


class SoundFeatures:
    """The `FeatureReader` of sound."""

    def __init__(self, model: Any, reader: SoundReader, layers: LayerReader, dtype: str) -> None:
        from hf_emms.features.device import SOUND, BatchedForward

        self.layers, self.counts, self._reader = layers, ReadCounts(), reader
        self._forward = BatchedForward(lambda inputs: layers(model, inputs), model.device, SOUND, model.dtype)
        self.forwards = (self._forward,)
        self._can_pad = reader.fixed_length or self._ignores_padding(_SAME[dtype])

    def batches(self, sounds: Sequence[bytes], batch_size: int | None) -> Iterator[Batch]:
        import torch

        plan = self._plan_batches(sounds, batch_size)
        for positions, (counts, groups) in prepare_ahead(plan, lambda batch: self._read(sounds, batch)):
            sums = None
            for clips, inputs in groups:
                features = self._forward(inputs)
                if sums is None:
                    sums = features.new_zeros((len(positions), features.shape[1]))
                sums.index_add_(0, torch.from_numpy(clips).to(sums.device), features)
            assert sums is not None, "a batch has a clip"
            yield positions, sums / torch.from_numpy(counts).to(sums)[:, None]
            if counts.max() > 1:
                seconds = round(self._reader.part / self._reader.rate, 1)
                self.counts.add(ReadCounts(parted=int((counts > 1).sum()), part_seconds=seconds))

    def examples(self, count: int, words: int) -> Sounds:
        reader = self._reader
        return example_sounds(count, 1 if words == 1 else reader.part / reader.rate, reader.rate)

    def _ignores_padding(self, tolerance: float) -> bool:
        """Return whether a clip's features stay the same beside a longer clip; with a norm over time they do not."""
        rate = self._reader.rate
        noise = np.random.default_rng(0).normal(scale=0.1, size=2 * rate).astype(np.float32)
        short = noise[: rate // 2]
        alone, beside = (self._forward(self._reader.process(parts))[0] for parts in ([short], [short, noise]))
        return bool((alone - beside).abs().max() <= tolerance * alone.abs().max())

    def _plan_batches(self, sounds: Sequence[bytes], batch_size: int | None) -> Iterator[np.ndarray]:
        """Yield the positions of each batch, int64 (b,), the longest clips first, by their headers."""
        reader = self._reader
        lengths = np.array([samples_in(encoded, reader.rate) for encoded in sounds])
        counts = -(-lengths // reader.part)
        part_lengths = lengths / counts
        order = np.argsort(-part_lengths, kind="stable")
        max_elements = self._forward.batch_elements()
        start = 0
        while start < len(order):
            longest = part_lengths[order[start]]
            rows = int(
                np.searchsorted(np.cumsum(counts[order[start:]]) * reader.size_of(longest), max_elements, "right")
            )
            if not reader.fixed_length:
                similar = part_lengths[order[start : start + rows]] >= _SIMILAR * longest
                rows = min(rows, int(np.count_nonzero(similar)))
            stop = start + max(1, rows if batch_size is None else min(rows, batch_size))
            yield order[start:stop]
            start = stop

    def _read(
        self, sounds: Sequence[bytes], positions: np.ndarray
    ) -> tuple[np.ndarray, list[tuple[np.ndarray, Inputs]]]:
        """Return how many parts each clip has, (n,), and the groups of parts that are read together, as tensors."""
        reader = self._reader
        parts_by_clip = [reader.parts_of(decode(sounds[position], reader.rate)) for position in positions.tolist()]
        clip_of_part = np.repeat(np.arange(len(positions)), [len(parts) for parts in parts_by_clip])
        parts = [part for parts in parts_by_clip for part in parts]
        if not self._can_pad:
            step = int(_STEP_SECONDS * reader.rate)
            parts = [_lengthened(part, len(part) + -len(part) % step) for part in parts]
        lengths = np.array([len(part) for part in parts])
        order = np.argsort(-lengths, kind="stable")
        groups = []
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            rows = max(1, int(self._forward.batch_elements() / reader.size_of(longest)))
            members = order[start : start + rows]
            if not self._can_pad:
                members = members[lengths[members] == longest]
            groups.append((clip_of_part[members], reader.process([parts[member] for member in members])))
            start += len(members)
        return np.bincount(clip_of_part), groups


def samples_in(encoded: bytes, rate: int) -> int:
    """Return how many samples a file has at a rate, by its header."""
    return max(1, round(_seconds_in(encoded) * rate))


def _seconds_in(encoded: bytes) -> float:
    with _soundfile().SoundFile(io.BytesIO(encoded)) as file:
        return float(min(file.frames / file.samplerate, _MAX_SECONDS))


# --- the kind ---------------------------------------------------------------------------------------------


class _Audio(EncodedKind):
    inputs_type = Sounds

    def check_installed(self) -> None:
        _soundfile()

    def holds(self, feature: Any) -> bool:
        is_array = isinstance(feature, Mapping) and set(_ARRAY) <= set(feature)
        return is_array or getattr(feature, "_type", "") == "Audio"

    def recognises(self, content: bytes) -> bool:
        return _START.match(content) is not None

    def read(self, value: Any, column: str) -> bytes:
        """Return the encoded bytes of a cell of an undecoded Audio column, or of an array with its rate."""
        if (
            isinstance(value, Mapping)
            and not value.get("bytes")
            and all(value.get(name) is not None for name in _ARRAY)
        ):
            return encode(np.asarray(value["array"]).T, value["sampling_rate"])
        encoded = self.stored_bytes(value, "sound")
        if not encoded:
            raise UnusableError("there is no sound")
        return bytes(encoded)

    def check(self, content: bytes) -> None:
        problem = _problem_of(content)
        if problem:
            raise UnusableError(f"a sound cannot be used: {problem}")

    def seconds(self, inputs: Any) -> float:
        return sum(map(_seconds_in, inputs.encoded))

    def load_processors(self, plan: FeatureSpec, device: torch.device) -> SoundReader:
        return load_sound_reader(plan)

    def feature_reader(
        self, loaded: LoadedModel, processors: SoundReader, layers: tuple[str, ...], *, spans: bool
    ) -> SoundFeatures:
        from hf_emms.features.layers import plan_layers

        return SoundFeatures(loaded.model, processors, plan_layers(loaded, layers), loaded.plan.dtype)

    def training_reader(self, plan: FeatureSpec, model: Any) -> TrainingReader:
        reader = load_sound_reader(plan)

        def read(sounds: Sequence[bytes], sound_of_row: np.ndarray) -> tuple[BatchReader, Sequence[str]]:
            return lambda rows: reader.training_batch([sounds[sound] for sound in sound_of_row[rows].tolist()]), ()

        note = f"of longer clips the first {reader.part / reader.rate:.3g} seconds are read"
        return TrainingReader(read, (reader.extractor,), (note,))


AUDIO = _Audio(
    name="audio",
    singular="clip",
    plural="sounds",
    column_types=("audio",),
    suffixes=(".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au"),
    recognised_by_type=True,
    fallback_pooling="sound_fallback",
    fallback_summary="audio features if the model has them, else the mean of the last layer's frames",
    cpu_seconds=1e-8,
    chunk_rows=32,
    buffer_rows=500,
)
