"""Two texts that are compared, such as a premise and a hypothesis: read together, or one by one.

Checkpoints read both texts together as two segments, as in fine-tuning. Only text towers read each text by itself,
because they have no token states to compare (docs/rank-pairs-and-tokens.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import Note
from hf_emms.features.architectures import TOWER_POOLINGS
from hf_emms.features.extractor import FeatureReader
from hf_emms.features.feature_spec import FeatureSpec, ReadCounts
from hf_emms.inputs.modality import BatchReader, Pairs, TrainingReader
from hf_emms.inputs.text import TEXT, TokenizedModality, load_training_texts, text_reader
from hf_emms.inputs.text_pair import TOKEN_TYPES, TextPairReader, Window, text_pair_reader
from hf_emms.options import LAST

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import JoinedLayers
    from hf_emms.features.load import LoadedModel
    from hf_emms.features.pooling import States

_CHUNK = 8_192  # pairs that are tokenized and sorted at a time, to limit memory
_COMPARED = "[u, v, |u - v|, u * v]"
_ROWS = 256  # pairs per batch whose texts are read one by one


def compared(u: Tensor, v: Tensor) -> Tensor:
    """Return [u, v, |u − v|, u · v] of two features, (b, D) each (Sentence-BERT, arXiv 1908.10084, and InferSent)."""
    import torch

    return torch.cat([u, v, (u - v).abs(), u * v], dim=1)


class PairsFeatureReader(FeatureReader):
    """Base class of readers of `Pairs`."""

    def example(self) -> Sequence[Any]:
        return Pairs(["a"], ["a"], np.zeros((1, 2), np.int64))


class JointReader(PairsFeatureReader):
    """A reader of both texts together; `function` turns the tensors of a batch into features, (b, D)."""

    def __init__(
        self, function: Callable[[Inputs], Tensor], model: Any, reader: TextPairReader, layers: JoinedLayers
    ) -> None:
        super().__init__(function, model, layers)
        self._reader = reader

    def tensors(self, windows: Sequence[Window]) -> Inputs:
        return self._reader.pad(windows)

    def batches(self, pairs: Any, batch_size: int | None) -> Iterator[Batch]:
        reader = self._reader
        for start in range(0, len(pairs), _CHUNK):
            windows, truncated = reader.truncate(pairs[start : start + _CHUNK])
            ids = [reader.ids(window) for window in windows]
            self.counts.add_tokens(ids, reader.text.unknown_id)
            self.counts.add_cut_pairs(truncated, reader.text.max_length)
            lengths, max_tokens = list(map(len, ids)), self._forward.max_elements
            for positions in reader.text.plan_batches(lengths, max_tokens, batch_size):
                yield positions + start, self._forward(self.tensors([windows[i] for i in positions]))


class JointFeatures(JointReader):
    """The reader whose feature is [u, v, |u − v|, u · v] of the means u and v of each text's tokens."""

    def __init__(self, model: Any, reader: TextPairReader, states: States, layers: JoinedLayers) -> None:
        from hf_emms.features.reductions import marked_mean

        def compare_segments(inputs: Inputs) -> Tensor:
            segments = inputs["segments"]
            hidden = states(model, {name: tensor for name, tensor in inputs.items() if name != "segments"}).float()
            return compared(*(marked_mean(hidden, (segments == number).float()) for number in (1, 2)))

        super().__init__(compare_segments, model, reader, layers)

    def tensors(self, windows: Sequence[Window]) -> Inputs:
        return {**super().tensors(windows), "segments": self._reader.segments(windows)}


class ComparedFeatures(PairsFeatureReader):
    """The `FeatureReader` of pairs whose texts are read one by one: [u, v, |u − v|, u · v] of their features."""

    def __init__(self, texts: FeatureReader, layers: JoinedLayers) -> None:
        self.layers, self._texts = layers, texts
        self.forwards = texts.forwards

    @property
    def counts(self) -> ReadCounts:
        return self._texts.counts

    @counts.setter
    def counts(self, counts: ReadCounts) -> None:
        self._texts.counts = counts

    def batches(self, pairs: Any, batch_size: int | None) -> Iterator[Batch]:
        import torch

        for start in range(0, len(pairs), _CHUNK):
            parts = pairs.parts[start : start + _CHUNK]
            firsts, first_of_pair = self._read(pairs.firsts, parts[:, 0], batch_size)
            seconds, second_of_pair = self._read(pairs.seconds, parts[:, 1], batch_size)
            size = batch_size or _ROWS
            for row in range(0, len(parts), size):
                u, v = firsts[first_of_pair[row : row + size]], seconds[second_of_pair[row : row + size]]
                positions = np.arange(start + row, start + row + len(u))
                yield positions, compared(torch.from_numpy(u), torch.from_numpy(v))

    def _read(self, texts: Sequence[str], numbers: np.ndarray, batch_size: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the features of the distinct texts with these numbers, and the position of each number among them."""
        from hf_emms.features.device import gather_batches, to_numpy

        used, position = np.unique(numbers, return_inverse=True)
        batches = self._texts.batches([texts[i] for i in used.tolist()], batch_size)
        return gather_batches(to_numpy(batches), len(used)), position


class _SentencePair(TokenizedModality):
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
        reader = text_pair_reader(loaded.model, text_reader(loaded.plan, loaded.model, processors))
        summary = f"{_COMPARED} of both texts read together, each the mean of its tokens"
        states = token_states(loaded.pooling)
        return JointFeatures(loaded.model, reader, states, JoinedLayers(layers, name, summary))

    def training_reader(self, spec: FeatureSpec, model: Any) -> TrainingReader:
        return pair_training_reader(spec, model)


def pair_training_reader(spec: FeatureSpec, model: Any, *, line_break: bool = True) -> TrainingReader:
    """Return the reader of both texts together, see `text_pair_reader`."""
    text = load_training_texts(spec, model)
    reader = text_pair_reader(model, text, line_break=line_break)
    if reader.types is not None:
        _add_token_types(text.tokenizer)

    def read(pairs: Any, pair_of_row: np.ndarray) -> tuple[BatchReader, Sequence[Note]]:
        used, position = np.unique(pair_of_row, return_inverse=True)
        windows, truncated = reader.truncate(Pairs(pairs.firsts, pairs.seconds, pairs.parts[used]))
        notes = [Note("pairs-truncated", f"Training truncates pairs of texts to {text.max_length:,} tokens.")]
        return lambda rows: reader.pad([windows[position[row]] for row in rows]), notes if truncated else []

    return TrainingReader(read, (text.tokenizer,), reader.notes)


def _add_token_types(tokenizer: Any) -> None:
    """Add token types to a tokenizer's outputs, so that the saved model reads pairs as in training."""
    names = tokenizer.model_input_names
    if TOKEN_TYPES not in names:
        tokenizer.model_input_names = [*names, TOKEN_TYPES]
        tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # otherwise it is not saved


SENTENCE_PAIR = _SentencePair(
    name="text-pair",
    singular="pair of texts",
    plural="pairs of texts",
    parts=(TEXT, TEXT),
    fallback_pooling=TEXT.fallback_pooling,
    fallback_summary="both texts read together, the mean of the last layer's tokens",
    sentence_settings=TEXT.sentence_settings,
    cpu_seconds=6e-10,
    text_bytes=TEXT.text_bytes,
)
