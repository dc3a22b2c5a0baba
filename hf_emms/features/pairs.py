"""Batches of pictures with texts: each distinct picture is decoded and read once, rows are joined from what it left.

Memory does not grow with the number of pairs: of pictures only those of the batch are held, of texts the token ids,
or the embeddings of the distinct ones.

Pictures with texts to feature rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.data import Pairs
from hf_emms.errors import EmmsError
from hf_emms.features.device import Batch, Inputs, to_numpy
from hf_emms.features.extractor import PROBED, TOKENS, BaseExtractor, fitting_images
from hf_emms.features.feature_plan import ExtractionPlan
from hf_emms.features.fusion import Fused, Towers
from hf_emms.features.hidden_layers import LAST
from hf_emms.features.images import ImageInput, ahead
from hf_emms.features.text import TextInput, padded, plan_batches, text_batches, tokenise

Forward = Callable[[Inputs], Tensor]


@dataclass(frozen=True)
class PairInput:
    """How a checkpoint reads a picture and a text; `phrase` writes a text as it was trained on."""

    picture: ImageInput
    text: TextInput
    phrase: Callable[[str], str] = str


@dataclass(frozen=True)
class Sizes:
    """How much a batch holds: pictures, tokens, numbers kept of pictures, and at most so many pairs if said."""

    pictures: int
    tokens: int
    kept: int
    pairs: int | None = None


def tower_batches(
    source: PairInput,
    pairs: Pairs,
    *,
    picture: Forward,
    text: Forward,
    join: Forward,
    sizes: Sizes,
    on_cut: Callable[[int], None],
) -> Iterator[Batch]:
    """Features of pairs whose parts are read apart.

    Args:
        source: how the checkpoint reads them.
        pairs: M pairs of a picture and a text.
        picture: `{"pixel_values"}` to what is kept of the pictures (b, …), on the device.
        text: `{"input_ids", "attention_mask"}` to what is kept of the texts (b, E).
        join: `{"picture", "text"}` (r, …) to rows (r, D1).
        sizes: how much a batch holds.
        on_cut: told how many texts were cut.

    Yields:
        Positions int64 (r,) and features float32 (r, D1), see `Batch`.
    """
    used, codes = np.unique(pairs.parts[:, 1], return_inverse=True)
    texts = [pairs.seconds[i] for i in used]
    batches = text_batches(source.text, texts, text, budget=sizes.tokens, batch_size=sizes.pairs, on_cut=on_cut)
    embedded = _in_order(batches, len(texts))
    for positions, which, kept in _pictures(source.picture, pairs, picture, sizes.pictures):
        step = max(1, sizes.kept // kept[0].numel())
        step = step if sizes.pairs is None else min(step, sizes.pairs)
        for start in range(0, len(positions), step):
            rows = slice(start, start + step)
            inputs = {"picture": kept[torch.from_numpy(which[rows])], "text": embedded[codes[positions[rows]]]}
            yield positions[rows], join(inputs)


def fused_batches(
    source: PairInput,
    pairs: Pairs,
    *,
    picture: Forward,
    fuse: Forward,
    sizes: Sizes,
    on_cut: Callable[[int], None],
) -> Iterator[Batch]:
    """Features of pairs whose text is read together with the picture.

    Args:
        source: how the checkpoint reads them.
        pairs: M pairs of a picture and a text.
        picture: `{"pixel_values"}` to what is kept of the pictures (b, …), on the device.
        fuse: `{"picture", "input_ids", "attention_mask"}` (r, …) to rows (r, D1).
        sizes: how much a batch holds.
        on_cut: told how many texts were cut.

    Yields:
        Positions int64 (r,) and features float32 (r, D1), see `Batch`.
    """
    used, codes = np.unique(pairs.parts[:, 1], return_inverse=True)
    tokens, cut = tokenise(source.text, [source.phrase(pairs.seconds[i]) for i in used])
    if cut:
        on_cut(cut)
    for positions, which, kept in _pictures(source.picture, pairs, picture, sizes.pictures):
        own = [tokens[codes[position]] for position in positions]
        beside = tokens_beside(kept)
        for rows in plan_batches(source.text, list(map(len, own)), sizes.tokens, sizes.pairs, beside=beside):
            inputs = {"picture": kept[torch.from_numpy(which[rows])], **padded(source.text, [own[row] for row in rows])}
            yield positions[rows], fuse(inputs)


def tokens_beside(kept: Tensor) -> int:
    """How many tokens of its picture the model reads beside a text.

    Those that are kept, (b, T, D); of pixels (b, 3, H, W) about as many as a detector makes of them: maps at strides of
    8, 16, 32 and 64.
    """
    return kept.shape[1] if kept.ndim == 3 else kept.shape[2] * kept.shape[3] // 48


def _in_order(batches: Iterator[Batch], count: int) -> Tensor:
    """The rows of batches in the order of their positions, float32 (count, E)."""
    there = to_numpy(batches)
    first = next(there)
    ordered = np.empty((count, first[1].shape[1]), np.float32)
    for positions, rows in chain([first], there):
        ordered[positions] = rows
    return torch.from_numpy(ordered)


def _pictures(
    source: ImageInput, pairs: Pairs, forward: Forward, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, Tensor]]:
    """Positions of pairs, which of the kept pictures is each one's, and what is kept of those pictures."""
    order = np.argsort(pairs.parts[:, 0], kind="stable")
    used, starts = np.unique(pairs.parts[order, 0], return_index=True)
    ends = np.append(starts[1:], len(order))
    batches = [np.arange(start, min(start + batch_size, len(used))) for start in range(0, len(used), batch_size)]

    def prepare(batch: np.ndarray) -> list[tuple[np.ndarray, Tensor]]:
        return preprocessed(source, pairs.firsts, used[batch].tolist())

    for batch, groups in ahead(batches, prepare):
        for members, pixels in groups:
            own = batch[members]
            positions = np.concatenate([order[starts[place] : ends[place]] for place in own])
            which = np.repeat(np.arange(len(own)), ends[own] - starts[own])
            yield positions, which, forward({"pixel_values": pixels})


