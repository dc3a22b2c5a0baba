"""Estimate and measure the memory of training: weights, gradients, the optimizer's moments and activations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hf_emms.errors import EmmsError, Text, format_bytes, setting_ref
from hf_emms.features.feature_spec import FeatureSpec, transformers_config
from hf_emms.features.main_memory import free_main_memory
from hf_emms.heads.response import CHECKPOINTED_PARAMETERS, rows_at_a_time

if TYPE_CHECKING:
    import torch

# Bytes per parameter of weights, gradients and AdamW's two moments in float32, and of the weights alone.
BYTES_PER_PARAMETER, BYTES_OF_WEIGHT = 16, 4
# Numbers that a layer stores per token and unit of width for the backward pass: 34 bytes in half precision, without
# attention scores (arXiv 2205.05198, section 4.1).
_NUMBERS_PER_LAYER = 17
# The logits, their copy in float32, and the gradients of both.
_LOGIT_COPIES = 4


def trains_all(method: str) -> bool:
    """Return whether a method trains all weights, not an adapter or a head alone."""
    return method not in ("lora", "head")


def training_bytes(method: str, parameters: int | None, bytes_of_number: int = BYTES_OF_WEIGHT) -> int:
    """Return the bytes of a training without activations. The few weights of an adapter or a head are not counted."""
    per_parameter = BYTES_PER_PARAMETER if trains_all(method) else BYTES_OF_WEIGHT
    return per_parameter * (parameters or 0) * bytes_of_number // BYTES_OF_WEIGHT


def memory_text(method: str, parameters: int | None, activations: int | None) -> str:
    """Return the memory of a training as text; `activations` are the bytes of its activations, if known."""
    of_activations = "activations" if activations is None else f"{format_bytes(activations)} of activations"
    return f"{format_bytes(training_bytes(method, parameters))} of memory and {of_activations}"


def activation_bytes(spec: FeatureSpec, parameters: int | None, rows: int, longest: int, device: str) -> int:
    """Return the bytes of activations and logits that a language model stores in a step.

    The step has at most `rows` rows of `longest` tokens, and is split if their logits are too large. Models of at least
    `CHECKPOINTED_PARAMETERS` store the activations of one layer at a time. A GPU computes in half precision.
    """
    from hf_emms.features.device import choose_device

    config = transformers_config(spec)
    width, layers, vocabulary = (
        getattr(config, name, 0) or 0 for name in ("hidden_size", "num_hidden_layers", "vocab_size")
    )
    layers *= 2 if getattr(config, "is_encoder_decoder", False) else 1
    is_checkpointed = parameters is not None and parameters >= CHECKPOINTED_PARAMETERS
    numbers = layers + _NUMBERS_PER_LAYER if is_checkpointed else layers * _NUMBERS_PER_LAYER
    size = bytes_of_number(spec)
    if choose_device(device).type == "cuda":
        size = min(size, BYTES_OF_WEIGHT // 2)
    tokens = min(rows, rows_at_a_time(longest, vocabulary)) * longest
    return int(tokens * (width * numbers * size + vocabulary * _LOGIT_COPIES * BYTES_OF_WEIGHT))


def bytes_of_number(spec: FeatureSpec) -> int:
    """Return the bytes per number in the precision in which a checkpoint is loaded."""
    import torch

    size: int = getattr(torch, spec.dtype).itemsize
    return size


def stored_parameters(spec: FeatureSpec, weight_bytes: int) -> int:
    """Return the number of parameters of a checkpoint, from the size of its files and its configuration."""
    dtype = getattr(transformers_config(spec), "dtype", None)
    return weight_bytes // (2 if "16" in str(dtype) else BYTES_OF_WEIGHT)


def check_memory(training: str, method: str, needed: int, device: str, remedy: Text) -> None:
    """Refuse a training that needs more bytes than are free on a device.

    Raises:
        EmmsError: It does not fit. The message starts with `training`, and the hint with `remedy`.
    """
    from hf_emms.features.device import choose_device

    free = free_bytes(choose_device(device))
    if free is not None and needed > free:
        parts = "weights, gradients, optimizer and activations" if trains_all(method) else "weights and activations"
        raise EmmsError(
            f"{training} needs about {format_bytes(needed)} ({parts}), but {format_bytes(free)} are free",
            remedy + ", or use a larger machine (" + setting_ref("engine", "jobs") + ")",
        )


def free_bytes(device: torch.device) -> int | None:
    """Return the free bytes of a device, within a container's limit, or None if the system does not report them."""
    from hf_emms.features.device import free_memory

    if device.type == "cuda":
        return free_memory(device)
    return free_main_memory() if device.type == "cpu" else None


def held_bytes(device: torch.device) -> int:
    """Return the memory of this process: on a GPU the peak since its reset; 0 if the system does not report it."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    pages = Path("/proc/self/statm")
    if device.type != "cpu" or not pages.exists():
        return 0
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
