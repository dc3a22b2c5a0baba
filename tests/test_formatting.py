"""Numbers, sizes and durations as people write and read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hf_emms.errors import EmmsError
from hf_emms.formatting import (
    format_bytes,
    format_count,
    format_duration,
    parse_bytes,
    parse_count,
    parse_duration,
    pluralize,
)


def test_one_is_no_plural() -> None:
    assert [pluralize(count, "row") for count in (0, 1, 2, 1034)] == ["0 rows", "1 row", "2 rows", "1,034 rows"]
    assert [pluralize(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]


@pytest.mark.parametrize(
    ("format", "value", "text"),
    [
        (format_count, None, "–"),
        (format_count, 309_248, "309k"),
        (format_count, 4_650_000, "4.7M"),
        (format_count, 334_000_000, "334M"),
        (format_count, 1_300_000_000, "1.3B"),
        (format_bytes, 0, "0 B"),
        (format_bytes, 1_234, "1.2 kB"),
        (format_bytes, 20_000_000_000, "20.0 GB"),
        (format_duration, 0.4, "0s"),
        (format_duration, 90, "2m"),
        (format_duration, 15 * 86400, "2w"),
    ],
)
def test_what_is_written_is_short(format: Callable[[Any], str], value: float | None, text: str) -> None:
    assert format(value) == text


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_count, "22k", 22_000),
        (parse_count, "1.5B", 1_500_000_000),
        (parse_bytes, "1000", 1_000),
        (parse_bytes, " 1.5 gb ", 1_500_000_000),
        (parse_duration, "1.5 h", 5_400),
        (parse_duration, "8W", 8 * 7 * 86400),
        (lambda text: parse_duration(text, bare_seconds=True), "30", 30),
    ],
)
def test_what_people_write_is_read(parse: Callable[[str], float], text: str, value: float) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "kind"),
    [
        (parse_count, "much", "number"),
        (parse_count, "-1", "number"),
        (parse_bytes, "5 bytes", "size"),
        (parse_duration, "30", "duration"),
        (parse_duration, "", "duration"),
    ],
)
def test_the_rest_is_refused_with_examples(parse: Callable[[str], float], text: str, kind: str) -> None:
    with pytest.raises(EmmsError, match=f"'{text}' is no {kind}") as caught:
        parse(text)
    assert str(caught.value.hint).startswith("write ")
