"""Bounds on a checkpoint's configurations, which are looked for in the files before anything is built of them.

They are on numbers by which a model or an input would fill the memory, and on references to other repositories.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import read_json
from hf_emms.hub import Repo


class _Bound(NamedTuple):
    """The names of numbers, the least and the most that they may be, and their noun."""

    names: re.Pattern[str]
    least: float
    most: float
    noun: str


_MODEL = (
    _Bound(
        re.compile(
            r"(.*_)?(num|n)_((hidden|encoder|decoder)_)?(layers?|blocks)|(encoder|decoder)_layers|depths?|layers"
        ),
        0,
        2_000,
        "layers",
    ),
    _Bound(re.compile(r"(.*_)?(num|n)_(\w+_)?experts"), 0, 10_000, "experts"),
    _Bound(re.compile(r"num_labels|num_classes"), 0, 10_000_000, "labels"),
)
_PROCESSOR = (
    _Bound(re.compile(r"(.*_)?(height|width|edge|size(_div\w+)?)"), 0, 8_192, "pixels or values"),
    _Bound(re.compile(r"crop_pct"), 0.05, 20, "times the size of the crop"),
    _Bound(re.compile(r"(.*_)?(sampling|sample)_rate"), 100, 400_000, "samples a second"),
    _Bound(re.compile(r"chunk_length(_s)?|max_length_s"), 0, 3_600, "seconds"),
    _Bound(re.compile(r"n_fft|win_length|num_mel_bins"), 0, 65_536, "values a frame"),
    _Bound(re.compile(r"max_length|(nb|num)_max_\w+|n_samples"), 0, 100_000_000, "samples or frames"),
)
_ADAPTER = (
    _Bound(
        re.compile(r"(init_|target_)?r|n_(frequency|tasks|skills|splits)|num_vectors|vector_length"), 0, 65_536, "sizes"
    ),
    _Bound(re.compile("layer_replication"), 0, 2_000, "layers"),
)
# The processor of OneFormer reads a file that its settings, or its defaults, name in another repository.
_READS_ELSEWHERE = "OneFormerImageProcessor"
_ONE_REVISION = "only files of the checkpoint's own revision are read: choose one that needs no others"
# The files that feature extractors and image processors are built of.
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def check_model_config(repo: Repo, config: dict[str, Any]) -> None:
    """Refuse a config.json whose model has too many layers, experts or labels to be built, or reads another repository.

    timm's settings of pictures, which it may hold, have the bounds of processors.
    """
    _check(repo, "config.json", config, _MODEL)
    _check(repo, "config.json", config.get("pretrained_cfg"), _PROCESSOR)
    for name, text in _leaves(config, str):
        if name == "backbone" and re.search("[/:]", text):
            raise EmmsError(f"config.json of {repo.id} names another repository, {text!r} (backbone)", _ONE_REVISION)


def check_processor_config(repo: Repo, folder: Path) -> None:
    """Refuse a processor by whose sizes and rates an input would fill the memory, or that reads another repository."""
    for name in _PROCESSOR_FILES:
        if (folder / name).is_file():
            settings = read_json(repo, folder / name)
            _check(repo, name, settings, _PROCESSOR)
            if any(_READS_ELSEWHERE in text for key, text in _leaves(settings, str) if key.endswith("_type")):
                raise EmmsError(f"the {_READS_ELSEWHERE} of {repo.id} reads another repository ({name})", _ONE_REVISION)


def check_adapter_config(repo: Repo, settings: dict[str, Any]) -> None:
    """Refuse an adapter of which peft would make new weights or layers that fill the memory."""
    _check(repo, "adapter_config.json", settings, _ADAPTER)


def _check(repo: Repo, file: str, settings: Any, bounds: tuple[_Bound, ...]) -> None:
    for name, number in _leaves(settings, (int, float)):
        for bound in bounds:
            if bound.names.fullmatch(name) and not bound.least <= number <= bound.most:
                raise EmmsError(
                    f"{file} of {repo.id} asks for {number:,} {bound.noun} ({name})",
                    "this is not how a checkpoint is saved: do not trust it",
                )


def _leaves(settings: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a type in a configuration and its parts with their names; those of a list have the list's."""
    parts = [("", settings)]
    while parts:
        name, value = parts.pop()
        if isinstance(value, dict):
            parts += value.items()
        elif isinstance(value, list):
            parts += [(name, item) for item in value]
        elif isinstance(value, kind):
            yield name, value
