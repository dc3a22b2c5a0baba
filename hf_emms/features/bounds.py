"""Bounds on the numbers in a checkpoint's configurations: beyond them a model or an input would fill the memory.

They are looked for in the files, before anything is built of them.
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
# The files that feature extractors and image processors are built of.
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def check_model_numbers(repo: Repo, config: dict[str, Any]) -> None:
    """Refuse a config.json of which a model would take for ever to build: of too many layers, experts or labels."""
    _check(repo, "config.json", config, _MODEL)


def check_processor_numbers(repo: Repo, folder: Path) -> None:
    """Refuse configurations of sizes and rates by which a picture or a sound would fill the memory."""
    for name in _PROCESSOR_FILES:
        if (folder / name).is_file():
            _check(repo, name, read_json(repo, folder / name), _PROCESSOR)


def _check(repo: Repo, file: str, settings: Any, bounds: tuple[_Bound, ...]) -> None:
    for name, number in _numbers(settings):
        for bound in bounds:
            if bound.names.fullmatch(name) and not bound.least <= number <= bound.most:
                raise EmmsError(
                    f"{file} of {repo.id} asks for {number:,} {bound.noun} ({name})",
                    "this is not how a checkpoint is saved: do not trust it",
                )


def _numbers(settings: Any) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a configuration and of its parts with their names; those of a list have the list's."""
    parts = [("", settings)]
    while parts:
        name, value = parts.pop()
        if isinstance(value, dict):
            parts += value.items()
        elif isinstance(value, list):
            parts += [(name, item) for item in value]
        elif isinstance(value, (int, float)):
            yield name, value