def preprocessed(
    source: ImageInput, images: Sequence[Any], positions: Sequence[int]
) -> list[tuple[np.ndarray, Tensor]]:
    """Pixel values of some pictures, in groups of one shape: which of them, and (b, 3, H, W)."""
    if source.fixed:
        return [(np.arange(len(positions)), source.read(images, positions))]
    groups: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    for i, position in enumerate(positions):
        pixels = source.read(images, [position])
        groups.setdefault(tuple(pixels.shape), []).append((i, pixels))
    return [(np.array([i for i, _ in group]), torch.cat([pixels for _, pixels in group])) for group in groups.values()]


# Numbers kept of pictures that are gathered for the rows of one join: 32 MB of float32 on a CPU.
_KEPT = {"cpu": 2**23, "mps": 2**25, "cuda": 2**27}
_PROBED_WORDS = 64  # texts beside pictures are short


class PairExtractor(BaseExtractor):
    """A checkpoint with its image processor and tokenizer, ready to turn pictures with texts into features."""

    def __init__(
        self,
        plan: ExtractionPlan,
        model: Any,
        source: PairInput,
        fusion: Towers | Fused,
        asked: tuple[str, ...] = (LAST,),
    ) -> None:
        self._fusion = fusion
        super().__init__(plan, model, self._fusion.summary)
        self._ask_joined(asked)
        self._source = source
        self._pictures = self._pixels()
        self._texts = self._budget(TOKENS, _fused_tokens) if isinstance(fusion, Fused) else self._tokens()
        self._kept = self._budget(_KEPT, lambda inputs: inputs["picture"].numel())
        self._picture = self._halving(
            lambda inputs: fusion.picture(self._model, inputs["pixel_values"]), self._pictures, keep=True
        )
        if isinstance(fusion, Fused):
            self._fuse = self._halving(lambda inputs: fusion.fuse(self._model, inputs), self._texts)
        else:
            self._text = self._halving(lambda inputs: fusion.text(self._model, inputs), self._texts)
            self._join = self._halving(
                lambda inputs: fusion.join(inputs["picture"].float(), inputs["text"].float()), self._kept
            )
        self.width = self._probe(_examples(1, "a"), _examples(PROBED, "a " * _PROBED_WORDS))

    def _batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        if not isinstance(inputs, Pairs):
            raise EmmsError(f"{self._plan.repo.id} reads pictures with texts, not {type(inputs).__name__}")
        source, on_cut = self._source, self._cut_at_limit
        pictures = batch_size or fitting_images(self._pictures, source.picture.pixels)
        sizes = Sizes(pictures, self._texts.units(), self._kept.units(), batch_size)
        if isinstance(self._fusion, Fused):
            return fused_batches(source, inputs, picture=self._picture, fuse=self._fuse, sizes=sizes, on_cut=on_cut)
        return tower_batches(
            source, inputs, picture=self._picture, text=self._text, join=self._join, sizes=sizes, on_cut=on_cut
        )

    def _cut_at_limit(self, count: int) -> None:
        self._note_cut(count, self._source.text.limit)


def _fused_tokens(inputs: Inputs) -> int:
    ids = inputs["input_ids"]
    return ids.numel() + len(ids) * tokens_beside(inputs["picture"])


def _examples(count: int, text: str) -> Pairs:
    from PIL import Image

    return Pairs([Image.new("RGB", (64, 64))] * count, [text] * count, np.arange(count).repeat(2).reshape(count, 2))
