"""Words of texts, one row per word. A checkpoint reads each text once and returns the states of its words.

The state of a word is the state of its first token, as in token classification with transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_emms.inputs.text import TEXT, TextReader, special_tokens, text_reader
from hf_emms.inputs.text_pair import SpanFeatures, TextPairReader, TokenStates

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Inputs
    from hf_emms.features.load import LoadedModel


def word_reader(text: TextReader) -> TextPairReader:
    """Return the reader of single texts, with the special tokens that the tokenizer puts around a text."""
    before, after = special_tokens(text.tokenizer)
    return TextPairReader(text, before, (), after, first_tokens=True)


class _Words(TokenStates):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> SpanFeatures:
        from hf_emms.features.layers import LayerReader
        from hf_emms.features.pooling import find_pooling, states_at_places

        spec, model = loaded.spec, loaded.model
        reader = word_reader(text_reader(spec, model, processors))
        pooling = states_at_places(find_pooling(loaded.pooling))
        first = spec.architecture.first_layer
        states = LayerReader(pooling, first, layers)

        def first_tokens(inputs: Inputs) -> Tensor:
            others = {name: tensor for name, tensor in inputs.items() if name != "runs"}
            return states(model, {**others, "places": inputs["runs"][..., 0]})

        return SpanFeatures(first_tokens, model, reader, states)


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
