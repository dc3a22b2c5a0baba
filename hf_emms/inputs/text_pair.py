"""Pairs of texts, such as a question with its context, and spans of the second text.

A second text longer than the model reads is cut into overlapping windows, never cut off: every token of it counts once,
in the window where it is farther from the edge. The label never enters what the model reads: a span only says which
token states are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from itertools import chain, pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, setting_ref
from hf_emms.features.feature_spec import ReadCounts
from hf_emms.inputs.modality import Pairs, Spans
from hf_emms.inputs.text import TEXT, TextReader, TokenizedKind, example_texts, text_reader

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import JoinedLayers
    from hf_emms.features.load import LoadedModel
    from hf_emms.features.pooling import States

_CHUNK = 2_048  # inputs that are cut into windows and sorted at a time: memory does not grow with the dataset
_OVERLAP = 4  # neighbouring windows share at least 1/4 of the part of the second text that each holds

TokenRun = tuple[int, int]
"""Consecutive tokens: from, and up to."""


# --- windows ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A part of a pair that fits into the model: token ids of the first text, and of the second text in the window.

    Attributes:
        start: how many token ids of the second text come before the window.
        counted: the run of `second` that counts here and in no other window.
        spans: runs within it that are averaged each by itself; if empty, it is averaged as a whole.
    """

    first: Sequence[int]
    second: Sequence[int]
    start: int
    counted: TokenRun
    spans: tuple[TokenRun, ...] = ()


