"""Running a model on its device: preparing a CPU for speed, batches that fit into memory, asynchronous copies."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hf_emms.errors import EmmsError, check_type
from hf_emms.features.main_memory import processor_name
from hf_emms.formatting import pluralize
from hf_emms.texts import setting_ref

Inputs = dict[str, Tensor]
"""The tensors of a batch by the names of the model's arguments, (b, …) each."""

Batch = tuple[np.ndarray, Tensor]
"""Positions of inputs, int64 (b,), and their features, float32 (b, D1), on any device."""

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(device: str) -> torch.device:
    """Return the torch device with a name. Raises an `EmmsError` if it is unknown or missing on this machine."""
    check_type("device", device, str)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if available[name])
    kind = device.partition(":")[0]
    if kind not in available:
        raise EmmsError("unknown-device", f"unknown device {device!r}", f"choose from {', '.join(DEVICES)}")
    if not available[kind]:
        raise EmmsError("no-device", f"this machine has no usable {kind} device", setting_ref("device", "auto"))
    return torch.device(device)


def device_name(device: str) -> str:
    """Return the name of the GPU, or of the processor with its number of threads."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    if chosen.type == "cpu":
        return f"{processor_name()}, {pluralize(torch.get_num_threads(), 'thread')}"
    return f"GPU of {processor_name()}"


def gpu_peak(device: str) -> Callable[[], int | None]:
    """Return a function that reports how much GPU memory has been needed since this call.

    It returns None for other devices, whose memory also contains the inputs.
    """
    chosen = choose_device(device)
    if chosen.type != "cuda":
        return lambda: None
    torch.cuda.reset_peak_memory_stats(chosen)
    before = torch.cuda.memory_allocated(chosen)
    return lambda: torch.cuda.max_memory_allocated(chosen) - before


# --- preparing a CPU: features stay the same up to float32 rounding ---------------------------------------

# glibc reuses freed blocks of up to 32 MB, its maximum, and 256 MB at the end of the heap. By default activations go
# back to the system after every layer, and each page costs a fault when the next layer asks for it.
_MMAP_THRESHOLD, _TRIM_THRESHOLD = (-3, 32 << 20), (-1, 256 << 20)
_USER_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
# Packing generates code for every number of rows (0.4 ms); smaller layers don't regain that.
_MIN_WEIGHTS = 2**17
# The maximum bytes of a checkpoint's packed weights. They are copies, because other code may read the layer's weights.
_MAX_PACKED_BYTES = 2**31


def prepare_for_cpu(model: nn.Module, *, channels_last: bool) -> None:
    """Make a model in evaluation mode faster on the CPU, without changing its parameters.

    Code that calls `view` on the maps of convolutions fails where these use the memory format `channels_last`.
    """
    keep_freed_memory()
    pack_linears(model)
    if channels_last:
        torch.nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)


@cache
def keep_freed_memory() -> None:
    """Let glibc reuse freed memory; with other C libraries, or options set by the user, do nothing."""
    libc = _glibc()
    if libc is not None:
        libc.mallopt(*_MMAP_THRESHOLD)
        libc.mallopt(*_TRIM_THRESHOLD)


def release_freed_memory() -> None:
    """Return freed memory to the system, see `keep_freed_memory`."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _USER_SETTINGS):
        return None
    return ctypes.CDLL(None)


def pack_linears(model: nn.Module, *, min_weights: int = _MIN_WEIGHTS) -> None:
    """Replace the forward of large linear layers on the CPU by oneDNN, with weights reordered once and not per call.

    Subclasses of `nn.Linear`, layers with another forward or weights of other types, and all beyond 2 GB stay
    unchanged.
    """
    bytes_left = _MAX_PACKED_BYTES
    types = _packable_types()
    for module in model.modules():
        if type(module) is not nn.Linear or "forward" in vars(module):
            continue
        weight = module.weight
        if type(weight) is not nn.Parameter or weight.dtype not in types or weight.device.type != "cpu":
            continue
        if min_weights <= weight.numel() and weight.nbytes <= bytes_left:
            bytes_left -= weight.nbytes
            packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
            # Bound to tensors, not to the module: a cycle would keep its memory until the next garbage collection.
            call = partial(_packed_forward, packed=packed, weight=weight, bias=module.bias)
            module.forward = call  # type: ignore[method-assign]


