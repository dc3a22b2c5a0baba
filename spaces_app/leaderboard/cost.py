"""The tab Score vs cost: a scatter plot as SVG, with the Pareto front marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hf_emms.errors import format_count, pluralize
from hf_emms.ranking import Explained, Ranking
from hf_emms.ranking.columns import ScoreFormatter
from leaderboard import markup
from leaderboard.compare import checkpoint_link
from leaderboard.lines import Line, lines, matching
from leaderboard.markup import escape
from leaderboard.selection import COSTS, View, to_query
from leaderboard.store import Snapshot

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 20, 54
_MAX_POINTS = 1000
_MAX_LABELS = 12
_RADIUS = 6

# Left, top, right, bottom.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Canvas:
    """The size of a drawing in pixels. The page contains both, and CSS shows the one that fits the window."""

    name: str
    width: int
    height: int


_CANVASES = (Canvas("wide", 760, 420), Canvas("narrow", 366, 400))


@dataclass(frozen=True)
class Point:
    """A checkpoint with its cost and its score, as number and text."""

    line: Line
    cost: float
    score: Explained
    text: str


def points(view: View, ranking: Ranking, snapshot: Snapshot) -> list[Point]:
    """Return the checkpoints that pass the filters and have a score and a cost, cheapest first."""
    measured, shown = [], ScoreFormatter(ranking, ranking.estimators[0])
    for line in matching(lines(ranking, snapshot), view):
        score = line.score(ranking.estimators[0])
        cost = line.seconds if view.cost == "seconds" else line.row.parameters
        if score is not None and cost is not None and cost > 0:
            measured.append(Point(line, float(cost), shown.number(score), shown.text(score)))
    return sorted(measured, key=lambda point: (point.cost, -point.score.value))


def front(cheapest_first: Sequence[Point]) -> list[Point]:
    """Return the Pareto front, cheapest first: points that score more than all that cost the same or less."""
    best: list[Point] = []
    for point in cheapest_first:
        if not best or point.score.value > best[-1].score.value:
            best.append(point)
    return best


def plot(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Render the plot, and the front as a list."""
    drawn = points(view, ranking, snapshot)[:_MAX_POINTS]
    if not drawn:
        return '<p class="empty">No checkpoint passes these filters.</p>'
    best = front(drawn)
    return (
        f'<div class="plots">{"".join(_svg(view, ranking, drawn, best, canvas) for canvas in _CANVASES)}</div>'
        f'<p class="small"><span class="key"></span> Pareto front: no cheaper checkpoint scores higher. '
        f"{_missing(view, ranking, snapshot, len(drawn))} Bars show one standard error. "
        "Click a point to open the page of its checkpoint.</p>"
        f"<h2>The front</h2><ol>{''.join(_in_words(point, view) for point in best)}</ol>"
    )


def _svg(view: View, ranking: Ranking, drawn: Sequence[Point], best: Sequence[Point], canvas: Canvas) -> str:
    across, cost_ticks = _log_axis([point.cost for point in drawn], canvas)
    up, score_ticks = _linear_axis(
        [end for point in drawn for end in (point.score.value - _error(point), point.score.value + _error(point))],
        canvas,
    )
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    title, cost_title = shown.heading, COSTS[view.cost]
    path = "M" + " L".join(f"{across(point.cost):.1f},{up(point.score.value):.1f}" for point in best)
    on_front = {point.line.row.checkpoint for point in best}
    order = sorted(drawn, key=lambda point: point.line.row.checkpoint in on_front)
    return (
        f'<svg class="plot {canvas.name}" viewBox="0 0 {canvas.width} {canvas.height}" role="group" '
        f'aria-label="{escape(title)} against {cost_title.lower()}, {len(drawn)} checkpoints">'
        f"{_grid(across, cost_ticks, up, score_ticks, view, canvas, shown.quantity.value)}"
        f'<text class="axis" x="{canvas.width / 2}" y="{canvas.height - 8}" text-anchor="middle">'
        f"{cost_title} (log scale)</text>"
        f'<text class="axis" transform="translate(16 {canvas.height / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(title)}{'' if shown.quantity.arrow else ' →'}</text>"
        f'<path class="front" d="{path}"/>'
        + "".join(_mark(point, across, up, point.line.row.checkpoint in on_front, view) for point in order)
        + _labels(best[-_MAX_LABELS:], drawn, across, up, canvas)
        + "</svg>"
    )


def _mark(point: Point, across: Callable, up: Callable, on_front: bool, view: View) -> str:
    row, value, error = point.line.row, point.score.value, _error(point)
    text = escape(f"{row.checkpoint}: {point.text}, {_cost(point, view)}")
    x = f"{across(point.cost):.1f}"
    mark = (
        f'<g class="point{" best" if on_front else ""}">'
        f'<line x1="{x}" x2="{x}" y1="{up(value - error):.1f}" y2="{up(value + error):.1f}"/>'
        f'<circle cx="{x}" cy="{up(value):.1f}" r="{_RADIUS}"/></g>'
    )
    query = to_query(View(checkpoint=row.checkpoint))
    return f'<a href="?{escape(query)}" aria-label="{text}">{mark}</a>'


