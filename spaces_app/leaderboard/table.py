"""The Rankings tab: a ranking as an HTML table, and as text to copy or to keep."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import msgspec

from hf_emms.errors import MISSING, format_bytes, format_count, pluralize
from hf_emms.ranking import Explained, Ranking, is_commit
from hf_emms.ranking.columns import ScoreFormatter, TableColumn, format_rank, metric_title, static_in_words, title_of
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.ranking.text import settings_text
from hf_emms.scoring.quantity import quantity_of_metric
from leaderboard import answer, markup
from leaderboard.compare import FEWEST, MOST, checkpoint_link
from leaderboard.lines import PAGE_COLUMNS, Line, lines, matching, record, sorted_lines, value
from leaderboard.markup import escape
from leaderboard.selection import (
    COLUMNS,
    DEFAULT_COLUMNS,
    ROWS_AT_ONCE,
    View,
    sorts,
    to_query,
)
from leaderboard.store import Snapshot

Cell = Callable[[Line], str]

_BANDS = (
    "A line separates ranks. Checkpoints with the same rank (=) are tied: their differences are within the noise. "
    "± is one standard error."
)
_HINTS = {
    "score": "the negative held-out loss, which orders the rows; higher is better within this table",
    "fine_tuned": "score on test examples after fine-tuning, in points, with its spread; not an estimate",
    "mean_rank_elsewhere": "a control: mean rank on other datasets, in percent; lower is better",
    "rank": "1 + the number of checkpoints with a better rank",
    "seconds": "elapsed time of feature extraction and scoring",
    "memory": "of the weights in 32-bit numbers, without activations; computed, not measured",
    "speed": "inputs per second on the machine of the ranking, loading included",
}


def chosen(view: View, ranking: Ranking, snapshot: Snapshot) -> list[Line]:
    """Return the lines of a view, in its order."""
    return sorted_lines(matching(lines(ranking, snapshot), view), view.sort)


def table(view: View, ranking: Ranking, snapshot: Snapshot, *, sorted_by_browser: bool = False) -> str:
    """Render the table with its caption and explanations.

    Args:
        view: The selection.
        ranking: The ranking.
        snapshot: Has facts about the checkpoints.
        sorted_by_browser: For a page without a server: add sort keys to the table, and no boxes to compare rows.
    """
    shown = chosen(view, ranking, snapshot)
    columns = _columns(view, ranking, shown, ticks=not sorted_by_browser)
    first = ranking.estimators[0]
    head = "".join(_header(name, title, css, view, ranking) for name, title, css, _ in columns)
    body = "".join(_rows(shown[: view.rows], columns, banded=view.sort == "rank"))
    if not shown:
        body = f'<tr><td class="empty" colspan="{len(columns)}">No checkpoint passes these filters.</td></tr>'
    orders = facts = ""
    if sorted_by_browser:
        facts = _filtered_by(shown)
        names = [name for name, *_ in columns if name in sorts(ranking)]
        orders = markup.sort_keys({name: [value(line, name) for line in shown] for name in names})
    caption = f"Checkpoints for {escape(ranking.dataset)}, {escape(ranking.task)}, ranked by {escape(title_of(first))}"
    return (
        '<div class="beside">'
        f'<span class="small" id="emms-count">{_counted(shown, view, ranking)}</span>'
        + described(ranking)
        + answer.code(view, ranking, snapshot)
        + _switch(view, ranking)
        + f'<details class="small"><summary>How to read this</summary><p>{_how_to_read(ranking)}</p></details></div>'
        + _compared(view, ranking)
        + markup.boxed_table("Ranking", head, body, caption=caption, orders=orders, facts=facts)
    )


def _filtered_by(shown: Sequence[Line]) -> str:
    """Return the values for filters as JSON, for a page without a server."""
    return json.dumps(
        [
            {
                "parameters": line.row.parameters,
                "library": [line.facts.library],
                "license": [line.facts.license],
                "language": line.facts.languages,
                "seen": bool(line.seen),
            }
            for line in shown
        ],
        separators=(",", ":"),
    )


def _switch(view: View, ranking: Ranking) -> str:
    """Render the link that shows or hides other estimators; empty if there are none."""
    if len(ranking.estimators) < 2:
        return ""
    are_shown = "other" in view.columns
    names = tuple(name for name in COLUMNS if (name in view.columns) != (name == "other"))
    text = "Hide other estimators" if are_shown else "Show other estimators"
    return f'<span class="small">{markup.view_link(to_query(replace(view, columns=names)), text)}</span>'


def _how_to_read(ranking: Ranking) -> str:
    """Explain the ordering score and ties."""
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    direction = "" if shown.explains else f" ({escape(shown.quantity.direction)})"
    meaning = escape(shown.quantity.help or _of_estimator(ranking))
    return f"<strong>{escape(shown.title)}</strong>{direction}: {meaning} {_BANDS}"


def _of_estimator(ranking: Ranking) -> str:
    return ESTIMATORS[ranking.estimators[0]].summary + "." if ranking.estimators[0] in ESTIMATORS else ""


def _compared(view: View, ranking: Ranking) -> str:
    """Render the links that compare and untick the ticked checkpoints."""
    ticked = [row.checkpoint for row in ranking.rows if row.checkpoint in view.ticked[:MOST]]
    if not ticked:
        return '<p class="compare"></p>'  # reserves the space, so that the table does not move
    clear = markup.view_link(to_query(replace(view, ticked=())), "Untick all")
    query = to_query(replace(view, compare=tuple(ticked), ticked=()))
    link = markup.view_link(query, f"Compare {len(ticked)} checkpoints", css="button")
    first = "<span>Tick one more to compare</span>" if len(ticked) < FEWEST else link
    most = f"<span>At most {MOST} can be compared: untick one first</span>" if len(view.ticked) > MOST else ""
    return f'<p class="compare" role="status">{first} {most} {clear}</p>'


def described(ranking: Ranking) -> str:
    """Render the data and settings of a ranking: a line, and details to open."""
    dataset = markup.hub_link(ranking.dataset_id, ranking.dataset_revision, "datasets/")
    encoders = [markup.hub_link(encoder.id, encoder.revision) for encoder in ranking.encoders if not encoder.numbers]
    numbers = [escape(encoder.numbers) for encoder in ranking.encoders if encoder.numbers]
    parts = (("label encoders", encoders), ("labels as numbers:", numbers))
    labels = " · ".join(f"{what} {', '.join(names)}" for what, names in parts if names)
    config = f"{escape(ranking.config)}, " if ranking.config else ""
    labelled = f"{pluralize(ranking.n_labels, 'distinct label')} · " if ranking.n_labels else ""
    return (
        f'<details class="small"><summary><strong>{escape(ranking.dataset)}</strong>: {ranking.n:,} rows of '
        f"{config}split {escape(ranking.split)} · {labelled}{escape(ranking.created[:10])}</summary>"
        f"<p>{dataset} at <code>{escape(ranking.dataset_revision[:12] or MISSING)}</code> · "
        f"{ranking.n_inputs:,} inputs · {labels}</p>"
        f"<p>settings: {escape(settings_text(ranking))}</p></details>"
    )


def to_csv(view: View, ranking: Ranking, snapshot: Snapshot, delimiter: str = ",") -> str:
    """Return the shown rows as CSV, all columns, numbers unrounded; texts that a spreadsheet would run get a '."""
    records = [record(line, ranking) for line in chosen(view, ranking, snapshot)]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(record(lines(ranking, snapshot)[0], ranking))
    writer.writerows([_harmless(cell) for cell in values.values()] for values in records)
    return text.getvalue()


