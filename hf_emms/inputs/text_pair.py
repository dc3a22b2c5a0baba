"""Pairs of texts, such as questions with contexts, and spans of the second text.

A second text that exceeds the maximum length is split into overlapping windows. Every token of it counts once, in the
window whose edge is farther away. The model never reads the label: a span only selects which token states are
averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import chain, pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_emms.errors import EmmsError, Note, setting_ref
from hf_emms.features.extractor import FeatureReader
from hf_emms.inputs.modality import Pairs, Spans
from hf_emms.inputs.text import TEXT, TextReader, TokenizedModality, text_reader

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import JoinedLayers
    from hf_emms.features.load import LoadedModel
    from hf_emms.features.pooling import States

TOKEN_TYPES = "token_type_ids"
_CHUNK = 2_048  # inputs that are split into windows and sorted at a time, to limit memory
_OVERLAP = 4  # neighbouring windows share at least 1/4 of their part of the second text

TokenRun = tuple[int, int]
"""Consecutive tokens: the first one and the end, exclusive."""


# --- windows ----------------------------------------------------------------------------------------------


class Window(NamedTuple):
    """The tokens of a pair that fit into the model.

    Attributes:
        first: Token ids of the first text.
        second: Token ids of the second text, or of a part of it.
        start: The number of token ids of the second text before the window.
        counted: The run of `second` that counts in this window and in no other.
        spans: Runs within it that are averaged separately; if empty, all of it is averaged.
    """

    first: Sequence[int]
    second: Sequence[int]
    start: int = 0
    counted: TokenRun = (0, 0)
    spans: tuple[TokenRun, ...] = ()


def split_into_windows(first: Sequence[int], second: Sequence[int], capacity: int) -> list[Window]:
    """Split a pair into windows that cover the second text evenly; `capacity` excludes special tokens."""
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
    """Turns pairs of texts into the tensors that a checkpoint reads.

    Attributes:
        text: The reader of each text.
        before, between, after: The special tokens around both texts.
        types: The token types of `before`, the first text, `between`, the second text and `after`; None if the model
            has no token types.
        adds_break: Whether `between` is a line break, because the tokenizer puts nothing between the texts.
    """

    text: TextReader
    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, ...] | None
    adds_break: bool = False

    @property
    def notes(self) -> tuple[Note, ...]:
        text = "The tokenizer puts nothing between two texts, so the second text starts with a line break."
        return (Note("line-break-between-texts", text),) if self.adds_break else ()

    @property
    def capacity(self) -> int:
        """The maximum number of tokens of both texts."""
        return self.text.max_length - sum(map(len, (self.before, self.between, self.after)))

    def ids(self, window: Window) -> list[int]:
        """Return the token ids of a window with special tokens."""
        return list(chain.from_iterable(self._pieces(window))) or [self.text.empty_id]

    def tokens_before_second(self, window: Window) -> int:
        return sum(map(len, self._pieces(window)[:3]))

    def _pieces(self, window: Window) -> tuple[Sequence[int], ...]:
        return self.before, window.first, self.between, window.second, self.after

    def tokenize(
        self, texts: Sequence[str], numbers: np.ndarray, *, offsets: bool = False
    ) -> tuple[dict[int, list[int]], dict[int, list[TokenRun]]]:
        """Return the token ids of the texts with these numbers, and with `offsets` the characters of each token."""
        used = np.unique(numbers).tolist()
        encoded = self.text.encode_whole([texts[i] for i in used], offsets=offsets)
        ids = dict(zip(used, encoded["input_ids"], strict=True))
        return ids, dict(zip(used, encoded["offset_mapping"], strict=True)) if offsets else {}

    def truncate(self, pairs: Pairs) -> tuple[list[Window], int]:
        """Return a window for each pair, and the number of pairs that are truncated."""
        firsts, _ = self.tokenize(pairs.firsts, pairs.parts[:, 0])
        seconds, _ = self.tokenize(pairs.seconds, pairs.parts[:, 1])
        windows, truncated = [], 0
        for first, second in pairs.parts.tolist():
            texts = firsts[first], seconds[second]
            windows.append(Window(*truncate_longest(*texts, self.capacity)))
            truncated += windows[-1][:2] != texts
        return windows, truncated

    def pad(self, windows: Sequence[Window]) -> Inputs:
        """Return the model's inputs for b windows, int64 (b, T) each."""
        inputs = self.text.pad([self.ids(window) for window in windows])
        return inputs if self.types is None else {**inputs, TOKEN_TYPES: self._pad_marks(windows, self.types)}

    def segments(self, windows: Sequence[Window]) -> Tensor:
        """Return the text of each token, 1 or 2, and 0 for special tokens, int64 (b, T)."""
        return self._pad_marks(windows, (0, 1, 0, 2, 0))

    def counted_runs(self, windows: Sequence[Window]) -> Tensor:
        """Return the runs of the second text that count, int64 (b, S, 2). Each window must have equally many."""
        import torch

        return torch.tensor(
            [
                [
                    _shift(run, self.tokens_before_second(window), len(self.ids(window)))
                    for run in window.spans or (window.counted,)
                ]
                for window in windows
            ]
        )

    def _pad_marks(self, windows: Sequence[Window], marks: tuple[int, ...]) -> Tensor:
        """Return the mark of each token's piece, int64 (b, T)."""
        lengths = (list(map(len, self._pieces(window))) for window in windows)
        return self.text.pad_numbers([np.repeat(marks, row).tolist() or [0] for row in lengths])


