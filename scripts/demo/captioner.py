"""Train the demo's micro captioner: a ViT and a GPT-2 joined in a VisionEncoderDecoderModel."""

from __future__ import annotations

import numpy as np
import torch
from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from scripts.demo import pictures, texts
from scripts.demo.training import GPT2_WITHOUT_DROPOUT, NO_DROPOUT, Checkpoint, train

WIDTH = 32
SCENES = 2_400
BOS, EOS, PAD = 2, 3, 0


def _fit(model: VisionEncoderDecoderModel, steps: int, seed: int) -> float:
    """Train it on scenes of Noto emoji, another drawing style than the demo's."""
    images, captions = pictures.noto_scenes(SCENES, seed)
    pixels = torch.from_numpy(np.stack([pictures.shrink(image) for image in images]))
    tokens, mask = texts.encode(captions)
    labels = tokens.masked_fill(mask == 0, -100)[:, 1:]  # the model itself puts [CLS] in front

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        longest = int(mask[rows].sum(1).max()) - 1
        return model(pixel_values=pictures.to_input(pixels[rows]), labels=labels[rows, :longest]).loss

    return train([model], loss_of, SCENES, steps=steps, rate=2e-3, seed=seed)


def _build() -> VisionEncoderDecoderModel:
    encoder = ViTConfig(
        image_size=pictures.SIDE,
        patch_size=8,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=2 * WIDTH,
        **NO_DROPOUT,
    )
    decoder = GPT2Config(
        vocab_size=texts.VOCABULARY,
        n_positions=64,
        n_embd=WIDTH,
        n_layer=1,
        n_head=4,
        n_inner=2 * WIDTH,
        **GPT2_WITHOUT_DROPOUT,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = BOS, EOS, PAD
    return VisionEncoderDecoderModel(config)


CAPTIONER = Checkpoint(
    "vit-gpt2-captions",
    200,
    _build,
    lambda folder: (pictures.save_processor(folder), texts.save_tokenizer(folder)),
    "image-to-text",
    f"Trained on {SCENES:,} captioned scenes of Noto emoji. It is far too small to caption well.",
    _fit,
    400,
    ("Noto Emoji",),
    "en",
)
