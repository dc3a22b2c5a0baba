"""ASR models: checkpoints with the classes of transformers for CTC and for sequences to sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_emms.cache import NO_CACHE, Cache
from hf_emms.errors import EmmsError
from hf_emms.features.adapters import merge_adapter
from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.device import Inputs
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, load_error
from hf_emms.inputs.audio import SoundReader, decode, load_sound_reader
from hf_emms.inputs.text import load_tokenizer

_CTC, _SEQUENCES = "AutoModelForCTC", "AutoModelForSpeechSeq2Seq"
# Clips of equal length that are read together, and how many tokens are written for a clip, by its seconds: speech takes
# fewer, and a decoder that repeats itself would go on.
_BATCH, _FIRST_TOKENS, _TOKENS_A_SECOND = 8, 16, 25
# What a decoder starts with at most: a start, a language, a task, and that times are not written.
_START_TOKENS = 4
# What the configurations of families call the most tokens that their decoder writes.
_LIMITS = ("max_target_positions", "max_text_positions", "max_position_embeddings")
# What only training needs, which checkpoints may lack.
_TRAINING_ONLY = "masked_spec_embed"


@dataclass(frozen=True)
class AsrModel:
    """A checkpoint that transcribes, always by the likeliest token."""

    model: Any
    tokenizer: Any
    reader: SoundReader
    is_ctc: bool

    @torch.no_grad()
    def transcribe(self, sounds: Sequence[bytes]) -> list[str]:
        """Return the transcript of each sound; the parts of long sounds are read in turn."""
        self.model.eval()
        # Parts of several lengths would fill each other up, which not every family ignores.
        size = _BATCH if self.reader.fixed_length else 1
        texts: list[list[str]] = [[] for _ in sounds]
        batch: list[tuple[int, Any]] = []
        for number, encoded in enumerate(sounds):
            for part in self.reader.parts_of(decode(encoded, self.reader.rate)):
                batch.append((number, part))
                if len(batch) == size:
                    self._write(batch, texts)
        self._write(batch, texts)
        return [" ".join(filter(None, parts)) for parts in texts]

    def _write(self, batch: list[tuple[int, Any]], texts: list[list[str]]) -> None:
        """Add what is said in the parts of a batch to the texts of their sounds, and empty the batch."""
        if not batch:
            return
        numbers, parts = zip(*batch, strict=True)
        batch.clear()
        dtype = self.model.dtype
        inputs = {
            name: tensor.to(self.model.device, dtype if tensor.is_floating_point() else None)
            for name, tensor in self.reader.process(parts).items()
        }
        ids = self._likeliest(inputs, max(map(len, parts)) / self.reader.rate)
        for number, text in zip(
            numbers, self.tokenizer.batch_decode(ids, skip_special_tokens=not self.is_ctc), strict=True
        ):
            texts[number].append(text.strip())

    def _likeliest(self, inputs: Inputs, seconds: float) -> Any:
        if self.is_ctc:
            return self.model(**inputs).logits.argmax(-1)
        settings = {"task": "transcribe"} if getattr(self.model.generation_config, "is_multilingual", False) else {}
        longest = min(max_new_tokens(self.model), _FIRST_TOKENS + int(_TOKENS_A_SECOND * seconds))
        return self.model.generate(**inputs, max_new_tokens=longest, do_sample=False, num_beams=1, **settings)


def max_new_tokens(model: Any) -> int:
    """Return the most tokens that a decoder writes behind those that it starts with."""
    return next(int(getattr(model.config, name)) for name in _LIMITS if hasattr(model.config, name)) - _START_TOKENS


def asr_class(plan: FeatureSpec) -> str:
    """Return the name of the class of transformers that transcribes with checkpoints of this family.

    Raises:
        EmmsError: there is none.
    """
    from transformers.models.auto import modeling_auto

    model_type = plan.config["model_type"]
    if plan.architecture.model_types and not plan.code:
        if model_type in modeling_auto.MODEL_FOR_CTC_MAPPING_NAMES:
            return _CTC
        if model_type in modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
            return _SEQUENCES
    raise EmmsError(f"{plan.repo.id} is a {model_type} checkpoint, a family without a head that transcribes")


def is_ctc(class_name: str) -> bool:
    return class_name == _CTC


def load_asr_model(plan: FeatureSpec, cache: Cache = NO_CACHE) -> AsrModel:
    """Return the checkpoint as it transcribes without any training, in the plan's precision, on the CPU.

    Raises:
        EmmsError: it cannot be loaded, or lacks a head or a vocabulary.
    """
    import transformers

    name = asr_class(plan)
    reader = load_sound_reader(plan)
    tokenizer = load_tokenizer(plan)
    weights = fetch_weights(plan.weights_repo, subfolder=plan.subfolder)
    try:
        model, report = getattr(transformers, name).from_pretrained(
            weights.folder,
            dtype=getattr(torch, plan.dtype),
            use_safetensors=not weights.pickled,
            local_files_only=True,
            output_loading_info=True,
        )
    except LOAD_FAILURES as error:
        raise load_error(plan, "weights", error) from error
    missing = sorted(name for name in report["missing_keys"] if not name.endswith(_TRAINING_ONLY))
    if missing:
        raise EmmsError(f"{plan.repo.id} has no head that transcribes: it has no weights for {missing[0]}")
    if plan.base is not None:
        merge_adapter(plan.repo, model)
    return AsrModel(model, tokenizer, reader, is_ctc(name))
