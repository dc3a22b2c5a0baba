"""Fill the stand-in with the repositories of presets, by copies of embedded checkpoints and datasets."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path

import pyarrow.parquet

from hf_emms.presets import checkpoint_presets, dataset_preset, default_checkpoints, demo, encoder_presets, encoder_sets

from .store import Store

_WEIGHTS = "model.safetensors"
_IMAGE = ("resnet-distilled", "vit-random", "swin-distilled", "regnet-random")
_TEXT = ("albert-distilled", "bert-distilled", "bert-random", "electra-distilled")
_ENCODERS = ("encoder-minilm-albert", "encoder-minilm-static", "encoder-wordnet-gpt2")
_TASKS = {"image-to-text": _IMAGE, "image-classification": _IMAGE, "text-classification": _TEXT}
# Preset → the embedded dataset in its place, and the share of rows in each split.
_DATASETS = {
    "coco_captions": ("emoji-captions", {"train": 0.6, "validation": 0.2, "test": 0.2}),
    "fashion_mnist": ("fashion-mnist", {"train": 0.8, "test": 0.2}),
    "ag_news": ("wordnet-glosses", {"train": 0.8, "test": 0.2}),
}


def seed(store: Store) -> None:
    """Add the repositories.

    If a preset has pickled weights, or names a pull request, main has only pickled weights, as on the Hub. The pull
    request has safetensors.
    """
    named = [(default_checkpoints(task), names) for task, names in _TASKS.items()]
    named += [(encoder_presets()[name], _ENCODERS) for name in ("base", "paper", "paper-small")]
    for ids, names in named:
        for id, stand_in in zip(ids, cycle(names), strict=False):
            _put_checkpoint(store, id, _folder(stand_in))
    for preset_name, (embedded, shares) in _DATASETS.items():
        preset = dataset_preset(preset_name)
        assert preset is not None
        assert preset.id is not None
        store.put_files(preset.id, _splits(_folder(embedded), shares), "dataset")


def _folder(name: str) -> Path:
    folder = demo.folder_of(demo.DEMO_PREFIX + name)
    assert folder is not None
    return folder


def _put_checkpoint(store: Store, id: str, folder: Path) -> None:
    name, _, revision = id.partition("@")
    if ("model", name) in store.repos:
        return
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    is_commit = len(revision) == 40
    presets = [preset for listed in (*checkpoint_presets().values(), *encoder_sets().values()) for preset in listed]
    is_pickled = (revision and not is_commit) or any(
        preset.id == name and preset.weights == "pickled" for preset in presets
    )
    store.put_files(name, _pickled(files) if is_pickled else files, sha=revision if is_commit else None)
    if revision and not is_commit:
        store.put_files(name, {_WEIGHTS: files[_WEIGHTS]}, ref=revision)


def _pickled(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a checkpoint with its weights in pytorch_model.bin."""
    import torch
    from safetensors.torch import load

    content = io.BytesIO()
    torch.save(load(files[_WEIGHTS]), content)
    return {**{path: files[path] for path in files if path != _WEIGHTS}, "pytorch_model.bin": content.getvalue()}


def _splits(folder: Path, shares: Mapping[str, float]) -> dict[str, bytes]:
    """Return the files of an embedded dataset in splits."""
    (source,) = folder.rglob("*.parquet")
    table = pyarrow.parquet.read_table(source)
    files, start = {}, 0
    for split, share in shares.items():
        part = table.slice(start, round(share * table.num_rows))
        start += part.num_rows
        sink = io.BytesIO()
        pyarrow.parquet.write_table(part, sink)
        files[f"data/{split}-00000-of-00001.parquet"] = sink.getvalue()
    return files
