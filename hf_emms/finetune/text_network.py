"""Texts about inputs: from the classes of transformers that write them, or a recurrent decoder on a feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from hf_emms.errors import EmmsError
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.finetune.network import (
    DEEP_HEAD_RATE,
    Features,
    LabeledRows,
    ModelWithHead,
    Network,
    Standardize,
    class_with_head,
    features_for_head,
    first_features,
    load_base,
    load_with_head,
)
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.splits import LabeledSplit, Splits
from hf_emms.inputs.kind import BatchReader, TrainingReader
from hf_emms.inputs.text import load_training_texts
from hf_emms.options import Options
from hf_emms.tasks.metrics import tokenize_caption

# Words of a text that a decoder of ours writes, and tokens that a model writes.
_MAX_WORDS, _MAX_TOKENS = 24, 40
_HIDDEN_WIDTH = 128
_PAD, _START, _END, _UNKNOWN = range(4)
# What losses of transformers leave out.
_IGNORED = -100


def text_network(plan: ExtractionPlan, splits: Splits, options: Options, saved_width: int | None) -> Network:
    """A class of transformers that writes texts, or a decoder of ours on the checkpoint's pooled feature."""
    loader = class_with_head(plan, head_of(splits.task))
    return _own_decoder(plan, splits, options, saved_width) if loader is None else _with_class(plan, splits, loader)


def _rows(
    reader: TrainingReader, tokens: Callable[[LabeledSplit], BatchReader]
) -> Callable[[LabeledSplit, bool], LabeledRows]:
    """Rows to predict, or one training row a text."""

    def rows(split: LabeledSplit, labelled: bool) -> LabeledRows:
        if not labelled:
            return LabeledRows(reader.read(split.inputs, split.input_of_row), {}, len(split))
        split = _one_text_a_row(split)
        inputs, texts = reader.read(split.inputs, split.input_of_row), tokens(split)
        return LabeledRows(lambda numbers: {**inputs(numbers), **texts(numbers)}, {}, len(split))

    return rows


def _one_text_a_row(split: LabeledSplit) -> LabeledSplit:
    counts: Sequence[int] = [len(texts) for texts in split.references]
    return replace(
        split,
        input_of_row=np.repeat(split.input_of_row, counts),
        groups=np.repeat(split.groups, counts),
        references=tuple(((text, 1.0),) for texts in split.references for text, _ in texts),
    )


# ---- a class of transformers -----------------------------------------------------------------------------------------


class WriterModel(nn.Module):
    """A model of transformers that writes: trained on token ids, it writes token ids."""

    accepts_loss_kwargs = False

    def __init__(self, writer: Any, pad_id: int) -> None:
        super().__init__()
        self.writer, self._pad_id = writer, pad_id
        self._reads_text = "input_ids" in signature(writer.forward).parameters

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        if input_ids is None or attention_mask is None:
            return {"logits": self._write(pixel_values)}
        labels = input_ids.masked_fill(attention_mask == 0, _IGNORED)
        texts = {"input_ids": input_ids, "attention_mask": attention_mask} if self._reads_text else {}
        loss: Tensor = self.writer(pixel_values=pixel_values, labels=labels, **texts).loss
        return {"loss": loss}

    def _write(self, pixel_values: Tensor) -> Tensor:
        """Token ids of one text an image, int64 (b, T) with the same T for all batches."""
        ids = self.writer.generate(pixel_values=pixel_values, max_new_tokens=_MAX_TOKENS, do_sample=False, num_beams=1)
        width = 2 * _MAX_TOKENS
        filled: Tensor = pad(ids[:, :width], (0, max(0, width - ids.shape[1])), value=self._pad_id)
        return filled


def _with_class(plan: ExtractionPlan, splits: Splits, loader: Any) -> Network:
    notes: list[str] = []
    writer, head = load_with_head(plan, loader)
    images = splits.task.input.training_reader(plan, writer, notes)
    part = getattr(writer, "decoder", None) or getattr(writer, "text_decoder", writer)
    texts = load_training_texts(plan, writer, part)
    tokenizer, config = texts.tokenizer, writer.config
    if getattr(config, "decoder_start_token_id", None) is None and config.is_encoder_decoder:
        config.decoder_start_token_id = tokenizer.bos_token_id
    if config.is_encoder_decoder and config.decoder_start_token_id is None:
        raise EmmsError(f"no configuration of {plan.repo.id} says which token starts a caption")

    def tokens(split: LabeledSplit) -> BatchReader:
        ends = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        encoded, _ = texts.tokenize([weighted[0][0] for weighted in split.references])
        ids = [[*row[: _MAX_TOKENS - 1], *([] if row[-1:] == ends else ends)] for row in encoded]
        return lambda rows: texts.pad([ids[row] for row in rows])

    return Network(
        WriterModel(writer, texts.pad_id),
        _rows(images, tokens),
        lambda outputs, split: [text.strip() for text in tokenizer.batch_decode(outputs, skip_special_tokens=True)],
        processors=(*images.processors, tokenizer),
        notes=notes,
        saved=writer,
        head=frozenset(f"writer.{name}" for name in head),
    )


