"""Sounds: decoded, mixed down and resampled in a thread, and read in batches of similar length."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.extractor import FeatureReader
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, ReadCounts, load_error
from hf_emms.inputs.encoded import EncodedInputs, EncodedModality, map_ahead
from hf_emms.inputs.modality import BatchReader, TrainingReader, UnusableError
from hf_emms.texts import install_command

if TYPE_CHECKING:
    import torch

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel

# --- content of a dataset ---------------------------------------------------------------------------------

# Most families have no frame for a shorter sound. One label describes little of a longer one.
_MIN_SECONDS, _MAX_SECONDS = 0.05, 3_600
# Frames that are decoded at a time, a minute at 16 kHz.
_BLOCK = 2**20
_ARRAY_FIELDS = ("array", "sampling_rate")
# First bytes of WAV, AIFF, FLAC, OGG and MP3 files.
_START = re.compile(rb"(RIFF|FORM)....(WAVE|AIFF|AIFC)|fLaC|OggS|ID3|\xff[\xfb\xf3\xf2]", re.DOTALL)


def load_soundfile() -> ModuleType:
    """Import soundfile, or raise an `EmmsError` with the command that installs it and soxr."""
    try:
        import soundfile  # type: ignore[import-untyped]
        import soxr  # noqa: F401
    except (ImportError, OSError) as error:
        raise EmmsError(
            "package-missing",
            "reading sound requires soundfile and soxr, which are not installed",
            install_command("audio"),
        ) from error
    return soundfile


def decode(encoded: bytes, rate: int) -> np.ndarray:
    """Decode a sound to float32 samples (T,) at a rate in Hz: the mean of its channels, resampled."""
    import soxr

    with load_soundfile().SoundFile(io.BytesIO(encoded)) as file:
        blocks = (block.mean(1) for block in file.blocks(_BLOCK, dtype="float32", always_2d=True))
        if file.samplerate == rate:
            return np.concatenate([*blocks])
        resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
        parts = [resampler.resample_chunk(block) for block in blocks]
        return np.concatenate([*parts, resampler.resample_chunk(np.empty(0, np.float32), last=True)])


def encode(samples: np.ndarray, rate: int) -> bytes:
    """Encode samples (T,) or (T, channels) as a WAV file of 32-bit floats. Equal samples give equal bytes."""
    from scipy.io import wavfile

    buffer = io.BytesIO()
    # libsndfile would add a chunk with the time of day.
    wavfile.write(buffer, int(rate), np.asarray(samples, np.float32))
    return buffer.getvalue()


def _find_problem(encoded: bytes) -> str | None:
    """Decode a sound block by block, and return why it cannot be used, or None."""
    try:
        with load_soundfile().SoundFile(io.BytesIO(encoded)) as file:
            frames = 0
            for block in file.blocks(_BLOCK, dtype="float32"):
                frames += len(block)
                if not np.isfinite(block).all():
                    return "some of its samples are not finite"
                if frames > _MAX_SECONDS * file.samplerate:
                    return f"it is longer than {_MAX_SECONDS // 60} minutes; split it into clips with a label each"
            if frames < _MIN_SECONDS * file.samplerate:
                milliseconds, needed = 1_000 * frames / file.samplerate, 1_000 * _MIN_SECONDS
                return f"it lasts {milliseconds:.0f} ms, and {needed:.0f} are needed"
    except RuntimeError as error:
        reason = getattr(error, "error_string", "") or str(error)
        return f"it cannot be decoded as WAV, FLAC, OGG or MP3: {reason.rstrip('.')}"
    return None


# --- how checkpoints read it ------------------------------------------------------------------------------

# The longest part of a clip for a checkpoint without a fixed length.
PART_SECONDS = 30
# A batch ends before clips that are shorter than this share of its longest clip.
_SIMILAR = 0.8
# If padding changes features, clips are padded to multiples of this length only, so that many lengths are equal.
_STEP_SECONDS = 0.02
# Shorter parts are padded to this length, the largest field of view among the convolutions of the families.
_MIN_PART_SECONDS = 0.1
# SpecAugment masks ten frames at a time, which requires longer clips in training.
_MIN_TRAINING_SECONDS = 0.5
# The largest relative change of features that counts as unchanged.
_TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
# What families raise for clips that are too short.
UNREADABLE = (RuntimeError, ValueError, IndexError)
_MODEL_INPUTS = ("input_values", "input_features", "attention_mask", "is_longer")


@dataclass(frozen=True)
class SoundReader:
    """Turns sounds into the tensors that a checkpoint reads.

    Attributes:
        extractor: The checkpoint's feature extractor of transformers.
        rate: Its sampling rate in Hz.
        part: The most samples of a clip that it reads at once.
        fixed_length: Whether it pads every part to that length.
        elements: Tensor elements per sample, on average.
    """

    extractor: Any
    rate: int
    part: int
    fixed_length: bool
    elements: float

    def process(self, parts: Sequence[np.ndarray], min_seconds: float = _MIN_PART_SECONDS) -> Inputs:
        """Return the tensors of a batch of samples (T,), with an attention mask if the family has masks."""
        return process_sounds(self.extractor, [_pad(part, int(min_seconds * self.rate)) for part in parts], self.rate)

    def training_batch(self, sounds: Sequence[bytes], min_seconds: float = _MIN_TRAINING_SECONDS) -> Inputs:
        """Return a batch of the first part of each sound, with an attention mask if the family is trained with it."""
        clips = [decode(encoded, self.rate)[: self.part] for encoded in sounds]
        inputs = self.process(clips, min_seconds)
        if not getattr(self.extractor, "return_attention_mask", False):
            inputs.pop("attention_mask", None)
        return inputs

    def parts_of(self, samples: np.ndarray) -> list[np.ndarray]:
        """Split a long clip into equal parts that the checkpoint can read."""
        return np.array_split(samples, -(-len(samples) // self.part))

    def size_of(self, samples: int) -> float:
        return self.elements * (self.part if self.fixed_length else samples)


def _pad(samples: np.ndarray, length: int) -> np.ndarray:
    """Append silence up to a length."""
    return np.pad(samples, (0, max(0, length - len(samples))))


def process_sounds(extractor: Any, parts: Sequence[np.ndarray], rate: int) -> Inputs:
    """Run a feature extractor of transformers on samples, padded to the longest."""
    parameters = signature(extractor.__call__).parameters
    options: dict[str, Any] = {"return_attention_mask": True} if "return_attention_mask" in parameters else {}
    if "padding" in parameters and parameters["padding"].default is False:
        options["padding"] = True
    encoded = extractor([*parts], sampling_rate=rate, return_tensors="pt", **options)
    inputs = {name: encoded[name] for name in _MODEL_INPUTS if name in encoded}
    if "is_longer" in inputs:
        # If no clip is longer than CLAP reads, its extractor marks a random clip as longer.
        inputs["is_longer"] = inputs["input_features"].new_zeros((len(parts), 1), dtype=bool)
    return inputs


def load_sound_reader(spec: FeatureSpec) -> SoundReader:
    """Load the checkpoint's feature extractor, or raise an `EmmsError`."""
    from transformers import AutoFeatureExtractor

    load_soundfile()
    try:
        extractor = AutoFeatureExtractor.from_pretrained(
            spec.model_folder, trust_remote_code=spec.code, local_files_only=True
        )
        rate = int(extractor.sampling_rate)
        short, long = (
            next(iter(process_sounds(extractor, [np.full(seconds * rate, 0.1, np.float32)], rate).values()))
            for seconds in (1, 2)
        )
    except LOAD_FAILURES as error:
        raise load_error(spec, "feature extractor (preprocessor_config.json)", error) from error
    if short.shape != long.shape:
        return SoundReader(extractor, rate, PART_SECONDS * rate, False, short.numel() / rate)
    part = _fixed_samples(extractor, rate)
    return SoundReader(extractor, rate, part, True, short.numel() / part)


