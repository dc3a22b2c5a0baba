"""Captioners: the mean of the image encoder's tokens, and the decoder's hidden states at the start token.

They see the image and the token that starts every caption, never a caption: it would put the label into the features.
The decoder's state at the start token has attended to the image, and differs between captioners that share an encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.device import Inputs
from hf_emms.features.reductions import average

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
