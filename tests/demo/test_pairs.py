"""The demo's datasets for questions and boxes: what their rows say is so."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest
from PIL import Image

from hf_emms.presets import dataset_preset, demo

QUESTIONS = ("demo_vqa", "demo_easy_vqa")


def _file(preset: str):
    (path,) = (demo.folder_of(dataset_preset(preset).id) / "data").glob("*.parquet")
    return path


def _rows(preset: str) -> list[dict]:
    return pq.read_table(_file(preset)).to_pylist()


@pytest.mark.parametrize("preset", QUESTIONS)
def test_questions_share_pictures_and_the_picture_decides(preset):
    rows = _rows(preset)
    pictures = {row["image"]["bytes"] for row in rows}
    assert 90 <= len(pictures) <= len(rows) / 3
    for picture in pictures:
        image = Image.open(io.BytesIO(picture))
        assert image.mode == "P"
    # one answer a picture and question, several a question
    assert len({(row["image"]["bytes"], row["question"]) for row in rows}) == len(rows)
    answers: dict[str, set[str]] = {}
    for row in rows:
        answers.setdefault(row["question"], set()).add(row["answer"])
    undecided = sum(len(answers[row["question"]]) > 1 for row in rows)
    assert undecided > 0.6 * len(rows)


def test_answers_are_spans_of_their_contexts_and_absent_where_the_question_is_of_another_noun():
    rows = _rows("demo_spans")
    assert len({row["id"] for row in rows}) == len(rows)
    empty = 0
    for row in rows:
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        assert len(texts) == len(starts) <= 1
        noun = row["context"].split(": ")[0]
        assert (noun in row["question"]) == bool(texts)
        for text, start in zip(texts, starts, strict=True):
            assert row["context"][start : start + len(text)] == text
            assert start > len(noun)
        empty += not texts
    assert 0.06 <= empty / len(rows) <= 0.10


def test_boxes_lie_in_their_pictures_and_hold_something_on_the_plain_ground():
    for row in _rows("demo_boxes"):
        picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")
        x, y, width, height = row["bbox"]
        assert 0 <= x < x + width <= picture.width
        assert 0 <= y < y + height <= picture.height
        inside = picture.crop((int(x), int(y), int(x + width), int(y + height)))
        assert len(inside.getcolors()) > 4
