"""Words of texts, one row per word. A checkpoint reads each text once and returns the states of its words.

The state of a word is the state of its first token, as in token classification with transformers. Texts that exceed the
maximum length are split into overlapping windows. Each word counts in the window whose edge is farther away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.extractor import FeatureReader
from hf_emms.inputs.modality import Spans
from hf_emms.inputs.text import TEXT, TextReader, TokenizedModality, special_tokens, text_reader
from hf_emms.inputs.text_pair import split_into_windows

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel

_CHUNK = 16_384  # words whose texts are tokenized and sorted at a time, to limit memory

Span = tuple[int, int]
"""The first character of a word and its end, exclusive."""


@dataclass(frozen=True)
class WordWindow:
    """A part of a text that fits into the model.

    Attributes:
        text: The number of the text.
        ids: Token ids, with special tokens.
        words: The numbers of the text's words whose first token counts in this window.
        positions: The positions of these first tokens in `ids`.
    """

    text: int
    ids: list[int]
    words: list[int]
    positions: list[int]


@dataclass(frozen=True)
class WordReader:
    """Splits texts into windows that fit the model, with special tokens `before` and `after` each."""

    text: TextReader
    before: tuple[int, ...]
    after: tuple[int, ...]

    def windows(self, texts: Sequence[str], words: Sequence[Sequence[Span]]) -> list[WordWindow]:
        """Return the windows of all texts in order; `words` are the words of each text."""
        encoded = self.text.encode_whole(texts, offsets=True)
        return [
            window
            for number, (ids, offsets) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
            for window in self._split(number, ids, _first_tokens(words[number], offsets))
        ]

    def pad(self, windows: Sequence[WordWindow]) -> Inputs:
        return self.text.pad([window.ids for window in windows])

    def _split(self, number: int, ids: Sequence[int], tokens: np.ndarray) -> Iterator[WordWindow]:
        for window in split_into_windows((), ids, self.text.max_length - len(self.before) - len(self.after)):
            first, last = (window.start + edge for edge in window.counted)
            # Words of a text without tokens are at its first position.
            words = np.flatnonzero((tokens >= first) & (tokens < max(last, 1)))
            if len(words):
                all_ids = [*self.before, *window.second, *self.after] or [self.text.empty_id]
                positions = np.minimum(tokens[words] - window.start + len(self.before), len(all_ids) - 1)
                yield WordWindow(number, all_ids, words.tolist(), positions.tolist())


def word_reader(text: TextReader, checkpoint: str) -> WordReader:
    """Return the reader with the special tokens that the tokenizer puts around a text.

    Raises:
        EmmsError: The tokenizer does not report the characters of each token.
    """
    if not text.tokenizer.is_fast:
        raise EmmsError(
            f"the tokenizer of {checkpoint} does not report the characters of each token, which locate the words",
            "remove the checkpoint from the list",
        )
    return WordReader(text, *special_tokens(text.tokenizer))


def _first_tokens(words: Sequence[Span], offsets: Sequence[Span]) -> np.ndarray:
    """Return the first token of each word, int64, or the nearest token if no token covers the word."""
    if not offsets:
        return np.zeros(len(words), np.int64)
    stops = np.maximum.accumulate(np.array(offsets, np.int64)[:, 1])
    starts = np.array(words, np.int64).reshape(-1, 2)[:, 0]
    return np.minimum(np.searchsorted(stops, starts, side="right"), len(offsets) - 1)


class WordFeatures(FeatureReader):
    """The `FeatureReader` of the words of texts."""

    def __init__(self, model: Any, reader: WordReader, layers: LayerReader) -> None:
        super().__init__(lambda inputs: layers(model, inputs), model, layers)
        self._reader = reader

    def batches(self, spans: Any, batch_size: int | None) -> Iterator[Batch]:
        text_of_word = spans.bounds[:, 0]
        order = np.argsort(text_of_word, kind="stable")
        # A chunk ends at the end of a text, so that all words of a text come from the same forward pass.
        ends = np.flatnonzero(np.diff(text_of_word[order], append=-1)) + 1
        start = 0
        while start < len(order):
            stop = int(ends[min(int(np.searchsorted(ends, start + _CHUNK)), len(ends) - 1)])
            yield from self._read(spans, order[start:stop], batch_size)
            start = stop

    def example(self) -> Sequence[Any]:
        return Spans(["a"], np.array([(0, 0, 1)]))

    def _read(self, inputs: Spans, chosen: np.ndarray, batch_size: int | None) -> Iterator[Batch]:
        """Yield positions and states of the chosen words, which are in the order of their texts."""
        used, first, text_of_word = np.unique(inputs.bounds[chosen, 0], return_index=True, return_inverse=True)
        words: list[list[Span]] = [[] for _ in used]
        for text, (start, stop) in zip(text_of_word.tolist(), inputs.bounds[chosen, 1:].tolist(), strict=True):
            words[text].append((start, stop))
        windows = self._reader.windows([inputs.inputs[i] for i in used.tolist()], words)
        self.counts.add_tokens((window.ids for window in windows), self._reader.text.unknown_id)
        n_windowed = sum(count > 1 for count in Counter(window.text for window in windows).values())
        self.counts.add_windowed(n_windowed, self._reader.text.max_length)
        lengths = [len(window.ids) for window in windows]
        for batch in self._reader.text.plan_batches(lengths, self._forward.max_elements, batch_size):
            taken = [windows[i] for i in batch]
            places = _pad_positions(taken)
            states = self._forward({**self._reader.pad(taken), "places": places})
            rows = np.concatenate([first[window.text] + np.array(window.words) for window in taken])
            yield chosen[rows], states[(places >= 0).flatten().to(states.device)]


def _pad_positions(windows: Sequence[WordWindow]) -> Tensor:
    """Return the word positions of each window, int64 (b, S), padded with −1."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence([torch.tensor(window.positions) for window in windows], batch_first=True, padding_value=-1)


class _Words(TokenizedModality):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> WordFeatures:
        from hf_emms.features.layers import LayerReader
        from hf_emms.features.pooling import find_pooling, states_at_places

        spec = loaded.plan
        reader = word_reader(text_reader(spec, loaded.model, processors), spec.repo.id)
        pooling = states_at_places(find_pooling(loaded.pooling))
        first = spec.architecture.first_layer
        states = LayerReader(pooling, first, layers)
        return WordFeatures(loaded.model, reader, states)

    def trained_features(self, loaded: LoadedModel) -> Callable[[Any, Inputs], Tensor]:
        from hf_emms.features.pooling import token_states

        return token_states(loaded.pooling)


WORDS = _Words(
    name="words",
    singular="sentence",
    plural="sentences",
    fallback_pooling=TEXT.fallback_pooling,
    fallback_summary="the last layer's state of each word's first token",
    sentence_settings=("subfolder", "max_length", "lower_case"),
    cpu_seconds=TEXT.cpu_seconds,
    text_bytes=TEXT.text_bytes,
)
