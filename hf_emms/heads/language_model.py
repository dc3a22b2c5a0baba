"""Language models that write responses to prompts, and the loss of these responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from hf_emms.errors import EmmsError
from hf_emms.features.device import Inputs
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.modules import load_pretrained
from hf_emms.heads.split import IGNORED
from hf_emms.inputs.prompt import PromptReader, Response, is_encoder_decoder


def load_language_model(spec: FeatureSpec) -> Any:
    """Load the checkpoint as a class of transformers that writes texts, in the spec's dtype, on the CPU.

    Raises:
        EmmsError: It cannot be loaded, or has no weights for writing.
    """
    import transformers

    loader = transformers.AutoModelForSeq2SeqLM if is_encoder_decoder(spec) else transformers.AutoModelForCausalLM
    model, missing, mismatched = load_pretrained(spec, loader, getattr(torch, spec.dtype))
    if missing or mismatched:
        raise EmmsError(
            f"{spec.repo.id} has no weights for {min(missing or mismatched)}, so it cannot write a text",
            "rank checkpoints that were saved with their language model head",
        )
    return model


def response_batch(reader: PromptReader, responses: Sequence[Response]) -> Inputs:
    """Return the tensors of b prompts with their responses; the labels are the responses' tokens, int64 (b, T)."""
    if reader.is_encoder:
        inputs = reader.pad([response.prompt for response in responses])
        labels = [response.response for response in responses]
    else:
        inputs = reader.pad([[*response.prompt, *response.response] for response in responses])
        labels = [[IGNORED] * len(response.prompt) + response.response for response in responses]
    rows = [torch.tensor(row) for row in labels]
    return {**inputs, "labels": pad_sequence(rows, batch_first=True, padding_value=IGNORED)}


def response_losses(model: Any, inputs: Inputs, *, is_encoder: bool) -> Tensor:
    """Return the loss of each of b responses after its prompt in nats, float32 (b,)."""
    labels = inputs["labels"]
    others = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    if is_encoder:
        logits = model(**others, labels=labels, use_cache=False).logits
    else:
        logits, labels = model(**others, use_cache=False).logits[:, :-1], labels[:, 1:]
    losses = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(labels.shape).sum(1)
