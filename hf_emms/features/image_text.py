"""Features of pictures with texts: each distinct picture is decoded and encoded once, rows are joined from that.

Memory does not grow with the number of pairs: it holds the pictures of a batch, and the token ids or embeddings of the
distinct texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.device import Batch, in_order, to_numpy
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.features.extractor import (
    PIXELS,
    TOKENS,
    Extractor,
    count_pixels,
    count_tokens,
    example_images,
    example_texts,
)
from hf_emms.features.fusion import Fused, Towers
from hf_emms.features.hidden_layers import refuse_single_layers
from hf_emms.features.images import ImageReader, images_that_fit, prepare_ahead
from hf_emms.features.text import TextReader, text_batches
from hf_emms.inputs import Pairs
from hf_emms.options import LAST

# Numbers in the encodings of a batch that is joined, one picture a row: 32 MB of float32 on a CPU.
_ENCODED = {"cpu": 2**23, "mps": 2**25, "cuda": 2**27}
_MAX_EXAMPLE_WORDS = 64  # texts with pictures are short


class ImageTextExtractor(Extractor):
    """Features of pictures with texts."""

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        images: ImageReader,
        texts: TextReader,
        fusion: Towers | Fused,
        layers: tuple[str, ...] = (LAST,),
    ) -> None:
        super().__init__(plan, model, fusion.summary)
        self.refused = refuse_single_layers(layers, plan.repo.id)
        self._images = images
        self._texts = texts
        self._fusion = fusion
        self._picture = self._forward(
            lambda inputs: fusion.picture(self._model, inputs["pixel_values"]), PIXELS, count_pixels
        )
        if isinstance(fusion, Fused):
            self._fuse = self._forward(
                lambda inputs: fusion.fuse(self._model, inputs).float(),
                TOKENS,
                lambda inputs: count_tokens(inputs) + len(inputs["picture"]) * _picture_tokens(inputs["picture"]),
            )
        else:
            self._text = self._forward(lambda inputs: fusion.text(self._model, inputs).float(), TOKENS, count_tokens)
            self._join = self._forward(
                lambda inputs: fusion.join(inputs["picture"].float(), inputs["text"].float()),
                _ENCODED,
                lambda inputs: inputs["picture"].numel(),
            )
        self._probe()
        self.layer_slices = {layer: slice(0, self.width) for layer in layers if layer not in self.refused}

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        if not isinstance(inputs, Pairs):
            raise EmmsError(f"{self.plan.repo.id} reads pictures with texts, not {type(inputs).__name__}")
        used, text_of = np.unique(inputs.parts[:, 1], return_inverse=True)
        texts = [inputs.seconds[i] for i in used]
        read = self._fused if isinstance(self._fusion, Fused) else self._joined
        return read(inputs, texts, text_of, batch_size)

    def _joined(self, pairs: Pairs, texts: list[str], text_of: np.ndarray, batch_size: int | None) -> Iterator[Batch]:
        """Rows of towers; `text_of` is the text of each pair, int64 (M,)."""
        max_encoded = self._join.batch_elements()
        embeddings = self._embed(texts, batch_size)
        for positions, picture_of, pictures in self._encoded(pairs, batch_size):
            step = max(1, max_encoded // pictures[0].numel())
            step = step if batch_size is None else min(step, batch_size)
            for start in range(0, len(positions), step):
                rows = slice(start, start + step)
                picture = pictures[torch.from_numpy(picture_of[rows])]
                yield positions[rows], self._join({"picture": picture, "text": embeddings[text_of[positions[rows]]]})

    def _fused(self, pairs: Pairs, texts: list[str], text_of: np.ndarray, batch_size: int | None) -> Iterator[Batch]:
        """Rows of a model that reads both together; `text_of` is the text of each pair, int64 (M,)."""
        assert isinstance(self._fusion, Fused)
        max_tokens = self._fuse.batch_elements()
        tokens, cut = self._texts.tokenize([self._fusion.phrase(text) for text in texts])
        if cut:
            self._note_cut(cut, self._texts.max_length)
        for positions, picture_of, pictures in self._encoded(pairs, batch_size):
            pair_tokens = [tokens[text_of[position]] for position in positions]
            batches = self._texts.plan_batches(
                list(map(len, pair_tokens)), max_tokens, batch_size, picture_tokens=_picture_tokens(pictures)
            )
            for rows in batches:
                picture = pictures[torch.from_numpy(picture_of[rows])]
                yield (
                    positions[rows],
                    self._fuse({"picture": picture, **self._texts.pad([pair_tokens[row] for row in rows])}),
                )

    def _embed(self, texts: list[str], batch_size: int | None) -> Tensor:
        """Embeddings of texts in their order, float32 (n, E), on the CPU."""
        batches = text_batches(
            self._texts, texts, self._text, batch_size, lambda count: self._note_cut(count, self._texts.max_length)
        )
        return torch.from_numpy(in_order(to_numpy(batches), len(texts)))

    def _encoded(self, pairs: Pairs, batch_size: int | None) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
        """Positions of pairs, int64 (r,), which of p pictures each has, int64 (r,), and their encodings (p, …)."""
        size = batch_size or images_that_fit(self._picture, self._images.pixels)
        order = np.argsort(pairs.parts[:, 0], kind="stable")
        used, starts = np.unique(pairs.parts[order, 0], return_index=True)
        ends = np.append(starts[1:], len(order))
        batches = [np.arange(start, min(start + size, len(used))) for start in range(0, len(used), size)]
        ready = prepare_ahead(batches, lambda batch: self._images.read_groups(pairs.firsts, used[batch].tolist()))
        for batch, groups in ready:
            for members, pixels in groups:
                pictures = batch[members]
                positions = np.concatenate([order[starts[picture] : ends[picture]] for picture in pictures])
                picture_of = np.repeat(np.arange(len(pictures)), ends[pictures] - starts[pictures])
                yield positions, picture_of, self._picture({"pixel_values": pixels})

    def _examples(self, count: int, words: int) -> Pairs:
        texts = example_texts(count, min(words, _MAX_EXAMPLE_WORDS))
        return Pairs(example_images(count), texts, np.arange(count).repeat(2).reshape(count, 2))


def _picture_tokens(pictures: Tensor) -> int:
    """How many tokens of its picture the model reads with a text.

    Those of the encoding, (p, T, D); for pixels (p, 3, H, W) about as many as a detector has in maps at strides of 8,
    16, 32 and 64.
    """
    return pictures.shape[1] if pictures.ndim == 3 else pictures.shape[2] * pictures.shape[3] // 48
