"""A target as a candidate reads it in fine-tuning: parts, head and measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from datasets import Dataset
from torch import Tensor

from scripts.demo import sources
from scripts.quality.candidates import Backbone, Inputs, pixels, prepare_pairs, words
from scripts.quality.fine_tuning import MEASURES, Boxer, Captioner, Classifier, MakeHead, Part, SpanFinder
from scripts.quality.protocol import FINE_TUNING_ROWS, Target, work
from scripts.quality.rows import SPLITS, read, write
from scripts.quality.targets import MAKERS

# task → the columns of the inputs, the column of the label
COLUMNS = {
    "image-classification": (("image",), "label"),
    "image-to-text": (("image",), "caption"),
    "text-classification": (("text",), "label"),
    "question-answering": (("question", "context"), "answers"),
    "visual-question-answering": (("image", "question"), "answer"),
    "referring-expression": (("image", "expression"), "box"),
}


@dataclass(frozen=True)
class Problem:
    """The three parts of a target for one candidate, and how its head is made."""

    parts: dict[str, Part]
    make_head: MakeHead


def folder_of(target: Target) -> Path:
    """A target's dataset folder, written on first use."""
    folder = work() / "targets" / target.name
    if not folder.exists():
        sources.fetch()
        fresh = folder.with_suffix(".writing")
        write(fresh, MAKERS[target.name]())
        fresh.rename(folder)
    return folder


@cache
def _splits(folder: Path) -> dict[str, Dataset]:
    splits = {split: read(folder, split) for split in SPLITS}
    few = min(FINE_TUNING_ROWS, len(splits["train"]))
    return {**splits, "train": splits["train"].select(range(few))}


# of one target at a time, by how the candidate reads it: the micro checkpoints share a processor
_READ: dict[tuple[Path, str], dict[str, Inputs]] = {}


def _inputs(folder: Path, columns: tuple[str, ...], backbone: Backbone) -> dict[str, Inputs]:
    key = (folder, backbone.reading)
    if key not in _READ:
        for other in [other for other in _READ if other[0] != folder]:
            del _READ[other]
        _READ[key] = {
            name: {
                key: tensor
                for column in columns
                for key, tensor in (pixels if column == "image" else words)(backbone, rows[column][:]).items()
            }
            for name, rows in _splits(folder).items()
        }
    return _READ[key]


def problem(target: Target, backbone: Backbone) -> Problem:
    """A target's rows, run through the candidate's own processor or tokenizer."""
    folder = folder_of(target)
    splits = _splits(folder)
    measure = MEASURES[target.measure]
    if target.task == "question-answering":
        return _span_problem(splits, backbone, measure)
    columns, label = COLUMNS[target.task]
    wanted = {name: _boxes(rows) if label == "box" else rows[label][:] for name, rows in splits.items()}
    if target.task == "visual-question-answering":
        # an answer that no training row has can only be missed
        names = sorted(set(wanted["train"]))
        wanted = {name: [names.index(one) if one in names else -1 for one in own] for name, own in wanted.items()}
    inputs = _inputs(folder, columns, backbone)
    parts = {name: Part(inputs[name], partial(_score, measure, own)) for name, own in wanted.items()}
    head = {"image-to-text": Captioner, "referring-expression": Boxer}.get(target.task, Classifier)
    return Problem(parts, MakeHead(lambda width: head(width, wanted["train"])))


def _boxes(rows: Dataset) -> list[list[float]]:
    """Centre, width and height as shares of the picture, from left, top, width and height in pixels."""
    found = []
    for picture, (left, top, width, height) in zip(rows["image"], rows["box"], strict=True):
        across, down = picture.size
        found.append([(left + width / 2) / across, (top + height / 2) / down, width / across, height / down])
    return found


def _score(measure: Callable, wanted: list, answers: list) -> float:
    return measure(answers, wanted)


def _span_problem(splits: dict[str, Dataset], backbone: Backbone, measure: Callable) -> Problem:
    """Questions on contexts: the head finds tokens, the measure compares the text that they cover."""
    parts, spans = {}, []
    for name, rows in splits.items():
        contexts = rows["context"][:]
        inputs, offsets = prepare_pairs(backbone, rows["question"][:], contexts)
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
    found = [
        context[int(where[first, 0]) : int(where[last, 1])]
        for context, where, (first, last) in zip(contexts, offsets, spans, strict=True)
    ]
    return measure(found, wanted)
