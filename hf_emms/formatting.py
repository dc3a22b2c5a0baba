"""Numbers, sizes and durations as text, and text as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from hf_emms.errors import EmmsError

MISSING = "–"
_COUNTS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
_BYTES = {"": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def pluralize(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 row", "1,034 rows"; `plural` if it does not end in s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def first_few(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """Return the first texts and the number of others: "a, b and 3 more"."""
    others = len(texts) - most
    return separator.join(texts[:most]) + (f" and {others:,} more" if others > 0 else "")


def format_count(count: int | None) -> str:
    """Return a number of parameters: "309k", "4.7M", "1.3B", or a dash if it is unknown."""
    if count is None:
        return MISSING
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            amount = count / scale
            return f"{amount:.0f}{unit}" if amount >= 100 or unit == "k" else f"{amount:.1f}{unit}"
    return str(count)


def format_bytes(count: float) -> str:
    """Return a size: "12 B", "1.5 MB", "20.0 GB"."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count:.0f} B"


def format_duration(seconds: float) -> str:
    """Return a duration in its largest unit: "42s", "3h", "2w"."""
    unit, scale = next(((unit, scale) for unit, scale in reversed(_SECONDS.items()) if seconds >= scale), ("s", 1.0))
    return f"{seconds / scale:.0f}{unit}"


def parse_count(text: str) -> int:
    """Parse a number such as "22000", "22K", "100M" or "1.5B"."""
    return round(_parse(text, _COUNTS, "number", "22000, 22K, 100M or 1.5B"))


def parse_bytes(text: str) -> int:
    """Parse a size such as "500MB" or "8GB"."""
    return round(_parse(text, _BYTES, "size", "500MB or 8GB"))


def parse_duration(text: str, *, bare_seconds: bool = False) -> float:
    """Parse a duration such as "90s", "30m", "12h", "30d" or "8w" into seconds; `bare_seconds` also accepts "90"."""
    units = {"": 1.0, **_SECONDS} if bare_seconds else _SECONDS
    return _parse(text, units, "duration", "90s, 30m, 12h, 30d or 8w")


def _parse(text: str, units: Mapping[str, float], kind: str, examples: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if match is None or match[2] not in units:
        raise EmmsError("invalid-value", f"{text!r} is not a {kind}", f"write {examples}")
    return float(match[1]) * units[match[2]]
