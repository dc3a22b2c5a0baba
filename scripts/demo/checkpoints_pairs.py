"""Train the demo's checkpoints of pictures with texts: two towers, question answering, detection, random weights.

All learn from scenes of Noto emoji. An auxiliary loss predicts the thing in each cell of a picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoModelForVisualQuestionAnswering,
    AutoModelForZeroShotObjectDetection,
    AutoTokenizer,
    BaseImageProcessor,
    BertConfig,
    BertModel,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    CLIPImageProcessor,
    OwlViTImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ViltImageProcessor,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    ViTImageProcessor,
)

from scripts.demo import checkpoints_image, noto, pictures, questions, shapes, sources, texts, words
from scripts.demo.training import NO_DROPOUT, Checkpoint, new_model, train, transformer

PATCH = 8
GRID = pictures.SIDE // PATCH  # patches a side
NOTHING_WEIGHT = 0.2  # three cells out of four are empty
NAMING = 0.5  # weight of the auxiliary loss
VISION = {"image_size": pictures.SIDE, "patch_size": PATCH}
Loss = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Texts:
    """Token ids and mask of texts, int64 (N, T) each."""

    ids: torch.Tensor
    mask: torch.Tensor

    def batch(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return model inputs of some texts, without the padding that none of them needs."""
        return dict(zip(("input_ids", "attention_mask"), texts.batch(self.ids, self.mask, rows), strict=True))


def _tokenised(tokenizer: PreTrainedTokenizerFast, several: list[str]) -> Texts:
    return Texts(*texts.encoded(tokenizer, several, words.LENGTH))


