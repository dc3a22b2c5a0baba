"""Data that is refused says what to do: commands that name columns are accepted as printed, and read what they say."""

from __future__ import annotations

import base64
import datetime
import itertools
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_emms.cli.option_flags import FLAGS as COMMAND_LINE
from hf_emms.cli.option_flags import options_from
from hf_emms.cli.rank_commands import rank
from hf_emms.data import Sample, load_sample
from hf_emms.errors import Text, Use
from hf_emms.options import Options
from tests.data.test_shapes import BARS, BITS, OTHER_TEXTS, Build, csv_of, table, with_images
from tests.helpers.rows import CLASSES, TEXTS, N, error_of, image_rows, pictures, write

MORE_TEXTS = [f"a third text {i}" for i in range(N)]
VALUES = [i / 7 for i in range(N)]
DATES = [f"2020-01-{1 + i % 20:02d}" for i in range(N)]
YEARS = [1990 + i % 9 for i in range(N)]
DAYS = [datetime.date(2020, 1, 1 + i) for i in range(N)]
PDFS = [base64.b64encode(b"%PDF-1.4" + bytes(range(i, 90 + i))).decode() for i in range(N)]
VIDEO = {"bytes": b"video", "path": None}
VIDEOS = datasets.Features({"clip": datasets.Video(decode=False), "label": datasets.Value("string")})
SVG = "data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()


def latin(folder: Path) -> str:
    """A file in an encoding that is not UTF-8."""
    return str(write(folder / "latin.csv", "text,label\ncafé,à\nthé,b\n".encode("latin-1")))


def two_pictures(folder: Path) -> datasets.Dataset:
    return image_rows(pictures(N), b=pictures(N), label=BITS).rename_column("image", "a")


