"""Samples of streams, kept: the next run needs neither the network nor ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from hf_emms.cache import Cache
from hf_emms.data.place import Place
from hf_emms.data.request import Request
from hf_emms.data.target import Images, Target
from hf_emms.hub import Repo
from hf_emms.tasks import get_task

# Part of every key: raise it when the same request would draw another sample.
SAMPLE_VERSION = 1

_ARRAYS = ("input_of_row", "codes", "groups")
_FACTS = ("config", "split", "columns", "label_texts", "skipped", "total_rows", "notes", "fingerprint")


def sample_key(place: Place, request: Request, task: str | None, columns: Mapping[str, str]) -> dict[str, Any]:
    """The cache key of a sample: everything that changes it."""
    return {
        "id": place.repo.id,
        "revision": place.repo.revision,
        "dataset": place.name,
        "config": place.config,
        "split": place.split,
        "task": task,
        "columns": dict(columns),
        "request": asdict(request),
        "versions": {"datasets": version("datasets")},
        "code": SAMPLE_VERSION,
    }


def keep_sample(cache: Cache, key: Mapping[str, Any], target: Target) -> None:
    """Puts a sample into the cache, pictures as they were encoded."""
    inputs = target.inputs.encoded if isinstance(target.inputs, Images) else _encoded(target.inputs)
    facts = {name: getattr(target, name) for name in _FACTS}
    facts |= {"task": target.task.id, "repo": [target.repo.id, target.repo.revision]}
    cache.put(
        "samples",
        key,
        {
            "inputs": np.frombuffer(b"".join(inputs), np.uint8),
            "ends": np.cumsum([len(one) for one in inputs], dtype=np.int64),
            "facts": np.frombuffer(msgspec.json.encode(facts), np.uint8),
            **{name: getattr(target, name) for name in _ARRAYS},
        },
    )


def kept_sample(cache: Cache, key: Mapping[str, Any], place: Place) -> Target | None:
    """The sample that was drawn before for the same request, or None."""
    stored = cache.get("samples", key)
    if stored is None:
        return None
    facts = msgspec.json.decode(stored["facts"].tobytes())
    task = get_task(facts.pop("task"))
    id, revision = facts.pop("repo")
    content, ends = stored["inputs"].tobytes(), stored["ends"].tolist()
    pieces = [content[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    facts["label_texts"], facts["notes"] = tuple(facts["label_texts"]), tuple(facts["notes"])
    return Target(
        dataset=place.name,
        repo=replace(place.repo, revision=revision) if id == place.repo.id else Repo(id, "dataset", revision),
        task=task,
        inputs=Images(pieces)
        if task.modality == "image"
        else [piece.decode("utf-8", "surrogatepass") for piece in pieces],
        input_of_row=stored["input_of_row"],
        codes=stored["codes"],
        groups=stored["groups"],
        **facts,
    )


def _encoded(texts: Any) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]
