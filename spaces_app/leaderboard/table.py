"""The Rankings tab: a ranking as an HTML table, and as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from markupsafe import Markup

from hf_emms.formatting import MISSING, format_bytes, format_count
from hf_emms.ranking import Explained, Ranking, Row, is_commit
from hf_emms.ranking.columns import ScoreFormatter, TableColumn, format_rank, metric_title, published_in_words, title_of
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.ranking.text import funnel_lines, settings_text
from hf_emms.ranking.verdict import pick, verdict
from hf_emms.scoring.quantity import quantity_of_metric
from leaderboard import answer, cost, markup, values
from leaderboard.lines import PAGE_COLUMNS, Line, lines, matching, of_lines, record, sorted_lines, value
from leaderboard.markup import Head, Link
from leaderboard.selection import (
    COLUMNS,
    DEFAULT_COLUMNS,
    ROWS_AT_ONCE,
    View,
    checkpoint_link,
    filter_query,
    to_query,
    without_filters,
)
from leaderboard.store import Snapshot

CellOf = Callable[[Line], str | Link | Markup]

_MAX_RANKED = 5
_HINTS = {
    "score": "the negative held-out loss, which orders the rows; higher is better within this table",
    "fine_tuned": "score on test examples after fine-tuning, in points, with its spread; not an estimate",
    "rank": "1 + the number of checkpoints with a better rank",
    "seconds": "elapsed time of feature extraction and scoring, without loading",
    "memory": "measured on a GPU, or else computed: the weights in 32-bit numbers, without activations",
    "speed": "inputs per second on the machine of the ranking, without loading",
}


def chosen(view: View, ranking: Ranking, snapshot: Snapshot) -> list[Line]:
    """Return the lines of a view, in its order."""
    return sorted_lines(matching(lines(ranking, snapshot), view), view.sort)


def table(view: View, ranking: Ranking, snapshot: Snapshot, *, is_static: bool = False) -> Markup:
    """Render the table with its caption and explanations.

    It contains all rows, and hides those that do not pass the filters, so that the browser can filter and order them.
    A very long table contains the first rows that pass.

    Args:
        view: The selection.
        ranking: The ranking.
        snapshot: Has facts about the checkpoints.
        is_static: Whether the page has no server, and no other columns.
    """
    every, passing = lines(ranking, snapshot), chosen(view, ranking, snapshot)
    is_complete = is_static or len(every) <= values.MOST_ROWS
    columns = _columns(view, ranking, every)
    data: dict[str, Any] = {}
    if is_complete:
        names = [*(column.name for column, _ in columns), *ranking.estimators]
        orders = markup.sort_keys({name: [value(line, name) for line in every] for name in names})
        data = {
            **values.of_filters(every),
            "answered": filter_query(view),
            "whole": answer.answer(without_filters(view), ranking, snapshot) if is_static else "",
            "answers": answer.without_server(view, ranking, snapshot) if is_static else [],
            "bands": [line.row.rank for line in every],
            "orders": orders,
        }
    sent = sorted_lines(every, view.sort) if is_complete else passing[: view.rows]
    chosen_row = pick(of_lines(ranking, passing))
    rows = _rows(sent, every, passing[: view.rows], banded=view.sort == "rank", chosen=chosen_row)
    caption = f"Checkpoints for {ranking.dataset}, {ranking.task}, ranked by {title_of(ranking.estimators[0])}"
    ranked = [row.checkpoint for row in ranking.rows if row.rank is not None]
    return markup.draw(
        "ranking.html",
        plot=cost.plot(view, ranking, snapshot),
        columns=columns,
        rows=rows,
        caption=caption,
        data=data,
        best=min((row.rank for row in ranking.rows if row.rank is not None), default=None),
        ranking=ranking,
        funnel=funnel_lines(ranking.funnel),
        view=view,
        passing=len(passing),
        unknown=0 if view.sort == "rank" else sum(value(line, view.sort.removeprefix("-")) is None for line in passing),
        more=to_query(replace(view, rows=view.rows + 5 * ROWS_AT_ONCE)),
        dataset=markup.hub_link(ranking.dataset_id, ranking.dataset_revision, "datasets/"),
        encoders=[markup.hub_link(each.id, each.revision) for each in ranking.encoders if not each.numbers],
        numbers=[each.numbers for each in ranking.encoders if each.numbers],
        settings=settings_text(ranking),
        command_text=answer.command(ranking, ranked[:_MAX_RANKED]),
        switch="" if is_static else to_query(replace(view, columns="" if view.columns else "all")),
        first=ScoreFormatter(ranking, ranking.estimators[0]),
        summary=ESTIMATORS[ranking.estimators[0]].summary + "." if ranking.estimators[0] in ESTIMATORS else "",
    )


def to_csv(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Return the shown rows as CSV, all columns, numbers unrounded; texts that a spreadsheet would run get a '."""
    shown = chosen(view, ranking, snapshot)
    decision = verdict(of_lines(ranking, shown))
    records = [record(line, ranking, decision) for line in shown]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(record(lines(ranking, snapshot)[0], ranking, decision))
    writer.writerows([_harmless(cell) for cell in values.values()] for values in records)
    return text.getvalue()


