"""Texts about inputs: from classes of transformers that write them, or from a recurrent decoder on a feature."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.head import DEEP_HEAD_RATE, FeatureHead, FeatureNetwork
from hf_emms.heads.metrics import BLEU_4, Metric, tokenize_caption
from hf_emms.heads.split import (
    IGNORED,
    MAX_BASELINES,
    BatchedRows,
    ConstantBaseline,
    LabeledSplit,
    best_baseline,
    for_all_rows,
)
from hf_emms.inputs import Modality
from hf_emms.inputs.modality import BatchReader
from hf_emms.inputs.text import load_training_texts

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hf_emms.features.device import Inputs

# The maximum length of a text: words for the recurrent decoder, tokens for a model.
_MAX_WORDS, _MAX_TOKENS = 24, 40
_HIDDEN_WIDTH = 128
_PAD, _START, _END, _UNKNOWN = range(4)


class CaptionHead(FeatureHead):
    """A head that writes a text about each input, which may have several correct texts."""

    auto_class = "AutoModelForImageTextToText"
    epochs = 10
    layers_note = "transformers has no class that writes captions with it: a recurrent decoder on its pooled feature"

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return (BLEU_4,)

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        """Predict a text of the training rows for all rows."""
        rows = train.references[:: -(-len(train) // MAX_BASELINES)]
        rules = [for_all_rows(texts[0][0]) for texts in rows]
        return best_baseline("the same text for all rows", self.metrics(train.references)[0], rules, train, split)

    def count_rows(self, split: LabeledSplit) -> int:
        """Return the number of texts of a split, because each of them is learned."""
        return sum(len(texts) for texts in split.references)

    def network(
        self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        return (_ModelNetwork if has_head else _DecoderNetwork)(spec, modality, model, references)


class _CaptionNetwork(FeatureNetwork):
    """The base class of networks that write a text about each input."""

    def __init__(self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any]) -> None:
        self._reader = modality.training_reader(spec, model)
        super().__init__(spec, model, self._reader.processors)
        self.notes += self._reader.notes

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        if not labeled:
            return BatchedRows(self.read(self._reader, split.inputs, split.input_of_row), {}, len(split))
        split = _text_per_row(split)
        inputs = self.read(self._reader, split.inputs, split.input_of_row)
        labels = self.labels([texts[0][0] for texts in split.references])
        return BatchedRows(lambda rows: {**inputs(rows), **labels(rows)}, {}, len(split))

    @abstractmethod
    def labels(self, texts: Sequence[str]) -> BatchReader:
        """Return a reader that tokenizes the texts of a batch for training."""


def _text_per_row(split: LabeledSplit) -> LabeledSplit:
    counts: Sequence[int] = [len(texts) for texts in split.references]
    return replace(
        split,
        input_of_row=np.repeat(split.input_of_row, counts),
        groups=np.repeat(split.groups, counts),
        references=tuple(((text, 1.0),) for texts in split.references for text, _ in texts),
    )


class _ModelNetwork(_CaptionNetwork):
    """A class of transformers that writes."""

    def __init__(self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any]) -> None:
        super().__init__(spec, modality, model, references)
        part = getattr(model, "decoder", None) or getattr(model, "text_decoder", model)
        self._texts = load_training_texts(spec, model, part)
        self._tokenizer = self._texts.tokenizer
        self.processors = (*self.processors, self._tokenizer)
        self._reads_text = "input_ids" in signature(model.forward).parameters

    def labels(self, texts: Sequence[str]) -> BatchReader:
        ends = [] if self._tokenizer.eos_token_id is None else [self._tokenizer.eos_token_id]
        encoded, _ = self._texts.tokenize(texts)
        # Truncated captions keep the end token.
        ids = [[*(row[:-1] if row[-1:] == ends else row)[: _MAX_TOKENS - 1], *ends] for row in encoded]

        def read(rows: np.ndarray) -> Inputs:
            batch = self._texts.pad([ids[row] for row in rows])
            labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
            return {**(batch if self._reads_text else {}), "labels": labels}

        return read

    def predict(self, model: Any, batch: Inputs) -> Any:
        """Return the token ids of a text for each image, int64 (b, T) with the same T for all batches."""
        from torch.nn.functional import pad

        ids = self.model.generate(**batch, max_new_tokens=_MAX_TOKENS, do_sample=False, num_beams=1)
        return pad(ids, (0, 2 * _MAX_TOKENS - ids.shape[1]), value=self._texts.pad_id)

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        return [text.strip() for text in self._tokenizer.batch_decode(outputs, skip_special_tokens=True)]


class _DecoderNetwork(_CaptionNetwork):
    """A recurrent decoder that writes words from the checkpoint's feature."""

    head_rate = DEEP_HEAD_RATE

    def __init__(self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any]) -> None:
        super().__init__(spec, modality, model, references)
        vocabulary = sorted({word for texts in references for text, _ in texts for word in tokenize_caption(text)})
        self._words = ["<pad>", "<start>", "<end>", "<unknown>", *vocabulary]
        self.references = [[[word, 1.0]] for word in vocabulary]

    def labels(self, texts: Sequence[str]) -> BatchReader:
        import torch

        number_of = {word: number for number, word in enumerate(self._words)}
        ids = np.full((len(texts), _MAX_WORDS + 2), _PAD, np.int64)
        for row, text in enumerate(texts):
            numbers = [number_of.get(word, _UNKNOWN) for word in tokenize_caption(text)[:_MAX_WORDS]]
            ids[row, : len(numbers) + 2] = [_START, *numbers, _END]
        return lambda rows: {"labels": torch.from_numpy(ids[rows])}

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        rows = [row[: row.index(_END)] if _END in row else row for row in outputs.tolist()]
        return [" ".join(self._words[number] for number in row if number > _UNKNOWN) for row in rows]

    def layers(self, standardize: nn.Module, width: int) -> nn.Module:
        from torch import nn

        count = len(self._words)
        layers = {
            "state": nn.Sequential(standardize, nn.Linear(width, _HIDDEN_WIDTH), nn.Tanh()),
            "embed": nn.Embedding(count, _HIDDEN_WIDTH),
            "decoder": nn.GRU(2 * _HIDDEN_WIDTH, _HIDDEN_WIDTH, batch_first=True),
            "out": nn.Linear(_HIDDEN_WIDTH, count),
        }
        return nn.ModuleDict(layers)

    def forward(self, layers: Any, features: Tensor, batch: Inputs, labels: Inputs) -> dict[str, Tensor]:
        from torch.nn.functional import cross_entropy

        state = layers["state"](features)
        if not labels:
            return {"logits": _write(layers, state)}
        words = labels["labels"]
        hidden, _ = _decode(layers, words[:, :-1], state, state[None])
        outputs = layers["out"](hidden).flatten(0, 1)
        return {"loss": cross_entropy(outputs, words[:, 1:].flatten(), ignore_index=_PAD)}


def _decode(layers: Any, words: Tensor, feature: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    repeated = feature[:, None].expand(-1, words.shape[1], -1)
    decoded: tuple[Tensor, Tensor] = layers["decoder"](torch.cat([layers["embed"](words), repeated], 2), state)
    return decoded


def _write(layers: Any, feature: Tensor) -> Tensor:
    """Decode greedily, int64 (b, `_MAX_WORDS`)."""
    import torch

    state, word, written = feature[None], feature.new_full((len(feature), 1), _START, dtype=torch.int64), []
    for _ in range(_MAX_WORDS):
        hidden, state = _decode(layers, word, feature, state)
        word = layers["out"](hidden).argmax(2)
        written.append(word)
    return torch.cat(written, 1)
