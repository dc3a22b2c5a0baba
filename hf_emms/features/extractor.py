"""A model on its device: what every kind of extractor shares.

Texts or pictures to feature rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features import device, hidden_layers
from hf_emms.features.device import Batch, Budget, HalvingForward, Inputs, moved, to_numpy
from hf_emms.features.feature_plan import ExtractionPlan
from hf_emms.features.hidden_layers import LAST, LayerError, refused_of_pairs
from hf_emms.features.images import ImageInput, image_batches
from hf_emms.features.pooling import find_pooling
from hf_emms.features.text import TextInput, text_batches
from hf_emms.formatting import pluralize

# Pixels and tokens a batch. On a CPU larger batches gain nothing and leave the cache (measured: 512 to 2,048 tokens
# of a MiniLM are within 5 %, a MobileNet runs 1.2 times as fast with 8 images as with 32); a GPU needs more to be
# busy, and gets at most this, see `Budget`.
PIXELS = {"cpu": 8 * 224**2, "mps": 32 * 224**2, "cuda": 128 * 224**2}
TOKENS = {"cpu": 1_024, "mps": 16_384, "cuda": 262_144}
_MOST_IMAGES = 256
# Inputs of the batch that tells what memory they take, and words of each text: many enough to outweigh what a forward
# takes whatever it is given.
PROBED, PROBED_WORDS = 8, 512
# What a model may raise on inputs that it cannot take.
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)


class BaseExtractor(ABC):
    """A loaded checkpoint that turns inputs into feature rows.

    Asked for several layers, it gives their features side by side, all from one forward.

    Attributes:
        width: columns of a feature row: D1, or the sum of them over layers.
        parameters: parameters of the loaded part (a vision tower without its text tower).
        architecture: the family, as in `architectures.py`.
        pooling: what becomes the feature row at layer "last", in words; of any layer: `summary`.
        fingerprint: changes whenever features of the same checkpoint would.
        cut: how many texts were cut so far.
        limit: the tokens at which they were; 0 while none was.
        windowed: how many inputs were read in several windows so far.
        window: tokens of a window; 0 while none was.
    """

    width: int

    def __init__(self, plan: ExtractionPlan, model: Any, pooling: str) -> None:
        self._plan = plan
        self._model = model
        self._device: torch.device = model.device
        self._notes = dict(plan.notes)
        self._runs: list[HalvingForward] = []
        self._probing = False
        self._given: tuple[str, ...] = (LAST,)
        self._refused: dict[str, LayerError] = {}
        self.cut = 0
        self.limit = 0
        self.windowed = 0
        self.window = 0
        self.architecture = plan.architecture.family
        self.pooling = pooling
        self.fingerprint = plan.fingerprint
        self.parameters = sum(parameter.numel() for parameter in model.parameters())

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how the features came about; grows while batches are taken."""
        return (*self.remarks, *window_notes(self.windowed, self.window), *cut_notes(self.cut, self.limit))

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes that are true of any part of the inputs alike."""
        return tuple(self._notes.values())

    @property
    def columns(self) -> dict[str, slice]:
        """Layer → its columns in a feature row."""
        return dict.fromkeys(self._given, slice(0, self.width))

    @property
    def refused(self) -> dict[str, LayerError]:
        """Layer → why this checkpoint cannot give it. Never all of them."""
        return self._refused

    def summary(self, layer: str) -> str:
        """What becomes the feature at a layer, in words."""
        return self.pooling

    def batches(
        self, inputs: Sequence[Any], *, batch_size: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Runs the checkpoint over inputs.

        Args:
            inputs: M texts, M images of which `inputs[i]` decodes one (PIL), or M `Pairs` or `Spans` of a kind that it
                reads.
            batch_size: the most inputs a batch (of `Spans`, the most pairs); None: what suits the device. It halves
                itself when memory runs out.

        Yields:
            Positions in `inputs`, int64 (b,), and their features, float32 (b, D1). Every position comes once,
            in any order.

        Raises:
            EmmsError: the checkpoint fails on an input, or one input alone does not fit into memory.
        """
        if self._model is None:
            raise EmmsError(f"the extractor of {self._plan.repo.id} was closed")
        try:
            yield from to_numpy(self._batches(inputs, batch_size))
        except EmmsError:
            raise
        except _FAILURES as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            raise EmmsError(f"{self._plan.repo.id} failed on its inputs: {type(error).__name__}: {reason}") from error
        finally:
            halvings = sum(run.halvings for run in self._runs)
            if halvings:
                self._notes["memory"] = f"out of memory: the batch was halved {pluralize(halvings, 'time')}"

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights, and of what a CPU keeps beside them."""
        return sum(tensor.nbytes for tensor in (*self._model.parameters(), *self._model.buffers())) + (
            device.packed_bytes(self._model)
        )

    def count_anew(self) -> None:
        """Forgets how many inputs were cut or windowed so far."""
        self.cut = self.windowed = 0

    def close(self) -> None:
        """Frees the model's memory. The extractor cannot be used afterwards."""
        self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()
        else:
            device.give_back_freed_memory()

    @abstractmethod
    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]: ...

    def _ask_joined(self, asked: tuple[str, ...]) -> None:
        """Takes the layers that were asked for, where rows are joined from several parts."""
        self._refused = refused_of_pairs(asked, self._plan.repo.id)
        self._given = tuple(layer for layer in asked if layer not in self._refused)

    def _budget(self, units: Mapping[str, int], count: Callable[[Inputs], int]) -> Budget:
        return Budget(units, count, self._device)

    def _pixels(self) -> Budget:
        return self._budget(PIXELS, lambda inputs: inputs["pixel_values"][:, 0].numel())

    def _tokens(self) -> Budget:
        return self._budget(TOKENS, lambda inputs: inputs["input_ids"].numel())

    def _halving(self, function: Callable[[Inputs], Tensor], budget: Budget, *, keep: bool = False) -> HalvingForward:
        """The function run on the device; its result is float32, or as it was if it is to be kept."""

        def forward(inputs: Inputs) -> Tensor:
            with torch.inference_mode(), budget.probed(inputs) if self._probing else nullcontext():
                there = {name: moved(tensor, self._device, self._model.dtype) for name, tensor in inputs.items()}
                result = function(there)
                return result if keep else result.float()

        self._runs.append(HalvingForward(forward))
        return self._runs[-1]

    def _probe(self, example: Sequence[Any], batch: Sequence[Any]) -> int:
        """The feature width, from one small input: no configuration tells it for every family.

        On a GPU, a batch of `PROBED` inputs then tells what memory they take.
        """
        width = self._width(example)
        if self._device.type == "cuda":
            self._probing = True
            try:
                for _ in self.batches(batch, batch_size=len(batch)):
                    pass
            finally:
                self._probing = False
        return width

    def _width(self, example: Sequence[Any]) -> int:
        ((_, features),) = self.batches(example)
        if features.ndim != 2:
            raise EmmsError(
                f"{self._plan.repo.id} gives features of shape {features.shape}, not one row an input",
                "add a row for its architecture to hf_emms/features/architectures.py",
            )
        return int(features.shape[1])

    def _note_cut(self, count: int, limit: int) -> None:
        if self._probing:
            return
        self.cut += count
        self.limit = limit


