"""The names of two columns of texts that belong together."""

import re
from collections.abc import Iterable, Iterator, Sequence

_SECOND = {"1": "2", "a": "b"}
_GAPS = re.compile(r"[\s-]+")
_FIRST_OF_TWO = re.compile(r"(.*[a-z_])(1|a)")

# The names of the first and the second text; the earliest pair that a dataset has is read.
TEXT_PAIRS = (
    ("premise", "hypothesis"),
    *(
        (f"{name}{mark}", f"{name}{mark[:-1]}{_SECOND[mark[-1]]}")
        for name in ("sentence", "text", "question")
        for mark in ("1", "_1", "_a")
    ),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "document"),
    ("query", "passage"),
    ("claim", "evidence"),
    ("text", "text_pair"),
    ("question", "context"),
    ("context", "response"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("query", "text"),
    ("question", "answer"),
)
FIRST_TEXTS, SECOND_TEXTS = (tuple(dict.fromkeys(names)) for names in zip(*TEXT_PAIRS, strict=True))


def text_pairs(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the pairs among a dataset's columns of texts: usual names, or the same name with 1 and 2, or _a and _b."""
    lower = set(map(spelling, names))
    numbered = [
        (first, f"{match[1]}{_SECOND[match[2]]}")
        for first in lower
        if (match := _FIRST_OF_TWO.fullmatch(first)) and (match[2] == "1" or match[1].endswith("_"))
    ]
    several = {f"{first[:-1]}{third}" for first, _ in numbered for third in "3c"}
    for pair in (*TEXT_PAIRS, *sorted(numbered)):
        if (columns := named_columns(names, pair)) and not several & lower:
            yield columns


def named_columns(columns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of a dataset with these names in any spelling; empty unless all are there."""
    by_spelling = {spelling(name): name for name in columns}
    names = tuple(names)
    return tuple(by_spelling[name] for name in names) if all(name in by_spelling for name in names) else ()


def spelling(name: str) -> str:
    """Return a column's name as expected names are written, "sentence_a" for "Sentence A"."""
    return _GAPS.sub("_", name.strip().lower())
