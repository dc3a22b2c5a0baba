"""Features of captioners: what a checkpoint makes of an image before a word is written.

Captioners are shown the image and the token that starts every caption, never a caption: a caption would put
the label into the features. Their feature is the mean of the image encoder's tokens beside the decoder's last
hidden state at the start token, after it has attended to the image. The encoder's half is as rich as an image
encoder's; the decoder's half tells captioners apart that share an encoder.

Hidden layers are the decoder's: the encoder's half stays as it is, the decoder's comes from the layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hf_emms.errors import EmmsError

Inputs = dict[str, Tensor]
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
