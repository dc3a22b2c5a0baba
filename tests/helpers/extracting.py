"""Inputs, and how tests load a checkpoint, take all of its features, and count what a part of it reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.hub import Repo
from hf_emms.inputs import INPUT_KINDS, Pairs
from hf_emms.options import FeatureOptions
from tests.helpers.tiny_checkpoints import TEXTS, repo_of

TASKS = {
    "image": "image-classification",
    "text": "text-classification",
    "image+text": "visual-question-answering",
    "text+text": "question-answering",
    "text-pair": "text-pair-classification",
    "words": "token-classification",
    "search": "text-retrieval",
    "prompt": "text-generation",
    "audio": "audio-classification",
}
SIZES = [(40, 50), (32, 32), (64, 30), (33, 80), (50, 50), (32, 48), (90, 40)]


def pictures(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Image.Image]:
    """Pictures of noise, all of different sizes."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in sizes]


def some_pairs() -> Pairs:
    """Every text with the first three pictures, mixed; the last picture and the last text are in no pair."""
    parts = np.array([(picture, text) for picture in range(3) for text in range(len(TEXTS))])
    shuffled = np.random.default_rng(1).permutation(parts)
    return Pairs(pictures([*SIZES[:3], SIZES[0]]), [*TEXTS, "unused"], shuffled)


def load(folder: Path, kind: str = "image", **options: Any) -> Any:
    return load_repo(repo_of(folder), kind, **options)


def load_repo(
    repo: Repo,
    kind: str = "image",
    *,
    device: str = "cpu",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    prompts: FeatureOptions | None = None,
    **options: Any,
) -> Any:
    reading = {"dtype": dtype, "trust_remote_code": trust_remote_code, "prompts": prompts}
    plan = plan_extraction(repo, INPUT_KINDS[kind], TASKS[kind], **reading)
    return INPUT_KINDS[kind].load_extractor(plan, device=device, **options)


def rows(extractor: Any, inputs: Sequence[Any], batch_size: int | None = None) -> np.ndarray:
    """All features in the order of the inputs; every position has to come exactly once, in batches of the size."""
    features = np.full((len(inputs), extractor.width), np.nan, dtype=np.float32)
    seen: list[int] = []
    for positions, batch in extractor.batches(inputs, batch_size=batch_size):
        assert (positions.dtype, batch.dtype) == (np.int64, np.float32)
        assert batch_size is None or len(positions) <= batch_size
        features[positions] = batch
        seen += positions.tolist()
    assert sorted(seen) == list(range(len(inputs)))
    return features


class Reads:
    """How many rows a module of a model has read."""

    def __init__(self, module: torch.nn.Module, argument: str) -> None:
        self.rows = 0
        self._argument = argument
        self._handle = module.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.rows += len(named[self._argument] if self._argument in named else positional[0])


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
