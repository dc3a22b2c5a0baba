"""Thousands of model repositories with realistic metadata, of which only some have files that can be ranked."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from hf_emms.presets import demo

from .store import BoardEntry, Commit, File, Repo, Store

BENCHMARK = "bench/pictures"
TASK = "image-classification"
_OTHER_TASKS = ("text-generation", "text-classification", "automatic-speech-recognition")
_MICRO = ("resnet-fashion", "vit-drawings", "swin-distilled", "regnet-random")
# Architecture → config of the Hub's list, and parameters.
_BASES = {
    "google/vit-base": ("vit", "ViTForImageClassification", 86_567_656),
    "facebook/deit-small": ("deit", "DeiTForImageClassification", 22_059_496),
    "microsoft/resnet-50": ("resnet", "ResNetForImageClassification", 25_557_032),
    "facebook/convnext-tiny": ("convnext", "ConvNextForImageClassification", 28_589_128),
    "microsoft/swin-tiny": ("swin", "SwinForImageClassification", 28_288_354),
    "facebook/dinov2-base": ("dinov2", "Dinov2Model", 86_580_480),
    "microsoft/beit-base": ("beit", "BeitForImageClassification", 86_530_984),
}
# Shape of a repository → how many of a hundred have it.
_SHAPES = {"fine-tune": 34, "no license": 20, "pickle": 8, "gated": 8, "adapter": 8, "gguf": 7, "quantized": 6}
_SHAPES |= {"timm": 5, "copy": 2, "unknown architecture": 2}


def populate(store: Store, count: int = 10_000, micro: int = 60, seed: int = 0) -> list[str]:
    """Add model repositories, and return the ids of those whose checkpoints can be ranked.

    Downloads fall with the number of a repository. The checkpoints are spread over the first half: noisy copies of
    embedded ones, of which every tenth is exact.
    """
    draw = random.Random(seed)
    places = set(range(0, count // 2, max(1, count // 2 // micro))[:micro] if micro else ())
    ids = list[str]()
    with store.lock:
        for place in range(count):
            downloads = 5_000_000 // (place + 1)
            if place in places:
                ids.append(_micro(store, len(ids), downloads))
            else:
                shape = draw.choices([*_SHAPES], [*_SHAPES.values()])[0]
                _add(store, f"user{place % 997}/model-{place:05}", shape, downloads, draw)
    # The first entry of a checkpoint that can be ranked is in an open pull request.
    store.leaderboards[BENCHMARK] = [
        *(BoardEntry(f"microsoft/checkpoint-{place}") for place in range(3)),
        *(BoardEntry(id, pull_request=1) for id in ids[-1:]),
        *(BoardEntry(id) for id in ids[5:8]),
    ]
    return ids


def _micro(store: Store, number: int, downloads: int) -> str:
    folder = demo.folder_of(f"{demo.DEMO_PREFIX}{_MICRO[number % len(_MICRO)]}")
    assert folder is not None
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    noise = np.random.default_rng(number)
    if number % 10:
        tensors = load(files["model.safetensors"])
        scale = 0.02 * (1 + number % 7)
        noisy = {name: _with_noise(tensor, scale, noise) for name, tensor in tensors.items()}
        files["model.safetensors"] = save(noisy)
    files["README.md"] = f"---\npipeline_tag: {TASK}\nlicense: mit\nlibrary_name: transformers\n---\n".encode()
    id = f"lab{number % 23}/micro-{number:02}"
    store.put_files(id, files, downloads=downloads)
    return id


def _with_noise(tensor: np.ndarray, scale: float, noise: np.random.Generator) -> np.ndarray:
    if tensor.dtype.kind != "f" or tensor.ndim < 2:
        return tensor
    spread = scale * float(tensor.std())
    return (tensor + spread * noise.standard_normal(tensor.shape)).astype(tensor.dtype)


def _add(store: Store, id: str, shape: str, downloads: int, draw: random.Random) -> None:
    """Add a repository with metadata and a list of files, but without their contents."""
    base, (model_type, architecture, parameters) = draw.choice([*_BASES.items()])
    task = TASK if draw.random() < 0.8 else draw.choice(_OTHER_TASKS)
    library, weights, relation = "transformers", "model.safetensors", "finetune"
    config: dict[str, Any] = {"model_type": model_type, "architectures": [architecture]}
    size, dtype = parameters + draw.randrange(200) * 768, "F32"
    if shape == "pickle":
        weights = "pytorch_model.bin"
    elif shape == "adapter":
        weights, relation, library, config = "adapter_model.safetensors", "adapter", "peft", {}
    elif shape == "gguf":
        weights, relation, library, config = "model-Q4_K_M.gguf", "quantized", "gguf", {}
    elif shape == "quantized":
        relation, dtype, config = "quantized", "I8", {**config, "quantization_config": {"quant_method": "awq"}}
    elif shape == "timm":
        library, config = "timm", {"architecture": "resnet18"}
    elif shape == "copy":
        size = parameters
    elif shape == "unknown architecture":
        config = {"model_type": "tomorrow"}
    tags = [library, task, f"base_model:{base}", f"base_model:{relation}:{base}", "region:us"]
    if shape != "no license":
        tags.append(f"license:{draw.choice(('apache-2.0', 'mit', 'apache-2.0', 'cc-by-nc-4.0', 'other'))}")
    paths = ["README.md", weights] + (["adapter_config.json"] if shape == "adapter" else ["config.json"] * bool(config))
    sha = hashlib.sha1(id.encode()).hexdigest()
    content = f"{base} {size}" if shape == "copy" else id
    files = {path: _file(path, content, size) for path in sorted(paths)}
    metadata: dict[str, Any] = {
        "_id": id,
        "id": id,
        "author": id.partition("/")[0],
        "sha": sha,
        "private": False,
        "gated": "manual" if shape == "gated" else False,
        "downloads": downloads,
        "likes": downloads // 1000,
        "trendingScore": 0,
        "pipeline_tag": task,
        "library_name": library,
        "config": config,
        "tags": tags,
        "siblings": [{"rfilename": path} for path in files],
    }
    if weights == "model.safetensors":
        metadata["safetensors"] = {"parameters": {dtype: size}, "total": size}
    if draw.random() < 0.01:
        metadata["evalResults"] = [{"dataset": {"id": BENCHMARK, "task_id": "default"}, "value": draw.random()}]
    repo = Repo("model", id, downloads=downloads, gated=metadata["gated"], metadata=metadata)
    repo.commits[sha], repo.refs["refs/heads/main"] = Commit(sha, files, repo.created_at), sha
    store.repos["model", id] = repo


def _file(path: str, content: str, size: int) -> File:
    is_weights = path.endswith((".safetensors", ".bin", ".gguf"))
    digest = hashlib.sha256(f"{path} {content}".encode()).hexdigest()
    return File(digest[:40], digest, 4 * size if is_weights else 500, is_weights)
