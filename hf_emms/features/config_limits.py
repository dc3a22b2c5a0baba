"""Checks of a checkpoint's configurations before anything is built from them.

The worker process covers configurations that take too long or too much memory. These checks cover what it does not:
files of other repositories, and models whose layers would fill the memory of the machine before a limit applies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import read_json
from hf_emms.hub import Repo

_MAX_LAYERS = 2_000
_LAYERS = re.compile(
    r"(.*_)?(num|n)_((hidden|encoder|decoder)_)?(layers?|blocks)|(encoder|decoder)_layers|depths?|layers"
)
# This processor reads a file that its settings, or its defaults, name in another repository.
_READS_ELSEWHERE = "OneFormerImageProcessor"
_ONE_REVISION = "choose a checkpoint that needs only the files of its own revision"
# The files that feature extractors and image processors are built from.
_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def check_model_config(repo: Repo, config: dict[str, Any]) -> None:
    """Raise an `EmmsError` for a config.json with too many layers or with a backbone from another repository."""
    for name, number in _leaves(config, (int, float)):
        if _LAYERS.fullmatch(name) and not 0 <= number <= _MAX_LAYERS:
            raise EmmsError(
                f"config.json of {repo.id} asks for {number:,} layers ({name})", "do not trust this checkpoint"
            )
    for name, text in _leaves(config, str):
        if name == "backbone" and re.search("[/:]", text):
            raise EmmsError(f"config.json of {repo.id} names another repository, {text!r} (backbone)", _ONE_REVISION)


def check_processor_config(repo: Repo, folder: Path) -> None:
    """Raise an `EmmsError` for a processor that reads another repository."""
    for name in _PROCESSOR_FILES:
        if (folder / name).is_file():
            settings = read_json(repo, folder / name)
            if any(_READS_ELSEWHERE in text for key, text in _leaves(settings, str) if key.endswith("_type")):
                raise EmmsError(f"the {_READS_ELSEWHERE} of {repo.id} reads another repository ({name})", _ONE_REVISION)


def _leaves(settings: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a type in a configuration and its parts, with their names; values of a list have its name."""
    parts = [("", settings)]
    while parts:
        name, value = parts.pop()
        if isinstance(value, dict):
            parts += value.items()
        elif isinstance(value, list):
            parts += [(name, item) for item in value]
        elif isinstance(value, kind):
            yield name, value
