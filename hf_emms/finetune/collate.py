"""Rows to batches: what each candidate's own image processor and tokenizer make of the inputs of a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from hf_emms.features.device import Inputs
from hf_emms.finetune.splits import Part, Splits
from hf_emms.inputs.image import PixelCache, with_pixel_cache
from hf_emms.inputs.kind import BatchReader


class PartRows(torch.utils.data.Dataset):
    """The rows of a part for `Trainer`: an item is the part and a row's number, which `collate` makes batches of.

    Args:
        read: gives the inputs of a batch.
        labels: of all rows, (n, …) each, by the names of the model's arguments; empty for rows to predict.
        count: n.
    """

    def __init__(self, read: BatchReader, labels: Inputs, count: int) -> None:
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
