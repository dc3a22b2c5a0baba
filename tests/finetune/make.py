"""Data that tiny checkpoints learn in a few steps, and rankings of such checkpoints."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image
from safetensors.torch import load_file, save_file

from hf_emms.hub import resolve
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.ranking.progress import Progress
from hf_emms.scoring import Score
from tests.helpers.rankings import example

# Settings of runs that take a second.
FAST: dict[str, Any] = {"epochs": 4, "learning_rates": ("0.01",), "batch_size": 8}


class Notes(Progress):
    """A `Progress` that records its calls."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: dict[str, int] = {}
        self.planned: dict[str, int] = {}
        self.evaluated = 0  # batches

    def started(self, checkpoint: str, inputs: int) -> None:
        self.planned[checkpoint], self.steps[checkpoint] = inputs, 0

    def advanced(self, checkpoint: str, inputs: int) -> None:
        self.steps[checkpoint] += inputs
        self.evaluated += inputs == 0

    def noted(self, message: str) -> None:
        self.lines.append(message)


def picture(colour: tuple[int, int, int], seed: int) -> dict[str, Any]:
    """An encoded picture of one colour, with noise so that no two are equal."""
    noise = np.random.default_rng(seed).integers(0, 60, (20, 20, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def pictures(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Pictures that alternate between blue and red."""
    return [picture((180, 20, 20) if row % 2 else (20, 20, 180), row) for row in range(first, first + count)]


def colours(count: int, first: int = 0) -> datasets.Dataset:
    """Pictures with their colours."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["blue", "red"])})
    labels = [row % 2 for row in range(first, first + count)]
    return datasets.Dataset.from_dict({"image": pictures(count, first), "label": labels}, features)


def texts(count: int) -> list[str]:
    """Distinct texts, every second one about a cat."""
    words = "a photo of an apple pie on red mat while rain falls over mountain road and children play"
    return [f"the {'cat' if row % 2 else 'dog'} {words[row % 7 : 9 + 5 * (row % 9)]} {row}" for row in range(count)]


def poisoned(checkpoint: Path, to: Path, weight: str) -> Path:
    """A copy of a checkpoint with a weight that is NaN."""
    shutil.copytree(checkpoint, to)
    weights = load_file(to / "model.safetensors")
    weights[weight].fill_(float("nan"))
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def save(data: datasets.Dataset | datasets.DatasetDict, folder: Path) -> str:
    """Write a dataset as a folder of Parquet files, one per split."""
    folder.mkdir(parents=True)
    splits = data if isinstance(data, dict) else {"train": data}
    for name, rows in splits.items():
        rows.to_parquet(folder / f"{name}-00000-of-00001.parquet")
    return str(folder)


def ranking(dataset: str, task: str, columns: dict[str, str], checkpoints: dict[str, float], **fields: Any) -> Ranking:
    """A ranking of local checkpoints with given scores, without folds."""
    rows = [
        Row(name, resolve(name, "model").revision, scores={"emms": Score(score)}, parameters=1000)
        for name, score in checkpoints.items()
    ]
    return example(
        dataset=dataset,
        dataset_id=dataset,
        dataset_revision=resolve(dataset, "dataset").revision,
        task=task,
        columns=columns,
        rows=ranked(rows, "emms"),
        estimators=("emms",),
        **fields,
    )


_THINGS = ["apple", "boats", "cat", "children", "dog", "harbour", "mat", "mountain", "pie", "rain"]
PAIR_COLUMNS = {"text": "sentence1", "text_pair": "sentence2", "label": "score"}


def pairs(count: int) -> datasets.Dataset:
    """Sentence pairs that are similar if they name the same thing."""
    rows, same = range(count), [row % 3 for row in range(count)]
    return datasets.Dataset.from_dict(
        {
            "sentence1": [f"a red {_THINGS[row % 10]} on road {row}" for row in rows],
            "sentence2": [
                f"the {_THINGS[(row + 3 * far) % 10]} near the harbour" for row, far in zip(rows, same, strict=True)
            ],
            "score": [5.0 - 2 * far for far in same],
        }
    )


def rank_pairs(dataset: str, checkpoint: Path) -> Ranking:
    """A ranking of one checkpoint for `pairs`."""
    return ranking(dataset, "sentence-similarity", PAIR_COLUMNS, {str(checkpoint): -0.1})
