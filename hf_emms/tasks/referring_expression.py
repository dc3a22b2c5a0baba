"""Images with an expression that refers to an object, and the object's box, as words and as numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.heads import ConstantBaseline, LabeledSplit, Metric, RowHead, RowOutputs
from hf_emms.heads.metrics import ACCURACY_AT_HALF, IOU
from hf_emms.heads.row import numbers_of
from hf_emms.heads.split import LabeledSample
from hf_emms.inputs import IMAGE_TEXT, TEXT
from hf_emms.tasks.task import IMAGE_COLUMN, Column, NumericLabels, Task, clean_caption, rbf_features

if TYPE_CHECKING:
    from torch import Tensor

_PLACES = np.linspace(0, 1, 8)
_SIZES = np.linspace(math.log(1 / 32), 0, 6)

_COLUMNS = ("far left", "left", "center", "right", "far right")
_ROWS = ("top", "upper", "middle", "lower", "bottom")
_AREAS = ((0.12, "tiny"), (0.25, "small"), (0.45, "medium"), (0.7, "large"), (math.inf, "huge"))
_WIDE = 1.5
_HIDDEN_WIDTH = 64
# Maximum coordinate of most boxes in fractions, which may exceed their images a little.
_MAX_NORMALIZED = 1.5
# Rounding of boxes in fractions of their images.
_TOLERANCE = 0.01


def measure_box(raw: Any, size: tuple[int, int] | None, form: str) -> tuple[float, ...]:
    """Return a box in fractions of its image: center x and y, width and height. Cuts it at the image's edges.

    Args:
        raw: Four numbers.
        size: (width, height) of the upright image in pixels; None if the numbers are fractions of it.
        form: "xywh" (upper left corner), "xyxy" (two corners) or "cxcywh" (center).

    Raises:
        ValueError: `raw` is not four numbers, or the box is outside the image.
    """
    left, top, right, bottom = _edges(raw, size, form)
    if right <= left or bottom <= top:
        raise ValueError(f"a box has no area: {[*_four_numbers(raw)]} as {form}")
    left, right, top, bottom = max(0.0, left), min(1.0, right), max(0.0, top), min(1.0, bottom)
    if right <= left or bottom <= top:
        width, height = size or (1, 1)
        raise ValueError(f"a box lies outside its image of {width} x {height}: {[*_four_numbers(raw)]} as {form}")
    return ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)


def leaves_image(raw: Any, size: tuple[int, int] | None, form: str) -> bool:
    """Return whether more than a pixel of a box is outside its image, or the box has no area; see `measure_box`.

    False for a value that is no box.
    """
    try:
        left, top, right, bottom = _edges(raw, size, form)
    except ValueError:
        return False
    x, y = (1 / side for side in size) if size else (_TOLERANCE, _TOLERANCE)
    is_outside = left < -x or top < -y or right > 1 + x or bottom > 1 + y
    return is_outside or right <= left or bottom <= top


def _edges(raw: Any, size: tuple[int, int] | None, form: str) -> tuple[float, float, float, float]:
    """Return the left, top, right and bottom edges of a box in fractions of its image; see `measure_box`."""
    a, b, c, d = _four_numbers(raw)
    width, height = size or (1, 1)
    if form == "xyxy":
        left, top, right, bottom = a, b, c, d
    elif form == "cxcywh":
        left, top, right, bottom = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    else:
        left, top, right, bottom = a, b, a + c, b + d
    return left / width, top / height, right / width, bottom / height


def are_normalized(raws: Sequence[Any]) -> bool:
    """Return whether boxes are fractions of their images: most are within 1, and some are not whole numbers.

    A single box is not enough: [0, 0, 1, 1] is a full image, or its first pixel.
    """
    boxes = []
    for raw in raws:
        with suppress(ValueError):
            boxes.append(_four_numbers(raw))
    if not boxes:
        return False
    numbers = np.array(boxes)
    fractions = numbers != np.round(numbers)
    return bool(fractions.any() and np.median(np.abs(numbers).max(axis=1)) <= _MAX_NORMALIZED)


def box_in_words(box: tuple[float, ...]) -> str:
    """Describe the size, shape and place of a box (cx, cy, w, h) with one of a few hundred phrases."""
    cx, cy, width, height = box
    side = math.sqrt(width * height)
    size = next(word for limit, word in _AREAS if side < limit)
    shape = " wide" if width > _WIDE * height else " tall" if height > _WIDE * width else ""
    return f"a {size}{shape} box at the {_word(_ROWS, cy)}, {_word(_COLUMNS, cx)}"


def encode_boxes(boxes: np.ndarray) -> np.ndarray:
    """Return label embeddings, float32 (U, 32), of boxes (cx, cy, w, h), float64 (U, 4).

    Contains the four numbers, bumps over both coordinates, and bumps over the logarithms of both sizes, so that a
    linear map from features can distinguish places and small sizes.
    """
    cx, cy = boxes[:, 0], boxes[:, 1]
    log_w, log_h = np.log(np.maximum(boxes[:, 2:], 1e-6)).T
    places = [rbf_features(center, _PLACES) for center in (cx, cy)]
    sizes = [rbf_features(side, _SIZES) for side in (log_w, log_h)]
    return np.hstack([boxes, *places, *sizes]).astype(np.float32)


def _four_numbers(raw: Any) -> tuple[float, float, float, float]:
    try:
        a, b, c, d = (float(value) for value in raw)
    except (TypeError, ValueError):
        raise ValueError(f"a box is four numbers, not {str(raw)[:60]}") from None
    if not all(map(math.isfinite, (a, b, c, d))):
        raise ValueError(f"a box has a number that is not finite: {[a, b, c, d]}")
    return a, b, c, d


def _word(words: tuple[str, ...], place: float) -> str:
    return words[min(int(place * len(words)), len(words) - 1)]


BOXES = NumericLabels(
    measure=partial(measure_box, form="xywh"),
    encode=encode_boxes,
    describe=box_in_words,
    formats={form: partial(measure_box, form=form) for form in ("xywh", "xyxy", "cxcywh")},
    leaves=leaves_image,
    are_normalized=are_normalized,
)


class BoxHead(RowHead):
    """A head that predicts a box: its center, width and height as fractions of the image."""

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return IOU, ACCURACY_AT_HALF

    def answers(self, sample: LabeledSample, *, several: bool) -> Sequence[Any]:
        return [tuple(box) for box in numbers_of(sample)]

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        return ConstantBaseline(
            "the mean box of the training rows", [tuple(np.mean(train.references, axis=0))] * len(split)
        )

    def outputs(self, references: Sequence[Any]) -> RowOutputs:
        import torch

        return RowOutputs(
            4,
            labels=lambda boxes: torch.tensor(boxes, dtype=torch.float32),
            loss=_box_loss,
            predictions=lambda outputs: [tuple(box) for box in (1 / (1 + np.exp(-outputs.astype(float)))).tolist()],
            hidden=_HIDDEN_WIDTH,
        )


def _box_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of DETR (arXiv 2005.12872): L1 and generalized IoU."""
    from torch.nn.functional import l1_loss
    from torchvision.ops import box_convert, generalized_box_iou_loss

    boxes = outputs.sigmoid()
    corners = (box_convert(centered, "cxcywh", "xyxy") for centered in (boxes, labels))
    return 5 * l1_loss(boxes, labels) + 2 * generalized_box_iou_loss(*corners, "mean")


REFERRING_EXPRESSION = Task(
    id="referring-expression",
    input=IMAGE_TEXT,
    inputs=(
        IMAGE_COLUMN,
        Column(
            "expression",
            ("expression", "expressions", "phrase", "sentence", "sentences", "caption", "text", "query", "answer"),
            ("string", "strings"),
            TEXT,
        ),
    ),
    label=Column("box", ("box", "bbox", "bounding_box", "target_box"), ("floats", "integers")),
    categorical=False,
    label_text=clean_caption,
    head=BoxHead(None, epochs=20),
    aliases=("visual-grounding",),
    # The Hub has no task of this name; detectors that take a text are the nearest.
    source_tags=("zero-shot-object-detection",),
    group_by="image",
    numbers=BOXES,
    label_form="both",  # ranks better than either, see docs/tasks.md
)
