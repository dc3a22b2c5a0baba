"""The plot of scores against costs as SVG, with the checkpoint to fine-tune and the Pareto front marked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from hf_emms.formatting import format_bytes, format_count
from hf_emms.ranking import Explained, Ranking
from hf_emms.ranking.columns import ScoreFormatter
from hf_emms.ranking.verdict import pick
from leaderboard import markup
from leaderboard.lines import Line, lines, matching, of_lines, value
from leaderboard.selection import COSTS, View, checkpoint_link, to_query
from leaderboard.store import Snapshot

_MAX_POINTS = 1000
# Per cent of the height between two names, and characters of a name.
_LABEL_GAP, _LABEL_LENGTH = 11.0, 28
_MORE_IS_CHEAPER = ("documents_per_second",)


@dataclass(frozen=True)
class Point:
    """A checkpoint with its cost and its score, each as number and text."""

    line: Line
    cost: float
    score: Explained
    text: str
    cost_text: str


def points(view: View, ranking: Ranking, snapshot: Snapshot) -> list[Point]:
    """Return the checkpoints that pass the filters and have a score and a cost, cheapest first."""
    measured, shown = [], ScoreFormatter(ranking, ranking.estimators[0])
    for line in matching(lines(ranking, snapshot), view):
        score = line.score(ranking.estimators[0])
        cost = value(line, view.cost)
        if score is not None and cost is not None and cost > 0:
            text = _cost(cost, line, view)
            measured.append(Point(line, float(cost), shown.number(score), shown.text(score), text))
    sign = -1 if view.cost in _MORE_IS_CHEAPER else 1
    return sorted(measured, key=lambda point: (sign * point.cost, -point.score.value))


def known_costs(ranking: Ranking, snapshot: Snapshot) -> dict[str, str]:
    """Return the costs that a checkpoint of a ranking has, with their titles."""
    some = lines(ranking, snapshot)
    return {name: title for name, title in COSTS.items() if any(value(line, name) for line in some)}


def front(cheapest_first: Sequence[Point]) -> list[Point]:
    """Return the Pareto front, cheapest first: points that score more than all that cost the same or less."""
    best: list[Point] = []
    for point in cheapest_first:
        if not best or point.score.value > best[-1].score.value:
            best.append(point)
    return best


def plot(view: View, ranking: Ranking, snapshot: Snapshot) -> Markup:
    """Render the plot of the checkpoints that pass the filters, and the front as a list."""
    drawn = points(view, ranking, snapshot)[:_MAX_POINTS]
    best = front(drawn)
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    return markup.draw(
        "plot.html",
        chart=_chart(view, ranking, drawn, best, snapshot) if drawn else None,
        title=shown.heading + ("" if shown.quantity.arrow else " →"),
        cost=COSTS[view.cost],
        missing=len(matching(lines(ranking, snapshot), view)) - len(drawn),
        machines=list(dict.fromkeys(point.line.row.machine for point in drawn if point.line.row.machine)),
        front=[
            (checkpoint_link(point.line.row.checkpoint, view), f"{point.text}, {point.cost_text}") for point in best
        ],
    )


def _chart(
    view: View, ranking: Ranking, drawn: Sequence[Point], best: Sequence[Point], snapshot: Snapshot
) -> dict[str, Any]:
    """Return the coordinates of a drawing in per cent, so that it fits every width without smaller letters."""
    across, cost_ticks = _log_axis([point.cost for point in drawn])
    ends = [end for point in drawn for end in (point.score.value - _error(point), point.score.value + _error(point))]
    up, score_ticks = _linear_axis(ends)
    written = ScoreFormatter(ranking, ranking.estimators[0]).quantity.value
    digits = max(0, -math.floor(math.log10(score_ticks[1] - score_ticks[0]))) if len(score_ticks) > 1 else 2
    places = {row.checkpoint: place for place, row in enumerate(ranking.rows)}
    chosen = pick(of_lines(ranking, matching(lines(ranking, snapshot), view)))
    on_front = {point.line.row.checkpoint for point in best}
    order = sorted(drawn, key=lambda point: point.line.row.checkpoint in on_front)
    marks = [
        {
            "query": to_query(View(checkpoint=point.line.row.checkpoint)),
            "text": f"{point.line.row.checkpoint}: {point.text}, {point.cost_text}",
            "css": "point best" if point.line.row.checkpoint in on_front else "point",
            "place": places[point.line.row.checkpoint],
            "is_pick": chosen is not None and point.line.row.checkpoint == chosen.checkpoint,
            "name": point.line.row.checkpoint.rpartition("/")[2][:_LABEL_LENGTH],
            "x": across(point.cost),
            "y": up(point.score.value),
            "low": up(point.score.value - _error(point)),
            "high": up(point.score.value + _error(point)),
        }
        for point in order
    ]
    ordered = sorted((across(point.cost), up(point.score.value)) for point in best)
    end = 100.0
    if view.cost in _MORE_IS_CHEAPER:
        ordered, end = ordered[::-1], 0.0
    return {
        "costs": [(across(at), _tick(at, view)) for at in cost_ticks],
        "scores": [(up(at), f"{written(at):z.{digits}f}") for at in score_ticks],
        "steps": [*zip(ordered, [*ordered[1:], (end, ordered[-1][1])], strict=True)],
        "points": marks,
        "labels": _labels(marks),
    }


def _labels(marks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the marks with a name: the pick, and those of the front that keep a distance to the others."""
    named: list[dict[str, Any]] = []
    candidates = [mark for mark in marks if mark["is_pick"] or "best" in mark["css"]]
    for mark in sorted(candidates, key=lambda mark: (not mark["is_pick"], mark["y"])):
        if all(abs(mark["y"] - other["y"]) >= _LABEL_GAP for other in named):
            named.append(mark)
    return named


def _log_axis(values: Sequence[float]) -> tuple[Callable[[float], float], list[float]]:
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = max(0.06 * (high - low), 0.08)
    low, high = low - pad, high + pad
    # Few enough for a phone.
    steps = (1,) if high - low > 1.2 else (1, 2, 5) if high - low > 0.8 else (1, 1.5, 2, 3, 5, 7)
    ticks = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return lambda value: _per_cent((math.log10(value) - low) / (high - low)), [
        at for at in ticks if low <= math.log10(at) <= high
    ]


def _linear_axis(values: Sequence[float]) -> tuple[Callable[[float], float], list[float]]:
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    low, high = low - pad, high + pad
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    ticks = [place * step for place in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return lambda value: _per_cent((high - value) / (high - low)), ticks


def _per_cent(share: float) -> float:
    return round(100 * share, 2)


def _tick(at: float, view: View) -> str:
    if view.cost == "parameters":
        return format_count(round(at)).replace(".0", "")
    if view.cost in ("memory", "bytes_per_million"):
        return format_bytes(at).replace(".0", "")
    return f"{at:,g} s" if view.cost == "seconds" else f"{at:,g}"


def _cost(cost: float, line: Line, view: View) -> str:
    """Return the cost of a checkpoint with its unit: "2.3 hours per million"."""
    if view.cost in ("memory", "bytes_per_million"):
        measured = ", measured" if view.cost == "memory" and line.row.memory else ""
        return f"{format_bytes(cost)}{measured}"
    return {
        "parameters": f"{format_count(int(cost))} parameters",
        "seconds": f"{markup.seconds(cost)} s",
        "hours_per_million": f"{cost:,.3g} hours per million",
        "documents_per_second": f"{cost:,.0f} documents/s",
    }[view.cost]


def _error(point: Point) -> float:
    return point.score.stderr or 0.0
