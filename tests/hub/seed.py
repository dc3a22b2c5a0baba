"""Fills the stand-in with the embedded demo, under ids like the Hub's and under those of the presets."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow.parquet

from hf_emms.presets import checkpoint_presets, dataset_preset, default_checkpoints, demo, encoder_presets, encoder_sets

from .store import Kind, Store

ORG = "emms-zoo"
BOT = "SFconvertbot"
CONVERSION = "Adding `safetensors` variant of this model"
# Fixed, so that the commits have the same shas every time.
_DATE = "2025-01-01T00:00:00.000Z"
_WEIGHTS = "model.safetensors"
_ENCODER_SETS = ("base", "paper", "paper-small")
# Presets that embedded datasets stand in for, with the share of the rows in each split.
_DATASETS = {
    "coco_captions": ("emoji-captions", {"train": 0.6, "validation": 0.2, "test": 0.2}),
    "fashion_mnist": ("fashion-mnist", {"train": 0.8, "test": 0.2}),
    "ag_news": ("wordnet-glosses", {"train": 0.8, "test": 0.2}),
}
_ROWS_PER_GROUP = 64


def seed(store: Store) -> None:
    """Adds what is not there yet.

    The demo's repositories stand as emms-zoo/NAME. Ids of presets are backed by demo checkpoints of the right
    modality; where a preset names a pull request, or says so, main has pickled weights only as on the Hub, and the pull
    request has safetensors.
    """
    image: list[Path] = []
    text: list[Path] = []
    others: list[Path] = []
    encoders = [_folder(id) for id in demo.names("encoders")]
    for id in demo.names("checkpoints"):
        folder = _folder(id)
        settings = folder / "preprocessor_config.json"
        if "pipeline_tag: text-generation" in (folder / "README.md").read_text(encoding="utf-8"):
            others.append(folder)
        elif not settings.exists():
            text.append(folder)
        else:
            (others if "sampling_rate" in settings.read_text() else image).append(folder)
    for place, folder in enumerate([*image, *text, *encoders, *others]):
        _put(store, f"{ORG}/{folder.name}", _files(folder), place)
    for id in demo.names("datasets"):
        _put(store, f"{ORG}/{_folder(id).name}", _files(_folder(id)), 0, kind="dataset")
    # A checkpoint that writes text has a tokenizer too and classifies nothing.
    silent = [folder for folder in image if not (folder / "tokenizer.json").exists()]
    candidates = {
        "image-to-text": image,
        "image-classification": silent,
        "text-classification": [*text, *encoders],
    }
    for task, folders in candidates.items():
        _stand_ins(store, default_checkpoints(task), folders)
    for name in _ENCODER_SETS:
        _stand_ins(store, encoder_presets()[name], encoders)
    for name, (embedded, shares) in _DATASETS.items():
        _put_dataset(store, name, _folder(demo.DEMO_PREFIX + embedded), shares)


def _folder(id: str) -> Path:
    folder = demo.folder_of(id)
    assert folder is not None
    return folder


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _put(
    store: Store,
    id: str,
    files: Mapping[str, bytes],
    place: int,
    kind: Kind = "model",
    ref: str = "main",
    message: str = "Add safetensors",
    author: str = "",
) -> None:
    known = store.repos.get((kind, id))
    if known is None or known.resolve(ref) is None:
        counts: dict[str, Any] = (
            {"downloads": 1000 - 10 * place, "likes": 100 - place, "created_at": _DATE} if known is None else {}
        )
        store.put_files(id, files, kind, ref=ref, message=message, author=author, date=_DATE, **counts)


def _stand_ins(store: Store, ids: Iterable[str], folders: Sequence[Path]) -> None:
    lists = [*checkpoint_presets().values(), *encoder_sets().values()]
    pickled_on_main = {one.id for listed in lists for one in listed if one.weights == "pickled"}
    for place, (id, folder) in enumerate(zip(ids, cycle(folders), strict=False)):
        name, _, revision = id.partition("@")
        files = _files(folder)
        _put(store, name, pickled(files) if revision or name in pickled_on_main else files, place)
        if revision:
            _put(store, name, {_WEIGHTS: files[_WEIGHTS]}, place, ref=revision, message=CONVERSION, author=BOT)


def pickled(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a checkpoint with its weights in pytorch_model.bin."""
    import torch
    from safetensors.torch import load

    content = io.BytesIO()
    torch.save(dict(sorted(load(files[_WEIGHTS]).items())), content)
    others = {path: one for path, one in files.items() if path != _WEIGHTS}
    return {**others, "pytorch_model.bin": content.getvalue()}


def _put_dataset(store: Store, preset_name: str, folder: Path, shares: Mapping[str, float]) -> None:
    """An embedded dataset under a preset's id, parted into the preset's splits."""
    preset = dataset_preset(preset_name)
    assert preset is not None
    assert preset.id is not None
    (source,) = folder.rglob("*.parquet")
    table = pyarrow.parquet.read_table(source)
    splits, start = {}, 0
    for split, share in shares.items():
        part = table.slice(start, round(share * table.num_rows))
        sink = io.BytesIO()
        pyarrow.parquet.write_table(part, sink, row_group_size=_ROWS_PER_GROUP)
        splits[split] = sink.getvalue()
        start += part.num_rows
    files = {f"data/{split}-00000-of-00001.parquet": content for split, content in splits.items()}
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{_card_splits(splits)}---\n\n# {preset.id}\n"
    _put(store, preset.id, {"README.md": card.encode(), **files}, 0, kind="dataset")
    converted = {f"default/{split}/0000.parquet": content for split, content in splits.items()}
    _put(store, preset.id, converted, 0, kind="dataset", ref="refs/convert/parquet")


def _card_splits(splits: Iterable[str]) -> str:
    return "".join(f"  - split: {split}\n    path: data/{split}-*\n" for split in splits)
