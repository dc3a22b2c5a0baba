"""A tag per word of a text: the class of transformers for tokens, or a linear layer on token states."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.head import FeatureHead, FeatureNetwork
from hf_emms.heads.metrics import Metric
from hf_emms.heads.row import class_config
from hf_emms.heads.split import (
    IGNORED,
    MAX_BASELINES,
    BatchedRows,
    ConstantBaseline,
    LabeledSample,
    LabeledSplit,
    Rule,
    best_baseline,
)
from hf_emms.inputs import Modality, Spans
from hf_emms.inputs.text import load_training_texts
from hf_emms.inputs.text_pair import SpanWindow
from hf_emms.inputs.words import word_reader

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hf_emms.features.device import Inputs

_WORD = re.compile("[^ ]+")


class TaggedText(NamedTuple):
    """The words of a text, as first character and end (exclusive), and their tags."""

    words: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]


class WordsHead(FeatureHead):
    """A head that tags the words of a text. A word has the tag of its first token."""

    auto_class = "AutoModelForTokenClassification"
    layers_note = "transformers has no class with this head for the family: a linear layer on its token states"

    def __init__(self, metrics: Callable[[Sequence[TaggedText]], tuple[Metric, ...]]) -> None:
        self._metrics = metrics

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return self._metrics(references)

    def label(self, sample: LabeledSample, *, several: bool) -> LabeledSplit:
        """Return a row with a `TaggedText` per text of a sample, whose rows are words."""
        spans = sample.inputs
        assert isinstance(spans, Spans), "rows are words"
        bounds = spans.bounds[sample.input_of_row]
        rows, first = np.unique(bounds[:, 0], return_index=True)
        tags = np.array(sample.label_texts, object)[sample.codes]
        references = [
            TaggedText(tuple(map(tuple, words.tolist())), tuple(tags_of_text.tolist()))
            for words, tags_of_text in zip(np.split(bounds[:, 1:], first[1:]), np.split(tags, first[1:]), strict=True)
        ]
        return LabeledSplit.from_sample(sample, references, spans.inputs, rows, sample.groups[first])

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        """Predict a frequent tag for all words."""
        counts = Counter(tag for _, tags in train.references for tag in tags)
        rules = [_for_all_words(tag) for tag, _ in counts.most_common(MAX_BASELINES)]
        return best_baseline("the same tag for all words", self.metrics(train.references)[0], rules, train, split)

    def unanswered_references(self, inputs: Sequence[Any]) -> list[Any]:
        """Split n texts at spaces, for predictions: each word has an empty tag."""
        words = [tuple(word.span() for word in _WORD.finditer(text)) for text in inputs]
        return [TaggedText(words_of_text, ("",) * len(words_of_text)) for words_of_text in words]

    def output_references(self, train: LabeledSplit) -> Sequence[Any]:
        """Return a row that has all tags of the training rows, but no words."""
        return [TaggedText((), train.classes(tag for _, tags in train.references for tag in tags))]

    def arguments(self, references: Sequence[Any]) -> dict[str, Any]:
        return class_config(_tags(references))

    def network(
        self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        return _WordsNetwork(spec, model, _tags(references))


def _for_all_words(tag: str) -> Rule:
    return lambda split: [(tag,) * len(reference.words) for reference in split.references]


def _tags(references: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(tag for _, tags in references for tag in tags))


class _WordsNetwork(FeatureNetwork):
    """A network that tags each token. It reads the texts of a split in windows."""

    def __init__(self, spec: FeatureSpec, model: Any, tags: list[str]) -> None:
        texts = replace(load_training_texts(spec, model), pads_left=False)
        super().__init__(spec, model, (texts.tokenizer,))
        self._reader, self._tags = word_reader(texts), tags
        self.references, self.count = [TaggedText((), tuple(tags))], len(tags)

    def predict(self, model: Any, batch: Inputs) -> Any:
        # The scores of all classes for thousands of texts would not fit into memory.
        return model(**batch)["logits"].argmax(-1)

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        """Return a row per window."""
        import torch

        windows = self.cached_for_split("windows", split, self._windows)
        number_of = {tag: number for number, tag in enumerate(self._tags)}

        def read(rows: np.ndarray) -> Inputs:
            batch = [windows[row] for row in rows]
            padded = self._reader.pad([placed.window for _, placed in batch])
            if not labeled:
                return padded
            labels = torch.full_like(padded["input_ids"], IGNORED)
            for row, (text, placed) in enumerate(batch):
                tags = split.references[text].tags
                # If words share a first token, the first word is learned.
                for word, (position, _) in zip(reversed(placed.spans), reversed(placed.runs), strict=True):
                    labels[row, position] = number_of.get(tags[word], IGNORED)
            return {**padded, "labels": labels}

        return BatchedRows(read, {}, len(windows))

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return the tags of each text's words from the classes of tokens, int64 (w, T)."""
        predicted = [[""] * len(reference.tags) for reference in split.references]
        for row, (text, placed) in enumerate(self.cached_for_split("windows", split, self._windows)):
            for word, (position, _) in zip(placed.spans, placed.runs, strict=True):
                predicted[text][word] = self._tags[outputs[row, position]]
        return [tuple(tags) for tags in predicted]

    def _windows(self, split: LabeledSplit) -> list[tuple[int, SpanWindow]]:
        """Return the windows of all texts that have words, each with the number of its text."""
        reader = self._reader
        ids, offsets = reader.tokenize(split.inputs, split.input_of_row, offsets=True)
        return [
            (row, window)
            for row, number in enumerate(split.input_of_row.tolist())
            for window in reader.place((), ids[number], offsets[number], split.references[row].words)
        ]

    def forward(self, layers: nn.Module, features: Tensor, batch: Inputs, labels: Inputs) -> dict[str, Tensor]:
        from torch.nn.functional import cross_entropy

        logits = layers(features)
        if not labels:
            return {"logits": logits}
        return {"loss": cross_entropy(logits.flatten(0, 1), labels["labels"].flatten(), ignore_index=IGNORED)}
