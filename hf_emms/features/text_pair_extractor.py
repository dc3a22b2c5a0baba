"""Questions with contexts to feature rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hf_emms.data import Pairs
from hf_emms.errors import EmmsError
from hf_emms.features.contexts import SUMMARY, find_states, merged, said_by_window
from hf_emms.features.layers import LAST, LayerError, refused_of_pairs
from hf_emms.features.plan import ExtractionPlan
from hf_emms.features.running import PROBED, PROBED_WORDS, Running
from hf_emms.features.transfer import Batch
from hf_emms.features.windows import TextPairInput, window_batches


class TextPairExtractor(Running):
    """A checkpoint with its tokenizer, ready to turn questions with contexts into features."""

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        source: TextPairInput,
        states: str,
        asked: tuple[str, ...] = (LAST,),
    ) -> None:
        super().__init__(plan, model, SUMMARY)
        self._refused = refused_of_pairs(asked, plan.repo.id)
        self._given = tuple(layer for layer in asked if layer not in self._refused)
        self._source = source
        self._windowed = 0
        read = find_states(states)
        self._size = self._tokens()
        self._run = self._halving(lambda inputs: said_by_window(read, self._model, inputs), self._size)
        self.width = self._probe(_examples(1, "a"), _examples(PROBED, "a " * PROBED_WORDS))

    @property
    def refused(self) -> dict[str, LayerError]:
        return self._refused

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        if not isinstance(inputs, Pairs):
            raise EmmsError(f"{self._plan.repo.id} reads pairs of texts here, not {type(inputs).__name__}")
        limit = self._source.text.limit
        return window_batches(
            self._source,
            inputs,
            self._run,
            merged,
            budget=self._size.units(),
            batch_size=batch_size,
            on_cut=lambda count: self._note_cut(count, limit // 2),
            on_windows=self._note_windows,
        )

    def _note_windows(self, count: int) -> None:
        if self._probing:
            return
        self._windowed += count
        inputs = "input was" if self._windowed == 1 else "inputs were"
        self._notes["windows"] = (
            f"{self._windowed:,} {inputs} longer than the {self._source.text.limit:,} tokens that it reads: "
            "overlapping windows, merged"
        )


def _examples(count: int, text: str) -> Pairs:
    return Pairs(["a"], [text], np.zeros((count, 2), np.int64))
