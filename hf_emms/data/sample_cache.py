"""Samples of streams, kept: the next run needs neither the network nor ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from hf_emms.cache import Cache
from hf_emms.data.sample import Images, Pairs, Sample, SoftLabels, Spans
from hf_emms.data.sampling import encoded
from hf_emms.data.sources import DatasetRef
from hf_emms.hub import Repo
from hf_emms.options import Options
from hf_emms.plugins import plugin_versions
from hf_emms.tasks import get_task

# Part of every key: raise it when the same options would draw another sample.
SAMPLE_VERSION = 3

_ARRAYS = ("input_of_row", "codes", "groups")
_FACTS = (
    *("config", "split", "columns", "label_texts", "form", "skipped", "total_rows", "available", "notes"),
    *("fingerprint", "inputs_fingerprint"),
)
# What a preset says of how rows are read.
_OF_PRESET = ("columns", "join", "words")
_MIXTURE = ("labels", "texts", "weights")


def sample_key(place: DatasetRef, options: Options) -> dict[str, Any]:
    """The cache key of a sample: everything that changes it."""
    return {
        "id": place.repo.id,
        "revision": place.repo.revision,
        "dataset": place.name,
        "config": place.config,
        "split": place.split,
        "options": options.of_stage("sample"),
        "preset": {name: dict(getattr(place.preset, name)) for name in _OF_PRESET} if place.preset else None,
        # A task of another package cleans labels as its version does.
        "versions": {"datasets": version("datasets"), **plugin_versions()},
        "code": SAMPLE_VERSION,
    }


def keep_sample(cache: Cache, key: Mapping[str, Any], sample: Sample) -> None:
    """Puts a sample into the cache, pictures as they were encoded."""
    spans = sample.inputs if isinstance(sample.inputs, Spans) else None
    inputs = sample.inputs if spans is None else spans.pairs
    facts = {name: getattr(sample, name) for name in _FACTS}
    facts |= {"task": sample.task.id, "repo": [sample.repo.id, sample.repo.revision]}
    arrays = {name: getattr(sample, name) for name in _ARRAYS}
    for number, part in enumerate((inputs.firsts, inputs.seconds) if isinstance(inputs, Pairs) else (inputs,)):
        arrays |= _packed(number, part)
    if isinstance(inputs, Pairs):
        arrays["parts"] = inputs.parts
    if spans is not None:
        arrays["places"] = spans.places
    if sample.mixtures is not None:
        facts["count"] = sample.mixtures.count
        arrays |= {f"mixture_{name}": getattr(sample.mixtures, name) for name in _MIXTURE}
    if sample.label_numbers is not None:
        arrays["label_numbers"] = sample.label_numbers
    cache.put("samples", key, {"facts": np.frombuffer(msgspec.json.encode(facts), np.uint8), **arrays})


def kept_sample(cache: Cache, key: Mapping[str, Any], place: DatasetRef) -> Sample | None:
    """The sample that was drawn before for the same options, or None."""
    stored = cache.get("samples", key)
    if stored is None:
        return None
    facts = msgspec.json.decode(stored["facts"].tobytes())
    task = get_task(facts.pop("task"))
    id, revision = facts.pop("repo")
    count = facts.pop("count", None)
    facts["label_texts"], facts["notes"] = tuple(facts["label_texts"]), tuple(facts["notes"])
    facts |= {name: stored[name] for name in _ARRAYS}
    if count:
        labels, texts, weights = (stored[f"mixture_{name}"] for name in _MIXTURE)
        facts["mixtures"] = SoftLabels(labels, texts, weights, count)
    inputs = _unpacked(0, stored, pictures=task.modality.startswith("image"))
    if "parts" in stored:
        inputs = Pairs(inputs, _unpacked(1, stored), stored["parts"])
    if "places" in stored:
        inputs = Spans(inputs, stored["places"])
    return Sample(
        dataset=place.name,
        repo=replace(place.repo, revision=revision) if id == place.repo.id else Repo(id, "dataset", revision),
        task=task,
        inputs=inputs,
        label_numbers=stored.get("label_numbers"),
        **facts,
    )


def _packed(number: int, part: Sequence[Any]) -> dict[str, np.ndarray]:
    """Contents one behind the other, and where each ends."""
    contents = part.encoded if isinstance(part, Images) else [encoded(text) for text in part]
    ends = np.cumsum([len(one) for one in contents], dtype=np.int64)
    return {f"contents_{number}": np.frombuffer(b"".join(contents), np.uint8), f"ends_{number}": ends}


def _unpacked(number: int, stored: Mapping[str, np.ndarray], *, pictures: bool = False) -> Any:
    content, ends = stored[f"contents_{number}"].tobytes(), stored[f"ends_{number}"].tolist()
    pieces = [content[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return Images(pieces) if pictures else [piece.decode("utf-8", "surrogatepass") for piece in pieces]
