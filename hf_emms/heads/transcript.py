"""Transcripts of sounds: fine-tuning a CTC head on an encoder, or an encoder-decoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mode
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.formatting import pluralize
from hf_emms.heads.head import HEAD_RATE, Head, Network
from hf_emms.heads.metrics import CHARACTERS_RIGHT, WORDS_RIGHT, Metric, load_jiwer, spoken_words
from hf_emms.heads.split import IGNORED, BatchedRows, ConstantBaseline, LabeledSplit
from hf_emms.inputs import Modality
from hf_emms.inputs.audio import SoundReader, decode, load_sound_reader, samples_in
from hf_emms.inputs.text import load_tokenizer

if TYPE_CHECKING:
    from hf_emms.features.device import Inputs

_PADDING, _UNKNOWN, _SPACE = "[PAD]", "[UNK]", "|"
# Clips in which a multilingual checkpoint detects the language.
_CLIPS_FOR_LANGUAGE = 8
_CTC, _SEQ2SEQ = "AutoModelForCTC", "AutoModelForSpeechSeq2Seq"
# Parts of equal length per batch, and the most tokens of a transcript according to its seconds. Speech has fewer, but a
# decoder that repeats itself would not stop.
_BATCH, _FIRST_TOKENS, _TOKENS_PER_SECOND = 8, 16, 25
# The most start tokens of a decoder: start, language, task, and no timestamps.
_START_TOKENS = 4
# Names of the decoder's maximum length in the configurations of families.
_LIMITS = ("max_target_positions", "max_text_positions", "max_position_embeddings")
# A weight for training alone, which checkpoints may lack.
_TRAINING_ONLY = "masked_spec_embed"

Tokenize = Callable[[str], list[int]]


class TranscriptHead(Head):
    """A head that transcribes sounds."""

    epochs = 20
    batch_size = 8

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return WORDS_RIGHT, CHARACTERS_RIGHT

    def why_not(self, spec: FeatureSpec) -> str | None:
        try:
            asr_class(spec)
        except EmmsError as error:
            return error.message
        return None

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        return ConstantBaseline("an empty transcript", [""] * len(split))

    def build(self, spec: FeatureSpec, modality: Modality, train: LabeledSplit) -> Network:
        load_jiwer()  # fail before training
        if asr_class(spec) == _CTC:
            return _with_ctc_head(spec, [_transcript(row) for row in train.references])
        asr = load_asr_model(replace(spec, dtype="float32"))
        return _TranscriptNetwork(asr, *_with_prompt(asr, train))


class _TranscriptNetwork(Network):
    """A network that transcribes each sound of a split by greedy decoding."""

    def __init__(self, asr: AsrModel, tokenize: Tokenize, notes: list[Note]) -> None:
        super().__init__(asr.model, (asr.reader.extractor, asr.tokenizer), notes)
        self._asr, self._tokenize = asr, tokenize

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        import torch

        if labeled:
            return self._training_rows(split)
        return BatchedRows(lambda rows: {"row": torch.from_numpy(rows)}, {}, len(split))

    def predict(self, model: Any, batch: Inputs) -> Any:
        # `predictions` reads and transcribes the sounds one after the other, as `pipeline()` does.
        return batch["row"][:, None].float()

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        return self._asr.transcribe([split.inputs[number] for number in split.input_of_row.tolist()])

    def _training_rows(self, split: LabeledSplit) -> BatchedRows:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        asr = self._asr
        labels = [self._tokenize(_transcript(reference)) for reference in split.references]
        most = np.inf if asr.is_ctc else max_new_tokens(asr.model)
        fits = [
            bool(ids) and len(ids) <= most and samples_in(split.inputs[number], asr.reader.rate) <= asr.reader.part
            for ids, number in zip(labels, split.input_of_row.tolist(), strict=True)
        ]
        usable = np.flatnonzero(fits)
        if not len(usable):
            raise EmmsError(
                "clips-too-long", "all clips or their transcripts are too long to train on", "split the clips"
            )
        if len(usable) < len(fits):
            left_out = pluralize(len(fits) - len(usable), "clip")
            text = f"training skips {left_out} that exceed the checkpoint's length of clips or transcripts"
            self.notes.append(Note("clips-skipped", text))

        def read(rows: np.ndarray) -> Inputs:
            chosen = usable[rows]
            sounds = [split.inputs[number] for number in split.input_of_row[chosen].tolist()]
            ids = [torch.tensor(labels[row]) for row in chosen.tolist()]
            padded = pad_sequence(ids, batch_first=True, padding_value=IGNORED)
            return {**asr.reader.training_batch(sounds), "labels": padded}

        return BatchedRows(read, {}, len(usable))


def _transcript(reference: Sequence[tuple[str, float]]) -> str:
    return reference[0][0]


# ---- CTC heads -------------------------------------------------------------------------------------------------------


def _with_ctc_head(spec: FeatureSpec, transcripts: Sequence[str]) -> Network:
    """Load the checkpoint with its own head if that has the letters of the transcripts, else with a new head."""
    import transformers

    from hf_emms.heads.modules import load_with_head

    reader, letters = load_sound_reader(spec), sorted({*"".join("".join(spoken_words(text)) for text in transcripts)})
    saved = _own_vocabulary(spec, letters)
    tokenizer = saved or _new_vocabulary(letters)
    text = f"the head is new, with {pluralize(len(letters), 'letter')} of the transcripts"
    notes = [] if saved is not None else [Note("new-head", text)]
    model, head, _ = load_with_head(
        spec,
        transformers.AutoModelForCTC,
        pad_token_id=tokenizer.pad_token_id,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        **({"vocab_size": len(tokenizer)} if saved is None else {}),
    )

    def tokenize(transcript: str) -> list[int]:
        words = _case_of(tokenizer)(" ".join(spoken_words(transcript)))
        ids: list[int] = tokenizer(words, add_special_tokens=False)["input_ids"]
        return ids

    network = _TranscriptNetwork(AsrModel(model, tokenizer, reader, True), tokenize, notes)
    network.head, network.head_rate = head, HEAD_RATE if saved is None else 0.0
    return network


def _own_vocabulary(spec: FeatureSpec, letters: Sequence[str]) -> Any:
    """Return the tokenizer of a checkpoint that was saved with a CTC head, or None if it lacks a letter."""
    if not any(str(name).endswith("ForCTC") for name in spec.config.get("architectures") or ()):
        return None
    try:
        tokenizer = load_tokenizer(spec)
    except EmmsError:
        return None
    numbers = tokenizer.get_vocab()
    case = _case_of(tokenizer)
    fits = all(numbers.get(case(letter), np.inf) < spec.config.get("vocab_size", 32) for letter in letters)
    return tokenizer if fits and tokenizer.pad_token_id is not None else None


def _new_vocabulary(letters: Sequence[str]) -> Any:
    from transformers import Wav2Vec2CTCTokenizer

    numbers = {mark: number for number, mark in enumerate([_PADDING, _UNKNOWN, _SPACE, *letters])}
    with TemporaryDirectory() as folder:
        path = Path(folder, "vocab.json")
        path.write_text(json.dumps(numbers), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(path),
            pad_token=_PADDING,
            unk_token=_UNKNOWN,
            word_delimiter_token=_SPACE,
            bos_token=None,
            eos_token=None,
        )


def _case_of(tokenizer: Any) -> Callable[[str], str]:
    """Return the function that converts text to the case of a vocabulary."""
    numbers = tokenizer.get_vocab()
    return str.upper if "E" in numbers and "e" not in numbers else str


# ---- encoder-decoders ------------------------------------------------------------------------------------------------


def _with_prompt(asr: AsrModel, train: LabeledSplit) -> tuple[Tokenize, list[Note]]:
    """Return the function that tokenizes transcripts, with the start tokens of the checkpoint, and notes."""
    model, tokenizer = asr.model, asr.tokenizer
    settings, prompt, notes = model.generation_config, list[int](), list[Note]()
    if getattr(settings, "is_multilingual", False):
        language = _language_of(asr, train)
        settings.language, settings.task = language, "transcribe"
        prompt += [settings.lang_to_id[language], settings.task_to_id["transcribe"]]
        notes.append(Note("language-detected", f"trained to transcribe {language}, detected in the first clips"))
    if getattr(settings, "no_timestamps_token_id", None) is not None:
        prompt.append(settings.no_timestamps_token_id)
    settings.forced_decoder_ids = None
    # The saved model decodes greedily too. By default, `pipeline()` would search with five beams.
    settings.num_beams, settings.max_new_tokens = 1, max_new_tokens(model)

    def tokenize(transcript: str) -> list[int]:
        return [*prompt, *tokenizer(transcript, add_special_tokens=False)["input_ids"], model.config.eos_token_id]

    return tokenize, notes


def _language_of(asr: AsrModel, train: LabeledSplit) -> str:
    """Return the token of the language that the checkpoint detects in most of the first clips, such as "<|de|>"."""
    import torch

    reader, model = asr.reader, asr.model.eval()
    first = train.input_of_row[:_CLIPS_FOR_LANGUAGE].tolist()
    clips = [decode(train.inputs[number], reader.rate)[: reader.part] for number in first]
    with torch.no_grad():
        detected = model.detect_language(reader.process(clips)["input_features"]).tolist()
    tokens = {number: token for token, number in model.generation_config.lang_to_id.items()}
    return str(tokens[mode(detected)])


# ---- transcribing ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AsrModel:
    """A checkpoint that transcribes by greedy decoding."""

    model: Any
    tokenizer: Any
    reader: SoundReader
    is_ctc: bool

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
        import torch

        numbers, parts = zip(*batch, strict=True)
        batch.clear()
        dtype = self.model.dtype
        inputs = {
            name: tensor.to(self.model.device, dtype if tensor.is_floating_point() else None)
            for name, tensor in self.reader.process(parts).items()
        }
        with torch.no_grad():
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
            return _CTC
        if model_type in modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES:
            return _SEQ2SEQ
    raise EmmsError("no-head", f"{spec.repo.id} is a {model_type} checkpoint, a family without a head that transcribes")


def load_asr_model(spec: FeatureSpec) -> AsrModel:
    """Load a checkpoint that transcribes without fine-tuning, in the spec's dtype, on the CPU.

    Raises:
        EmmsError: It cannot be loaded, or has no head or vocabulary.
    """
    import torch
    import transformers

    from hf_emms.heads.modules import load_pretrained

    name = asr_class(spec)
    reader, tokenizer = load_sound_reader(spec), load_tokenizer(spec)
    model, missing, mismatched = load_pretrained(spec, getattr(transformers, name), getattr(torch, spec.dtype))
    missing = {name for name in missing | mismatched if not name.endswith(_TRAINING_ONLY)}
    if missing:
        raise EmmsError(
            "weights-missing", f"{spec.repo.id} has no head that transcribes: it has no weights for {min(missing)}"
        )
    return AsrModel(model, tokenizer, reader, name == _CTC)
