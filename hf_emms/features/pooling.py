"""Poolings, which reduce the outputs of a model to one feature per input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Never

import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.device import Inputs
from hf_emms.features.feature_spec import LayerError
from hf_emms.features.reductions import (
    average,
    first_token,
    last_token,
    masked_mean,
    mean_frames,
    two_tokens,
)
from hf_emms.options import LAST
from hf_emms.options.registry import entry_or_reference
from hf_emms.texts import setting_ref

Layered = tuple[Tensor, list[Tensor]]
"""The feature (b, D1), and each hidden state pooled, (b, D), in the model's order."""

States = Callable[[Any, Inputs], Tensor]
"""A model and a batch to token states (b, T, D)."""


def _no_layers(model: Any, *inputs: Any) -> Never:
    raise LayerError(
        "unknown-layer", f"{type(model).__name__} does not show its hidden layers", setting_ref("layers", LAST)
    )


@dataclass(frozen=True)
class Pooling:
    """How a model turns a batch into features: one row per input.

    Attributes:
        summary: Describes the feature row.
        features: Returns the features (b, D1) of a model and the tensors of a batch.
        layers: Returns the same and the rows of every hidden layer, from a single forward pass; a `LayerError` if the
            model shows no hidden layers.
        layer_summary: Describes how hidden layers are pooled.
        spreads: Whether "spread" adds hidden layers; not if their rows repeat a part of the feature.
        run: Returns outputs with the states of all tokens, of a model, the tensors of a batch and further arguments.
    """

    summary: str
    features: Callable[[Any, Inputs], Tensor]
    layers: Callable[[Any, Inputs], Layered] = _no_layers
    layer_summary: str = ""
    spreads: bool = True
    run: Callable[..., Any] = lambda model, inputs, **options: model(**inputs, **options)


