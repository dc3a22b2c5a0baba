"""A loaded checkpoint that turns inputs into feature rows, and the one for single texts or images and their layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.device import Batch, BatchedForward, Inputs, packed_bytes, release_freed_memory, to_numpy
from hf_emms.features.extraction_plan import ExtractionPlan, FeatureInfo, LayerError
from hf_emms.features.hidden_layers import LayerReader, describe_layer
from hf_emms.features.images import ImageReader, image_batches
from hf_emms.features.pooling import find_pooling
from hf_emms.features.text import TextReader, text_batches
from hf_emms.formatting import pluralize
from hf_emms.options import LAST, SPREAD

# Pixels and tokens a batch, see `BatchedForward`. Larger batches leave the cache of a CPU, and a GPU needs large ones.
PIXELS = {"cpu": 8 * 224**2, "mps": 32 * 224**2, "cuda": 128 * 224**2}
TOKENS = {"cpu": 1_024, "mps": 16_384, "cuda": 262_144}
# Inputs of the batch that measures memory, and words of each text: enough to outweigh what any forward takes.
PROBE_SIZE, PROBE_WORDS = 8, 512
# What a model may raise on inputs that it cannot take.
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)


def count_pixels(inputs: Inputs) -> int:
    """Pixels of a batch, of all images together."""
    return inputs["pixel_values"][:, 0].numel()


def count_tokens(inputs: Inputs) -> int:
    """Tokens of a batch, padding included."""
    return inputs["input_ids"].numel()


def example_texts(count: int, words: int) -> list[str]:
    """So many texts of so many words."""
    return ["a " * words] * count


def example_images(count: int) -> list[Any]:
    """So many images."""
    from PIL import Image

    return [Image.new("RGB", (64, 64))] * count


class Extractor(ABC):
    """A loaded checkpoint that turns inputs into feature rows, those of several layers from one forward.

    Subclasses take an `ExtractionPlan`, the model of transformers that was loaded by it, how it reads its inputs, what
    is pooled, and the layers, as `options.layer_names` writes them.

    Attributes:
        plan: how it was loaded.
        width: columns of a feature row, those of all layers together.
        layer_slices: layer → its part of a feature row.
        refused: layer → why this checkpoint does not have it. Never all that were asked for.
        parameters: of the loaded part (a vision tower without its text tower).
        architecture: the family.
        pooling: what is the feature at layer "last", in words.
        cut: how many texts were cut so far, at `cut_length` tokens.
        windowed: how many inputs were read in several windows of `window_length` tokens so far.
    """

    width: int
    layer_slices: dict[str, slice]
    refused: dict[str, LayerError]

    def __init__(self, plan: ExtractionPlan, model: Any, pooling: str) -> None:
        self.plan = plan
        self._model = model
        self._device: torch.device = model.device
        self._notes = dict(plan.notes)
        self._forwards: list[BatchedForward] = []
        self.architecture = plan.architecture.family
        self.pooling = pooling
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.reset_counts()

    def batches(
        self, inputs: Sequence[Any], *, batch_size: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Runs the checkpoint over inputs.

        Args:
            inputs: M texts, M images of which `inputs[i]` decodes one (PIL), or M `Pairs` or `Spans`, as the
                checkpoint was loaded for.
            batch_size: the most inputs a batch (of `Spans`, the most pairs); None: what suits the device.

        Yields:
            Positions in `inputs`, int64 (b,), and their features, float32 (b, D1). Every position comes once,
            in any order.

        Raises:
            EmmsError: the checkpoint fails on an input, or one input alone does not fit into memory.
        """
        if self._model is None:
            raise EmmsError(f"the extractor of {self.plan.repo.id} was closed")
        try:
            yield from to_numpy(self._batches(inputs, batch_size))
        except EmmsError:
            raise
        except _FAILURES as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            raise EmmsError(f"{self.plan.repo.id} failed on its inputs: {type(error).__name__}: {reason}") from error
        finally:
            halvings = sum(forward.halvings for forward in self._forwards)
            if halvings:
                self._notes["memory"] = f"out of memory: the batch was halved {pluralize(halvings, 'time')}"

    def info(self, layer: str = LAST) -> FeatureInfo:
        """What a ranking reports about the features of a layer; counts and notes grow while batches are taken."""
        part = self.layer_slices[layer]
        return FeatureInfo(
            parameters=self.parameters,
            width=part.stop - part.start,
            architecture=self.architecture,
            pooling=self.describe(layer),
            general_notes=tuple(self._notes.values()),
            cut=self.cut,
            cut_length=self.cut_length,
            windowed=self.windowed,
            window_length=self.window_length,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the features so far."""
        return self.info(next(iter(self.layer_slices))).notes

    def describe(self, layer: str) -> str:
        """What is the feature at a layer, in words."""
        return self.pooling

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights and their packed copies."""
        tensors = (*self._model.parameters(), *self._model.buffers())
        return sum(tensor.nbytes for tensor in tensors) + packed_bytes(self._model)

    def reset_counts(self) -> None:
        """Forgets how many inputs were cut or windowed so far."""
        self.cut = self.cut_length = self.windowed = self.window_length = 0

    def close(self) -> None:
        """Frees the model's memory. The extractor cannot be used afterwards."""
        self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()
        else:
            release_freed_memory()

    @abstractmethod
    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]: ...

    @abstractmethod
    def _examples(self, count: int, words: int) -> Sequence[Any]:
        """So many inputs, with texts of so many words."""

    def _forward(
        self,
        function: Callable[[Inputs], Tensor],
        max_elements: Mapping[str, int],
        count: Callable[[Inputs], int],
    ) -> BatchedForward:
        forward = BatchedForward(
            function, self._device, dtype=self._model.dtype, max_elements=max_elements, count=count
        )
        self._forwards.append(forward)
        return forward

    def _probe(self) -> None:
        """Runs an example: no configuration gives the feature width of every family. On a GPU, measures memory too."""
        ((_, features),) = self.batches(self._examples(1, 1))
        if features.ndim != 2:
            raise EmmsError(
                f"{self.plan.repo.id} gives features of shape {features.shape}, not one row an input",
                "add a row for its architecture to hf_emms/features/architectures.py",
            )
        self.width = features.shape[1]
        if self._device.type == "cuda":
            for forward in self._forwards:
                forward.probing = True
            for _ in self.batches(self._examples(PROBE_SIZE, PROBE_WORDS), batch_size=PROBE_SIZE):
                pass
            for forward in self._forwards:
                forward.probing = False
        self.reset_counts()

    def _note_cut(self, count: int, length: int) -> None:
        self.cut += count
        self.cut_length = length


