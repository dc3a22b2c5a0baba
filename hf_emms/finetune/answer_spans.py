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
from hf_emms.features.pooling import States
from hf_emms.finetune.collate import PartRows
from hf_emms.finetune.heads import (
    Network,
    Standardise,
    class_with_head,
    first_features,
    load_base,
    load_with_head,
    own_head,
    save_with_head,
)
from hf_emms.finetune.splits import Part, Span, Splits
from hf_emms.inputs import Pairs
from hf_emms.inputs.text import load_training_texts
from hf_emms.inputs.text_pair import TextPairReader, TokenRun, Window, cut_windows, text_pair_reader
from hf_emms.options import Options

# As the recipes for SQuAD have it.
_MAX_TOKENS, _LONGEST_ANSWER = 384, 30


class SpanModel(nn.Module):
    """A checkpoint's token states, and a linear layer to the logits of start and end.

    Args:
        base: the checkpoint, of transformers.
        states: of it, (b, T, D).
        first: states of the first training rows, (n, D).
    """

    accepts_loss_kwargs = False

    def __init__(self, base: Any, states: States, first: Tensor) -> None:
        super().__init__()
        self.base, self._states = base, states
        self.head = nn.Sequential(Standardise(first), nn.Linear(first.shape[1], 2))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
    ) -> dict[str, Tensor]:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self._states(self.base, {"input_ids": input_ids, "attention_mask": attention_mask, **types})
        start, end = self.head(states).masked_fill(attention_mask[..., None] == 0, -1e4).unbind(2)
        if start_positions is None or end_positions is None:
            return {"start_logits": start, "end_logits": end}
        return {"loss": (cross_entropy(start, start_positions) + cross_entropy(end, end_positions)) / 2}

    def save_pretrained(self, folder: Any) -> None:
        """Writes the checkpoint as transformers does, and the head beside it."""
        save_with_head(self.base, self.head, folder)


@dataclass(frozen=True)
class _Windows:
    """The windows of a part's rows.

    Attributes:
        windows: all of them.
        row_of: the row of each.
        offsets: the second text's characters that each of its tokens covers, by the number of the text.
        text_of_row: int64, shape (n,).
    """

    windows: list[Window]
    row_of: list[int]
    offsets: dict[int, list[TokenRun]]
    text_of_row: np.ndarray


class _Spans:
    """How a candidate reads the rows of a part, and what its logits answer."""

    def __init__(self, reader: TextPairReader) -> None:
        self._reader = reader
        self._known: dict[int, _Windows] = {}

    def rows(self, part: Part, labelled: bool) -> PartRows:
        """One row a window."""
        found = self._windows(part)

        def read(numbers: np.ndarray) -> Inputs:
            padded = self._reader.pad([found.windows[number] for number in numbers])
            return {name: tensor for name, tensor in padded.items() if name not in ("first", "counted")}

        return PartRows(read, self._labels(part, found) if labelled else {}, len(found.windows))

    def answers(self, outputs: tuple[np.ndarray, np.ndarray], part: Part) -> list[str]:
        """The text of the best span of each row, of all its windows."""
        assert isinstance(part.inputs, Pairs)
        found = self._windows(part)
        best: dict[int, tuple[float, str]] = {}
        for number, (window, row) in enumerate(zip(found.windows, found.row_of, strict=True)):
            if not window.second:
                continue
            before = self._before(window)
            inside = slice(before, before + len(window.second))
            start, end = outputs[0][number, inside], outputs[1][number, inside]
            possible = np.triu(np.tril(np.ones((len(start), len(end)), bool), _LONGEST_ANSWER - 1))
            sums = np.where(possible, start[:, None] + end[None, :], -np.inf)
            first, last = np.unravel_index(int(sums.argmax()), sums.shape)
            text = found.text_of_row[row]
            offsets = found.offsets[text]
            left, right = offsets[window.start + int(first)][0], offsets[window.start + int(last)][1]
            answer = float(sums[first, last]), part.inputs.seconds[text][left:right]
            best[row] = max(best.get(row, answer), answer)
        return [best[row][1] if row in best else "" for row in range(len(part))]

    def _windows(self, part: Part) -> _Windows:
        if id(part) not in self._known:
            self._known[id(part)] = self._cut(part)
        return self._known[id(part)]

    def _cut(self, part: Part) -> _Windows:
        assert isinstance(part.inputs, Pairs)
        numbers = part.inputs.parts[part.input_of_row]
        firsts, _ = self._reader.tokenize(part.inputs.firsts, numbers[:, 0])
        seconds, offsets = self._reader.tokenize(part.inputs.seconds, numbers[:, 1], offsets=True)
        half = self._reader.capacity // 2
        windows: list[Window] = []
        row_of: list[int] = []
        for row, (first, second) in enumerate(numbers.tolist()):
            found = cut_windows(firsts[first][:half], seconds[second], self._reader.capacity)
            windows += found
            row_of += [row] * len(found)
        return _Windows(windows, row_of, offsets, numbers[:, 1])

    def _labels(self, part: Part, found: _Windows) -> Inputs:
        """Start and end tokens, int64 (w,) each; those of a window without the answer are its first token."""
        labels = np.zeros((len(found.windows), 2), np.int64)
        for number, (window, row) in enumerate(zip(found.windows, found.row_of, strict=True)):
            answer, offsets = part.answers[row], found.offsets[found.text_of_row[row]]
            assert isinstance(answer, Span)
            tokens = [
                token for token, (start, stop) in enumerate(offsets) if start < answer.stop and stop > answer.start
            ]
            if tokens and window.start <= tokens[0] and tokens[-1] < window.start + len(window.second):
                shift = self._before(window) - window.start
                labels[number] = tokens[0] + shift, tokens[-1] + shift
        start, end = torch.from_numpy(labels).unbind(1)
        return {"start_positions": start.clone(), "end_positions": end.clone()}

    def _before(self, window: Window) -> int:
        """How many tokens of the sequence are before the second text's."""
        return len(self._reader.before) + len(window.first) + len(self._reader.between)


def load_span_finder(plan: ExtractionPlan, splits: Splits, options: Options) -> Network:
    """A class of transformers for question answering, or a head on the checkpoint's token states."""
    notes: list[str] = []
    loader = class_with_head(plan, splits.task.id)
    if loader is not None:
        model: Any
        model, head = load_with_head(plan, loader)
        base = model
    else:
        base, states = load_base(plan, options)
    texts = load_training_texts(plan, base, max_length=_MAX_TOKENS)
    spans = _Spans(text_pair_reader(base, texts))
    if loader is None:
        rows = spans.rows(splits.train, False)
        model = SpanModel(base, states, first_features(base, states, rows.batch, len(rows)))
        head = own_head(model)
        notes.append("transformers has no class with a head for it: a linear layer on its token states")
    return Network(
        model,
        spans.rows,
        spans.answers,
        lambda model, inputs: tuple(model(**inputs)[name] for name in ("start_logits", "end_logits")),
        (texts.tokenizer,),
        notes,
        head=head,
    )