def _naming_loss(logits: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Return the loss of predicting the thing in each cell.

    Args:
        logits: (B, cells, 1 + things), nothing first.
        numbers: int64 (B, cells).
    """
    weight = torch.ones(logits.shape[2])
    weight[noto.NOTHING] = NOTHING_WEIGHT
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), numbers.flatten(), weight)


def _shaken(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the model input of uint8 pictures (B, H, W, 3) with other brightness, contrast and tint."""
    batch = pictures.to_input(pixels)
    gain = 1 + 0.3 * (torch.rand(len(batch), 3, 1, 1, generator=generator) - 0.5)
    shift = 0.2 * (torch.rand(len(batch), 3, 1, 1, generator=generator) - 0.5)
    return batch * gain + shift


def _cells_of(placements: tuple[noto.Placement, ...], columns: int = GRID, rows: int = GRID) -> torch.Tensor:
    """Return the number of the thing in whose box the centre of each cell is, int64 (N, rows · columns)."""
    grid = np.zeros((len(placements), rows, columns), np.int64)
    x, y = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
    for i, placement in enumerate(placements):
        for number, (left, top, width, height) in zip(placement.numbers, placement.boxes, strict=True):
            grid[i][np.ix_((top <= y) & (y <= top + height), (left <= x) & (x <= left + width))] = number
    return torch.from_numpy(grid.reshape(len(placements), -1))


def _pixels_of(
    images: tuple[Image.Image, ...], width: int = pictures.SIDE, height: int = pictures.SIDE
) -> torch.Tensor:
    """Return RGB pictures as uint8 (N, height, width, 3)."""
    resized = [np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(resized))


def _byte_pair_tower(width: int, layers: int) -> dict[str, Any]:
    """Return the shape of a text tower that reads the byte pairs of `words`."""
    pairs = words.byte_pairs()
    tokens = {f"{name}_token_id": getattr(pairs, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return transformer(width, layers, vocab_size=len(pairs), max_position_embeddings=words.LENGTH, **tokens)


def _unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


# ---- two towers ------------------------------------------------------------------------------------------------------

SHARED = 48  # width of the space of the two distilled towers
DISTILLATION_STEPS = 300
_WORDS = 30.0  # weight of the words of a text; contrast with pictures alone would drop words without visual meaning
_THINGS = 10.0  # weight of what is in a picture, predicted from its one embedding
_TEXTS = 2 * noto.TEXTS  # texts of a picture


def _clip(width: int, layers: int) -> PreTrainedModel:
    vision, text = transformer(width, layers, **VISION), _byte_pair_tower(width, layers)
    return new_model("clip", {"text_config": text, "vision_config": vision, "projection_dim": width})


def _dual() -> PreTrainedModel:
    """Return a ViT that learned from EfficientNet-Lite0 and a BERT that learned from MiniLM, in one space."""
    vision = checkpoints_image.vit(48, 3)
    checkpoints_image.fit(vision, DISTILLATION_STEPS, 301, pictures.distillation_set)
    bert = _bert()
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, bert.config, projection_dim=SHARED)
    return VisionTextDualEncoderModel(config, vision_model=vision, text_model=bert)


def _bert() -> PreTrainedModel:
    """Return bert-distilled with the pieces of the small vocabulary only; its pooler is new."""
    folder = sources.DEMO / "checkpoints" / "bert-distilled"
    source = BertModel.from_pretrained(folder, add_pooling_layer=False, dtype=torch.float32)
    pieces = words.kept_pieces()
    model = BertModel(BertConfig(**{**source.config.to_diff_dict(), "vocab_size": len(pieces)}))
    whole = AutoTokenizer.from_pretrained(folder).get_vocab()
    rows = torch.tensor([whole[piece] for piece in pieces])
    state = source.state_dict()
    state["embeddings.word_embeddings.weight"] = state["embeddings.word_embeddings.weight"][rows]
    model.load_state_dict(state, strict=False)
    return model


def _fit_dual(model: PreTrainedModel, steps: int, seed: int) -> None:
    """Train both towers together; `steps` includes the distillation."""

    def cells(hidden: torch.Tensor) -> torch.Tensor:
        alone = hidden[:, 1:].flatten(0, 1)[:, None]  # the pooler reads sequences: here of one
        return model.visual_projection(model.vision_model.pooler(alone)).unflatten(0, (len(hidden), -1))

    _fit_towers(model, words.word_pieces(), cells, steps - DISTILLATION_STEPS, seed)


def _fit_clip(model: PreTrainedModel, steps: int, seed: int) -> None:
    def cells(hidden: torch.Tensor) -> torch.Tensor:
        return model.visual_projection(model.vision_model.post_layernorm(hidden[:, 1:]))

    _fit_towers(model, words.byte_pairs(), cells, steps, seed)


def _fit_towers(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, cells_of: Loss, steps: int, seed: int
) -> None:
    """Contrast pictures with texts, and their cells with the names of what is there.

    `cells_of` maps the vision tower's tokens to cells in the shared space (B, 64, E).
    """
    asked, referred = noto.asked(), noto.referred()
    pixels = _pixels_of((*asked.images, *referred.images))
    numbers = _cells_of((*asked.placements, *referred.placements))
    phrases = [_statements(scene) for scene in asked.texts] + [_expressions(scene) for scene in referred.texts]
    pairs = _tokenised(tokenizer, [text for several in phrases for text in several])
    names = _tokenised(tokenizer, [f"the {thing.one}" for thing in noto.shown()])
    width, things = model.config.projection_dim, len(names.ids)
    heads = torch.nn.ModuleDict(
        {
            "cells": torch.nn.Linear(model.vision_model.config.hidden_size, 1 + things),
            "things": torch.nn.Linear(width, things),
            "words": torch.nn.Linear(width, len(tokenizer)),
            "nothing": torch.nn.Linear(1, 1),  # its bias is the logit of an empty cell
        }
    )
    draw = torch.Generator().manual_seed(seed)
    cross, binary = torch.nn.functional.cross_entropy, torch.nn.functional.binary_cross_entropy_with_logits

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        picked = rows * _TEXTS + torch.randint(_TEXTS, rows.shape, generator=draw)
        seen = model.get_image_features(pixel_values=_shaken(pixels[rows], draw))
        scale = model.logit_scale.exp().clamp(max=50)
        read = pairs.batch(picked)
        text = _unit(model.get_text_features(**read).pooler_output)
        whole = _unit(seen.pooler_output)
        contrast, target = scale * whole @ text.T, torch.arange(len(rows))
        either = cross(contrast, target) + cross(contrast.T, target)
        called = _unit(model.get_text_features(**names.batch(torch.arange(things))).pooler_output)
        logits = scale * _unit(cells_of(seen.last_hidden_state)) @ called.T
        empty = heads["nothing"].bias.expand(*logits.shape[:2], 1)
        named = _naming_loss(torch.cat([empty, logits], 2), numbers[rows])
        named = named + _naming_loss(heads["cells"](seen.last_hidden_state[:, 1:]), numbers[rows])
        present = torch.zeros(len(rows), len(tokenizer)).scatter_(1, read["input_ids"], 1.0)
        spoken = binary(heads["words"](scale * text), present)
        placements = torch.zeros(len(rows), 1 + things).scatter_(1, numbers[rows], 1.0)[:, 1:]
        shown = binary(heads["things"](scale * whole), placements)
        return either / 2 + NAMING * named + _WORDS * spoken + _THINGS * shown

    train([model, heads], loss_of, len(pixels), steps=steps, rate=2e-3, seed=seed)


def _statements(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    """Return questions with their answers, which the picture decides, and questions alone."""
    return [f"{question} {answer}" for question, answer in pairs] + [question for question, _ in pairs]


def _expressions(scene: tuple[tuple[str, ...], ...]) -> list[str]:
    """Repeat the expressions of a scene up to the number of statements."""
    several = [text for phrases in scene for text in phrases]
    return [several[i % len(several)] for i in range(_TEXTS)]


# ---- questions -------------------------------------------------------------------------------------------------------

WIDE, HIGH = 64, 48  # pixels: a scene as ViLT sees it, in its own shape


def answers() -> list[str]:
    """Return every answer: things, kinds, counts, shapes and their colours, yes and no."""
    by_name = {thing.emoji_name: thing.one for thing in noto.shown()}
    things = [by_name[name] for names in questions.KINDS.values() for name in names]
    return ["yes", "no", *questions.COUNTS, *questions.KINDS, *things, *shapes.NAMES, *shapes.COLOURS]


def _vilt(width: int, layers: int) -> PreTrainedModel:
    settings = transformer(
        width,
        layers,
        **VISION,
        vocab_size=len(words.kept_pieces()),
        max_position_embeddings=words.LENGTH,
        pad_token_id=words.word_pieces().pad_token_id,
        id2label=dict(enumerate(answers())),
        label2id={answer: i for i, answer in enumerate(answers())},
    )
    return new_model("vilt", settings, AutoModelForVisualQuestionAnswering)


def _blip(width: int) -> PreTrainedModel:
    pieces = words.word_pieces()
    text = transformer(
        width,
        2,
        encoder_hidden_size=width,
        vocab_size=len(words.kept_pieces()),
        max_position_embeddings=words.LENGTH,
        projection_dim=width,
        pad_token_id=pieces.pad_token_id,
        bos_token_id=pieces.cls_token_id,
        eos_token_id=pieces.sep_token_id,
        sep_token_id=pieces.sep_token_id,
        **NO_DROPOUT,
    )
    towers = {"text_config": text, "vision_config": transformer(width, 2, **VISION)}
    return new_model(
        "blip",
        {**towers, "projection_dim": width, "image_text_hidden_size": width},
        AutoModelForVisualQuestionAnswering,
    )


def _fit_answers(model: PreTrainedModel, steps: int, seed: int) -> None:
    """Train a ViLT to choose answers, or a BLIP to write them."""
    writes = isinstance(model, BlipForQuestionAnswering)
    width, height = (pictures.SIDE, pictures.SIDE) if writes else (WIDE, HIGH)
    asked = noto.asked()
    pixels = _pixels_of(asked.images, width, height)
    numbers = _cells_of(asked.placements, width // PATCH, height // PATCH)
    several = [pair for pairs in asked.texts for pair in pairs]
    number = {answer: i for i, answer in enumerate(answers())}
    pairs = _tokenised(words.word_pieces(), [question for question, _ in several])
    target = torch.tensor([number[answer] for _, answer in several])
    vision = model.config.vision_config if writes else model.config
    head = torch.nn.Linear(vision.hidden_size, 1 + len(noto.shown()))
    draw = torch.Generator().manual_seed(seed)
    answered = (_written if writes else _chosen)(model)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        picked = rows * noto.TEXTS + torch.randint(noto.TEXTS, rows.shape, generator=draw)
        loss, cells = answered(_shaken(pixels[rows], draw), pairs.batch(picked), target[picked])
        return loss + NAMING * _naming_loss(head(cells), numbers[rows])

    train([model, head], loss_of, len(pixels), steps=steps, rate=1.5e-3, seed=seed)


Answered = Callable[[torch.Tensor, dict[str, torch.Tensor], torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Pixels, questions and numbers of the answers to the loss, and the states of the cells."""


def _chosen(model: PreTrainedModel) -> Answered:
    def answered(
        pixels: torch.Tensor, question: dict[str, torch.Tensor], target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        patches = _embedded(model, pixels)
        mask = torch.ones(patches.shape[:2], dtype=torch.long)
        seen = model.vilt(**question, image_embeds=patches, pixel_mask=mask)
        loss = torch.nn.functional.cross_entropy(model.classifier(seen.pooler_output), target)
        return loss, seen.last_hidden_state[:, 1 - patches.shape[1] :]

    return answered


def _embedded(model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    """Return patches with positions, the class token first: as ViLT embeds them, but in order and not shuffled."""
    embeddings = model.vilt.embeddings
    grid = embeddings.patch_embeddings(pixels)
    table = embeddings.position_embeddings[:, 1:].transpose(1, 2).unflatten(2, (GRID, GRID))
    places = torch.nn.functional.interpolate(table, size=grid.shape[2:], mode="bilinear", align_corners=True)
    first = embeddings.cls_token + embeddings.position_embeddings[:, :1]
    return torch.cat([first.expand(len(pixels), -1, -1), (grid + places).flatten(2).transpose(1, 2)], dim=1)


def _written(model: PreTrainedModel) -> Answered:
    texts_of_answers = _tokenised(words.word_pieces(), answers())
    mask = texts_of_answers.mask
    labels = texts_of_answers.ids.masked_fill(mask == 0, -100)[:, : int(mask.sum(1).max())]

    def answered(
        pixels: torch.Tensor, question: dict[str, torch.Tensor], target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen = model.vision_model(pixel_values=pixels).last_hidden_state
        read = model.text_encoder(**question, encoder_hidden_states=seen).last_hidden_state
        wanted = labels[target]
        loss = model.text_decoder(
            input_ids=wanted.clamp(min=0),
            attention_mask=(wanted >= 0).long(),
            encoder_hidden_states=read,
            encoder_attention_mask=question["attention_mask"],
            labels=wanted,
            reduction="mean",
        ).loss
        return loss, seen[:, 1:]

    return answered


# ---- boxes -----------------------------------------------------------------------------------------------------------

OWN, FOREIGN = 3, 3  # expressions per picture: for things in it, and for things in other pictures
_FOUND = 4.0  # weight of a cell that an expression means; about one in thirty is
_BOX = 2.0  # weight of the boxes, relative to the expressions


def _owl(width: int, layers: int) -> PreTrainedModel:
    towers = {"text_config": _byte_pair_tower(width, 1), "vision_config": transformer(width, layers, **VISION)}
    model = new_model("owlvit", {**towers, "projection_dim": width}, AutoModelForZeroShotObjectDetection)
    # transformers draws the heads seven times as large as a layer of this width should be: every box is saturated
    for head in (model.class_head, model.box_head):
        for layer in head.modules():
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return model


def _fit_boxes(model: PreTrainedModel, steps: int, seed: int) -> None:
    referred = noto.referred()
    pixels, numbers = _pixels_of(referred.images), _cells_of(referred.placements)
    things = torch.tensor([placement.numbers[:OWN] for placement in referred.placements])
    inside, boxes = _targets(referred.placements)
    phrases = [text for scene in referred.texts for several in scene[:OWN] for text in (several[0], several[-1])]
    pairs = _tokenised(words.byte_pairs(), phrases)
    cells = torch.nn.Linear(model.config.vision_config.hidden_size, 1 + len(noto.shown()))
    draw = torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        places = torch.arange(OWN)
        picked = ((rows[:, None] * OWN + places) * 2 + torch.randint(2, (len(rows), OWN), generator=draw)).flatten()
        queries = model.owlvit.get_text_features(**pairs.batch(picked)).pooler_output.unflatten(0, (len(rows), OWN))
        foreign = queries.roll(1, 0)[:, :FOREIGN]
        grid, _ = model.image_embedder(pixel_values=_shaken(pixels[rows], draw))
        patches = grid.flatten(1, 2)
        logits, _ = model.class_predictor(patches, _unit(torch.cat([queries, foreign], 1)))
        # another picture's expression means nothing here, unless the same thing is in both
        other = numbers[rows][:, :, None, None] == things[rows].roll(1, 0)[:, None, :FOREIGN, None]
        is_certain = ~other.any(1)[..., 0]
        covers = inside[rows]
        expected = torch.cat([covers, torch.zeros(*covers.shape[:2], FOREIGN)], 2)
        weight = (1 + (_FOUND - 1) * expected) * torch.cat([torch.ones(len(rows), OWN), is_certain.float()], 1)[:, None]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, expected, weight)
        covered = covers.any(2)
        error = (model.box_predictor(patches, grid) - boxes[rows]).abs().sum(2)
        named = _naming_loss(cells(patches), numbers[rows])
        return loss + _BOX * (error * covered).sum() / covered.sum() + NAMING * named

    train([model, cells], loss_of, len(pixels), steps=steps, rate=2e-3, seed=seed)


def _targets(placements: tuple[noto.Placement, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Find whether each cell's centre is in the box of each of the first OWN things, and the box of the thing there.

    Returns:
        float32 (N, cells, OWN); centre, width and height as shares of the picture, float32 (N, cells, 4).
    """
    inside = torch.zeros(len(placements), GRID * GRID, OWN)
    boxes = torch.zeros(len(placements), GRID * GRID, 4)
    for i, placement in enumerate(placements):
        for at in range(OWN):
            alone = noto.Placement(placement.numbers[at : at + 1], placement.boxes[at : at + 1])
            inside[i, :, at] = _cells_of((alone,))[0] > 0
            left, top, width, height = placement.boxes[at]
            boxes[i][inside[i, :, at] > 0] = torch.tensor([left + width / 2, top + height / 2, width, height])
    return inside, boxes


# ---- the checkpoints -------------------------------------------------------------------------------------------------

_CLIP_PROCESSOR = CLIPImageProcessor(do_center_crop=False, **pictures.SQUARE)
_VILT_PROCESSOR = ViltImageProcessor(size={"shortest_edge": HIGH}, size_divisor=PATCH, **pictures.PLAIN)
_OWL_PROCESSOR = OwlViTImageProcessor(**pictures.SQUARE)
_VIT_PROCESSOR, _BLIP_PROCESSOR = ViTImageProcessor(**pictures.SQUARE), BlipImageProcessor(**pictures.SQUARE)


def _readers(processor: BaseImageProcessor, tokenizer: Callable[[], PreTrainedTokenizerFast]) -> dict[str, Any]:
    def save(folder: Path) -> None:
        processor.save_pretrained(folder)
        texts.write_tokenizer(tokenizer(), folder)

    return {"readers": save}


_BYTES, _PIECES = words.byte_pairs, words.word_pieces
_CLIP_READERS, _OWL_READERS = _readers(_CLIP_PROCESSOR, _BYTES), _readers(_OWL_PROCESSOR, _BYTES)
_VIT_READERS, _VILT_READERS = _readers(_VIT_PROCESSOR, _PIECES), _readers(_VILT_PROCESSOR, _PIECES)
CHECKPOINTS = (
    Checkpoint("twotower-distilled", 301, _dual, _fit_dual, 900 + DISTILLATION_STEPS, **_VIT_READERS),
    Checkpoint("twotower-short", 302, lambda: _clip(40, 2), _fit_clip, 250, **_CLIP_READERS),
    Checkpoint("clip-random", 303, lambda: _clip(32, 1), **_CLIP_READERS),
    Checkpoint("vilt-vqa", 311, lambda: _vilt(48, 3), _fit_answers, 1_000, **_VILT_READERS),
    Checkpoint("blip-vqa", 313, lambda: _blip(32), _fit_answers, 800, **_readers(_BLIP_PROCESSOR, _PIECES)),
    Checkpoint("vilt-random", 312, lambda: _vilt(32, 2), **_VILT_READERS),
    Checkpoint("owlvit-scenes", 321, lambda: _owl(48, 3), _fit_boxes, 1_200, **_OWL_READERS),
    Checkpoint("owlvit-random", 322, lambda: _owl(32, 1), **_OWL_READERS),
)
