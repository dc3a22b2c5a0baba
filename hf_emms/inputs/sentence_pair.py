"""Two texts that are compared, such as a premise with a hypothesis: read together, or each by itself.

Checkpoints read both as two segments, as they do when they are fine-tuned. Only text towers, which have no states of
tokens to compare, read each text by itself (docs/rank-pairs-and-tokens.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.features.architectures import TOWER_POOLINGS
from hf_emms.features.feature_spec import FeatureSpec, ReadCounts
from hf_emms.inputs.modality import BatchReader, Pairs, TrainingReader
from hf_emms.inputs.text import TEXT, TokenizedKind, example_texts, load_training_texts, text_reader
from hf_emms.inputs.text_pair import TextPairReader, text_pair_reader
from hf_emms.options import LAST

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.extractor import FeatureReader
    from hf_emms.features.layers import JoinedLayers
    from hf_emms.features.load import LoadedModel
    from hf_emms.features.pooling import States

TOKEN_TYPES = "token_type_ids"
_CHUNK = 8_192  # pairs tokenised and sorted at a time: memory does not grow with the dataset
_COMPARED = "[u, v, |u - v|, u * v]"
# The text (1 or 2, else 0) of the tokens before the first text, in it, between both, in the second and after it.
_SEGMENTS = (0, 1, 0, 2, 0)
_ROWS = 256  # a batch of pairs whose texts have been read


# --- read together ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JoinedPair:
    """Both texts of a pair with the special tokens around them.

    Attributes:
        segments: of each token 1 or 2, the text that it is of, or 0.
        types: token types, if the model has them.
    """

    ids: list[int]
    segments: list[int]
    types: list[int]


def cut_longer(first: list[int], second: list[int], capacity: int) -> tuple[list[int], list[int]]:
    """Return the tokens of both texts cut to a capacity: the longer text loses its end, down to half if need be."""
    shorter = min(len(first), len(second), capacity // 2)
    longer = capacity - shorter
    return (first[:shorter], second[:longer]) if len(first) <= len(second) else (first[:longer], second[:shorter])


@dataclass(frozen=True)
class SegmentReader:
    """Turns pairs of texts into the tensors of a checkpoint that reads them as two segments."""

    pair: TextPairReader

    @property
    def notes(self) -> list[str]:
        note = "its tokenizer puts nothing between two texts: begin the second one with a line break"
        return [note] if self.pair.adds_break else []

    def join(self, pairs: Pairs) -> tuple[list[JoinedPair], int]:
        """Return the tokens of each pair, and how many pairs were cut."""
        reader = self.pair
        firsts, _ = reader.tokenize(pairs.firsts, pairs.parts[:, 0])
        seconds, _ = reader.tokenize(pairs.seconds, pairs.parts[:, 1])
        joined, cut = [], 0
        for numbers in pairs.parts.tolist():
            texts = firsts[numbers[0]], seconds[numbers[1]]
            first, second = cut_longer(*texts, reader.capacity)
            cut += (first, second) != texts
            pieces = (reader.before, first, reader.between, second, reader.after)
            lengths = [len(piece) for piece in pieces]
            ids = list(chain.from_iterable(pieces)) or [reader.text.empty_id]
            segments, types = (
                np.repeat(marks, lengths).tolist() or [0] for marks in (_SEGMENTS, reader.types or _SEGMENTS)
            )
            joined.append(JoinedPair(ids, segments, types))
        return joined, cut

    def pad(self, pairs: Sequence[JoinedPair]) -> Inputs:
        """Return the tensors of b pairs, int64 (b, T) each."""
        padded = self.pair.text.pad([pair.ids for pair in pairs])
        return padded if self.pair.types is None else {**padded, TOKEN_TYPES: self._pad([p.types for p in pairs])}

    def segments(self, pairs: Sequence[JoinedPair]) -> Tensor:
        return self._pad([pair.segments for pair in pairs])

    def _pad(self, marks: Sequence[list[int]]) -> Tensor:
        return replace(self.pair.text, pad_id=0).pad(marks)["input_ids"]


class JointReader:
    """A `FeatureReader` of pairs that are read together, whose tensors `function` turns into features, (b, D)."""

    def __init__(
        self, function: Callable[[Inputs], Tensor], model: Any, reader: SegmentReader, layers: JoinedLayers
    ) -> None:
        from hf_emms.features.device import TOKENS, BatchedForward

        self.layers, self.counts, self._reader = layers, ReadCounts(), reader
        self._forward = BatchedForward(function, model.device, TOKENS, model.dtype)
        self.forwards = (self._forward,)

    def tensors(self, pairs: Sequence[JoinedPair]) -> Inputs:
        return self._reader.pad(pairs)

    def batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        pairs, reader = _checked(inputs), self._reader
        for start in range(0, len(pairs), _CHUNK):
            joined, cut = reader.join(pairs[start : start + _CHUNK])
            self.counts.add_tokens((pair.ids for pair in joined), reader.pair.text.unknown_id)
            self.counts.add_cut_pairs(cut, reader.pair.text.max_length)
            lengths = [len(pair.ids) for pair in joined]
            for positions in reader.pair.text.plan_batches(lengths, self._forward.batch_elements(), batch_size):
                yield positions + start, self._forward(self.tensors([joined[i] for i in positions]))

    def examples(self, count: int, words: int) -> Sequence[Any]:
        return _example_pairs(count, words)


class JointFeatures(JointReader):
    """The reader whose feature is [u, v, |u − v|, u · v] of the means of the tokens of each text, u and v."""

    def __init__(self, model: Any, reader: SegmentReader, states: States, layers: JoinedLayers) -> None:
        from hf_emms.features.reductions import marked_mean

        def compare_segments(inputs: Inputs) -> Tensor:
            segments = inputs["segments"]
            hidden = states(model, {name: tensor for name, tensor in inputs.items() if name != "segments"}).float()
            return compared(*(marked_mean(hidden, (segments == number).float()) for number in (1, 2)))

        super().__init__(compare_segments, model, reader, layers)

    def tensors(self, pairs: Sequence[JoinedPair]) -> Inputs:
        return {**super().tensors(pairs), "segments": self._reader.segments(pairs)}


def compared(u: Tensor, v: Tensor) -> Tensor:
    """Return [u, v, |u − v|, u · v] of two features, (b, D) each (Sentence-BERT, arXiv 1908.10084, and InferSent)."""
    import torch

    return torch.cat([u, v, (u - v).abs(), u * v], dim=1)


# --- each read by itself ----------------------------------------------------------------------------------


class ComparedFeatures:
    """The `FeatureReader` of pairs whose texts are read by themselves: [u, v, |u − v|, u · v] of their features."""

    def __init__(self, texts: FeatureReader, layers: JoinedLayers) -> None:
        self.layers, self._texts = layers, texts
        self.forwards = texts.forwards

    @property
    def counts(self) -> ReadCounts:
        return self._texts.counts

    @counts.setter
    def counts(self, counts: ReadCounts) -> None:
        self._texts.counts = counts

    def batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        import torch

        pairs = _checked(inputs)
        for start in range(0, len(pairs), _CHUNK):
            parts = pairs.parts[start : start + _CHUNK]
            firsts, first_of_pair = self._read(pairs.firsts, parts[:, 0], batch_size)
            seconds, second_of_pair = self._read(pairs.seconds, parts[:, 1], batch_size)
            size = batch_size or _ROWS
            for row in range(0, len(parts), size):
                u, v = firsts[first_of_pair[row : row + size]], seconds[second_of_pair[row : row + size]]
                positions = np.arange(start + row, start + row + len(u))
                yield positions, compared(torch.from_numpy(u), torch.from_numpy(v))

    def examples(self, count: int, words: int) -> Sequence[Any]:
        return _example_pairs(count, words)

    def _read(self, texts: Sequence[str], numbers: np.ndarray, batch_size: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the distinct texts with these numbers, and the place of each number among them."""
        from hf_emms.features.device import gather_batches, to_numpy

        used, position = np.unique(numbers, return_inverse=True)
        batches = self._texts.batches([texts[i] for i in used.tolist()], batch_size)
        return gather_batches(to_numpy(batches), len(used)), position


