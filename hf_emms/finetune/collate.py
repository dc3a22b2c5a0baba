"""Rows to batches: what each candidate's own image processor and tokenizer make of the inputs of a part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hf_emms.features.device import Inputs
from hf_emms.features.images import CachedImages, ImageReader, PixelCache, with_pixel_cache
from hf_emms.features.text import TextReader
from hf_emms.finetune.splits import Part, Splits
from hf_emms.inputs import Pairs

Read = Callable[[np.ndarray], Inputs]
"""Numbers of rows of a part, int64 (b,), to the tensors of a batch, (b, …) each."""

# Tokens that a text is cut at: training takes memory with the square of them.
MAX_TOKENS = 512


class PartRows(torch.utils.data.Dataset):
    """The rows of a part for `Trainer`: an item is the part and a row's number, which `collate` makes batches of.

    Args:
        read: gives the inputs of a batch.
        labels: of all rows, (n, …) each, by the names of the model's arguments; empty for rows to predict.
        count: n.
    """

    def __init__(self, read: Read, labels: Inputs, count: int) -> None:
        self._read, self._labels, self._count = read, labels, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row: int) -> tuple[PartRows, int]:
        return self, row

    def batch(self, rows: np.ndarray) -> Inputs:
        """The inputs and labels of some rows."""
        return {**self._read(rows), **{name: labels[rows] for name, labels in self._labels.items()}}


def collate(items: Sequence[tuple[PartRows, int]]) -> Inputs:
    """A batch of items of one part."""
    return items[0][0].batch(np.array([row for _, row in items]))


def with_images_in_memory(splits: Splits) -> Splits:
    """The same rows, whose pictures are decoded and resized once for all epochs and candidates that read them alike."""
    cache = PixelCache()

    def cached(part: Part) -> Part:
        return replace(part, inputs=with_pixel_cache(part.inputs, cache))

    return replace(splits, train=cached(splits.train), validation=cached(splits.validation), test=cached(splits.test))


def images_of(part: Part) -> tuple[Sequence[Any], np.ndarray]:
    """The distinct pictures of a part, and that of each row, int64 (n,)."""
    if isinstance(part.inputs, Pairs):
        return part.inputs.firsts, part.inputs.parts[part.input_of_row, 0]
    return part.inputs, part.input_of_row


def texts_of(part: Part) -> tuple[Sequence[str], np.ndarray]:
    """The distinct texts of a part, those beside a picture where there is one, and that of each row, int64 (n,)."""
    if isinstance(part.inputs, Pairs):
        return part.inputs.seconds, part.inputs.parts[part.input_of_row, 1]
    return part.inputs, part.input_of_row


def read_images(reader: ImageReader, part: Part) -> Read:
    """Pixel values of the part's pictures; they become square where the processor leaves them at various sizes."""
    pictures, positions = images_of(part)
    if not reader.fixed_size:
        side = round(reader.pixels**0.5)
        return lambda rows: {
            "pixel_values": reader.processor([pictures[i].resize((side, side)) for i in positions[rows]])
        }
    if isinstance(pictures, CachedImages):
        return lambda rows: {"pixel_values": pictures.read(reader.processor, positions[rows].tolist())}
    return lambda rows: {"pixel_values": reader.processor([pictures[i] for i in positions[rows]])}


def read_texts(reader: TextReader, part: Part, notes: list[str], phrase: Callable[[str], str] = str) -> Read:
    """Token ids and mask of the part's texts, tokenised once.

    Args:
        reader: of the candidate.
        part: whose texts they are.
        notes: that texts were cut is added here.
        phrase: writes a text as in the family's training.
    """
    texts, text_of_row = texts_of(part)
    used, text_of_row = np.unique(text_of_row, return_inverse=True)
    tokens, cut = reader.tokenize([phrase(texts[i]) for i in used])
    if cut:
        notes.append(f"texts are cut at {reader.max_length:,} tokens")
    return lambda rows: reader.pad([tokens[text_of_row[row]] for row in rows])


def limited(reader: TextReader, most: int = MAX_TOKENS) -> TextReader:
    """The reader with at most so many tokens a text."""
    return replace(reader, max_length=min(reader.max_length, most))
