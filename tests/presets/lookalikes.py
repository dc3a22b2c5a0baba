"""Repositories that look like the ones of the dataset presets: columns, types, splits, configurations and quirks.

The pictures and texts are made up, and the same every time: 30 rows in the split that a preset takes, 6 in the others.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import datasets
import pyarrow.parquet as pq
from datasets import ClassLabel, Features, List, Value

from tests.helpers.rows import png
from tests.hub import Hub

ROWS, FEW = 30, 6
STRING = Value("string")
IMAGE = datasets.Image()
COLORS = ("red", "green", "blue", "orange", "purple", "gray")
SHAPES = ("circle", "square")
Row = dict[str, Any]


@dataclass(frozen=True)
class Lookalike:
    """One configuration of a dataset repository."""

    id: str
    splits: Mapping[str, int]
    features: Features
    row: Callable[[int], Row]
    config: str = "default"
    ref: str = "main"
    sha: str | None = None


def image(number: int) -> Row:
    return {"bytes": png((number, 99, 7), (48, 36)), "path": f"{number:06}.png"}


def caption(number: int, words: str = "on a light wall") -> str:
    return f"A {COLORS[number % len(COLORS)]} {SHAPES[number % 2]} {words}, picture {number}."


def captions(number: int) -> list[str]:
    return [caption(number, words) for words in ("on a light wall", "before a pale sky", "alone", "drawn", "seen")]


def sizes(*splits: str) -> dict[str, int]:
    return {name: FEW if place else ROWS for place, name in enumerate(splits)}


def answer_of(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _captioned(id: str, splits: Iterable[str], columns: Mapping[str, Any], row: Callable[[int], Row]) -> Lookalike:
    """Pictures with captions or other columns about them."""
    return Lookalike(id, sizes(*splits), Features({"image": IMAGE, **columns}), lambda n: {"image": image(n), **row(n)})


def _turns(number: int) -> Row:
    """A list of pictures, and several turns about them with a prompt after each question."""
    asked = [
        (f"What colour is the {SHAPES[number % 2]}?", answer_of(number).capitalize()),
        ("What shape is it?", SHAPES[number % 2].capitalize()),
    ]
    suffix = "\nProvide a short and direct response."
    turns = [{"user": question + suffix, "assistant": f"{answer}.", "source": "clevr"} for question, answer in asked]
    return {"images": [image(number)], "texts": turns}


def _question(number: int) -> Row:
    """A question about a picture that another question shares."""
    seen = number // 2
    question, answer = ("Is it round?", "no" if seen % 2 else "yes")
    if number % 2:
        question, answer = "What colour is the shape?", answer_of(seen)
    full = f"It is {answer}."
    return {"id": f"{number:08}", "imageId": f"n{seen}", "question": question, "answer": answer, "fullAnswer": full}


def _strings(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, STRING)


_TRAIN_TEST, _ALL_THREE = ("train", "test"), ("train", "validation", "test")
_TREC = ClassLabel(names=["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"])

REPOS: dict[str, tuple[Lookalike, ...]] = {
    "coco_captions": (
        Lookalike(
            "jxie/coco_captions",
            sizes(*_ALL_THREE),
            Features({"image": IMAGE, **_strings("filename", "caption"), "cocoid": Value("int64")}),
            # One row per caption; the captions of a picture are apart from each other.
            lambda n: {
                "image": image(n % 15),
                "filename": f"{n % 15}.jpg",
                "caption": captions(n % 15)[n // 15],
                "cocoid": n % 15,
            },
        ),
    ),
    "clevr": (
        Lookalike(
            "HuggingFaceM4/the_cauldron",
            sizes("train"),
            Features({"images": List(IMAGE), "texts": List(_strings("user", "assistant", "source"))}),
            _turns,
            "clevr",
        ),
    ),
    "gqa": (
        Lookalike(
            "lmms-lab-encoder/GQA",
            sizes("testdev"),
            Features(_strings("id", "imageId", "question", "answer", "fullAnswer")),
            _question,
            "testdev_balanced_instructions",
        ),
        Lookalike(
            "lmms-lab-encoder/GQA",
            {"testdev": ROWS // 2},
            Features({"id": STRING, "image": IMAGE}),
            lambda n: {"id": f"n{n}", "image": image(n)},
            "testdev_balanced_images",
        ),
    ),
    "trec": (
        Lookalike(
            "CogComp/trec",
            sizes(*_TRAIN_TEST),
            Features({"text": STRING, "coarse_label": _TREC}),
            lambda n: {"text": f"{caption(n)} It counts as {n % 7}.", "coarse_label": n % 6},
            ref="refs/convert/parquet",
        ),
    ),
}
"""The look-alikes of presets: one of each family."""

FALLBACKS: dict[str, tuple[Lookalike, ...]] = {
    "coco_captions": (
        _captioned(
            "AKCIT/coco2017-captioning",
            ("train", "validation"),
            {"captions": List(STRING)},
            lambda n: {"captions": captions(n)},
        ),
    ),
}
"""The fallback repository of each preset whose first repository is gone."""


def put(hub: Hub, lookalikes: Iterable[Lookalike]) -> None:
    """Commits repositories to a Hub, each with a card that names its configurations."""
    by_repo: dict[tuple[str, str], list[Lookalike]] = {}
    for one in lookalikes:
        by_repo.setdefault((one.id, one.ref), []).append(one)
    for (id, ref), parts in by_repo.items():
        files: dict[str, bytes] = {}
        card = "---\nconfigs:\n"
        for part in parts:
            files |= _files(part)
            card += f"- config_name: {part.config}\n  data_files:\n"
            card += "".join(f"  - split: {name}\n    path: {_folder(part)}/{name}-*\n" for name in part.splits)
        converted = ref.startswith("refs/convert/")
        described = {} if converted else {"README.md": f"{card}---\n\n# {id}\n".encode()}
        hub.store.put_files(id, {**described, **files}, "dataset", ref=ref, sha=parts[0].sha)


def renamed(one: Lookalike, column: str, new: str) -> Lookalike:
    """The same repository with another name for a column."""
    if column not in one.features:
        return one

    def row(number: int) -> Row:
        return {new if name == column else name: value for name, value in one.row(number).items()}

    features = {new if name == column else name: kind for name, kind in one.features.items()}
    return replace(one, features=Features(features), row=row)


def _folder(one: Lookalike) -> str:
    return "data" if one.config == "default" else one.config


def _files(one: Lookalike) -> dict[str, bytes]:
    files, start = {}, 0
    for split, count in one.splits.items():
        rows = [one.row(number) for number in range(start, start + count)]
        start += count
        stream = io.BytesIO()
        table = datasets.Dataset.from_list(rows, features=one.features)
        # As push_to_hub writes it: the file's metadata contains the types of columns.
        pq.write_table(table.data.table.cast(one.features.arrow_schema), stream)
        converted = one.ref.startswith("refs/convert/")
        name = f"{one.config}/{split}/0000" if converted else f"{_folder(one)}/{split}-00000-of-00001"
        files[f"{name}.parquet"] = stream.getvalue()
    return files
