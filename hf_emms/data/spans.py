"""Where texts stand in a longer text, and which other places of it are as long."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Characters from and up to.
Span = tuple[int, int]

# Scripts that are written without spaces between words: Thai to Lao, Myanmar, Khmer, Chinese and Japanese. Every
# character counts as a word there.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def find_spans(text: str, said: Sequence[tuple[str, int | None]]) -> list[Span]:
    """Where texts stand in another, to the letter; those that do not are left out.

    Args:
        text: the longer text.
        said: each text, and the character at which it starts, as far as the dataset says.

    Returns:
        One span a text that was found: where it starts by the dataset, else the nearest place to that, else its first
        place, as words of their own rather than inside a longer one.
    """
    found = (_find(text, one.strip(), start) for one, start in said)
    return [span for span in found if span is not None]


def places_like(text: str, span: Span, taken: Sequence[Span]) -> list[Span]:
    """Runs of as many words as a span covers, from left to right.

    Words end before punctuation, as answers do: where a span ends would else tell what it is.

    Args:
        text: the text.
        span: one of the spans of it.
        taken: what the runs may not overlap, nor repeat word for word.
    """
    words = list(_words(text))
    count = max(1, sum(start < span[1] and stop > span[0] for start, stop in words))
    repeated = {text[start:stop] for start, stop in taken}
    runs = [(words[i][0], words[i + count - 1][1]) for i in range(len(words) - count + 1)]
    return [
        (start, stop)
        for start, stop in runs
        if text[start:stop] not in repeated and not any(start < end and stop > begin for begin, end in taken)
    ]


def _find(text: str, said: str, start: int | None) -> Span | None:
    if not said:
        return None
    if start is not None and text[start : start + len(said)] == said:
        return start, start + len(said)
    inside = [match.start() for match in re.finditer(re.escape(said), text)]
    whole = [at for at in inside if not _splits(text, at) and not _splits(text, at + len(said))]
    places = whole or inside
    if not places:
        return None
    nearest = min(places, key=lambda at: abs(at - start)) if start is not None else places[0]
    return nearest, nearest + len(said)


def _splits(text: str, at: int) -> bool:
    """Whether a place lies inside a word."""
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def _words(text: str) -> Iterator[Span]:
    for run in _RUN.finditer(text):
        start, stop = run.span()
        while start < stop and _punctuation(text[start]):
            start += 1
        while start < stop and _punctuation(text[stop - 1]):
            stop -= 1
        if start < stop:
            yield start, stop


def _punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")
