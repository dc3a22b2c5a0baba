"""Images with texts, such as an image and a question about it. Each distinct image is decoded and encoded once.

Memory does not grow with the number of pairs. It contains the images of a batch, and the token ids or embeddings of the
distinct texts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.architectures import families
from hf_emms.features.extractor import FeatureReader
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.inputs.encoded import map_ahead
from hf_emms.inputs.image import IMAGE, ImageReader, example_image, load_image_reader
from hf_emms.inputs.modality import BatchReader, Modality, Pairs, TrainingReader
from hf_emms.inputs.text import (
    TEXT,
    TextReader,
    load_tokenizer,
    load_training_texts,
    text_batches,
    text_reader,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.fusion import Fused, Towers
    from hf_emms.features.layers import JoinedLayers
    from hf_emms.features.load import LoadedModel

# Numbers in the image encodings of a batch of pairs: 32 MB of float32 on a CPU.
_ENCODED = {"cpu": 2**23, "mps": 2**25, "cuda": 2**27}
_TWO_TOWERS = ("get_image_features", "get_text_features", "text_model")  # required by the fallback


class _ImageTextFeatures(FeatureReader):
    """Base class of the readers of images with texts."""

    def __init__(
        self, model: Any, fusion: Towers | Fused, images: ImageReader, texts: TextReader, layers: JoinedLayers
    ) -> None:
        from hf_emms.features.device import PIXELS

        super().__init__(lambda inputs: fusion.encode_image(model, inputs["pixel_values"]), model, layers, PIXELS)
        self._images, self._texts = images, texts

    def batches(self, pairs: Any, batch_size: int | None) -> Iterator[Batch]:
        used, text_of_pair = np.unique(pairs.parts[:, 1], return_inverse=True)
        return self._rows(pairs, [pairs.seconds[i] for i in used], text_of_pair, batch_size)

    def example(self) -> Pairs:
        return Pairs([example_image()], ["a"], np.zeros((1, 2), np.int64))

    @abstractmethod
    def _rows(
        self, pairs: Pairs, texts: list[str], text_of_pair: np.ndarray, batch_size: int | None
    ) -> Iterator[Batch]:
        """Yield positions and features of pairs, from the distinct texts and the text of each pair."""

    def _encoded(self, pairs: Pairs, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
        """Yield positions of pairs and indices of their images, int64 (r,) each, and encoded images (p, …)."""
        size = batch_size or self._images.images_that_fit(self._forward)
        order = np.argsort(pairs.parts[:, 0], kind="stable")
        used, starts = np.unique(pairs.parts[order, 0], return_index=True)
        ends = np.append(starts[1:], len(order))
        batches = [np.arange(start, min(start + size, len(used))) for start in range(0, len(used), size)]
        ready = map_ahead(batches, lambda batch: self._images.read_groups(pairs.firsts, used[batch].tolist()))
        for batch, groups in ready:
            for members, pixels in groups:
                images = batch[members]
                positions = np.concatenate([order[starts[image] : ends[image]] for image in images])
                image_of = np.repeat(np.arange(len(images)), ends[images] - starts[images])
                yield positions, image_of, self._forward({"pixel_values": pixels})


class _TowerFeatures(_ImageTextFeatures):
    """Features of two towers, one for images and one for texts."""

    def __init__(
        self, model: Any, fusion: Towers, images: ImageReader, texts: TextReader, layers: JoinedLayers
    ) -> None:
        from hf_emms.features.device import TOKENS, BatchedForward

        super().__init__(model, fusion, images, texts, layers)
        self._embed = BatchedForward(
            lambda inputs: fusion.embed_text(model, inputs).float(), model.device, TOKENS, model.dtype
        )
        self._join = BatchedForward(
            lambda inputs: fusion.join(inputs["image"].float(), inputs["text"].float()),
            model.device,
            _ENCODED,
            model.dtype,
        )
        self.forwards = (self._forward, self._embed, self._join)

    def _rows(
        self, pairs: Pairs, texts: list[str], text_of_pair: np.ndarray, batch_size: int | None
    ) -> Iterator[Batch]:
        import torch

        from hf_emms.features.device import gather_batches, to_numpy

        max_encoded = self._join.max_elements
        embedded = text_batches(self._texts, texts, self._embed, batch_size, self.counts)
        embeddings = torch.from_numpy(gather_batches(to_numpy(embedded), len(texts)))
        for positions, image_of, images in self._encoded(pairs, batch_size):
            step = max(1, max_encoded // images[0].numel())
            step = step if batch_size is None else min(step, batch_size)
            for start in range(0, len(positions), step):
                rows = slice(start, start + step)
                image = images[torch.from_numpy(image_of[rows])]
                text = embeddings[text_of_pair[positions[rows]]]
                yield positions[rows], self._join({"image": image, "text": text})


class _FusedFeatures(_ImageTextFeatures):
    """Features of models that read the text together with the image."""

    def __init__(self, model: Any, fusion: Fused, images: ImageReader, texts: TextReader, layers: JoinedLayers) -> None:
        from hf_emms.features.device import TOKENS, BatchedForward

        super().__init__(model, fusion, images, texts, layers)
        self._phrase = fusion.phrase
        self._fuse = BatchedForward(
            lambda inputs: fusion.fuse(model, inputs).float(), model.device, TOKENS, model.dtype
        )
        self.forwards = (self._forward, self._fuse)

    def _rows(
        self, pairs: Pairs, texts: list[str], text_of_pair: np.ndarray, batch_size: int | None
    ) -> Iterator[Batch]:
        import torch

        max_tokens = self._fuse.max_elements
        tokens, truncated = self._texts.tokenize([self._phrase(text) for text in texts])
        self.counts.add_tokens(tokens, self._texts.unknown_id)
        self.counts.add_truncated(truncated, self._texts.max_length)
        for positions, image_of, images in self._encoded(pairs, batch_size):
            pair_tokens = [tokens[text_of_pair[position]] for position in positions]
            batches = self._texts.batch_positions(
                list(map(len, pair_tokens)), max_tokens, batch_size, image_tokens=_image_tokens(images)
            )
            for rows in batches:
                image = images[torch.from_numpy(image_of[rows])]
                padded = self._texts.pad([pair_tokens[row] for row in rows])
                yield positions[rows], self._fuse({"image": image, **padded})


def _image_tokens(images: Tensor) -> int:
    """Return how many image tokens the model reads with a text.

    These are T of encodings (p, T, D). For pixels (p, 3, H, W), they are about the cells of a detector's maps at
    strides of 8, 16, 32 and 64.
    """
    return images.shape[1] if images.ndim == 3 else images.shape[2] * images.shape[3] // 48


class _ImageText(Modality):
    def load_processors(self, spec: FeatureSpec, device: torch.device) -> tuple[ImageReader, Any]:
        return load_image_reader(spec, device), load_tokenizer(spec)

    def feature_reader(
        self, loaded: LoadedModel, processors: tuple[ImageReader, Any], layers: tuple[str, ...], *, spans: bool
    ) -> _ImageTextFeatures:
        from hf_emms.features.fusion import Fused, find_fusion
        from hf_emms.features.layers import JoinedLayers

        spec, model = loaded.spec, loaded.model
        if spec.architecture.loader == "AutoModel" and not all(hasattr(model, name) for name in _TWO_TOWERS):
            raise EmmsError(
                "unsupported-family",
                f"{spec.repo.id} ({spec.architecture.family}) has no image tower and text tower with a common space",
                f"choose checkpoints of these families: {', '.join(families(self.name))}",
            )
        fusion, (images, tokenizer) = find_fusion(loaded.pooling), processors
        texts = text_reader(spec, model.get_submodule(fusion.text_part), tokenizer)
        joined = JoinedLayers(layers, spec.repo.id, fusion.summary)
        if isinstance(fusion, Fused):
            fusion.adapt(model)
            return _FusedFeatures(model, fusion, images, texts, joined)
        return _TowerFeatures(model, fusion, images, texts, joined)

    def training_reader(self, spec: FeatureSpec, model: Any) -> TrainingReader:
        from hf_emms.features.fusion import Fused, find_fusion

        fusion = find_fusion(spec.pooling)
        images = load_image_reader(spec)
        texts = load_training_texts(spec, model, model.get_submodule(fusion.text_part))
        phrase = fusion.phrase if isinstance(fusion, Fused) else str

        def read(pairs: Any, input_of_row: np.ndarray) -> tuple[BatchReader, Sequence[Note]]:
            image_of_row, text_of_row = pairs.parts[input_of_row].T
            pixels = images.training_batches(pairs.firsts, image_of_row)
            tokens, notes = texts.training_batches(pairs.seconds, text_of_row, phrase)
            return lambda rows: {**pixels(rows), **tokens(rows)}, notes

        return TrainingReader(read, (images.processor.original, texts.tokenizer), images.training_notes)

    def trained_features(self, loaded: LoadedModel) -> Callable[[Any, Inputs], Tensor]:
        from hf_emms.features.fusion import Fused, find_fusion

        fusion = find_fusion(loaded.pooling)
        if isinstance(fusion, Fused):
            fusion.adapt(loaded.model)

        def features(model: Any, inputs: Inputs) -> Tensor:
            image = fusion.encode_image(model, inputs["pixel_values"])
            texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
            if isinstance(fusion, Fused):
                return fusion.fuse(model, {"image": image, **texts})
            return fusion.join(image, fusion.embed_text(model, texts))

        return features


IMAGE_TEXT = _ImageText(
    name="image+text",
    singular="picture with a text",
    plural="images with texts",
    parts=(IMAGE, TEXT),
    fallback_pooling="two_towers",
    fallback_summary="its image features and its text features, and the similarity of patches if the model gives it",
    cpu_seconds=3e-9,
    chunk_rows=IMAGE.chunk_rows,
)
