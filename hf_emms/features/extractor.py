"""Loaded checkpoints that compute features of inputs, for several layers in one forward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.feature_spec import FeatureInfo, FeatureSpec, ReadCounts
from hf_emms.formatting import pluralize
from hf_emms.options import LAST

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Batch, BatchedForward, Inputs
    from hf_emms.features.layers import JoinedLayers, LayerReader

# Errors that a model may raise on inputs that it cannot take.
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)


class FeatureReader(ABC):
    """Base class of readers that turn the inputs of a modality into features, see `Modality.feature_reader`.

    Args:
        function: Turns the tensors of a batch into features (b, D1).
        model: The loaded checkpoint.
        layers: The layers that become features.
        max_elements: Device type → the most elements of a batch, by default the most tokens.
    """

    def __init__(
        self,
        function: Callable[[Inputs], Tensor],
        model: Any,
        layers: LayerReader | JoinedLayers,
        max_elements: Mapping[str, int] | None = None,
    ) -> None:
        from hf_emms.features.device import TOKENS, BatchedForward

        self.layers, self.counts = layers, ReadCounts()
        self._forward = BatchedForward(function, model.device, max_elements or TOKENS, model.dtype)
        self.forwards: tuple[BatchedForward, ...] = (self._forward,)

    @abstractmethod
    def batches(self, inputs: Any, batch_size: int | None) -> Iterator[Batch]:
        """Yield positions and features of batches, see `Extractor.batches`."""

    @abstractmethod
    def example(self) -> Sequence[Any]:
        """Return one input."""


class Extractor:
    """A loaded checkpoint that computes features of inputs.

    Attributes:
        spec: How it was loaded.
        width: Number of columns of a feature row, over all layers.
        layer_slices: Layer → its part of a feature row.
        refused: Layer → why this checkpoint lacks it; never all requested layers.
        parameters: Of the loaded part (a vision tower without its text tower).
    """

    def __init__(self, spec: FeatureSpec, model: Any, reader: FeatureReader) -> None:
        self.spec = spec
        self._model: Any = model
        self._reader: FeatureReader | None = reader
        self._layers, self._counts = reader.layers, reader.counts  # `info` is called after `close`, too
        self._device: torch.device = model.device
        self._notes = {note.code: note for note in spec.notes}
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.width = self._probe(reader)
        self.layer_slices = self._layers.slices_of(self.width)
        self.refused = self._layers.refused

    def batches(
        self, inputs: Sequence[Any], *, batch_size: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions in `inputs`, int64 (b,), and their features, float32 (b, D1); each input once, in any order.

        Inputs are M texts, M images (`inputs[i]` decodes a PIL image), or M `Pairs` or `Spans`, as the checkpoint was
        loaded for. A batch has at most `batch_size` inputs (for `Spans`, pairs); None: a number that suits the device.

        Raises:
            EmmsError: The checkpoint fails on an input, or a single input does not fit into memory.
        """
        from hf_emms.features.device import to_numpy

        reader = self._reader
        if reader is None:
            raise EmmsError("closed", f"the extractor of {self.spec.repo.id} was closed")
        try:
            yield from to_numpy(reader.batches(inputs, batch_size))
        except EmmsError:
            raise
        except _FAILURES as error:
            reason = next(iter(str(error).splitlines()), "")
            raise EmmsError(
                "checkpoint-failed", f"{self.spec.repo.id} failed on its inputs: {type(error).__name__}: {reason}"
            ) from error
        finally:
            halvings = sum(forward.halvings for forward in reader.forwards)
            if halvings:
                text = f"out of memory: the batch was halved {pluralize(halvings, 'time')}"
                self._notes["batch-halved"] = Note("batch-halved", text)

    def info(self, layer: str = LAST) -> FeatureInfo:
        """Report about the features of a layer. Counts and notes grow with each batch."""
        return FeatureInfo(
            parameters=self.parameters,
            width=len(range(self.width)[self.layer_slices[layer]]),
            architecture=self.spec.architecture.family,
            pooling=self._layers.describe(layer),
            general_notes=tuple(self._notes.values()),
            counts=copy(self._counts),
        )

    @property
    def notes(self) -> tuple[Note, ...]:
        return self.info(next(iter(self.layer_slices))).notes

    def reset_counts(self) -> None:
        """Reset the counts of truncated inputs and inputs read in windows."""
        if self._reader is not None:
            self._counts = self._reader.counts = ReadCounts()

    def close(self) -> None:
        """Free the model's memory. The extractor cannot be used afterwards."""
        import torch

        from hf_emms.features.device import release_freed_memory

        self._model = self._reader = None
        if self._device.type == "cpu":
            release_freed_memory()
        else:
            torch.get_device_module(self._device).empty_cache()

    def _probe(self, reader: FeatureReader) -> int:
        """Return the feature width by running an example."""
        ((_, features),) = self.batches(reader.example())
        if features.ndim != 2:
            raise EmmsError(
                "wrong-shape",
                f"{self.spec.repo.id} gives features of shape {features.shape}, not a row for each input",
                "add a row for its architecture to hf_emms/features/architectures.py",
            )
        self.reset_counts()
        return features.shape[1]