def text_pair_reader(model: Any, text: TextReader, *, line_break: bool = True) -> TextPairReader:
    """Return the reader with the special tokens that the tokenizer puts around a pair.

    If the tokenizer puts nothing between the texts, `line_break` puts a line break there.
    """
    encoded = text.tokenizer("a", "b", return_special_tokens_mask=True, return_token_type_ids=True)
    ids, types = encoded["input_ids"], encoded["token_type_ids"]
    content = [i for i, special in enumerate(encoded["special_tokens_mask"]) if not special]
    length = len(text.tokenizer("a", add_special_tokens=False)["input_ids"])
    first, second = content[:length], content[length:]
    before, between, after = ids[: first[0]], ids[first[-1] + 1 : second[0]], ids[second[-1] + 1 :]
    adds_break = line_break and not between
    if adds_break:
        # Without a separator, a decoder would read both texts as one sentence.
        between = text.tokenizer("\n", add_special_tokens=False)["input_ids"]
    has_types = TOKEN_TYPES in signature(model.forward).parameters
    has_types = has_types and (getattr(model.config, "type_vocab_size", None) or 0) > 1
    positions = (0, first[0], first[-1] + 1, second[0], -1)
    token_types = tuple(types[i] for i in positions) if has_types else None
    return TextPairReader(text, tuple(before), tuple(between), tuple(after), token_types, adds_break and bool(between))


