"""The demo's datasets for questions and boxes: what their rows say is so."""

from __future__ import annotations

import io

import pyarrow.parquet as pq
import pytest
from PIL import Image

from hf_emms.presets import dataset_preset, demo

QUESTIONS = ("demo_vqa", "demo_easy_vqa")
LIMIT = 1_000_000  # bytes of the four


def _file(preset: str):
    (path,) = (demo.folder_of(dataset_preset(preset).id) / "data").glob("*.parquet")
    return path


def _rows(preset: str) -> list[dict]:
    return pq.read_table(_file(preset)).to_pylist()


def test_the_datasets_of_the_new_tasks_are_small():
    assert sum(_file(name).stat().st_size for name in (*QUESTIONS, "demo_spans", "demo_boxes")) <= LIMIT


@pytest.mark.parametrize("preset", [*QUESTIONS, "demo_spans", "demo_boxes"])
def test_preset_reads_columns_that_are_there(preset):
    described = dataset_preset(preset)
    rows = _rows(preset)
    assert len(rows) == described.splits["test"] >= 400
    assert {column.split(".")[0] for column in described.columns.values()} <= set(rows[0])


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


def test_repeated_pictures_are_stored_once():
    rows = _rows("demo_vqa")
    assert _file("demo_vqa").stat().st_size < 0.5 * sum(len(row["image"]["bytes"]) for row in rows)


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


def test_an_expression_means_one_box_of_its_picture():
    meant: dict[tuple[bytes, str], list[float]] = {}
    for row in _rows("demo_boxes"):
        assert len(row["answer"]) >= 2
        for said in row["answer"]:
            assert meant.setdefault((row["image"]["bytes"], said), row["bbox"]) == row["bbox"]


def test_left_and_right_are_where_the_boxes_say():
    twins: dict[bytes, dict[str, float]] = {}
    for row in _rows("demo_boxes"):
        for said in row["answer"]:
            for side in ("left", "right"):
                if said.startswith(f"the {side} "):
                    twins.setdefault(row["image"]["bytes"], {})[side] = row["bbox"][0] + row["bbox"][2] / 2
    pairs = [sides for sides in twins.values() if len(sides) == 2]
    assert len(pairs) > 60
    assert all(sides["left"] < sides["right"] for sides in pairs)
