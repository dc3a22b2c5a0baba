"""Draw a ranking as a chart; requires matplotlib (the extra plot)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.cache.files import atomic_file
from hf_emms.errors import EmmsError, format_count, install_command
from hf_emms.ranking.columns import ScoreFormatter, single_line
from hf_emms.ranking.records import RankingData, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".png", ".svg", ".pdf")
_WIDTH, _LINE = 7.0, 0.32  # inches


def draw(ranking: RankingData, kind: str, estimator: str, ax: Axes | None, path: Path | None) -> Axes:
    """Return the axes with the chart of `Ranking.plot`."""
    if kind not in ("scores", "size"):
        raise EmmsError(f"unknown kind of chart {kind!r}", "kind='scores' or kind='size'")
    if path is not None and path.suffix.lower() not in SUFFIXES:
        raise EmmsError(f"{str(path)!r} is not a supported chart format", f"use {' or '.join(SUFFIXES)}")
    rows = [row for row in ranking.rows if estimator in row.scores and (kind == "scores" or row.parameters)]
    if not rows:
        raise EmmsError(f"no row has a score by {estimator} to draw", f"estimators: {', '.join(ranking.estimators)}")
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise EmmsError("charts require matplotlib, which is not installed", install_command("plot")) from error
    if ax is None:
        height = 1.2 + _LINE * len(rows) if kind == "scores" else 0.7 * _WIDTH
        ax = pyplot.subplots(figsize=(_WIDTH, height), layout="constrained")[1]
    elif not isinstance(ax, pyplot.Axes):
        raise EmmsError(f"ax is {ax!r:.80}; it must be axes of matplotlib", "ax=pyplot.gca()")
    shown = ScoreFormatter(ranking, estimator)
    meaning = "R² on held-out rows: 0 nothing, 1 everything" if shown.explains else shown.quantity.direction
    label = f"{shown.title} ({meaning})"
    numbers = [shown.number(row.scores[estimator]) for row in rows]
    values, errors = [number.value for number in numbers], [number.stderr or 0.0 for number in numbers]
    score_axis = ax.xaxis if kind == "scores" else ax.yaxis
    score_axis.set_major_formatter(lambda stored, _: f"{shown.quantity.value(stored):g}")
    if kind == "scores":
        _scores(ax, rows, values, errors)
        ax.set_xlabel(label)
    else:
        _size(ax, rows, values, errors)
        ax.set_ylabel(label)
    ax.set_title(single_line(f"{ranking.dataset}, {ranking.split}: {ranking.n:,} rows"), fontsize=10)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    if path is not None:
        figure: Any = ax.figure
        with atomic_file(path) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)
    return ax


def _scores(ax: Axes, rows: list[Row], values: list[float], errors: list[float]) -> None:
    """Draw one line per checkpoint, the first on top."""
    places = range(len(rows), 0, -1)
    ax.errorbar(values, places, xerr=errors, fmt="o", capsize=3)
    ax.set_yticks(places, [single_line(row.checkpoint) for row in rows])


def _size(ax: Axes, rows: list[Row], values: list[float], errors: list[float]) -> None:
    """Draw scores against the number of parameters, with names."""
    sizes = [row.parameters or 0 for row in rows]
    ax.errorbar(sizes, values, yerr=errors, fmt="o", capsize=3)
    for row, size, value in zip(rows, sizes, values, strict=True):
        name = single_line(row.checkpoint).rpartition("/")[2]
        ax.annotate(name, (size, value), (5, 4), textcoords="offset points", fontsize=7)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda count, _: format_count(round(count)))
    ax.xaxis.set_minor_formatter(lambda count, _: "")
    ax.set_xlabel("parameters")
    ax.margins(0.12)
