"""Datasets as they also come: deep pixels, fields of columns, names with dots, labels that read alike."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from rows import error_of, image_rows, pictures

from hf_emms.data import Images, load_target

# ---- pictures -------------------------------------------------------------------------------------------------


def encoded(pixels: np.ndarray, form: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def test_sixteen_bit_gray_is_scaled_and_not_clipped_to_white() -> None:
    deep = np.array([[0, 257, 0x8080, 0xFFFF]], np.uint16)
    assert np.asarray(Images([encoded(deep)])[0])[0, :, 0].tolist() == [0, 1, 128, 255]


def test_pixels_of_unknown_range_are_no_white_pictures() -> None:
    rows = image_rows([encoded(np.eye(4, dtype=np.float32), "tiff"), *pictures(3)], label=["a", "b", "a", "b"])
    assert "mode F" in error_of(lambda: load_target(rows)).message
