"""Answers that are spans of a context: a start and an end among its tokens, over windows of a long context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.head import FeatureHead, FeatureNetwork
from hf_emms.heads.metrics import EXACT_MATCH, WORD_F1, Metric
from hf_emms.heads.split import BatchedRows, ConstantBaseline, LabeledSample, LabeledSplit, best_baseline, for_all_rows
from hf_emms.inputs import Modality, Pairs, Spans
from hf_emms.inputs.text import load_training_texts
from hf_emms.inputs.text_pair import Run, Window, text_pair_reader, tokens_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from hf_emms.features.device import Inputs

# Labels of spans: the answer that is learned, other correct answers, and other spans.
ANSWER, OTHER_ANSWER, NO_ANSWER = "the answer", "another answer", "not the answer"
# As in the recipes for SQuAD.
_MAX_TOKENS, _MAX_ANSWER_TOKENS = 384, 30


class AnswerSpan(NamedTuple):
    """An answer in the second text of a pair, with its first character and its end, exclusive."""

    start: int
    stop: int
    text: str


class SpansHead(FeatureHead):
    """A head that finds the answer to a question, the first text of a pair, in the second text."""

    auto_class = "AutoModelForQuestionAnswering"
    layers_note = "transformers has no class with this head for the family: a linear layer on its token states"

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return WORD_F1, EXACT_MATCH

    def label(self, sample: LabeledSample, *, several: bool) -> LabeledSplit:
        """Return the pairs of a sample with their answers, of which the first is learned; a question may have none."""
        spans = sample.inputs
        if not isinstance(spans, Spans):
            raise EmmsError(
                "answers-not-in-contexts",
                f"the answers of {sample.dataset!r} are not in their contexts",
                "fine-tune on a dataset whose answers are parts of their contexts",
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
        """Predict no answer, or the complete text."""
        rules = (for_all_rows(""), _whole_texts)
        return best_baseline("whole texts, or none, as answers", self.metrics(train.references)[0], rules, train, split)

    def network(
        self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        return _SpansNetwork(spec, model, may_decline=not all(references))


def _whole_texts(split: LabeledSplit) -> list[str]:
    assert isinstance(split.inputs, Pairs)
    return [split.inputs.seconds[text] for text in split.inputs.parts[split.input_of_row][:, 1].tolist()]


class _RowWindow(NamedTuple):
    """A window of a row, with the characters that each of its tokens covers."""

    row: int
    window: Window
    text: str
    offsets: list[Run]


class _SpansNetwork(FeatureNetwork):
    """A network that predicts a start and an end. It reads the rows of a split in windows.

    In a window without an answer, it predicts the first token. If it `may_decline`, it may return no answer.
    """

    count = 2

    def __init__(self, spec: FeatureSpec, model: Any, *, may_decline: bool) -> None:
        texts = replace(load_training_texts(spec, model, max_length=_MAX_TOKENS), pads_left=False)
        super().__init__(spec, model, (texts.tokenizer,))
        self._reader, self._may_decline = text_pair_reader(model, texts), may_decline
        self.references = [()] if may_decline else []

    def predict(self, model: Any, batch: Inputs) -> Any:
        outputs = model(**batch)
        return outputs["start_logits"], outputs["end_logits"]

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        """Return a row per window."""
        windows = self.cached_for_split("windows", split, self._windows)

        def read(numbers: np.ndarray) -> Inputs:
            return self._reader.pad([windows[number].window for number in numbers])

        return BatchedRows(read, self._labels(split, windows) if labeled else {}, len(windows))

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return the text of the best span of each row over all its windows, from logits of starts and ends, (w, T).

        The text is empty if the row has no words, or if the first token of each window is more likely.
        """
        best: dict[int, tuple[float, str]] = {}
        declined: dict[int, float] = {}
        for number, (row, window, text, offsets) in enumerate(self.cached_for_split("windows", split, self._windows)):
            if not window.second:
                continue
            before = self._reader.tokens_before_second(window)
            inside = slice(before, before + len(window.second))
            start, end = outputs[0][number, inside], outputs[1][number, inside]
            possible = np.triu(np.tril(np.ones((len(start), len(end)), bool), _MAX_ANSWER_TOKENS - 1))
            sums = np.where(possible, start[:, None] + end[None, :], -np.inf)
            first, last = np.unravel_index(int(sums.argmax()), sums.shape)
            left, right = offsets[window.start + int(first)][0], offsets[window.start + int(last)][1]
            answer = float(sums[first, last]), text[left:right]
            best[row] = max(best.get(row, answer), answer)
            none = float(outputs[0][number, 0] + outputs[1][number, 0])
            declined[row] = min(declined.get(row, none), none)
        if self._may_decline:
            best = {row: answer for row, answer in best.items() if answer[0] >= declined[row]}
        return [best[row][1] if row in best else "" for row in range(len(split))]

    def _windows(self, split: LabeledSplit) -> list[_RowWindow]:
        pairs = split.inputs
        assert isinstance(pairs, Pairs)
        numbers = pairs.parts[split.input_of_row]
        firsts, _ = self._reader.tokenize(pairs.firsts, numbers[:, 0])
        seconds, offsets = self._reader.tokenize(pairs.seconds, numbers[:, 1], offsets=True)
        return [
            _RowWindow(row, window, pairs.seconds[second], offsets[second])
            for row, (first, second) in enumerate(numbers.tolist())
            for window in self._reader.windows(firsts[first], seconds[second])
        ]

    def _labels(self, split: LabeledSplit, windows: Sequence[_RowWindow]) -> Inputs:
        """Return start and end tokens, int64 (w,) each, which are the first token in a window without the answer."""
        import torch

        labels = np.zeros((len(windows), 2), np.int64)
        for number, (row, window, _, offsets) in enumerate(windows):
            for answer in split.references[row][:1]:
                start, stop = tokens_of((answer.start, answer.stop), np.array(offsets).reshape(-1, 2))
                if window.start <= start and stop <= window.start + len(window.second):
                    shift = self._reader.tokens_before_second(window) - window.start
                    labels[number] = start + shift, stop - 1 + shift
        starts, ends = torch.from_numpy(labels).unbind(1)
        return {"start_positions": starts.clone(), "end_positions": ends.clone()}

    def forward(self, layers: nn.Module, features: Tensor, batch: Inputs, labels: Inputs) -> dict[str, Tensor]:
        from torch.nn.functional import cross_entropy

        start, end = layers(features).masked_fill(batch["attention_mask"][..., None] == 0, -1e4).unbind(2)
        if not labels:
            return {"start_logits": start, "end_logits": end}
        losses = cross_entropy(start, labels["start_positions"]) + cross_entropy(end, labels["end_positions"])
        return {"loss": losses / 2}
