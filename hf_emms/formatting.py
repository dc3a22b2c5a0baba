"""Numbers in sentences."""

from __future__ import annotations


def pluralize(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 row", "1,034 rows"; `plural` where it doesn't end in s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
