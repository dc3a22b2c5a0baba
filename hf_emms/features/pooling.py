"""From a model's outputs to one feature row an input.

Every function takes a model and the tensors of a batch and returns a float tensor (b, D1).

Captioners are shown the image and the token that starts every caption, never a caption: a caption would put
the label into the features. Their feature is the mean of the image encoder's tokens beside the decoder's last
hidden state at the start token, after it has attended to the image: all that the checkpoint makes of an image
before a word is written. The encoder's half is as rich as an image encoder's; the decoder's half tells
captioners apart that share an encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.plugins import by_reference

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Pooling:
    """What is pooled, in words, and the function that does it."""

    summary: str
    features: Callable[[Any, Inputs], Tensor]


def pooler_output(model: Any, inputs: Inputs) -> Tensor:
    pooled: Tensor = model(**inputs).pooler_output
    return pooled.flatten(1)


def unmasked_pooler_output(model: Any, inputs: Inputs) -> Tensor:
    pooled: Tensor = model(input_ids=inputs["input_ids"]).pooler_output
    return pooled


def first_token(model: Any, inputs: Inputs) -> Tensor:
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden[:, 0]


def text_embeds(model: Any, inputs: Inputs) -> Tensor:
    embeds: Tensor = model(**inputs).text_embeds
    return embeds


def spatial_mean(model: Any, inputs: Inputs) -> Tensor:
    return _average(model(**inputs).last_hidden_state)


def image_fallback(model: Any, inputs: Inputs) -> Tensor:
    if hasattr(model, "get_image_features"):
        return _pooled_or_tensor(model.get_image_features(**inputs))
    outputs = model(**inputs)
    pooled = getattr(outputs, "pooler_output", None)
    return _average(outputs.last_hidden_state) if pooled is None else pooled.flatten(1)


def masked_mean(model: Any, inputs: Inputs) -> Tensor:
    return _mean_over(model(**inputs).last_hidden_state, inputs["attention_mask"])


def encoder_masked_mean(model: Any, inputs: Inputs) -> Tensor:
    return masked_mean(model.get_encoder(), inputs)


def text_fallback(model: Any, inputs: Inputs) -> Tensor:
    if hasattr(model, "get_text_features"):
        return _pooled_or_tensor(model.get_text_features(**inputs))
    if model.config.is_encoder_decoder:
        return encoder_masked_mean(model, inputs)
    return masked_mean(model, inputs)


def masked_max(model: Any, inputs: Inputs) -> Tensor:
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden.masked_fill(inputs["attention_mask"][..., None] == 0, float("-inf")).amax(1)


def last_token(model: Any, inputs: Inputs) -> Tensor:
    hidden: Tensor = model(**inputs).last_hidden_state
    last = inputs["attention_mask"].sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def captioner_cross_attention(model: Any, inputs: Inputs) -> Tensor:
    start = _start_tokens(model, inputs)
    outputs = model(**inputs, decoder_input_ids=start, output_hidden_states=True, use_cache=False)
    return torch.cat([_average(outputs.encoder_last_hidden_state), outputs.decoder_hidden_states[-1][:, -1]], dim=1)


def captioner_blip(model: Any, inputs: Inputs) -> Tensor:
    tokens = model.vision_model(**inputs).last_hidden_state
    outputs = model.text_decoder(
        input_ids=_start_tokens(model, inputs),
        encoder_hidden_states=tokens,
        output_hidden_states=True,
        use_cache=False,
    )
    return torch.cat([_average(tokens), outputs.hidden_states[-1][:, -1]], dim=1)


def captioner_git(model: Any, inputs: Inputs) -> Tensor:
    # GIT's decoder reads [image tokens, caption]; its input holds the encoder's projected tokens.
    start = _start_tokens(model, inputs)
    outputs = model(**inputs, input_ids=start, output_hidden_states=True, use_cache=False)
    return torch.cat([outputs.hidden_states[0][:, :-1].mean(1), outputs.last_hidden_state[:, -1]], dim=1)


POOLINGS: dict[str, Pooling] = {
    "pooler_output": Pooling("pooled output (input of the classifier)", pooler_output),
    "unmasked_pooler_output": Pooling("pooled output", unmasked_pooler_output),
    "cls_token": Pooling("first token (CLS) of the last layer", first_token),
    "spatial_mean": Pooling("mean of the last layer's tokens or map", spatial_mean),
    "image_fallback": Pooling("pooled output, or the mean of tokens or map", image_fallback),
    "masked_mean": Pooling("mean of the last layer's tokens, padding left out", masked_mean),
    "masked_max": Pooling("maximum of the last layer's tokens, padding left out", masked_max),
    "last_token": Pooling("last token of the last layer", last_token),
    "encoder_masked_mean": Pooling("mean of the encoder's last tokens, padding left out", encoder_masked_mean),
    "text_embeds": Pooling("projected text embedding", text_embeds),
    "text_fallback": Pooling("mean of the last layer's tokens, padding left out", text_fallback),
    "captioner_cross_attention": Pooling(
        "mean of the image encoder's tokens, and the decoder's state at the start token",
        captioner_cross_attention,
    ),
    "captioner_blip": Pooling(
        "mean of the image encoder's tokens, and the decoder's state at the start token", captioner_blip
    ),
    "captioner_git": Pooling(
        "mean of the projected image tokens, and the decoder's state at the start token", captioner_git
    ),
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


def _average(hidden: Tensor) -> Tensor:
    """Mean of (b, T, D) tokens, or global average of a (b, D, H, W) map."""
    return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)


def _mean_over(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask.to(hidden.dtype)
    return torch.einsum("btd,bt->bd", hidden, weights) / weights.sum(1, keepdim=True)


def _pooled_or_tensor(outputs: Any) -> Tensor:
    pooled: Tensor = getattr(outputs, "pooler_output", outputs)
    return pooled.flatten(1)


def _start_tokens(model: Any, inputs: Inputs) -> Tensor:
    """The token that starts every caption, once an image: int64 (b, 1)."""
    pixels = inputs["pixel_values"]
    return torch.full((len(pixels), 1), start_token(model), dtype=torch.int64, device=pixels.device)


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
