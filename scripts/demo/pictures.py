"""Training pictures (Noto emoji, Open Clipart, garments), none of them in the demo, and features of a teacher."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import ViTImageProcessor

from scripts.demo import sources
from scripts.demo.scenes import Thing, compose, draw

SIDE = 64  # pixels: input of every demo checkpoint
PLAIN = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
SQUARE = {"size": {"height": SIDE, "width": SIDE}, **PLAIN}  # of image processors
TEACHER_SIDE = 160  # pixels: 1.4 × cheaper than EfficientNet-Lite0's own 224 with the same classes on top
SCENES = 1_600
GARMENTS = 2_000  # rows of FashionMNIST's training split, none of which is in the demo's table
COMPONENTS = 96  # principal components of the teacher's features that a student learns
SEED = 21


@cache
def _sources() -> tuple[list[sources.Emoji], list[Image.Image], list[str], list[Image.Image]]:
    return *sources.noto_pictures(), *sources.clipart_pictures()


@cache
def singles(copies: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return Noto emoji with their Unicode group and Open Clipart pictures with their folder as class.

    Each picture is on `copies` grounds, uint8 (N, 64, 64, 3), with class ids int64 (N,).
    """
    items, noto, folders, clipart = _sources()
    names = (*sources.NOTO_GROUPS, *sources.CLIPART_FOLDERS)
    classes = [item.group for item in items] + list(folders)
    rng = np.random.default_rng(SEED)
    images, labels = [], []
    for _ in range(copies):
        for picture, name in zip(noto + clipart, classes, strict=True):
            images.append(shrink(_on_ground(picture, rng)))
            labels.append(names.index(name))
    return np.stack(images), np.array(labels)


def noto_scenes(count: int, seed: int) -> tuple[list[Image.Image], list[str]]:
    """Make scenes with captions as in the demo, but of all Noto emoji."""
    items, noto, _, _ = _sources()
    pictures = dict(zip((item.name for item in items), noto, strict=True))
    things = [Thing(name, name, name + "s") for name in pictures]
    scenes = compose(things, count, seed)
    images = [draw(scene, lambda thing: pictures[thing.emoji_name], seed + i) for i, scene in enumerate(scenes)]
    return images, [scene.caption for scene in scenes]


def _on_ground(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Paste a picture at a random scale and position on a plain ground; a quarter of the results are gray."""
    side = sources.PICTURE_SIZE
    light = rng.integers(215, 256, size=3)
    colour = tuple(int(c) for c in (light if rng.random() < 0.7 else rng.integers(0, 256, size=3)))
    canvas = Image.new("RGB", (side, side), colour)
    size = int(side * rng.uniform(0.6, 1.0))
    small = picture.resize((size, size), Image.Resampling.BILINEAR)
    x, y = (int(v) for v in rng.integers(0, side - size + 1, size=2))
    canvas.paste(small, (x, y), small)
    return canvas.convert("L").convert("RGB") if rng.random() < 0.25 else canvas


def shrink(image: Image.Image) -> np.ndarray:
    """Resize a picture to the input of checkpoints, uint8 (64, 64, 3)."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


@cache
def distillation_set() -> tuple[np.ndarray, np.ndarray]:
    """Return pictures, uint8 (N, 64, 64, 3), and whitened principal components of the pooled features of
    EfficientNet-Lite0, float32 (N, COMPONENTS).
    """
    stored = sources.BUILD / "distillation.npz"
    if not stored.exists():
        _, noto, _, clipart = _sources()
        rng = np.random.default_rng(SEED + 1)
        large = [_on_ground(picture, rng) for picture in noto + clipart]
        large += noto_scenes(SCENES, SEED + 2)[0]
        large += [Image.fromarray(row).convert("RGB") for row in sources.fashion_mnist("train")[0][-GARMENTS:]]
        np.savez(stored, images=np.stack([shrink(image) for image in large]), features=_teach(large))
    with np.load(stored) as arrays:
        features = arrays["features"]
        features = (features - features.mean(0)) / (features.std(0) + 1e-6)
        left, _, _ = np.linalg.svd(features, full_matrices=False)
        return arrays["images"], left[:, :COMPONENTS] * np.float32(np.sqrt(len(features)))


def _teach(images: list[Image.Image]) -> np.ndarray:
    """EfficientNet-Lite0's pooled features, float32 (N, 1280)."""
    import timm

    teacher = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = torch.load(sources.LITE0, weights_only=True)
    # other names, same layers in the same order: load_state_dict checks every shape
    teacher.load_state_dict(dict(zip(teacher.state_dict(), weights.values(), strict=True)))
    teacher.reset_classifier(0)
    teacher.eval()
    features = []
    with torch.inference_mode():
        for start in range(0, len(images), 64):
            side = (TEACHER_SIDE, TEACHER_SIDE)
            resized = [image.resize(side, Image.Resampling.BICUBIC) for image in images[start : start + 64]]
            batch = torch.from_numpy(np.stack([np.asarray(image) for image in resized]))
            features.append(teacher(to_input(batch)).numpy())
    return np.concatenate(features)


def save_processor(folder: Path) -> None:
    """Write the image processor of all demo checkpoints that read single pictures."""
    ViTImageProcessor(**SQUARE).save_pretrained(folder)


def to_input(images: torch.Tensor) -> torch.Tensor:
    """Images uint8 (B, H, W, 3) → float32 (B, 3, H, W) in [-1, 1], as the demo's processors and Lite0 expect."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
