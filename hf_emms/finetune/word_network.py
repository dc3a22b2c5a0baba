"""A tag for each word of a text: the class of transformers for tokens, or a head on the checkpoint's token states."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hf_emms.features.device import Inputs
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.finetune.network import (
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
from hf_emms.inputs.text import load_training_texts
from hf_emms.inputs.words import WordReader, WordWindow, word_reader
from hf_emms.options import Options
from hf_emms.tasks.heads import class_config

# What `cross_entropy` leaves out: tokens that begin no word, and tags that no training row has.
_IGNORED = -100


def word_network(plan: ExtractionPlan, splits: Splits, options: Options, saved_width: int | None) -> Network:
    """A network that gives each token a tag; a word has that of its first one."""
    notes: list[str] = []
    tags = sorted({tag for reference in splits.train.references for tag in reference.tags})
    loader = class_with_head(plan, head_of(splits.task))
    model: Any
    if loader is not None:
        model, head = load_with_head(plan, loader, **class_config(tags))
        base = model
    else:
        base, states = load_base(plan, options, splits.task.input)
    texts = replace(load_training_texts(plan, base), pads_left=False)
    sentences = _TaggedWindows(word_reader(texts, plan.repo.id), tags)
    if loader is None:

        def measure() -> Tensor:
            rows = sentences.rows(splits.train, False)
            return first_features(base, states, rows.batch, len(rows))

        first = features_for_head(saved_width, measure)
        model = WordModel(base, states, nn.Sequential(Standardize(first), nn.Linear(first.shape[1], len(tags))))
        head = model.head_names
        notes.append("transformers has no class with a head for it: a linear layer on its token states")
    return Network(
        model,
        sentences.rows,
        sentences.predictions,
        # Classes, not scores of all: those of thousands of texts would not fit into memory.
        lambda model, inputs: model(**inputs)["logits"].argmax(-1),
        (texts.tokenizer,),
        notes,
        head=head,
        references=[[[], tags]],  # a `TaggedText` without words
    )


class WordModel(ModelWithHead):
    """A checkpoint's token states, (b, T, D), and a head to the logits of tags."""

    def forward(self, labels: Tensor | None = None, **inputs: Tensor) -> dict[str, Tensor]:
        logits = self.head(self._features(self.base, inputs))
        if labels is None:
            return {"logits": logits}
        return {"loss": cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED)}


@dataclass(frozen=True)
class _TaggedWindows:
    """How a candidate reads the texts of a split, one window after the other, and what its classes are."""

    reader: WordReader
    tags: list[str]
    _cut: dict[int, list[WordWindow]] = field(default_factory=dict)

    def rows(self, split: LabeledSplit, labelled: bool) -> LabeledRows:
        """One row a window."""
        windows = self._windows(split)
        number_of = {tag: number for number, tag in enumerate(self.tags)}

        def read(rows: np.ndarray) -> Inputs:
            batch = [windows[row] for row in rows]
            padded = self.reader.pad(batch)
            if not labelled:
                return padded
            labels = torch.full_like(padded["input_ids"], _IGNORED)
            for row, window in enumerate(batch):
                tags = split.references[window.text].tags
                # Of words with one first token the first one is learnt.
                for word, place in zip(reversed(window.words), reversed(window.places), strict=True):
                    labels[row, place] = number_of.get(tags[word], _IGNORED)
            return {**padded, "labels": labels}

        return LabeledRows(read, {}, len(windows))

    def predictions(self, classes: np.ndarray, split: LabeledSplit) -> list[tuple[str, ...]]:
        """The tags of each text's words, of classes of tokens, int64 (w, T)."""
        predicted = [[self.tags[0]] * len(reference.tags) for reference in split.references]
        for row, window in enumerate(self._windows(split)):
            for word, place in zip(window.words, window.places, strict=True):
                predicted[window.text][word] = self.tags[classes[row, place]]
        return [tuple(tags) for tags in predicted]

    def _windows(self, split: LabeledSplit) -> list[WordWindow]:
        if id(split) not in self._cut:
            texts = [split.inputs[number] for number in split.input_of_row.tolist()]
            self._cut[id(split)] = self.reader.windows(texts, [reference.words for reference in split.references])
        return self._cut[id(split)]
