"""What becomes a label: several classes, numbers, cleaned answers."""

from __future__ import annotations

import math

import datasets
import numpy as np
import pytest

from hf_emms.tasks.task import clean_answer
from tests.helpers.rows import image_rows, pictures
from tests.helpers.samples import load_sample, reasons, refused

NAMES = ["sky_blue", "grass", "dog"]


def several(form: str) -> datasets.Dataset:
    """The same classes of six pictures as ids with names, as names, as numbers."""
    ids = [[0], [1, 0], [2], [0, 1], [2, 1, 0], [1]]
    values = {"ids": ids, "names": [[NAMES[i] for i in one] for one in ids], "numbers": ids}[form]
    rows = image_rows(pictures(6), classes=values)
    return rows.cast_column("classes", datasets.List(datasets.ClassLabel(names=NAMES))) if form == "ids" else rows


@pytest.mark.parametrize("form", ["ids", "names", "numbers"])
def test_several_classes_of_a_picture_are_the_mean_of_their_texts(form: str) -> None:
    sample = load_sample(several(form))
    assert sample.task.id == "image-classification"
    assert sample.label_texts == (("0", "1", "2") if form == "numbers" else ("dog", "grass", "sky blue"))
    assert not sample.categorical
    table = sample.label_embeddings(np.eye(3, dtype=np.float32))[sample.codes]
    means = {tuple(round(float(value), 3) for value in row) for row in table}
    assert (0.333, 0.333, 0.333) in means
    assert len(means) == 5  # the order of classes does not matter
    assert sample.reading is not None
    assert sample.reading.columns[-1].n_classes == 3


def test_one_of_several_classes_or_each_of_them_may_count() -> None:
    first = load_sample(several("ids"), references="first")
    assert (len(first), first.soft_labels, first.categorical) == (6, None, True)
    every = load_sample(several("ids"), references="all")
    assert (len(every), len(every.inputs), every.categorical) == (10, 6, True)


def test_balanced_sampling_goes_by_the_rarest_class_of_a_row() -> None:
    classes = [["common"]] * 60 + [["common", "rare"]] * 10
    sample = load_sample(image_rows(pictures(70), labels=classes), max_samples=20)
    assert np.bincount(sample.codes).tolist() == [10, 10]


def test_values_are_an_f_label_of_numbers() -> None:
    rows = datasets.Dataset.from_dict({"text": list("abcdef"), "score": [0.5, 1.0, 1.0, 2.5, 4.0, 5.0]})
    sample = load_sample(rows)
    assert (sample.task.id, sample.form, sample.columns["label"]) == ("text-regression", "numbers", "score")
    assert sample.label_numbers is not None
    places = [0, 1 / 9, 4 / 9, 7 / 9, 1]
    bumps = [[math.exp(-((7 * place - center) ** 2) / 2) for center in range(8)] for place in places]
    assert np.allclose(sample.label_numbers, np.column_stack([places, bumps]))
    assert load_sample(rows, label_form="text").label_texts == ("0.5", "1", "2.5", "4", "5")
    for form in ("numbers", "both"):
        reading = load_sample(rows, label_form=form).reading
        assert reading is not None
        assert (reading.columns[-1].low, reading.columns[-1].high) == (0.5, 5)


def test_a_value_that_is_none_is_left_out() -> None:
    values = [float(n) for n in range(60)]
    values[3], values[5] = float("nan"), 1e100
    rows = datasets.Dataset.from_dict({"text": [f"t {n}" for n in range(60)], "score": values})
    sample = load_sample(rows, task="text-regression")
    assert (len(sample), sample.skipped) == (58, 2)
    assert set(reasons(sample)) == {"row 4: the label is nan", "row 6: the label is 1e+100"}
    same = datasets.Dataset.from_dict({"text": list("abc"), "score": [1.0, 1.0, 1.0]})
    assert "the same label" in refused(same).message


def test_answers_lose_case_space_and_full_stop() -> None:
    cleaned = {"Yes.": "yes", " The  Dog ": "the dog", "U.S.": "u.s.", ".": ".", "3.5": "3.5", "no answer": "no answer"}
    assert {raw: clean_answer(raw) for raw in cleaned} == cleaned
