"""Transcripts of sounds: fine-tuning a CTC head on an encoder, or an encoder-decoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mode
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note, pluralize
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.baseline import ConstantBaseline
from hf_emms.heads.head import HEAD_RATE, Head, Network
from hf_emms.heads.metrics import CHARACTERS_RIGHT, WORDS_RIGHT, Metric, load_jiwer, spoken_words
from hf_emms.heads.split import IGNORED, BatchedRows, LabeledSplit
from hf_emms.inputs import Modality
from hf_emms.inputs.audio import decode, load_sound_reader, samples_in
from hf_emms.inputs.text import load_tokenizer

if TYPE_CHECKING:
    from hf_emms.features.device import Inputs
    from hf_emms.heads.asr_model import AsrModel

_PADDING, _UNKNOWN, _SPACE = "[PAD]", "[UNK]", "|"
# Clips in which a multilingual checkpoint detects the language.
_CLIPS_FOR_LANGUAGE = 8

Tokenize = Callable[[str], list[int]]


class TranscriptHead(Head):
    """A head that transcribes sounds."""

    epochs = 20
    batch_size = 8

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return WORDS_RIGHT, CHARACTERS_RIGHT

    def why_not(self, spec: FeatureSpec) -> str | None:
        from hf_emms.heads.asr_model import asr_class

        try:
            asr_class(spec)
        except EmmsError as error:
            return str(error.problem)
        return None

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        return ConstantBaseline("an empty transcript", [""] * len(split))

    def build(self, spec: FeatureSpec, modality: Modality, train: LabeledSplit, *, allow_pickle: bool) -> Network:
        from hf_emms.heads.asr_model import CTC, asr_class, load_asr_model

        load_jiwer()  # fail before training
        if asr_class(spec) == CTC:
            return _with_ctc_head(spec, [_transcript(row) for row in train.references])
        asr = load_asr_model(replace(spec, dtype="float32"))
        return _TranscriptNetwork(asr, *_with_prompt(asr, train))


class _TranscriptNetwork(Network):
    """A network that transcribes each sound of a split by greedy decoding."""

    def __init__(self, asr: AsrModel, tokenize: Tokenize, notes: list[Note]) -> None:
        super().__init__(asr.model, (asr.reader.extractor, asr.tokenizer), notes)
        self._asr, self._tokenize = asr, tokenize

    def rows(self, split: LabeledSplit, labelled: bool) -> BatchedRows:
        import torch

        if labelled:
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

        from hf_emms.heads.asr_model import max_new_tokens

        asr = self._asr
        labels = [self._tokenize(_transcript(reference)) for reference in split.references]
        most = np.inf if asr.is_ctc else max_new_tokens(asr.model)
        fits = [
            bool(ids) and len(ids) <= most and samples_in(split.inputs[number], asr.reader.rate) <= asr.reader.part
            for ids, number in zip(labels, split.input_of_row.tolist(), strict=True)
        ]
        usable = np.flatnonzero(fits)
        if not len(usable):
            raise EmmsError("all clips or their transcripts are too long to train on", "split the clips")
        if len(usable) < len(fits):
            left_out = pluralize(len(fits) - len(usable), "clip")
            text = f"Training skips {left_out} that exceed the checkpoint's length of clips or transcripts."
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

    from hf_emms.heads.asr_model import AsrModel
    from hf_emms.heads.modules import load_with_head

    reader, letters = load_sound_reader(spec), sorted({*"".join("".join(spoken_words(text)) for text in transcripts)})
    saved = _own_vocabulary(spec, letters)
    tokenizer = saved or _new_vocabulary(letters)
    text = f"The head is new, with {pluralize(len(letters), 'letter')} of the transcripts."
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
    """Return the conversion to upper case if a vocabulary has no lower case."""
    numbers = tokenizer.get_vocab()
    return str.upper if "E" in numbers and "e" not in numbers else str


# ---- encoder-decoders ------------------------------------------------------------------------------------------------


def _with_prompt(asr: AsrModel, train: LabeledSplit) -> tuple[Tokenize, list[Note]]:
    """Return the function that tokenizes transcripts, with the start tokens of the checkpoint, and notes."""
    from hf_emms.heads.asr_model import max_new_tokens

    model, tokenizer = asr.model, asr.tokenizer
    settings, prompt, notes = model.generation_config, list[int](), list[Note]()
    if getattr(settings, "is_multilingual", False):
        language = _language_of(asr, train)
        settings.language, settings.task = language, "transcribe"
        prompt += [settings.lang_to_id[language], settings.task_to_id["transcribe"]]
        notes.append(Note("language-detected", f"Trained to transcribe {language}, detected in the first clips."))
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
