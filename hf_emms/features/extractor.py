"""A loaded checkpoint that turns inputs into feature rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features import layers
from hf_emms.features.images import ImageInput, image_batches
from hf_emms.features.memory import HalvingForward
from hf_emms.features.plan import ExtractionPlan
from hf_emms.features.pooling import find_pooling
from hf_emms.features.text import TextInput, text_batches

# Pixels and tokens a batch. On a CPU larger batches only leave the cache (measured: a MiniLM runs 1.4 times as fast
# with 1,024 tokens as with 4,096, a ResNet-50 1.4 times with 8 images as with 32); a GPU needs more to be busy.
_PIXELS = {"cpu": 8 * 224**2, "mps": 32 * 224**2, "cuda": 128 * 224**2}
_TOKENS = {"cpu": 1_024, "mps": 16_384, "cuda": 65_536}
_MOST_IMAGES = 256
# What a model may raise on inputs that it cannot take.
_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError)


class Extractor:
    """A checkpoint with its processor or tokenizer, ready to turn inputs into features.

    Asked for several layers, it gives their features side by side, all from one forward.

    Attributes:
        width: columns of a feature row: D1, or the sum of them over layers.
        parameters: parameters of the loaded part (a vision tower without its text tower).
        architecture: the family, as in `architectures.py`.
        pooling: what becomes the feature row at layer "last", in words; of any layer: `summary`.
        fingerprint: changes whenever features of the same checkpoint would.
    """

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        source: ImageInput | TextInput,
        pooling: str,
        asked: tuple[str, ...] = layers.DEFAULT_LAYERS,
    ) -> None:
        self._plan = plan
        self._pooling = find_pooling(pooling)
        self._model = model
        self._source = source
        self._device: torch.device = model.device
        self._notes = dict(plan.notes)
        self.architecture = plan.architecture.family
        self._scaled = ", scaled to length one" if plan.normalise else ""
        self.pooling = self._pooling.summary + self._scaled
        self.fingerprint = plan.fingerprint
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self._cut = 0
        self._reader = layers.LayerReader(self._pooling, plan.architecture.first_layer, asked)
        self._run = HalvingForward(self._forward)
        self.width = self._probe()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about how the features came about; grows while batches are taken."""
        return tuple(self._notes.values())

    @property
    def columns(self) -> dict[str, slice]:
        """Layer → its columns in a feature row."""
        return self._reader.columns

    @property
    def refused(self) -> dict[str, EmmsError]:
        """Layer → why this checkpoint cannot give it. Never all of them."""
        return self._reader.refused

    def summary(self, layer: str) -> str:
        """What becomes the feature at a layer, in words."""
        if layer == layers.LAST:
            return self.pooling
        return layers.words(layer, self._pooling.layer_summary) + self._scaled

    def batches(
        self, inputs: Sequence[Any], *, batch_size: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Runs the checkpoint over inputs.

        Args:
            inputs: M texts, or M images of which `inputs[i]` decodes one (PIL).
            batch_size: the most inputs a batch; None: what suits the device. It halves itself when memory
                runs out.

        Yields:
            Positions in `inputs`, int64 (b,), and their features, float32 (b, D1). Every position comes once,
            in any order.

        Raises:
            EmmsError: the checkpoint fails on an input, or one input alone does not fit into memory.
        """
        if self._model is None:
            raise EmmsError(f"the extractor of {self._plan.repo.id} was closed")
        try:
            yield from self._batches(inputs, batch_size)
        except EmmsError:
            raise
        except _FAILURES as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            raise EmmsError(f"{self._plan.repo.id} failed on its inputs: {type(error).__name__}: {reason}") from error
        finally:
            if self._run.halvings:
                self._notes["memory"] = f"out of memory: the batch was halved {self._run.halvings} times"

    def close(self) -> None:
        """Frees the model's memory. The extractor cannot be used afterwards."""
        self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        device = self._device.type if self._device.type in _TOKENS else "cpu"
        if isinstance(self._source, TextInput):
            return text_batches(
                self._source,
                inputs,
                self._run,
                budget=_TOKENS[device],
                batch_size=batch_size,
                on_cut=self._note_cut,
            )
        fitting = min(_MOST_IMAGES, max(1, _PIXELS[device] // self._source.pixels))
        return image_batches(self._source, inputs, self._run, batch_size or fitting)

    def _forward(self, inputs: dict[str, Tensor]) -> Tensor:
        with torch.inference_mode():
            moved = {name: self._moved(tensor) for name, tensor in inputs.items()}
            parts = [part.float() for part in self._reader(self._model, moved)]
            if self._plan.normalise:
                parts = [torch.nn.functional.normalize(part, dim=1) for part in parts]
            return torch.cat(parts, dim=1).cpu()

    def _moved(self, tensor: Tensor) -> Tensor:
        dtype = self._model.dtype if tensor.is_floating_point() else None
        return tensor.to(self._device, dtype)

    def _probe(self) -> int:
        """The feature width, from one small input: no configuration tells it for every family."""
        if isinstance(self._source, TextInput):
            inputs: Sequence[Any] = ["a"]
        else:
            from PIL import Image

            inputs = [Image.new("RGB", (64, 64))]
        ((_, features),) = self.batches(inputs)
        if features.ndim != 2:
            raise EmmsError(
                f"{self._plan.repo.id} gives features of shape {features.shape}, not one row an input",
                "add a row for its architecture to hf_emms/features/architectures.py",
            )
        return int(features.shape[1])

    def _note_cut(self, count: int) -> None:
        self._cut += count
        texts = "text was" if self._cut == 1 else "texts were"
        limit = self._source.limit if isinstance(self._source, TextInput) else 0
        self._notes["cut"] = f"{self._cut:,} {texts} cut at {limit:,} tokens, the most that it reads"
