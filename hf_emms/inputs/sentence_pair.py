"""Two texts that are compared, such as a premise and a hypothesis, read together as in fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.architectures import TOWER_POOLINGS
from hf_emms.features.extractor import FeatureReader
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.inputs.modality import BatchReader, Pairs, TrainingReader
from hf_emms.inputs.text import TEXT, TOKEN_TYPES, TokenizedModality, load_training_texts, text_reader
from hf_emms.inputs.text_pair import JointFeatures, text_pair_reader

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.load import LoadedModel


def compared(u: Tensor, v: Tensor) -> Tensor:
    """Return [u, v, |u − v|, u · v] of two features, (b, D) each (Sentence-BERT, arXiv 1908.10084, and InferSent)."""
    import torch

    return torch.cat([u, v, (u - v).abs(), u * v], dim=1)


class _SentencePair(TokenizedModality):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> FeatureReader:
        from hf_emms.features.layers import JoinedLayers
        from hf_emms.features.pooling import token_states

        name = loaded.spec.repo.id
        if loaded.pooling in TOWER_POOLINGS:
            problem = f"{name} is a text tower, which has no token states to compare"
            raise EmmsError("no-token-states", problem, "remove the checkpoint from the list")
        reader = text_pair_reader(loaded.model, text_reader(loaded.spec, loaded.model, processors))
        summary = "[u, v, |u - v|, u * v] of both texts read together, each the mean of its tokens"
        states = token_states(loaded.pooling)
        return JointFeatures(loaded.model, reader, states, JoinedLayers(layers, name, summary), compared)

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
        notes = [Note("pairs-truncated", f"training truncates pairs of texts to {text.max_length:,} tokens")]
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
