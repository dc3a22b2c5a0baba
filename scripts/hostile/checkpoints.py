"""Spoiled checkpoints of the corpus: copies of a good one of which a file is not as it should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from hf_emms.presets.demo import folder_of

GOOD = "emms-demo/bert-random"


def make_checkpoints(folder: Path) -> None:
    """Writes all of them into a folder."""
    source = folder_of(GOOD)
    assert source is not None
    for name, spoil in SPOILED.items():
        spoil(shutil.copytree(source, folder / name))


def _config(**changes: Any) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def _file(name: str, content: str | bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _without(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def _weights(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file({name: change(tensor) for name, tensor in load_file(path).items()}, path, {"format": "pt"})

    return spoil


def _folder_for(name: str) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return spoil


def _outside(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index = {"weight_map": {"weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _doubling(folder: Path) -> None:
    path = folder / "tokenizer.json"
    step = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
    normalizer = {"type": "Sequence", "normalizers": [step] * 40}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": normalizer}))


def _cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _harmful(folder: Path) -> None:
    """Weights whose unpickling would run a command."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")


def _only(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


_ODD_VALUES = {
    **{"text": "big", "list": [1, 2], "null": None, "negative": -16, "zero": 0, "fraction": 1.5, "object": {"a": 1}},
    "huge": 2**40,
}
# Each is one failed row next to a good one; `HARMLESS` can be scored.
SPOILED: dict[str, Callable[[Path], Any]] = {
    **{f"size is {name}": _config(hidden_size=value) for name, value in _ODD_VALUES.items()},
    **{f"layers are {name}": _config(num_hidden_layers=value) for name, value in _ODD_VALUES.items() if name != "zero"},
    **{
        f"{name} is huge": _config(**{name: 2**33})
        for name in ("vocab_size", "max_position_embeddings", "intermediate_size", "num_labels")
    },
    "tokenizer doubles the text": _doubling,
    "no heads": _config(num_attention_heads=0),
    "type is number": _config(model_type=7),
    "type is list": _config(model_type=["bert"]),
    "type is unknown": _config(model_type="no-such-architecture"),
    "type of pictures": _config(model_type="vit"),
    "own code": _config(model_type="own", auto_map={"AutoModel": "own.Model"}),
    "activation is number": _config(hidden_act=3),
    "labels are number": _config(id2label=5),
    "config is list": _file("config.json", "[1]"),
    "config is text": _file("config.json", '"a"'),
    "config is deep": _file("config.json", "[" * 100_000),
    "config is empty": _file("config.json", ""),
    "config is binary": _file("config.json", bytes(range(256))),
    "no config": _without("config.json"),
    "config is folder": _folder_for("config.json"),
    "no weights": _without("model.safetensors"),
    "weights are folder": _folder_for("model.safetensors"),
    "weights are empty": _file("model.safetensors", b""),
    "weights are cut": _cut_weights,
    "weights are a pointer": _file("model.safetensors", "version https://git-lfs.github.com/spec/v1\nsize 9\n"),
    "weights are outside": _outside,
    "weights are nan": _weights(lambda tensor: tensor * np.nan),
    "weights of others": _weights(lambda tensor: tensor.reshape(-1)[:1]),
    "weights would run code": _harmful,
    "only tensorflow": _only("tf_model.h5"),
    "only an adapter": _only("adapter_model.safetensors"),
    "no tokenizer": _without("tokenizer.json"),
    "tokenizer is empty": _file("tokenizer.json", ""),
    "tokenizer is list": _file("tokenizer.json", "[]"),
    "tokenizer is folder": _folder_for("tokenizer.json"),
    "weights are zero": _weights(lambda tensor: tensor * 0),
}
HARMLESS = ("weights are zero",)
