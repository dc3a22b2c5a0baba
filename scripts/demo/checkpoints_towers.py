"""Train the demo's two-tower checkpoints: a dual encoder of distilled towers, a CLIP trained briefly, a random one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from scripts.demo import checkpoints_image, noto, pair_training, pictures, sources, words
from scripts.demo.training import NO_DROPOUT, train

SHARED = 48  # width of the space of the two distilled towers
DISTILLATION_STEPS = 300
_NAMING = 0.5  # weight of the places of things, relative to the contrast of whole pictures
_WORDS = 30.0  # weight of the words of a text, of which a contrast with pictures would forget all that show nothing
_THINGS = 10.0  # weight of what is in a picture, predicted from its one embedding
_TEXTS = 2 * noto.TEXTS  # texts of a picture


def _dual() -> VisionTextDualEncoderModel:
    """A ViT that learned from EfficientNet-Lite0 and a BERT that learned from MiniLM, in one space."""
    vision = ViTModel(
        ViTConfig(
            image_size=pictures.SIDE,
            patch_size=8,
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=96,
            **NO_DROPOUT,
        )
    )
    before = checkpoints_image.fit(vision, DISTILLATION_STEPS, 301, "lite0")
    bert = _bert()
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, bert.config, projection_dim=SHARED)
    model = VisionTextDualEncoderModel(config, vision_model=vision, text_model=bert)
    model.seconds_before = before
    return model


def _fit_dual(model: VisionTextDualEncoderModel, steps: int, seed: int) -> float:
    """Train both towers together; the steps are those of the distillation, too."""
    steps -= DISTILLATION_STEPS
    return model.seconds_before + _fit(model, words.word_pieces(), _vit_cells(model), steps, seed)


def _fit_clip(model: CLIPModel, steps: int, seed: int) -> float:
    return _fit(model, words.byte_pairs(), _clip_cells(model), steps, seed)


def clip(width: int, layers: int) -> CLIPModel:
    """A CLIP of random weights that reads 8 × 8 patches."""
    side = {"image_size": pictures.SIDE, "patch_size": 8}
    vision = pair_training.tower(width, num_hidden_layers=layers, **side)
    text = pair_training.byte_pair_tower(width, layers)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width))


def _bert() -> BertModel:
    """bert-distilled with the pieces of the small vocabulary only; its pooler is new."""
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


def _clip_cells(model: CLIPModel) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda hidden: model.visual_projection(model.vision_model.post_layernorm(hidden[:, 1:]))


def _vit_cells(model: VisionTextDualEncoderModel) -> Callable[[torch.Tensor], torch.Tensor]:
    def cells(hidden: torch.Tensor) -> torch.Tensor:
        alone = hidden[:, 1:].flatten(0, 1)[:, None]  # the pooler reads sequences: here of one
        return model.visual_projection(model.vision_model.pooler(alone)).unflatten(0, (len(hidden), -1))

    return cells


def _fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    cells_of: Callable[[torch.Tensor], torch.Tensor],
    steps: int,
    seed: int,
) -> float:
    """Contrast pictures with texts, and their cells with the names of what is there.

    Args:
        model: has get_image_features and get_text_features.
        tokenizer: of the text tower.
        cells_of: the vision tower's tokens to cells in the shared space (B, 64, E).
        steps: optimiser steps.
        seed: of the batches.

    Returns:
        Seconds of training.
    """
    asked, referred = noto.asked(), noto.referred()
    pixels = pair_training.pixels_of((*asked.images, *referred.images))
    numbers = pair_training.cells_of((*asked.placements, *referred.placements), 8, 8)
    phrases = [_statements(scene) for scene in asked.asked] + [_expressions(scene) for scene in referred.phrases]
    pairs = pair_training.tokenised(tokenizer, [text for several in phrases for text in several])
    names = pair_training.name_texts(tokenizer)
    heads = torch.nn.ModuleDict(
        {
            "cells": torch.nn.Linear(model.vision_model.config.hidden_size, 1 + len(names.ids)),
            "things": torch.nn.Linear(model.config.projection_dim, len(names.ids)),
            "words": torch.nn.Linear(model.config.projection_dim, len(tokenizer)),
            "nothing": torch.nn.Linear(1, 1),  # its bias is the logit of an empty cell
        }
    )
    draw = torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        picked = rows * _TEXTS + torch.randint(_TEXTS, rows.shape, generator=draw)
        seen = model.get_image_features(pixel_values=pair_training.shaken(pixels[rows], draw))
        scale = model.logit_scale.exp().clamp(max=50)
        read = pairs.batch(picked)
        text = _unit(model.get_text_features(**read).pooler_output)
        whole = _unit(seen.pooler_output)
        contrast = scale * whole @ text.T
        target = torch.arange(len(rows))
        either = (
            torch.nn.functional.cross_entropy(contrast, target),
            torch.nn.functional.cross_entropy(contrast.T, target),
        )
        called = _unit(model.get_text_features(**names.batch(torch.arange(len(names.ids)))).pooler_output)
        logits = scale * _unit(cells_of(seen.last_hidden_state)) @ called.T
        empty = heads["nothing"].bias.expand(*logits.shape[:2], 1)
        named = pair_training.naming_loss(torch.cat([empty, logits], 2), numbers[rows])
        named = named + pair_training.naming_loss(heads["cells"](seen.last_hidden_state[:, 1:]), numbers[rows])
        present = torch.zeros(len(rows), len(tokenizer)).scatter_(1, read["input_ids"], 1.0)
        present_loss = torch.nn.functional.binary_cross_entropy_with_logits(heads["words"](scale * text), present)
        placements = torch.zeros(len(rows), 1 + len(names.ids)).scatter_(1, numbers[rows], 1.0)[:, 1:]
        shown = torch.nn.functional.binary_cross_entropy_with_logits(heads["things"](scale * whole), placements)
        return sum(either) / 2 + _NAMING * named + _WORDS * present_loss + _THINGS * shown

    return train([model, heads], loss_of, len(pixels), steps=steps, rate=2e-3, seed=seed)


def _statements(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    """Questions with their answers, which the picture decides, and questions alone."""
    return [f"{question} {answer}" for question, answer in pairs] + [question for question, _ in pairs]


def _expressions(scene: tuple[tuple[str, ...], ...]) -> list[str]:
    """As many expressions as statements, of all things of a scene."""
    several = [text for phrases in scene for text in phrases]
    return [several[i % len(several)] for i in range(_TEXTS)]


def _unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


_PIPELINE = "zero-shot-image-classification"
_CLIP_READERS = (
    words.byte_pairs,
    lambda: CLIPImageProcessor(do_center_crop=False, **pictures.SQUARE),
)
CHECKPOINTS = (
    pair_training.checkpoint(
        "twotower-distilled",
        301,
        _dual,
        (words.word_pieces, lambda: ViTImageProcessor(**pictures.SQUARE)),
        _PIPELINE,
        f"A ViT distilled from EfficientNet-Lite0 (ImageNet weights, Apache-2.0) in {DISTILLATION_STEPS} steps "
        "and the text encoder of bert-distilled, which learned from all-MiniLM-L6-v2 (Apache-2.0), trained together to "
        "tell which text belongs to which scene.",
        _fit_dual,
        900 + DISTILLATION_STEPS,
        data=("Noto Emoji", "Open Clipart", "zalando-datasets/fashion_mnist", "drawn shapes", "WordNet 3.0 glosses"),
    ),
    pair_training.checkpoint(
        "twotower-short",
        302,
        lambda: clip(40, layers=2),
        _CLIP_READERS,
        _PIPELINE,
        "A small CLIP trained briefly, from random weights, to tell which text belongs to which scene.",
        _fit_clip,
        250,
    ),
    pair_training.checkpoint("clip-random", 303, lambda: clip(32, layers=1), _CLIP_READERS, _PIPELINE),
)