def _packed_forward(input: Tensor, *, packed: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if input.dtype != weight.dtype:
        return linear(input, weight, bias)  # raises the error of torch
    return torch.ops.mkldnn._linear_pointwise(input, packed, bias, "none", [], "")


def _packable_types() -> tuple[torch.dtype, ...]:
    """Return the types of weights that this build of torch can pack on this machine."""
    operations = torch.ops.mkldnn
    needed = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if (
        platform.machine() not in ("x86_64", "AMD64")
        or not torch.backends.mkldnn.is_available()
        or not all(hasattr(operations, name) for name in needed)
    ):
        return ()
    return (torch.float32, torch.bfloat16) if operations._is_mkldnn_bf16_supported() else (torch.float32,)


# --- batches that fit into memory -------------------------------------------------------------------------

# Device type → the most input elements of a batch. Larger batches leave the cache of a CPU, and a GPU needs large ones.
PIXELS = {device: images * 224**2 for device, images in {"cpu": 8, "mps": 32, "cuda": 128}.items()}
# Padding included.
TOKENS = {"cpu": 1_024, "mps": 16_384, "cuda": 262_144}
# Samples of a waveform or cells of a spectrogram, padding included: on a CPU 30 seconds at 16 kHz.
SOUND = {"cpu": 480_000, "mps": 4_800_000, "cuda": 28_800_000}


class BatchedForward:
    """Run a function over batches on a device. A batch that does not fit into memory is halved.

    The function takes the tensors of a batch on the device, floating-point ones as `dtype`, and returns (b, …).

    Attributes:
        max_elements: The most elements of a batch.
        halvings: How often memory ran out.
    """

    def __init__(
        self,
        function: Callable[[Inputs], Tensor],
        device: torch.device,
        max_elements: Mapping[str, int],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._function = function
        self._device = device
        self._dtype = dtype
        self._part_elements: int | None = None  # of the first input tensor; set once memory ran out
        self.max_elements = max_elements.get(device.type, max_elements["cpu"])
        self.halvings = 0

    def __call__(self, inputs: Inputs) -> Tensor:
        """Return the result (b, …) of a batch; an EmmsError if a single input does not fit into memory."""
        first = next(iter(inputs.values()))
        rows, elements = len(first), max(1, first[:1].numel())
        results: list[Tensor] = []
        start = 0
        while start < rows:
            size = rows if self._part_elements is None else max(1, self._part_elements // elements)
            part = {name: tensor[start : start + size] for name, tensor in inputs.items()}
            taken = len(next(iter(part.values())))
            result = self._attempt(part, taken, elements)
            if result is not None:
                results.append(result)
                start += taken
        return torch.cat(results)

    def _attempt(self, part: Inputs, rows: int, elements: int) -> Tensor | None:
        try:
            with torch.inference_mode():
                return self._function(
                    {name: to_device(tensor, self._device, self._dtype) for name, tensor in part.items()}
                )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if rows == 1:
                raise EmmsError(
                    "out-of-memory",
                    f"an input of {elements:,} elements does not fit into memory ({str(error).splitlines()[0]})",
                    setting_ref("device", "cpu") + ", or " + setting_ref("dtype", "bfloat16"),
                ) from None
        # Outside the except block: the traceback would keep the failed batch's tensors alive.
        self._part_elements = (rows // 2) * elements
        self.halvings += 1
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in text for words in ("out of memory", "DefaultCPUAllocator", "not enough memory")
    )


def free_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that a forward pass can have: free bytes, and bytes that torch caches for reuse."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


# --- copies between CPU and device ------------------------------------------------------------------------


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor in pinned memory, from which CUDA copies asynchronously; unchanged for other devices."""
    return tensor.pin_memory() if device.type == "cuda" and not tensor.is_cuda else tensor


def to_device(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the tensor on the device, as `dtype` if it is floating-point."""
    source = pinned(tensor, device)
    moved = source.to(device, non_blocking=source.is_pinned())
    return moved.to(dtype) if moved.is_floating_point() else moved


def to_numpy(batches: Iterable[Batch]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield features as arrays.

    From a GPU, each batch comes one batch late, so that the GPU computes during the copy.
    """
    copying: tuple[np.ndarray, Tensor, torch.cuda.Event] | None = None
    for positions, features in batches:
        if not features.is_cuda:
            yield positions, features.cpu().numpy()
            continue
        copy = features.to("cpu", non_blocking=True)
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(features.device))
        if copying is not None:
            yield _copied(*copying)
        copying = positions, copy, done
    if copying is not None:
        yield _copied(*copying)


def gather_batches(batches: Iterable[tuple[np.ndarray, np.ndarray]], count: int) -> np.ndarray:
    """Return the rows of batches in the order of their positions, float32 (count, D)."""
    ordered = np.empty((count, 0), np.float32)
    for positions, rows in batches:
        if not ordered.shape[1]:
            ordered = np.empty((count, rows.shape[1]), np.float32)
        ordered[positions] = rows
    return ordered


def _copied(positions: np.ndarray, features: Tensor, done: torch.cuda.Event) -> tuple[np.ndarray, np.ndarray]:
    done.synchronize()
    return positions, features.numpy()