def _labels(best: Sequence[Point], drawn: Sequence[Point], across: Callable, up: Callable, canvas: Canvas) -> str:
    """Label the points of the front, but omit labels that would cover a point or another label."""
    boxes = [_box(point, across, up) for point in drawn]
    texts = []
    for point in reversed(best):
        name = point.line.row.checkpoint.rpartition("/")[2]
        name = name if len(name) <= 28 else f"{name[:27]}…"
        left, top, right, bottom = _box(point, across, up)
        width, middle = 7.2 * len(name), across(point.cost)
        centred = min(max(middle - width / 2, _LEFT + 2), canvas.width - _RIGHT - width)
        level = up(point.score.value) + 4
        for x, y in ((centred, top - 4), (right + 3, level), (left - 3 - width, level), (centred, bottom + 13)):
            box = (x, y - 11, x + width, y + 3)
            is_inside = x > _LEFT and x + width <= canvas.width and y > 12 and y < canvas.height - _BOTTOM
            if is_inside and not any(_overlap(box, other) for other in boxes):
                boxes.append(box)
                texts.append(f'<text class="label" x="{x:.1f}" y="{y:.1f}" aria-hidden="true">{escape(name)}</text>')
                break
    return "".join(texts)


def _box(point: Point, across: Callable, up: Callable) -> Box:
    """Return the bounding box of a point and its error bar."""
    x, value, error = across(point.cost), point.score.value, _error(point)
    return (
        x - _RADIUS,
        min(up(value) - _RADIUS, up(value + error)),
        x + _RADIUS,
        max(up(value) + _RADIUS, up(value - error)),
    )


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _grid(
    across: Callable,
    costs: Sequence[float],
    up: Callable,
    scores: Sequence[float],
    view: View,
    canvas: Canvas,
    written: Callable[[float], float],
) -> str:
    bottom = canvas.height - _BOTTOM
    digits = max(0, -math.floor(math.log10(scores[1] - scores[0]))) if len(scores) > 1 else 2
    marks = [
        f'<line class="rule" x1="{across(at):.1f}" x2="{across(at):.1f}" y1="{_TOP}" y2="{bottom}"/>'
        f'<text x="{across(at):.1f}" y="{bottom + 18}" text-anchor="middle">{_tick(at, view)}</text>'
        for at in costs
    ]
    marks += [
        f'<line class="rule" x1="{_LEFT}" x2="{canvas.width - _RIGHT}" y1="{up(at):.1f}" y2="{up(at):.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{up(at) + 4:.1f}" text-anchor="end">{written(at):z.{digits}f}</text>'
        for at in scores
    ]
    return f'<g class="grid" aria-hidden="true">{"".join(marks)}</g>'


def _log_axis(values: Sequence[float], canvas: Canvas) -> tuple[Callable[[float], float], list[float]]:
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = max(0.06 * (high - low), 0.08)
    low, high = low - pad, high + pad
    scale = (canvas.width - _LEFT - _RIGHT) / (high - low)
    steps = (
        (1,)
        if high - low > 3 or (canvas.width < 500 and high - low > 1)
        else (1, 2, 5)
        if high - low > 0.8
        else (1, 1.5, 2, 3, 5, 7)
    )
    ticks = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return lambda value: _LEFT + (math.log10(value) - low) * scale, [
        at for at in ticks if low <= math.log10(at) <= high
    ]


def _linear_axis(values: Sequence[float], canvas: Canvas) -> tuple[Callable[[float], float], list[float]]:
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 0.5
    low, high = low - pad, high + pad
    scale = (canvas.height - _TOP - _BOTTOM) / (high - low)
    rough = (high - low) / 6
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    ticks = [place * step for place in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return lambda value: canvas.height - _BOTTOM - (value - low) * scale, ticks


def _tick(at: float, view: View) -> str:
    return f"{at:g} s" if view.cost == "seconds" else format_count(round(at)).replace(".0", "")


def _cost(point: Point, view: View) -> str:
    return (
        f"{markup.seconds(point.cost)} s" if view.cost == "seconds" else f"{format_count(int(point.cost))} parameters"
    )


def _error(point: Point) -> float:
    return point.score.stderr or 0.0


def _missing(view: View, ranking: Ranking, snapshot: Snapshot, drawn: int) -> str:
    absent = len(matching(lines(ranking, snapshot), view)) - drawn
    return f"Not drawn: {pluralize(absent, 'checkpoint')} without a score or a cost." if absent else ""


def _in_words(point: Point, view: View) -> str:
    link = checkpoint_link(point.line.row.checkpoint, view)
    return f"<li>{link}: {point.text}, {escape(_cost(point, view))}</li>"
