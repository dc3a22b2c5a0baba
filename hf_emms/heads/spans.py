"""Answers that are spans of a context: a start and an end among its tokens, over windows of a long context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.baseline import ConstantBaseline, best_baseline, for_all_rows
from hf_emms.heads.head import FeatureHead, FeatureNetwork
from hf_emms.heads.metrics import EXACT_MATCH, WORD_F1, Metric
from hf_emms.heads.split import LabeledRows, LabeledSample, LabeledSplit
from hf_emms.inputs import Modality, Pairs, Spans
from hf_emms.inputs.text import load_training_texts
from hf_emms.inputs.text_pair import TokenRun, Window, cut_windows, text_pair_reader

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hf_emms.features.device import Inputs

# What the labels of spans are called: of the answer that is learnt, of others that are as right, and of other spans.
ANSWER, OTHER_ANSWER, NO_ANSWER = "the answer", "another answer", "not the answer"
# As the recipes for SQuAD have it.
_MAX_TOKENS, _MAX_ANSWER_TOKENS = 384, 30


class AnswerSpan(NamedTuple):
    """An answer within the second text of a pair, from its first character to behind its last."""

    start: int
    stop: int
    text: str


class SpansHead(FeatureHead):
    """A head that finds the answer to a question, the first text of a pair, in the second text."""

    auto_class = "AutoModelForQuestionAnswering"
    layers_note = "transformers has no class with a head for it: a linear layer on its token states"

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return WORD_F1, EXACT_MATCH

    def label(self, sample: LabeledSample, *, several: bool) -> LabeledSplit:
        """Return the pairs of a sample with their answers, of which the first is learnt; a question may have none."""
        spans = sample.inputs
        if not isinstance(spans, Spans):
            raise EmmsError(
                f"the answers of {sample.dataset!r} are not in their contexts",
                "fine-tuning for question answering finds an answer in a text",
            )
        bounds = spans.bounds[sample.input_of_row].tolist()
        answers: dict[int, dict[str, list[AnswerSpan]]] = {}
        first_row: dict[int, int] = {}
        for row, ((pair, start, stop), code) in enumerate(zip(bounds, sample.codes.tolist(), strict=True)):
            first_row.setdefault(pair, row)
            answer = AnswerSpan(start, stop, str(spans.inputs[pair][1])[start:stop])
            answers.setdefault(pair, {}).setdefault(sample.label_texts[code], []).append(answer)
        references = [(*spans_of.get(ANSWER, ()), *spans_of.get(OTHER_ANSWER, ())) for spans_of in answers.values()]
        groups = sample.groups[list(first_row.values())]
        return LabeledSplit.from_sample(sample, references, spans.inputs, np.array(list(answers)), groups)

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        """Return no answer, or the whole text."""
        rules = (for_all_rows(""), _whole_texts)
        return best_baseline("whole texts, or none, as answers", self.metrics(train.references)[0], rules, train, split)

    def network(
        self, plan: FeatureSpec, kind: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        return _SpansNetwork(plan, model, may_decline=not all(references))


def _whole_texts(split: LabeledSplit) -> list[str]:
    assert isinstance(split.inputs, Pairs)
    return [split.inputs.seconds[text] for text in split.inputs.parts[split.input_of_row][:, 1].tolist()]


@dataclass(frozen=True)
class _Windows:
    """The windows of a split's rows, and the row of each.

    `offsets` are the characters that each token of a second text covers, by the text's number; `text_of_row`, int64
    (n,), is the text of each row.
    """

    windows: list[Window]
    row_of: list[int]
    offsets: dict[int, list[TokenRun]]
    text_of_row: np.ndarray


class _SpansNetwork(FeatureNetwork):
    """A network that points at a start and an end; it reads the rows of a split window by window.

    It points at the first token where a window has no answer. It `may_decline` to answer where questions had none.
    """

    count = 2

    def __init__(self, plan: FeatureSpec, model: Any, *, may_decline: bool) -> None:
        texts = load_training_texts(plan, model, max_length=_MAX_TOKENS)
        super().__init__(plan, model, (texts.tokenizer,))
        self._reader, self._may_decline = text_pair_reader(model, texts), may_decline
        self.references = [()] if may_decline else []

    def predict(self, model: Any, batch: Inputs) -> Any:
        outputs = model(**batch)
        return outputs["start_logits"], outputs["end_logits"]

    def rows(self, split: LabeledSplit, labelled: bool) -> LabeledRows:
        """Return a row for each window."""
        cut = self.once("windows", split, self._cut_rows)

        def read(numbers: np.ndarray) -> Inputs:
            padded = self._reader.pad([cut.windows[number] for number in numbers])
            return {name: tensor for name, tensor in padded.items() if name not in ("first", "counted")}

        return LabeledRows(read, self._labels(split, cut) if labelled else {}, len(cut.windows))

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return the text of the best span of each row, of all its windows, from logits of starts and ends, (w, T).

        The text is empty where the row has no words, or where the first token of each window is likelier than that.
        """
        assert isinstance(split.inputs, Pairs)
        cut = self.once("windows", split, self._cut_rows)
        best: dict[int, tuple[float, str]] = {}
        declined: dict[int, float] = {}
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
            none = float(outputs[0][number, 0] + outputs[1][number, 0])
            declined[row] = min(declined.get(row, none), none)
        if self._may_decline:
            best = {row: answer for row, answer in best.items() if answer[0] >= declined[row]}
        return [best[row][1] if row in best else "" for row in range(len(split))]

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
        """Return start and end tokens, int64 (w,) each; those of a window without the answer are its first token."""
        import torch

        labels = np.zeros((len(cut.windows), 2), np.int64)
        for number, (window, row) in enumerate(zip(cut.windows, cut.row_of, strict=True)):
            offsets = cut.offsets[cut.text_of_row[row]]
            tokens = [
                token
                for answer in split.references[row][:1]
                for token, (start, stop) in enumerate(offsets)
                if start < answer.stop and stop > answer.start
            ]
            if tokens and window.start <= tokens[0] and tokens[-1] < window.start + len(window.second):
                shift = self._tokens_before(window) - window.start
                labels[number] = tokens[0] + shift, tokens[-1] + shift
        start, end = torch.from_numpy(labels).unbind(1)
        return {"start_positions": start.clone(), "end_positions": end.clone()}

    def _tokens_before(self, window: Window) -> int:
        """Return how many tokens of the sequence are before the second text's."""
        return len(self._reader.before) + len(window.first) + len(self._reader.between)

    def forward(self, layers: nn.Module, features: Tensor, batch: Inputs, labels: Inputs) -> dict[str, Tensor]:
        from torch.nn.functional import cross_entropy

        start, end = layers(features).masked_fill(batch["attention_mask"][..., None] == 0, -1e4).unbind(2)
        if not labels:
            return {"start_logits": start, "end_logits": end}
        losses = cross_entropy(start, labels["start_positions"]) + cross_entropy(end, labels["end_positions"])
        return {"loss": losses / 2}
