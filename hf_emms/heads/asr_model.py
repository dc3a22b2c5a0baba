"""Automatic speech recognition: checkpoints with the classes of transformers for CTC, or for encoder-decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_emms.errors import EmmsError
from hf_emms.features.device import Inputs
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.modules import load_pretrained
from hf_emms.inputs.audio import SoundReader, decode, load_sound_reader
from hf_emms.inputs.text import load_tokenizer

CTC, _SEQ2SEQ = "AutoModelForCTC", "AutoModelForSpeechSeq2Seq"
# Parts of equal length per batch, and the most tokens of a transcript according to its seconds. Speech has fewer, but a
# decoder that repeats itself would not stop.
_BATCH, _FIRST_TOKENS, _TOKENS_PER_SECOND = 8, 16, 25
# The most start tokens of a decoder: start, language, task, and no timestamps.
_START_TOKENS = 4
# Names of the decoder's maximum length in the configurations of families.
_LIMITS = ("max_target_positions", "max_text_positions", "max_position_embeddings")
# A weight for training alone, which checkpoints may lack.
_TRAINING_ONLY = "masked_spec_embed"


@dataclass(frozen=True)
class AsrModel:
    """A checkpoint that transcribes by greedy decoding."""

    model: Any
    tokenizer: Any
    reader: SoundReader
    is_ctc: bool

    @torch.no_grad()
    def transcribe(self, sounds: Sequence[bytes], on_batch: Callable[[], None] = lambda: None) -> list[str]:
        """Return the transcript of each sound. Long sounds are read in parts. `on_batch` is called after each batch."""
        self.model.eval()
        # Parts of different lengths would be padded, which not every family ignores.
        size = _BATCH if self.reader.fixed_length else 1
        texts: list[list[str]] = [[] for _ in sounds]
        batch: list[tuple[int, Any]] = []
        for number, encoded in enumerate(sounds):
            for part in self.reader.parts_of(decode(encoded, self.reader.rate)):
                batch.append((number, part))
                if len(batch) == size:
                    self._write(batch, texts)
                    on_batch()
        if batch:
            self._write(batch, texts)
        return [" ".join(filter(None, parts)) for parts in texts]

    def _write(self, batch: list[tuple[int, Any]], texts: list[list[str]]) -> None:
        """Add the transcripts of a batch of parts to the texts of their sounds, and clear the batch."""
        numbers, parts = zip(*batch, strict=True)
        batch.clear()
        dtype = self.model.dtype
        inputs = {
            name: tensor.to(self.model.device, dtype if tensor.is_floating_point() else None)
            for name, tensor in self.reader.process(parts).items()
        }
        ids = self._decode(inputs, max(map(len, parts)) / self.reader.rate)
        written = self.tokenizer.batch_decode(ids, skip_special_tokens=not self.is_ctc)
        for number, text in zip(numbers, written, strict=True):
            texts[number].append(text.strip())

    def _decode(self, inputs: Inputs, seconds: float) -> Any:
        if self.is_ctc:
            return self.model(**inputs).logits.argmax(-1)
        settings = {"task": "transcribe"} if getattr(self.model.generation_config, "is_multilingual", False) else {}
        longest = min(max_new_tokens(self.model), _FIRST_TOKENS + int(_TOKENS_PER_SECOND * seconds))
        return self.model.generate(**inputs, max_new_tokens=longest, do_sample=False, num_beams=1, **settings)


def max_new_tokens(model: Any) -> int:
    """Return the maximum length of a transcript, without the decoder's start tokens."""
    return next(int(getattr(model.config, name)) for name in _LIMITS if hasattr(model.config, name)) - _START_TOKENS


def asr_class(spec: FeatureSpec) -> str:
    """Return the name of the class of transformers that transcribes with checkpoints of this family.

    Raises:
        EmmsError: There is none.
    """
    from transformers.models.auto import modeling_auto

    model_type = spec.config["model_type"]
    if spec.architecture.model_types and not spec.code:
        if model_type in modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES:
            return CTC
        if model_type in modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
            return _SEQ2SEQ
    raise EmmsError(f"{spec.repo.id} is a {model_type} checkpoint, a family without a head that transcribes")


def load_asr_model(spec: FeatureSpec) -> AsrModel:
    """Load a checkpoint that transcribes without fine-tuning, in the spec's dtype, on the CPU.

    Raises:
        EmmsError: It cannot be loaded, or has no head or vocabulary.
    """
    import transformers

    name = asr_class(spec)
    reader, tokenizer = load_sound_reader(spec), load_tokenizer(spec)
    model, missing, mismatched = load_pretrained(spec, getattr(transformers, name), getattr(torch, spec.dtype))
    missing = {name for name in missing | mismatched if not name.endswith(_TRAINING_ONLY)}
    if missing:
        raise EmmsError(f"{spec.repo.id} has no head that transcribes: it has no weights for {min(missing)}")
    return AsrModel(model, tokenizer, reader, name == CTC)
