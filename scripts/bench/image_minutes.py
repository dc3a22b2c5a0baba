"""Minutes to rank 1,000 images with a checkpoint, and to fine-tune it for one epoch, by its size.

The checkpoints are vision transformers with random weights, since time does not depend on the weights.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = {"ViT-Tiny": (192, 3), "ViT-Small": (384, 6), "ViT-Base": (768, 12)}
IMAGES, BATCH, STEPS = 48, 8, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(options: argparse.Namespace) -> None:
    """Print the table of docs/recipe-photos.md."""
    print("| checkpoint | parameters | minutes to rank 1,000 images | minutes to fine-tune one epoch of 1,000 images |")
    print("| :--- | ---: | ---: | ---: |")
    for name, (width, heads) in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            parameters = save(Path(folder), width, heads)
            cells = (f"{parameters / 1e6:.0f} M", f"{ranking(folder):.1f}", f"{training(folder):.1f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def save(folder: Path, width: int, heads: int) -> int:
    """Save a random vision transformer of 12 layers with its image processor; return its number of parameters."""
    import transformers

    config = transformers.ViTConfig(
        hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width, num_labels=10
    )
    model = transformers.ViTForImageClassification(config)
    model.save_pretrained(folder)
    transformers.ViTImageProcessor().save_pretrained(folder)
    return model.num_parameters()


def ranking(folder: str) -> float:
    """Return the minutes that `hf_emms.rank` takes for the forward passes of 1,000 images."""
    from PIL import Image

    import hf_emms

    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (224, 224, 3), np.uint8)) for _ in range(IMAGES)]
    rows = [{"image": image, "label": f"class {number % 2}"} for number, image in enumerate(images)]
    ranking = hf_emms.rank(rows, [folder], task="image-classification", encoders="demo", cache=False)
    return ranking[0].seconds.forward / IMAGES * 1000 / 60


def training(folder: str) -> float:
    """Return the minutes of the training steps for 1,000 images, with all weights."""
    import torch
    import transformers

    model = transformers.ViTForImageClassification.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    pixels, labels = torch.randn(BATCH, 3, 224, 224), torch.zeros(BATCH, dtype=torch.long)
    seconds = []
    for _ in range(1 + STEPS):
        started = time.perf_counter()
        model(pixel_values=pixels, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:])) / BATCH * 1000 / 60
