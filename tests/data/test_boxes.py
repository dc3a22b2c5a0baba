"""Boxes as labels: every format comes to the same four numbers, and those to words and columns."""

from __future__ import annotations

import io
import math
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from hf_emms.inputs import IMAGE
from hf_emms.tasks import get_task
from hf_emms.tasks.referring_expression import (
    BOXES,
    BoxHead,
    are_normalized,
    box_in_words,
    encode_boxes,
    measure_box,
)
from hf_emms.texts import setting_ref
from tests.helpers.rows import image_rows, png
from tests.helpers.samples import codes, load_sample, reasons, refused

SIZE = (200, 100)


@pytest.mark.parametrize(
    ("form", "raw"),
    [
        ("xywh", [50, 40, 100, 20]),
        ("xyxy", [50, 40, 150, 60]),
        ("cxcywh", [100.0, 50.0, 100.0, 20.0]),
        ("xywh", [0.25, 0.4, 0.5, 0.2]),
    ],
)
def test_the_same_box_in_every_format(form: str, raw: list[float]) -> None:
    size = None if are_normalized([raw]) else SIZE
    assert BOXES.formats[form](raw, size) == pytest.approx((0.5, 0.5, 0.5, 0.2))


def test_what_lies_outside_the_picture_is_cut_off() -> None:
    assert measure_box([150, -20, 100, 60], SIZE, "xywh") == pytest.approx((0.875, 0.2, 0.25, 0.4))


@pytest.mark.parametrize(
    ("boxes", "parts"),
    [
        ([[0.25, 0.4, 0.5, 0.2], [0, 0, 1, 1]], True),
        ([[0, 0, 1, 1], [0, 0, 1, 0.5], [0.1, 0.1, 1.02, 0.9]], True),  # a little beyond the edge
        ([[0.1, 0.1, 0.2, 0.2], [0.3, 0.1, 0.2, 0.2], [30, 10, 20, 20]], True),  # one that is wrong
        ([[0, 0, 1, 1]] * 3, False),
        ([[0.5, 0.5, 0.5, 0.5], [10.5, 3.2, 7, 8], [1.5, 6.2, 7, 8]], False),
        ([[0.5, 0, 1, 1], [0, 0, 1, 2]], True),  # 1.5 in the middle
        ([[0.5, 0, 1, 1], [0, 0, 1, 2.01]], False),
        ([None, [0.1, 0.2], [0.1, 0.2, 0.3, 0.4]], True),
        ([], False),
    ],
)
def test_all_boxes_together_decide_whether_they_are_normalized_or_pixels(boxes: list[Any], parts: bool) -> None:
    assert are_normalized(boxes) == parts


@pytest.mark.parametrize(("scale", "wide"), [(1, 1 / 20), (1 / 20, 1.0)])
def test_one_pixel_in_the_corner_is_no_whole_picture_where_boxes_are_pixels(scale: float, wide: float) -> None:
    """Pictures of 20 x 20: the same boxes in pixels and as parts, and [0, 0, 1, 1] among them."""
    boxes = [[scale * value for value in (n, n, 10, 5)] for n in range(1, 6)] + [[0, 0, 1, 1]]
    sample = load_sample(scenes(boxes, (20, 20)))
    assert sample.label_numbers is not None
    widths = sorted(sample.label_numbers[:, 2].tolist())
    assert widths == pytest.approx(sorted([0.5] * 5 + [wide]))
    assert sample.reading is not None
    assert any("fractions" in fact for fact in sample.reading.facts) == (scale < 1)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([1, 2, 3], "four numbers"),
        (None, "four numbers"),
        ([1, 2, math.nan, 4], "not finite"),
        ([10, 10, 0, 5], "no area"),
        ([10, 10, 5, -5], "no area"),
        ([300, 10, 5, 5], "outside its image of 200 x 100"),
    ],
)
def test_a_box_that_cannot_be_read_is_refused_with_the_reason(raw: list[float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        measure_box(raw, SIZE, "xywh")


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0.5, 0.5, 0.1, 0.1), "a tiny box at the middle, center"),
        ((0.05, 0.95, 0.1, 0.3), "a small tall box at the bottom, far left"),
        ((0.7, 0.3, 0.6, 0.3), "a medium wide box at the upper, right"),
        ((0.0, 0.2, 1.0, 1.5), "a huge box at the upper, far left"),
        ((0.2, 0.4, 0.12, 0.12), "a small box at the middle, left"),
        ((1.0, 1.0, 1.0, 1.0), "a huge box at the bottom, far right"),
    ],
)
def test_boxes_in_words(box: tuple[float, ...], words: str) -> None:
    assert box_in_words(box) == words


def test_boxes_as_numbers_are_their_four_numbers_and_bumps_over_places_and_over_sizes() -> None:
    (encoded,) = encode_boxes(np.array([[0.5, 0.25, 0.5, 0.0]]))
    places = [0, 0.04, 0.32, 0.88, 0.88, 0.32, 0.04, 0, 0.22, 0.75, 0.97, 0.46, 0.08, 0.01, 0, 0]
    sizes = [0, 0.01, 0.14, 0.61, 1, 0.61, *[0] * 6]
    assert encoded.tolist() == pytest.approx([0.5, 0.25, 0.5, 0, *places, *sizes], abs=0.006)


def scenes(boxes: list[list[float]], size: tuple[int, int] = (40, 20), **columns: list[Any]) -> datasets.Dataset:
    """A picture and an expression for each box."""
    expressions = columns or {"expression": [f"e {n}" for n in range(len(boxes))]}
    return image_rows([png((n, 0, 0), size) for n in range(len(boxes))], box=boxes, **expressions)


