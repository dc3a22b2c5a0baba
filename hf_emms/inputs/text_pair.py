"""Pairs of texts, such as questions with contexts, and spans of texts.

Pairs that exceed the maximum length are truncated, as in fine-tuning. Texts with spans are split into overlapping
windows instead. Each token counts once, in the window whose edge is farther away. The model never reads the label: a
span only selects which token states are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from inspect import signature
from itertools import chain, pairwise
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_emms.errors import Note
from hf_emms.features.extractor import FeatureReader
from hf_emms.inputs.modality import Pairs, Spans
from hf_emms.inputs.text import TEXT, TOKEN_TYPES, TextReader, TokenizedModality, text_reader

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import JoinedLayers, LayerReader
    from hf_emms.features.load import LoadedModel
    from hf_emms.features.pooling import States

# Pairs, and inputs with spans, that are tokenized and sorted at a time, to limit memory.
_PAIRS_AT_A_TIME, _INPUTS_AT_A_TIME = 8_192, 2_048
_OVERLAP = 4  # neighboring windows share at least 1/4 of their part of the second text

Run = tuple[int, int]
"""Consecutive tokens or characters: the first one and the end, exclusive."""


# --- windows ----------------------------------------------------------------------------------------------


class Window(NamedTuple):
    """The tokens of a pair that fit into the model.

    Attributes:
        first: Token ids of the first text.
        second: Token ids of the second text, or of a part of it.
        start: The number of token ids of the second text before the window.
        counted: The run of the second text that counts in this window and in no other.
    """

    first: Sequence[int]
    second: Sequence[int]
    start: int = 0
    counted: Run = (0, 0)


class SpanWindow(NamedTuple):
    """A window with the spans whose features are read from it.

    Attributes:
        window: The window.
        spans: The number of each span.
        runs: The run of each span among all tokens of the window.
        shares: The share of the span's tokens that these are.
    """

    window: Window
    spans: list[int]
    runs: list[Run]
    shares: list[float]


def split_into_windows(first: Sequence[int], second: Sequence[int], capacity: int) -> list[Window]:
    """Split a pair into windows that cover the second text evenly; `capacity` excludes special tokens."""
    size = capacity - len(first)
    count = 1 + max(0, ceil((len(second) - size) / (size - size // _OVERLAP)))
    starts = [round(i * (len(second) - size) / (count - 1)) for i in range(count)] if count > 1 else [0]
    # Two windows meet in the middle of their overlap.
    edges = [0, *((start + size + following) // 2 for start, following in pairwise(starts)), max(1, len(second))]
    return [
        Window(first, second[start : start + size], start, (edges[i], edges[i + 1])) for i, start in enumerate(starts)
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
        first_tokens: Whether spans are read as their first token.
    """

    text: TextReader
    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, ...] | None = None
    adds_break: bool = False
    first_tokens: bool = False

    @property
    def notes(self) -> tuple[Note, ...]:
        text = "the tokenizer puts nothing between two texts, so the second text starts with a line break"
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
    ) -> tuple[dict[int, list[int]], dict[int, list[Run]]]:
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

    def windows(self, first: Sequence[int], second: Sequence[int]) -> list[Window]:
        """Split a pair into windows. Truncate a first text that exceeds half of the maximum length."""
        return split_into_windows(first[: self.capacity // 2], second, self.capacity)

    def place(
        self, first: Sequence[int], second: Sequence[int], offsets: Sequence[Run], spans: Sequence[Run]
    ) -> list[SpanWindow]:
        """Return the windows from which the features of spans are read.

        `offsets` are the characters of its tokens.
        """
        edges = np.array(offsets, dtype=np.int64).reshape(-1, 2)
        placed = [SpanWindow(window, [], [], []) for window in self.windows(first, second)]
        for number, span in enumerate(spans):
            start, stop = tokens_of(span, edges)
            stop = start + 1 if self.first_tokens else stop
            for window, numbers, runs, shares in placed:
                left, right = max(start, window.counted[0]), min(stop, window.counted[1])
                if left < right:
                    before = self.tokens_before_second(window) - window.start
                    last = max(0, sum(map(len, self._pieces(window))) - 1)  # if the second text has no tokens
                    numbers.append(number)
                    runs.append((min(before + left, last), min(before + right, last + 1)))
                    shares.append((right - left) / (stop - start))
        return [each for each in placed if each.spans]

    def pad(self, windows: Sequence[Window]) -> Inputs:
        """Return the model's inputs for b windows, int64 (b, T) each."""
        inputs = self.text.pad([self.ids(window) for window in windows])
        return inputs if self.types is None else {**inputs, TOKEN_TYPES: self._pad_marks(windows, self.types)}

    def segments(self, windows: Sequence[Window]) -> Tensor:
        """Return the text of each token, 1 or 2, and 0 for special tokens, int64 (b, T)."""
        return self._pad_marks(windows, (0, 1, 0, 2, 0))

    def _pad_marks(self, windows: Sequence[Window], marks: tuple[int, ...]) -> Tensor:
        """Return which piece of the pair each token belongs to, int64 (b, T)."""
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


def tokens_of(span: Run, edges: np.ndarray) -> Run:
    """Return the tokens that cover a span of characters. If none does, return the nearest token.

    `edges` are the first characters and the ends of T tokens, int64 (T, 2).
    """
    if not len(edges):
        return 0, 1
    start, stop = span
    starts, stops = edges.T
    inside = np.flatnonzero((stops > start) & (starts < stop) & (stops > starts))
    if len(inside):
        return int(inside[0]), int(inside[-1]) + 1
    nearest = int(np.argmin(np.abs(starts + stops - start - stop)))
    return nearest, nearest + 1


# --- features ---------------------------------------------------------------------------------------------


class JointReader(FeatureReader):
    """A reader of both texts together; `function` turns the tensors of a batch into features, (b, D)."""

    def __init__(
        self, function: Callable[[Inputs], Tensor], model: Any, reader: TextPairReader, layers: JoinedLayers
    ) -> None:
        super().__init__(function, model, layers)
        self._reader = reader

    def tensors(self, windows: Sequence[Window]) -> Inputs:
        return self._reader.pad(windows)

    def example(self) -> Sequence[Any]:
        return Pairs(["a"], ["a"], np.zeros((1, 2), np.int64))

    def batches(self, pairs: Any, batch_size: int | None) -> Iterator[Batch]:
        reader = self._reader
        for start in range(0, len(pairs), _PAIRS_AT_A_TIME):
            windows, truncated = reader.truncate(pairs[start : start + _PAIRS_AT_A_TIME])
            ids = [reader.ids(window) for window in windows]
            self.counts.add_tokens(ids, reader.text.unknown_id)
            self.counts.add_truncated_pairs(truncated, reader.text.max_length)
            lengths, max_tokens = list(map(len, ids)), self._forward.max_elements
            for positions in reader.text.batch_positions(lengths, max_tokens, batch_size):
                yield positions + start, self._forward(self.tensors([windows[i] for i in positions]))


class JointFeatures(JointReader):
    """The reader whose feature is `join` of the means of each text's tokens, (b, D) each."""

    def __init__(
        self,
        model: Any,
        reader: TextPairReader,
        states: States,
        layers: JoinedLayers,
        join: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        from hf_emms.features.reductions import marked_mean

        def means(inputs: Inputs) -> Tensor:
            segments = inputs["segments"]
            hidden = states(model, {name: tensor for name, tensor in inputs.items() if name != "segments"}).float()
            return join(*(marked_mean(hidden, (segments == number).float()) for number in (1, 2)))

        super().__init__(means, model, reader, layers)

    def tensors(self, windows: Sequence[Window]) -> Inputs:
        return {**super().tensors(windows), "segments": self._reader.segments(windows)}


class SpanFeatures(FeatureReader):
    """The `FeatureReader` of spans of texts, or of the second texts of pairs. It reads each input once.

    `function` turns the tensors of b windows with the "runs" of their spans, int64 (b, S, 2) padded with −1, into rows
    (b · S, D).
    """

    def __init__(
        self,
        function: Callable[[Inputs], Tensor],
        model: Any,
        reader: TextPairReader,
        layers: LayerReader | JoinedLayers,
    ) -> None:
        super().__init__(function, model, layers)
        self._reader = reader

    def batches(self, spans: Any, batch_size: int | None) -> Iterator[Batch]:
        order = np.argsort(spans.bounds[:, 0], kind="stable")
        inputs, starts = np.unique(spans.bounds[order, 0], return_index=True)
        of_input = np.split(order, starts[1:])
        for start in range(0, len(inputs), _INPUTS_AT_A_TIME):
            some = slice(start, start + _INPUTS_AT_A_TIME)
            yield from self._read(spans, inputs[some], of_input[some], batch_size)

    def example(self) -> Sequence[Any]:
        return Spans(Pairs(["a"], ["a"], np.zeros((1, 2), np.int64)), np.array([(0, 0, 1)]))

    def _read(
        self, spans: Spans, inputs: np.ndarray, spans_of: Sequence[np.ndarray], batch_size: int | None
    ) -> Iterator[Batch]:
        """Yield positions and features of the spans of some inputs."""
        import torch

        reader = self._reader
        parts: dict[int, Any] = {}  # of the spans that several windows share
        placed = [*chain.from_iterable(self._windows(spans, inputs, spans_of))]
        lengths = [len(reader.ids(each.window)) for each, _ in placed]
        for batch in reader.text.batch_positions(lengths, self._forward.max_elements, batch_size):
            windows, numbers = zip(*(placed[i] for i in batch), strict=True)
            runs = _pad_runs([each.runs for each in windows])
            rows = self._forward({**reader.pad([each.window for each in windows]), "runs": runs})
            rows = rows[(runs[..., 0] >= 0).flatten().to(rows.device)]
            positions, shares = np.concatenate(numbers), np.concatenate([each.shares for each in windows])
            whole = np.flatnonzero(shares == 1)
            if len(whole):
                yield positions[whole], rows[torch.from_numpy(whole).to(rows.device)]
            for i in np.flatnonzero(shares < 1).tolist():
                parts[positions[i]] = parts.get(positions[i], 0) + shares[i] * rows[i]
        if parts:
            yield np.array([*parts]), torch.stack([*parts.values()])

    def _windows(
        self, spans: Spans, inputs: np.ndarray, spans_of: Sequence[np.ndarray]
    ) -> Iterator[list[tuple[SpanWindow, np.ndarray]]]:
        """Yield the windows of each input with the positions of their spans in `spans`."""
        reader, pairs = self._reader, spans.inputs
        if not isinstance(pairs, Pairs):
            pairs = Pairs([""], pairs, np.column_stack([np.zeros(len(pairs), np.int64), np.arange(len(pairs))]))
        parts = pairs.parts[inputs]
        firsts, _ = reader.tokenize(pairs.firsts, parts[:, 0])
        seconds, offsets = reader.tokenize(pairs.seconds, parts[:, 1], offsets=True)
        self.counts.add_tokens([*firsts.values(), *seconds.values()], reader.text.unknown_id)
        self.counts.add_truncated(sum(len(ids) > reader.capacity // 2 for ids in firsts.values()), reader.capacity // 2)
        windowed = 0
        for (first, second), positions in zip(parts.tolist(), spans_of, strict=True):
            placed = reader.place(firsts[first], seconds[second], offsets[second], spans.bounds[positions, 1:].tolist())
            windowed += any(len(each.window.second) < len(seconds[second]) for each in placed)
            yield [(each, positions[each.spans]) for each in placed]
        self.counts.add_windowed(windowed, reader.text.max_length)


def _pad_runs(runs: Sequence[Sequence[Run]]) -> Tensor:
    """Return the token ranges of each window's spans, int64 (b, S, 2), padded with −1."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence([torch.tensor(row) for row in runs], batch_first=True, padding_value=-1)


def _means_of_runs(model: Any, states: States) -> Callable[[Inputs], Tensor]:
    """Return a function that computes the mean token state of each span."""

    def function(inputs: Inputs) -> Tensor:
        from hf_emms.features.reductions import run_means

        hidden = states(model, {name: tensor for name, tensor in inputs.items() if name != "runs"}).float()
        return run_means(hidden, inputs["runs"]).flatten(0, 1)

    return function


# --- the modality -----------------------------------------------------------------------------------------


class TokenStates(TokenizedModality):
    """Base class of modalities whose heads read the states of tokens."""

    def trained_features(self, loaded: LoadedModel) -> Callable[[Any, Inputs], Tensor]:
        from hf_emms.features.pooling import token_states

        return token_states(loaded.pooling)


class _TextPair(TokenStates):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> FeatureReader:
        import torch

        from hf_emms.features.layers import JoinedLayers
        from hf_emms.features.pooling import token_states

        name, states = loaded.spec.repo.id, token_states(loaded.pooling)
        reader = text_pair_reader(loaded.model, text_reader(loaded.spec, loaded.model, processors))
        if spans:
            joined = JoinedLayers(layers, name, "mean of the span's tokens, read with question and context")
            return SpanFeatures(_means_of_runs(loaded.model, states), loaded.model, reader, joined)
        summary = "mean of the question's tokens and mean of the context's, read together"
        joined = JoinedLayers(layers, name, summary)
        return JointFeatures(loaded.model, reader, states, joined, lambda u, v: torch.cat([u, v], dim=1))


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
