"""A small chart in plain text: where each checkpoint's score lies, with its error."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from hf_emms.cards.entries import Place
from hf_emms.ranking_views import number, one_line, title_of

_WIDTH = 36
_NAME = 40


def chart(places: Sequence[Place], own: Place | None = None) -> str:
    """One line a checkpoint: its rank, its name, a dot at its score and a bar of two standard errors around.

    The axis runs from the lowest to the highest value shown; scores have no zero that would mean something.

    Args:
        places: the lines, best first.
        own: the checkpoint that the card is about; marked, and added below where it is not among `places`.
    """
    shown = list(places)
    if own is not None and all(place.checkpoint != own.checkpoint for place in shown):
        shown.append(own)
    ends = [place.score.value + sign * _reach(place) for place in shown for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    names = [_fitted(one_line(place.checkpoint)) for place in shown]
    ranks = [f"={place.rank}" if place.tied else str(place.rank) for place in shown]
    name_width, rank_width = max(map(_columns, names)), max(map(len, ranks))
    left, right = number(low), number(high)
    title = title_of(shown[0].score.estimator)
    margin = " " * (rank_width + 2 + name_width + 2)
    lines = [margin + left + title.center(max(_WIDTH - len(left) - len(right), 0)) + right]
    for place, name, rank in zip(shown, names, ranks, strict=True):
        mark = " ◀" if own is not None and place.checkpoint == own.checkpoint else ""
        padded = name + " " * (name_width - _columns(name))
        lines.append(f"{rank:>{rank_width}}  {padded}  {_line(place, low, high)}{mark}")
    return "\n".join(line.rstrip() for line in lines)


def _reach(place: Place) -> float:
    return 2 * (place.score.stderr or 0.0)


def _line(place: Place, low: float, high: float) -> str:
    scale = (_WIDTH - 1) / (high - low) if high > low else 0.0
    dot = round((place.score.value - low) * scale) if scale else _WIDTH // 2
    arm = round(_reach(place) * scale)
    cells = ["─" if abs(position - dot) <= arm else " " for position in range(_WIDTH)]
    cells[dot] = "●"
    return "".join(cells)


def _fitted(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME // 2 - 1]}…{name[-_NAME // 2 :]}"


def _columns(name: str) -> int:
    """How wide a name stands in a monospaced font."""
    if name.isascii():
        return len(name)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in name)
