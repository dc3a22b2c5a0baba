"""Loads checkpoints on the CPU and takes all their features in the order of the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hf_emms.features.load import Extractor, load_extractor
from tests.helpers.tiny_checkpoints import repo_of


def pictures() -> list[Image.Image]:
    """Seven pictures of noise, all of different sizes."""
    rng = np.random.default_rng(0)
    sizes = [(40, 50), (32, 32), (64, 30), (33, 80), (50, 50), (32, 48), (90, 40)]
    return [Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in sizes]


def load(folder: Path, modality: str = "image", **options: Any) -> Extractor:
    return load_extractor(repo_of(folder), modality, "image-classification", device="cpu", **options)


def rows(extractor: Extractor, inputs: Sequence[Any], batch_size: int | None = None) -> np.ndarray:
    """All features in the order of the inputs; every position has to come exactly once."""
    features = np.full((len(inputs), extractor.width), np.nan, dtype=np.float32)
    seen: list[int] = []
    for positions, batch in extractor.batches(inputs, batch_size=batch_size):
        assert positions.dtype == np.int64
        assert batch.dtype == np.float32
        features[positions] = batch
        seen += positions.tolist()
    assert sorted(seen) == list(range(len(inputs)))
    return features
