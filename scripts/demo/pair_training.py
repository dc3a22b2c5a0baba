"""What the checkpoints of pictures with texts share: batches, the places of things, how a folder is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerFast

from scripts.demo import noto, pictures, texts, words
from scripts.demo.training import Checkpoint

NOTHING_WEIGHT = 0.2  # three cells out of four are empty


@dataclass(frozen=True)
class Texts:
    """Token ids and mask of texts, int64 (N, T) each."""

    ids: torch.Tensor
    mask: torch.Tensor

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Model inputs of some texts, without the padding that none of them needs."""
        return dict(zip(("input_ids", "attention_mask"), texts.batch(self.ids, self.mask, rows), strict=True))


def tokenised(tokenizer: PreTrainedTokenizerFast, several: list[str]) -> Texts:
    """Texts as a model reads them."""
    return Texts(*texts.encoded(tokenizer, several, words.LENGTH))


def name_texts(tokenizer: PreTrainedTokenizerFast) -> Texts:
    """The name of every thing of the scenes, in the order of their numbers."""
    return tokenised(tokenizer, [f"the {thing.one}" for thing in noto.shown()])


def naming_loss(logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """How badly cells predict what is in them.

    Args:
        logits: (B, cells, 1 + things), nothing first.
        numbers: int64 (B, cells).
    """
    weight = torch.ones(logits.shape[2])
    weight[noto.NOTHING] = NOTHING_WEIGHT
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), numbers.flatten(), weight)


def shaken(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Model input of uint8 pictures (B, H, W, 3) with other brightness, contrast and tint."""
    batch = pictures.to_input(pixels)
    gain = 1 + 0.3 * (torch.rand(len(batch), 3, 1, 1, generator=generator) - 0.5)
    shift = 0.2 * (torch.rand(len(batch), 3, 1, 1, generator=generator) - 0.5)
    return batch * gain + shift


def cells_of(placements: tuple[noto.Placement, ...], columns: int, rows: int) -> torch.Tensor:
    """Return the number of the thing in whose box the centre of each cell is, int64 (N, rows · columns)."""
    grid = np.zeros((len(placements), rows, columns), np.int64)
    x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    for i, placement in enumerate(placements):
        for number, (left, top, width, height) in zip(placement.numbers, placement.boxes, strict=True):
            grid[i][np.ix_((top <= y) & (y <= top + height), (left <= x) & (x <= left + width))] = number
    return torch.from_numpy(grid.reshape(len(placements), -1))


def pixels_of(images: tuple[Image.Image, ...], width: int = pictures.SIDE, height: int = pictures.SIDE) -> torch.Tensor:
    """Return RGB pictures as uint8 (N, height, width, 3)."""
    resized = [np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(resized))


def tower(width: int, **more: int) -> dict[str, Any]:
    """Return the shape of one tower of a model, for its configuration."""
    return {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 4, **more}


def byte_pair_tower(width: int, layers: int) -> dict[str, Any]:
    """Return the shape of a text tower that reads the byte pairs of `words`."""
    pairs = words.byte_pairs()
    tokens = {f"{name}_token_id": getattr(pairs, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    shape = {"vocab_size": len(pairs), "max_position_embeddings": words.LENGTH, "num_hidden_layers": layers}
    return tower(width, **shape, **tokens)


def checkpoint(
    name: str,
    seed: int,
    build: Callable[[], PreTrainedModel],
    readers: tuple[Callable[[], PreTrainedTokenizerFast], Callable[[], BaseImageProcessor]],
    pipeline: str,
    *trained: Any,
    data: tuple[str, ...] = ("Noto Emoji", "drawn shapes"),
) -> Checkpoint:
    """Describe a checkpoint of pictures with texts.

    Args:
        name: repository name below emms-demo/.
        seed: of its weights and its training.
        build: makes the untrained model.
        readers: make its tokenizer and its image processor.
        pipeline: the Hub's pipeline tag.
        trained: how it came about, its training and the number of steps; nothing for random weights.
        data: what it was trained on.
    """

    def save(folder: Path) -> None:
        tokenizer, processor = (reader() for reader in readers)
        processor.save_pretrained(folder)
        texts.write_tokenizer(tokenizer, folder)

    return Checkpoint(name, seed, build, save, pipeline, *trained, data=data if trained else (), language="en")
