"""Captions: from the classes of transformers that write them, or from a recurrent decoder on an encoder's feature."""

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
from hf_emms.finetune.collate import PartRows
from hf_emms.finetune.heads import (
    DEEP_HEAD_RATE,
    Features,
    Network,
    Standardise,
    class_with_head,
    first_features,
    load_base,
    load_with_head,
    own_head,
    reading,
    save_with_head,
)
from hf_emms.finetune.outputs import IGNORED
from hf_emms.finetune.splits import Part, Splits
from hf_emms.finetune.task_scores import words_of
from hf_emms.inputs.kind import BatchReader
from hf_emms.inputs.text import load_training_texts
from hf_emms.options import Options

# Words of a caption that a decoder of ours writes, and tokens that a model writes.
_LONGEST, _MAX_TOKENS = 24, 40
_HIDDEN = 128
_PAD, _START, _END, _UNKNOWN = range(4)


def load_captioner(plan: ExtractionPlan, splits: Splits, options: Options) -> Network:
    """A captioner of transformers, or a decoder of ours on the checkpoint's pooled feature."""
    loader = class_with_head(plan, splits.task.id)
    return _own_decoder(plan, splits, options) if loader is None else _with_class(plan, loader)


class CaptionModel(nn.Module):
    """A captioner of transformers: trained on token ids, it writes token ids.

    Args:
        captioner: of transformers.
        pad_id: the token that fills up a batch.
    """

    accepts_loss_kwargs = False

    def __init__(self, captioner: Any, pad_id: int) -> None:
        super().__init__()
        self.captioner, self._pad_id = captioner, pad_id
        self._reads_text = "input_ids" in signature(captioner.forward).parameters

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        if input_ids is None or attention_mask is None:
            return {"logits": self._written(pixel_values)}
        labels = input_ids.masked_fill(attention_mask == 0, IGNORED)
        texts = {"input_ids": input_ids, "attention_mask": attention_mask} if self._reads_text else {}
        loss: Tensor = self.captioner(pixel_values=pixel_values, labels=labels, **texts).loss
        return {"loss": loss}

    def _written(self, pixel_values: Tensor) -> Tensor:
        """Token ids of one caption a picture, int64 (b, T) with the same T for all batches."""
        ids = self.captioner.generate(
            pixel_values=pixel_values, max_new_tokens=_MAX_TOKENS, do_sample=False, num_beams=1
        )
        width = 2 * _MAX_TOKENS
        filled: Tensor = pad(ids[:, :width], (0, max(0, width - ids.shape[1])), value=self._pad_id)
        return filled


def _with_class(plan: ExtractionPlan, loader: Any) -> Network:
    notes: list[str] = []
    captioner, head = load_with_head(plan, loader)
    read, processors = reading(plan, captioner, notes)
    part = getattr(captioner, "decoder", None) or getattr(captioner, "text_decoder", captioner)
    reader = load_training_texts(plan, captioner, part)
    tokenizer = reader.tokenizer
    config = captioner.config
    if getattr(config, "decoder_start_token_id", None) is None and config.is_encoder_decoder:
        config.decoder_start_token_id = tokenizer.bos_token_id
    if config.is_encoder_decoder and config.decoder_start_token_id is None:
        raise EmmsError(f"no configuration of {plan.repo.id} says which token starts a caption")

    def tokens(part: Part) -> BatchReader:
        ends = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        encoded, _ = reader.tokenize([texts[0][0] for texts in part.answers])
        ids = [[*row[: _MAX_TOKENS - 1], *([] if row[-1:] == ends else ends)] for row in encoded]
        return lambda rows: reader.pad([ids[row] for row in rows])

    return Network(
        CaptionModel(captioner, reader.pad_id),
        _rows(read, tokens),
        lambda outputs, part: [text.strip() for text in tokenizer.batch_decode(outputs, skip_special_tokens=True)],
        processors=(*processors, tokenizer),
        notes=notes,
        saved=captioner,
        head=frozenset(f"captioner.{name}" for name in head),
    )