def to_json(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Return the ranking file with the rows that pass the filters, best first."""
    rows = tuple(line.row for line in matching(lines(ranking, snapshot), view))
    return msgspec.structs.replace(ranking, rows=rows).to_json()


def _harmless(cell: object) -> object:
    if isinstance(cell, str):
        text = " ".join(cell.split())
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return "" if cell is None else cell


def _columns(view: View, ranking: Ranking, shown_lines: Sequence[Line]) -> list[tuple[Head, CellOf]]:
    """Return the shown columns that have a value, each with the function that returns its cells."""
    first, *others = ranking.estimators
    shown_scores = {name: ScoreFormatter(ranking, name) for name in ranking.estimators}

    def column(name: str, title: str, css: str, cell: CellOf) -> tuple[Head, CellOf]:
        hint = _HINTS.get(name, "")
        if name == "published" and ranking.published_table is not None:
            hint = f"a control, which does not depend on the dataset: {published_in_words(ranking)}"
        query = lambda sort: to_query(replace(view, sort=sort))  # noqa: E731
        return markup.head(name, title, css, view.sort, query, hint), cell

    columns = [
        column("rank", "Rank", "number", lambda line: format_rank(line.row)),
        column("checkpoint", "Checkpoint", "checkpoint", _checkpoint(view)),
        column(first, _heading(shown_scores[first]), "score", _bar(ranking, shown_scores[first])),
    ]
    cells: dict[str, tuple[str, CellOf]] = {
        **{name: (_css(column), _text(column)) for name, column in PAGE_COLUMNS.items()},
        "memory": ("number", lambda line: MISSING if line.memory is None else format_bytes(line.memory)),
        "speed": ("number", lambda line: MISSING if line.speed is None else _speed(line.speed)),
        "downloads": ("number", lambda line: format_count(line.facts.downloads)),
        "library": ("text", lambda line: line.facts.library or MISSING),
        "license": ("text", lambda line: line.facts.license or MISSING),
        "seconds": ("number", lambda line: MISSING if line.seconds is None else markup.seconds(line.seconds)),
        "revision": ("text", _revision),
    }
    if view.columns:
        columns += [
            column(other, _heading(shown_scores[other]), "number", _plain_score(other, shown_scores[other]))
            for other in others
            if shown_scores[other].is_informative
        ]
    for name in COLUMNS if view.columns else DEFAULT_COLUMNS:
        applies = name not in PAGE_COLUMNS or PAGE_COLUMNS[name].applies(ranking, "page")
        if applies and any(value(line, name) is not None for line in shown_lines):
            title = _fine_tuned_title(ranking) if name == "fine_tuned" else COLUMNS[name]
            columns.append(column(name, title, *cells[name]))
    return columns


def _fine_tuned_title(ranking: Ranking) -> str:
    """Return the title of the fine-tuned scores, with their metric if they share one."""
    metrics = {row.fine_tuned.metric for row in ranking.rows if row.fine_tuned is not None}
    if len(metrics) != 1:
        return COLUMNS["fine_tuned"]
    metric = metrics.pop()
    quantity = quantity_of_metric(metric)
    return f"Fine-tuned: {metric_title(metric)} {quantity.arrow}".rstrip()


def _heading(shown: ScoreFormatter) -> str:
    return shown.title.capitalize() if shown.explains else shown.heading


def _css(column: TableColumn) -> str:
    return "text" if column.type is str else "number"


def _text(column: TableColumn) -> CellOf:
    return lambda line: column.text(line.ranking, line.row)


def _rows(
    sent: Sequence[Line],
    every: Sequence[Line],
    shown: Sequence[Line],
    *,
    banded: bool,
    chosen: Row | None,
) -> Iterator[tuple[Line, str, int, bool]]:
    """Yield line, class, place and whether it is hidden; with `banded`, mark the first shown row of each rank.

    The row to fine-tune is marked, too.
    """
    places, is_shown = {id(line): place for place, line in enumerate(every)}, {id(line) for line in shown}
    above = None
    for line in sent:
        is_hidden = id(line) not in is_shown
        starts = banded and not is_hidden and above is not None and line.row.rank != above
        above = above if is_hidden else line.row.rank
        css = "failed" if line.row.error is not None else "band" if starts else ""
        css = " ".join(filter(None, [css, "pick" if line.row is chosen else ""]))
        yield line, css, places[id(line)], is_hidden


def _speed(inputs: float) -> str:
    return f"{inputs:,.0f}" if inputs >= 10 else f"{inputs:.1f}"


def _checkpoint(view: View) -> CellOf:
    def cell(line: Line) -> Markup:
        row = line.row
        hub = None if row.error is not None else markup.hub_address(row.checkpoint, row.revision)
        return markup.part("checkpoint", checkpoint_link(row.checkpoint, view), line, hub)

    return cell


def _revision(line: Line) -> str | Link:
    revision = line.row.revision
    if revision is None:
        return MISSING
    address = markup.hub_address(line.row.checkpoint, revision)
    return Link(revision[: 7 if is_commit(revision) else 13], address=address and f"{address}/tree/{revision}")


def _plain_score(name: str, shown: ScoreFormatter) -> CellOf:
    return lambda line: shown.text(line.score(name), with_error=False)


def _bar(ranking: Ranking, shown: ScoreFormatter) -> CellOf:
    """Return the content of the score column: numbers and a bar with its error, from 0 to 1 or worst to best."""
    estimator = ranking.estimators[0]
    low, high = 0.0, 1.0
    if not shown.explains:
        spans = [_span(shown.number(row.scores[estimator])) for row in ranking.rows if estimator in row.scores]
        low, high = min((a for a, _ in spans), default=low), max((b for _, b in spans), default=high)

    def share(at: float) -> float:
        return round(100 * (min(max(at, low), high) - low) / (high - low), 1) if high > low else 50.0

    def cell(line: Line) -> str | Markup:
        score = line.score(estimator)
        if score is None:
            return MISSING
        number = shown.number(score)
        left, right = map(share, _span(number))
        value, plus_minus, error = shown.text(score).partition(" ± ")
        return markup.part("bar", value, plus_minus + error, share(number.value), left, round(right - left, 1))

    return cell


def _span(score: Explained) -> tuple[float, float]:
    error = score.stderr or 0.0
    return score.value - error, score.value + error
