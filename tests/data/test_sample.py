"""From rows to a sample: labels, captions, sampling, rows that cannot be read."""

from __future__ import annotations

import io
import random
from collections import Counter
from typing import Any

import datasets
import pytest
from PIL import Image

from hf_emms.data import Sample
from hf_emms.inputs import Images
from tests.helpers.rows import image_rows, labels_of, pictures, png, texts
from tests.helpers.samples import codes, load_sample, reasons, refused

# ---- labels ---------------------------------------------------------------------------------------------------


def classed(ids: list[int], *names: str) -> datasets.Dataset:
    """Texts with the ids of named classes."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))})
    return datasets.Dataset.from_dict({"text": [f"text {i}" for i in range(len(ids))], "label": ids}, features=features)


def test_class_ids_become_names_and_numbers_without_names_stay() -> None:
    assert load_sample(classed([0, 1, 0, 1], "a_b", "c")).label_texts == ("a b", "c")
    for labels, classes in (([0, 11, 0, 2], ("0", "11", "2")), ([True, False] * 2, ("False", "True"))):
        assert load_sample(texts(4, ["a"], label=labels)).label_texts == classes


def test_classes_that_cleaning_would_merge_keep_their_raw_names() -> None:
    sample = load_sample(texts(6, ["a_b", "a b", "c_d"]))
    assert sample.label_texts == ("a b", "a_b", "c d")


def test_a_prompt_wraps_class_names_and_needs_a_place_for_them() -> None:
    assert load_sample(texts(4, ["a_b", "c"]), label_template="a {}.").label_texts == ("a a b.", "a c.")
    assert "{}" in refused(texts(4, ["a", "b"]), label_template="a photo").message
    rows = image_rows(pictures(2), caption=["a", "b"])
    assert "label_template does not fit" in refused(rows, label_template="a {}").message


def test_labels_that_cannot_rank_are_refused() -> None:
    assert "the same label" in refused(texts(6, ["only"])).message
    for n in (2, 3, 4, 30):
        assert "no class has two rows" in refused(texts(n, [f"free {i}" for i in range(n)])).message
    names = [f"class {i}" for i in range(20)]
    assert "no class has two rows" in refused(classed([*range(19)], *names)).message
    assert len(load_sample(classed([*range(20)], *names))) == 20


# ---- captions -------------------------------------------------------------------------------------------------


def caption_sets() -> dict[str, datasets.Dataset]:
    """The same 3 pictures × 2 captions: as rows, as a list, as numbered columns."""
    encoded = pictures(3)
    two = [[f"Red {i}", f"Blue {i}"] for i in range(3)]
    return {
        "rows": image_rows([b for b in encoded for _ in "xy"], caption=[text for pair in two for text in pair]),
        "list": image_rows(encoded, captions=two),
        "columns": image_rows(encoded, caption_0=[pair[0] for pair in two], caption_1=[pair[1] for pair in two]),
    }


@pytest.mark.parametrize("form", ["rows", "list", "columns"])
def test_several_captions_of_a_picture_become_rows_that_share_input_and_group(form: str) -> None:
    sample = load_sample(caption_sets()[form], references="all")
    assert (len(sample), len(sample.inputs)) == (6, 3)
    assert labels_of(sample) == {(i, 0, 7): [f"blue {i}", f"red {i}"] for i in range(3)}
    assert set(Counter(sample.groups.tolist()).values()) == {2}


def test_columns_that_a_sample_names_are_read_the_same_again() -> None:
    captions = {"cap_good": list("abcd"), "cap_better": list("efgh"), "caption": list("ijkl")}
    rows = image_rows(pictures(4), **captions)
    sample = load_sample(rows, task="image-captioning", columns={"text": "cap_good,cap_better"})
    assert sample.columns == {"image": "image", "text": "cap_good,cap_better"}
    assert set(sample.label_texts) == set("abcdefgh")
    again = load_sample(rows, task=sample.task.id, columns=sample.columns)
    assert (again.columns, again.fingerprint) == (sample.columns, sample.fingerprint)


@pytest.mark.parametrize("form", ["rows", "list", "columns"])
def test_one_caption_a_picture_is_the_first(form: str) -> None:
    first = load_sample(caption_sets()[form], references="first")
    assert labels_of(first) == {(i, 0, 7): [f"red {i}"] for i in range(3)}


def test_a_limit_draws_whole_pictures_and_one_caption_each_when_asked() -> None:
    rows = caption_sets()["rows"]
    assert set(Counter(load_sample(rows, max_samples=4, references="all").groups.tolist()).values()) == {2}
    for references in ("first", "mean"):
        sample = load_sample(rows, max_samples=2, references=references)
        assert (len(sample), len(sample.inputs)) == (2, 2)
    assert "does not fit" in refused(texts(4, ["a", "b"]), references="first").message


# ---- sampling -------------------------------------------------------------------------------------------------


def skewed(n: int = 200) -> datasets.Dataset:
    return texts(n, ["big"] * 8 + ["mid"] + ["small"])


def counts_of(sample: Sample) -> Counter[str]:
    return Counter(sample.label_texts[code] for code in sample.codes)


def test_a_balanced_sample_is_even_and_gives_the_rest_to_larger_classes() -> None:
    assert sorted(counts_of(load_sample(skewed(), max_samples=50)).values()) == [16, 17, 17]
    assert counts_of(load_sample(skewed(), max_samples=100)) == {"big": 60, "mid": 20, "small": 20}


def test_a_proportional_sample_keeps_the_proportions() -> None:
    sample = load_sample(skewed(), max_samples=50, sampling="proportional")
    assert counts_of(sample) == {"big": 40, "mid": 5, "small": 5}
    assert sample.reading is not None
    assert sample.reading.columns[-1].classes == {"big": 160, "mid": 20, "small": 20}


def test_the_sample_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    rows = skewed()
    shuffled = rows.select(random.Random(1).sample(range(len(rows)), len(rows)))
    first, same, other = (load_sample(r, max_samples=40, seed=s) for r, s in ((rows, 0), (shuffled, 0), (rows, 1)))
    assert (first.inputs, first.codes.tolist()) == (same.inputs, same.codes.tolist())
    assert first.inputs != other.inputs
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_everything_that_makes_the_sample_is_in_the_fingerprint() -> None:
    rows = texts(40, ["a_1", "b_2"], who=[i % 2 for i in range(40)])
    changed = rows.map(lambda row: {"text": row["text"].replace("number 7", "number seven")})
    variants = [
        *(load_sample(data, group_column=column) for data in (rows, changed) for column in (None, "who")),
        load_sample(rows, max_samples=20),
        load_sample(rows, max_samples=20, sampling="proportional"),
        load_sample(rows, label_template="a {}"),
        load_sample(rows.rename_column("text", "sentence")),
    ]
    fingerprints = [sample.fingerprint for sample in variants]
    assert {*map(len, fingerprints)} == {32}
    for different in (fingerprints, [sample.repo.revision for sample in variants[:4]]):
        assert len(set(different)) == len(different)
    assert load_sample(rows).fingerprint == fingerprints[0]


# ---- rows that cannot be read ---------------------------------------------------------------------------------


def test_a_few_broken_rows_are_left_out_and_counted() -> None:
    encoded = pictures(60)
    encoded[7] = encoded[7][:40]
    encoded[9] = b"no picture at all"
    sample = load_sample(image_rows(encoded, label=["a", "b"] * 30))
    assert (len(sample), sample.skipped) == (58, 2)
    assert codes(sample) == ["rows-skipped"]
    assert {picture.size for picture in sample.inputs} == {(8, 6)}


@pytest.mark.parametrize("limit", [None, 40])
def test_too_many_broken_rows_are_an_error_with_count_and_example(limit: int | None) -> None:
    encoded = [b if i % 4 else b"broken" for i, b in enumerate(pictures(60))]
    error = refused(image_rows(encoded, label=["a", "b"] * 30), max_samples=limit)
    assert "5%" in error.message
    assert "row 1" in error.message
    if limit is None:
        assert "15 of 60 rows" in error.message


@pytest.mark.parametrize(("count", "most"), [(8, 2), (60, 3)])
def test_two_rows_or_five_of_a_hundred_are_left_out(count: int, most: int) -> None:
    encoded = [*pictures(count - most - 1), *[f"broken {i}".encode() for i in range(most)]]
    rows = image_rows([*encoded, png((1, 2, 3))], label=["a", "b"] * (count // 2))
    whole, most_rows = load_sample(rows), load_sample(rows, max_samples=count - most)
    assert (len(whole), whole.skipped, len(most_rows)) == (count - most, most, count - most)
    assert most_rows.available == count - most_rows.skipped
    assert whole.reading is not None
    assert (whole.reading.skipped, len(reasons(whole))) == (most, 2)
    told = f"{most + 1} of {count} rows"
    assert told in refused(image_rows([*encoded, b"broken"], label=["a", "b"] * (count // 2))).message
    for few in (1, 2):
        told = f"{few} of {few} {'rows' if few > 1 else 'row'}"
        assert told in refused(image_rows([b"broken"] * few, label=["a", "b"][:few])).message


def test_rows_without_a_label_are_left_out_of_a_few_as_well() -> None:
    unlabeled = texts(8, ["a", "b"]).map(lambda row, i: {"label": row["label"] if i else None}, with_indices=True)
    assert (len(load_sample(unlabeled)), load_sample(unlabeled).skipped) == (7, 1)


def test_empty_texts_and_missing_captions_are_left_out() -> None:
    rows = texts(60, ["a", "b"])
    holes = rows.map(lambda row, i: {"text": [" ", None][i % 2] if i < 2 else row["text"]}, with_indices=True)
    assert (len(load_sample(holes)), load_sample(holes).skipped) == (58, 2)
    captions: list[Any] = [["one", None, ""], *[[f"caption {i}"] for i in range(39)]]
    sample = load_sample(image_rows(pictures(40), captions=captions))
    assert (len(sample), sample.skipped) == (40, 0)


# ---- pictures -------------------------------------------------------------------------------------------------


def test_pictures_come_out_rgb_and_upright() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8, 6), 200).save(buffer, "jpeg", exif=exif)
    images = Images([buffer.getvalue(), png((1, 2, 3))])
    assert (images[0].mode, images[0].size) == ("RGB", (6, 8))
    assert images[1].getpixel((0, 0)) == (1, 2, 3)
    assert [image.size for image in images[1:]] == [(8, 6)]


def test_equal_pictures_and_equal_texts_are_held_once() -> None:
    sample = load_sample(image_rows([png((1, 1, 1))] * 3 + pictures(3), label=["a", "b"] * 3))
    assert (len(sample), len(sample.inputs)) == (6, 4)
    assert Counter(Counter(sample.groups.tolist()).values()) == {1: 3, 3: 1}
    assert len(load_sample(datasets.Dataset.from_dict({"text": ["x", "x", "y"], "label": list("aba")})).inputs) == 2


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (texts(10, ["a", "b"]), []),
        (texts(10, ["a"], label=[["a"], ["b", "c"]] * 5), []),
        (datasets.Dataset.from_dict({"text": list("abab") * 5, "label": list("abab") * 5}), ["equal-columns"]),
        (classed([*range(20)], *map(str, range(20))), ["labels-all-different"]),
    ],
)
def test_labels_that_may_be_wrong_are_warned_of(rows: datasets.Dataset, found: list[str]) -> None:
    assert codes(load_sample(rows)) == found
