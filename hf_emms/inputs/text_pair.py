"""Pairs of texts, such as a question with its context, and spans of the second text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_emms.inputs.kind import InputKind, Pairs
from hf_emms.inputs.text import TEXT


@dataclass(frozen=True)
class Spans(Sequence):
    """Spans of the second texts of pairs; a checkpoint reads each pair once, whole.

    Attributes:
        pairs: texts, such as questions and contexts.
        bounds: int64, shape (M, 3): the pair of each span, and where in its second text it starts and ends, in
            characters; the end is exclusive.
    """

    pairs: Pairs
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, index: Any) -> Any:
        """Several spans, or one: both texts and the text of the span."""
        if isinstance(index, slice):
            return Spans(self.pairs, self.bounds[index])
        pair, start, stop = self.bounds[index].tolist()
        first, second = self.pairs[pair]
        return first, second, second[start:stop]


TEXT_PAIR = InputKind(
    name="text+text",
    singular="pair of texts",
    plural="pairs of texts",
    parts=(TEXT, TEXT),
    fallback_pooling="question_context_fallback",
    fallback_summary="means of the last layer's tokens",
    cpu_seconds=8e-9,
)
