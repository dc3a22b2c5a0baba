"""The description that is saved of a head of ours, which transformers lacks, so that it can be opened again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hf_emms.features.extraction_plan import ExtractionPlan

# The weights of the head, beside those of the checkpoint; what they are for; and the folder with the descriptions of
# the checkpoint that was fine-tuned, which say how its feature is made.
HEAD_WEIGHTS, ABOUT, CHECKPOINT = "head.safetensors", "head.json", "checkpoint"
DESCRIPTIONS = ("*.json", "*.txt", "*.model", "*.jinja", "*.py")


def write_description(folder: Path, plan: ExtractionPlan, task: str, references: Sequence[Any]) -> None:
    """Write the description that `load_finetuned` needs beside the weights of a checkpoint and of a head of ours.

    Args:
        folder: of the model.
        plan: of the checkpoint that was fine-tuned.
        task: the id of the task that it was fine-tuned for.
        references: from which the task's head gets the same outputs, see `FeatureNetwork.references`.
    """
    for path in sorted(plan.folder.rglob("*")):
        if path.is_file() and any(fnmatchcase(path.name, pattern) for pattern in DESCRIPTIONS):
            copy = folder / CHECKPOINT / path.relative_to(plan.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    about = {"task": task, "references": list(references)}
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
