"""The Rankings tab: one ranking as an HTML table, and as text to copy or to keep."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from hf_emms.formatting import MISSING, format_count
from hf_emms.ranking import Ranking, Score, is_commit
from hf_emms.views import number, rank_of, settings_text, title_of
from leaderboard import markup
from leaderboard.lines import Line, in_order, lines, matching, r2, record, value
from leaderboard.markup import escape
from leaderboard.selection import COLUMNS, ROWS_AT_ONCE, SORTS, View, to_query
from leaderboard.store import Snapshot

Cell = Callable[[Line], str]

CAVEAT = (
    "Higher is better <strong>within this table only</strong>: a score depends on the dataset, the sample, the seed "
    "and the label encoders. Ranks with = are shared: their difference is within the noise of the folds. ± is one "
    "standard error."
)


def chosen(view: View, ranking: Ranking, snapshot: Snapshot) -> list[Line]:
    """The lines of a view, in its order."""
    return in_order(matching(lines(ranking, snapshot), view), view.sort)


def table(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """The table with its caption and what should be known about it."""
    found = chosen(view, ranking, snapshot)
    columns = _columns(view, ranking)
    first = ranking.estimators[0]
    head = "".join(_header(name, title, css, view) for name, title, css, _ in columns)
    body = "".join(_row(line, columns) for line in found[: view.rows])
    if not found:
        body = f'<tr><td class="empty" colspan="{len(columns)}">No checkpoint passes these filters.</td></tr>'
    return (
        f'{described(ranking)}<div class="sideways" tabindex="0" role="region" aria-label="Ranking">'
        f'<table class="board"><caption class="unseen">Checkpoints for {escape(ranking.dataset)}, '
        f"{escape(ranking.task)}, ranked by {escape(title_of(first))}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="small" role="status">{_counted(found, view, ranking)}</p><p class="small">{CAVEAT}</p>'
    )


def described(ranking: Ranking) -> str:
    """What was measured, in one paragraph."""
    dataset = markup.hub_link(ranking.dataset_id, ranking.dataset_revision, "datasets/")
    encoders = [markup.hub_link(encoder.id, encoder.revision) for encoder in ranking.encoders if encoder.revision]
    numbers = [escape(encoder.id.removesuffix(" (numbers)")) for encoder in ranking.encoders if not encoder.revision]
    parts = (("label encoders", encoders), ("labels as numbers:", numbers))
    labels = " · ".join(f"{what} {', '.join(names)}" for what, names in parts if names)
    config = f"{escape(ranking.config)}, " if ranking.config else ""
    return (
        f"<h2>{escape(ranking.dataset)}</h2>"
        f'<p class="small">{dataset}, {config}split {escape(ranking.split)} at '
        f"<code>{escape(ranking.dataset_revision[:12] or MISSING)}</code> · {ranking.n:,} rows · "
        f"{ranking.n_labels:,} label texts · {labels} · {escape(ranking.created[:10])}</p>"
        f'<p class="small">settings: {escape(settings_text(ranking))}</p>'
    )


def to_csv(view: View, ranking: Ranking, snapshot: Snapshot, delimiter: str = ",") -> str:
    """What is shown, all columns, numbers unrounded; a text that a spreadsheet would run is made text with a '."""
    records = [record(line, ranking) for line in chosen(view, ranking, snapshot)]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(record(lines(ranking, snapshot)[0], ranking))
    writer.writerows([_harmless(cell) for cell in one.values()] for one in records)
    return text.getvalue()