# Data of tasks that are not supported, by the start of the message.
UNSUPPORTED: dict[str, dict[str, Build]] = {
    "video-classification": {
        "videos": csv_of("video_path,label", [f"{i}.mp4" for i in range(N)], CLASSES),
        "videos of a type": table({"clip": [VIDEO] * N, "label": CLASSES}, VIDEOS),
    },
    "object-detection": {"objects": with_images(objects=[{"bbox": [[1.0]], "category": [1]}] * N)},
    "preference-tuning": {
        "preferences": table({"prompt": TEXTS, "chosen": TEXTS, "rejected": OTHER_TEXTS}),
        "two answers and the better one": table(
            {"prompt": TEXTS, "response_0": TEXTS, "response_1": OTHER_TEXTS, "better_response_id": BITS}
        ),
    },
    "multiple-choice": {
        "choices": table({"question": TEXTS, "choices": [["a", "b"]] * N, "answer": BITS}),
        "choices beside a picture": with_images(question=TEXTS, choices=[["a", "b"]] * N, answer=BITS),
        "endings of a text": table({"ctx": TEXTS, "endings": [["a", "b"]] * N, "label": ["0", "1"] * (N // 2)}),
    },
    "forecasting of time series": {
        "a time series": csv_of("date,value", DATES, VALUES),
        "several series": csv_of("Date,Close,Volume", [f"1/{1 + i}/2020" for i in range(N)], VALUES, [*range(N)]),
        "values of days": table({"day": DAYS, "close": VALUES}),
    },
}
# What is refused: a part of the message, and a part of the hint.
REFUSED: dict[str, tuple[Build, str, str]] = {
    **{
        name: (build, f"{task} is not supported", "")
        for task, builds in UNSUPPORTED.items()
        for name, build in builds.items()
    },
    "numbered choices": (
        table({"question": TEXTS, "A": TEXTS, "B": OTHER_TEXTS, "answer": ["A", "B"] * (N // 2)}),
        "multiple-choice is not supported",
        "to rank without A and B",
    ),
    "another encoding": (latin, "codec can't decode", "UTF-8"),
    **{
        f"paths of absent {name}s": (
            csv_of(f"{name},label", [f"absent/{i}.{suffix}" for i in range(N)], CLASSES),
            "there is no file",
            "absolute",
        )
        for name, suffix in (("image", "png"), ("audio", "wav"))
    },
    "paths of absent files beside texts": (
        csv_of("image,text,label", [f"absent/{i}.png" for i in range(N)], TEXTS, CLASSES),
        "there is no file",
        'task="text-classification"',
    ),
    "addresses": (csv_of("url,label", [f"https://x.org/{i}.png" for i in range(N)], CLASSES), "addresses", "download"),
    "a label for each sentence": (
        table({"text": [["one", "two"], ["one"]] * 12, "label": [["a", "b"], ["b"]] * 12}),
        "each text has a label of its own",
        "a row for each text",
    ),
    "names of documents": (
        csv_of("path,label", [f"docs/{i}.pdf" for i in range(N)], CLASSES),
        "holds names of files, such as 'docs/0.pdf'",
        "take the column out",
    ),
    "names of sounds that are not decoded": (
        csv_of("audio,label", [f"{i}.m4a" for i in range(N)], CLASSES),
        "holds names of files, such as '0.m4a'",
        "save sounds as WAV",
    ),
    **{
        f"{name} in base64": (table({"file": cells, "label": BITS}), "neither pictures nor sounds", "PNG")
        for name, cells in (("documents", PDFS), ("drawings", [SVG] * N))
    },
    "stance": (
        table({"Tweet": TEXTS, "Target": ["a", "b", "c"] * 8, "Stance": CLASSES}),
        "which column is the label",
        'text_column="Tweet", label_column="Target" or "Stance"',
    ),
    "two texts": (
        table({"id": [*range(N)], "title": TEXTS, "body": OTHER_TEXTS, "label": BITS}),
        "which column is the text",
        'text_column="title,body"',
    ),
    "numbered texts": (
        table({"headline1": TEXTS, "headline2": OTHER_TEXTS, "label": BITS}),
        "headline1 and headline2 belong together",
        'task="text-pair-classification", text_column="headline1", text_pair_column="headline2"',
    ),
    "numbered texts beside another": (
        table({"text": MORE_TEXTS, "headline1": TEXTS, "headline2": OTHER_TEXTS, "label": BITS}),
        "headline1 and headline2 belong together, and text-classification would read one of them",
        'the first one alone: task="text-classification", text_column="headline1", label_column="label"',
    ),
    "lists of texts that may be classes": (
        table({"text": TEXTS, "intents": [["ask", "book"][: 1 + i % 2] for i in range(N)]}),
        "which column is the label",
        'text_column="text", label_column="intents"',
    ),
    "tags of a text's words": (
        table({"text": TEXTS, "labels": [["B-PER", "O", "B-LOC"], ["O", "O"]] * 12}),
        "holds tags of words",
        'task="token-classification"',
    ),
    "a text and prices": (
        table({"text": TEXTS, "price": [1.5 * i % 9 for i in range(N)]}),
        "values",
        "text-regression",
    ),
    **{
        name: (build, "may be classes or values, and nothing says which", hint)
        for name, build, hint in (
            ("ages", with_images(age=[20 + 7 * i % 60 for i in range(N)]), 'task="image-regression"'),
            ("years", table({"text": TEXTS, "label": YEARS}), "text-regression"),
            ("years in a column of their name", csv_of("text,year", TEXTS, YEARS), "text-regression"),
            (
                "a text and whole numbers",
                table({"text": TEXTS, "k": [i % 3 for i in range(N)]}),
                'task="text-classification", label_column="k", or task="text-regression", label_column="k"',
            ),
        )
    },
    **{
        f"{values[0]} as a label": (
            table({"text": TEXTS, "label": (values * N)[:N]}),
            "nothing says whether they are classes or values",
            'task="text-classification", label_column="label"',
        )
        for values in (
            [f"{i}%" for i in range(9)],
            [f"{i} kg" for i in range(9)],
            [f"{1 + i}e-03" for i in range(9)],
            [f"2020-01-{1 + i:02d}" for i in range(9)],
            [f"{1 + i} May 2020" for i in range(9)],
            [f"{1 + i}:30" for i in range(9)],
            [str(1990 + i) for i in range(9)],
            ["5 min", "30 min", "45 min", "1 h", "2 h", "3 h", "N/A"],
            [f"${i}.99" for i in range(9)],
        )
    },
    "many -1 beside classes": (
        table({"text": TEXTS, "label": [-1, 0, 1, 2] * (N // 4)}),
        "no label in column 'label' (empty or −1): 6 of 24 rows",
        'split="train"',
    ),
    "a text and days": (
        table({"text": TEXTS, "day": DAYS}),
        "column 'day' holds dates: nothing says whether they are classes or values",
        "years or days",
    ),
    "cities beside numbers": (
        table({"city": CLASSES, "kind": BARS, "a": VALUES, "b": VALUES, "c": VALUES}),
        "tabular data is not what",
        "text_column=",
    ),
    "structures written as texts": (
        table({"question": TEXTS, "context": OTHER_TEXTS, "answers": [f"{{'text': ['{i}']}}" for i in range(N)]}),
        "holds structures written as texts",
        "JSON or Parquet",
    ),
    "two pictures": (two_pictures, "a row has one image, not a and b", 'image_column="a" or "b"'),
    **{
        f"{name} that cannot be named": (
            table({name: TEXTS, "a.label" if "." in name else "label": CLASSES}),
            f"the column '{name}' is not recognised, and cannot be named",
            "give it a name",
        )
        for name in ("text, raw", "a.text")
    },
    "digests": (
        table({"hash": [f"{i * 7919:040x}" for i in range(N)], "label": CLASSES}),
        "column 'hash' is the only one that could be the text, and holds keys",
        'text_column="hash"',
    ),
    "two texts that repeat": (
        table({"text": TEXTS, "topic": CLASSES, "verified": BITS}),
        "which column is the label",
        'label_column="topic" or "verified"',
    ),
    "a key, a text and tables": (
        table({"id": [i * 7 % 30 for i in range(N)], "text": TEXTS, "x": [[[1]]] * N}),
        "no task fits the columns id (integer), text (string), x (list)",
        "hf-emms presets lists the tasks",
    ),
    "scores that are missing": (
        table({"text": TEXTS, "score": [float("nan")] * N}),
        "24 of 24 rows could not be read",
        "text_column=..., label_column=...",
    ),
    "one text": (table({"text": TEXTS}), "there are no labels", "add a column"),
    "a table": (
        csv_of("length,width,n,kind", *([f"{i * k % 7}.5" for i in range(N)] for k in (1, 3, 5)), CLASSES),
        "tabular data is not what",
        "text_column=",
    ),
    "no names": (csv_of("", TEXTS, CLASSES), "has no line of names", "text,label"),
    "no names, numbers": (csv_of("", TEXTS, BITS), "has no line of names", "text,label"),
}

# Columns that nothing but a hint explains, and a reading that it offers: a task, and the columns of its roles in order.
EXPLAINED: dict[str, tuple[dict[str, list[Any]], tuple[str, ...]]] = {
    "a pair of any names": (
        {"left": TEXTS, "right": OTHER_TEXTS, "match": BITS},
        ("text-pair-classification", "left", "right", "match"),
    ),
    "a pair as one text": (
        {"headline": TEXTS, "body": OTHER_TEXTS, "stance": CLASSES},
        ("text-classification", "headline,body", "stance"),
    ),
    "a pair with values": (
        {"left": TEXTS, "right": OTHER_TEXTS, "how near": VALUES},
        ("sentence-similarity", "left", "right", "how near"),
    ),
    "texts of a pair beside a label of another name": (
        {"premise": TEXTS, "hypothesis": OTHER_TEXTS, "kind": CLASSES},
        ("text-pair-classification", "premise", "hypothesis", "kind"),
    ),
    "texts alone": ({"title": TEXTS, "body": OTHER_TEXTS}, ("text-generation", "title", "body")),
    "names with spaces": ({"User said": TEXTS, "Bot's": OTHER_TEXTS}, ("summarization", "User said", "Bot's")),
    "three texts": (
        {"a": TEXTS, "b": OTHER_TEXTS, "c": MORE_TEXTS, "kind": CLASSES},
        ("text-classification", "a,b,c", "kind"),
    ),
    "one label among codes": (
        {"text": TEXTS, "binary_label": BITS} | {f"code{k}": [i * k % 5 for i in range(N)] for k in range(1, 14)},
        ("text-classification", "text", "binary_label"),
    ),
    "one label among numbers": (
        {"text": TEXTS, "label_name": CLASSES, "length": [*range(N)], "width": VALUES},
        ("text-classification", "text", "label_name"),
    ),
    "several classes in a column of another name": (
        {"plot": TEXTS, "genres": [bar.replace("|", ", ") for bar in BARS]},
        ("text-classification", "plot", "genres"),
    ),
    "a class for every two texts": (
        {"v1": [f"class {i // 2}" for i in range(N)], "v2": TEXTS},
        ("text-classification", "v2", "v1"),
    ),
    "dates as classes": ({"text": TEXTS, "label": DATES}, ("text-classification", "text", "label")),
    "years as values": (
        {"text": TEXTS, "label": [1990 + i % 20 for i in range(N)]},
        ("text-regression", "text", "label"),
    ),
    "choices that are left out": (
        {"question": TEXTS, "options": [["a", "b"]] * N, "answer": ["a", "b"] * (N // 2)},
        ("text-generation", "question", "answer"),
    ),
    "judged answers": (
        {"prompt": TEXTS, "completion": OTHER_TEXTS, "label": [*map(bool, BITS)]},
        ("text-generation", "prompt", "completion"),
    ),
    "responses and whether they are right": (
        {"instruction": TEXTS, "output": OTHER_TEXTS, "label": BITS},
        ("text-pair-classification", "instruction", "output", "label"),
    ),
    "a response that may be a class": (
        {"text": TEXTS, "target": CLASSES, "stance": ["for", "against"] * (N // 2)},
        ("summarization", "text", "target"),
    ),
    "long texts beside numbers": (
        {"essay": [f"{text}, on which more is said" for text in TEXTS], "set": BITS, "mark": [1, 2, 3] * 8},
        ("text-classification", "essay", "mark"),
    ),
    "a question, its answer and a score": (
        {"question": TEXTS, "answer": OTHER_TEXTS, "score": VALUES},
        ("text-generation", "question", "answer"),
    ),
    "dates that are the only texts": ({"when": DATES, "label": CLASSES}, ("text-classification", "when", "label")),
}


def commands_in(hint: Text | None) -> Iterator[list[str]]:
    """Yield the arguments of each command that names a task or columns, one for each of its alternatives."""
    for part in hint.parts if hint is not None else ():
        if isinstance(part, str) or any(not use.values or ... in use.values for use in part):
            continue
        if not any(use.setting == "task" or use.setting.endswith("_column") for use in part):
            continue
        for values in itertools.product(*(use.values for use in part)):
            uses = [Use(use.setting, (value,)) for use, value in zip(part, values, strict=True)]
            yield shlex.split(COMMAND_LINE.between.join(map(COMMAND_LINE.say, uses)))


def typed(dataset: Any, arguments: list[str]) -> tuple[Options, Sample]:
    """Return the options of a command with these arguments, and the sample that it ranks."""
    context = rank.make_context("rank", ["--dataset", "typed", "--max-samples", "0", *arguments])
    named = options_from(context.params).sample
    options = Options.of(dataset, task=named.task, columns=dict(named.columns), max_samples=named.max_samples)
    return options, load_sample(options.sample)


def readings_of(hint: Text | None, dataset: Any) -> list[tuple[str, ...]]:
    """Type each command of a hint, and return the task and the columns of each role that are read."""
    readings = []
    for arguments in commands_in(hint):
        options, sample = typed(dataset, arguments)
        assert options.sample.task in (None, sample.task.id)
        assert options.sample.columns.items() <= sample.columns.items(), arguments
        names = [name for names in sample.columns.values() for name in names.split(",")]
        assert len(set(names)) == len(names), arguments
        readings.append((sample.task.id, *sample.columns.values()))
    return readings


@pytest.mark.parametrize("shape", REFUSED)
def test_it_is_refused_in_a_line_that_says_what_to_do(tmp_path: Path, shape: str) -> None:
    build, message, hint = REFUSED[shape]
    dataset = build(tmp_path)
    error = error_of(lambda: typed(dataset, []))
    assert message in error.message
    assert hint in str(error.hint)
    assert len(str(error.hint)) < 320
    readings_of(error.remedy, dataset)


@pytest.mark.parametrize("shape", EXPLAINED)
def test_a_hint_offers_the_reading_that_is_meant(shape: str) -> None:
    columns, reading = EXPLAINED[shape]
    dataset = datasets.Dataset.from_dict(columns)
    assert reading in readings_of(error_of(lambda: typed(dataset, [])).remedy, dataset)