class SingleInputExtractor(Extractor):
    """Features of texts or images, at one or several layers; `pooling` is a name for `pooling.find_pooling`."""

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        reader: ImageReader | TextReader,
        pooling: str,
        layers: tuple[str, ...] = (LAST,),
    ) -> None:
        found = find_pooling(pooling)
        self._scaled = ", scaled to length one" if plan.normalise else ""
        super().__init__(plan, model, found.summary + self._scaled)
        self._reader = reader
        self._layer_summary = found.layer_summary + self._scaled
        self._layers = LayerReader(found, plan.architecture.first_layer, layers, normalise=plan.normalise)
        self.layer_slices, self.refused = self._layers.slices, self._layers.refused
        sizes = (TOKENS, count_tokens) if isinstance(reader, TextReader) else (PIXELS, count_pixels)
        self._features = self._forward(lambda inputs: self._layers(self._model, inputs), *sizes)
        self._probe()

    def describe(self, layer: str) -> str:
        spread_layers = self._layers.spread_layers
        if layer == LAST or (layer == SPREAD and not spread_layers):
            return self.pooling
        described = describe_layer(layer, self._layer_summary, spread_layers)
        return self.pooling + described if layer == SPREAD else described

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        reader = self._reader
        if isinstance(reader, ImageReader):
            return image_batches(reader, inputs, self._features, batch_size)
        return text_batches(
            reader, inputs, self._features, batch_size, lambda count: self._note_cut(count, reader.max_length)
        )

    def _examples(self, count: int, words: int) -> Sequence[Any]:
        return example_images(count) if isinstance(self._reader, ImageReader) else example_texts(count, words)
