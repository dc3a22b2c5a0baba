"""The description that is saved with new layers, so that `load_finetuned` can load them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

from hf_emms.features.feature_spec import FeatureSpec

# The weights of the head, its description, and the folder with the configuration files of the original checkpoint,
# which determine its feature.
HEAD_WEIGHTS, ABOUT, CHECKPOINT = "head.safetensors", "head.json", "checkpoint"
# The list of modules in a sentence-transformers folder, and its settings: prompts, similarity and others.
MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
DESCRIPTIONS = ("*.json", "*.txt", "*.model", "*.jinja", "*.py")


def copy_modules(spec: FeatureSpec, folder: Path) -> bool:
    """Copy the sentence-transformers description of a checkpoint without weights. Return whether it has one."""
    patterns = (MODULES, SETTINGS, "[0-9]*_*/config.json")
    paths = [*spec.model_folder.glob("sentence_*_config.json"), *chain.from_iterable(map(spec.folder.glob, patterns))]
    for path in paths:
        if path != spec.model_folder / "config.json":  # the trained model has its own
            _copy(path, folder / path.relative_to(spec.folder))
    return (folder / MODULES).is_file()


def write_description(folder: Path, spec: FeatureSpec, task: str, references: Sequence[Any]) -> None:
    """Write the description that `load_finetuned` needs, besides the weights of a checkpoint and its new layers.

    Args:
        folder: The folder of the model.
        spec: The checkpoint that was fine-tuned.
        task: The id of the task that it was fine-tuned for.
        references: What the task's head needs to make the same outputs, see `FeatureNetwork.references`.
    """
    for path in sorted(spec.folder.rglob("*")):
        if path.is_file() and any(fnmatchcase(path.name, pattern) for pattern in DESCRIPTIONS):
            _copy(path, folder / CHECKPOINT / path.relative_to(spec.folder))
    about = {"task": task, "references": list(references)}
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _copy(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, place)
