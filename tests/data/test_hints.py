"""Hints that name columns: typed as they are printed, they are accepted, and read what they say."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_emms.cli.option_flags import FLAGS, options_from
from hf_emms.cli.rank_commands import rank
from hf_emms.data import Sample, load_sample
from hf_emms.errors import Text, Use
from hf_emms.options import Options
from tests.data.test_shapes import BARS, BITS, CLASSES, OTHER_TEXTS, REFUSED, TEXTS, Build, N, table
from tests.helpers.rows import error_of

MORE_TEXTS = [f"a third text {i}" for i in range(N)]
VALUES = [i / 7 for i in range(N)]
DATES = [f"2020-01-{1 + i % 20:02d}" for i in range(N)]

# Shapes that nothing but a hint explains, and a reading that it offers: task and columns.
EXPLAINED: dict[str, tuple[Build, str, dict[str, str]]] = {
    "a pair of any names": (
        table({"left": TEXTS, "right": OTHER_TEXTS, "match": BITS}),
        "text-pair-classification",
        {"text": "left", "text_pair": "right", "label": "match"},
    ),
    "a pair as one text": (
        table({"headline": TEXTS, "body": OTHER_TEXTS, "stance": CLASSES}),
        "text-classification",
        {"text": "headline,body", "label": "stance"},
    ),
    "a pair with values": (
        table({"left": TEXTS, "right": OTHER_TEXTS, "how near": VALUES}),
        "sentence-similarity",
        {"text": "left", "text_pair": "right", "label": "how near"},
    ),
    "texts of a pair beside a label of another name": (
        table({"premise": TEXTS, "hypothesis": OTHER_TEXTS, "kind": CLASSES}),
        "text-pair-classification",
        {"text": "premise", "text_pair": "hypothesis", "label": "kind"},
    ),
    "texts alone": (
        table({"title": TEXTS, "body": OTHER_TEXTS}),
        "text-generation",
        {"prompt": "title", "response": "body"},
    ),
    "texts alone whose names have spaces": (
        table({"User said": TEXTS, "Bot's words": OTHER_TEXTS}),
        "summarization",
        {"document": "User said", "summary": "Bot's words"},
    ),
    "three texts": (
        table({"a": TEXTS, "b": OTHER_TEXTS, "c": MORE_TEXTS, "kind": CLASSES}),
        "text-classification",
        {"text": "a,b,c", "label": "kind"},
    ),
    "one label among codes": (
        table(
            {"text": TEXTS, "binary_label": BITS} | {f"code{k}": [i * k % 5 for i in range(N)] for k in range(1, 14)}
        ),
        "text-classification",
        {"text": "text", "label": "binary_label"},
    ),
    "one label among numbers": (
        table({"text": TEXTS, "label_name": CLASSES, "length": [*range(N)], "width": VALUES}),
        "text-classification",
        {"text": "text", "label": "label_name"},
    ),
    "several classes in a column of another name": (
        table({"plot": TEXTS, "genres": [bar.replace("|", ", ") for bar in BARS]}),
        "text-classification",
        {"text": "plot", "label": "genres"},
    ),
    "dates as classes": (
        table({"text": TEXTS, "label": DATES}),
        "text-classification",
        {"text": "text", "label": "label"},
    ),
    "years": (
        table({"text": TEXTS, "label": [1990 + i % 20 for i in range(N)]}),
        "text-regression",
        {"text": "text", "label": "label"},
    ),
    "choices": (
        table({"question": TEXTS, "options": [["a", "b"]] * N, "answer": ["a", "b"] * (N // 2)}),
        "text-generation",
        {"prompt": "question", "response": "answer"},
    ),
    "judged answers": (
        table({"prompt": TEXTS, "completion": OTHER_TEXTS, "label": [*map(bool, BITS)]}),
        "text-generation",
        {"prompt": "prompt", "response": "completion"},
    ),
    "responses and whether they are right": (
        table({"instruction": TEXTS, "output": OTHER_TEXTS, "label": BITS}),
        "text-pair-classification",
        {"text": "instruction", "text_pair": "output", "label": "label"},
    ),
    "a response that may be a class": (
        table({"text": TEXTS, "target": CLASSES, "stance": ["for", "against"] * (N // 2)}),
        "summarization",
        {"document": "text", "summary": "target"},
    ),
    "a class before a text": (
        table({"v1": CLASSES, "v2": TEXTS}),
        "text-classification",
        {"text": "v2", "label": "v1"},
    ),
    "long texts beside numbers": (
        table({"essay": [f"{text}, on which more is said" for text in TEXTS], "set": BITS, "mark": [1, 2, 3] * 8}),
        "text-classification",
        {"text": "essay", "label": "mark"},
    ),
    "a question, its answer and a score": (
        table({"question": TEXTS, "answer": OTHER_TEXTS, "score": VALUES}),
        "text-generation",
        {"prompt": "question", "response": "answer"},
    ),
    "dates that are the only texts": (
        table({"when": DATES, "label": CLASSES}),
        "text-classification",
        {"text": "when", "label": "label"},
    ),
}
SHAPES = {name: build for name, (build, *_) in (REFUSED | EXPLAINED).items()}


def commands_in(hint: Text | None) -> Iterator[list[str]]:
    """Yield the arguments of each command that names a task or columns, one for each of its alternatives."""
    for part in hint.parts if hint is not None else ():
        if isinstance(part, str) or any(not use.values or ... in use.values for use in part):
            continue
        if not any(use.setting == "task" or use.setting.endswith("_column") for use in part):
            continue
        for values in itertools.product(*(use.values for use in part)):
            uses = [Use(use.setting, (value,)) for use, value in zip(part, values, strict=True)]
            yield shlex.split(FLAGS.between.join(map(FLAGS.say, uses)))


def typed(dataset: Any, arguments: list[str]) -> tuple[Options, Sample]:
    """Return the options of a command with these arguments, and the sample that it ranks."""
    context = rank.make_context("rank", ["--dataset", "typed", "--max-samples", "0", *arguments])
    options = Options.of(**{**vars_of(options_from(context.params)), "dataset": dataset})
    return options, load_sample(options.sample)


def vars_of(options: Options) -> dict[str, Any]:
    sample = options.sample
    return {"task": sample.task, "columns": dict(sample.columns), "max_samples": sample.max_samples}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hint_reads_what_it_says(tmp_path: Path, shape: str) -> None:
    dataset = SHAPES[shape](tmp_path)
    error = error_of(lambda: typed(dataset, []))
    readings = []
    for arguments in commands_in(error.remedy):
        options, sample = typed(dataset, arguments)
        assert options.sample.task in (None, sample.task.id)
        assert options.sample.columns.items() <= sample.columns.items(), arguments
        texts = [name for names in sample.columns.values() for name in names.split(",")]
        assert len(set(texts)) == len(texts), arguments
        readings.append((sample.task.id, sample.columns))
    if shape in EXPLAINED:
        _, *reading = EXPLAINED[shape]
        assert tuple(reading) in readings


def test_a_hint_quotes_names_with_spaces() -> None:
    rows = datasets.Dataset.from_dict({"User said": TEXTS, "Bot's words": OTHER_TEXTS})
    (first, *_) = commands_in(error_of(lambda: typed(rows, [])).remedy)
    assert first[-2:] == ["--column", "response=Bot's words"]
