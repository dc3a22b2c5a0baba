"""What the checkpoints of pictures with texts share: batches, the places of things, how a folder is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerFast

from scripts.demo import noto, pictures, sources, texts, words
from scripts.demo.model_cards import Card, write_model_card
from scripts.demo.training import store

NOTHING_WEIGHT = 0.2  # three cells out of four are empty
_DATA = ("Noto Emoji", "drawn shapes")


@dataclass(frozen=True)
class Texts:
    """Token ids and mask of texts, int64 (N, T) each."""

    ids: torch.Tensor
    mask: torch.Tensor

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Model inputs of some texts, without the padding that none of them needs."""
        longest = int(self.mask[rows].sum(1).max())
        return {"input_ids": self.ids[rows, :longest], "attention_mask": self.mask[rows, :longest]}


def tokenised(tokenizer: PreTrainedTokenizerFast, several: list[str]) -> Texts:
    """Texts as a model reads them."""
    return Texts(*words.encode(tokenizer, several))


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
    """As `noto.cells`, for torch."""
    return torch.from_numpy(noto.cells(placements, columns, rows))


def pixels_of(images: tuple[Image.Image, ...], width: int = pictures.SIDE, height: int = pictures.SIDE) -> torch.Tensor:
    """Pictures as uint8 (N, height, width, 3)."""
    return torch.from_numpy(np.ascontiguousarray(noto.resized(images, (width, height))))


def write(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    processor: BaseImageProcessor,
    *,
    pipeline: str,
    how: str,
    steps: int = 0,
    seconds: float = 0.0,
    data: tuple[str, ...] = _DATA,
) -> Path:
    """Write a checkpoint's folder: weights, image processor, tokenizer, model card."""
    folder = sources.DEMO / "checkpoints" / name
    parameters = sum(p.numel() for p in model.parameters())
    store(model, folder)
    processor.save_pretrained(folder)
    texts.write_tokenizer(tokenizer, folder)
    card = Card(
        name=name,
        pipeline=pipeline,
        architecture=model.config.model_type,
        parameters=parameters,
        how=how,
        steps=steps,
        seconds=seconds,
        datasets=data if steps else (),
        language="en",
    )
    write_model_card(folder, card)
    return folder