# ---- a decoder of ours -----------------------------------------------------------------------------------------------


class DecoderModel(ModelWithHead):
    """A recurrent decoder of words whose first state is the feature, which is also joined to every word."""

    head: nn.ModuleDict

    def __init__(self, base: Any, features: Features, first: Tensor, words: int) -> None:
        layers = {
            "state": nn.Sequential(Standardize(first), nn.Linear(first.shape[1], _HIDDEN_WIDTH), nn.Tanh()),
            "embed": nn.Embedding(words, _HIDDEN_WIDTH),
            "decoder": nn.GRU(2 * _HIDDEN_WIDTH, _HIDDEN_WIDTH, batch_first=True),
            "out": nn.Linear(_HIDDEN_WIDTH, words),
        }
        super().__init__(base, features, nn.ModuleDict(layers))

    def forward(self, input_ids: Tensor | None = None, **inputs: Tensor) -> dict[str, Tensor]:
        seen = self.head["state"](self._features(self.base, inputs))
        if input_ids is None:
            return {"logits": self._write(seen)}
        hidden, _ = self._decode(input_ids[:, :-1], seen, seen[None])
        outputs = self.head["out"](hidden).flatten(0, 1)
        return {"loss": cross_entropy(outputs, input_ids[:, 1:].flatten(), ignore_index=_PAD)}

    def _decode(self, words: Tensor, seen: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        repeated = seen[:, None].expand(-1, words.shape[1], -1)
        decoded: tuple[Tensor, Tensor] = self.head["decoder"](
            torch.cat([self.head["embed"](words), repeated], 2), state
        )
        return decoded

    def _write(self, seen: Tensor) -> Tensor:
        """The likeliest word after each, int64 (b, `_MAX_WORDS`)."""
        state, word, written = seen[None], seen.new_full((len(seen), 1), _START, dtype=torch.int64), []
        for _ in range(_MAX_WORDS):
            hidden, state = self._decode(word, seen, state)
            word = self.head["out"](hidden[:, -1:]).argmax(2)
            written.append(word)
        return torch.cat(written, 1)


def _own_decoder(plan: ExtractionPlan, splits: Splits, options: Options, saved_width: int | None) -> Network:
    notes = ["transformers has no class that writes captions with it: a recurrent decoder on its pooled feature"]
    train, kind = splits.train, splits.task.input
    base, features = load_base(plan, options, kind)
    reader = kind.training_reader(plan, base, notes)
    vocabulary = sorted({word for texts in train.references for text, _ in texts for word in tokenize_caption(text)})
    words = ["<pad>", "<start>", "<end>", "<unknown>", *vocabulary]
    number_of = {word: number for number, word in enumerate(words)}

    def tokens(split: LabeledSplit) -> BatchReader:
        ids = np.full((len(split), _MAX_WORDS + 2), _PAD, np.int64)
        for row, texts in enumerate(split.references):
            numbers = [number_of.get(word, _UNKNOWN) for word in tokenize_caption(texts[0][0])[:_MAX_WORDS]]
            ids[row, : len(numbers) + 2] = [_START, *numbers, _END]
        return lambda rows: {"input_ids": torch.from_numpy(ids[rows])}

    def texts_of(outputs: np.ndarray, split: LabeledSplit) -> list[str]:
        rows = [row[: row.index(_END)] if _END in row else row for row in outputs.tolist()]
        return [" ".join(words[number] for number in row if number > _UNKNOWN) for row in rows]

    first = features_for_head(
        saved_width,
        lambda: first_features(base, features, reader.read(train.inputs, train.input_of_row), len(train)),
    )
    model = DecoderModel(base, features, first, len(words))
    return Network(
        model,
        _rows(reader, tokens),
        texts_of,
        processors=reader.processors,
        notes=notes,
        head=model.head_names,
        head_rate=DEEP_HEAD_RATE,
        references=[[[word, 1.0]] for word in vocabulary],
    )
