"""The feature of a question with its context, from an encoder's token states.

[mean of the question's tokens; mean of the context's], read in one pass. It is the same whatever the answer is: where
an answer starts never enters. It is for answers in words of their own; spans.py is for those that stand in the context.

Measured with frozen encoders (held-out R² of MiniLM embeddings of the answers, ridge). Six of them on some 460 WordNet
spans: mean over all tokens .181, over the context .208, question and context .190. MiniLM on 1,000 rows of XQuAD: .059,
.056, .069. A third part, the context's tokens weighted by their similarity with the question, gained .001 to .006 on
WordNet and lost .003 to .004 on XQuAD, for half as many columns again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.memory import Inputs
from hf_emms.plugins import by_reference

SUMMARY = "mean of the question's tokens and mean of the context's, read together"


def token_states(model: Any, inputs: Inputs) -> Tensor:
    hidden: Tensor = model(**inputs).last_hidden_state
    return hidden


def encoder_states(model: Any, inputs: Inputs) -> Tensor:
    return token_states(model.get_encoder(), inputs)


def fallback_states(model: Any, inputs: Inputs) -> Tensor:
    return (encoder_states if model.config.is_encoder_decoder else token_states)(model, inputs)


States = Callable[[Any, Inputs], Tensor]
STATES: dict[str, States] = {
    "question_context": token_states,
    "encoder_question_context": encoder_states,
    "question_context_fallback": fallback_states,
}


def find_states(name: str) -> States:
    """An entry of `STATES`, or a function of another package from a model and a batch to token states (b, T, D).

    Raises:
        EmmsError: there is none of this name.
    """
    if ":" not in name:
        return STATES[name]
    found = by_reference(name)
    if not callable(found):
        raise EmmsError(f"{name} is of type {type(found).__name__}, no function to token states")
    return found


def said_by_window(states: States, model: Any, inputs: Inputs) -> Tensor:
    """What a window says of its pair.

    Args:
        states: token states of a model.
        model: the model.
        inputs: of b windows, see `windows.read_windows`.

    Returns:
        float32 (b, 2·D + 1): mean of the first text's tokens, sum of the second's, and their number.
    """
    hidden, told = counted_sums(states, model, inputs)
    first = inputs["first"].float()
    asked = torch.einsum("btd,bt->bd", hidden, first) / first.sum(1, keepdim=True).clamp_min(1)
    return torch.cat([asked, told[:, 0]], dim=1)


def counted_sums(states: States, model: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Token states, float32 (b, T, D); and of each run of tokens that counts their sum and number, (b, S, D + 1)."""
    own = {name: tensor for name, tensor in inputs.items() if name not in ("first", "counted")}
    hidden = states(model, own).float()
    start, stop = inputs["counted"].unbind(2)
    places = torch.arange(hidden.shape[1], device=hidden.device)
    marks = ((places >= start[..., None]) & (places < stop[..., None])).float()
    return hidden, torch.cat([marks @ hidden, marks.sum(2, keepdim=True)], dim=2)


def merged(said: np.ndarray) -> np.ndarray:
    """The row (2·D,) of a pair from what its w windows say, float32 (w, 2·D + 1)."""
    asked, told = np.split(said[:, :-1], 2, axis=1)
    # An empty context has no tokens to average.
    return np.concatenate([asked.mean(0), told.sum(0) / max(1.0, said[:, -1].sum())])
