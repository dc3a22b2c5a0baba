"""Batches that halve themselves until they fit into the device's memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hf_emms.errors import EmmsError

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
