"""Shapes of data that people have: read as what they are, with what is not used, or refused with what to do."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_emms
from hf_emms.finetune.splits import load_splits
from hf_emms.options import Options
from tests.helpers.rows import error_of, image_rows, labels_of, pictures, png, texts
from tests.helpers.samples import load_sample
from tests.helpers.sound import encoded, tone

N = 24
TEXTS = [f"text number {i}" for i in range(N)]
OTHER_TEXTS = [f"another text {i}" for i in range(N)]
CLASSES = ["cat", "dog"] * (N // 2)
BITS = [i % 2 for i in range(N)]
# One of the rows has none of the classes.
FLAGS = [[i % 2, int(i % 3 == 0), int(i % 5 == 0), 0 if i == 2 else int(i % 4 == 2)] for i in range(N)]
FLAGS[2] = [0, 0, 0, 0]
WORDS = [["Ann", "likes", "Rome"], ["She", "sings"]] * (N // 2)

Build = Callable[[Path], Any]


def table(columns: dict[str, list[Any]], features: datasets.Features | None = None) -> Build:
    return lambda folder: datasets.Dataset.from_dict(columns, features=features)


def with_images(**columns: list[Any]) -> Build:
    return lambda folder: image_rows(pictures(N), **columns)


def write_images(folder: Path, name: str = "{}.png", first: int = 0) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [name.format(i) for i in range(N)]
    for i, file in enumerate(names):
        (folder / file).write_bytes(png((first + i, 0, 7)))
    return names


def csv_of(header: str, *columns: list[Any], name: str = "data.csv", separator: str = ",") -> Build:
    """A file in a folder "set", beside which the pictures 0.png, 1.png … lie in "images"."""

    def build(folder: Path) -> str:
        write_images(folder / "set" / "images")
        lines = [separator.join(map(str, cells)) for cells in zip(*columns, strict=True)]
        content = "\n".join([header, *lines] if header else lines) + "\n"
        file = folder / "set" / name
        file.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
        return str(file)

    return build


def kaggle(cells: list[str], header: str, **more: str) -> Build:
    """A folder with pictures in "train" and "test", a train.csv that describes them, and other files."""

    def build(folder: Path) -> str:
        write_images(folder / "train", "p{}.png")
        write_images(folder / "test", "t{}.png", first=100)
        rows = [f"{cell},{name}" for cell, name in zip(cells, CLASSES, strict=True)]
        (folder / "train.csv").write_text("\n".join([header, *rows]) + "\n")
        for name, text in more.items():
            (folder / f"{name}.csv").write_text(text)
        return str(folder)

    return build


PATHS = [f"images/{i}.png" for i in range(N)]
QUOTED_FLAGS = [f'"{flags}"' for flags in FLAGS]
BARS = ["cat|small dog" if i % 3 == 0 else CLASSES[i] for i in range(N)]
NAMED_FLAGS = datasets.Features(
    {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=["a", "b", "c", "d"]))}
)
INTENTS = datasets.Features(
    {"text": datasets.Value("string"), "intents": datasets.List(datasets.ClassLabel(names=["a", "b"]))}
)
IMAGES = "image-classification"
BASE64 = [base64.b64encode(picture).decode() for picture in pictures(N)]
SOUNDS = [base64.b64encode(encoded(tone(100 + i, 0.1))).decode() for i in range(N)]
READ: dict[str, tuple[Build, str, dict[str, str], list[str], list[str]]] = {
    **{
        f"paths in a column {name}": (csv_of(f"{name},label", PATHS, CLASSES), IMAGES, {"image": name}, [], ["cat"])
        for name in ("image", "path", "filename", "file_name", "url")
    },
    **{
        f"pictures in base64 in a column {name}": (
            csv_of(f"{name},label", BASE64, CLASSES),
            IMAGES,
            {"image": name},
            [],
            [],
        )
        for name in ("image", "img_b64", "data")
    },
    "pictures as data URIs": (
        table({"data": ["data:image/png;base64," + text for text in BASE64], "label": CLASSES}),
        IMAGES,
        {"image": "data"},
        [],
        ["cat", "dog"],
    ),
    "base64 without padding, for addresses": (
        table({"img": [text.rstrip("=").replace("+", "-").replace("/", "_") for text in BASE64], "label": CLASSES}),
        IMAGES,
        {"image": "img"},
        [],
        [],
    ),
    "base64 but for one cell": (
        table({"img": [*BASE64[:-1], "?"], "label": CLASSES}),
        IMAGES,
        {"image": "img"},
        [],
        [],
    ),
    "paths but for one cell": (
        csv_of("image,label", ["none", *PATHS[1:]], CLASSES),
        IMAGES,
        {"image": "image"},
        [],
        [],
    ),
    "sequences that are no base64": (
        table({"sequence": ["ACGT" * (i + 20) for i in range(N)], "label": CLASSES}),
        "text-classification",
        {"text": "sequence"},
        [],
        [],
    ),
    "sounds in base64": (table({"clip": SOUNDS, "label": CLASSES}), "audio-classification", {"audio": "clip"}, [], []),
    "names of files beside texts": (
        table({"file": [f"{i}.txt" for i in range(N)], "text": TEXTS, "label": CLASSES}),
        "text-classification",
        {"text": "text"},
        ["file"],
        [],
    ),
    "paths beside titles": (csv_of("path,title,label", PATHS, TEXTS, CLASSES), IMAGES, {}, ["title"], []),
    "multi-hot numbers": (
        table({"text": TEXTS, "labels": FLAGS}),
        "text-classification",
        {"label": "labels"},
        [],
        ["0", "1", "2", "3", "none"],
    ),
    "multi-hot truths": (
        table({"text": TEXTS, "labels": [[*map(bool, flags)] for flags in FLAGS]}),
        "text-classification",
        {"label": "labels"},
        [],
        ["0", "1", "2", "3", "none"],
    ),
    "multi-hot floats": (
        table({"text": TEXTS, "labels": [[*map(float, flags)] for flags in FLAGS]}),
        "text-classification",
        {"label": "labels"},
        [],
        ["0", "1", "2", "3", "none"],
    ),
    "multi-hot with names": (
        table({"text": TEXTS, "labels": FLAGS}, NAMED_FLAGS),
        "text-classification",
        {"label": "labels"},
        [],
        ["a", "b", "c", "d", "none"],
    ),
    "multi-hot in a CSV": (
        csv_of("text,label", TEXTS, QUOTED_FLAGS),
        "text-classification",
        {},
        [],
        ["0", "1", "2", "3", "none"],
    ),
    "a column of 0 and 1 for each class": (
        csv_of("id,comment_text,toxic,mild_insult", TEXTS, TEXTS, *([f[i] for f in FLAGS] for i in (0, 1))),
        "text-classification",
        {"text": "comment_text", "label": "toxic,mild_insult"},
        ["id"],
        ["mild insult", "none", "toxic"],
    ),
    "classes with bars": (
        csv_of("text,label", TEXTS, BARS),
        "text-classification",
        {},
        [],
        ["cat", "dog", "small dog"],
    ),
    "lists as pandas writes them": (
        csv_of("text,label", TEXTS, [f"\"['cat', '{name}']\"" for name in ["dog", "cow"] * 12]),
        "text-classification",
        {},
        [],
        ["cat", "cow", "dog"],
    ),
    **{
        f"classes with {mark!r}": (
            table({"text": TEXTS, "label": [bars.replace("|", mark) for bars in BARS]}),
            "text-classification",
            {},
            [],
            ["cat", "dog", "small dog"],
        )
        for mark in (";", "; ")
    },
    **{
        f"classes with {mark!r}": (
            table({"text": TEXTS, "label": [f"a{mark}b", "b", f"c{mark}a"] * (N // 3)}),
            "text-classification",
            {},
            [],
            ["a", "b", "c"],
        )
        for mark in (",", ", ")
    },
    "ids with commas": (
        table({"text": TEXTS, "label": ["0,1", "2", "1"] * (N // 3)}),
        "text-classification",
        {},
        [],
        ["0", "1", "2"],
    ),
    **{
        f"zeros and ones with {mark!r}": (
            table({"text": TEXTS, "label": [mark.join(map(str, flags)) for flags in FLAGS]}),
            "text-classification",
            {},
            [],
            ["0", "1", "2", "3", "none"],
        )
        for mark in (";", ",", " ")
    },
    "tuples as Python writes them": (
        table({"text": TEXTS, "label": ["('a', 'b')", "('b',)"] * (N // 2)}),
        "text-classification",
        {},
        [],
        ["a", "b"],
    ),
    "names with commas": (
        table({"text": TEXTS, "label": ["tench, Tinca tinca", "cock", "Paris, France", "Lyon, France"] * (N // 4)}),
        "text-classification",
        {},
        [],
        ["Lyon, France", "Paris, France", "cock", "tench, Tinca tinca"],
    ),
    "opinions from -1 to 1": (
        table({"text": TEXTS, "label": [-1, 0, 1] * (N // 3)}),
        "text-classification",
        {},
        [],
        ["-1", "0", "1"],
    ),
    "-1 beside classes": (
        table({"text": TEXTS, "label": [-1, *[0, 1, 2] * 8][:N]}),
        "text-classification",
        {},
        [],
        ["0", "1", "2"],
    ),
    "stars in texts": (
        table({"text": TEXTS, "label": [f"{1 + i % 3} stars" for i in range(N)]}),
        "text-classification",
        {},
        [],
        ["1 stars", "2 stars", "3 stars"],
    ),
    "names of columns with spaces": (
        table({"Sentence A": TEXTS, "Sentence B": OTHER_TEXTS, "Score": [i / 7 for i in range(N)]}),
        "sentence-similarity",
        {"text": "Sentence A", "text_pair": "Sentence B", "label": "Score"},
        [],
        [],
    ),
    "a question, an answer and whether it is right": (
        table({"question": TEXTS, "answer": OTHER_TEXTS, "label": BITS}),
        "text-pair-classification",
        {"text": "question", "text_pair": "answer", "label": "label"},
        [],
        ["0", "1"],
    ),
    "a text as a list of sentences": (
        table({"text": [[text, "So it is."] for text in TEXTS], "label": CLASSES}),
        "text-classification",
        {"text": "text"},
        [],
        ["cat", "dog"],
    ),
    "several texts": (
        table({"title": TEXTS, "text": OTHER_TEXTS, "label": CLASSES}),
        "text-classification",
        {"text": "text"},
        ["title"],
        [],
    ),
    "lists of classes": (
        table({"text": TEXTS, "intents": [[0, 1][: 1 + i % 2] for i in range(N)]}, INTENTS),
        "text-classification",
        {"label": "intents"},
        [],
        ["a", "b"],
    ),
    "an image with a box": (with_images(bbox=[[0.5, 1.0, 2.0]] * N, label=CLASSES), IMAGES, {}, ["bbox"], []),
    "a document with words": (with_images(words=WORDS, label=CLASSES), IMAGES, {}, ["words"], []),
    "whole numbers that are floats": (
        csv_of("text,label", TEXTS, ["" if i == 3 else i % 2 for i in range(N)]),
        "text-classification",
        {},
        [],
        ["0", "1"],
    ),
    "semicolons": (csv_of("text;label", TEXTS, CLASSES, separator=";"), "text-classification", {}, [], ["cat", "dog"]),
    "gzip": (csv_of("text,label", TEXTS, CLASSES, name="a.csv.gz"), "text-classification", {}, [], ["cat", "dog"]),
    "truths beside a text": (
        table({"comment": TEXTS, "is_toxic": [*map(bool, BITS)]}),
        "text-classification",
        {"label": "is_toxic"},
        [],
        ["False", "True"],
    ),
    "classes of which no row has one": (
        table({"comment": TEXTS, "toxic": BITS, "threat": [0] * N}),
        "text-classification",
        {"label": "toxic,threat"},
        [],
        ["none"],
    ),
    "zeros and ones beside a text": (
        table({"comment": TEXTS, "target": BITS}),
        "text-classification",
        {"label": "target"},
        [],
        ["0", "1"],
    ),
    "Kaggle, names": (kaggle([f"p{i}.png" for i in range(N)], "filename,label"), IMAGES, {}, [], ["cat", "dog"]),
    "Kaggle, ids": (
        kaggle([f"p{i}" for i in range(N)], "id,breed", test="id\nt1\n", sample_submission="id,breed\nt1,cat\n"),
        IMAGES,
        {"image": "id", "label": "breed"},
        [],
        ["cat", "dog"],
    ),
}


@pytest.mark.parametrize("shape", READ)
def test_it_is_read_as_what_it_is(tmp_path: Path, shape: str) -> None:
    build, task, columns, unused, labels = READ[shape]
    sample = load_sample(build(tmp_path))
    assert (sample.task.id, sample.columns | columns, list(sample.unused_columns)) == (task, sample.columns, unused)
    assert len(sample) in (N, N - 1)
    assert not labels or labels == list(sample.label_texts) or set(labels) < set(sample.label_texts)


AB = {"label": BITS}


def latin(folder: Path) -> str:
    """A file in an encoding that is not UTF-8."""
    file = folder / "latin.csv"
    file.write_bytes("text,label\ncafé,à\nthé,b\n".encode("latin-1"))
    return str(file)


REFUSED: dict[str, tuple[Build, str, str]] = {
    "another encoding": (latin, "codec can't decode", "UTF-8"),
    "paths of absent files": (
        csv_of("image,label", [f"absent/{i}.png" for i in range(N)], CLASSES),
        "there is no file",
        "absolute",
    ),
    "paths of absent files beside texts": (
        csv_of("image,text,label", [f"absent/{i}.png" for i in range(N)], TEXTS, CLASSES),
        "there is no file",
        'task="text-classification"',
    ),
    "addresses": (csv_of("url,label", [f"https://x.org/{i}.png" for i in range(N)], CLASSES), "addresses", "download"),
    "paths of absent sounds": (
        csv_of("audio,label", [f"{i}.wav" for i in range(N)], CLASSES),
        "there is no file",
        "absolute",
    ),
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
    "documents in base64": (
        table({"file": [base64.b64encode(b"%PDF-1.4" + bytes(range(i, 90 + i))).decode() for i in range(N)], **AB}),
        "neither pictures nor sounds",
        "PNG",
    ),
    "drawings in base64": (
        table({"image": ["data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()] * N, "label": CLASSES}),
        "neither pictures nor sounds",
        "PNG",
    ),
    "videos": (csv_of("video_path,label", [f"{i}.mp4" for i in range(N)], CLASSES), "video-classification is", ""),
    "stance": (
        table({"Tweet": TEXTS, "Target": ["a", "b", "c"] * 8, "Stance": CLASSES}),
        "which column is the label",
        'text_column="Tweet", label_column="Target" or "Stance"',
    ),
    "two texts": (
        table({"id": [*range(N)], "title": TEXTS, "body": OTHER_TEXTS, **AB}),
        "which column is the text",
        'text_column="title,body"',
    ),
    "numbered texts": (
        table({"headline1": TEXTS, "headline2": OTHER_TEXTS, "label": BITS}),
        "headline1 and headline2 belong together",
        'task="text-pair-classification", text_column="headline1", text_pair_column="headline2"',
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
    "objects": (with_images(objects=[{"bbox": [[1.0]], "category": [1]}] * N), "object-detection is not supp", ""),
    "preferences": (table({"prompt": TEXTS, "chosen": TEXTS, "rejected": OTHER_TEXTS}), "preference-tuning is", ""),
    "choices": (table({"question": TEXTS, "choices": [["a", "b"]] * N, "answer": BITS}), "multiple-choice is", ""),
    "ages": (with_images(age=[20 + 7 * i % 60 for i in range(N)]), "classes or values", 'task="image-regression"'),
    "a text and prices": (
        table({"text": TEXTS, "price": [1.5 * i % 9 for i in range(N)]}),
        "values",
        "text-regression",
    ),
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
    "years": (
        table({"text": TEXTS, "label": [1990 + i % 9 for i in range(N)]}),
        "classes or values",
        "text-regression",
    ),
    "a year that is named": (
        csv_of("text,year", TEXTS, [1990 + i % 9 for i in range(N)]),
        "classes or values",
        "text-regression",
    ),
    "many -1 beside classes": (
        table({"text": TEXTS, "label": [-1, 0, 1, 2] * (N // 4)}),
        "no label in column 'label' (empty or −1): 6 of 24 rows",
        'split="train"',
    ),
    "a time series": (
        csv_of("date,value", [f"2020-01-{1 + i}" for i in range(N)], [i / 7 for i in range(N)]),
        "forecasting of time series is not supported",
        "",
    ),
    "a time series of several values": (
        csv_of("Date,Close,Volume", [f"1/{1 + i}/2020" for i in range(N)], [i / 7 for i in range(N)], [*range(N)]),
        "forecasting of time series is not supported",
        "",
    ),
    "numbered choices": (
        table({"question": TEXTS, "A": TEXTS, "B": OTHER_TEXTS, "answer": ["A", "B"] * (N // 2)}),
        "multiple-choice is not supported",
        "to rank without A and B",
    ),
    "endings of a text": (
        table({"ctx": TEXTS, "endings": [["a", "b"]] * N, "label": ["0", "1"] * (N // 2)}),
        "multiple-choice is not supported",
        "",
    ),
    "choices beside a picture": (
        with_images(question=TEXTS, choices=[["a", "b"]] * N, answer=BITS),
        "multiple-choice is not supported",
        "",
    ),
    "two answers and the better one": (
        table({"prompt": TEXTS, "response_0": TEXTS, "response_1": OTHER_TEXTS, "better_response_id": BITS}),
        "preference-tuning is not supported",
        "",
    ),
    "structures written as texts": (
        table({"question": TEXTS, "context": OTHER_TEXTS, "answers": [f"{{'text': ['{i}']}}" for i in range(N)]}),
        "holds structures written as texts",
        "JSON or Parquet",
    ),
    "two pictures": (
        lambda folder: image_rows(pictures(N), b=pictures(N), label=BITS).rename_column("image", "a"),
        "a row has one image, not a and b",
        'image_column="a" or "b"',
    ),
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
    "one text": (table({"text": TEXTS}), "there are no labels", "add a column"),
    "a table": (
        csv_of("length,width,n,kind", *([f"{i * k % 7}.5" for i in range(N)] for k in (1, 3, 5)), CLASSES),
        "tabular data is not what",
        "text_column=",
    ),
    "no names": (csv_of("", TEXTS, CLASSES), "has no line of names", "text,label"),
    "no names, numbers": (csv_of("", TEXTS, BITS), "has no line of names", "text,label"),
}


@pytest.mark.parametrize("shape", REFUSED)
def test_it_is_refused_in_a_line_that_says_what_to_do(tmp_path: Path, shape: str) -> None:
    build, message, hint = REFUSED[shape]
    error = error_of(lambda: load_sample(build(tmp_path)))
    assert message in error.message
    assert hint in str(error.hint)
    assert len(str(error.hint)) < 250


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (
            ["no", "No", "NO", "yes"],
            "classes that differ in capitals, spaces or a full stop alone are separate: 'NO', 'No', 'no'",
        ),
        (["Paris, France", "Lyon, France"], "a label such as 'Lyon, France' is read whole, as one class"),
        (["5 kg", "7 kg"], "numbers in texts, such as '5 kg', are read as 2 classes"),
        (["a", "b", "N/A"], "'N/A' in column 'label' is a class like others"),
        (
            ["yes", "yes.", "no"],
            "classes that differ in capitals, spaces or a full stop alone are separate: 'yes', 'yes.'",
        ),
        (["a;b", "c;d"], "a label such as 'a;b' is read whole, as one class"),
        (["red", "green", "red/green"], "a label such as 'red/green' is read whole, as one class"),
        (["a", "b", "a b"], "a label such as 'a b' is read whole, as one class"),
        (["a;b", "b", "a"], "a label holds several classes, separated by ; or written as a list"),
    ],
)
def test_how_texts_of_labels_are_read_is_said(labels: list[str], note: str) -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": (labels * N)[:N]})
    assert note in load_sample(rows).notes


@pytest.mark.parametrize(("value", "is_said"), [(-999.0, True), (-1.0, True), (-5.0, False)])
def test_a_value_that_may_stand_for_none_is_said(value: float, is_said: bool) -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "score": [value, *(i / 7 for i in range(1, N))]})
    assert any(f"{value:g} in column 'score' is read as a value" in note for note in load_sample(rows).notes) == is_said


def test_a_query_and_a_document_are_a_search() -> None:
    rows = datasets.Dataset.from_dict({"query": TEXTS, "doc": OTHER_TEXTS, "label": BITS})
    assert load_sample(rows).columns == {"query": "query", "document": "doc", "relevance": "label"}


def test_what_is_asked_is_read_as_it_is_answered() -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [f"{i % 9} kg" for i in range(N)]})
    sample = load_sample(rows, task="text-classification", columns={"label": "label"})
    assert "numbers in texts, such as '0 kg', are read as 9 classes" in sample.notes
    error = error_of(lambda: load_sample(rows, columns={"label": "label"}))
    assert "nothing says whether they are classes or values" in error.message


def test_tags_of_words_are_no_label_that_can_be_named(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"tokens": WORDS, "text": TEXTS, "tags": [["B-PER", "O", "O"], ["O", "O"]] * 12})
    for settings in ({"columns": {"label": "tags"}}, {"task": "text-classification", "columns": {"label": "tags"}}):
        assert "holds tags of words" in error_of(lambda: load_sample(rows, **settings)).message  # noqa: B023


def test_paths_in_lines_of_json_and_absolute_ones_are_opened(tmp_path: Path) -> None:
    names = write_images(tmp_path / "images")
    lines = [
        json.dumps({"image": str(tmp_path / "images" / file), "label": CLASSES[i]}) for i, file in enumerate(names)
    ]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "rows.jsonl").write_text("\n".join(lines))
    sample = load_sample(str(tmp_path / "elsewhere" / "rows.jsonl"))
    assert labels_of(sample)[3, 0, 7] == ["dog"]
    (tmp_path / "images" / names[3]).unlink()
    sample = load_sample(str(tmp_path / "elsewhere" / "rows.jsonl"))
    assert (len(sample), sample.skipped) == (N - 1, 1)
    assert any("there is no file" in note and names[3] in note for note in sample.notes)


def test_paths_of_a_downloaded_dataset_do_not_leave_its_folder(tmp_path: Path) -> None:
    paths = [f"../secret/{file}" for file in write_images(tmp_path / "secret")]
    rows = ["image,label", *(f"{path},{name}" for path, name in zip(paths, CLASSES, strict=True))]
    (tmp_path / "set").mkdir()
    file = tmp_path / "set" / "train.csv"
    file.write_text("\n".join(rows))
    assert len(load_sample(str(file))) == N
    (tmp_path / "set" / ".cache" / "huggingface" / "download").mkdir(parents=True)
    for dataset in (file, file.parent):
        assert "leaves the folder" in error_of(lambda: load_sample(str(dataset))).message  # noqa: B023
    file.write_text("\n".join(rows).replace("../secret", str(tmp_path / "secret")))
    assert "leaves the folder" in error_of(lambda: load_sample(str(file))).message


def test_a_named_task_reads_what_it_is_told_and_says_what_it_leaves_out() -> None:
    rows = datasets.Dataset.from_dict({"premise": TEXTS, "hypothesis": OTHER_TEXTS, "label": BITS})
    sample = load_sample(rows, task="text-classification", columns={"text": "premise"})
    assert sample.unused_columns == ("hypothesis",)
    both = load_sample(rows, columns={"text": "premise,hypothesis"})
    assert both.unused_columns == ()
    assert "text number 3\nanother text 3" in both.inputs


@pytest.mark.parametrize(
    ("label", "task"), [(CLASSES, "text-classification"), ([i / 4 for i in BITS], "text-regression")]
)
def test_several_texts_are_joined_for_classes_and_values(label: list[Any], task: str) -> None:
    rows = datasets.Dataset.from_dict({"title": ["", *TEXTS[1:]], "body": OTHER_TEXTS, "label": label})
    sample = load_sample(rows, task=task, columns={"text": "title,body"})
    assert sample.task.id == task
    assert {"another text 0", "text number 1\nanother text 1"} < set(sample.inputs)
    empty = datasets.Dataset.from_dict(
        {"title": [*TEXTS, ""], "body": [*OTHER_TEXTS, None], "label": [*label, label[0]]}
    )
    assert load_sample(empty, task=task, columns={"text": "title,body"}).skipped == 1


def test_fine_tuning_trains_on_the_classes_that_are_ranked(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "labels": FLAGS})
    splits = load_splits(Options(rows))
    references = {
        splits.train.inputs[int(row)]: reference
        for part in splits.parts.values()
        for row, reference in zip(part.input_of_row, part.references, strict=True)
    }
    assert references["text number 2"] == ()
    assert references["text number 3"] == ("0", "1")
    # A test split whose rows have one class each is one of several classes all the same.
    single = datasets.DatasetDict(train=rows, test=texts(N, ["0", "1"]).rename_column("label", "labels").map(flags_of))
    assert set(load_splits(Options(single)).test.references) == {("0",), ("1",)}


def flags_of(row: dict[str, Any]) -> dict[str, Any]:
    return {"text": f"new {row['text']}", "labels": [int(row["labels"] == "0"), int(row["labels"] == "1"), 0, 0]}


def test_images_with_values_are_ranked_for_regression() -> None:
    rows = image_rows(pictures(N), age=[20 + 7 * i % 60 for i in range(N)])
    sample = load_sample(rows, task="image-regression", columns={"label": "age"})
    assert (sample.task.id, sample.form, sample.label_values is not None) == ("image-regression", "numbers", True)
    assert load_sample(image_rows(pictures(N), score=[i / 4 for i in range(N)])).task.id == "image-regression"


def test_labels_that_the_demos_encoders_do_not_know_are_not_answered_with_the_demo(emms_cache: Path) -> None:
    rows = image_rows(pictures(N), label=["猫", "犬"] * (N // 2))
    error = error_of(lambda: hf_emms.rank(rows, ["emms-demo/vit-random"], encoders="demo"))
    assert "may not know their language" in error.message
    assert "demo" not in str(error.hint)
