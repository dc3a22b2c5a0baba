"""Texts or pictures to feature rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hf_emms.features import layers
from hf_emms.features.images import ImageInput, image_batches
from hf_emms.features.memory import Inputs
from hf_emms.features.plan import ExtractionPlan
from hf_emms.features.pooling import find_pooling
from hf_emms.features.running import PROBED, PROBED_WORDS, Running, fitting_images
from hf_emms.features.text import TextInput, text_batches
from hf_emms.features.transfer import Batch


class Extractor(Running):
    """A checkpoint with its processor or tokenizer, ready to turn inputs of one kind into features."""

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        source: ImageInput | TextInput,
        pooling: str,
        asked: tuple[str, ...] = (layers.LAST,),
    ) -> None:
        self._pooling = find_pooling(pooling)
        self._scaled = ", scaled to length one" if plan.normalise else ""
        super().__init__(plan, model, self._pooling.summary + self._scaled)
        self._source = source
        self._reader = layers.LayerReader(self._pooling, plan.architecture.first_layer, asked, unit=plan.normalise)
        self._size = self._tokens() if isinstance(source, TextInput) else self._pixels()
        self._run = self._halving(self._features, self._size)
        self.width = self._probe(self._examples(1, "a"), self._examples(PROBED, "a " * PROBED_WORDS))

    @property
    def columns(self) -> dict[str, slice]:
        return self._reader.columns

    @property
    def refused(self) -> dict[str, layers.LayerError]:
        return self._reader.refused

    def summary(self, layer: str) -> str:
        if layer == layers.LAST:
            return self.pooling
        if layer == layers.SPREAD:
            beside = self._reader.beside
            words = layers.beside_words(beside, self._pooling.layer_summary) + self._scaled if beside else ""
            return self.pooling + words
        return layers.words(layer, self._pooling.layer_summary) + self._scaled

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