def _call(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model(**inputs, **options)


def _call_encoder(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model.get_encoder()(**inputs, **options)


def _call_text(model: Any, inputs: Inputs, **options: Any) -> Any:
    return (_call_encoder if model.config.is_encoder_decoder else _call)(model, inputs, **options)


def _call_clap_audio(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model.audio_model(**_without_mask(inputs), **options)


def _call_sound(model: Any, inputs: Inputs, **options: Any) -> Any:
    """Return the outputs of a reader of sound, called with a mask only if it takes masks and the batch has padding."""
    reader = model.get_encoder() if model.config.is_encoder_decoder else model
    mask, tensors = inputs.get("attention_mask"), _without_mask(inputs)
    if mask is not None and not bool(mask.all()) and "attention_mask" in signature(reader.forward).parameters:
        tensors["attention_mask"] = mask
    return reader(**tensors, **options)


def _without_mask(inputs: Inputs) -> Inputs:
    return {name: tensor for name, tensor in inputs.items() if name != "attention_mask"}


def pooled_or_tensor(outputs: Any) -> Tensor:
    """Return the pooled output (b, D) of a tower. Some versions and families return a plain tensor.

    Models that write texts about images return the tokens of each image instead: their mean.
    """
    pooled = getattr(outputs, "pooler_output", outputs)
    if isinstance(pooled, list | tuple):
        return torch.stack([tokens.flatten(0, -2).mean(0) for tokens in pooled])
    return pooled.mean(1) if pooled.ndim == 3 else pooled.flatten(1)


def _pooler(outputs: Any, inputs: Inputs) -> Tensor:
    pooled: Tensor = outputs.pooler_output
    return pooled.flatten(1)


def _text_embeds(outputs: Any, inputs: Inputs) -> Tensor:
    embeds: Tensor = outputs.text_embeds
    return embeds


def _pooled_or_average(outputs: Any, inputs: Inputs) -> Tensor:
    pooled = getattr(outputs, "pooler_output", None)
    return average(outputs.last_hidden_state) if pooled is None else pooled.flatten(1)


def hidden_states(model: Any, outputs: Any) -> tuple[Any, ...]:
    """Return the hidden states of a model's outputs. Raises a `LayerError` if there are none."""
    states: tuple[Any, ...] | None = getattr(outputs, "hidden_states", None)
    return _no_layers(model) if states is None else states


def _pooling(
    summary: str,
    layer_summary: str,
    state: Callable[[Tensor, Inputs], Tensor],
    last: Callable[[Any, Inputs], Tensor] | None = None,
    run: Callable[..., Any] = _call,
) -> Pooling:
    """Return the pooling that calls the model with `run` and reduces each layer with `state`."""
    feature = last or (lambda outputs, inputs: state(outputs.last_hidden_state, inputs))

    def features(model: Any, inputs: Inputs) -> Tensor:
        return feature(run(model, inputs), inputs)

    def layers(model: Any, inputs: Inputs) -> Layered:
        outputs = run(model, inputs, output_hidden_states=True)
        return feature(outputs, inputs), [state(hidden, inputs) for hidden in hidden_states(model, outputs)]

    return Pooling(summary, features, layers, layer_summary, run=run)


def _fallback(tower: str, pooling: Pooling) -> Pooling:
    """Return the pooling that calls the method `tower` of two-tower models, and `pooling` for others."""

    def features(model: Any, inputs: Inputs) -> Tensor:
        if hasattr(model, tower):
            return pooled_or_tensor(getattr(model, tower)(**inputs))
        return pooling.features(model, inputs)

    def layers(model: Any, inputs: Inputs) -> Layered:
        return _no_layers(model) if hasattr(model, tower) else pooling.layers(model, inputs)

    return Pooling(pooling.summary, features, layers, pooling.layer_summary, run=pooling.run)


def _pooler_features(model: Any, inputs: Inputs) -> Tensor:
    return _pooler(model(**inputs), inputs)


def _timm_layers(model: Any, inputs: Inputs) -> Layered:
    # timm separates the class token from the map; a family that classifies by it is pooled by it at every layer.
    by_token = getattr(model.timm_model, "global_pool", None) == "token"
    options = {"return_prefix_tokens": True} if by_token else {}
    outputs = model(**inputs, output_hidden_states=True, **options)
    states = hidden_states(model, outputs)
    return _pooler(outputs, inputs), [state[1][:, 0] if by_token else average(state) for state in states]


# --- captioners -------------------------------------------------------------------------------------------

# They see the image and the token that starts every caption, never a caption: it would put the label into the features.
# The decoder's state at the start token has attended to the image. It differs between captioners that share an encoder.

ImageAndStates = tuple[Tensor, Sequence[Tensor]]
"""The mean of the image's tokens (b, D), and hidden states of the decoder (b, T, D), the start token last."""


def start_tokens(model: Any, pixels: Tensor) -> Tensor:
    """Return the token that starts every caption, for each image: int64 (b, 1)."""
    config = model.config
    parts = [config, getattr(model, "generation_config", None)]
    parts += [getattr(config, name, None) for name in ("decoder", "text_config")]
    for name in ("decoder_start_token_id", "bos_token_id"):
        for part in parts:
            value = getattr(part, name, None)
            if value is not None:
                return torch.full((len(pixels), 1), int(value), dtype=torch.int64, device=pixels.device)
    raise EmmsError(
        "no-start-token",
        f"no configuration of the captioner ({config.model_type}) says which token starts a caption",
        "set decoder_start_token_id in its config.json",
    )


def read_encoder_decoder(model: Any, inputs: Inputs, start: Tensor) -> ImageAndStates:
    outputs = model(**inputs, decoder_input_ids=start, output_hidden_states=True)
    return average(outputs.encoder_last_hidden_state), outputs.decoder_hidden_states


def read_blip(model: Any, inputs: Inputs, start: Tensor) -> ImageAndStates:
    tokens = model.vision_model(**inputs).last_hidden_state
    outputs = model.text_decoder(input_ids=start, encoder_hidden_states=tokens, output_hidden_states=True)
    return tokens.mean(1), outputs.hidden_states


def read_git(model: Any, inputs: Inputs, start: Tensor) -> ImageAndStates:
    # The input of GIT's decoder is [projected image tokens, caption].
    outputs = model(**inputs, input_ids=start, output_hidden_states=True)
    return outputs.hidden_states[0][:, :-1].mean(1), (*outputs.hidden_states[:-1], outputs.last_hidden_state)


def _captioner(summary: str, read: Callable[[Any, Inputs, Tensor], ImageAndStates]) -> Pooling:
    """Return the pooling of an image captioning model. `read` returns the image's and the decoder's states."""

    def layers(model: Any, inputs: Inputs) -> Layered:
        image, states = read(model, inputs, start_tokens(model, inputs["pixel_values"]))
        joined = [torch.cat([image, state[:, -1]], dim=1) for state in states]
        return joined[-1], joined

    layer_summary = summary.replace("the decoder's state", "the decoder layer's state")
    return Pooling(summary, lambda model, inputs: layers(model, inputs)[0], layers, layer_summary, spreads=False)


def _sound(summary: str, layer_summary: str) -> Pooling:
    """Return the pooling of sound: the mean of the last layer's frames, and of each hidden layer's."""

    def features(model: Any, inputs: Inputs) -> Tensor:
        outputs = _call_sound(model, inputs)
        return mean_frames(model, outputs.last_hidden_state, inputs, outputs)

    def layers(model: Any, inputs: Inputs) -> Layered:
        outputs = _call_sound(model, inputs, output_hidden_states=True)
        states = outputs.last_hidden_state, *hidden_states(model, outputs)
        last, *means = (mean_frames(model, state, inputs, outputs) for state in states)
        return last, means

    return Pooling(summary, features, layers, layer_summary, run=_call_sound)


_CLASSIFIER = "pooled output (input of the classifier)"
_CLS = "first token (CLS) of the last layer"
_FIRST, _LAST = "its first token (CLS)", "its last token"
_PROJECTED = "projected text embedding"
_TOKENS = "mean of its tokens or map"
_LAST_MASKED = "mean of the last layer's tokens, padding left out"
_MASKED = "mean of its tokens, padding left out"
_FRAMES = "mean of the last layer's frames, padding left out"
_FRAMES_OF_LAYER = "mean of its frames, padding left out"
_CAPTION = "mean of the image encoder's tokens, and the decoder's state at the start token"

POOLINGS: dict[str, Pooling] = {
    "pooler_output": _pooling(_CLASSIFIER, _TOKENS, average, _pooler),
    "timm": Pooling(
        _CLASSIFIER,
        _pooler_features,
        _timm_layers,
        "its class token where the family classifies by it, else the mean of its map",
    ),
    "unmasked_pooler_output": _pooling(
        "pooled output",
        _LAST,
        lambda hidden, inputs: hidden[:, -1],
        _pooler,
        lambda model, inputs, **options: model(input_ids=inputs["input_ids"], **options),
    ),
    "cls_token": _pooling(_CLS, _FIRST, first_token),
    # Only the last stage has a class token.
    "late_cls_token": _pooling(
        _CLS, "mean of its tokens", average, lambda outputs, inputs: first_token(outputs.last_hidden_state, inputs)
    ),
    "spatial_mean": _pooling("mean of the last layer's tokens or map", _TOKENS, average),
    "image_fallback": _fallback(
        "get_image_features",
        _pooling("pooled output, or the mean of tokens or map", _TOKENS, average, _pooled_or_average),
    ),
    "masked_mean": _pooling(_LAST_MASKED, _MASKED, masked_mean),
    "last_token": _pooling("last token of the last layer", _LAST, last_token),
    "encoder_masked_mean": _pooling(
        "mean of the encoder's last tokens, padding left out", _MASKED, masked_mean, run=_call_encoder
    ),
    "text_embeds": _pooling(_PROJECTED, _LAST, last_token, _text_embeds),
    "clap_text": _pooling(_PROJECTED, _FIRST, first_token, _text_embeds),
    "text_fallback": _fallback("get_text_features", _pooling(_LAST_MASKED, _MASKED, masked_mean, run=_call_text)),
    "frames": _sound(_FRAMES, _FRAMES_OF_LAYER),
    "ast": _pooling(_CLASSIFIER, "mean of its class and distillation tokens", two_tokens, _pooler, _call_sound),
    "clap_audio": _pooling(
        "pooled output before the projection", "mean of its map", average, _pooler, _call_clap_audio
    ),
    "sound_fallback": _fallback("get_audio_features", _sound(_FRAMES, _FRAMES_OF_LAYER)),
    "captioner": _captioner(_CAPTION, read_encoder_decoder),
    "captioner_blip": _captioner(_CAPTION, read_blip),
    "captioner_git": _captioner(
        "mean of the projected image tokens, and the decoder's state at the start token", read_git
    ),
}


def find_pooling(name: str) -> Pooling:
    """Return an entry of `POOLINGS`, or the `Pooling` of another package: "package.module:NAME"."""
    return entry_or_reference(name, POOLINGS, Pooling)


def states_at_places(pooling: Pooling) -> Pooling:
    """Return the pooling that reads the token states at given positions instead of a mean.

    Rows of places that are −1 mean nothing.
    """

    def split(inputs: Inputs) -> tuple[Inputs, Callable[[Tensor], Tensor]]:
        places = inputs["places"].clamp_min(0)
        rows = torch.arange(len(places), device=places.device)[:, None]
        others = {name: tensor for name, tensor in inputs.items() if name != "places"}
        return others, lambda hidden: hidden[rows, places].flatten(0, 1)

    def features(model: Any, inputs: Inputs) -> Tensor:
        others, take = split(inputs)
        return take(pooling.run(model, others).last_hidden_state)

    def layers(model: Any, inputs: Inputs) -> Layered:
        others, take = split(inputs)
        outputs = pooling.run(model, others, output_hidden_states=True)
        return take(outputs.last_hidden_state), [take(hidden) for hidden in hidden_states(model, outputs)]

    return Pooling(
        "the last layer's state of each word's first token", features, layers, "the state of each word's first token"
    )


def token_states(name: str) -> States:
    """Return the function that computes the token states of the last layer for a pooling."""
    run = find_pooling(name).run
    return lambda model, inputs: run(model, inputs).last_hidden_state
