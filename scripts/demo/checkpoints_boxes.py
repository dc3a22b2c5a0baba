"""Train the demo's detectors: a small OWL-ViT on boxes of scenes, and one of random weights."""

from __future__ import annotations

import torch
from transformers import OwlViTConfig, OwlViTForObjectDetection, OwlViTImageProcessor

from scripts.demo import noto, pair_training, pictures, words
from scripts.demo.training import train

GRID = 8  # patches a side
OWN, FOREIGN = 3, 3  # expressions a picture is asked for: of its own things, of other pictures'
_FOUND = 4.0  # weight of a cell that an expression means; about one in thirty is
_NAMING = 0.5  # weight of what is in a cell
_BOX = 2.0  # weight of the boxes, relative to the expressions


def _owl(width: int, layers: int) -> OwlViTForObjectDetection:
    text = pair_training.byte_pair_tower(width, 1)
    side = {"image_size": pictures.SIDE, "patch_size": pictures.SIDE // GRID}
    vision = pair_training.tower(width, num_hidden_layers=layers, **side)
    model = OwlViTForObjectDetection(OwlViTConfig(text_config=text, vision_config=vision, projection_dim=width))
    # transformers draws the heads seven times as large as a layer of this width should be: every box is saturated
    for head in (model.class_head, model.box_head):
        for layer in head.modules():
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return model


def _fit(model: OwlViTForObjectDetection, steps: int, seed: int) -> float:
    referred = noto.referred()
    pixels = pair_training.pixels_of(referred.images)
    numbers = pair_training.cells_of(referred.placements, GRID, GRID)
    inside, boxes = _targets(referred.placements)
    phrases = [text for scene in referred.phrases for several in scene[:OWN] for text in _twice(several)]
    texts = pair_training.tokenised(words.byte_pairs(), phrases)
    cells = torch.nn.Linear(model.config.vision_config.hidden_size, 1 + len(noto.shown()))
    draw = torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        places = torch.arange(OWN)
        picked = ((rows[:, None] * OWN + places) * 2 + torch.randint(2, (len(rows), OWN), generator=draw)).flatten()
        queries = model.owlvit.get_text_features(**texts.batch(picked)).pooler_output.unflatten(0, (len(rows), OWN))
        foreign = queries.roll(1, 0)[:, :FOREIGN]
        grid, _ = model.image_embedder(pixel_values=pair_training.shaken(pixels[rows], draw))
        patches = grid.flatten(1, 2)
        logits, _ = model.class_predictor(
            patches, torch.nn.functional.normalize(torch.cat([queries, foreign], 1), dim=2)
        )
        # another picture's expression means nothing here, unless the same thing is in both
        other = numbers[rows][:, :, None, None] == _numbers(referred, rows).roll(1, 0)[:, None, :FOREIGN, None]
        is_certain = ~other.any(1)[..., 0]
        covers = inside[rows]
        expected = torch.cat([covers, torch.zeros(*covers.shape[:2], FOREIGN)], 2)
        weight = (1 + (_FOUND - 1) * expected) * torch.cat([torch.ones(len(rows), OWN), is_certain.float()], 1)[:, None]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, expected, weight)
        covered = covers.any(2)
        error = (model.box_predictor(patches, grid) - boxes[rows]).abs().sum(2)
        named = pair_training.naming_loss(cells(patches), numbers[rows])
        return loss + _BOX * (error * covered).sum() / covered.sum() + _NAMING * named

    return train([model, cells], loss_of, len(pixels), steps=steps, rate=2e-3, seed=seed)


def _twice(several: tuple[str, ...]) -> tuple[str, str]:
    return several[0], several[-1]


def _numbers(referred: noto.Boxes, rows: torch.Tensor) -> torch.Tensor:
    return torch.tensor([referred.placements[i].numbers[:OWN] for i in rows.tolist()])


def _targets(placements: tuple[noto.Placement, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each cell's centre is in the box of each of the first OWN things, and the box of the thing there.

    Returns:
        float32 (N, cells, OWN); centre, width and height as shares of the picture, float32 (N, cells, 4).
    """
    inside = torch.zeros(len(placements), GRID * GRID, OWN)
    boxes = torch.zeros(len(placements), GRID * GRID, 4)
    for i, placement in enumerate(placements):
        for at in range(OWN):
            alone = noto.Placement(placement.numbers[at : at + 1], placement.boxes[at : at + 1])
            inside[i, :, at] = pair_training.cells_of((alone,), GRID, GRID)[0] > 0
            left, top, width, height = placement.boxes[at]
            boxes[i][inside[i, :, at] > 0] = torch.tensor([left + width / 2, top + height / 2, width, height])
    return inside, boxes


_READERS = (words.byte_pairs, lambda: OwlViTImageProcessor(**pictures.SQUARE))
_PIPELINE = "zero-shot-object-detection"
_HOW = "A small OWL-ViT trained, from random weights, to find what referring expressions mean and to box it."
CHECKPOINTS = (
    pair_training.checkpoint(
        "owlvit-scenes", 321, lambda: _owl(48, 3), _READERS, _PIPELINE, _HOW, _fit, 1_200, data=("Noto Emoji",)
    ),
    pair_training.checkpoint("owlvit-random", 322, lambda: _owl(32, 1), _READERS, _PIPELINE),
)