def to_json(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Return the ranking file with the rows that are shown."""
    rows = tuple(line.row for line in chosen(view, ranking, snapshot))
    return msgspec.structs.replace(ranking, rows=rows).to_json()


def _harmless(cell: object) -> object:
    if isinstance(cell, str):
        text = " ".join(cell.split())
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return "" if cell is None else cell


def _columns(
    view: View, ranking: Ranking, shown_lines: Sequence[Line], *, ticks: bool
) -> list[tuple[str, str, str, Cell]]:
    """Return name, title, CSS class and content of the shown columns; default columns need a value."""
    first, *others = ranking.estimators
    shown_scores = {name: ScoreFormatter(ranking, name) for name in ranking.estimators}
    best = min((row.rank for row in ranking.rows if row.rank is not None), default=None)
    columns: list[tuple[str, str, str, Cell]] = [
        ("rank", "Rank", "number place", _ranks(view) if ticks else lambda line: format_rank(line.row)),
        ("checkpoint", "Checkpoint", "checkpoint", _checkpoint(view)),
        (first, _heading(shown_scores[first]), "score", _bar(ranking, shown_scores[first], best)),
    ]
    cells: dict[str, tuple[str, Cell]] = {
        **{name: (_css(column), _text(column)) for name, column in PAGE_COLUMNS.items()},
        "memory": ("number", lambda line: MISSING if line.memory is None else format_bytes(line.memory)),
        "speed": ("number", lambda line: MISSING if line.speed is None else _speed(line.speed)),
        "downloads": ("number", lambda line: format_count(line.facts.downloads)),
        "library": ("text", lambda line: escape(line.facts.library or MISSING)),
        "license": ("text", lambda line: escape(line.facts.license or MISSING)),
        "seconds": ("number", lambda line: MISSING if line.seconds is None else markup.seconds(line.seconds)),
        "revision": ("text", _revision),
    }
    # After a race, rows have different numbers of examples.
    raced = "n" not in view.columns and any(row.n is not None for row in ranking.rows)
    shown = (*view.columns, "n") if raced else view.columns
    others_only = {name for name, column in PAGE_COLUMNS.items() if not column.applies(ranking, "page")}
    for name in (name for name in shown if name not in others_only):
        if name == "other":
            columns += [
                (other, _heading(shown_scores[other]), "number", _plain_score(other, shown_scores[other]))
                for other in others
                if shown_scores[other].is_informative
            ]
        elif (
            name == "n" or view.columns != DEFAULT_COLUMNS or any(value(line, name) is not None for line in shown_lines)
        ):
            title = _fine_tuned_title(ranking) if name == "fine_tuned" else COLUMNS[name]
            columns.append((name, title, *cells[name]))
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


def _text(column: TableColumn) -> Cell:
    return lambda line: escape(column.text(line.ranking, line.row))


def _header(name: str, title: str, css: str, view: View, ranking: Ranking) -> str:
    if name not in sorts(ranking) or name == "n":
        return f'<th scope="col" class="{css}">{escape(title)}</th>'
    hint = _HINTS.get(name, "")
    if name == "static" and ranking.static_table is not None:
        hint = f"a control, which does not depend on the dataset: {static_in_words(ranking.static_table)}"
    return markup.sorting_header(name, title, css, view.sort, lambda sort: to_query(replace(view, sort=sort)), hint)


def _rows(shown_lines: Sequence[Line], columns: Sequence[tuple[str, str, str, Cell]], *, banded: bool) -> Iterator[str]:
    """Yield the rows; with `banded`, mark the first row of each rank."""
    above = None
    for line in shown_lines:
        starts = banded and above is not None and line.row.rank != above
        above = line.row.rank
        yield _row(line, columns, "band" if starts else "")


def _row(line: Line, columns: Sequence[tuple[str, str, str, Cell]], css: str) -> str:
    cells = "".join(
        f'<th scope="row" class="{css}">{cell(line)}</th>'
        if name == "checkpoint"
        else f'<td class="{css}">{cell(line)}</td>'
        for name, _, css, cell in columns
    )
    css = "failed" if line.row.error is not None else css
    return f'<tr class="{css}">{cells}</tr>' if css else f"<tr>{cells}</tr>"


def _speed(inputs: float) -> str:
    return f"{inputs:,.0f}" if inputs >= 10 else f"{inputs:.1f}"


def _checkpoint(view: View) -> Cell:
    def cell(line: Line) -> str:
        row = line.row
        page = checkpoint_link(row.checkpoint, view)
        if row.error is not None:
            return f'{page}<div class="problem">failed: {escape(row.error)}</div>'
        seen = f' <span class="seen" title="{escape(line.seen)}">seen</span>' if line.seen else ""
        return f"{page}{markup.hub_mark(row.checkpoint, row.revision)}{seen}"

    return cell


def _ranks(view: View) -> Cell:
    """Return the content of the rank column, with a box that ticks the checkpoint for a comparison."""

    def cell(line: Line) -> str:
        if line.row.rank is None:
            return format_rank(line.row)
        name = html.escape(line.row.checkpoint)
        ticked = " checked" if line.row.checkpoint in view.ticked[:MOST] else ""
        return (
            f'<label><input type="checkbox" name="tick" value="{name}" form="emms-form" '
            f'aria-label="compare {escape(line.row.checkpoint)}"{ticked}>{format_rank(line.row)}</label>'
        )

    return cell


def _revision(line: Line) -> str:
    revision = line.row.revision
    if revision is None:
        return MISSING
    short = f"<code>{escape(revision[:7] if is_commit(revision) else revision[:13])}</code>"
    address = markup.hub_address(line.row.checkpoint, revision)
    if address is None:
        return short
    return f'<a href="{address}/tree/{revision}" target="_blank" rel="noopener">{short}</a>'


def _plain_score(name: str, shown: ScoreFormatter) -> Cell:
    return lambda line: shown.text(line.score(name), with_error=False)


def _bar(ranking: Ranking, shown: ScoreFormatter, best: int | None) -> Cell:
    """Return the content of the score column: numbers and a bar with its error, from 0 to 1 or worst to best."""
    estimator = ranking.estimators[0]
    low, high = 0.0, 1.0
    if not shown.explains:
        spans = [_span(shown.number(row.scores[estimator])) for row in ranking.rows if estimator in row.scores]
        low, high = min((a for a, _ in spans), default=low), max((b for _, b in spans), default=high)

    def share(at: float) -> float:
        return round(100 * (min(max(at, low), high) - low) / (high - low), 1) if high > low else 50.0

    def cell(line: Line) -> str:
        score = line.score(estimator)
        if score is None:
            return MISSING
        number = shown.number(score)
        left, right = _span(number)
        value, plus_minus, error = shown.text(score).partition(" ± ")
        css = "bar best" if line.row.rank == best else "bar"
        return (
            f'<span class="figure">{value}<span class="error">{plus_minus}{error}</span></span>'
            f'<span class="{css}"><i style="width:{share(number.value)}%"></i>'
            f'<b style="left:{share(left)}%;width:{round(share(right) - share(left), 1)}%"></b></span>'
        )

    return cell


def _span(score: Explained) -> tuple[float, float]:
    error = score.stderr or 0.0
    return score.value - error, score.value + error


def _counted(shown_lines: Sequence[Line], view: View, ranking: Ranking) -> str:
    count = f"{len(shown_lines):,} of {len(ranking.rows):,} checkpoints"
    unknown = sum(value(line, view.sort.removeprefix("-")) is None for line in shown_lines)
    if unknown and view.sort != "rank":
        count += f"; {unknown} without a value come last"
    if len(shown_lines) <= view.rows:
        return count
    more = markup.view_link(to_query(replace(view, rows=view.rows + 5 * ROWS_AT_ONCE)), "show more")
    return f"{count}, showing the first {view.rows:,}: {more}"
