"""Train the demo's image checkpoints: distilled, pretrained for long or short, on the wrong domain, random."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import (
    ConvNextConfig,
    ConvNextModel,
    MobileNetV2Config,
    MobileNetV2Model,
    PreTrainedModel,
    RegNetConfig,
    RegNetModel,
    ResNetConfig,
    ResNetModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTModel,
)

from scripts.demo import pictures, sources
from scripts.demo.training import NO_DROPOUT, Checkpoint, train

FASHION_ROWS = 12_000


def _resnet(width: int = 96) -> PreTrainedModel:
    sizes = [16, 32, 64, width]
    return ResNetModel(ResNetConfig(embedding_size=16, hidden_sizes=sizes, depths=[1, 1, 1, 1], layer_type="basic"))


def _regnet() -> PreTrainedModel:
    return RegNetModel(
        RegNetConfig(embedding_size=16, hidden_sizes=[16, 32, 64, 96], depths=[1, 1, 1, 1], groups_width=16)
    )


def _swin() -> PreTrainedModel:
    return SwinModel(
        SwinConfig(
            image_size=64,
            patch_size=4,
            embed_dim=24,
            depths=[1, 1, 2],
            num_heads=[2, 4, 8],
            window_size=4,
            mlp_ratio=2.0,
            drop_path_rate=0.0,
        )
    )


def _convnext() -> PreTrainedModel:
    return ConvNextModel(ConvNextConfig(patch_size=4, hidden_sizes=[24, 48, 96], depths=[1, 1, 1], num_stages=3))


def _vit(width: int = 64, layers: int = 4) -> PreTrainedModel:
    return ViTModel(
        ViTConfig(
            image_size=64,
            patch_size=8,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=2 * width,
            **NO_DROPOUT,
        ),
        add_pooling_layer=False,
    )


def _mobilenet() -> PreTrainedModel:
    model = MobileNetV2Model(
        MobileNetV2Config(image_size=64, depth_multiplier=0.25, min_depth=8, depth_divisible_by=8, output_stride=16)
    )
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1  # with transformers' 0.997 only the last batch would count
    return model


def pooled(model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    """The checkpoint's feature of each picture, float32 (B, D1): its pooler's output, or the class token."""
    output = model(pixel_values=pixels)
    if getattr(output, "pooler_output", None) is not None:
        return output.pooler_output.flatten(1)
    return output.last_hidden_state[:, 0]


def fit(model: PreTrainedModel, steps: int, seed: int, goal: str, rate: float = 3e-3) -> float:
    """Train a model towards a goal; returns the seconds."""
    with torch.no_grad():
        width = pooled(model.eval(), torch.zeros(1, 3, pictures.SIDE, pictures.SIDE)).shape[1]
    images, targets = _goal(goal)
    regression = targets.ndim == 2
    head = torch.nn.Linear(width, targets.shape[1] if regression else int(targets.max()) + 1)
    loss = torch.nn.MSELoss() if regression else torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    augment = torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        batch = _augment(pictures.to_input(images[rows]), augment)
        return loss(head(pooled(model, batch)), targets[rows])

    return train([model, head], loss_of, len(images), steps=steps, rate=rate, seed=seed)


def _goal(goal: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Images uint8 (N, 64, 64, 3) and what to predict: float32 (N, D) or class ids int64 (N,)."""
    if goal == "lite0":
        images, targets = pictures.distillation_set()
    elif goal == "drawings":
        singles = pictures.singles()
        images, targets = singles.images, singles.labels
    else:
        small, targets = sources.fashion_mnist("train")
        large = torch.nn.functional.interpolate(
            torch.from_numpy(small[:FASHION_ROWS])[:, None].float(), (64, 64), mode="bilinear"
        )
        images = np.repeat(large.round().byte().permute(0, 2, 3, 1).numpy(), 3, axis=3)
        targets = targets[:FASHION_ROWS]
    return torch.from_numpy(images), torch.from_numpy(targets)


def _augment(batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip half of the batches and shift every batch by up to four pixels."""
    if torch.rand((), generator=generator) < 0.5:
        batch = batch.flip(3)
    dx, dy = (int(v) for v in torch.randint(-4, 5, (2,), generator=generator))
    return batch.roll((dy, dx), (2, 3))


_HOW = {
    "lite0": "Distilled on Noto emoji, scenes of them, Open Clipart pictures and garments (FashionMNIST training rows) "
    "from the pooled features of EfficientNet-Lite0 (ImageNet weights, Apache-2.0).",
    "drawings": "Pretrained to name the Unicode group of Noto emoji and the folder of Open Clipart pictures.",
    "fashion": f"Pretrained on {FASHION_ROWS:,} rows of FashionMNIST's training split.",
}
_DATA = {
    "lite0": ("Noto Emoji", "Open Clipart", "zalando-datasets/fashion_mnist"),
    "drawings": ("Noto Emoji", "Open Clipart"),
    "fashion": ("zalando-datasets/fashion_mnist",),
}


def _checkpoint(
    name: str, seed: int, build: Callable[[], PreTrainedModel], goal: str = "", steps: int = 0, rate: float = 3e-3
) -> Checkpoint:
    trained: dict[str, Any] = {}
    if goal:
        learn = partial(fit, goal=goal, rate=rate)
        trained = {"how": _HOW[goal], "fit": learn, "steps": steps, "data": _DATA[goal]}
    return Checkpoint(name, seed, build, pictures.save_processor, "image-feature-extraction", **trained)


CHECKPOINTS = (
    _checkpoint("resnet-distilled", 0, lambda: _resnet(112), "lite0", 2_000),
    _checkpoint("swin-distilled", 1, _swin, "lite0", 1_000),
    _checkpoint("resnet-drawings", 2, _resnet, "drawings", 1_600),
    _checkpoint("resnet-fashion", 3, _resnet, "fashion", 700),
    _checkpoint("resnet-drawings-short", 4, _resnet, "drawings", 60),
    _checkpoint("convnext-distilled-short", 5, _convnext, "lite0", 250, 2e-3),
    _checkpoint("vit-drawings", 6, _vit, "drawings", 600, 1e-3),
    _checkpoint("mobilenet-drawings-short", 7, _mobilenet, "drawings", 250, 5e-4),
    _checkpoint("regnet-random", 8, _regnet),
    _checkpoint("vit-random", 9, lambda: _vit(48, 2)),
)
