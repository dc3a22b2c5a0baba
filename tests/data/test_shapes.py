"""Shapes of data that people have: read as what they are, with what is not used; `test_hints` has those refused."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pytest

import hf_emms
from hf_emms.finetune.splits import load_splits
from hf_emms.options import Options
from tests.helpers.rows import CLASSES, TEXTS, N, error_of, image_rows, labels_of, pictures, png, texts, write
from tests.helpers.samples import load_sample, refused
from tests.helpers.sound import encoded, tone

OTHER_TEXTS = [f"another text {i}" for i in range(N)]
BITS = [i % 2 for i in range(N)]
# One of the rows has none of the classes.
FLAGS = [[i % 2, int(i % 3 == 0), int(i % 5 == 0), 0 if i == 2 else int(i % 4 == 2)] for i in range(N)]
FLAGS[2] = [0, 0, 0, 0]
WORDS = [["Ann", "likes", "Rome"], ["She", "sings"]] * (N // 2)
BARS = ["cat|small dog" if i % 3 == 0 else CLASSES[i] for i in range(N)]

# ---- labels beside texts ---------------------------------------------------------------------------------------------

FLAGGED = ["0", "1", "2", "3", "none"]
# Cells of labels → the classes that they are read as.
LABELS: dict[str, tuple[list[Any], list[str]]] = {
    "multi-hot numbers": (FLAGS, FLAGGED),
    "multi-hot with an empty cell": ([None, *FLAGS[1:]], FLAGGED),
    "multi-hot truths": ([[*map(bool, flags)] for flags in FLAGS], FLAGGED),
    "multi-hot floats": ([[*map(float, flags)] for flags in FLAGS], FLAGGED),
    **{f"multi-hot with {mark!r}": ([mark.join(map(str, flags)) for flags in FLAGS], FLAGGED) for mark in ";, "},
    **{f"bars with {mark!r}": ([bar.replace("|", mark) for bar in BARS], ["cat", "dog", "small dog"]) for mark in "|;"},
    "semicolons and spaces": ([bar.replace("|", "; ") for bar in BARS], ["cat", "dog", "small dog"]),
    **{f"several with {mark!r}": ([f"a{mark}b", "b", f"c{mark}a"] * 8, ["a", "b", "c"]) for mark in (",", ", ")},
    "ids with commas": (["0,1", "2", "1"] * 8, ["0", "1", "2"]),
    "lists as Python writes them": (["['cat', 'dog']", "['cat', 'cow']"] * 12, ["cat", "cow", "dog"]),
    "lists without quotation marks": (["[cat, dog]", "[cat, cow]"] * 12, ["cat", "cow", "dog"]),
    "lists without commas": (["[cat dog]", "[cat cow]"] * 12, ["cat", "cow", "dog"]),
    "tuples as Python writes them": (["('a', 'b')", "('b',)"] * 12, ["a", "b"]),
    "decimals with commas": (["0,5", "1,5", "1,0"] * 8, ["0,5", "1,0", "1,5"]),
    "classes that look like tags of words": ([["B-52", "jet"], ["jet"]] * 12, ["B-52", "jet"]),
    "names with commas": (
        ["tench, Tinca tinca", "cock", "Paris, France", "Lyon, France"] * 6,
        ["Lyon, France", "Paris, France", "cock", "tench, Tinca tinca"],
    ),
    "opinions from -1 to 1": ([-1, 0, 1] * 8, ["-1", "0", "1"]),
    "-1 beside classes": ([-1, *[0, 1, 2] * 8][:N], ["0", "1", "2"]),
    "whole numbers that are floats": ([None if i == 3 else float(i % 2) for i in range(N)], ["0", "1"]),
    "ids of many classes": ([*range(21), 0, 1, 2], sorted(map(str, range(21)))),
    "stars in texts": (["1 stars", "2 stars", "3 stars"] * 8, ["1 stars", "2 stars", "3 stars"]),
}


@pytest.mark.parametrize("shape", LABELS)
def test_labels_are_read_as_the_classes_that_they_mean(shape: str) -> None:
    cells, classes = LABELS[shape]
    name = "labels" if isinstance(cells[-1], list) else "label"
    sample = load_sample(datasets.Dataset.from_dict({"text": TEXTS, name: cells}))
    assert (sample.task.id, sample.columns) == ("text-classification", {"text": "text", "label": name})
    assert list(sample.label_texts) == classes
    assert len(sample) == N - cells.count(None) - (shape == "-1 beside classes")


@pytest.mark.parametrize(
    ("cells", "odd"),
    [
        ([[1, 0, 1], [0, 1, 1]], [1, 0]),
        ([[1, 0, 1], [0, 1, 1]], [0, 2, 0]),
        (["[1, 0, 1]", "[0, 1, 1]"], "[1, 0]"),
    ],
)
def test_a_later_row_of_a_stream_with_other_zeros_and_ones_is_left_out(cells: Any, odd: Any) -> None:
    rows = [{"text": f"text {i}", "labels": odd if i == 120 else cells[i % 2]} for i in range(150)]
    sample = load_sample(datasets.Dataset.from_list(rows).to_iterable_dataset(), max_samples=150)
    assert (len(sample), sample.skipped) == (149, 1)
    assert "1 row left out" in sample.notes


SEPARATE = "classes that differ in capitals, spaces or a full stop alone are separate: "


@pytest.mark.parametrize(
    ("labels", "note"),
    [
        (["no", "No", "NO", "yes"], SEPARATE + "'NO', 'No', 'no'"),
        (
            [letter + dot for letter in "abcd" for dot in ("", ".")],
            SEPARATE + "'a', 'a.'; 'b', 'b.'; 'c', 'c.' and 1 more",
        ),
        (FLAGS, "each of 4 classes is a 0 or 1: 0, 1, 2, 3"),
        ([[0, 1] * 3, [1, 0] * 3], "each of 6 classes is a 0 or 1: 0, 1, 2, 3, 4, 5"),
        ([[0, 1] * 4, [1, 0] * 4], "each of 8 classes is a 0 or 1: 0, 1, 2, 3, 4, 5, …"),
        (["yes", "yes.", "no"], SEPARATE + "'yes', 'yes.'"),
        (["Paris, France", "Lyon, France"], "a label such as 'Lyon, France' is read whole, as one class"),
        (["a;b", "c;d"], "a label such as 'a;b' is read whole, as one class"),
        (["red", "green", "red/green"], "a label such as 'red/green' is read whole, as one class"),
        (["a", "b", "a b"], "a label such as 'a b' is read whole, as one class"),
        (["a;b", "b", "a"], "a label holds several classes, separated by ; or written as a list"),
        (["5 kg", "7 kg"], "numbers in texts, such as '5 kg', are read as 2 classes"),
        (["a", "b", "N/A"], "'N/A' in column 'label' is a class like others"),
    ],
)
def test_how_labels_are_read_is_said(labels: list[Any], note: str) -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": (labels * N)[:N]})
    assert note in load_sample(rows).notes


@pytest.mark.parametrize(
    ("label", "most"), [(str, 20), (lambda i: 2 * i, 20), (lambda i: f"{i} kg", 5), (lambda i: 1990 + i, 5)]
)
def test_a_few_different_numbers_are_classes_and_more_may_be_values(label: Callable[[int], Any], most: int) -> None:
    few, more = ([label(i % count) for i in range(3 * count)] for count in (most, most + 1))
    assert len(load_sample(texts(3 * most, ["a"], label=few)).label_texts) == most
    error = refused(texts(3 * most + 3, ["a"], label=more))
    assert "classes or values" in error.message
    assert 'task="text-classification", label_column="label"' in str(error.hint)


@pytest.mark.parametrize(
    ("value", "others", "is_said"),
    [(-999.0, 23, True), (-1.0, 23, True), (-5.0, 23, False), (-999.0, 3, True), (-999.0, 2, False)],
)
def test_a_value_that_may_stand_for_none_is_said(value: float, others: int, is_said: bool) -> None:
    cells = [value, *(i % others / 7 for i in range(1, N))]
    rows = datasets.Dataset.from_dict({"text": TEXTS, "score": cells})
    notes = load_sample(rows, task="text-regression").notes
    assert any(f"{value:g} in column 'score' is read as a value" in note for note in notes) == is_said


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
    """A file in a folder "set", beside which the pictures 0.png, 1.png … lie in "images"."""

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


@dataclass(frozen=True)
class Reading:
    """What data is read as: the columns and the classes that a test names, and all columns that are not used."""

    task: str = "text-classification"
    columns: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def as_text(unused: tuple[str, ...] = (), classes: tuple[str, ...] = (), **columns: str) -> Reading:
    return Reading("text-classification", columns, unused, classes)


def as_image(unused: tuple[str, ...] = (), classes: tuple[str, ...] = (), **columns: str) -> Reading:
    return Reading("image-classification", columns, unused, classes)


PATHS = [f"images/{i}.png" for i in range(N)]
BASE64 = [base64.b64encode(picture).decode() for picture in pictures(N)]
FOR_ADDRESSES = [text.rstrip("=").replace("+", "-").replace("/", "_") for text in BASE64]
SOUNDS = [base64.b64encode(encoded(tone(100 + i, 0.1))).decode() for i in range(N)]
NAMED_FLAGS = datasets.Features(
    {"text": datasets.Value("string"), "labels": datasets.List(datasets.ClassLabel(names=["a", "b", "c", "d"]))}
)
INTENTS = datasets.Features(
    {"text": datasets.Value("string"), "intents": datasets.List(datasets.ClassLabel(names=["a", "b"]))}
)
ASKED = datasets.Features({"utterance": datasets.Value("string"), "intent": datasets.ClassLabel(names=["ask", "say"])})
BOTH = ("cat", "dog")
READ: dict[str, tuple[Build, Reading]] = {
    **{
        f"paths in a column {name}": (csv_of(f"{name},label", PATHS, CLASSES), as_image(classes=BOTH, image=name))
        for name in ("image", "path", "filename", "file_name", "url")
    },
    "paths but for one cell": (csv_of("image,label", ["none", *PATHS[1:]], CLASSES), as_image(image="image")),
    "paths beside titles": (csv_of("path,title,label", PATHS, TEXTS, CLASSES), as_image(("title",))),
    **{
        f"pictures in base64 in a column {name}": (csv_of(f"{name},label", BASE64, CLASSES), as_image(image=name))
        for name in ("image", "img_b64", "data")
    },
    "pictures as data URIs": (
        table({"data": ["data:image/png;base64," + text for text in BASE64], "label": CLASSES}),
        as_image(classes=BOTH, image="data"),
    ),
    "base64 without padding, for addresses": (table({"img": FOR_ADDRESSES, "label": CLASSES}), as_image(image="img")),
    "base64 but for one cell": (table({"img": [*BASE64[:-1], "?"], "label": CLASSES}), as_image(image="img")),
    "sequences that are no base64": (
        table({"sequence": ["ACGT" * (i + 20) for i in range(N)], "label": CLASSES}),
        as_text(text="sequence"),
    ),
    "sounds in base64": (
        table({"clip": SOUNDS, "label": CLASSES}),
        Reading("audio-classification", {"audio": "clip"}),
    ),
    "names of files beside texts": (
        table({"file": [f"{i}.txt" for i in range(N)], "text": TEXTS, "label": CLASSES}),
        as_text(("file",), text="text"),
    ),
    "multi-hot with names": (
        table({"text": TEXTS, "labels": FLAGS}, NAMED_FLAGS),
        as_text(classes=("a", "b", "c", "d", "none"), label="labels"),
    ),
    "multi-hot in a CSV": (
        csv_of("text,label", TEXTS, [f'"{flags}"' for flags in FLAGS]),
        as_text(classes=(*FLAGGED,)),
    ),
    "a column of 0 and 1 for each class": (
        csv_of("id,comment_text,toxic,mild_insult", TEXTS, TEXTS, *([f[i] for f in FLAGS] for i in (0, 1))),
        as_text(("id",), ("mild insult", "none", "toxic"), text="comment_text", label="toxic,mild_insult"),
    ),
    "classes of which no row has one": (
        table({"comment": TEXTS, "toxic": BITS, "threat": [0] * N}),
        as_text(classes=("none", "toxic"), label="toxic,threat"),
    ),
    "zeros and ones beside a text": (table({"comment": TEXTS, "target": BITS}), as_text(classes=("0", "1"))),
    "truths beside a text": (
        table({"comment": TEXTS, "is_toxic": [*map(bool, BITS)]}),
        as_text(classes=("False", "True"), label="is_toxic"),
    ),
    "names of columns with spaces": (
        table({"Sentence A": TEXTS, "Sentence B": OTHER_TEXTS, "Score": [i / 7 for i in range(N)]}),
        Reading("sentence-similarity", {"text": "Sentence A", "text_pair": "Sentence B", "label": "Score"}),
    ),
    "a question, an answer and whether it is right": (
        table({"question": TEXTS, "answer": OTHER_TEXTS, "label": BITS}),
        Reading("text-pair-classification", {"text": "question", "text_pair": "answer", "label": "label"}),
    ),
    "a text as a list of sentences": (
        table({"text": [[text, "So it is."] for text in TEXTS], "label": CLASSES}),
        as_text(classes=BOTH, text="text"),
    ),
    "several texts": (table({"title": TEXTS, "text": OTHER_TEXTS, "label": CLASSES}), as_text(("title",), text="text")),
    "lists of classes": (
        table({"text": TEXTS, "intents": [[0, 1][: 1 + i % 2] for i in range(N)]}, INTENTS),
        as_text(classes=("a", "b"), label="intents"),
    ),
    "a class in a column of another name": (
        table({"utterance": TEXTS, "intent": BITS}, ASKED),
        as_text(classes=("ask", "say"), text="utterance", label="intent"),
    ),
    "an image with a box": (with_images(bbox=[[0.5, 1.0, 2.0]] * N, label=CLASSES), as_image(("bbox",))),
    "a document with words": (with_images(words=WORDS, label=CLASSES), as_image(("words",))),
    "semicolons": (csv_of("text;label", TEXTS, CLASSES, separator=";"), as_text(classes=BOTH)),
    "gzip": (csv_of("text,label", TEXTS, CLASSES, name="a.csv.gz"), as_text(classes=BOTH)),
    "Kaggle, names": (kaggle([f"p{i}.png" for i in range(N)], "filename,label"), as_image(classes=BOTH)),
    "Kaggle, ids": (
        kaggle([f"p{i}" for i in range(N)], "id,breed", test="id\nt1\n", sample_submission="id,breed\nt1,cat\n"),
        as_image(classes=BOTH, image="id", label="breed"),
    ),
}


@pytest.mark.parametrize("shape", READ)
def test_it_is_read_as_what_it_is(tmp_path: Path, shape: str) -> None:
    build, reading = READ[shape]
    sample = load_sample(build(tmp_path))
    assert (sample.task.id, sample.unused_columns) == (reading.task, reading.unused)
    assert reading.columns.items() <= sample.columns.items()
    assert reading.classes in ((), sample.label_texts)
    assert len(sample) == N - ("but for one cell" in shape)


def test_what_is_asked_is_read_as_it_is_answered() -> None:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [f"{i % 9} kg" for i in range(N)]})
    sample = load_sample(rows, task="text-classification", columns={"label": "label"})
    assert "numbers in texts, such as '0 kg', are read as 9 classes" in sample.notes
    error = refused(rows, columns={"label": "label"})
    assert "nothing says whether they are classes or values" in error.message


def test_tags_of_words_are_no_label_that_can_be_named() -> None:
    rows = datasets.Dataset.from_dict({"tokens": WORDS, "text": TEXTS, "tags": [["B-PER", "O", "O"], ["O", "O"]] * 12})
    for task in (None, "text-classification"):
        error = refused(rows, task=task, columns={"label": "tags"})
        assert "holds tags of words" in error.message


def test_paths_in_lines_of_json_and_absolute_ones_are_opened(tmp_path: Path) -> None:
    paths = [str(tmp_path / "images" / name) for name in write_images(tmp_path / "images")]
    rows = [json.dumps({"image": path, "label": name}) for path, name in zip(paths, CLASSES, strict=True)]
    file = str(write(tmp_path / "elsewhere" / "rows.jsonl", "\n".join(rows)))
    assert labels_of(load_sample(file))[3, 0, 7] == ["dog"]
    Path(paths[3]).unlink()
    sample = load_sample(file)
    assert (len(sample), sample.skipped) == (N - 1, 1)
    assert any("there is no file" in note and "3.png" in note for note in sample.notes)


def test_paths_of_a_downloaded_dataset_do_not_leave_its_folder(tmp_path: Path) -> None:
    paths = [f"../secret/{file}" for file in write_images(tmp_path / "secret")]
    rows = "\n".join(["image,label", *(f"{path},{name}" for path, name in zip(paths, CLASSES, strict=True))])
    file = write(tmp_path / "set" / "train.csv", rows)
    assert len(load_sample(str(file))) == N
    (tmp_path / "set" / ".cache" / "huggingface" / "download").mkdir(parents=True)
    for dataset in (file, file.parent):
        assert "leaves the folder" in refused(str(dataset)).message
    write(file, rows.replace("../secret", str(tmp_path / "secret")))
    assert "leaves the folder" in refused(str(file)).message


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
    columns = {"title": ["", *TEXTS[1:], ""], "body": [*OTHER_TEXTS, None], "label": [*label, label[0]]}
    sample = load_sample(datasets.Dataset.from_dict(columns), task=task, columns={"text": "title,body"})
    assert (sample.task.id, sample.skipped) == (task, 1)
    assert {"another text 0", "text number 1\nanother text 1"} < set(sample.inputs)


def test_fine_tuning_trains_on_the_classes_that_are_ranked() -> None:
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
