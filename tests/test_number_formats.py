"""Numbers, sizes and durations as people write and read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hf_emms.formatting import (
    first_few,
    format_bytes,
    format_count,
    format_duration,
    parse_count,
    parse_duration,
    pluralize,
)
from tests.helpers.errors import raises_code


def test_pluralize_and_first_few() -> None:
    assert [pluralize(count, "row") for count in (0, 1, 2, 1034)] == ["0 rows", "1 row", "2 rows", "1,034 rows"]
    assert [pluralize(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]
    assert [first_few("ab"[:count], 2) for count in range(3)] == ["", "a", "a, b"]
    assert (first_few("abc", 2, "; "), first_few("ab" * 600, 1)) == ("a; b and 1 more", "a and 1,199 more")


@pytest.mark.parametrize(
    ("format", "texts"),
    [
        (format_count, {None: "–", 999: "999", 1_000: "1k", 309_248: "309k", 1_000_000: "1.0M", 4_650_000: "4.7M"}),
        (format_count, {100_000_000: "100M", 334_000_000: "334M", 1_000_000_000: "1.0B", 1_300_000_000: "1.3B"}),
        (format_bytes, {0: "0 B", 1_000: "1.0 kB", 1_234: "1.2 kB", 10**6: "1.0 MB", 2 * 10**10: "20.0 GB"}),
        (format_bytes, {10**9: "1.0 GB", 10**12: "1.0 TB"}),
        (format_duration, {0.4: "0s", 60: "1m", 90: "2m", 3600: "1h", 86400: "1d", 15 * 86400: "2w"}),
    ],
)
def test_formats_are_short(format: Callable[[Any], str], texts: dict[float | None, str]) -> None:
    assert {value: format(value) for value in texts} == texts


@pytest.mark.parametrize(
    ("parse", "values"),
    [
        (parse_count, {"22k": 22_000, "100M": 100_000_000, "1.5B": 1_500_000_000}),
        (parse_duration, {"90s": 90, "30m": 1_800, "1.5 h": 5_400, "30d": 30 * 86400, "8W": 8 * 7 * 86400}),
        (lambda text: parse_duration(text, bare_seconds=True), {"30": 30, "2m": 120}),
    ],
)
def test_parsers_accept_usual_spellings(parse: Callable[[str], float], values: dict[str, float]) -> None:
    assert {text: parse(text) for text in values} == values


@pytest.mark.parametrize(
    ("parse", "text", "kind"),
    [
        (parse_count, "much", "number"),
        (parse_count, "-1", "number"),
        (parse_duration, "30", "duration"),
        (parse_duration, "", "duration"),
    ],
)
def test_parsers_refuse_others_with_examples(parse: Callable[[str], float], text: str, kind: str) -> None:
    with raises_code("invalid-value", f"{text!r}", kind) as caught:
        parse(text)
    assert str(caught.value.hint).startswith("write ")
