"""The feature of a question with its context, from an encoder's token states.

[mean of the question's tokens; mean of the context's; mean of the context's as the question attends to them]. It is
the same whatever the answer is: where an answer starts never enters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hf_emms.features.memory import Inputs

SHARPNESS = 10  # of the softmax over cosines: measured, see the docs of `said_by_window`
SUMMARY = (
    "mean of the question's tokens, mean of the context's, and mean of the context's weighted by their cosine with the "
    "question"
)


def token_states(model: Any, inputs: Inputs) -> Tensor:
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden


def encoder_states(model: Any, inputs: Inputs) -> Tensor:
    return token_states(model.get_encoder(), inputs)


def fallback_states(model: Any, inputs: Inputs) -> Tensor:
    return (encoder_states if model.config.is_encoder_decoder else token_states)(model, inputs)


STATES: dict[str, Callable[[Any, Inputs], Tensor]] = {
    "question_context": token_states,
    "encoder_question_context": encoder_states,
    "question_context_fallback": fallback_states,
}


def said_by_window(states: Callable[[Any, Inputs], Tensor], model: Any, inputs: Inputs) -> Tensor:
    """What a window says of its pair.

    Args:
        states: token states of a model.
        model: the model.
        inputs: int64 (b, T): the model's own, and "first" and "second", which mark the tokens of both texts.

    Returns:
        float32 (b, 3·D + 2): mean of the first text's tokens, sum of the second's, their attended mean, their number,
        and the logarithm of the softmax's denominator.
    """
    own = {name: tensor for name, tensor in inputs.items() if name not in ("first", "second")}
    hidden = states(model, own).float()
    first, second = inputs["first"].float(), inputs["second"].float()
    asked = torch.einsum("btd,bt->bd", hidden, first) / first.sum(1, keepdim=True).clamp_min(1)
    total = torch.einsum("btd,bt->bd", hidden, second)
    cosines = torch.einsum("btd,bd->bt", normalize(hidden, dim=2), normalize(asked, dim=1))
    # The floor keeps a context without any token finite; it carries no weight beside one with tokens.
    logits = (SHARPNESS * cosines).masked_fill(second == 0, _FLOOR)
    attended = torch.einsum("btd,bt->bd", hidden, logits.softmax(1) * second)
    return torch.cat([asked, total, attended, second.sum(1, keepdim=True), logits.logsumexp(1, keepdim=True)], dim=1)


def merged(said: np.ndarray) -> np.ndarray:
    """The row (3·D,) of a pair from what its w windows say, float32 (w, 3·D + 2)."""
    width = (said.shape[1] - 2) // 3
    asked, total, attended = (said[:, i * width : (i + 1) * width] for i in range(3))
    weights = np.exp(said[:, -1] - said[:, -1].max())
    return np.concatenate(
        [asked.mean(0), total.sum(0) / max(1.0, said[:, -2].sum()), weights @ attended / weights.sum()]
    )


_FLOOR = -1e4
