"""Train the demo's image checkpoints (distilled, pretrained for long or short, random) and a micro captioner."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, PreTrainedModel, VisionEncoderDecoderConfig, VisionEncoderDecoderModel

from scripts.demo import pictures, sources, texts
from scripts.demo.training import NO_DROPOUT, Checkpoint, Fit, gpt2, new_model, train, transformer

FASHION_ROWS = 12_000
CAPTIONED_SCENES = 2_400
BOS, EOS, PAD = 2, 3, 0  # of the captioner
_STAGES = {"embedding_size": 16, "hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 1, 1]}
_SWIN = {"embed_dim": 24, "depths": [1, 1, 2], "num_heads": [2, 4, 8], "window_size": 4, "mlp_ratio": 2.0}


def _resnet(width: int = 96) -> PreTrainedModel:
    return new_model("resnet", {**_STAGES, "hidden_sizes": [16, 32, 64, width], "layer_type": "basic"})


def _swin() -> PreTrainedModel:
    return new_model("swin", {**_SWIN, "image_size": pictures.SIDE, "patch_size": 4, "drop_path_rate": 0.0})


def _convnext() -> PreTrainedModel:
    return new_model("convnext", {"patch_size": 4, "hidden_sizes": [24, 48, 96], "depths": [1, 1, 1], "num_stages": 3})


def vit(width: int, layers: int, **more: Any) -> PreTrainedModel:
    """Return a ViT that reads patches of 8 × 8 pixels."""
    side = {"image_size": pictures.SIDE, "patch_size": 8}
    return new_model("vit", transformer(width, layers, **side, **NO_DROPOUT), **more)


def _mobilenet() -> PreTrainedModel:
    sizes = {"image_size": pictures.SIDE, "depth_multiplier": 0.25, "min_depth": 8, "depth_divisible_by": 8}
    model = new_model("mobilenet_v2", {**sizes, "output_stride": 16})
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # with transformers' 0.997 only the last batch would count
    return model


def _captioner() -> PreTrainedModel:
    side = {"image_size": pictures.SIDE, "patch_size": 8}
    encoder = AutoConfig.for_model("vit", **transformer(32, 2, **side, **NO_DROPOUT))
    tokens = {"vocab_size": texts.VOCABULARY, "bos_token_id": BOS, "eos_token_id": EOS}
    decoder = AutoConfig.for_model("gpt2", **gpt2(32, 1, n_positions=64, **tokens))
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = BOS, EOS, PAD
    return VisionEncoderDecoderModel(config)


def _pooled(model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    """Return the feature of each picture, float32 (B, D1): the pooler's output, or the class token."""
    output = model(pixel_values=pixels)
    if getattr(output, "pooler_output", None) is not None:
        return output.pooler_output.flatten(1)
    return output.last_hidden_state[:, 0]


def fit(model: PreTrainedModel, steps: int, seed: int, examples: Callable[[], Any], rate: float = 3e-3) -> None:
    """Train a model to predict the targets of pictures.

    `examples` returns images uint8 (N, 64, 64, 3), and targets: float32 (N, D) or class ids int64 (N,).
    """
    with torch.no_grad():
        width = _pooled(model.eval(), torch.zeros(1, 3, pictures.SIDE, pictures.SIDE)).shape[1]
    images, targets = map(torch.from_numpy, examples())
    regression = targets.ndim == 2
    head = torch.nn.Linear(width, targets.shape[1] if regression else int(targets.max()) + 1)
    loss = torch.nn.MSELoss() if regression else torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    augment = torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        batch = _augment(pictures.to_input(images[rows]), augment)
        return loss(head(_pooled(model, batch)), targets[rows])

    train([model, head], loss_of, len(images), steps=steps, rate=rate, seed=seed)


def _augment(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip half of the batches and shift every batch by up to four pixels."""
    if torch.rand((), generator=generator) < 0.5:
        batch = batch.flip(3)
    dx, dy = (int(v) for v in torch.randint(-4, 5, (2,), generator=generator))
    return batch.roll((dy, dx), (2, 3))


def _garments() -> tuple[np.ndarray, np.ndarray]:
    small, targets = sources.fashion_mnist("train")
    large = torch.nn.functional.interpolate(
        torch.from_numpy(small[:FASHION_ROWS])[:, None].float(), (64, 64), mode="bilinear"
    )
    images = np.repeat(large.round().byte().permute(0, 2, 3, 1).numpy(), 3, axis=3)
    return images, targets[:FASHION_ROWS]


def _fit_captioner(model: PreTrainedModel, steps: int, seed: int) -> None:
    """Train on scenes of Noto emoji, a drawing style that the demo's dataset does not have."""
    images, captions = pictures.noto_scenes(CAPTIONED_SCENES, seed)
    pixels = torch.from_numpy(np.stack([pictures.shrink(image) for image in images]))
    tokens, mask = texts.encode(captions)
    labels = tokens.masked_fill(mask == 0, -100)[:, 1:]  # the model itself puts [CLS] in front

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        longest = int(mask[rows].sum(1).max()) - 1
        return model(pixel_values=pictures.to_input(pixels[rows]), labels=labels[rows, :longest]).loss

    train([model], loss_of, CAPTIONED_SCENES, steps=steps, rate=2e-3, seed=seed)


def _distilled(rate: float = 3e-3) -> Fit:
    """Learn the pooled features of EfficientNet-Lite0."""
    return partial(fit, examples=pictures.distillation_set, rate=rate)


def _drawings(rate: float = 3e-3) -> Fit:
    """Name the Unicode group of Noto emoji and the folder of Open Clipart pictures."""
    return partial(fit, examples=pictures.singles, rate=rate)


def _save_readers(folder: Path) -> None:
    pictures.save_processor(folder)
    texts.save_tokenizer(folder)


_checkpoint = partial(Checkpoint, readers=pictures.save_processor)
CHECKPOINTS = (
    _checkpoint("resnet-distilled", 0, lambda: _resnet(112), _distilled(), 2_000),
    _checkpoint("swin-distilled", 1, _swin, _distilled(), 1_000),
    _checkpoint("resnet-drawings", 2, _resnet, _drawings(), 1_600),
    _checkpoint("resnet-fashion", 3, _resnet, partial(fit, examples=_garments), 700),
    _checkpoint("resnet-drawings-short", 4, _resnet, _drawings(), 60),
    _checkpoint("convnext-distilled-short", 5, _convnext, _distilled(2e-3), 250),
    _checkpoint("vit-drawings", 6, lambda: vit(64, 4, add_pooling_layer=False), _drawings(1e-3), 600),
    _checkpoint("mobilenet-drawings-short", 7, _mobilenet, _drawings(5e-4), 250),
    _checkpoint("regnet-random", 8, lambda: new_model("regnet", {**_STAGES, "groups_width": 16})),
    _checkpoint("vit-random", 9, lambda: vit(48, 2, add_pooling_layer=False)),
    Checkpoint("vit-gpt2-captions", 200, _captioner, _fit_captioner, 400, readers=_save_readers),
)
