"""Questions with contexts, or spans of contexts, to feature rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from hf_emms.data import Pairs, Spans
from hf_emms.errors import EmmsError
from hf_emms.features import contexts, spans
from hf_emms.features.contexts import States, find_states
from hf_emms.features.layers import LAST
from hf_emms.features.memory import Inputs
from hf_emms.features.plan import ExtractionPlan
from hf_emms.features.running import PROBED, PROBED_WORDS, Running
from hf_emms.features.transfer import Batch
from hf_emms.features.windows import TextPairInput, window_batches


@dataclass(frozen=True)
class Reading:
    """How inputs of one kind become rows.

    Attributes:
        summary: what becomes the feature, in words.
        said: from token states of a model and a batch of windows to what each window says.
        merged: what the windows of one pair say, to its row or rows.
        batches: inputs to batches of rows.
        examples: so many inputs whose second text is this.
    """

    summary: str
    said: Callable[[States, Any, Inputs], Tensor]
    merged: Callable[[np.ndarray], np.ndarray]
    batches: Callable[..., Iterator[Batch]]
    examples: Callable[[int, str], Sequence[Any]]


def _pairs(count: int, text: str) -> Pairs:
    return Pairs(["a"], [text], np.zeros((count, 2), np.int64))


def _spans(count: int, text: str) -> Spans:
    return Spans(_pairs(count, text), np.array([(pair, 0, 1) for pair in range(count)]))


READINGS: dict[type, Reading] = {
    Pairs: Reading(contexts.SUMMARY, contexts.said_by_window, contexts.merged, window_batches, _pairs),
    Spans: Reading(spans.SUMMARY, spans.spans_in_window, spans.mean_of_spans, spans.span_batches, _spans),
}


class TextPairExtractor(Running):
    """A checkpoint with its tokenizer, ready to turn questions with contexts, or spans of them, into features.

    Args:
        plan: what is loaded.
        model: the checkpoint.
        source: how it reads.
        states: how token states are had, see `contexts.find_states`.
        asked: layers.
        kind: what it will be given: `Pairs` or `Spans`.
    """

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        source: TextPairInput,
        states: str,
        asked: tuple[str, ...] = (LAST,),
        kind: type = Pairs,
    ) -> None:
        self._kind, self._reading = kind, READINGS[kind]
        super().__init__(plan, model, self._reading.summary)
        self._ask_joined(asked)
        self._source = source
        read = find_states(states)
        self._size = self._tokens()
        self._run = self._halving(lambda inputs: self._reading.said(read, self._model, inputs), self._size)
        of = self._reading.examples
        self.width = self._probe(of(1, "a"), of(PROBED, "a " * PROBED_WORDS))

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        if not isinstance(inputs, self._kind):
            wanted = "spans of texts" if self._kind is Spans else "pairs of texts"
            raise EmmsError(f"{self._plan.repo.id} reads {wanted} here, not {type(inputs).__name__}")
        limit = self._source.text.limit
        return self._reading.batches(
            self._source,
            inputs,
            self._run,
            self._reading.merged,
            budget=self._size.units(),
            batch_size=batch_size,
            on_cut=lambda count: self._note_cut(count, limit // 2),
            on_windows=self._note_windows,
        )

    def _note_windows(self, count: int) -> None:
        if self._probing:
            return
        self.windowed += count
        self.window = self._source.text.limit
