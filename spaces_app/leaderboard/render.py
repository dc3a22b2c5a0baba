"""A view and a snapshot in, everything that the page shows out. Knows nothing of Gradio."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass

from hf_emms.formatting import pluralize
from leaderboard import across, checkpoint, compare, cost, markup, shortlist, table
from leaderboard.markup import escape
from leaderboard.selection import WITHOUT_SELECTION, View, resolved, title, to_query
from leaderboard.store import Entry, Snapshot

_SHOWN_PROBLEMS = 20
_ARRIVED = "New results have arrived."


@dataclass(frozen=True)
class Shown:
    """What the page shows of a view.

    Attributes:
        view: as it could be shown.
        entry: the ranking, if there is one.
        answer: HTML of the answer to the page's question; empty where there is none.
        content: HTML of the view's tab.
        notice: HTML of what should be known first; empty if nothing.
        address: JSON for the browser: query, title, and the version of the data.
    """

    view: View
    entry: Entry | None
    answer: str
    content: str
    notice: str
    address: str


def show(wanted: View, snapshot: Snapshot, *, asked: str | None = None) -> Shown:
    """Makes a view; `asked` is the query of the URL that it was asked by, whose place its own takes."""
    view, entry = resolved(wanted, snapshot)
    content = _content(view, entry, snapshot)
    address = {
        "query": to_query(view),
        "title": title(view, entry),
        "asked": asked,
        "version": snapshot.version,
    }
    answer = ""
    if entry is not None and view.tab not in ("across", "choose", *WITHOUT_SELECTION) and not view.checkpoint:
        answer = _framed(table.answered(view, entry.ranking, snapshot))
    return Shown(view, entry, answer, _framed(content), _notice(view, entry), json.dumps(address))


def _framed(content: str) -> str:
    return f'<div class="emms-view">{content}</div>'


def newer(address: str, notice: str | None, snapshot: Snapshot) -> str | None:
    """A line that offers the newest data to a page that shows older.

    Returns:
        "" where the page has the newest data and still offers it: an answer that was on its way when it was
        fetched. None where the notice stays as it is.
    """
    shown = json.loads(address) if address else {}
    if not shown or shown.get("version") == snapshot.version:
        return "" if _ARRIVED in (notice or "") else None
    link = f'<a data-view href="?{html.escape(str(shown.get("query", "")))}">Show them</a>'
    return f'<div class="emms-view emms-notice" role="status"><p>{_ARRIVED} {link}</p></div>'


def about_the_data(snapshot: Snapshot, repo_id: str) -> str:
    """Where the rankings come from, and which files were skipped."""
    rows = sum(len(entry.ranking.rows) for entry in snapshot.entries.values())
    origin = escape(snapshot.origin)
    if repo_id and markup.is_id(repo_id):
        origin = f'<a href="{markup.HUB}/datasets/{repo_id}" target="_blank" rel="noopener">{origin}</a>'
    held = f"{pluralize(len(snapshot.entries), 'ranking')} with {pluralize(rows, 'row')}"
    text = f"<strong>About the data:</strong> {held} from {origin}."
    if snapshot.failure and snapshot.entries:
        text += f" {escape(snapshot.failure)}; the last copy is shown."
    if snapshot.problems:
        listed = "; ".join(escape(problem) for problem in snapshot.problems[:_SHOWN_PROBLEMS])
        more = len(snapshot.problems) - _SHOWN_PROBLEMS
        text += f" Skipped: {listed}" + (f"; and {more:,} more." if more > 0 else ".")
    return f'<div class="emms-view"><p class="small">{text}</p></div>'


def _content(view: View, entry: Entry | None, snapshot: Snapshot) -> str:
    if view.tab in WITHOUT_SELECTION:
        return ""
    if not snapshot.entries:
        return f'<p class="empty">{_nothing(snapshot)}</p>'
    if view.tab == "across":
        return across.heat_map(view, snapshot)
    if view.tab == "choose":
        return shortlist.answer(view, snapshot)
    if entry is None:
        return '<p class="empty">Pick a task and a dataset above.</p>'
    if view.checkpoint:
        return checkpoint.page(view, snapshot)
    if view.compare:
        return compare.page(view, entry.ranking, snapshot)
    draw = cost.plot if view.tab == "cost" else table.table
    return draw(view, entry.ranking, snapshot)


def _nothing(snapshot: Snapshot) -> str:
    origin = escape(snapshot.origin)
    if snapshot.failure:
        return f"{escape(snapshot.failure)}, so there is nothing to show. It is tried again every few minutes."
    if not snapshot.read:
        return f"The rankings in {origin} are being read. This page shows a line when they are here."
    skipped = f"; {pluralize(len(snapshot.problems), 'problem')} named below" if snapshot.problems else ""
    return f"There are no rankings in {origin}{skipped}. The tab Submit shows how to add one."


def _notice(view: View, entry: Entry | None) -> str:
    if entry is not None or not (view.ranking or view.task):
        return ""
    missing = f"ranking {view.ranking}" if view.ranking else f"ranking for the task {view.task}"
    text = f"There is no {escape(missing)} here: it was removed, or the link is wrong."
    return f'<div class="emms-view emms-notice" role="alert"><p>{text}</p></div>'
