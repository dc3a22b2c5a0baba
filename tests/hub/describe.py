"""A repository's metadata, which the Hub reads from the card, the config and the weights."""

from __future__ import annotations

import json
import math
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from .store import Commit, Repo, Store

# Card fields whose values become tags of the form FIELD:VALUE.
_TAG_FIELDS = ("license", "base_model", "task_categories", "task_ids", "size_categories", "multilinguality")
_PLAIN_TAG_FIELDS = ("tags", "library_name", "pipeline_tag")


def card_data(store: Store, commit: Commit) -> dict[str, Any]:
    """Return the YAML block of README.md, or an empty dict."""
    readme = commit.files.get("README.md")
    if readme is None:
        return {}
    data = front_matter(store.blob(readme.sha256).read_text(encoding="utf-8", errors="replace"))
    return data if isinstance(data, dict) else {}


def front_matter(text: str) -> Any:
    """Return the parsed YAML block, or None if it is missing or broken."""
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in (line.rstrip() for line in lines[1:]):
        return None
    end = next(number for number, line in enumerate(lines[1:], 1) if line.rstrip() == "---")
    try:
        return json.loads(json.dumps(yaml.safe_load("\n".join(lines[1:end])), default=str))
    except yaml.YAMLError:
        return None


def info(store: Store, repo: Repo, commit: Commit) -> dict[str, Any]:
    """Return all metadata of a repository at a commit."""
    if repo.metadata is not None:
        return repo.metadata
    card = card_data(store, commit)
    config = _config(store, commit) if repo.kind == "model" else {}
    weights = _safetensors(store, commit) if repo.kind == "model" else None
    told = {
        "_id": repo.id,
        "id": repo.id,
        "author": repo.namespace,
        "sha": commit.sha,
        "lastModified": commit.date,
        "createdAt": repo.created_at,
        "private": repo.private,
        "gated": repo.gated,
        "downloads": repo.downloads,
        "likes": repo.likes,
        "trendingScore": 0,
        "cardData": card,
        "siblings": [{"rfilename": path} for path in commit.files],
    }
    if repo.kind == "model":
        library = card.get("library_name") or ("transformers" if config.get("model_type") else None)
        told |= {"library_name": library, "pipeline_tag": card.get("pipeline_tag"), "config": config}
        if weights:
            told["safetensors"] = weights
    if repo.space is not None:
        told |= {"sdk": card.get("sdk", repo.space.sdk), "runtime": runtime(repo)}
    told["tags"] = _tags(repo, commit, card, config, weights, told)
    return told


def runtime(repo: Repo) -> dict[str, Any]:
    """Return a Space's state, running."""
    assert repo.space is not None
    hardware = repo.space.hardware
    return {"stage": "RUNNING", "hardware": {"current": hardware, "requested": hardware}}


def _tags(
    repo: Repo, commit: Commit, card: dict[str, Any], config: dict[str, Any], weights: Any, told: dict[str, Any]
) -> list[str]:
    tags = [told[field] for field in ("library_name", "pipeline_tag", "sdk") if told.get(field)]
    tags += ["safetensors"] if weights else []
    tags += [config["model_type"]] if config.get("model_type") else []
    for field in _PLAIN_TAG_FIELDS:
        tags += _listed(card.get(field))
    # Languages are bare tags of models and prefixed ones of datasets.
    tags += [f"language:{value}" if repo.kind == "dataset" else value for value in _listed(card.get("language"))]
    tags += [f"dataset:{value}" for value in _listed(card.get("datasets"))]
    tags += [f"{field}:{value}" for field in _TAG_FIELDS for value in _listed(card.get(field))]
    return [*dict.fromkeys(tags), "region:us"]


def _listed(value: Any) -> list[str]:
    if value is None or isinstance(value, dict):
        return []
    return [str(one) for one in (value if isinstance(value, list) else [value])]


def _config(store: Store, commit: Commit) -> dict[str, Any]:
    file = commit.files.get("config.json")
    if file is None:
        return {}
    try:
        config = json.loads(store.blob(file.sha256).read_bytes())
    except ValueError:
        return {}
    named = config if isinstance(config, dict) else {}
    return {name: named[name] for name in ("architectures", "model_type") if named.get(name)}


def _safetensors(store: Store, commit: Commit) -> dict[str, Any] | None:
    """Return parameters by type, from the headers of the weights in the root folder."""
    counts: dict[str, int] = {}
    for path, file in commit.files.items():
        if path.endswith(".safetensors") and "/" not in path:
            for name, count in _header_counts(store.blob(file.sha256)).items():
                counts[name] = counts.get(name, 0) + count
    return {"parameters": counts, "total": sum(counts.values())} if counts else None


@lru_cache(maxsize=4096)
def _header_counts(path: Path) -> dict[str, int]:
    with path.open("rb") as stream:
        head = stream.read(8)
        size = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 0 < size < path.stat().st_size:
            return {}
        header = json.loads(stream.read(size))
    counts: dict[str, int] = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + math.prod(tensor["shape"])
    return counts
