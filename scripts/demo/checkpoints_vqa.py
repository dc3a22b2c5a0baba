"""Train the demo's checkpoints that read a question together with the picture: ViLT and BLIP, and a random ViLT."""

from __future__ import annotations

import torch
from transformers import (
    BlipConfig,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltImageProcessor,
)

from scripts.demo import noto, pair_training, pictures, questions, shapes, words
from scripts.demo.training import NO_DROPOUT, train

PATCH = 8
WIDE, HIGH = 64, 48  # pixels: a scene as ViLT sees it, in its own shape
_NAMING = 0.5  # weight of the places of things, relative to the answers


def answers() -> list[str]:
    """What can be answered: things, kinds, counts, shapes and their colours, yes and no."""
    by_name = {thing.emoji_name: thing.one for thing in noto.shown()}
    things = [by_name[name] for names in questions.KINDS.values() for name in names]
    return ["yes", "no", *questions.COUNTS, *questions.KINDS, *things, *shapes.NAMES, *shapes.COLOURS]


def _vilt(width: int, layers: int) -> ViltForQuestionAnswering:
    config = ViltConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        image_size=pictures.SIDE,
        patch_size=PATCH,
        vocab_size=len(words.kept_pieces()),
        max_position_embeddings=words.LENGTH,
        pad_token_id=words.word_pieces().pad_token_id,
        id2label=dict(enumerate(answers())),
        label2id={answer: i for i, answer in enumerate(answers())},
    )
    return ViltForQuestionAnswering(config)


def _fit_vilt(model: ViltForQuestionAnswering, steps: int, seed: int) -> float:
    asked = noto.asked()
    pixels = pair_training.pixels_of(asked.images, WIDE, HIGH)
    numbers = pair_training.cells_of(asked.placements, WIDE // PATCH, HIGH // PATCH)
    pairs, target = _asked(asked)
    head = torch.nn.Linear(model.config.hidden_size, 1 + len(noto.shown()))
    draw = torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        picked = rows * noto.TEXTS + torch.randint(noto.TEXTS, rows.shape, generator=draw)
        patches = _embedded(model, pair_training.shaken(pixels[rows], draw))
        seen = model.vilt(
            **pairs.batch(picked), image_embeds=patches, pixel_mask=torch.ones(patches.shape[:2], dtype=torch.long)
        )
        cells = head(seen.last_hidden_state[:, -numbers.shape[1] :])
        loss = torch.nn.functional.cross_entropy(model.classifier(seen.pooler_output), target[picked])
        return loss + _NAMING * pair_training.naming_loss(cells, numbers[rows])

    return train([model, head], loss_of, len(pixels), steps=steps, rate=1.5e-3, seed=seed)


def _embedded(model: ViltForQuestionAnswering, pixels: torch.Tensor) -> torch.Tensor:
    """Patches with positions, the class token first: as ViLT embeds them, but in order and not shuffled."""
    embeddings = model.vilt.embeddings
    grid = embeddings.patch_embeddings(pixels)
    side = pictures.SIDE // PATCH
    table = embeddings.position_embeddings[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    places = torch.nn.functional.interpolate(table, size=grid.shape[2:], mode="bilinear", align_corners=True)
    first = embeddings.cls_token + embeddings.position_embeddings[:, :1]
    return torch.cat([first.expand(len(pixels), -1, -1), (grid + places).flatten(2).transpose(1, 2)], dim=1)


def _asked(asked: noto.Questions) -> tuple[pair_training.Texts, torch.Tensor]:
    """All questions, and of each the number of its answer."""
    several = [pair for pairs in asked.asked for pair in pairs]
    number = {answer: i for i, answer in enumerate(answers())}
    texts = pair_training.tokenised(words.word_pieces(), [question for question, _ in several])
    return texts, torch.tensor([number[answer] for _, answer in several])


def _blip(width: int) -> BlipForQuestionAnswering:
    pieces = words.word_pieces()
    text = pair_training.tower(width) | {
        "encoder_hidden_size": width,
        "num_hidden_layers": 2,
        "vocab_size": len(words.kept_pieces()),
        "max_position_embeddings": words.LENGTH,
        "projection_dim": width,
        "pad_token_id": pieces.pad_token_id,
        "bos_token_id": pieces.cls_token_id,
        "eos_token_id": pieces.sep_token_id,
        "sep_token_id": pieces.sep_token_id,
        **NO_DROPOUT,
    }
    vision = pair_training.tower(width, num_hidden_layers=2, image_size=pictures.SIDE, patch_size=PATCH)
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=width, image_text_hidden_size=width)
    return BlipForQuestionAnswering(config)


def _fit_blip(model: BlipForQuestionAnswering, steps: int, seed: int) -> float:
    asked = noto.asked()
    pixels = pair_training.pixels_of(asked.images)
    numbers = pair_training.cells_of(asked.placements, pictures.SIDE // PATCH, pictures.SIDE // PATCH)
    pairs, target = _asked(asked)
    written = pair_training.tokenised(words.word_pieces(), answers())
    labels = written.ids.masked_fill(written.mask == 0, -100)[:, : int(written.mask.sum(1).max())]
    head = torch.nn.Linear(model.config.vision_config.hidden_size, 1 + len(noto.shown()))
    draw = torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        picked = rows * noto.TEXTS + torch.randint(noto.TEXTS, rows.shape, generator=draw)
        batch = pair_training.shaken(pixels[rows], draw)
        seen = model.vision_model(pixel_values=batch).last_hidden_state
        question = pairs.batch(picked)
        read = model.text_encoder(**question, encoder_hidden_states=seen).last_hidden_state
        wanted = labels[target[picked]]
        loss = model.text_decoder(
            input_ids=wanted.clamp(min=0),
            attention_mask=(wanted >= 0).long(),
            encoder_hidden_states=read,
            encoder_attention_mask=question["attention_mask"],
            labels=wanted,
            reduction="mean",
        ).loss
        return loss + _NAMING * pair_training.naming_loss(head(seen[:, 1:]), numbers[rows])

    return train([model, head], loss_of, len(pixels), steps=steps, rate=1.5e-3, seed=seed)


_PIPELINE = "visual-question-answering"
_VILT_READERS = (
    words.word_pieces,
    lambda: ViltImageProcessor(size={"shortest_edge": HIGH}, size_divisor=PATCH, **pictures.PLAIN),
)
CHECKPOINTS = (
    pair_training.checkpoint(
        "vilt-vqa",
        311,
        lambda: _vilt(48, 3),
        _VILT_READERS,
        _PIPELINE,
        f"A small ViLT trained to answer questions on scenes and drawn shapes with one of {len(answers())} answers.",
        _fit_vilt,
        1_000,
    ),
    pair_training.checkpoint(
        "blip-vqa",
        313,
        lambda: _blip(32),
        (words.word_pieces, lambda: BlipImageProcessor(**pictures.SQUARE)),
        _PIPELINE,
        "A small BLIP trained to write the answers to questions on scenes and on drawn shapes.",
        _fit_blip,
        800,
    ),
    pair_training.checkpoint("vilt-random", 312, lambda: _vilt(32, 2), _VILT_READERS, _PIPELINE),
)
