"""Datasets as they also come: deep pixels, fields of columns, names with dots, labels that read alike."""

from __future__ import annotations

import io

import datasets
import numpy as np
from PIL import Image

from tests.helpers.rows import image_rows, labels_of, pictures
from tests.helpers.samples import load_sample, refused

# ---- pictures -------------------------------------------------------------------------------------------------


def encoded(pixels: np.ndarray, form: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def test_pixels_of_unknown_range_are_no_white_pictures() -> None:
    odd = [encoded(np.eye(size, dtype=np.float32), "tiff") for size in (4, 5, 6)]
    rows = image_rows([*odd, *pictures(3)], label=["a", "b"] * 3)
    assert "mode F" in refused(rows).message


# ---- columns --------------------------------------------------------------------------------------------------


def labeled(classes: list[int]) -> datasets.Dataset:
    """Texts whose class is a field of a column."""
    names = datasets.ClassLabel(names=["x", "y"])
    features = datasets.Features({"text": datasets.Value("string"), "meta": {"label": names}})
    meta = [{"label": one} for one in classes]
    return datasets.Dataset.from_dict({"text": [f"text {i}" for i in range(len(classes))], "meta": meta}, features)


def test_a_class_may_be_a_field() -> None:
    sample = load_sample(labeled([0, 1] * 20), columns={"label": "meta.label"}, max_samples=10)
    assert sample.label_texts == ("x", "y")
    assert np.bincount(sample.codes).tolist() == [5, 5]


def test_a_picture_may_be_a_field() -> None:
    flat = image_rows(pictures(6), label=["a", "b"] * 3)
    nested = datasets.Dataset.from_dict(
        {"data": [{"shot": one} for one in flat.cast_column("image", datasets.Image(decode=False))["image"]]},
        datasets.Features({"data": {"shot": datasets.Image()}}),
    ).add_column("label", flat["label"])
    assert labels_of(load_sample(nested, columns={"image": "data.shot"})) == labels_of(load_sample(flat))


# ---- labels that are numbers ----------------------------------------------------------------------------------


def dated(step: float) -> datasets.Dataset:
    """Texts and seconds since 1970."""
    return datasets.Dataset.from_dict({"text": list("pqrstuvw"), "score": [1.7e9 + step * i for i in range(8)]})


def test_large_numbers_that_differ_little_stay_apart() -> None:
    sample = load_sample(dated(1.0))
    assert sample.label_numbers is not None
    assert len(np.unique(sample.label_numbers, axis=0)) == 8
    assert np.array_equal(sample.label_numbers, load_sample(dated(1024.0)).label_numbers)


def test_numbers_that_read_alike_make_no_f_label_of_their_words() -> None:
    error = refused(dated(1.0), label_form="both")
    assert "'1.7e+09'" in error.message
    assert 'label_form="numbers"' in str(error.hint)
