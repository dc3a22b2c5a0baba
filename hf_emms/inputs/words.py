"""Words of texts, each of them a row: a checkpoint reads each text once, whole, and gives the states of its words.

The state of a word is that of its first token, as in transformers' training for such tasks. Texts longer than the model
reads are cut into overlapping windows, and each word counts in the window where it is farther from the edge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.feature_spec import ReadCounts
from hf_emms.inputs.modality import Spans
from hf_emms.inputs.text import TEXT, TextReader, TokenizedKind, example_texts, special_tokens, text_reader
from hf_emms.inputs.text_pair import cut_windows

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel

_CHUNK = 16_384  # words whose texts are tokenised and sorted at a time: memory does not grow with the dataset

Span = tuple[int, int]
"""The first character of a word, and the character behind its last."""


@dataclass(frozen=True)
class WordWindow:
    """A part of a text that fits into the model.

    Attributes:
        text: its number.
        ids: token ids, special ones included.
        words: numbers of the text's words whose first token counts here.
        places: where in `ids` these first tokens are.
    """

    text: int
    ids: list[int]
    words: list[int]
    places: list[int]


@dataclass(frozen=True)
class WordReader:
    """Turns texts with words into windows that fit the model, with special tokens `before` and `after` a text."""

    text: TextReader
    before: tuple[int, ...]
    after: tuple[int, ...]

    def windows(self, texts: Sequence[str], words: Sequence[Sequence[Span]]) -> list[WordWindow]:
        """Return the windows of all texts in order; `words` are those of each text."""
        encoded = self.text.encode_whole(texts, offsets=True)
        self.text.check_vocabulary(encoded["input_ids"])
        return [
            window
            for number, (ids, offsets) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
            for window in self._cut(number, ids, _first_tokens(words[number], offsets))
        ]

    def pad(self, windows: Sequence[WordWindow]) -> Inputs:
        return self.text.pad([window.ids for window in windows])

    def _cut(self, number: int, ids: Sequence[int], tokens: np.ndarray) -> Iterator[WordWindow]:
        for window in cut_windows((), ids, self.text.max_length - len(self.before) - len(self.after)):
            first, last = (window.start + edge for edge in window.counted)
            # Words of a text without a single token are at its first place.
            words = np.flatnonzero((tokens >= first) & (tokens < max(last, 1)))
            if len(words):
                all_ids = [*self.before, *window.second, *self.after] or [self.text.empty_id]
                places = np.minimum(tokens[words] - window.start + len(self.before), len(all_ids) - 1)
                yield WordWindow(number, all_ids, words.tolist(), places.tolist())


def word_reader(text: TextReader, checkpoint: str) -> WordReader:
    """Return the reader with the special tokens that the tokenizer puts around a text.

    Raises:
        EmmsError: it does not say which characters a token covers.
    """
    if not text.tokenizer.is_fast:
        raise EmmsError(
            f"the tokenizer of {checkpoint} does not say which characters a token covers, by which words are located",
            "leave it out",
        )
    return WordReader(text, *special_tokens(text.tokenizer))


def _first_tokens(words: Sequence[Span], offsets: Sequence[Span]) -> np.ndarray:
    """Return the first token of each word, int64, by the characters that tokens cover; the nearest where none does."""
    if not offsets:
        return np.zeros(len(words), np.int64)
    stops = np.maximum.accumulate(np.array(offsets, np.int64)[:, 1])
    starts = np.array(words, np.int64).reshape(-1, 2)[:, 0]
    return np.minimum(np.searchsorted(stops, starts, side="right"), len(offsets) - 1)


class WordFeatures:
    """The `FeatureReader` of the words of texts."""

    def __init__(self, model: Any, reader: WordReader, layers: LayerReader) -> None:
        from hf_emms.features.device import TOKENS, BatchedForward

        self.layers, self.counts, self._reader = layers, ReadCounts(), reader
        self._forward = BatchedForward(lambda inputs: layers(model, inputs), model.device, TOKENS, model.dtype)
        self.forwards = (self._forward,)

    def batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        if not isinstance(inputs, Spans):
            raise TypeError(f"{Spans.__name__} of texts are needed, not {type(inputs).__name__}")
        text_of_word = inputs.bounds[:, 0]
        order = np.argsort(text_of_word, kind="stable")
        # A chunk ends where a text does: all words of a text come from the same forward pass.
        ends = np.flatnonzero(np.diff(text_of_word[order], append=-1)) + 1
        start = 0
        while start < len(order):
            stop = int(ends[min(int(np.searchsorted(ends, start + _CHUNK)), len(ends) - 1)])
            yield from self._read(inputs, order[start:stop], batch_size)
            start = stop

    def examples(self, count: int, words: int) -> Sequence[Any]:
        return Spans(example_texts(count, words), np.array([(text, 0, 1) for text in range(count)]))

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
        for batch in self._reader.text.plan_batches(lengths, self._forward.batch_elements(), batch_size):
            taken = [windows[i] for i in batch]
            places = _padded_places(taken)
            states = self._forward({**self._reader.pad(taken), "places": places})
            rows = np.concatenate([first[window.text] + np.array(window.words) for window in taken])
            yield chosen[rows], states[(places >= 0).flatten().to(states.device)]


def _padded_places(windows: Sequence[WordWindow]) -> Tensor:
    """Return the places of the words of each window, int64 (b, S), padded with −1."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence([torch.tensor(window.places) for window in windows], batch_first=True, padding_value=-1)


# --- the kind ---------------------------------------------------------------------------------------------


class _Words(TokenizedKind):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> WordFeatures:
        from hf_emms.features.layers import LayerReader
        from hf_emms.features.pooling import find_pooling, states_at_places

        plan = loaded.plan
        reader = word_reader(text_reader(plan, loaded.model, processors), plan.repo.id)
        pooling = states_at_places(find_pooling(loaded.pooling))
        first = plan.architecture.first_layer
        states = LayerReader(pooling, first, layers, normalise=False, truncate_dim=None)
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
