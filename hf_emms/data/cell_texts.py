"""Texts in cells that hold something else than words: several classes, numbers with units, dates."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# Longer texts are no lists of classes, and longer parts of them no classes.
_MAX_CLASS_LIST, _MAX_CLASS = 5_000, 50
# Of measured values, and of years, more different ones than these are no classes.
MAX_MEASURED_CLASSES = 5
YEARS = (1800, 2100)
_NOTHING = {"?", "-", "--", "n/a", "#n/a", "na", "nan", "null", "missing"}
# The share of the texts that must be numbers, or dates: others may say that there is no value.
_MOST = 0.9
_NUMBER = re.compile(
    r"[-+−]?\s?(?P<currency>[$€£¥]?)\s?(?P<number>\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?|\d*[.,]?\d+(?:[eE][-+]?\d+)?)\.?"
    r"\s?(?P<unit>%|°\s?[CF]?|[$€£¥]|[A-Za-zµ]{1,8}\.?(?:/[A-Za-z]{1,3})?[²³]?)?"
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s?[ap]m|Z|[-+]\d{2}:?\d{2})?"
_DATE = re.compile(
    rf"{_TIME}|(?:\d{{4}}[-/.]\d{{1,2}}(?:[-/.]\d{{1,2}})?|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}"
    rf"|\d{{1,2}}(?:\.|st|nd|rd|th)?[ -]{_MONTH}[ -]\d{{2,4}}|(?:{_MONTH} )(?:\d{{1,2}},? )?\d{{4}})(?:[ T]+{_TIME})?",
    re.IGNORECASE,
)


# Digests and UUIDs.
_KEY = re.compile(r"[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


# ---- several classes -------------------------------------------------------------------------------------------------


def class_separator(column: pa.ChunkedArray) -> str | None:
    """Return the character between several classes in a text: | or ; or a comma; None where a text is a single class.

    A bar is enough, and so are brackets around all texts, and a ; where one of the parts occurs in several different
    texts. Names have commas: most parts have to recur, as "news" and "sports" do, "tench, Tinca tinca" not.
    """
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(column.drop_null())
    if not pc.all(pc.less_equal(pc.utf8_length(texts), _MAX_CLASS_LIST)).as_py():  # also of no text at all
        return None
    bars = pc.match_substring_regex(texts, r"[^|\s]\s*\|\s*[^|\s]")
    brackets = pc.match_substring_regex(texts, r"^\[.*\]$|^\(.*\)$")
    if pc.any(bars).as_py() or pc.all(brackets).as_py():
        return "|"
    if pc.all(pc.match_substring_regex(texts, r"^[01]( [01])+$")).as_py():
        return " "
    distinct = texts.unique().to_pylist()
    if shared_parts(distinct, ";"):
        return ";"
    parts, shared = _parts(distinct, ","), shared_parts(distinct, ",")
    are_ids = bool(shared) and all(map(str.isdigit, parts))
    return "," if are_ids or 2 * len(shared) > len(parts) else None


def shared_parts(distinct: Sequence[str], separator: str) -> set[str]:
    """Return the parts that occur in several of these different texts; none where parts are long, or fractions."""
    parts = _parts(distinct, separator)
    are_fractions = separator == "," and all(re.fullmatch(r"-?\d+,\d+", text) for text in distinct)
    if are_fractions or any(len(part) > _MAX_CLASS for part in parts):
        return set()
    times = Counter(part for text in distinct for part in set(split_classes(text, separator)))
    return {part for part in parts if times[part] > 1}


def _parts(distinct: Iterable[str], separator: str) -> set[str]:
    """Return the parts of the texts that have several."""
    several = (parts for text in distinct if len(parts := split_classes(text, separator)) > 1)
    return {part for parts in several for part in parts}


def split_classes(text: str, separator: str) -> list[str]:
    """Return the classes in a text: "a|b", "['a', 'b']", "('a', 'b')", "[0 1 0]"."""
    text = text.strip()
    if (text[:1], text[-1:]) not in (("[", "]"), ("(", ")")):
        return [part.strip() for part in text.split(separator) if part.strip()]
    try:
        return [str(part) for part in ast.literal_eval(text)]
    except (ValueError, SyntaxError):
        inside = text[1:-1]
        parts = inside.split(",") if "," in inside else inside.split()
        return [part.strip(" '\"") for part in parts if part.strip(" '\"")]


def are_addresses(texts: Iterable[str]) -> bool:
    return all(text.startswith(("http://", "https://", "www.")) for text in texts)


def are_structures(column: pa.ChunkedArray) -> bool:
    """Return whether texts are dictionaries as Python or JSON write them: "{'text': ['cat']}"."""
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(column, r"^\s*\[?\s*\{\s*['\"]")).as_py())


# ---- values ----------------------------------------------------------------------------------------------------------


def detect_value_kind(distinct: Sequence[str]) -> str | None:
    """Return what different texts hold: "dates or times", "numbers", "whole numbers", "keys"; None for words.

    Numbers may have a unit, all the same: "83%", "5 kg", "1e-03".
    """
    distinct = [text for text in distinct if text.lower() not in _NOTHING]
    if not distinct:
        return None
    for held, pattern in (("dates or times", _DATE), ("keys", _KEY)):
        if sum(bool(pattern.fullmatch(text)) for text in distinct) >= _MOST * len(distinct):
            return held
    matches = [match for text in distinct if (match := _NUMBER.fullmatch(text))]
    units = {(match["unit"] or match["currency"] or "").rstrip("s.").lower() for match in matches}
    # "1a" and "2b" are names, "5 min" and "2 h" are not.
    are_apart = all(match["currency"] or re.search(r"[\s%°$€£¥]", match[0]) for match in matches)
    if len(matches) < _MOST * len(distinct) or not (len(units) == 1 or are_apart):
        return None
    are_whole = units == {""} and all(match["number"].isdigit() for match in matches)
    return "whole numbers" if are_whole and not are_years([int(match["number"]) for match in matches]) else "numbers"


def are_years(numbers: Sequence[float]) -> bool:
    """Return whether different numbers may be years, and are too many for classes."""
    return len(numbers) > MAX_MEASURED_CLASSES and YEARS[0] <= min(numbers) and max(numbers) <= YEARS[1]


def say_nothing(names: Iterable[str]) -> list[str]:
    """Return the names that may stand for a missing value."""
    return [name for name in names if name.lower() in _NOTHING]


def spelt_differently(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of names that differ in capitals, spaces and a full stop alone: "no", "No" and "NO."."""

    def plain(name: str) -> str:
        return " ".join(name.casefold().split()).rstrip(".")

    ordered = sorted(set(names), key=lambda name: (plain(name), name))
    groups = (list(group) for _, group in groupby(ordered, plain))
    return [group for group in groups if len(group) > 1]
