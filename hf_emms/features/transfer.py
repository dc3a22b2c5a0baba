"""Between the memory of CPU and device: a GPU computes one batch, fetches the next and hands over the last.

Copies from and to pinned memory run beside the computation, and nobody waits for them before their result is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

Batch = tuple[np.ndarray, Tensor]
"""Positions of inputs, int64 (b,), and their features, float32 (b, D1), wherever the forward left them."""


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor where the device fetches it without the CPU: in pinned memory, if the device is a CUDA GPU."""
    return tensor.pin_memory() if device.type == "cuda" and not tensor.is_cuda else tensor


def moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The tensor on the device; numbers with a fraction in its precision."""
    there = pinned(tensor, device).to(device, non_blocking=device.type == "cuda")
    return there.to(dtype) if there.is_floating_point() else there


def brought(batches: Iterable[Batch]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
