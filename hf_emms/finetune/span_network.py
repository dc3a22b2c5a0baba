"""Answers that are spans of a context: a start and an end among its tokens, over windows of a long one."""

from __future__ import annotations

from dataclasses import dataclass
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
from hf_emms.inputs import Pairs
from hf_emms.inputs.text import load_training_texts
from hf_emms.inputs.text_pair import TextPairReader, TokenRun, Window, cut_windows, text_pair_reader
from hf_emms.options import Options

# As the recipes for SQuAD have it.
_MAX_TOKENS, _MAX_ANSWER_TOKENS = 384, 30


def span_network(plan: ExtractionPlan, splits: Splits, options: Options, saved_width: int | None) -> Network:
    """A class of transformers for question answering, or a head on the checkpoint's token states."""
    notes: list[str] = []
    loader = class_with_head(plan, head_of(splits.task))
    model: Any
    if loader is not None:
        model, head = load_with_head(plan, loader)
        base = model
    else:
        base, states = load_base(plan, options, splits.task.input)
    texts = load_training_texts(plan, base, max_length=_MAX_TOKENS)
    windows = _AnswerWindows(text_pair_reader(base, texts))
    if loader is None:

        def measure() -> Tensor:
            rows = windows.rows(splits.train, False)
            return first_features(base, states, rows.batch, len(rows))

        first = features_for_head(saved_width, measure)
        model = SpanModel(base, states, nn.Sequential(Standardize(first), nn.Linear(first.shape[1], 2)))
        head = model.head_names
        notes.append("transformers has no class with a head for it: a linear layer on its token states")
    return Network(
        model,
        windows.rows,
        windows.answers,
        lambda model, inputs: tuple(model(**inputs)[name] for name in ("start_logits", "end_logits")),
        (texts.tokenizer,),
        notes,
        head=head,
    )


class SpanModel(ModelWithHead):
    """A checkpoint's token states, (b, T, D), and a head to the logits of start and end."""

    def forward(
        self, start_positions: Tensor | None = None, end_positions: Tensor | None = None, **inputs: Tensor
    ) -> dict[str, Tensor]:
        logits = self.head(self._features(self.base, inputs))
        start, end = logits.masked_fill(inputs["attention_mask"][..., None] == 0, -1e4).unbind(2)
        if start_positions is None or end_positions is None:
            return {"start_logits": start, "end_logits": end}
        return {"loss": (cross_entropy(start, start_positions) + cross_entropy(end, end_positions)) / 2}


@dataclass(frozen=True)
class _Windows:
    """The windows of a split's rows, and the row of each.

    `offsets` are the characters that each token of a second text covers, by the text's number; `text_of_row`, int64
    (n,), is that of each row.
    """

    windows: list[Window]
    row_of: list[int]
    offsets: dict[int, list[TokenRun]]
    text_of_row: np.ndarray


class _AnswerWindows:
    """How a candidate reads the rows of a split, one window after the other, and what its logits answer."""

    def __init__(self, reader: TextPairReader) -> None:
        self._reader = reader
        self._cut: dict[int, _Windows] = {}

    def rows(self, split: LabeledSplit, labelled: bool) -> LabeledRows:
        """One row a window."""
        cut = self._windows(split)

        def read(numbers: np.ndarray) -> Inputs:
            padded = self._reader.pad([cut.windows[number] for number in numbers])
            return {name: tensor for name, tensor in padded.items() if name not in ("first", "counted")}

        return LabeledRows(read, self._labels(split, cut) if labelled else {}, len(cut.windows))

    def answers(self, outputs: tuple[np.ndarray, np.ndarray], split: LabeledSplit) -> list[str]:
        """The text of the best span of each row, of all its windows."""
        assert isinstance(split.inputs, Pairs)
        cut = self._windows(split)
        best: dict[int, tuple[float, str]] = {}
        for number, (window, row) in enumerate(zip(cut.windows, cut.row_of, strict=True)):
            if not window.second:
                continue
            before = self._tokens_before(window)
            inside = slice(before, before + len(window.second))
            start, end = outputs[0][number, inside], outputs[1][number, inside]
            possible = np.triu(np.tril(np.ones((len(start), len(end)), bool), _MAX_ANSWER_TOKENS - 1))
            sums = np.where(possible, start[:, None] + end[None, :], -np.inf)
            first, last = np.unravel_index(int(sums.argmax()), sums.shape)
            text = cut.text_of_row[row]
            offsets = cut.offsets[text]
            left, right = offsets[window.start + int(first)][0], offsets[window.start + int(last)][1]
            answer = float(sums[first, last]), split.inputs.seconds[text][left:right]
            best[row] = max(best.get(row, answer), answer)
        return [best[row][1] if row in best else "" for row in range(len(split))]

    def _windows(self, split: LabeledSplit) -> _Windows:
        if id(split) not in self._cut:
            self._cut[id(split)] = self._cut_rows(split)
        return self._cut[id(split)]

    def _cut_rows(self, split: LabeledSplit) -> _Windows:
        assert isinstance(split.inputs, Pairs)
        numbers = split.inputs.parts[split.input_of_row]
        firsts, _ = self._reader.tokenize(split.inputs.firsts, numbers[:, 0])
        seconds, offsets = self._reader.tokenize(split.inputs.seconds, numbers[:, 1], offsets=True)
        half = self._reader.capacity // 2
        windows: list[Window] = []
        row_of: list[int] = []
        for row, (first, second) in enumerate(numbers.tolist()):
            windows += cut_windows(firsts[first][:half], seconds[second], self._reader.capacity)
            row_of += [row] * (len(windows) - len(row_of))
        return _Windows(windows, row_of, offsets, numbers[:, 1])

    def _labels(self, split: LabeledSplit, cut: _Windows) -> Inputs:
        """Start and end tokens, int64 (w,) each; those of a window without the answer are its first token."""
        labels = np.zeros((len(cut.windows), 2), np.int64)
        for number, (window, row) in enumerate(zip(cut.windows, cut.row_of, strict=True)):
            answer, offsets = split.references[row], cut.offsets[cut.text_of_row[row]]
            tokens = [
                token for token, (start, stop) in enumerate(offsets) if start < answer.stop and stop > answer.start
            ]
            if tokens and window.start <= tokens[0] and tokens[-1] < window.start + len(window.second):
                shift = self._tokens_before(window) - window.start
                labels[number] = tokens[0] + shift, tokens[-1] + shift
        start, end = torch.from_numpy(labels).unbind(1)
        return {"start_positions": start.clone(), "end_positions": end.clone()}

    def _tokens_before(self, window: Window) -> int:
        """How many tokens of the sequence are before the second text's."""
        return len(self._reader.before) + len(window.first) + len(self._reader.between)
