"""Texts in cells that are several classes, numbers, dates or keys, at the bounds of what is recognised."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hf_emms.data.cell_texts import (
    are_structures,
    are_years,
    class_separator,
    detect_value_kind,
    shared_parts,
    split_classes,
)


@pytest.mark.parametrize(
    ("texts", "separator"),
    [
        (["a|b"], "|"),
        (["a", " ", "b|c"], "|"),
        (["a|" + 4_998 * "b"], "|"),
        (["a|" + 4_999 * "b"], None),
        (["[a]", "(b)"], "|"),
        (["[a]", "b"], None),
        (["0 1", "1 1"], " "),
        (["0 1", "1"], None),
        (["a;b", "c;b"], ";"),
        (["a;b", "a;b", "c"], None),
        (["a,b", "a,c"], None),  # one of three parts recurs
        (["a,b", "a,b,c"], ","),  # two of three
        (["a,b", "a,b,c,d"], None),  # half of them
        (["1,2", "2,3,4"], ","),  # ids
        (["1,2", "3,4,5"], None),
        (["0,5", "1,5", "2,5"], None),
        ([], None),
    ],
)
def test_what_stands_between_several_classes(texts: list[str], separator: str | None) -> None:
    assert class_separator(pa.chunked_array([pa.array([*texts, None], pa.string())])) == separator


def test_parts_recur_in_different_texts_and_are_short() -> None:
    assert shared_parts(["a;b;b", "c;a", "a", "d", "d;"], ";") == {"a"}
    assert shared_parts([50 * "a" + ";b", 50 * "a" + ";c"], ";") == {50 * "a"}
    assert shared_parts([51 * "a" + ";b", 51 * "a" + ";c"], ";") == set()


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        (" a | |b", ["a", "b"]),
        ("['a', \"b\"]", ["a", "b"]),
        ("('a', 1)", ["a", "1"]),
        ("[0 1 0]", ["0", "1", "0"]),
        ("['a' , b c,]", ["a", "b c"]),
        ("(a]", ["(a]"]),
    ],
)
def test_classes_in_a_text(text: str, classes: list[str]) -> None:
    assert split_classes(text, "|") == classes


def test_structures_are_dictionaries_or_lists_of_them() -> None:
    cells = (["{'a': 1}", None, ' [ {"a": 1}]'], ["{'a': 1}", "a"], [None])
    assert [are_structures(pa.chunked_array([pa.array(texts, pa.string())])) for texts in cells] == [True, False, False]


KILOS = [f"{i} kg" for i in range(9)]
DAYS = [f"{1 + i} May 2020" for i in range(9)]


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        ([*KILOS, "heavy"], "numbers"),  # nine of ten are enough, eight are not
        ([*KILOS[:8], "heavy"], None),
        ([*KILOS, "N/A", "heavy", "-"], "numbers"),
        ([*DAYS, "later"], "dates or times"),
        ([*DAYS[:8], "later"], None),
        (["0123456789abcdef"], "keys"),
        (["1", "2"], "whole numbers"),
        (["1", "2.5"], "numbers"),
        (["1", "-", "2 kg"], None),
        (["$5", "7%", "-3.5 °C"], "numbers"),
        (["1e-03", "2"], "numbers"),
        (["2020-01-01", "1:30", "May 2020", "1/2/2020 10:00 pm"], "dates or times"),
        (["1a", "2a"], "numbers"),
        (["1a", "2b"], None),
        (["5 min", "2 h"], "numbers"),
        (["5 kg", "2 kgs."], "numbers"),
        ([str(year) for year in range(1990, 1996)], "numbers"),
        ([str(year) for year in range(1990, 1995)], "whole numbers"),
        (["?", "NaN"], None),
    ],
)
def test_values_in_texts(texts: list[str], values: str | None) -> None:
    assert detect_value_kind(texts) == values


@pytest.mark.parametrize(
    ("first", "count", "are"), [(1800, 6, True), (1800, 5, False), (1799, 6, False), (2095, 6, True), (2096, 6, False)]
)
def test_more_than_five_numbers_from_1800_to_2100_may_be_years(first: int, count: int, are: bool) -> None:
    assert are_years(range(first, first + count)) == are