def truncate_longest(first: list[int], second: list[int], capacity: int) -> tuple[list[int], list[int]]:
    """Truncate the longer text to make both fit; if that is not enough, truncate both to half of the capacity."""
    shorter = min(len(first), len(second), capacity // 2)
    longer = capacity - shorter
    return (first[:shorter], second[:longer]) if len(first) <= len(second) else (first[:longer], second[:shorter])


def _shift(run: TokenRun, before: int, length: int) -> TokenRun:
    """Convert a run of the second text, which starts at token `before`, to a run of a window of `length` tokens.

    If the window ends before the run, the run is its last token. A run that ends before it starts is empty.
    """
    start, stop = run
    return (min(before + start, length - 1), min(before + stop, length)) if start < stop else (0, 0)


# --- features ---------------------------------------------------------------------------------------------


class PairFeatures(FeatureReader):
    """The `FeatureReader` of pairs: [mean of the first text's tokens; mean of the second's], read together.

    The windows of a pair are merged exactly, as if one mean ran over all tokens.
    """

    summary = "mean of the question's tokens and mean of the context's, read together"

    def __init__(self, model: Any, reader: TextPairReader, states: States, layers: JoinedLayers) -> None:
        from hf_emms.features.reductions import sum_runs

        def pool_windows(inputs: Inputs) -> Tensor:
            model_inputs = {name: tensor for name, tensor in inputs.items() if name not in ("segments", "counted")}
            hidden = states(model, model_inputs).float()
            return self._pool(hidden, inputs["segments"], sum_runs(hidden, inputs["counted"]))

        super().__init__(pool_windows, model, layers)
        self._reader = reader

    def batches(self, inputs: Any, batch_size: int | None) -> Iterator[Batch]:
        import torch

        max_tokens = self._forward.max_elements
        for start in range(0, len(inputs), _CHUNK):
            for positions, rows in self._chunk(inputs[start : start + _CHUNK], max_tokens, batch_size):
                yield start + positions, torch.from_numpy(rows)

    def example(self) -> Sequence[Any]:
        return Pairs(["a"], ["a"], np.zeros((1, 2), np.int64))

    def _chunk(self, pairs: Any, max_tokens: int, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions and features of some inputs, those with the longest windows first."""
        seconds, _ = self._reader.tokenize(pairs.seconds, pairs.parts[:, 1])
        return self._merged(self._windows(pairs, seconds), max_tokens, batch_size)

    def _windows(self, pairs: Pairs, seconds: dict[int, list[int]]) -> list[list[Window]]:
        """Return the windows of each pair. Truncate a first text that does not fit into half of the model."""
        half = self._reader.capacity // 2
        firsts, _ = self._reader.tokenize(pairs.firsts, pairs.parts[:, 0])
        for texts in (firsts, seconds):
            self.counts.add_tokens(texts.values(), self._reader.text.unknown_id)
        self.counts.add_cut(sum(len(first) > half for first in firsts.values()), self._reader.text.max_length // 2)
        windows = [
            split_into_windows(firsts[first][:half], seconds[second], self._reader.capacity)
            for first, second in pairs.parts
        ]
        windowed = sum(len(of_pair) > 1 for of_pair in windows)
        self.counts.add_windowed(windowed, self._reader.text.max_length)
        return windows

    def _merged(
        self, windows: Sequence[Sequence[Window]], max_tokens: int, batch_size: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield numbers and rows of pairs as soon as all of their windows are read."""
        from hf_emms.features.device import to_numpy

        reader = self._reader
        flat = list(chain.from_iterable(windows))
        left = np.array([len(of_pair) for of_pair in windows])
        ends = np.cumsum(left)
        starts = ends - left
        pair_of = np.repeat(np.arange(len(windows)), left)
        lengths = [len(reader.ids(window)) for window in flat]

        def read(batch: np.ndarray) -> Tensor:
            some = [flat[i] for i in batch]
            marks = {"segments": reader.segments(some), "counted": reader.counted_runs(some)}
            return self._forward({**reader.pad(some), **marks})

        results = ((batch, read(batch)) for batch in reader.text.plan_batches(lengths, max_tokens, batch_size))
        pooled: np.ndarray | None = None
        for batch, rows in to_numpy(results):
            pooled = np.empty((len(flat), *rows.shape[1:]), np.float32) if pooled is None else pooled
            pooled[batch] = rows
            np.subtract.at(left, pair_of[batch], 1)
            done = np.unique(pair_of[batch])
            done = done[left[done] == 0]
            if len(done):
                yield done, np.stack([self._merge(pooled[starts[pair] : ends[pair]]) for pair in done])

    def _pool(self, hidden: Tensor, segments: Tensor, runs: Tensor) -> Tensor:
        """Return the mean of the first text's tokens, and sum and number of the second's that count, (b, 2·D + 1).

        Args:
            hidden: Token states (b, T, D).
            segments: The text of each token, see `TextPairReader.segments`.
            runs: Sum and number of the tokens of each run (b, S, D + 1).
        """
        import torch

        from hf_emms.features.reductions import marked_mean

        return torch.cat([marked_mean(hidden, (segments == 1).float()), runs[:, 0]], dim=1)

    def _merge(self, pooled: np.ndarray) -> np.ndarray:
        """Return the row (2·D,) of a pair from its w windows, float32 (w, 2·D + 1)."""
        first, second = np.split(pooled[:, :-1], 2, axis=1)
        # An empty second text has no tokens to average.
        return np.concatenate([first.mean(0), second.sum(0) / max(1.0, pooled[:, -1].sum())])


class SpanFeatures(PairFeatures):
    """The `FeatureReader` of spans: the mean of a span's token states. Each pair is read once, with both texts."""

    summary = "mean of the span's tokens, read with question and context"

    def example(self) -> Sequence[Any]:
        return Spans(super().example(), np.array([(0, 0, 1)]))

    def _chunk(self, spans: Any, max_tokens: int, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        used, pair_of = np.unique(spans.bounds[:, 0], return_inverse=True)
        pairs = Pairs(spans.inputs.firsts, spans.inputs.seconds, spans.inputs.parts[used])
        text_of, characters = pairs.parts[pair_of, 1].tolist(), spans.bounds[:, 1:].tolist()
        seconds, offsets = self._reader.tokenize(pairs.seconds, pairs.parts[:, 1], offsets=True)
        runs = [_tokens_of(span, offsets[text]) for text, span in zip(text_of, characters, strict=True)]
        members = _spans_by_pair(pair_of, len(pairs))
        windows = [
            [_with_spans(window, [runs[i] for i in row]) for window in of_pair]  # −1 takes the last run, dropped below
            for of_pair, row in zip(self._windows(pairs, seconds), members.tolist(), strict=True)
        ]
        for done, rows in self._merged(windows, max_tokens, batch_size):
            filled = members[done] >= 0
            yield members[done][filled], rows[filled]

    def _pool(self, hidden: Tensor, segments: Tensor, runs: Tensor) -> Tensor:
        return runs

    def _merge(self, pooled: np.ndarray) -> np.ndarray:
        """Return the rows (S, D) of a pair's spans from its w windows, float32 (w, S, D + 1)."""
        total = pooled.sum(0)
        return total[:, :-1] / np.maximum(1, total[:, -1:])


def _spans_by_pair(pair_of: np.ndarray, pairs: int) -> np.ndarray:
    """Return the spans of each pair, int64 (pairs, S), padded with −1; `pair_of` is the pair of each span."""
    order = np.argsort(pair_of, kind="stable")
    counts = np.bincount(pair_of, minlength=pairs)
    columns = np.arange(counts.max())
    members = np.full((pairs, len(columns)), -1, dtype=np.int64)
    members[columns < counts[:, None]] = order
    return members


def _tokens_of(span: TokenRun, offsets: Sequence[TokenRun]) -> TokenRun:
    """Return the run of tokens that covers a span of characters, or the nearest token if none does."""
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
    """Set the spans of a window to the parts of runs of the second text that count in it."""
    start, stop = window.counted
    stop = stop if window.second else 1
    clipped = ((max(first - window.start, start), min(last - window.start, stop)) for first, last in runs)
    return window._replace(spans=tuple(clipped))


# --- the modality -----------------------------------------------------------------------------------------


class _TextPair(TokenizedModality):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> PairFeatures:
        from hf_emms.features.layers import JoinedLayers
        from hf_emms.features.pooling import token_states

        if spans and not processors.is_fast:
            raise EmmsError(
                f"the tokenizer of {loaded.plan.repo.id} does not report the characters of each token",
                "remove the checkpoint from the list, or " + setting_ref("label_form", "text"),
            )
        features = SpanFeatures if spans else PairFeatures
        reader = text_pair_reader(loaded.model, text_reader(loaded.plan, loaded.model, processors))
        joined = JoinedLayers(layers, loaded.plan.repo.id, features.summary)
        return features(loaded.model, reader, token_states(loaded.pooling), joined)

    def trained_features(self, loaded: LoadedModel) -> Callable[[Any, Inputs], Tensor]:
        from hf_emms.features.pooling import token_states

        return token_states(loaded.pooling)


TEXT_PAIR = _TextPair(
    name="text+text",
    singular="pair of texts",
    plural="pairs of texts",
    parts=(TEXT, TEXT),
    fallback_pooling=TEXT.fallback_pooling,
    fallback_summary="means of the last layer's tokens",
    sentence_settings=("subfolder", "max_length", "lower_case"),
    cpu_seconds=8e-10,
    text_bytes=TEXT.text_bytes,
)
