"""Shapes of data that people have: read as what they are, with what is not used; `test_hints` has those refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_emms
from hf_emms.data import Sample
from hf_emms.finetune.splits import load_splits
from hf_emms.options import Options
from tests import ROOT
from tests.helpers.rows import CLASSES, TEXTS, N, error_of, image_rows, labels_of, pictures, png, texts, write
from tests.helpers.samples import codes, load_sample, refused

VALUES = [i / 7 for i in range(N)]
OTHER_TEXTS = [f"another text {i}" for i in range(N)]
BITS = [i % 2 for i in range(N)]
# One of the rows has none of the classes.
FLAGS = [[i % 2, int(i % 3 == 0), int(i % 5 == 0), 0 if i == 2 else int(i % 4 == 2)] for i in range(N)]
FLAGS[2] = [0, 0, 0, 0]
WORDS = [["Ann", "likes", "Rome"], ["She", "sings"]] * (N // 2)
BARS = ["cat|small dog" if i % 3 == 0 else CLASSES[i] for i in range(N)]

# ---- labels of texts ------------------------------------------------------------------------------------------------

# Label cells of N texts; shorter lists are repeated.
LABELS: dict[str, list[Any]] = {
    "multi-hot numbers": FLAGS,
    "multi-hot with an empty cell": [None, *FLAGS[1:]],
    "multi-hot truths": [[*map(bool, flags)] for flags in FLAGS],
    "multi-hot floats": [[*map(float, flags)] for flags in FLAGS],
    **{f"multi-hot with {mark!r}": [mark.join(map(str, flags)) for flags in FLAGS] for mark in ";, "},
    "multi-hot of six": [[0, 1] * 3, [1, 0] * 3],
    "multi-hot of eight": [[0, 1] * 4, [1, 0] * 4],
    "pairs of zeros and ones": [[0, 1], [1, 1], [0, 0]],
    "one of three as zeros and ones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "lists of one id": [[0], [1], [1]],
    **{f"bars with {mark!r}": [bar.replace("|", mark) for bar in BARS] for mark in "|;"},
    "several with commas": ["a,b", "b", "c,a"],
    "ids with commas": ["0,1", "2", "1"],
    "lists as Python writes them": ["['cat', 'dog']", "['cat', 'cow']"],
    "decimals with commas": ["0,5", "1,5", "1,0"],
    "classes that look like tags of words": [["B-52", "jet"], ["jet"]],
    "names with commas": ["tench, Tinca tinca", "cock", "Paris, France", "Lyon, France"],
    "pairs with semicolons": ["a;b", "c;d"],
    **{f"a pair with {mark!r} beside its parts": ["red", "green", f"red{mark}green"] for mark in "/ "},
    "capitals": ["no", "No", "NO", "yes"],
    "four full stops": [letter + dot for letter in "abcd" for dot in ("", ".")],
    "nothing": ["a", "b", "N/A"],
    "opinions from -1 to 1": [-1, 0, 1],
    "-1 beside classes": [-1, None, *[0, 1, 2] * 8][:N],
    "-1 and -100 beside two classes": [0, 1] * 11 + [-1, -100],
    "-1 beside classes from 1": [-1, 1, 2, 3],
    "whole numbers that are floats": [None if i == 3 else float(i % 2) for i in range(N)],
    "20 whole numbers": [2 * i for i in range(20)],
    "20 whole numbers in texts": [str(2 * i) for i in range(20)],
    "ids of many classes": [*range(5, 26), 5, 6, 7],
    "five weights": [f"{i} kg" for i in range(5)],
    "five years": [*range(1990, 1995)],
}


def reading_of(sample: Sample) -> list[Any]:
    """How data is read: task, columns, unused columns, rows, classes if the task has them, and the codes of notes."""
    classes = [*sample.label_texts] if sample.task.categorical else []
    return [sample.task.id, dict(sample.columns), [*sample.unused_columns], len(sample), classes, codes(sample)]


# ---- columns and files -----------------------------------------------------------------------------------------------

Build = Callable[[Path], Any]


def table(columns: dict[str, list[Any]], features: datasets.Features | None = None) -> Build:
    return lambda folder: datasets.Dataset.from_dict(columns, features=features)


def with_images(**columns: list[Any]) -> Build:
    return lambda folder: image_rows(pictures(N), **columns)


def write_images(folder: Path, name: str = "{}.png", first: int = 0) -> list[str]:
    names = [name.format(i) for i in range(N)]
    for i, file in enumerate(names):
        write(folder / file, png((first + i, 0, 7)))
    return names


def csv_of(header: str, *columns: list[Any], name: str = "data.csv", separator: str = ",") -> Build:
    """A file in a folder "set", with the pictures 0.png, 1.png … in its subfolder "images"."""

    def build(folder: Path) -> str:
        write_images(folder / "set" / "images")
        lines = [separator.join(map(str, cells)) for cells in zip(*columns, strict=True)]
        content = ("\n".join([header, *lines] if header else lines) + "\n").encode()
        return str(write(folder / "set" / name, gzip.compress(content) if name.endswith(".gz") else content))

    return build


def kaggle(cells: list[str], header: str, **more: str) -> Build:
    """A folder with pictures in "train" and "test", a train.csv that describes them, and other files."""

    def build(folder: Path) -> str:
        write_images(folder / "train", "p{}.png")
        write_images(folder / "test", "t{}.png", first=100)
        rows = [f"{cell},{name}" for cell, name in zip(cells, CLASSES, strict=True)]
        for name, text in {**more, "train": "\n".join([header, *rows]) + "\n"}.items():
            write(folder / f"{name}.csv", text)
        return str(folder)

    return build


PATHS = [f"images/{i}.png" for i in range(N)]
NAMED_FLAGS = datasets.Features(
    {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=["a", "b", "c", "d"]))}
)
FLOAT = datasets.Value("float64")
INTENTS = datasets.Features(
    {"text": datasets.Value("string"), "intents": datasets.List(datasets.ClassLabel(names=["a", "b"]))}
)
ASKED = datasets.Features(
    {"utterance": datasets.Value("string"), "intent": datasets.ClassLabel(names=["ask", "say"]), "size": FLOAT}
)
PAIRS = [
    *(("premise", "hypothesis"), ("sentence_A", "sentence_B"), ("text1", "text2"), ("query", "document")),
    ("question", "answer"),
]
# The settings of shapes whose label cells have several classes.
FLAGGED = {"label_form": "flags"}
SEVERAL: dict[str, dict[str, Any]] = {
    **dict.fromkeys(["multi-hot numbers", "multi-hot with an empty cell", "multi-hot of six"], FLAGGED),
    **dict.fromkeys(["multi-hot of eight", "pairs of zeros and ones", "one of three as zeros and ones"], FLAGGED),
    **{f"multi-hot with {mark!r}": {**FLAGGED, "label_separator": mark} for mark in ";, "},
    **{f"bars with {mark!r}": {"label_separator": mark} for mark in "|;"},
    **{f"{classes} with commas": {"label_separator": ","} for classes in ("several", "ids")},
    "lists as Python writes them": {"label_separator": ","},
    "multi-hot in a CSV": {**FLAGGED, "label_separator": ","},
    "a column of 0 and 1 for each class": {"task": "text-classification", "label_column": "toxic,mild_insult"},
    "seven columns of 0 and 1": {"task": "text-classification", "label_column": "a,b,c,d,e,f,g"},
    "classes of which no row has one": {"task": "text-classification", "label_column": "toxic,threat"},
}
# What is read; tests/golden/readings.json has the reading of each.
READ: dict[str, Build] = {
    **{
        name: table({"text": TEXTS, "labels" if isinstance(cells[-1], list) else "label": (cells * N)[:N]})
        for name, cells in LABELS.items()
    },
    **{f"paths in a column {name}": csv_of(f"{name},label", PATHS, CLASSES) for name in ("image", "file_name", "url")},
    "paths but for one cell": csv_of("image,label", ["none", *PATHS[1:]], CLASSES),
    "paths but for a tenth": csv_of("image,label", ["none", "no", *PATHS[:18]], CLASSES[:20]),
    "paths beside titles": csv_of("path,title,label", PATHS, TEXTS, CLASSES),
    "names of files beside texts": table({"file": [f"{i}.txt" for i in range(N)], "text": TEXTS, "label": CLASSES}),
    "multi-hot with names": table({"text": TEXTS, "labels": FLAGS}, NAMED_FLAGS),
    "multi-hot in a CSV": csv_of("text,label", TEXTS, [f'"{flags}"' for flags in FLAGS]),
    "a column of 0 and 1 for each class": csv_of(
        "id,comment_text,toxic,mild_insult", TEXTS, TEXTS, *([f[i] for f in FLAGS] for i in (0, 1))
    ),
    "seven columns of 0 and 1": table({"text": TEXTS, **dict.fromkeys("abcdefg", BITS)}),
    "classes of which no row has one": table({"comment": TEXTS, "toxic": BITS, "threat": [0] * N}),
    "zeros and ones beside a text": table({"comment": TEXTS, "target": BITS}),
    "truths beside a text": table({"comment": TEXTS, "is_toxic": [*map(bool, BITS)]}),
    **{
        f"{first}, {second} and {label}": table({first: TEXTS, second: OTHER_TEXTS, label: (values * N)[:N]})
        for first, second, label, values in (
            *((first, second, "label", ["yes", "no"]) for first, second in PAIRS),
            ("question1", "question2", "is_duplicate", [0, 1]),
            ("question", "passage", "answer", [True, False]),
            ("question", "passage", "answers", ["text", "another"]),
            ("sentence1", "sentence2", "score", [0.5, 2.0, 4.8]),
            ("sentence1", "sentence2", "relevance", [0, 1, 2]),
            ("Sentence A", "Sentence B", "Label", [0.5, 2.0, 1.0]),
        )
    },
    "a pair with an empty text": table({"premise": TEXTS, "hypothesis": [" ", *OTHER_TEXTS[1:]], "label": CLASSES}),
    "a text as a list of sentences": table({"text": [[text, "So it is."] for text in TEXTS], "label": CLASSES}),
    "several texts": table({"title": TEXTS, "text": OTHER_TEXTS, "label": CLASSES}),
    "numbered summaries": table(
        {"document": TEXTS, **{f"summary_{i}": [f"{i} {text}" for text in TEXTS] for i in (10, 2, 1)}}
    ),
    "lists of classes": table({"text": TEXTS, "intents": [[0, 1][: 1 + i % 2] for i in range(N)]}, INTENTS),
    "a class in a column of another name": table({"utterance": TEXTS, "intent": BITS, "size": VALUES}, ASKED),
    "an image with a box": with_images(bbox=[[0.5, 1.0, 2.0]] * N, label=CLASSES),
    "an image with objects and a caption": with_images(objects=[[1.5]] * N, caption=TEXTS),
    "a document with words": with_images(words=WORDS, label=CLASSES),
    "semicolons": csv_of("text;label", TEXTS, CLASSES, separator=";"),
    "gzip": csv_of("text,label", TEXTS, CLASSES, name="a.csv.gz"),
    "Kaggle, names": kaggle([f"p{i}.png" for i in range(N)], "filename,label"),
    "Kaggle, ids": kaggle(
        [f"p{i}" for i in range(N)], "id,label", test="id\nt1\n", sample_submission="id,label\nt1,cat\n"
    ),
}
# Data with settings that specify how it is read.
READ_SO: dict[str, tuple[dict[str, list[Any]], dict[str, Any]]] = {
    "nine weights as classes": (
        {"text": TEXTS, "label": [f"{i % 9} kg" for i in range(N)]},
        {"task": "text-classification", "columns": {"label": "label"}},
    ),
    "numbers that increase": (
        {"text": TEXTS, "n": [*range(N)]},
        {"columns": {"label": "n"}, "task": "text-regression"},
    ),
    "a translation that repeats": ({"en": TEXTS, "de": CLASSES}, {"columns": {"target": "de"}}),
    "texts that repeat beside the named one": (
        {"a": TEXTS, "b": OTHER_TEXTS[:12] * 2},
        {"task": "text-classification", "columns": {"text": "a", "label": "b"}},
    ),
    "a single class with bars": ({"text": TEXTS, "label": BARS}, {}),
    "zeros and ones that are ids": (
        {"text": TEXTS, "labels": [[0, 1], [1, 0], [1, 1]] * 8},
        {"label_form": "ids"},
    ),
    "numbers in texts": (
        {"text": TEXTS, "score": [f"{i},5" for i in range(N)]},
        {"task": "text-regression"},
    ),
    "shares in texts": ({"text": TEXTS, "score": [f"{i} %" for i in range(N)]}, {"task": "text-regression"}),
    "a prompt and a completion with bars": (
        {"prompt": TEXTS, "completion": [f"{text} | more" for text in OTHER_TEXTS]},
        {},
    ),
    "AutoTrain, classes": ({"text": TEXTS, "target": BITS}, {}),
    "marks as classes": (
        {"text": TEXTS, "x": BITS, "y": BITS[::-1]},
        {"task": "text-classification", "columns": {"label": "x,y"}},
    ),
    "sentences with as many labels": (
        {"text": [[text, "so"] for text in TEXTS], "labels": [["x", "y"], ["y", "z"]] * 12},
        {"task": "text-classification"},
    ),
    "one of two texts": (
        {"premise": TEXTS, "hypothesis": OTHER_TEXTS, "label": BITS},
        {"task": "text-classification", "columns": {"text": "premise"}},
    ),
    "two texts as one": (
        {"premise": TEXTS, "hypothesis": OTHER_TEXTS, "label": BITS},
        {"columns": {"text": "premise,hypothesis"}},
    ),
    "groups": ({"text": TEXTS, "label": CLASSES, "who": BITS}, {"group_column": "who"}),
    **{
        f"values with {odd}": ({"text": TEXTS, "score": [*odd, *BITS[: N - len(odd)]]}, {"task": "text-regression"})
        for odd in ([-1.0, 0.5], [-1.0], [-999.0, -1.0, 2.5], [-5.0, -1.0, 2.5], [9999.0, 9998.5], [9999.0, 10000.0])
    },
}
READINGS = json.loads((ROOT / "tests" / "golden" / "readings.json").read_text())


@pytest.mark.parametrize("shape", [*READ, *READ_SO])
def test_it_is_read_as_what_it_is(tmp_path: Path, shape: str) -> None:
    if shape in READ:
        sample = load_sample(READ[shape](tmp_path), **SEVERAL.get(shape, {}))
    else:
        columns, settings = READ_SO[shape]
        sample = load_sample(datasets.Dataset.from_dict(columns), **settings)
    assert reading_of(sample) == READINGS[shape]


def test_a_thousand_classes_are_classes_where_each_has_two_rows() -> None:
    rows = {"a": [f"text {i}" for i in range(2_000)], "b": [f"class {i % 1_000}" for i in range(2_000)]}
    named = {"task": "text-classification", "columns": {"text": "a", "label": "b"}}
    assert len(load_sample(datasets.Dataset.from_dict(rows), **named).label_texts) == 1_000


def test_paths_in_lines_of_json_and_absolute_ones_are_opened(tmp_path: Path) -> None:
    paths = [str(tmp_path / "images" / name) for name in write_images(tmp_path / "images")]
    rows = [json.dumps({"image": path, "label": name}) for path, name in zip(paths, CLASSES, strict=True)]
    file = str(write(tmp_path / "elsewhere" / "rows.jsonl", "\n".join(rows)))
    assert labels_of(load_sample(file))[3, 0, 7] == ["dog"]
    Path(paths[3]).unlink()
    sample = load_sample(file)
    assert (len(sample), sample.skipped) == (N - 1, 1)
    assert codes(sample) == ["rows-skipped"]


def test_paths_of_a_downloaded_dataset_do_not_leave_its_folder(tmp_path: Path) -> None:
    paths = [f"../secret/{file}" for file in write_images(tmp_path / "secret")]
    rows = "\n".join(["image,label", *(f"{path},{name}" for path, name in zip(paths, CLASSES, strict=True))])
    file = write(tmp_path / "set" / "train.csv", rows)
    assert len(load_sample(str(file))) == N
    (tmp_path / "set" / ".cache" / "huggingface" / "download").mkdir(parents=True)
    for dataset in (file, file.parent):
        assert "image (missing files)" in refused(str(dataset)).message
    write(file, rows.replace("../secret", str(tmp_path / "secret")))
    assert "image (missing files)" in refused(str(file)).message


@pytest.mark.parametrize(
    ("label", "task"), [(CLASSES, "text-classification"), ([i / 4 for i in BITS], "text-regression")]
)
def test_several_texts_are_joined_for_classes_and_values(label: list[Any], task: str) -> None:
    columns = {"title": ["", *TEXTS[1:], ""], "body": [*OTHER_TEXTS, None], "label": [*label, label[0]]}
    sample = load_sample(datasets.Dataset.from_dict(columns), task=task, columns={"text": "title,body"})
    assert (sample.task.id, sample.skipped) == (task, 1)
    assert {"another text 0", "text number 1\nanother text 1"} < set(sample.inputs)


def test_fine_tuning_trains_on_the_classes_that_are_ranked() -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "labels": FLAGS})
    splits = load_splits(Options.of(rows, label_form="flags").sample)
    references = {
        splits.train.inputs[int(row)]: reference
        for part in splits.parts.values()
        for row, reference in zip(part.input_of_row, part.references, strict=True)
    }
    assert references["text number 2"] == ()
    assert references["text number 3"] == ("0", "1")
    # A test split is still read as multi-hot if each of its rows has a single class.
    single = datasets.DatasetDict(train=rows, test=texts(N, ["0", "1"]).rename_column("label", "labels").map(flags_of))
    assert set(load_splits(Options.of(single, label_form="flags").sample).test.references) == {("0",), ("1",)}


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
