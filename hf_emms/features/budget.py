"""How much of its input a forward is given at once: on a GPU what its free memory holds, else a constant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

from hf_emms.features.memory import Inputs

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
