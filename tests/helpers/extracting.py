"""Inputs, loading a checkpoint, extracting all features, and counting the inputs of a module."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.hub import Repo
from hf_emms.inputs import MODALITIES, Pairs, Spans
from tests.helpers.tiny_checkpoints import TEXTS, repo_of

SIZES = [(40, 50), (32, 32), (64, 30), (33, 80), (50, 50), (32, 48), (90, 40)]


def pictures(sizes: Sequence[tuple[int, int]] = SIZES) -> list[Image.Image]:
    """Return noise images of different sizes."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in sizes]


def some_pairs() -> Pairs:
    """Return the pairs of all texts with the first three images, shuffled. The last image and text are unused."""
    parts = np.array([(picture, text) for picture in range(3) for text in range(len(TEXTS))])
    shuffled = np.random.default_rng(1).permutation(parts)
    return Pairs(pictures([*SIZES[:3], SIZES[0]]), [*TEXTS, "unused"], shuffled)


def pairs_of(firsts: Sequence[str], seconds: Sequence[str]) -> Pairs:
    """Return all pairs of texts, shuffled."""
    parts = np.array([(first, second) for first in range(len(firsts)) for second in range(len(seconds))])
    return Pairs(firsts, seconds, np.random.default_rng(1).permutation(parts))


def words_of(*texts: str) -> Spans:
    """Return every word of texts, shuffled."""
    bounds = [(number, *word.span()) for number, text in enumerate(texts) for word in re.finditer(r"\S+", text)]
    return Spans(texts, np.random.default_rng(0).permutation(np.array(bounds)))


def load(folder: Path, kind: str = "image", **options: Any) -> Any:
    return load_repo(repo_of(folder), kind, **options)


def load_repo(repo: Repo, kind: str = "image", *, device: str = "cpu", **options: Any) -> Any:
    reading = {
        name: options.pop(name) for name in ("dtype", "allow_pickle", "trust_remote_code", "prompts") if name in options
    }
    spec = make_feature_spec(repo, MODALITIES[kind], "a test", **reading)
    return MODALITIES[kind].load_extractor(spec, device=device, **options)


def rows(extractor: Any, inputs: Sequence[Any], batch_size: int | None = None) -> np.ndarray:
    """Return all features in the order of the inputs. Check that each position occurs once, in batches of that size.

    Batches of spans may contain more spans than inputs.
    """
    features = np.full((len(inputs), extractor.width), np.nan, dtype=np.float32)
    seen: list[int] = []
    for positions, batch in extractor.batches(inputs, batch_size=batch_size):
        assert (positions.dtype, batch.dtype) == (np.int64, np.float32)
        assert batch_size is None or isinstance(inputs, Spans) or len(positions) <= batch_size
        features[positions] = batch
        seen += positions.tolist()
    assert sorted(seen) == list(range(len(inputs)))
    return features


def check_same_alone_and_together(extractor: Any, inputs: Sequence[Any]) -> np.ndarray:
    """Check that features depend only on their own input, and return them."""
    together = rows(extractor, inputs)
    assert np.isfinite(together).all()
    for columns in extractor.layer_slices.values():
        layer = together[:, columns]
        scale = np.abs(layer).max()
        for alone, rest in ((rows(extractor, inputs, 1), layer), (rows(extractor, inputs[2:4]), layer[2:4])):
            np.testing.assert_allclose(alone[:, columns] / scale, rest / scale, atol=2e-5)
    return together


def own_states(folder: Path, *texts: str, **options: Any) -> tuple[Any, torch.Tensor]:
    """Return the encoding of a text or pair of texts by a checkpoint's tokenizer, and its last token states (T, D)."""
    encoded = AutoTokenizer.from_pretrained(folder)(
        *texts, return_tensors="pt", return_token_type_ids=True, return_offsets_mapping=True, **options
    )
    model = AutoModel.from_pretrained(folder).eval()
    names = ["input_ids", *["token_type_ids"] * (getattr(model.config, "type_vocab_size", 1) > 1)]
    reader = model.get_encoder() if model.config.is_encoder_decoder else model
    with torch.no_grad():
        return encoded, reader(**{name: encoded[name] for name in names}).last_hidden_state[0]


def own_pixels(folder: Path, images: Any) -> Any:
    """Return images processed by a checkpoint's own processor."""
    return AutoImageProcessor.from_pretrained(folder)(images, return_tensors="pt")


class Reads:
    """Count the input rows of a module."""

    def __init__(self, module: torch.nn.Module, argument: str) -> None:
        self.rows = 0
        self._argument = argument
        self._handle = module.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.rows += len(named[self._argument] if self._argument in named else positional[0])


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def copied(folder: Path, to: Path, **config: Any) -> Path:
    """Copy a checkpoint to a folder and change its config.json."""
    copy = shutil.copytree(folder, to / folder.name)
    edit_json(copy / "config.json", **config)
    return copy