def cut_windows(first: Sequence[int], second: Sequence[int], capacity: int) -> list[Window]:
    """Return the windows of a pair, evenly over the second text; `capacity` is without special tokens."""
    size = capacity - len(first)
    count = 1 + max(0, ceil((len(second) - size) / (size - size // _OVERLAP)))
    starts = [round(i * (len(second) - size) / (count - 1)) for i in range(count)] if count > 1 else [0]
    # Two windows meet in the middle of their overlap.
    edges = [0, *((start + size + following) // 2 for start, following in pairwise(starts)), len(second)]
    return [
        Window(first, second[start : start + size], start, (edges[i] - start, edges[i + 1] - start))
        for i, start in enumerate(starts)
    ]


@dataclass(frozen=True)
class TextPairReader:
    """Turns pairs of texts into the tensors of a checkpoint, with special tokens before, between and after the two.

    `types` are token types of `before`, the first text, `between`, the second and `after`; None if the model has none.
    With `adds_break`, `between` is a line break, which the tokenizer does not put there by itself.
    """

    text: TextReader
    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, ...] | None
    adds_break: bool = False

    @property
    def capacity(self) -> int:
        """How many tokens of both texts fit into the model."""
        return self.text.max_length - sum(map(len, (self.before, self.between, self.after)))

    def ids(self, window: Window) -> list[int]:
        """Return the token ids of a window, special ones included."""
        return list(chain.from_iterable(self._pieces(window))) or [self.text.empty_id]

    def _pieces(self, window: Window) -> tuple[Sequence[int], ...]:
        return self.before, window.first, self.between, window.second, self.after

    def tokenize(
        self, texts: Sequence[str], numbers: np.ndarray, *, offsets: bool = False
    ) -> tuple[dict[int, list[int]], dict[int, list[TokenRun]]]:
        """Return the token ids of texts by their numbers, and with `offsets` the characters of each token."""
        used = np.unique(numbers).tolist()
        encoded = self.text.encode_whole([texts[i] for i in used], offsets=offsets)
        self.text.check_vocabulary(encoded["input_ids"])
        ids = dict(zip(used, encoded["input_ids"], strict=True))
        return ids, dict(zip(used, encoded["offset_mapping"], strict=True)) if offsets else {}

    def pad(self, windows: Sequence[Window]) -> Inputs:
        """Return the tensors of b windows that count equally many runs of tokens, S.

        int64 (b, T): "input_ids", "attention_mask", "token_type_ids" if the model has them, and "first", 1 for the
        tokens of the first text; "counted", int64 (b, S, 2): the runs of the second text that count.
        """
        import torch

        rows, counted = [], []
        for window in windows:
            lengths = [len(piece) for piece in self._pieces(window)]
            ids = self.ids(window)
            row = {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "first": [0] * lengths[0] + [1] * lengths[1],
            }
            if self.types is not None:
                row["token_type_ids"] = np.repeat(self.types, lengths).tolist()
            rows.append(row)
            runs = window.spans or (window.counted,)
            counted.append([_shift(run, sum(lengths[:3]), len(ids)) for run in runs])
        width = max(len(row["input_ids"]) for row in rows)
        fill = {name: self.text.pad_id if name == "input_ids" else 0 for name in rows[0]}
        padded = {
            name: torch.tensor([row[name] + [fill[name]] * (width - len(row[name])) for row in rows]) for name in fill
        }
        return {**padded, "counted": torch.tensor(counted)}


def text_pair_reader(model: Any, text: TextReader) -> TextPairReader:
    """Return the reader with the special tokens that the tokenizer puts around a pair."""
    encoded = text.tokenizer("a", "b", return_special_tokens_mask=True, return_token_type_ids=True)
    ids, types = encoded["input_ids"], encoded["token_type_ids"]
    content = [i for i, special in enumerate(encoded["special_tokens_mask"]) if not special]
    length = len(text.tokenizer("a", add_special_tokens=False)["input_ids"])
    first, second = content[:length], content[length:]
    before, between, after = ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]
    adds_break = not between
    if adds_break:
        # A decoder, with a token before both texts or without, would read them as a single sentence.
        between = text.tokenizer("\n", add_special_tokens=False)["input_ids"]
    has_types = "token_type_ids" in signature(model.forward).parameters
    has_types = has_types and (getattr(model.config, "type_vocab_size", None) or 0) > 1
    positions = (0, first[0], first[-1] + 1, second[0], -1)
    token_types = tuple(types[i] for i in positions) if has_types else None
    return TextPairReader(text, tuple(before), tuple(between), tuple(after), token_types, adds_break and bool(between))


def _shift(run: TokenRun, before: int, length: int) -> TokenRun:
    """Return a run of the second text's tokens as a run of a window of `length` tokens, the text starting at `before`.

    A run that is not empty stays so: where the text has no token, the nearest token is taken. One that ends before it
    starts is empty.
    """
    start, stop = run
    return (min(before + start, length - 1), min(before + stop, length)) if start < stop else (0, 0)


# --- features ---------------------------------------------------------------------------------------------


class PairFeatures:
    """The `FeatureReader` of pairs: [mean of the first text's tokens; mean of the second's], read together.

    The windows of a pair are merged exactly, as if a single mean ran over all tokens.
    """

    summary = "mean of the question's tokens and mean of the context's, read together"
    input_type: type = Pairs

    def __init__(self, model: Any, reader: TextPairReader, states: States, layers: JoinedLayers) -> None:
        from hf_emms.features.device import TOKENS, BatchedForward
        from hf_emms.features.reductions import sum_runs

        self.layers, self.counts, self._reader = layers, ReadCounts(), reader

        def pool_windows(inputs: Inputs) -> Tensor:
            model_inputs = {name: tensor for name, tensor in inputs.items() if name not in ("first", "counted")}
            hidden = states(model, model_inputs).float()
            return self._pool(hidden, inputs["first"].float(), sum_runs(hidden, inputs["counted"]))

        self._forward = BatchedForward(pool_windows, model.device, TOKENS, model.dtype)
        self.forwards = (self._forward,)

    def batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        import torch

        if not isinstance(inputs, self.input_type):
            raise TypeError(f"{self.input_type.__name__} of texts are needed, not {type(inputs).__name__}")
        max_tokens = self._forward.batch_elements()
        for start in range(0, len(inputs), _CHUNK):
            for positions, rows in self._chunk(inputs[start : start + _CHUNK], max_tokens, batch_size):
                yield start + positions, torch.from_numpy(rows)

    def examples(self, count: int, words: int) -> Sequence[Any]:
        return Pairs(["a"], example_texts(1, words), np.zeros((count, 2), np.int64))

    def _chunk(self, pairs: Any, max_tokens: int, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions and features of some inputs, longest windows first."""
        seconds, _ = self._reader.tokenize(pairs.seconds, pairs.parts[:, 1])
        return self._merged(self._windows(pairs, seconds), max_tokens, batch_size)

    def _windows(self, pairs: Pairs, seconds: dict[int, list[int]]) -> list[list[Window]]:
        """Return the windows of each pair. A first text too long for half the model is cut."""
        half = self._reader.capacity // 2
        firsts, _ = self._reader.tokenize(pairs.firsts, pairs.parts[:, 0])
        for texts in (firsts, seconds):
            self.counts.add_tokens(texts.values(), self._reader.text.unknown_id)
        self.counts.add_cut(sum(len(first) > half for first in firsts.values()), self._reader.text.max_length // 2)
        windows = [
            cut_windows(firsts[first][:half], seconds[second], self._reader.capacity) for first, second in pairs.parts
        ]
        windowed = sum(len(of_pair) > 1 for of_pair in windows)
        self.counts.add_windowed(windowed, self._reader.text.max_length)
        return windows

    def _merged(
        self, windows: Sequence[Sequence[Window]], max_tokens: int, batch_size: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield numbers and rows of pairs whose windows have all been read; each window has equally many runs."""
        from hf_emms.features.device import to_numpy

        flat = list(chain.from_iterable(windows))
        left = np.array([len(of_pair) for of_pair in windows])
        ends = np.cumsum(left)
        starts = ends - left
        pair_of = np.repeat(np.arange(len(windows)), left)
        lengths = [len(self._reader.ids(window)) for window in flat]
        batches = self._reader.text.plan_batches(lengths, max_tokens, batch_size)
        results = ((batch, self._forward(self._reader.pad([flat[i] for i in batch]))) for batch in batches)
        pooled: np.ndarray | None = None
        for batch, rows in to_numpy(results):
            pooled = np.empty((len(flat), *rows.shape[1:]), np.float32) if pooled is None else pooled
            pooled[batch] = rows
            np.subtract.at(left, pair_of[batch], 1)
            done = np.unique(pair_of[batch])
            done = done[left[done] == 0]
            if len(done):
                yield done, np.stack([self._merge(pooled[starts[pair] : ends[pair]]) for pair in done])

    def _pool(self, hidden: Tensor, first: Tensor, runs: Tensor) -> Tensor:
        """Return the mean of the first text's tokens, and sum and number of the second's that count, (b, 2·D + 1).

        They come from token states (b, T, D), marks of the first text's tokens (b, T), and sums and numbers of runs
        (b, S, D + 1).
        """
        import torch

        from hf_emms.features.reductions import marked_mean

        return torch.cat([marked_mean(hidden, first), runs[:, 0]], dim=1)

    def _merge(self, pooled: np.ndarray) -> np.ndarray:
        """Return the row (2·D,) of a pair from its w windows, float32 (w, 2·D + 1)."""
        first, second = np.split(pooled[:, :-1], 2, axis=1)
        # An empty second text has no tokens to average.
        return np.concatenate([first.mean(0), second.sum(0) / max(1.0, pooled[:, -1].sum())])


class SpanFeatures(PairFeatures):
    """The `FeatureReader` of spans: the mean of a span's token states, each pair read once, with both texts."""

    summary = "mean of the span's tokens, read with question and context"
    input_type = Spans

    def examples(self, count: int, words: int) -> Sequence[Any]:
        return Spans(super().examples(count, words), np.array([(pair, 0, 1) for pair in range(count)]))

    def _chunk(self, spans: Any, max_tokens: int, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        used, pair_of = np.unique(spans.bounds[:, 0], return_inverse=True)
        pairs = Pairs(spans.inputs.firsts, spans.inputs.seconds, spans.inputs.parts[used])
        text_of, characters = pairs.parts[pair_of, 1].tolist(), spans.bounds[:, 1:].tolist()
        seconds, offsets = self._reader.tokenize(pairs.seconds, pairs.parts[:, 1], offsets=True)
        runs = [_run_of(span, offsets[text]) for text, span in zip(text_of, characters, strict=True)]
        members = _spans_by_pair(pair_of, len(pairs))
        windows = [
            [_with_spans(window, [runs[i] for i in row]) for window in of_pair]  # the last run for −1, dropped below
            for of_pair, row in zip(self._windows(pairs, seconds), members.tolist(), strict=True)
        ]
        for done, rows in self._merged(windows, max_tokens, batch_size):
            filled = members[done] >= 0
            yield members[done][filled], rows[filled]

    def _pool(self, hidden: Tensor, first: Tensor, runs: Tensor) -> Tensor:
        return runs

    def _merge(self, pooled: np.ndarray) -> np.ndarray:
        """Return the rows (S, D) of a pair's spans from its w windows, float32 (w, S, D + 1)."""
        total = pooled.sum(0)
        return total[:, :-1] / np.maximum(1, total[:, -1:])


def _spans_by_pair(pair_of: np.ndarray, pairs: int) -> np.ndarray:
    """Return the spans of each pair, int64 (pairs, S), filled up with −1; `pair_of` is the pair of each span."""
    order = np.argsort(pair_of, kind="stable")
    counts = np.bincount(pair_of, minlength=pairs)
    columns = np.arange(counts.max())
    members = np.full((pairs, len(columns)), -1, dtype=np.int64)
    members[columns < counts[:, None]] = order
    return members


def _run_of(span: TokenRun, offsets: Sequence[TokenRun]) -> TokenRun:
    """Return the run of tokens that covers a span of characters; the nearest token where none does."""
    if not offsets:
        return 0, 1
    start, stop = span
    starts, stops = np.array(offsets, dtype=np.int64).T
    inside = np.flatnonzero((stops > start) & (starts < stop) & (stops > starts))
    if len(inside):
        return int(inside[0]), int(inside[-1]) + 1
    nearest = int(np.argmin(np.abs(starts + stops - start - stop)))
    return nearest, nearest + 1


def _with_spans(window: Window, runs: Sequence[TokenRun]) -> Window:
    """Return the window with the part of each run of the second text's tokens that counts in it."""
    start, stop = window.counted
    stop = stop if window.second else 1
    clipped = ((max(first - window.start, start), min(last - window.start, stop)) for first, last in runs)
    return replace(window, spans=tuple(clipped))


# --- the kind ---------------------------------------------------------------------------------------------


class _TextPair(TokenizedKind):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> PairFeatures:
        from hf_emms.features.layers import JoinedLayers
        from hf_emms.features.pooling import find_states

        if spans and not processors.is_fast:
            raise EmmsError(
                f"the tokenizer of {loaded.plan.repo.id} does not say which characters a token covers",
                "leave it out, or " + setting_ref("label_form", "text"),
            )
        features = SpanFeatures if spans else PairFeatures
        reader = text_pair_reader(loaded.model, text_reader(loaded.plan, loaded.model, processors))
        joined = JoinedLayers(layers, loaded.plan.repo.id, features.summary)
        return features(loaded.model, reader, find_states(loaded.pooling), joined)

    def trained_features(self, loaded: LoadedModel) -> Callable[[Any, Inputs], Tensor]:
        from hf_emms.features.pooling import find_states

        return find_states(loaded.pooling)


TEXT_PAIR = _TextPair(
    name="text+text",
    singular="pair of texts",
    plural="pairs of texts",
    parts=(TEXT, TEXT),
    fallback_pooling="question_context_fallback",
    fallback_summary="means of the last layer's tokens",
    sentence_settings=("subfolder", "max_length", "lower_case"),
    cpu_seconds=8e-9,
    text_bytes=TEXT.text_bytes,
)
