"""What a CPU needs to run a checkpoint fast: features stay the same but for float32 rounding."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

# glibc: freed blocks up to 32 MB, the most that it allows, are kept for the next layer, and 256 MB of them at the end
# of the heap. By default activations go back to the system after every layer, and each page costs a fault to return.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = (-3, 32 << 20), (-1, 256 << 20)
_OWN_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
# Weights of a layer that gains more than its code costs, which is compiled for every number of rows (0.4 ms).
_LEAST_WEIGHTS = 2**17
# Bytes of packed weights a checkpoint: the weights of a layer stay beside them, for what reads them in other ways.
_MOST_BYTES = 2**31


def prepare(model: nn.Module, *, interleaved: bool) -> None:
    """Makes a model on the CPU faster, in place.

    Args:
        model: in evaluation; its parameters keep their names, numbers and values.
        interleaved: let convolutions pass on the channels of a pixel side by side (`channels_last`). Code that calls
            `view` on their maps as if they lay apart would fail.
    """
    keep_freed_memory()
    pack_linears(model)
    if interleaved:
        interleave(model)


@cache
def keep_freed_memory() -> None:
    """Tells glibc once a process to keep what is freed; does nothing elsewhere, or where the user has told it."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(*_MMAP_THRESHOLD)
        libc.mallopt(*_TRIM_THRESHOLD)


def give_back_freed_memory() -> None:
    """Returns what `keep_freed_memory` has kept to the system."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def pack_linears(model: nn.Module, *, least: int = _LEAST_WEIGHTS) -> None:
    """Gives large linear layers on the CPU a forward by oneDNN, with weights that are brought into its order once.

    torch itself brings them into order at every call: in bfloat16 by oneDNN, in float32 by MKL, which is the slower of
    the two on AMD. Subclasses, layers with a forward or weights of another kind, and what lies beyond 2 GB stay as
    they are.

    Args:
        model: its parameters stay, and the packed copies beside them.
        least: how many weights a layer must have.
    """
    left = _MOST_BYTES
    types = _packable()
    for module in model.modules():
        if type(module) is not nn.Linear or "forward" in vars(module):
            continue
        weight = module.weight
        if type(weight) is not nn.Parameter or weight.dtype not in types or weight.device.type != "cpu":
            continue
        if least <= weight.numel() and weight.nbytes <= left:
            left -= weight.nbytes
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
            # Tensors, not the module: it would hold itself, and its memory until the next collection of cycles.
            module.forward = partial(_forward, packed, weight, module.bias)  # type: ignore[method-assign]


def packed_bytes(model: nn.Module) -> int:
    """Bytes that `pack_linears` keeps beside a model's own."""
    forwards = (vars(module).get("forward") for module in model.modules())
    packed = (own.args[0] for own in forwards if isinstance(own, partial) and own.func is _forward)
    return sum(weights.nbytes for weights in packed)


def interleave(model: nn.Module) -> None:
    """Has convolutions pass on maps in `channels_last`, which their weights decide."""
    torch.nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)


def _forward(packed: Tensor, weight: Tensor, bias: Tensor | None, input: Tensor) -> Tensor:
    if input.dtype != weight.dtype:
        return linear(input, weight, bias)  # says what is wrong
    return torch.ops.mkldnn._linear_pointwise(input, packed, bias, "none", [], "")


def _packable() -> tuple[torch.dtype, ...]:
    """The types of weights that this build of torch can pack on this machine."""
    operations = torch.ops.mkldnn
    needed = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if (
        platform.machine() not in ("x86_64", "AMD64")
        or not torch.backends.mkldnn.is_available()
        or not all(hasattr(operations, name) for name in needed)
    ):
        return ()
    return (torch.float32, torch.bfloat16) if operations._is_mkldnn_bf16_supported() else (torch.float32,)


@cache
def _glibc() -> Any:
    """The C library, where it is glibc and not set by the user."""
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _OWN_SETTINGS):
        return None
    return ctypes.CDLL(None)
