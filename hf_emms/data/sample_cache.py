"""Samples of streams in the cache: the next run needs neither the network nor ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from hf_emms.cache import Cache
from hf_emms.data.labels import SoftLabels
from hf_emms.data.sample import Sample
from hf_emms.data.sources import DatasetSource
from hf_emms.hub import Repo
from hf_emms.inputs import InputKind, Pairs, Spans
from hf_emms.options import Options
from hf_emms.registry import plugin_versions
from hf_emms.tasks import get_task

# Part of every key: raise it when the same options would draw another sample.
SAMPLE_VERSION = 5

_ARRAYS = ("input_of_row", "codes", "groups")
_FACTS = (
    *("config", "split", "columns", "label_texts", "form", "skipped", "total_rows", "available", "notes"),
    *("fingerprint", "inputs_fingerprint", "splits"),
)
# What a preset says of how rows are read.
_OF_PRESET = ("columns", "join", "words")
_OF_NUMBERS = ("label_numbers", "label_values")
_SOFT = "soft_"


def sample_key(source: DatasetSource, options: Options) -> dict[str, Any]:
    """The cache key of a sample: everything that changes it."""
    return {
        "id": source.repo.id,
        "revision": source.repo.revision,
        "dataset": source.name,
        "config": source.config,
        "split": source.split(options),
        "options": options.cache_key_fields("sample"),
        "preset": {name: dict(getattr(source.preset, name)) for name in _OF_PRESET} if source.preset else None,
        # A task of another package cleans labels as its version does.
        "versions": {"datasets": version("datasets"), **plugin_versions()},
        "code": SAMPLE_VERSION,
    }


def store_sample(cache: Cache | None, source: DatasetSource, options: Options, sample: Sample) -> None:
    """Stores the sample of a stream, images encoded; other samples are drawn anew from files on this machine."""
    if cache is None or not source.is_streamed(options):
        return
    spans = sample.inputs if isinstance(sample.inputs, Spans) else None
    inputs = sample.inputs if spans is None else spans.pairs
    facts = {name: getattr(sample, name) for name in _FACTS}
    facts |= {"task": sample.task.id, "repo": [sample.repo.id, sample.repo.revision]}
    arrays = {name: getattr(sample, name) for name in _ARRAYS}
    for number, part in enumerate((inputs.firsts, inputs.seconds) if isinstance(inputs, Pairs) else (inputs,)):
        arrays |= _packed(number, part, sample.task.inputs[number].kind)
    if isinstance(inputs, Pairs):
        arrays["parts"] = inputs.parts
    if spans is not None:
        arrays["bounds"] = spans.bounds
    if sample.soft_labels is not None:
        arrays |= {_SOFT + name: np.asarray(value) for name, value in vars(sample.soft_labels).items()}
    arrays |= {name: value for name in _OF_NUMBERS if (value := getattr(sample, name)) is not None}
    arrays["facts"] = np.frombuffer(msgspec.json.encode(facts), np.uint8)
    cache.put("samples", sample_key(source, options), arrays)


def cached_sample(cache: Cache | None, source: DatasetSource, options: Options) -> Sample | None:
    """The sample of a stream that was stored for the same options, or None."""
    if cache is None or not source.is_streamed(options):
        return None
    return cache.get("samples", sample_key(source, options), lambda stored: _sample(source, stored))


def _sample(source: DatasetSource, stored: Mapping[str, np.ndarray]) -> Sample:
    """The sample of stored arrays.

    Raises:
        ValueError: its parts do not fit together.
    """
    facts = msgspec.json.decode(stored["facts"].tobytes())
    task = get_task(facts.pop("task"))
    id, revision = facts.pop("repo")
    facts |= {name: tuple(facts[name]) for name in ("label_texts", "notes", "splits")}
    facts |= {name: stored[name] for name in _ARRAYS}
    parts = [_unpacked(number, stored, column.kind) for number, column in enumerate(task.inputs)]
    inputs = Pairs(parts[0], parts[1], stored["parts"]) if "parts" in stored else parts[0]
    if "bounds" in stored:
        inputs = Spans(inputs, stored["bounds"])
    rows = [facts[name] for name in _ARRAYS]
    if len({len(one) for one in rows}) > 1 or rows[0].max() >= len(inputs):
        raise ValueError("its rows do not fit its inputs")
    soft = {name.removeprefix(_SOFT): array for name, array in stored.items() if name.startswith(_SOFT)}
    return Sample(
        dataset=source.name,
        repo=replace(source.repo, revision=revision) if id == source.repo.id else Repo(id, "dataset", revision),
        task=task,
        inputs=inputs,
        soft_labels=SoftLabels(**soft | {"count": soft["count"].item()}) if soft else None,
        label_numbers=stored.get("label_numbers"),
        label_values=stored.get("label_values"),
        **facts,
    )


def _packed(number: int, part: Sequence[Any], kind: InputKind | None) -> dict[str, np.ndarray]:
    """The contents of one part of the inputs one after another, and where each ends."""
    assert kind is not None
    contents = kind.contents(part)
    ends = np.cumsum([len(one) for one in contents], dtype=np.int64)
    return {f"contents_{number}": np.frombuffer(b"".join(contents), np.uint8), f"ends_{number}": ends}


def _unpacked(number: int, stored: Mapping[str, np.ndarray], kind: InputKind | None) -> Any:
    content, ends = stored[f"contents_{number}"].tobytes(), stored[f"ends_{number}"].tolist()
    pieces = [content[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    assert kind is not None
    return kind.from_bytes(pieces)