def to_json(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """The ranking file with the rows that are shown."""
    rows = tuple(line.row for line in chosen(view, ranking, snapshot))
    return msgspec.structs.replace(ranking, rows=rows).to_json()


def _harmless(cell: object) -> object:
    if isinstance(cell, str):
        text = " ".join(cell.split())
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return "" if cell is None else cell


def _columns(view: View, ranking: Ranking) -> list[tuple[str, str, str, Cell]]:
    """Name, title, CSS class and content of the columns that are shown."""
    first, *others = ranking.estimators
    best = min((row.rank for row in ranking.rows if row.rank is not None), default=None)
    columns: list[tuple[str, str, str, Cell]] = [
        ("rank", "Rank", "number place", lambda line: rank_of(line.row)),
        ("checkpoint", "Checkpoint", "checkpoint", _checkpoint),
        (first, title_of(first), "score", _bar(ranking, first, best)),
    ]
    cells: dict[str, tuple[str, Cell]] = {
        "r2": ("number", lambda line: number(r2(line))),
        "parameters": ("number", lambda line: format_count(line.row.parameters)),
        "downloads": ("number", lambda line: format_count(line.facts.downloads)),
        "library": ("text", lambda line: escape(line.facts.library or MISSING)),
        "licence": ("text", lambda line: escape(line.facts.licence or MISSING)),
        "seconds": ("number", lambda line: MISSING if line.seconds is None else markup.seconds(line.seconds)),
        "n": ("number", lambda line: f"{line.row.n or ranking.n:,}"),
        "width": ("number", lambda line: MISSING if line.row.width is None else str(line.row.width)),
        "architecture": ("text", lambda line: escape(line.row.architecture or MISSING)),
        "revision": ("text", _revision),
    }
    if "other" in view.columns:
        columns += [(name, title_of(name), "number", _plain_score(name)) for name in others]
    # The heading has the number of rows, but for those that a race stopped earlier.
    raced = "n" not in view.columns and any(row.n is not None for row in ranking.rows)
    shown = (*view.columns, "n") if raced else view.columns
    return columns + [(name, COLUMNS[name], *cells[name]) for name in shown if name in cells]


def _header(name: str, title: str, css: str, view: View) -> str:
    if name not in SORTS or name == "n":
        return f'<th scope="col" class="{css}">{escape(title)}</th>'
    return markup.sorting_header(name, title, css, view.sort, lambda sort: to_query(replace(view, sort=sort)))


def _row(line: Line, columns: Sequence[tuple[str, str, str, Cell]]) -> str:
    cells = "".join(
        f'<th scope="row" class="{css}">{cell(line)}</th>'
        if name == "checkpoint"
        else f'<td class="{css}">{cell(line)}</td>'
        for name, _, css, cell in columns
    )
    return f"<tr{' class=failed' if line.row.error is not None else ''}>{cells}</tr>"


def _checkpoint(line: Line) -> str:
    link = markup.hub_link(line.row.checkpoint, line.row.revision)
    return f'{link}<div class="problem">failed: {escape(line.row.error)}</div>' if line.row.error is not None else link


def _revision(line: Line) -> str:
    revision = line.row.revision
    if revision is None:
        return MISSING
    short = f"<code>{escape(revision[:7] if is_commit(revision) else revision[:13])}</code>"
    address = markup.hub_address(line.row.checkpoint, revision)
    if address is None:
        return short
    return f'<a href="{address}/tree/{revision}" target="_blank" rel="noopener">{short}</a>'


def _plain_score(name: str) -> Cell:
    def cell(line: Line) -> str:
        score = line.score(name)
        return number(score.value if score else None)

    return cell


def _bar(ranking: Ranking, estimator: str, best: int | None) -> Cell:
    """A score in figures, and as a bar from the worst to the best of the ranking with its error across the end."""
    spans = [_span(row.scores[estimator]) for row in ranking.rows if estimator in row.scores]
    low, high = min((a for a, _ in spans), default=0.0), max((b for _, b in spans), default=1.0)

    def share(at: float) -> float:
        return round(100 * (at - low) / (high - low), 1) if high > low else 50.0

    def cell(line: Line) -> str:
        score = line.score(estimator)
        if score is None:
            return MISSING
        left, right = _span(score)
        error = f" ± {score.stderr:.4f}" if score.stderr is not None else ""
        css = "bar best" if line.row.rank == best else "bar"
        return (
            f'<span class="figure">{number(score.value)}<span class="error">{error}</span></span>'
            f'<span class="{css}" aria-hidden="true"><i style="width:{share(score.value)}%"></i>'
            f'<b style="left:{share(left)}%;width:{round(share(right) - share(left), 1)}%"></b></span>'
        )

    return cell


def _span(score: Score) -> tuple[float, float]:
    error = score.stderr or 0.0
    return score.value - error, score.value + error


def _counted(found: Sequence[Line], view: View, ranking: Ranking) -> str:
    count = f"{len(found):,} of {len(ranking.rows):,} checkpoints"
    unknown = sum(value(line, view.sort.removeprefix("-")) is None for line in found)
    if unknown and view.sort != "rank":
        count += f"; {unknown} without a value come last"
    if len(found) <= view.rows:
        return count
    more = markup.view_link(to_query(replace(view, rows=view.rows + 5 * ROWS_AT_ONCE)), "show more")
    return f"{count}, the first {view.rows:,} drawn: {more}"