def test_the_loss_of_a_head_is_that_of_distances_and_of_overlap() -> None:
    centered, corner = torch.zeros(1, 4), torch.tensor([[0.75, 0.75, 0.5, 0.5]])
    # Means of 1/8 apart; an overlap of 1/7, and 2/9 of the box around both is in neither.
    outputs = BoxHead(None, epochs=1).outputs([])
    assert float(outputs.loss(centered, corner)) == pytest.approx(5 / 8 + 2 * (1 - 1 / 7 + 2 / 9))
    assert outputs.predictions(np.array([[0.0, 1, -1, 2]])) == [pytest.approx((0.5, 0.731, 0.269, 0.881), abs=1e-3)]


# ---- in datasets ----------------------------------------------------------------------------------------------


def turned(size: tuple[int, int]) -> bytes:
    """A picture that a camera held on its side has written."""
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", size, (9, 9, 9)).save(buffer, "jpeg", exif=exif)
    return buffer.getvalue()


def test_sizes_are_of_the_upright_picture() -> None:
    assert IMAGE.size(turned((40, 20))) == (20, 40)
    assert IMAGE.size(png((1, 1, 1), (40, 20))) == (40, 20)


def test_expressions_of_one_box_are_inputs_of_their_own_that_share_picture_and_label() -> None:
    boxes = [[0.0, 0.0, 20.0, 10.0], [20.0, 10.0, 20.0, 10.0]]
    rows = scenes(boxes, answer=[["the left one", "The  red one"], ["the right one"]]).rename_column("box", "bbox")
    sample = load_sample(rows)
    assert sample.task.id == "referring-expression"
    assert sorted(text for _, text in sample.inputs) == ["The  red one", "the left one", "the right one"]
    assert (len(sample.inputs.firsts), len(set(sample.groups.tolist())), sample.skipped) == (2, 2, 0)  # type: ignore[attr-defined]
    assert len(np.unique(sample.codes)) == 2


@pytest.mark.parametrize(("form", "texts", "numbers"), [("text", 2, False), ("numbers", 2, True), ("both", 2, True)])
def test_a_box_becomes_text_numbers_or_both(form: str, texts: int, numbers: bool) -> None:
    boxes = [[0, 0, 10, 10], [1, 0, 10, 10], [30, 10, 10, 10], [29, 10, 10, 10]]
    sample = load_sample(scenes(boxes), label_form=form)  # type: ignore[arg-type]
    assert (sample.form, len(sample.label_texts)) == (form, texts)
    assert (sample.label_numbers is not None) == numbers
    # Near boxes share their words, but not their numbers.
    assert len(np.unique(sample.codes)) == (4 if numbers else 2)
    if numbers:
        embedded = np.eye(2, dtype=np.float32)
        assert np.array_equal(sample.label_embeddings(embedded).sum(axis=0), [2, 2])
        assert sample.label_numbers.shape == (4, 32)  # type: ignore[union-attr]
    assert sample.numbers_name == "box (numbers)"


def test_boxes_that_are_the_same_in_words_are_labels_as_numbers_alone() -> None:
    rows = scenes([[i / 4, 0, 10, 10] for i in range(4)])
    assert len(np.unique(load_sample(rows, label_form="numbers").codes)) == 4
    for form in ("text", "both"):
        error = refused(rows, label_form=form)
        assert error.message.startswith("all rows have the same box in words: 'a medium tall box at the upper")
        assert 'label_form="numbers"' in str(error.hint)


def test_the_format_and_the_form_are_part_of_the_sample() -> None:
    boxes = [[0, 0, 10, 10], [5, 5, 20, 20], [10, 2, 30, 18]]
    rows = scenes(boxes)
    settings = [{"box_format": "xywh"}, {"box_format": "xyxy"}, {"box_format": "xywh", "label_form": "text"}]
    variants = [load_sample(rows, **each) for each in settings]
    assert len({one.fingerprint for one in variants}) == 3
    assert 'box_format="xywh" or "xyxy" or "cxcywh"' in str(refused(rows, box_format="yx").hint)


def test_boxes_that_cannot_be_used_are_left_out_and_the_first_one_is_named() -> None:
    boxes = [[float(n % 30), 0, 5, 5] for n in range(60)]
    boxes[7], boxes[9] = [90.0, 0, 5, 5], [1.0, 2, 3]
    sample = load_sample(scenes(boxes))
    assert (len(sample), sample.skipped) == (58, 2)
    assert codes(sample) == ["rows-skipped"]
    assert len(reasons(sample)) == 2
    error = refused(scenes([[n, 10, 5, 5] for n in range(20, 60)]), box_format="xyxy")
    assert "no area" in error.message
    assert 'box_format="xywh" or "xyxy" or "cxcywh"' in str(error.hint)
    assert "box_column=" in str(error.hint)


@pytest.mark.parametrize(
    ("box", "fitting"),
    [
        ([100, 60, 90, 30], "xywh"),
        ([150, 70, 190, 90], "xyxy"),
        ([180, 90, 38, 18], "cxcywh"),
    ],
)
def test_boxes_that_leave_their_images_show_the_format_that_fits(box: list[int], fitting: str) -> None:
    rows = scenes([[box[0] - n, *box[1:]] for n in range(50)], SIZE)
    if fitting != "xywh":
        error = refused(rows)
        assert error.code == "boxes-leave-images"
        assert str(error.hint).endswith(str(setting_ref("box_format", fitting)))
    named = load_sample(rows, box_format=fitting)
    assert named.reading is not None
    assert any(fitting in fact and "0 of 50" in fact for fact in named.reading.facts)


def test_one_of_several_boxes_is_not_chosen() -> None:
    assert 'references="all" does not fit' in refused(scenes([[0, 0, 5, 5], [9, 9, 5, 5]]), references="all").message
    assert get_task("visual grounding").id == "referring-expression"
