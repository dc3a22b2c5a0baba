"""Features of pairs of texts, such as a question with its context, and of spans of the second text.

The label never enters what the model reads: a span only says which token states are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.device import Batch, Inputs, to_numpy
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.features.extractor import TOKENS, Extractor, count_tokens, example_texts
from hf_emms.features.hidden_layers import refuse_single_layers
from hf_emms.features.windows import Run, TextPairReader, Window, cut_windows
from hf_emms.inputs import Pairs, Spans
from hf_emms.options import LAST
from hf_emms.registry import by_reference

_CHUNK = 2_048  # inputs that are cut into windows and sorted at a time: memory does not grow with the dataset

# --- token states -----------------------------------------------------------------------------------------

States = Callable[[Any, Inputs], Tensor]
"""A model and a batch to token states (b, T, D)."""


def token_states(model: Any, inputs: Inputs) -> Tensor:
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden


def encoder_states(model: Any, inputs: Inputs) -> Tensor:
    return token_states(model.get_encoder(), inputs)


def fallback_states(model: Any, inputs: Inputs) -> Tensor:
    return (encoder_states if model.config.is_encoder_decoder else token_states)(model, inputs)


STATES: dict[str, States] = {
    "question_context": token_states,
    "encoder_question_context": encoder_states,
    "question_context_fallback": fallback_states,
}


def find_states(name: str) -> States:
    """An entry of `STATES`, or a function of another package: "package.module:NAME".

    Raises:
        EmmsError: it cannot be imported or is no function.
    """
    if ":" not in name:
        return STATES[name]
    found = by_reference(name)
    if not callable(found):
        raise EmmsError(f"{name} is of type {type(found).__name__}, no function to token states")
    return found


# --- pairs ------------------------------------------------------------------------------------------------


class TextPairExtractor(Extractor):
    """Features of pairs of texts: [mean of the first text's tokens; mean of the second's], read together.

    The windows of a pair are merged exactly, as if one mean ran over all tokens. `states` is a name for `find_states`.
    """

    summary = "mean of the question's tokens and mean of the context's, read together"
    input_type: type = Pairs
    input_name = "pairs of texts"

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        reader: TextPairReader,
        states: str,
        layers: tuple[str, ...] = (LAST,),
    ) -> None:
        super().__init__(plan, model, self.summary)
        self.refused = refuse_single_layers(layers, plan.repo.id)
        self._reader = reader
        self._states = find_states(states)
        self._read = self._forward(self._pool_windows, TOKENS, count_tokens)
        self._probe()
        self.layer_slices = {layer: slice(0, self.width) for layer in layers if layer not in self.refused}

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        if not isinstance(inputs, self.input_type):
            raise EmmsError(f"{self.plan.repo.id} reads {self.input_name} here, not {type(inputs).__name__}")
        max_tokens = self._read.batch_elements()
        for start in range(0, len(inputs), _CHUNK):
            for positions, rows in self._chunk(inputs[start : start + _CHUNK], max_tokens, batch_size):
                yield start + positions, torch.from_numpy(rows)

    def _chunk(self, pairs: Any, max_tokens: int, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Features of some inputs, longest windows first."""
        seconds, _ = self._reader.tokenize(pairs.seconds, pairs.parts[:, 1])
        return self._merged(self._windows(pairs, seconds), max_tokens, batch_size)

    def _windows(self, pairs: Pairs, seconds: dict[int, list[int]]) -> list[list[Window]]:
        """The windows of each pair. A first text too long for half the model is cut."""
        capacity = self._reader.capacity
        firsts, _ = self._reader.tokenize(pairs.firsts, pairs.parts[:, 0])
        cut = sum(len(first) > capacity // 2 for first in firsts.values())
        if cut:
            self._note_cut(cut, self._reader.text.max_length // 2)
        windows = [
            cut_windows(firsts[first][: capacity // 2], seconds[second], capacity) for first, second in pairs.parts
        ]
        windowed = sum(len(found) > 1 for found in windows)
        if windowed:
            self.windowed += windowed
            self.window_length = self._reader.text.max_length
        return windows

    def _merged(
        self, windows: Sequence[Sequence[Window]], max_tokens: int, batch_size: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows of pairs as soon as all of their windows have been read; each window counts equally many runs."""
        flat = list(chain.from_iterable(windows))
        left = np.array([len(found) for found in windows])
        ends = np.cumsum(left)
        starts = ends - left
        pair_of = np.repeat(np.arange(len(windows)), left)
        lengths = [self._reader.length(window) for window in flat]
        batches = self._reader.text.plan_batches(lengths, max_tokens, batch_size)
        read = ((batch, self._read(self._reader.pad([flat[i] for i in batch]))) for batch in batches)
        pooled: np.ndarray | None = None
        for batch, results in to_numpy(read):
            pooled = np.empty((len(flat), *results.shape[1:]), np.float32) if pooled is None else pooled
            pooled[batch] = results
            np.subtract.at(left, pair_of[batch], 1)
            done = np.unique(pair_of[batch])
            done = done[left[done] == 0]
            if len(done):
                yield done, np.stack([self._merge(pooled[starts[pair] : ends[pair]]) for pair in done])

    def _pool_windows(self, inputs: Inputs) -> Tensor:
        """The tensors of b windows, see `TextPairReader.pad`, to sums that can be merged, float32 (b, …)."""
        model_inputs = {name: tensor for name, tensor in inputs.items() if name not in ("first", "counted")}
        hidden = self._states(self._model, model_inputs).float()
        start, stop = inputs["counted"].unbind(2)
        positions = torch.arange(hidden.shape[1], device=hidden.device)
        marks = ((positions >= start[..., None]) & (positions < stop[..., None])).float()
        runs = torch.cat([marks @ hidden, marks.sum(2, keepdim=True)], dim=2)
        return self._pool(hidden, inputs["first"].float(), runs)

    def _pool(self, hidden: Tensor, first: Tensor, runs: Tensor) -> Tensor:
        """Mean of the first text's tokens, sum of the second's that count, and their number, (b, 2·D + 1).

        Args:
            hidden: token states, float32 (b, T, D).
            first: 1 for tokens of the first text, float32 (b, T).
            runs: sum and number of the tokens of each run that counts, float32 (b, S, D + 1).
        """
        first_mean = torch.einsum("btd,bt->bd", hidden, first) / first.sum(1, keepdim=True).clamp_min(1)
        return torch.cat([first_mean, runs[:, 0]], dim=1)

    def _merge(self, pooled: np.ndarray) -> np.ndarray:
        """The row (2·D,) of a pair from its w windows, float32 (w, 2·D + 1)."""
        first, second = np.split(pooled[:, :-1], 2, axis=1)
        # An empty second text has no tokens to average.
        return np.concatenate([first.mean(0), second.sum(0) / max(1.0, pooled[:, -1].sum())])

    def _examples(self, count: int, words: int) -> Pairs | Spans:
        return Pairs(["a"], example_texts(1, words), np.zeros((count, 2), np.int64))


# --- spans ------------------------------------------------------------------------------------------------


class SpanExtractor(TextPairExtractor):
    """Features of spans of second texts: the mean of their tokens' states, each pair read once, with both texts."""

    summary = "mean of the span's tokens, read with question and context"
    input_type = Spans
    input_name = "spans of texts"

    def _chunk(self, spans: Any, max_tokens: int, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        used, pair_of = np.unique(spans.bounds[:, 0], return_inverse=True)
        pairs = Pairs(spans.pairs.firsts, spans.pairs.seconds, spans.pairs.parts[used])
        text_of, characters = pairs.parts[pair_of, 1].tolist(), spans.bounds[:, 1:].tolist()
        fast = self._reader.text.tokenizer.is_fast
        seconds, offsets = self._reader.tokenize(pairs.seconds, pairs.parts[:, 1], offsets=fast)
        runs = [
            _run_by_offsets(offsets[text], span)
            if fast
            else _run_by_length(self._reader.text.tokenizer, pairs.seconds[text], len(seconds[text]), span)
            for text, span in zip(text_of, characters, strict=True)
        ]
        members = _spans_by_pair(pair_of, len(pairs))
        windows = [
            [_with_spans(window, [runs[i] if i >= 0 else (0, 0) for i in row]) for window in found]
            for found, row in zip(self._windows(pairs, seconds), members.tolist(), strict=True)
        ]
        for done, rows in self._merged(windows, max_tokens, batch_size):
            real = members[done] >= 0
            yield members[done][real], rows[real]

    def _pool(self, hidden: Tensor, first: Tensor, runs: Tensor) -> Tensor:
        return runs

    def _merge(self, pooled: np.ndarray) -> np.ndarray:
        """The rows (S, D) of a pair's spans from its w windows, float32 (w, S, D + 1)."""
        total = pooled.sum(0)
        return total[:, :-1] / np.maximum(1, total[:, -1:])

    def _examples(self, count: int, words: int) -> Spans:
        pairs = Pairs(["a"], example_texts(1, words), np.zeros((count, 2), np.int64))
        return Spans(pairs, np.array([(pair, 0, 1) for pair in range(count)]))


def _spans_by_pair(pair_of: np.ndarray, pairs: int) -> np.ndarray:
    """The spans of each pair, int64 (pairs, S), filled up with −1; `pair_of` is the pair of each span."""
    order = np.argsort(pair_of, kind="stable")
    counts = np.bincount(pair_of, minlength=pairs)
    most = int(np.max(counts))
    members = np.full((pairs, most), -1, dtype=np.int64)
    members[np.arange(most) < counts[:, None]] = order
    return members


def _run_by_offsets(offsets: Sequence[Run], span: Run) -> Run:
    """The tokens of some of a span's characters, given the characters of all tokens; the nearest where none is."""
    start, stop = span
    starts, stops = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
    inside = np.flatnonzero((stops > start) & (starts < stop) & (stops > starts))
    if len(inside):
        return int(inside[0]), int(inside[-1]) + 1
    if not len(starts):
        return 0, 1
    nearest = int(np.argmin(np.abs(starts + stops - start - stop)))
    return nearest, nearest + 1


def _run_by_length(tokenizer: Any, text: str, tokens: int, span: Run) -> Run:
    """The same for a tokenizer without offsets, by how many tokens the text before the span's ends has."""
    parts = [text[:end] for end in span]
    before, until = (len(ids) for ids in tokenizer(parts, add_special_tokens=False, verbose=False)["input_ids"])
    last = max(0, tokens - 1)
    start = min(before, last)
    return start, max(start + 1, min(until, last + 1))


def _with_spans(window: Window, runs: Sequence[Run]) -> Window:
    """The window with those tokens of each run of the second text that count in it."""
    start, stop = window.counted
    stop = stop if window.second else 1
    clipped = [(max(first - window.start, start), min(last - window.start, stop)) for first, last in runs]
    return replace(window, spans=tuple(run if run[0] < run[1] else (0, 0) for run in clipped))
