"""Data that can be read in several ways, in one, or in none: the command in an error reads the data."""

from __future__ import annotations

import json
import shlex
from base64 import b64encode
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_emms.cli.option_flags import FLAGS as COMMAND_LINE
from hf_emms.cli.option_flags import options_from
from hf_emms.cli.rank_commands import rank
from hf_emms.errors import EmmsError
from hf_emms.options import Options
from hf_emms.texts import hint_style
from tests import ROOT
from tests.data.test_shapes import BARS, BITS, OTHER_TEXTS, PATHS, VALUES, WORDS, Build, csv_of, table, with_images
from tests.helpers.rows import CLASSES, TEXTS, N, image_rows, pictures
from tests.helpers.samples import load_sample, refused

MORE_TEXTS = [f"a third text {i}" for i in range(N)]
DOCCANO = {"id": 0, "label": "PER", "start_offset": 0, "end_offset": 4}
OUTSIDE = {"start": 50, "end": 60, "label": "PER"}
VIDEO = {"bytes": b"video", "path": None}
VIDEOS = datasets.Features({"clip": datasets.Video(decode=False), "label": datasets.Value("string")})


def two_pictures(folder: Path) -> datasets.Dataset:
    return image_rows(pictures(N), b=pictures(N), label=BITS).rename_column("image", "a")


