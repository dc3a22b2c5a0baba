"""Bytes that training a checkpoint takes: weights, gradients, the optimizer's moments and activations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError, Text, use
from hf_emms.features.extraction_plan import ExtractionPlan, transformers_config
from hf_emms.features.main_memory import free_main_memory
from hf_emms.formatting import format_bytes
from hf_emms.heads.response import CHECKPOINTED_PARAMETERS

if TYPE_CHECKING:
    import torch

# Weights, gradients and AdamW's two moments in float32; weights alone.
BYTES_PER_PARAMETER, BYTES_OF_WEIGHT = 16, 4
# From so many parameters a short run trains an adapter.
LORA_PARAMETERS = 300_000_000
# Rows of a step of the short run, and logits that it holds at a time.
SHORT_RUN_BATCH, MAX_LOGITS = 8, 2**26
# Numbers that a layer keeps of a token for the backward pass, in its width: 34 bytes in half precision without the
# scores of attention (arXiv 2205.05198, section 4.1).
_KEPT_OF_LAYER = 17
# Logits, their copy in float32, and the gradients of both.
_COPIES_OF_LOGITS = 4


def training_bytes(method: str, parameters: int | None) -> int:
    """Bytes that training takes besides activations; an adapter's and a head's few parameters do not count."""
    return (BYTES_PER_PARAMETER if method == "full" else BYTES_OF_WEIGHT) * (parameters or 0)


def memory_in_words(method: str, parameters: int | None, activations: int | None) -> str:
    """What training takes; activations are bytes, where these are known."""
    of_activations = "activations" if activations is None else f"{format_bytes(activations)} of activations"
    return f"{format_bytes(training_bytes(method, parameters))} of memory and {of_activations}"


def activation_bytes(plan: ExtractionPlan, tokens: int, *, bytes_of_number: int, checkpointed: bool) -> int:
    """Bytes that a language model keeps of the tokens of a batch; a checkpointed one keeps all of a layer at a time."""
    config = transformers_config(plan)
    width, layers, vocabulary = (
        getattr(config, name, 0) or 0 for name in ("hidden_size", "num_hidden_layers", "vocab_size")
    )
    layers *= 2 if getattr(config, "is_encoder_decoder", False) else 1
    of_layers = layers + _KEPT_OF_LAYER if checkpointed else layers * _KEPT_OF_LAYER
    return int(tokens * (width * of_layers * bytes_of_number + vocabulary * _COPIES_OF_LOGITS * BYTES_OF_WEIGHT))


def short_run_memory(plan: ExtractionPlan, weight_bytes: int, longest: int) -> tuple[str, int]:
    """How a short run trains, and about how many bytes it takes.

    `weight_bytes` are those of the files, `longest` are tokens of a row.
    """
    import torch

    config, loaded = transformers_config(plan), getattr(torch, plan.dtype).itemsize
    rows = min(SHORT_RUN_BATCH, max(1, MAX_LOGITS // (longest * (getattr(config, "vocab_size", 0) or 1))))
    activations = activation_bytes(plan, rows * longest, bytes_of_number=loaded, checkpointed=False)
    parameters = weight_bytes // _stored_bytes(config)
    method = "lora" if parameters >= LORA_PARAMETERS else "full"
    return method, training_bytes(method, parameters) * loaded // BYTES_OF_WEIGHT + activations


def check_short_run(plan: ExtractionPlan, weight_bytes: int, longest: int, device: str) -> None:
    """Refuses a short run that does not fit into free memory; see `short_run_memory`.

    Raises:
        EmmsError: it needs more than is free.
    """
    method, needed = short_run_memory(plan, weight_bytes, longest)
    _check("its short run", needed, method, device, "rank without training: " + use("estimators", "emms_knn"))


def response_activation_bytes(plan: ExtractionPlan, parameters: int | None, tokens: int, device: str) -> int:
    """Activations of a batch of so many tokens in a fine-tuning on responses; a GPU computes in half precision."""
    from hf_emms.features.device import choose_device

    bytes_of_number = BYTES_OF_WEIGHT // (2 if choose_device(device).type == "cuda" else 1)
    checkpointed = (parameters or 0) >= CHECKPOINTED_PARAMETERS
    return activation_bytes(plan, tokens, bytes_of_number=bytes_of_number, checkpointed=checkpointed)


def check_training(method: str, parameters: int | None, activations: int, device: str) -> None:
    """Refuses a fine-tuning that does not fit into free memory.

    Raises:
        EmmsError: it needs more than is free.
    """
    needed = training_bytes(method, parameters) + activations
    _check("its training", needed, method, device, use("method", "lora") + ", or a smaller " + use("batch_size"))


def _check(what: str, needed: int, method: str, device: str, remedy: Text) -> None:
    from hf_emms.features.device import choose_device

    free = free_bytes(choose_device(device))
    if free is not None and needed > free:
        parts = "weights, gradients, optimizer and activations" if method == "full" else "weights and activations"
        raise EmmsError(
            f"{what} would take about {format_bytes(needed)} ({parts}), and {format_bytes(free)} are free",
            remedy + ", or a larger machine (" + use("engine", "jobs") + ")",
        )


def free_bytes(device: torch.device) -> int | None:
    """Return the free bytes of a device, within a container's limit; None where the system does not say it."""
    from hf_emms.features.device import free_memory

    if device.type == "cuda":
        return free_memory(device)
    return free_main_memory() if device.type == "cpu" else None


def held_bytes(device: torch.device) -> int:
    """Memory that this process holds, on a GPU the most of it since its peak was reset; 0 where that is not known."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    pages = Path("/proc/self/statm")
    if device.type != "cpu" or not pages.exists():
        return 0
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _stored_bytes(config: Any) -> int:
    """Bytes of a number in the files of a checkpoint, by its configuration."""
    dtype = getattr(config, "dtype", None)
    return 2 if "16" in str(dtype) else BYTES_OF_WEIGHT
