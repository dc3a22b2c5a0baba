"""A scatter plot in plain text: what a ranking said against what fine-tuning gave."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

from hf_emms.agreement.report import Target
from hf_emms.ranking_views import number, one_line, title_of

_WIDTH, _HEIGHT = 64, 14
_SEVERAL, _MANY = "+", "•"


def scatter(target: Target, name: str, metric: str, lower_is_better: bool = False, width: int = 80) -> str:
    """Checkpoints as letters, the truth upwards and the score to the right; below it who is who.

    Args:
        target: what was compared.
        name: the estimator or control on the axis to the right.
        metric: what the truth is, for the heading.
        lower_is_better: turns the truth's axis round, so that good is always up.
        width: columns to stay within.
    """
    shown = [(point.checkpoint, point.scores[name], point.truth) for point in target.points if name in point.scores]
    scores, truths = [score for _, score, _ in shown], [truth for _, _, truth in shown]
    top, bottom = (min(truths), max(truths)) if lower_is_better else (max(truths), min(truths))
    high, low = _digits(top), _digits(bottom)
    margin = max(len(high), len(low))
    columns = min(_WIDTH, width - margin - 3)
    marks = ascii_letters if len(shown) <= len(ascii_letters) else _MANY * len(shown)
    grid = _grid(scores, [abs(truth - bottom) for truth in truths], marks, columns)
    lines = [f"{' ' * margin}  {metric} ({'down' if lower_is_better else 'up'} is more, good is up)"]
    for place, cells in enumerate(grid):
        label = high if place == 0 else low if place == _HEIGHT - 1 else ""
        lines.append(f"{label:>{margin}} │{cells}".rstrip())
    left, right = number(min(scores)), number(max(scores))
    middle = title_of(name).center(max(columns - len(left) - len(right), 2))
    lines += [f"{' ' * margin} └{'─' * columns}", f"{' ' * margin}  {left}{middle}{right}"]
    if len(shown) <= len(ascii_letters):
        lines += ["", *_legend(shown, marks, width)]
    return "\n".join(lines)


def _grid(scores: Sequence[float], heights: Sequence[float], marks: str, columns: int) -> list[str]:
    cells = [[" "] * columns for _ in range(_HEIGHT)]
    for score, height, mark in zip(scores, heights, marks, strict=False):
        column = _place(score - min(scores), max(scores) - min(scores), columns)
        row = _HEIGHT - 1 - _place(height, max(heights), _HEIGHT)
        cells[row][column] = mark if cells[row][column] in (" ", mark) else _SEVERAL
    return ["".join(line) for line in cells]


def _place(offset: float, reach: float, places: int) -> int:
    return round(offset / reach * (places - 1)) if reach > 0 else (places - 1) // 2


def _legend(shown: Sequence[tuple[str, float, float]], marks: str, width: int) -> list[str]:
    """Who is who, the truly best first; long names lose their middle."""
    room = width - max(len(_digits(truth)) for _, _, truth in shown) - 6
    names = [one_line(name) for name, _, _ in shown]
    names = [name if len(name) <= room else f"{name[: room // 2 - 1]}…{name[-(room - room // 2) :]}" for name in names]
    widest = max(map(len, names))
    return [
        f"  {mark}  {name:<{widest}}  {_digits(truth)}"
        for mark, name, (_, _, truth) in zip(marks, names, shown, strict=False)
    ]


def _digits(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
