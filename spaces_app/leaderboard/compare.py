"""Two to five checkpoints of a ranking side by side: facts, scores, and whether each difference is significant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from markupsafe import Markup

from hf_emms.errors import MISSING, format_count
from hf_emms.ranking import TIE_WIDTH, Ranking, Row, gain_and_stderr, is_ahead
from hf_emms.ranking.columns import ScoreFormatter, format_rank
from leaderboard import markup
from leaderboard.lines import Line, lines
from leaderboard.markup import Column, Link, TableRow
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
        paired = len(better.folds) == len(other.folds)
        folds = tuple(a - b for a, b in zip(better.folds, other.folds, strict=True)) if paired else ()
        gain, stderr = gain_and_stderr(better, other)
        unit = shown.unit_of(better)
        in_units = tuple(unit * fold for fold in folds)
        compared.append(Pair(first, second, unit * gain, unit * stderr, in_units, is_ahead(better, other)))
    return compared


def chosen(view: View, ranking: Ranking) -> list[Row]:
    """Return the compared rows, in the order of the ranking."""
    return [row for row in ranking.rows if row.checkpoint in view.compare][:MOST]


def page(view: View, ranking: Ranking, snapshot: Snapshot) -> Markup:
    """Render the comparison."""
    rows = chosen(view, ranking)
    of_name = {line.row.checkpoint: line for line in lines(ranking, snapshot)}
    some = [of_name[row.checkpoint] for row in rows]
    facts = markup.Table(
        "Checkpoints side by side",
        [Column("Checkpoint", "title"), *(Column(checkpoint_link(line.row.checkpoint, view)) for line in some)],
        [TableRow((title, *cells)) for title, cells in _facts(some, ranking)],
    )
    compared = markup.plain_table("Pairs", _PAIR_HEADS, (_pair(pair) for pair in pairs(ranking, rows)))
    return markup.draw(
        "compare.html",
        ranking=ranking,
        is_enough=len(rows) >= FEWEST,
        fewest=FEWEST,
        most=MOST,
        back=back(view),
        facts=facts,
        pairs=compared,
        heading=ScoreFormatter(ranking, ranking.estimators[0]).heading,
        width=TIE_WIDTH,
    )


def back(view: View) -> str:
    """Return the query of the ranking that led to a page."""
    return to_query(replace(view, compare=(), checkpoint=""))


_PAIR_HEADS = (
    ("title", "Better"),
    ("text", "Other"),
    ("text", "Difference"),
    ("text", "Standard errors"),
    ("text", "Significant"),
    ("text", "Per fold"),
)


def _pair(pair: Pair) -> tuple[str | Link, ...]:
    return (
        Link(pair.first.checkpoint, is_name=True),
        Link(pair.second.checkpoint, is_name=True),
        f"{pair.gain:.4f} ± {pair.stderr:.4f}",
        f"{pair.gain / pair.stderr:.1f}" if pair.stderr else MISSING,
        "yes" if pair.significant else "no",
        " ".join(f"{value:+.4f}" for value in pair.folds) or MISSING,
    )


def _facts(some: list[Line], ranking: Ranking) -> Iterator[tuple[str, list[str]]]:
    yield "Rank", [format_rank(line.row) for line in some]
    for estimator in ranking.estimators:
        shown = ScoreFormatter(ranking, estimator)
        yield shown.heading, [shown.text(line.score(estimator)) for line in some]
    yield "Parameters", [format_count(line.row.parameters) for line in some]
    yield "Seconds", [MISSING if line.seconds is None else markup.seconds(line.seconds) for line in some]
    yield "License", [line.facts.license or MISSING for line in some]
    yield "Architecture", [line.row.architecture or MISSING for line in some]


def checkpoint_link(name: str, view: View) -> Link:
    """Return a link to the page of a checkpoint, which links back to the view."""
    there = replace(view, tab="rankings", checkpoint=name, compare=(), rows=View.rows)
    return Link(name, to_query(there), is_name=True)
