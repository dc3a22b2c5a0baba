"""Features of captioners: what a checkpoint makes of an image before a word is written.

Captioners are shown the image and the token that starts every caption, never a caption: a caption would put
the label into the features. Their feature is the mean of the image encoder's tokens beside the decoder's last
hidden state at the start token, after it has attended to the image. The encoder's half is as rich as an image
encoder's; the decoder's half tells captioners apart that share an encoder.

Hidden layers are the decoder's: the encoder's half stays as it is, the decoder's comes from the layer.

From a model's outputs to one feature row an input.

A pooling says what it takes from one forward: the feature (b, D1) of the table of architectures, and, where the
family shows its hidden layers, one row a layer from that same forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.device import Inputs
from hf_emms.features.hidden_layers import LayerError
from hf_emms.plugins import by_reference

# The encoder's half, and the decoder's state at the start token after each of its layers.
Halves = tuple[Tensor, list[Tensor]]


def cross_attention(model: Any, inputs: Inputs) -> Halves:
    """VisionEncoderDecoder."""
    start = _start_tokens(model, inputs)
    outputs = model(**inputs, decoder_input_ids=start, output_hidden_states=True, use_cache=False)
    tokens = outputs.encoder_last_hidden_state
    seen = tokens.mean((2, 3)) if tokens.ndim == 4 else tokens.mean(1)
    return seen, _last_positions(outputs.decoder_hidden_states)


def blip(model: Any, inputs: Inputs) -> Halves:
    tokens = model.vision_model(**inputs).last_hidden_state
    outputs = model.text_decoder(
        input_ids=_start_tokens(model, inputs),
        encoder_hidden_states=tokens,
        output_hidden_states=True,
        use_cache=False,
    )
    return tokens.mean(1), _last_positions(outputs.hidden_states)


def git(model: Any, inputs: Inputs) -> Halves:
    # GIT's decoder reads [image tokens, caption]; its input holds the encoder's projected tokens.
    start = _start_tokens(model, inputs)
    outputs = model(**inputs, input_ids=start, output_hidden_states=True, use_cache=False)
    states = (*outputs.hidden_states[:-1], outputs.last_hidden_state)
    return outputs.hidden_states[0][:, :-1].mean(1), _last_positions(states)


def start_token(model: Any) -> int:
    """The id of the token that a captioner starts every caption with.

    Raises:
        EmmsError: no part of the checkpoint's configuration says which.
    """
    config = model.config
    parts = [config, getattr(model, "generation_config", None)]
    parts += [getattr(config, name, None) for name in ("decoder", "text_config")]
    for name in ("decoder_start_token_id", "bos_token_id"):
        for part in parts:
            value = getattr(part, name, None)
            if value is not None:
                return int(value)
    raise EmmsError(
        f"the captioner ({config.model_type}) says nowhere which token starts a caption",
        "set decoder_start_token_id in its config.json",
    )


def _start_tokens(model: Any, inputs: Inputs) -> Tensor:
    """The token that starts every caption, once an image: int64 (b, 1)."""
    pixels = inputs["pixel_values"]
    return torch.full((len(pixels), 1), start_token(model), dtype=torch.int64, device=pixels.device)


def _last_positions(states: tuple[Tensor, ...]) -> list[Tensor]:
    return [state[:, -1] for state in states]


# The feature, and each hidden state pooled, in the model's order.
Layered = tuple[Tensor, list[Tensor]]


@dataclass(frozen=True)
class Pooling:
    """What is pooled.

    Attributes:
        summary: in words.
        features: a model and the tensors of a batch to features (b, D1).
        layers: the same and every hidden layer's, from one forward; None where only the feature is to be had.
        layer_summary: what is pooled of a hidden layer, in words.
        spreads: whether hidden layers can stand beside the feature; not where their rows repeat a part of it.
    """

    summary: str
    features: Callable[[Any, Inputs], Tensor]
    layers: Callable[[Any, Inputs], Layered] | None = None
    layer_summary: str = ""
    spreads: bool = True


def _call(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model(**inputs, **options)


def _call_encoder(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model.get_encoder()(**inputs, **options)


def _call_unmasked(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model(input_ids=inputs["input_ids"], **options)


def _call_text(model: Any, inputs: Inputs, **options: Any) -> Any:
    return (_call_encoder if model.config.is_encoder_decoder else _call)(model, inputs, **options)


def _pooling(
    summary: str,
    last: Callable[[Any, Inputs], Tensor],
    state: Callable[[Tensor, Inputs], Tensor],
    layer_summary: str,
    run: Callable[..., Any] = _call,
) -> Pooling:
    """One forward `run`; `last` takes the feature from its outputs, `state` pools a hidden state (b, T, D)."""

    def features(model: Any, inputs: Inputs) -> Tensor:
        return last(run(model, inputs), inputs)

    def layers(model: Any, inputs: Inputs) -> Layered:
        outputs = run(model, inputs, output_hidden_states=True)
        return last(outputs, inputs), [state(hidden, inputs) for hidden in _states(model, outputs)]

    return Pooling(summary, features, layers, layer_summary)


def _fallback(tower: str, pooling: Pooling) -> Pooling:
    """A model of two towers gives what its method `tower` does, and shows no layers; any other is pooled."""

    def features(model: Any, inputs: Inputs) -> Tensor:
        if hasattr(model, tower):
            return pooled_or_tensor(getattr(model, tower)(**inputs))
        return pooling.features(model, inputs)

    def layers(model: Any, inputs: Inputs) -> Layered:
        if hasattr(model, tower) or pooling.layers is None:
            raise LayerError(f"{type(model).__name__} does not show the hidden layers of one tower", "--layer last")
        return pooling.layers(model, inputs)

    return Pooling(pooling.summary, features, layers, pooling.layer_summary)


def _captioner(summary: str, halves: Callable[[Any, Inputs], Halves]) -> Pooling:
    def layers(model: Any, inputs: Inputs) -> Layered:
        seen, states = halves(model, inputs)
        joined = [torch.cat([seen, state], dim=1) for state in states]
        return joined[-1], joined

    layer_summary = summary.replace("the decoder's state", "the decoder layer's state")
    return Pooling(summary, lambda model, inputs: layers(model, inputs)[0], layers, layer_summary, spreads=False)


def _states(model: Any, outputs: Any) -> tuple[Any, ...]:
    states: tuple[Any, ...] | None = getattr(outputs, "hidden_states", None)
    if states is None:
        raise LayerError(f"{type(model).__name__} does not show its hidden layers", "--layer last")
    return states


def average(hidden: Tensor) -> Tensor:
    """Mean of (b, T, D) tokens, or global average of a (b, D, H, W) map."""
    return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)


def mean_over(hidden: Tensor, inputs: Inputs) -> Tensor:
    """Mean of (b, T, D) tokens, padding left out."""
    weights = inputs["attention_mask"].to(hidden.dtype)
    return torch.einsum("btd,bt->bd", hidden, weights) / weights.sum(1, keepdim=True)


def _first(hidden: Tensor, inputs: Inputs) -> Tensor:
    return hidden[:, 0]


def _average(hidden: Tensor, inputs: Inputs) -> Tensor:
    return average(hidden)


def _max_over(hidden: Tensor, inputs: Inputs) -> Tensor:
    return hidden.masked_fill(inputs["attention_mask"][..., None] == 0, float("-inf")).amax(1)


def _last_of(hidden: Tensor, inputs: Inputs) -> Tensor:
    last = inputs["attention_mask"].sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _of_last(state: Callable[[Tensor, Inputs], Tensor]) -> Callable[[Any, Inputs], Tensor]:
    """The last hidden state pooled like any other."""
    return lambda outputs, inputs: state(outputs.last_hidden_state, inputs)


def _pooler(outputs: Any, inputs: Inputs) -> Tensor:
    pooled: Tensor = outputs.pooler_output
    return pooled.flatten(1)


def _text_embeds(outputs: Any, inputs: Inputs) -> Tensor:
    embeds: Tensor = outputs.text_embeds
    return embeds


def _pooled_or_average(outputs: Any, inputs: Inputs) -> Tensor:
    pooled = getattr(outputs, "pooler_output", None)
    return average(outputs.last_hidden_state) if pooled is None else pooled.flatten(1)


def pooled_or_tensor(outputs: Any) -> Tensor:
    pooled: Tensor = getattr(outputs, "pooler_output", outputs)
    return pooled.flatten(1)


def _call_pooler(model: Any, inputs: Inputs) -> Tensor:
    return _pooler(model(**inputs), inputs)


def _timm_layers(model: Any, inputs: Inputs) -> Layered:
    # timm parts the class token from the map; a family that classifies by it is pooled by it at every layer.
    by_token = getattr(model.timm_model, "global_pool", None) == "token"
    options = {"return_prefix_tokens": True} if by_token else {}
    outputs = model(**inputs, output_hidden_states=True, **options)
    states = _states(model, outputs)
    return _pooler(outputs, inputs), [state[1][:, 0] if by_token else average(state) for state in states]


_CLASSIFIER = "pooled output (input of the classifier)"
_CLS = "first token (CLS) of the last layer"
_TOKENS = "mean of its tokens or map"
_LAST_MASKED = "mean of the last layer's tokens, padding left out"
_MASKED = "mean of its tokens, padding left out"
_CAPTION = "mean of the image encoder's tokens, and the decoder's state at the start token"

POOLINGS: dict[str, Pooling] = {
    "pooler_output": _pooling(_CLASSIFIER, _pooler, _average, _TOKENS),
    "timm": Pooling(
        _CLASSIFIER,
        _call_pooler,
        _timm_layers,
        "its class token where the family classifies by it, else the mean of its map",
    ),
    "torchvision": Pooling(_CLASSIFIER, _call_pooler),
    "unmasked_pooler_output": _pooling(
        "pooled output", _pooler, lambda hidden, inputs: hidden[:, -1], "its last token", _call_unmasked
    ),
    "cls_token": _pooling(_CLS, _of_last(_first), _first, "its first token (CLS)"),
    # Only the last of several stages has a class token.
    "late_cls_token": _pooling(_CLS, _of_last(_first), _average, "mean of its tokens"),
    "spatial_mean": _pooling("mean of the last layer's tokens or map", _of_last(_average), _average, _TOKENS),
    "image_fallback": _fallback(
        "get_image_features",
        _pooling("pooled output, or the mean of tokens or map", _pooled_or_average, _average, _TOKENS),
    ),
    "masked_mean": _pooling(_LAST_MASKED, _of_last(mean_over), mean_over, _MASKED),
    "masked_max": _pooling(
        "maximum of the last layer's tokens, padding left out",
        _of_last(_max_over),
        _max_over,
        "maximum of its tokens, padding left out",
    ),
    "last_token": _pooling("last token of the last layer", _of_last(_last_of), _last_of, "its last token"),
    "encoder_masked_mean": _pooling(
        "mean of the encoder's last tokens, padding left out", _of_last(mean_over), mean_over, _MASKED, _call_encoder
    ),
    "text_embeds": _pooling("projected text embedding", _text_embeds, _last_of, "its last token"),
    "text_fallback": _fallback(
        "get_text_features", _pooling(_LAST_MASKED, _of_last(mean_over), mean_over, _MASKED, _call_text)
    ),
    "captioner_cross_attention": _captioner(_CAPTION, cross_attention),
    "captioner_blip": _captioner(_CAPTION, blip),
    "captioner_git": _captioner("mean of the projected image tokens, and the decoder's state at the start token", git),
}


def find_pooling(name: str) -> Pooling:
    """An entry of `POOLINGS`, or the `Pooling` of another package: "package.module:NAME".

    Raises:
        EmmsError: there is none of this name.
    """
    if ":" not in name:
        return POOLINGS[name]
    found = by_reference(name)
    if not isinstance(found, Pooling):
        raise EmmsError(f"{name} is of type {type(found).__name__}, not {Pooling.__module__}.Pooling")
    return found