# tests/golden/refusals.json has the reading of each, or the tasks and the command in its error.
UNCLEAR: dict[str, Build] = {
    "videos of a type": table({"clip": [VIDEO] * N, "label": CLASSES}, VIDEOS),
    "objects": with_images(objects=[{"bbox": [[1.0]], "category": [1]}] * N),
    "objects beside a class of another name": with_images(objects=[{"bbox": [[1.0]]}] * N, kind=CLASSES),
    "two answers and the better one": table(
        {"prompt": TEXTS, "response_0": TEXTS, "response_1": OTHER_TEXTS, "better_response_id": BITS}
    ),
    "choices": table({"question": TEXTS, "choices": [["a", "b"]] * N, "answer": BITS}),
    "choices beside a picture": with_images(question=TEXTS, choices=[["a", "b"]] * N, answer=BITS),
    **{
        f"paths of absent {name}s": csv_of(f"{name},label", [f"absent/{i}.{suffix}" for i in range(N)], CLASSES)
        for name, suffix in (("image", "png"), ("audio", "wav"))
    },
    "paths of absent files beside texts": csv_of(
        "image,text,label", [f"absent/{i}.png" for i in range(N)], TEXTS, CLASSES
    ),
    "addresses": csv_of("url,label", [f"https://x.org/{i}{'0' * 100}.png" for i in range(N)], CLASSES),
    "a label for each sentence": table({"text": [["one", "two"], ["one"]] * 12, "label": [["a", "b"], ["b"]] * 12}),
    "stance": table({"Tweet": TEXTS, "Target": ["a", "b", "c"] * 8, "Stance": CLASSES}),
    "two texts": table({"id": [*range(N)], "title": TEXTS, "body": OTHER_TEXTS, "label": BITS}),
    "a picture and the only texts, which repeat": with_images(name=TEXTS[:12] * 2),
    "a picture, its key and its class": with_images(id=[*range(N)], digit=BITS),
    "lists of zeros and ones": table({"text": TEXTS, "labels": [[0, 1, 0], [1, 0, 1]] * 12}),
    "paths but for more than a tenth": csv_of("image,label", ["none", "no", "not", *PATHS[:17]], CLASSES[:20]),
    "images in base64": table({"image": [b64encode(picture).decode() for picture in pictures(N)], "label": CLASSES}),
    "stars": table({"review": TEXTS, "stars": [1, 2, 3, 4] * 6}),
    "coarse and fine labels": table({"text": TEXTS, "coarse_label": BITS, "fine_label": CLASSES}),
    "sentiment and topic": table({"text": TEXTS, "sentiment": CLASSES, "topic": CLASSES}),
    "numbered texts": table({"headline1": TEXTS, "headline2": OTHER_TEXTS, "label": BITS}),
    "lists of texts that may be classes": table(
        {"text": TEXTS, "intents": [["ask", "book"][: 1 + i % 2] for i in range(N)]}
    ),
    "tags of a text's words": table({"text": TEXTS, "labels": [["B-PER", "O", "B-LOC"], ["O", "O"]] * 12}),
    "a text and prices": table({"text": TEXTS, "price": [1.5 * i % 9 for i in range(N)]}),
    "ages": with_images(age=[20 + 7 * i % 60 for i in range(N)]),
    "a text and whole numbers": table({"text": TEXTS, "k": [i % 3 for i in range(N)]}),
    **{
        f"{values[0]} as a label": table({"text": TEXTS, "label": (values * N)[:N]})
        for values in (
            [f"{i} kg" for i in range(6)],
            [f"{i} m" for i in range(N)],
        )
    },
    "pairs of ids": table({"text": TEXTS, "labels": [[0, 1], [1, 0]] * 12}),
    "many -1 beside classes": table({"text": TEXTS, "label": [-1, 0, 1, 2] * (N // 4)}),
    "a class as a text": table({"city": CLASSES, "label": BITS}),
    "structures written as texts": table(
        {"question": TEXTS, "context": OTHER_TEXTS, "answers": [f"{{'text': ['{i}']}}" for i in range(N)]}
    ),
    "two pictures": two_pictures,
    "pictures alone": with_images(),
    "captions and classes": with_images(caption=TEXTS, label=CLASSES),
    **{
        f"{name} that cannot be named": table({name: TEXTS, "a.label" if "." in name else "label": CLASSES})
        for name in ("text, raw", "a.text")
    },
    "two texts that repeat": table({"text": TEXTS, "topic": CLASSES, "verified": BITS}),
    "a translation that repeats": table({"en": TEXTS, "de": CLASSES}),
    "a text, a title and two marks": table({"text": TEXTS, "title": OTHER_TEXTS, "x": BITS, "y": BITS}),
    "scores that are missing": table({"text": TEXTS, "score": [float("nan")] * N}),
    "one text": table(
        {"text": [f"It begins with the {text}. It goes on with {text}. At last it ends with {text}." for text in TEXTS]}
    ),
    "a table": csv_of("length,width,n,kind", *([f"{i * k % 7}.5" for i in range(N)] for k in (1, 3, 5)), CLASSES),
    "a class and a score of a pair": table(
        {"sentence_A": TEXTS, "sentence_B": OTHER_TEXTS, "label": BITS, "relatedness_score": VALUES}
    ),
    "sentences with too few tags": table({"tokens": [["a", f"b{i}"] for i in range(N)], "upos": [["DET"]] * N}),
    "sentences with the same tags": table({"tokens": [["a", f"b{i}"] for i in range(N)], "ner_tags": [["O", "O"]] * N}),
    "entities that are not in their text": table({"text": TEXTS, "entities": [[OUTSIDE]] * N}),
    "a pair as one text": table({"headline": TEXTS, "body": OTHER_TEXTS, "stance": CLASSES}),
    "a pair with values": table({"left": TEXTS, "right": OTHER_TEXTS, "how near": VALUES}),
    "texts alone": table({"title": TEXTS, "body": OTHER_TEXTS}),
    "names with spaces": table({"User said": TEXTS, "Bot's": OTHER_TEXTS}),
    "three texts": table({"a": TEXTS, "b": OTHER_TEXTS, "c": MORE_TEXTS, "kind": CLASSES}),
    "one label among codes": table(
        {"text": TEXTS, "binary_label": BITS} | {f"code{k}": [i * k % 5 for i in range(N)] for k in range(1, 14)}
    ),
    "several classes in a column of another name": table(
        {"plot": TEXTS, "genres": [bar.replace("|", ", ") for bar in BARS]}
    ),
    "choices that are left out": table(
        {"question": TEXTS, "options": [["a", "b"]] * N, "answer": ["a", "b"] * (N // 2)}
    ),
    "responses and whether they are right": table({"instruction": TEXTS, "output": OTHER_TEXTS, "label": BITS}),
    "a response that may be a class": table(
        {"text": TEXTS, "target": CLASSES, "stance": ["for", "against"] * (N // 2)}
    ),
    "long texts beside numbers": table(
        {"essay": [f"{text}, on which more is said" for text in TEXTS], "set": BITS, "mark": [1, 2, 3] * 8}
    ),
    "a question, its answer and a score": table({"question": TEXTS, "answer": OTHER_TEXTS, "score": VALUES}),
}
LABELED = table({"text": TEXTS, "label": CLASSES, "labels": BITS, "amount": VALUES, "other": OTHER_TEXTS})
# Data with settings.
UNCLEAR_SO: dict[str, tuple[Build, dict[str, Any]]] = {
    "a text and a whole number": (table({"text": TEXTS[:1], "k": [1]}), {}),
    "a column that is not there": (LABELED, {"columns": {"label": "labl"}}),
    "a field that is not there": (LABELED, {"columns": {"text": "text.x"}, "task": "text-classification"}),
    "a column of another task": (LABELED, {"columns": {"image": "text"}, "task": "text-classification"}),
    "a column of another type": (LABELED, {"columns": {"text": "amount"}, "task": "text-classification"}),
    "groups that are not there": (LABELED, {"group_column": "labl"}),
    "groups of numbers with fractions": (LABELED, {"group_column": "amount"}),
    "groups of a name that is like no other": (LABELED, {"group_column": "speaker"}),
    "a class and a mark": (LABELED, {"columns": {"label": "label,labels"}, "task": "text-classification"}),
    "a text and a value": (LABELED, {"columns": {"text": "text,amount"}, "task": "text-classification"}),
    "two values": (LABELED, {"columns": {"label": "amount,labels"}, "task": "text-regression"}),
    "tags of words": (
        table({"tokens": WORDS, "text": TEXTS, "tags": [["B-PER", "O", "O"], ["O", "O"]] * 12}),
        {"columns": {"label": "tags"}},
    ),
    "tags of words as classes": (
        table({"text": TEXTS, "tags": [["B-PER", "O"], ["O"]] * 12}),
        {"columns": {"label": "tags"}, "task": "text-classification"},
    ),
    "nine weights of no task": (
        table({"text": TEXTS, "label": [f"{i % 9} kg" for i in range(N)]}),
        {"columns": {"label": "label"}},
    ),
    "a relation of entities": (
        table({"text": TEXTS, "entities": [[DOCCANO]] * N, "relations": [[{"from_id": 0, "to_id": 1}]] * N}),
        {"columns": {"entities": "entities"}},
    ),
    "lists of lists": (table({"x": [[[1]]] * N, "name": TEXTS}), {"columns": {"image": "name"}}),
    "a picture of lists of lists": (table({"x": [[[1]]] * N, "name": TEXTS}), {"task": "image-classification"}),
    "a dot in a name": (table({"a.b": TEXTS, "label": CLASSES}), {"columns": {"text": "a.b"}}),
    "a text beside the named one": (table({"a": TEXTS, "b": OTHER_TEXTS}), {"columns": {"text": "a"}}),
    "a task without its text": (LABELED, {"task": "question-answering"}),
    "spans of classes": (LABELED, {"label_form": "spans", "columns": {"label": "label"}}),
    "numbers of classes": (LABELED, {"label_form": "both", "columns": {"label": "label"}}),
    "boxes of classes": (LABELED, {"box_format": "xyxy", "columns": {"label": "label"}}),
    "boxes of values": (LABELED, {"box_format": "xyxy", "columns": {"label": "amount"}}),
    "several classes of one": (LABELED, {"references": "first", "columns": {"label": "label"}}),
    "a label template for no classes": (table({"text": TEXTS, "summary": OTHER_TEXTS}), {"label_template": "so {}"}),
    "balanced summaries": (table({"text": TEXTS, "summary": OTHER_TEXTS}), {"sampling": "balanced"}),
}
OUTCOMES: dict[str, dict[str, Any]] = json.loads((ROOT / "tests" / "golden" / "refusals.json").read_text())


COMMAND = "The most usual reading: "


def pasted(error: EmmsError) -> dict[str, Any]:
    """The settings of the command in an error, in Python or for a shell; empty without a command."""
    command = str(error.hint).partition(COMMAND)[2]
    if command.startswith("hf_emms.rank("):
        arguments = eval(command.replace("hf_emms.rank(", "dict(", 1))
        arguments.pop("dataset")
        sample = Options.of("called", **arguments).sample
    elif command:
        context = rank.make_context("rank", shlex.split(command)[2:])
        sample = options_from(context.params).sample
    else:
        return {}
    return {"task": sample.task, "columns": dict(sample.columns), "group_column": sample.group_column}


def outcome_of(build: Build, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """How data is read, or the tasks that fit and the command of its refusal, which reads it."""
    dataset = build(folder)
    try:
        sample = load_sample(dataset, **settings)
    except EmmsError as error:
        command = pasted(error)
        if command:
            sample = load_sample(dataset, **{**settings, **command})
            assert (sample.task.id, dict(sample.columns)) == (command["task"], command["columns"])
        with hint_style(COMMAND_LINE):
            assert pasted(refused(dataset, **settings)) == command
        tasks = [line.strip() for line in str(error.hint).partition(COMMAND)[0].splitlines() if " = " in line]
        return {"code": error.code, "tasks": tasks, "command": [command.get("task"), command.get("columns")]}
    return {"read": [sample.task.id, dict(sample.columns), [*sample.unused_columns]]}


@pytest.mark.parametrize("shape", [*UNCLEAR, *UNCLEAR_SO])
def test_it_is_read_in_the_only_way_or_the_error_has_a_command_that_reads_it(tmp_path: Path, shape: str) -> None:
    build, settings = (UNCLEAR[shape], {}) if shape in UNCLEAR else UNCLEAR_SO[shape]
    assert outcome_of(build, tmp_path, settings) == OUTCOMES[shape]