def _checked(inputs: Sequence[Any]) -> Pairs:
    if not isinstance(inputs, Pairs):
        raise TypeError(f"{Pairs.__name__} of texts are needed, not {type(inputs).__name__}")
    return inputs


def _example_pairs(count: int, words: int) -> Pairs:
    texts = example_texts(1, words)
    return Pairs(texts, texts, np.zeros((count, 2), np.int64))


# --- the kind ---------------------------------------------------------------------------------------------


class _SentencePair(TokenizedKind):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> FeatureReader:
        from hf_emms.features.layers import JoinedLayers
        from hf_emms.features.pooling import token_states

        name = loaded.plan.repo.id
        if loaded.pooling in TOWER_POOLINGS:
            texts = TEXT.feature_reader(loaded, processors, (LAST,), spans=False)
            summary = f"{_COMPARED} of both texts read by themselves, each the {texts.layers.describe(LAST)}"
            return ComparedFeatures(texts, JoinedLayers(layers, name, summary))
        text = text_reader(loaded.plan, loaded.model, processors)
        reader = SegmentReader(text_pair_reader(loaded.model, text))
        summary = f"{_COMPARED} of both texts read together, each the mean of its tokens"
        states = token_states(loaded.pooling)
        return JointFeatures(loaded.model, reader, states, JoinedLayers(layers, name, summary))

    def training_reader(self, plan: FeatureSpec, model: Any) -> TrainingReader:
        text = load_training_texts(plan, model)
        reader = SegmentReader(text_pair_reader(model, text))
        if reader.pair.types is not None:
            _list_types(text.tokenizer)

        def read(inputs: Sequence[Any], pair_of_row: np.ndarray) -> tuple[BatchReader, Sequence[str]]:
            pairs = _checked(inputs)
            used, position = np.unique(pair_of_row, return_inverse=True)
            joined, cut = reader.join(Pairs(pairs.firsts, pairs.seconds, pairs.parts[used]))
            note = f"of pairs longer than {text.max_length:,} tokens the longer text is cut, or both to half of that"
            return lambda rows: reader.pad([joined[position[row]] for row in rows]), [note] if cut else []

        return TrainingReader(read, (text.tokenizer,), reader.notes)


def _list_types(tokenizer: Any) -> None:
    """Have a tokenizer list token types among its outputs: who opens the saved model reads pairs as it was trained."""
    names = tokenizer.model_input_names
    if TOKEN_TYPES not in names:
        tokenizer.model_input_names = [*names, TOKEN_TYPES]
        tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # else it is not saved


SENTENCE_PAIR = _SentencePair(
    name="text-pair",
    singular="pair of texts",
    plural="pairs of texts",
    parts=(TEXT, TEXT),
    fallback_pooling=TEXT.fallback_pooling,
    fallback_summary="both texts read together, the mean of the last layer's tokens",
    sentence_settings=TEXT.sentence_settings,
    cpu_seconds=3e-9,
    text_bytes=TEXT.text_bytes,
)
