"""Transcripts of sounds: a head for CTC on an encoder, or an encoder with a decoder, trained and then transcribing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from hf_emms.errors import EmmsError
from hf_emms.features.device import Inputs
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.finetune.network import HEAD_RATE, LabeledRows, Network, load_with_head
from hf_emms.finetune.recogniser import (
    Recogniser,
    is_ctc,
    load_recogniser,
    max_new_tokens,
    recogniser_class,
)
from hf_emms.finetune.splits import LabeledSplit, Splits
from hf_emms.formatting import pluralize
from hf_emms.inputs.audio import decode, load_sound_reader, samples_in
from hf_emms.inputs.text import load_tokenizer
from hf_emms.options import Options
from hf_emms.tasks.metrics import load_jiwer, spoken_words

# What losses leave out.
_IGNORED = -100
_PADDING, _UNKNOWN, _SPACE = "[PAD]", "[UNK]", "|"
# Clips of which a checkpoint of many languages finds out the language.
_HEARD = 8

Tokenize = Callable[[str], list[int]]


def transcript_network(plan: ExtractionPlan, splits: Splits, options: Options, saved_width: int | None) -> Network:
    """A network that transcribes each sound of a split, always by the likeliest token."""
    load_jiwer()  # without it nothing is trained
    notes: list[str] = []
    head, head_rate = frozenset[str](), HEAD_RATE
    if is_ctc(recogniser_class(plan)):
        recogniser, head, head_rate = _with_ctc_head(plan, [_transcript(row) for row in splits.train.references], notes)
        tokenize = _letters_of(recogniser.tokenizer)
    else:
        recogniser = load_recogniser(replace(plan, dtype="float32"))
        tokenize = _with_prompt(recogniser, splits.train, notes)
    longest = recogniser.reader.part

    def training_rows(split: LabeledSplit) -> LabeledRows:
        labels = [tokenize(_transcript(reference)) for reference in split.references]
        most = max_new_tokens(recogniser.model) if not recogniser.is_ctc else None
        fits = [
            bool(ids)
            and (most is None or len(ids) <= most)
            and samples_in(split.inputs[number], recogniser.reader.rate) <= longest
            for ids, number in zip(labels, split.input_of_row.tolist(), strict=True)
        ]
        rows_of = np.flatnonzero(fits)
        if not len(rows_of):
            raise EmmsError("no clip and its transcript are short enough to train on", "cut the clips")
        if len(rows_of) < len(fits):
            left_out = pluralize(len(fits) - len(rows_of), "clip")
            notes.append(f"not trained on: {left_out} that the checkpoint cannot read or write at once")

        def read(rows: np.ndarray) -> Inputs:
            chosen = rows_of[rows]
            sounds = [split.inputs[number] for number in split.input_of_row[chosen].tolist()]
            padded = pad_sequence(
                [torch.tensor(labels[row]) for row in chosen.tolist()], batch_first=True, padding_value=_IGNORED
            )
            return {**recogniser.reader.training_batch(sounds), "labels": padded}

        return LabeledRows(read, {}, len(rows_of))

    def rows(split: LabeledSplit, labelled: bool) -> LabeledRows:
        if labelled:
            return training_rows(split)
        return LabeledRows(lambda rows: {"row": torch.from_numpy(rows)}, {}, len(split))

    def predictions(outputs: np.ndarray, split: LabeledSplit) -> list[str]:
        return recogniser.transcribe([split.inputs[number] for number in split.input_of_row.tolist()])

    return Network(
        recogniser.model,
        rows,
        predictions,
        # Sounds are read where they are transcribed, one after the other, as `pipeline()` does.
        lambda model, inputs: inputs["row"][:, None].float(),
        processors=(recogniser.reader.extractor, recogniser.tokenizer),
        notes=notes,
        head=head,
        head_rate=head_rate,
    )


def _transcript(reference: Sequence[tuple[str, float]]) -> str:
    return reference[0][0]


# ---- heads for CTC ---------------------------------------------------------------------------------------------------


def _with_ctc_head(
    plan: ExtractionPlan, transcripts: Sequence[str], notes: list[str]
) -> tuple[Recogniser, frozenset[str], float]:
    """The checkpoint with its own head where that has the letters of the transcripts, else with a new one.

    Also the names of the head's parameters, and the lowest rate at which they are trained.
    """
    import transformers

    reader, letters = load_sound_reader(plan), sorted({*"".join("".join(spoken_words(text)) for text in transcripts)})
    own = _own_vocabulary(plan, letters)
    tokenizer = own or _new_vocabulary(letters)
    if own is None:
        notes.append(f"a new head for {pluralize(len(letters), 'letter')} of the transcripts")
    model, head = load_with_head(
        plan,
        transformers.AutoModelForCTC,
        pad_token_id=tokenizer.pad_token_id,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        **({"vocab_size": len(tokenizer)} if own is None else {}),
    )
    return Recogniser(model, tokenizer, reader, True), head, HEAD_RATE if own is None else 0.0


def _own_vocabulary(plan: ExtractionPlan, letters: Sequence[str]) -> Any:
    """The tokenizer of a checkpoint that was saved with a head for CTC; None where it lacks a letter."""
    if not any(str(name).endswith("ForCTC") for name in plan.config.get("architectures") or ()):
        return None
    try:
        tokenizer = load_tokenizer(plan)
    except EmmsError:
        return None
    numbers = tokenizer.get_vocab()
    case = _case_of(tokenizer)
    fits = all(numbers.get(case(letter), len(tokenizer)) < plan.config.get("vocab_size", 32) for letter in letters)
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
    """How a vocabulary writes letters: large where it has no small ones."""
    numbers = tokenizer.get_vocab()
    return str.upper if "E" in numbers and "e" not in numbers else str


def _letters_of(tokenizer: Any) -> Tokenize:
    case = _case_of(tokenizer)

    def tokenize(transcript: str) -> list[int]:
        ids: list[int] = tokenizer(case(" ".join(spoken_words(transcript))), add_special_tokens=False)["input_ids"]
        return ids

    return tokenize


# ---- encoders with a decoder -----------------------------------------------------------------------------------------


def _with_prompt(recogniser: Recogniser, train: LabeledSplit, notes: list[str]) -> Tokenize:
    """How transcripts are written behind what the decoder starts with, which the checkpoint is configured to."""
    model, tokenizer = recogniser.model, recogniser.tokenizer
    settings, prompt = model.generation_config, list[int]()
    if getattr(settings, "is_multilingual", False):
        language = _language_of(recogniser, train)
        settings.language, settings.task = language, "transcribe"
        prompt += [settings.lang_to_id[language], settings.task_to_id["transcribe"]]
        notes.append(f"trained to transcribe the language that it heard in the first clips: {language}")
    if getattr(settings, "no_timestamps_token_id", None) is not None:
        prompt.append(settings.no_timestamps_token_id)
    settings.forced_decoder_ids = None
    # What `pipeline()` does with the saved model, which would search five beams.
    settings.num_beams, settings.max_new_tokens = 1, max_new_tokens(model)

    def tokenize(transcript: str) -> list[int]:
        return [*prompt, *tokenizer(transcript, add_special_tokens=False)["input_ids"], model.config.eos_token_id]

    return tokenize


@torch.no_grad()
def _language_of(recogniser: Recogniser, train: LabeledSplit) -> str:
    """The mark of the language that most of the first clips are in, as the checkpoint hears them: "<|de|>"."""
    reader, model = recogniser.reader, recogniser.model.eval()
    clips = [
        decode(train.inputs[number], reader.rate)[: reader.part] for number in train.input_of_row[:_HEARD].tolist()
    ]
    heard = model.detect_language(reader.process(clips)["input_features"]).tolist()
    marks = {number: mark for mark, number in model.generation_config.lang_to_id.items()}
    return str(marks[Counter(heard).most_common(1)[0][0]])
