"""A target as a candidate meets it in fine-tuning: parts, head and measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from datasets import Dataset
from ranking_quality.body import Body, Inputs, prepare, prepare_pairs
from ranking_quality.finetune import MakeHead, Part
from ranking_quality.heads import MEASURES, Captioner, Classifier, SpanFinder
from ranking_quality.places import work
from ranking_quality.protocol import FINE_TUNING_ROWS, Goal
from ranking_quality.rows import SPLITS, read, write
from ranking_quality.targets_answers import ANSWER_TARGETS
from ranking_quality.targets_image import IMAGE_TARGETS
from ranking_quality.targets_text import TEXT_TARGETS
from torch import Tensor

TARGETS = {**IMAGE_TARGETS, **TEXT_TARGETS, **ANSWER_TARGETS}
COLUMNS = {
    "image-classification": ("image", "label"),
    "image-to-text": ("image", "caption"),
    "text-classification": ("text", "label"),
    "question-answering": ("question", "answers"),
}


@dataclass(frozen=True)
class Problem:
    """The three parts of a target for one candidate, and how its head is made."""

    parts: dict[str, Part]
    make_head: MakeHead


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
    splits = {split: read(folder, split) for split in SPLITS}
    few = min(FINE_TUNING_ROWS, len(splits["train"]))
    return {**splits, "train": splits["train"].select(range(few))}


# of one target at a time, by how the candidate reads it: the micro checkpoints share a processor
_READ: dict[tuple[Path, str], dict[str, Inputs]] = {}


def _inputs(folder: Path, source: str, body: Body) -> dict[str, Inputs]:
    key = (folder, body.reading)
    if key not in _READ:
        for other in [other for other in _READ if other[0] != folder]:
            del _READ[other]
        _READ[key] = {name: prepare(body, rows[source][:]) for name, rows in _splits(folder).items()}
    return _READ[key]


def problem(goal: Goal, body: Body) -> Problem:
    """A target's rows, run through the candidate's own processor or tokenizer."""
    folder = folder_of(goal)
    splits = _splits(folder)
    if goal.task == "question-answering":
        return _span_problem(splits, body, MEASURES[goal.measure])
    source, label = COLUMNS[goal.task]
    measure = MEASURES[goal.measure]
    inputs = _inputs(folder, source, body)
    parts = {name: Part(inputs[name], partial(_score, measure, rows[label][:])) for name, rows in splits.items()}
    labels = splits["train"][label][:]
    head = Captioner if goal.task == "image-to-text" else Classifier
    return Problem(parts, MakeHead(lambda width: head(width, labels)))


def _score(measure: Callable, wanted: list, answers: list) -> float:
    return measure(answers, wanted)


def _span_problem(splits: dict[str, Dataset], body: Body, measure: Callable) -> Problem:
    """Questions on contexts: the head finds tokens, the measure compares the text that they cover."""
    parts, spans = {}, []
    for name, rows in splits.items():
        contexts = rows["context"][:]
        inputs, offsets = prepare_pairs(body, rows["question"][:], contexts)
        texts = [answers["text"][0] for answers in rows["answers"]]
        if name == "train":
            starts = [answers["answer_start"][0] for answers in rows["answers"]]
            spans = [
                _span(offsets[row], inputs["context"][row], start, start + len(text))
                for row, (start, text) in enumerate(zip(starts, texts, strict=True))
            ]
        parts[name] = Part(inputs, partial(_score_spans, measure, contexts, offsets, texts))
    return Problem(parts, MakeHead(lambda width: SpanFinder(width, spans), of_tokens=True))


def _span(offsets: Tensor, context: Tensor, start: int, end: int) -> tuple[int, int]:
    """The first and last token of characters start to end; (-1, -1) where they were cut off."""
    inside = (context & (offsets[:, 1] > start) & (offsets[:, 0] < end)).nonzero()
    return (int(inside[0]), int(inside[-1])) if len(inside) else (-1, -1)


def _score_spans(
    measure: Callable, contexts: list[str], offsets: Tensor, wanted: list[str], spans: list[tuple[int, int]]
) -> float:
    said = [
        context[int(where[first, 0]) : int(where[last, 1])]
        for context, where, (first, last) in zip(contexts, offsets, spans, strict=True)
    ]
    return measure(said, wanted)
