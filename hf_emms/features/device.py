"""What a CPU needs to run a checkpoint fast: features stay the same but for float32 rounding.

Batches that halve themselves until they fit into the device's memory.
How much of its input a forward is given at once: on a GPU what its free memory holds, else a constant.
Between the memory of CPU and device: a GPU computes one batch, fetches the next and hands over the last.

Copies from and to pinned memory run beside the computation, and nobody waits for them before their result is needed.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hf_emms.errors import EmmsError

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
        to_channels_last(model)


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


def to_channels_last(model: nn.Module) -> None:
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


Inputs = dict[str, Tensor]


class HalvingForward:
    """Runs a forward over a batch, in parts once the device has run out of memory.

    Attributes:
        elements: the most input elements (pixels, tokens) a part may have; None until memory ran out.
        halvings: how often memory ran out.
    """

    def __init__(self, forward: Callable[[Inputs], Tensor]) -> None:
        self._forward = forward
        self.elements: int | None = None
        self.halvings = 0

    def __call__(self, inputs: Inputs) -> Tensor:
        """The forward's rows (b, D) of a batch of b inputs, one after the other part.

        Raises:
            EmmsError: a single input does not fit.
        """
        first = next(iter(inputs.values()))
        rows, each = len(first), max(1, first[:1].numel())
        done: list[Tensor] = []
        start = 0
        while start < rows:
            size = rows if self.elements is None else max(1, self.elements // each)
            part = {name: tensor[start : start + size] for name, tensor in inputs.items()}
            taken = len(next(iter(part.values())))
            features = self._attempt(part, taken, each)
            if features is not None:
                done.append(features)
                start += taken
        return done[0] if len(done) == 1 else torch.cat(done)

    def _attempt(self, part: Inputs, rows: int, each: int) -> Tensor | None:
        try:
            return self._forward(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if rows == 1:
                raise EmmsError(
                    f"one input of {each:,} elements does not fit into memory ({str(error).splitlines()[0]})",
                    "--device cpu, or --dtype bfloat16",
                ) from None
        # Outside the except block: the traceback would keep the failed batch's tensors alive.
        self.elements = (rows // 2) * each
        self.halvings += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a RuntimeError says that the device (CUDA, MPS or CPU) has no memory left."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "DefaultCPUAllocator", "not enough memory")
    )


# Of the free memory that one batch may take: it is free in pieces, other programs grow, and inputs that are longer than
# the probe's take more (attention without a fused kernel grows with the square of the length).
SHARE = 0.6


class Budget:
    """Units of input (pixels, tokens) a batch of one forward.

    Args:
        units: device type → units a batch. On CUDA the most, as larger batches would not be faster; never less than on
            a CPU.
        count: how many units a batch has.
        device: that runs it.
    """

    def __init__(self, units: Mapping[str, int], count: Callable[[Inputs], int], device: torch.device) -> None:
        self._most = units.get(device.type, units["cpu"])
        self._least = units["cpu"]
        self._count = count
        self._device = device
        self._probed: tuple[int, int] | None = None

    @contextmanager
    def probed(self, inputs: Inputs) -> Iterator[None]:
        """Learns from the batch that is run meanwhile what a unit takes; the largest one counts. Only on CUDA."""
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        yield
        found = self._count(inputs), torch.cuda.max_memory_allocated(self._device) - before
        self._probed = max(found, self._probed or found)

    def units(self) -> int:
        """How many fit now; a constant unless a GPU was probed."""
        if self._probed is None:
            return self._most
        return affordable(free_memory(self._device), *self._probed, least=self._least, most=self._most)


def affordable(free: int, units: int, taken: int, *, least: int, most: int) -> int:
    """Units a batch.

    Args:
        free: bytes that are free.
        units: of the probed batch.
        taken: bytes that it took.
        least: units that are tried however little is free; a batch that fails halves itself.
        most: units.
    """
    return min(most, max(least, int(SHARE * free * units / max(1, taken))))


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that a forward could have: free ones, and what torch keeps for reuse."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


Batch = tuple[np.ndarray, Tensor]
"""Positions of inputs, int64 (b,), and their features, float32 (b, D1), wherever the forward left them."""


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor where the device fetches it without the CPU: in pinned memory, if the device is a CUDA GPU."""
    return tensor.pin_memory() if device.type == "cuda" and not tensor.is_cuda else tensor


def moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The tensor on the device; numbers with a fraction in its precision."""
    there = pinned(tensor, device).to(device, non_blocking=device.type == "cuda")
    return there.to(dtype) if there.is_floating_point() else there


def to_numpy(batches: Iterable[Batch]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches with their features on the CPU; from a GPU one behind, so that it is never idle for a copy."""
    waiting: tuple[np.ndarray, Tensor, torch.cuda.Event] | None = None
    for positions, features in batches:
        if not features.is_cuda:
            yield positions, features.cpu().numpy()
            continue
        copied = features.to("cpu", non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(features.device))
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = positions, copied, done
    if waiting is not None:
        yield _arrived(*waiting)


def _arrived(positions: np.ndarray, features: Tensor, done: torch.cuda.Event) -> tuple[np.ndarray, np.ndarray]:
    done.synchronize()
    return positions, features.numpy()