def window_notes(count: int, limit: int) -> tuple[str, ...]:
    """Says how many inputs did not fit into the tokens that the model reads at once, if any."""
    inputs = "input was" if count == 1 else "inputs were"
    told = f"{count:,} {inputs} longer than the {limit:,} tokens that it reads: overlapping windows, merged"
    return (told,) if count else ()


def fitting_images(budget: Budget, pixels: int) -> int:
    """Images of so many pixels a batch."""
    return min(_MOST_IMAGES, max(1, budget.units() // pixels))


def cut_notes(count: int, limit: int) -> tuple[str, ...]:
    """Says how many texts were cut at how many tokens, if any."""
    texts = "text was" if count == 1 else "texts were"
    return (f"{count:,} {texts} cut at {limit:,} tokens, the most that it reads",) if count else ()


class Extractor(BaseExtractor):
    """A checkpoint with its processor or tokenizer, ready to turn inputs of one kind into features."""

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        source: ImageInput | TextInput,
        pooling: str,
        asked: tuple[str, ...] = (hidden_layers.LAST,),
    ) -> None:
        self._pooling = find_pooling(pooling)
        self._scaled = ", scaled to length one" if plan.normalise else ""
        super().__init__(plan, model, self._pooling.summary + self._scaled)
        self._source = source
        self._reader = hidden_layers.LayerReader(
            self._pooling, plan.architecture.first_layer, asked, unit=plan.normalise
        )
        self._size = self._tokens() if isinstance(source, TextInput) else self._pixels()
        self._run = self._halving(self._features, self._size)
        self.width = self._probe(self._examples(1, "a"), self._examples(PROBED, "a " * PROBED_WORDS))

    @property
    def columns(self) -> dict[str, slice]:
        return self._reader.columns

    @property
    def refused(self) -> dict[str, hidden_layers.LayerError]:
        return self._reader.refused

    def summary(self, layer: str) -> str:
        if layer == hidden_layers.LAST:
            return self.pooling
        if layer == hidden_layers.SPREAD:
            beside = self._reader.beside
            words = hidden_layers.beside_words(beside, self._pooling.layer_summary) + self._scaled if beside else ""
            return self.pooling + words
        return hidden_layers.words(layer, self._pooling.layer_summary) + self._scaled

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        source = self._source
        if isinstance(source, TextInput):
            return text_batches(
                source,
                inputs,
                self._run,
                budget=self._size.units(),
                batch_size=batch_size,
                on_cut=lambda count: self._note_cut(count, source.limit),
            )
        return image_batches(source, inputs, self._run, batch_size or fitting_images(self._size, source.pixels))

    def _features(self, inputs: Inputs) -> Tensor:
        return torch.cat(self._reader(self._model, inputs), dim=1)

    def _examples(self, count: int, text: str) -> Sequence[Any]:
        if isinstance(self._source, TextInput):
            return [text] * count
        from PIL import Image

        return [Image.new("RGB", (64, 64))] * count