class CaptionDecoder(nn.Module):
    """A recurrent decoder of words whose first state is the feature, which is also joined to every word.

    Args:
        base: the checkpoint, of transformers.
        features: of it.
        first: features of the first training rows.
        words: how many there are, those for start, end and padding included.
    """

    accepts_loss_kwargs = False

    def __init__(self, base: Any, features: Features, first: Tensor, words: int) -> None:
        super().__init__()
        self.base, self._features = base, features
        self.head = nn.ModuleDict(
            {
                "state": nn.Sequential(Standardise(first), nn.Linear(first.shape[1], _HIDDEN), nn.Tanh()),
                "embed": nn.Embedding(words, _HIDDEN),
                "decoder": nn.GRU(2 * _HIDDEN, _HIDDEN, batch_first=True),
                "out": nn.Linear(_HIDDEN, words),
            }
        )

    def forward(self, pixel_values: Tensor, input_ids: Tensor | None = None) -> dict[str, Tensor]:
        seen = self.head["state"](self._features(self.base, {"pixel_values": pixel_values}))
        if input_ids is None:
            return {"logits": self._written(seen)}
        hidden, _ = self._decode(input_ids[:, :-1], seen, seen[None])
        outputs = self.head["out"](hidden).flatten(0, 1)
        return {"loss": cross_entropy(outputs, input_ids[:, 1:].flatten(), ignore_index=_PAD)}

    def _decode(self, words: Tensor, seen: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        repeated = seen[:, None].expand(-1, words.shape[1], -1)
        found: tuple[Tensor, Tensor] = self.head["decoder"](torch.cat([self.head["embed"](words), repeated], 2), state)
        return found

    def _written(self, seen: Tensor) -> Tensor:
        """The likeliest word after each, int64 (b, `_LONGEST`)."""
        state, word, written = seen[None], seen.new_full((len(seen), 1), _START, dtype=torch.int64), []
        for _ in range(_LONGEST):
            hidden, state = self._decode(word, seen, state)
            word = self.head["out"](hidden[:, -1:]).argmax(2)
            written.append(word)
        return torch.cat(written, 1)

    def save_pretrained(self, folder: Any) -> None:
        """Writes the checkpoint as transformers does, and the decoder beside it."""
        save_with_head(self.base, self.head, folder)


def _own_decoder(plan: ExtractionPlan, splits: Splits, options: Options) -> Network:
    notes = ["transformers has no class that writes captions with it: a recurrent decoder on its pooled feature"]
    base, features = load_base(plan, options)
    read, processors = reading(plan, base, notes)
    known = sorted({word for texts in splits.train.answers for text, _ in texts for word in words_of(text)})
    words = ["<pad>", "<start>", "<end>", "<unknown>", *known]
    number_of = {word: number for number, word in enumerate(words)}

    def tokens(part: Part) -> BatchReader:
        ids = np.full((len(part), _LONGEST + 2), _PAD, np.int64)
        for row, texts in enumerate(part.answers):
            found = [number_of.get(word, _UNKNOWN) for word in words_of(texts[0][0])[:_LONGEST]]
            ids[row, : len(found) + 2] = [_START, *found, _END]
        return lambda rows: {"input_ids": torch.from_numpy(ids[rows])}

    def answers(outputs: np.ndarray, part: Part) -> list[str]:
        rows = [row[: row.index(_END)] if _END in row else row for row in outputs.tolist()]
        return [" ".join(words[number] for number in row if number > _UNKNOWN) for row in rows]

    first = first_features(base, features, read(splits.train), len(splits.train))
    model = CaptionDecoder(base, features, first, len(words))
    return Network(
        model,
        _rows(read, tokens),
        answers,
        processors=processors,
        notes=notes,
        head=own_head(model),
        head_rate=DEEP_HEAD_RATE,
    )


def _rows(
    read: Callable[[Part], BatchReader], tokens: Callable[[Part], BatchReader]
) -> Callable[[Part, bool], PartRows]:
    """Rows to predict, or one training row a caption."""

    def rows(part: Part, labelled: bool) -> PartRows:
        if not labelled:
            return PartRows(read(part), {}, len(part))
        part = _one_caption_a_row(part)
        pictures, texts = read(part), tokens(part)
        return PartRows(lambda numbers: {**pictures(numbers), **texts(numbers)}, {}, len(part))

    return rows


def _one_caption_a_row(part: Part) -> Part:
    counts: Sequence[int] = [len(texts) for texts in part.answers]
    captions = tuple(((text, 1.0),) for texts in part.answers for text, _ in texts)
    return replace(
        part,
        input_of_row=np.repeat(part.input_of_row, counts),
        groups=np.repeat(part.groups, counts),
        answers=captions,
    )