def _fixed_samples(extractor: Any, rate: int) -> int:
    """Return the fixed length of an extractor in samples: Whisper's, CLAP's, or AST's frames of 25 ms every 10 ms."""
    for name in ("n_samples", "nb_max_samples"):
        if isinstance(samples := getattr(extractor, name, None), int):
            return samples
    frames = getattr(extractor, "max_length", None)
    return frames * rate // 100 + rate * 15 // 1000 if isinstance(frames, int) else PART_SECONDS * rate


class SoundFeatures(FeatureReader):
    """The `FeatureReader` of sounds."""

    def __init__(self, model: Any, reader: SoundReader, layers: LayerReader, dtype: str) -> None:
        from hf_emms.features.device import SOUND

        super().__init__(lambda inputs: layers(model, inputs), model, layers, SOUND)
        self._reader = reader
        self._can_pad = reader.fixed_length or self._ignores_padding(_TOLERANCE[dtype])

    def batches(self, sounds: Sequence[bytes], batch_size: int | None) -> Iterator[Batch]:
        import torch

        batches = self._batch_positions(sounds, batch_size)
        for positions, (counts, groups) in map_ahead(batches, lambda batch: self._read(sounds, batch)):
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

    def example(self) -> EncodedInputs:
        rate = self._reader.rate
        return EncodedInputs([encode(np.random.default_rng(0).normal(scale=0.1, size=rate), rate)])

    def _ignores_padding(self, tolerance: float) -> bool:
        """Return whether padding to a longer clip leaves features unchanged. A norm over time changes them."""
        rate = self._reader.rate
        noise = np.random.default_rng(0).normal(scale=0.1, size=2 * rate).astype(np.float32)
        short = noise[: rate // 2]
        alone, beside = (self._forward(self._reader.process(parts))[0] for parts in ([short], [short, noise]))
        return bool((alone - beside).abs().max() <= tolerance * alone.abs().max())

    def _batch_positions(self, sounds: Sequence[bytes], batch_size: int | None) -> Iterator[np.ndarray]:
        """Yield the positions of each batch, int64 (b,), the longest clips first, according to the file headers."""
        reader = self._reader
        lengths = np.array([samples_in(encoded, reader.rate) for encoded in sounds])
        counts = -(-lengths // reader.part)
        part_lengths = lengths / counts
        order = np.argsort(-part_lengths, kind="stable")
        max_elements = self._forward.max_elements
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
        """Return the number of parts of each clip, (n,), and groups of parts: their clips, and their tensors."""
        reader = self._reader
        parts_by_clip = [reader.parts_of(decode(sounds[position], reader.rate)) for position in positions.tolist()]
        clip_of_part = np.repeat(np.arange(len(positions)), [len(parts) for parts in parts_by_clip])
        parts = [part for parts in parts_by_clip for part in parts]
        if not self._can_pad:
            step = int(_STEP_SECONDS * reader.rate)
            parts = [_pad(part, len(part) + -len(part) % step) for part in parts]
        lengths = np.array([len(part) for part in parts])
        order = np.argsort(-lengths, kind="stable")
        groups = []
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            rows = max(1, int(self._forward.max_elements / reader.size_of(longest)))
            members = order[start : start + rows]
            if not self._can_pad:
                members = members[lengths[members] == longest]
            groups.append((clip_of_part[members], reader.process([parts[member] for member in members])))
            start += len(members)
        return np.bincount(clip_of_part), groups


def _reads_shortest(model: Any, reader: SoundReader) -> bool:
    """Return whether a model can read the shortest clip of a sample."""
    import torch

    try:
        with torch.no_grad():
            model(**reader.process([np.full(int(_MIN_SECONDS * reader.rate), 0.1, np.float32)], 0.0))
    except UNREADABLE:
        return False
    return True


def samples_in(encoded: bytes, rate: int) -> int:
    """Return the length of a file in samples at a rate, according to its header."""
    return max(1, round(_seconds_in(encoded) * rate))


def _seconds_in(encoded: bytes) -> float:
    with load_soundfile().SoundFile(io.BytesIO(encoded)) as file:
        return float(min(file.frames / file.samplerate, _MAX_SECONDS))


# --- the modality -----------------------------------------------------------------------------------------


class _Audio(EncodedModality):
    def check_installed(self) -> None:
        load_soundfile()

    def holds(self, feature: Any) -> bool:
        import datasets

        is_array = isinstance(feature, Mapping) and set(_ARRAY_FIELDS) <= set(feature)
        return is_array or isinstance(feature, datasets.Audio)

    def recognizes(self, content: bytes) -> bool:
        return _START.match(content) is not None

    def read(self, value: Any, column: str) -> bytes:
        """Return the encoded bytes of an undecoded Audio cell, or of an array with its rate."""
        if isinstance(value, Mapping) and set(_ARRAY_FIELDS) <= set(value):
            return encode(np.asarray(value["array"]).T, value["sampling_rate"])
        return bytes(self.stored_bytes(value, "sound"))

    def check(self, content: bytes) -> None:
        problem = _find_problem(content)
        if problem:
            raise UnusableError(f"a sound cannot be used: {problem}")

    def seconds(self, inputs: Any) -> float:
        return sum(map(_seconds_in, inputs.encoded))

    def load_processors(self, spec: FeatureSpec, device: torch.device) -> SoundReader:
        return load_sound_reader(spec)

    def feature_reader(
        self, loaded: LoadedModel, processors: SoundReader, layers: tuple[str, ...], *, spans: bool
    ) -> SoundFeatures:
        from hf_emms.features.layers import make_layer_reader

        return SoundFeatures(loaded.model, processors, make_layer_reader(loaded, layers), loaded.spec.dtype)

    def training_reader(self, spec: FeatureSpec, model: Any) -> TrainingReader:
        reader = load_sound_reader(spec)

        def read(sounds: Sequence[bytes], sound_of_row: np.ndarray) -> tuple[BatchReader, Sequence[Note]]:
            return lambda rows: reader.training_batch([sounds[sound] for sound in sound_of_row[rows].tolist()]), ()

        def read_alone(sounds: Sequence[bytes], sound_of_row: np.ndarray) -> BatchReader:
            return lambda rows: reader.training_batch(
                [sounds[sound] for sound in sound_of_row[rows].tolist()], shortest
            )

        text = f"training reads the first {reader.part / reader.rate:.3g} seconds of longer clips"
        notes = [Note("clips-truncated", text)]
        shortest = 0.0 if _reads_shortest(model, reader) else _MIN_PART_SECONDS
        if shortest:
            text = f"clips below {shortest:g} seconds get silence, because the checkpoint cannot read shorter ones"
            notes.append(Note("clips-padded", text))
        return TrainingReader(read, (reader.extractor,), tuple(notes), read_alone)


AUDIO = _Audio(
    name="audio",
    singular="clip",
    plural="sounds",
    column_types=("audio",),
    suffixes=(".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".aiff", ".aif", ".au"),
    recognized_by_type=True,
    fallback_pooling="sound_fallback",
    fallback_summary="audio features if the model has them, else the mean of the last layer's frames",
    cpu_seconds=1e-8,
    chunk_rows=32,
)
