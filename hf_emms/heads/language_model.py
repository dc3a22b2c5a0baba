"""Language models that write responses to prompts, as transformers loads them, and what a response costs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from hf_emms.cache import NO_CACHE, Cache
from hf_emms.errors import EmmsError
from hf_emms.features.adapters import merge_adapter
from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.device import Inputs
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, load_error
from hf_emms.features.load import check_size
from hf_emms.heads.split import IGNORED
from hf_emms.inputs.prompt import PromptReader, Response, is_encoder_decoder


def load_language_model(plan: FeatureSpec, cache: Cache = NO_CACHE) -> Any:
    """Return the checkpoint as a class of transformers that writes texts, in the plan's precision, on the CPU.

    Raises:
        EmmsError: it cannot be loaded, or lacks the weights that write.
    """
    import transformers

    loader = transformers.AutoModelForSeq2SeqLM if is_encoder_decoder(plan) else transformers.AutoModelForCausalLM
    weights = fetch_weights(plan.weights_repo, subfolder=plan.subfolder)
    try:
        check_size(plan, weights)
        model, report = loader.from_pretrained(
            weights.folder,
            dtype=getattr(torch, plan.dtype),
            use_safetensors=not weights.pickled,
            trust_remote_code=plan.code,
            local_files_only=True,
            output_loading_info=True,
        )
    except EmmsError:
        raise
    except LOAD_FAILURES as error:
        raise load_error(plan, "weights", error) from error
    if report["missing_keys"]:
        raise EmmsError(
            f"{plan.repo.id} has no weights for {min(report['missing_keys'])}: it cannot write a text",
            "rank checkpoints that were saved with their language model head",
        )
    if plan.base is not None:
        merge_adapter(plan.repo, model)
    return model


def response_batch(reader: PromptReader, responses: Sequence[Response]) -> Inputs:
    """Return the tensors of b prompts with their responses, and as labels the tokens of the responses, int64 (b, T)."""
    if reader.is_encoder:
        inputs = reader.pad([response.prompt for response in responses])
        labels = [response.response for response in responses]
    else:
        inputs = reader.pad([[*response.prompt, *response.response] for response in responses])
        labels = [[IGNORED] * len(response.prompt) + response.response for response in responses]
    rows = [torch.tensor(row) for row in labels]
    return {**inputs, "labels": pad_sequence(rows, batch_first=True, padding_value=IGNORED)}


def response_losses(model: Any, inputs: Inputs, *, is_encoder: bool) -> Tensor:
    """Return the nats of each of b responses behind its prompt, float32 (b,)."""
    labels = inputs["labels"]
    others = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    if is_encoder:
        logits = model(**others, labels=labels, use_cache=False).logits
    else:
        logits, labels = model(**others, use_cache=False).logits[:, :-1], labels[:, 1:]
    losses = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(labels.shape).sum(1)
