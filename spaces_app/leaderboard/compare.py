"""Two to five checkpoints of a ranking side by side: facts, scores, and whether each difference is significant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from hf_emms.errors import MISSING, format_count
from hf_emms.ranking import TIE_WIDTH, Ranking, Row, gain_and_stderr
from hf_emms.ranking.columns import ScoreFormatter, format_rank
from leaderboard import markup
from leaderboard.lines import Line, lines
from leaderboard.markup import escape
from leaderboard.selection import MAX_COMPARED, View, to_query
from leaderboard.store import Snapshot

FEWEST, MOST = 2, MAX_COMPARED


@dataclass(frozen=True)
class Pair:
    """Two checkpoints of a ranking, the better first.

    Attributes:
        first: The row with the better score.
        second: The other row.
        gain: The difference in the unit of the table, never negative.
        stderr: Standard error of the paired differences over folds; 0 without folds.
        folds: The difference in each fold.
        significant: Whether the difference exceeds the noise.
    """

    first: Row
    second: Row
    gain: float
    stderr: float
    folds: tuple[float, ...]
    significant: bool


def pairs(ranking: Ranking, rows: list[Row]) -> list[Pair]:
    """Compare all pairs of rows with scores on the same sample."""
    estimator = ranking.estimators[0]
    shown = ScoreFormatter(ranking, estimator)
    scored = sorted((row for row in rows if row.error is None), key=lambda row: -row.scores[estimator].value)
    compared = []
    for first, second in combinations(scored, 2):
        better, other = first.scores[estimator], second.scores[estimator]
        if first.n == second.n:
            paired = len(better.folds) == len(other.folds)
            folds = tuple(a - b for a, b in zip(better.folds, other.folds, strict=True)) if paired else ()
            gain, stderr = gain_and_stderr(better, other)
            significant = gain > TIE_WIDTH * stderr and gain > 0
            unit = shown.unit_of(better)
            in_units = tuple(unit * fold for fold in folds)
            compared.append(Pair(first, second, unit * gain, unit * stderr, in_units, significant))
    return compared


def chosen(view: View, ranking: Ranking) -> list[Row]:
    """Return the compared rows, in the order of the ranking."""
    return [row for row in ranking.rows if row.checkpoint in view.compare][:MOST]


def page(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Render the comparison."""
    rows = chosen(view, ranking)
    if len(rows) < FEWEST:
        return f'<p class="empty">Pick {FEWEST} to {MOST} checkpoints of the table to compare. {back(view)}</p>'
    of_name = {line.row.checkpoint: line for line in lines(ranking, snapshot)}
    some = [of_name[row.checkpoint] for row in rows]
    names = ("Checkpoint", *(checkpoint_link(line.row.checkpoint, view) for line in some))
    facts = "".join(markup.row(title, cells) for title, cells in _facts(some, ranking))
    compared = "".join(_pair(pair) for pair in pairs(ranking, rows))
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    return (
        f'<p class="small">{back(view)}</p><h2>{escape(ranking.dataset)}, {escape(ranking.task)}</h2>'
        f"{markup.boxed_table('Checkpoints side by side', markup.header(*names, css='text'), facts)}"
        f"<h2>Significant?</h2>{markup.boxed_table('Pairs', markup.header(*_PAIR_HEADS), compared)}"
        f'<p class="small">The table shows differences of {escape(shown.heading)}. A difference is significant if it '
        f"exceeds {TIE_WIDTH:g} standard errors of the paired differences over folds.</p>"
    )


def back(view: View) -> str:
    """Render a link to the ranking."""
    return markup.view_link(to_query(replace(view, compare=(), checkpoint="")), "← back to the ranking")


_PAIR_HEADS = ("Better", "Other", "Difference", "Standard errors", "Significant", "Per fold")


def _pair(pair: Pair) -> str:
    errors = f"{pair.gain / pair.stderr:.1f}" if pair.stderr else MISSING
    folds = " ".join(f"{value:+.4f}" for value in pair.folds) or MISSING
    cells = (
        markup.breakable(pair.second.checkpoint),
        f"{pair.gain:.4f} ± {pair.stderr:.4f}",
        errors,
        "yes" if pair.significant else "no",
        folds,
    )
    return markup.row(markup.breakable(pair.first.checkpoint), cells)


def _facts(some: list[Line], ranking: Ranking) -> Iterator[tuple[str, list[str]]]:
    yield "Rank", [format_rank(line.row) for line in some]
    for estimator in ranking.estimators:
        shown = ScoreFormatter(ranking, estimator)
        yield escape(shown.heading), [shown.text(line.score(estimator)) for line in some]
    yield "Parameters", [format_count(line.row.parameters) for line in some]
    yield "Seconds", [MISSING if line.seconds is None else markup.seconds(line.seconds) for line in some]
    yield "License", [escape(line.facts.license or MISSING) for line in some]
    yield "Architecture", [escape(line.row.architecture or MISSING) for line in some]


def checkpoint_link(name: str, view: View) -> str:
    """Render a link to the page of a checkpoint, which links back to the view."""
    there = replace(view, tab="rankings", checkpoint=name, compare=(), rows=View.rows)
    return markup.view_link(to_query(there), f'<span class="name">{markup.breakable(name)}</span>')
