"""A target as a candidate meets it in fine-tuning: parts, head and measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from datasets import Dataset
from ranking_quality.body import Body, prepare
from ranking_quality.finetune import Part
from ranking_quality.heads import MEASURES, Captioner, Classifier, Head
from ranking_quality.places import work
from ranking_quality.protocol import Goal
from ranking_quality.rows import SPLITS, read, write
from ranking_quality.targets_image import IMAGE_TARGETS
from ranking_quality.targets_text import TEXT_TARGETS

TARGETS = {**IMAGE_TARGETS, **TEXT_TARGETS}
COLUMNS = {
    "image-classification": ("image", "label"),
    "image-to-text": ("image", "caption"),
    "text-classification": ("text", "label"),
}


@dataclass(frozen=True)
class Problem:
    """The three parts of a target for one candidate, and how its head is made."""

    parts: dict[str, Part]
    make_head: Callable[[int], Head]


def folder_of(goal: Goal) -> Path:
    """A target's dataset folder, written on first use."""
    folder = work() / "targets" / goal.name
    if not folder.exists():
        fresh = folder.with_suffix(".writing")
        write(fresh, TARGETS[goal.name]())
        fresh.rename(folder)
    return folder


@cache
def _splits(folder: Path) -> dict[str, Dataset]:
    return {split: read(folder, split) for split in SPLITS}


def problem(goal: Goal, body: Body) -> Problem:
    """A target's rows, run through the candidate's own processor or tokenizer."""
    splits = _splits(folder_of(goal))
    source, label = COLUMNS[goal.task]
    measure = MEASURES[goal.measure]
    parts = {
        name: Part(prepare(body, rows[source][:]), partial(_score, measure, rows[label][:]))
        for name, rows in splits.items()
    }
    labels = splits["train"][label][:]
    head = Captioner if goal.task == "image-to-text" else Classifier
    return Problem(parts, lambda width: head(width, labels))


def _score(measure: Callable, wanted: list, answers: list) -> float:
    return measure(answers, wanted)
