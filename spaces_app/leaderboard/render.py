"""Render a view of a snapshot as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_emms.errors import pluralize
from leaderboard import across, answer, api_page, checkpoint, compare, cost, home, markup, shortlist, table
from leaderboard.lines import places
from leaderboard.markup import escape
from leaderboard.selection import WITHOUT_SELECTION, View, resolved, title, to_query
from leaderboard.store import Entry, Snapshot

_FEW_PROBLEMS = 20
_ABOUT = Path(__file__).parent / "about.html"


@dataclass(frozen=True)
class Shown:
    """The HTML of a view.

    Attributes:
        view: The resolved view.
        entry: The ranking, if there is one.
        query: Of the view's address.
        title: Of the page.
        answer: HTML of the answer to the page's question; empty if there is none.
        content: HTML of the view's tab.
        notice: HTML of warnings above it; empty if there are none.
        exists: Whether the requested ranking, task or checkpoint exists.
    """

    view: View
    entry: Entry | None
    query: str
    title: str
    answer: str
    content: str
    notice: str
    exists: bool


def show(view: View, snapshot: Snapshot, *, repo_id: str = "", sorted_by_browser: bool = False) -> Shown:
    """Render a view.

    Args:
        view: The requested view.
        snapshot: The data.
        repo_id: The results dataset, "" for a folder.
        sorted_by_browser: For a page without a server.
    """
    view, entry = resolved(view, snapshot)
    exists = _exists(view, entry, snapshot)
    sentence = ""
    if entry is not None and view.tab in ("rankings", "cost") and not view.checkpoint and not view.compare:
        sentence = answer.answer(view, entry.ranking, snapshot)
    if view.tab == "choose":
        sentence = shortlist.sentence(view, snapshot)
    content = _content(view, entry, snapshot, repo_id, sorted_by_browser)
    notice = _notice(view, exists) + _age(snapshot)
    return Shown(view, entry, to_query(view), title(view, entry), sentence, content, notice, exists)


def about_the_data(snapshot: Snapshot, repo_id: str) -> str:
    """Render the origin of the rankings and the skipped files."""
    rows = sum(len(entry.ranking.rows) for entry in snapshot.entries.values())
    origin = escape(snapshot.origin)
    if repo_id and markup.is_id(repo_id):
        origin = f'<a href="{markup.HUB}/datasets/{repo_id}" target="_blank" rel="noopener">{origin}</a>'
    counts = f"{pluralize(len(snapshot.entries), 'ranking')} with {pluralize(rows, 'row')}"
    text = f"{counts} from {origin}."
    if snapshot.failure and snapshot.entries:
        text += f" {escape(snapshot.failure)}; showing the copy of {escape(snapshot.as_of)}."
    listed = _listed("Skipped", "file", snapshot.problems) + _listed("Shown", "remark", snapshot.remarks)
    return f"<h2>The data</h2><p>{text}</p>{listed}"


def _listed(title: str, noun: str, texts: Sequence[str]) -> str:
    """Render texts about files as a list, collapsed if it is long; empty without texts."""
    if not texts:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    is_open = " open" if len(texts) <= _FEW_PROBLEMS else ""
    return f"<details{is_open}><summary>{title}: {pluralize(len(texts), noun)}</summary><ul>{items}</ul></details>"


def _content(view: View, entry: Entry | None, snapshot: Snapshot, repo_id: str, sorted_by_browser: bool) -> str:
    if view.tab == "about":
        return f'<div class="prose">{about_the_data(snapshot, repo_id)}{_ABOUT.read_text(encoding="utf-8")}</div>'
    if view.tab == "api":
        return f'<div class="prose">{api_page.page()}</div>'
    if view.tab == "submit":
        return ""
    if not snapshot.entries:
        return f'<p class="empty">{_nothing(snapshot)}</p>'
    if view.tab == "home":
        return home.page(view, snapshot)
    if view.tab == "across":
        return across.heat_map(view, snapshot, sorted_by_browser=sorted_by_browser)
    if view.tab == "choose":
        return shortlist.answer(view, snapshot)
    if view.checkpoint:
        return checkpoint.page(view, snapshot, compares=not sorted_by_browser)
    if entry is None:
        return '<p class="empty">Pick a task and a dataset above.</p>'
    if view.compare:
        return compare.page(view, entry.ranking, snapshot)
    if view.tab == "cost":
        return cost.plot(view, entry.ranking, snapshot)
    return table.table(view, entry.ranking, snapshot, sorted_by_browser=sorted_by_browser)


def _nothing(snapshot: Snapshot) -> str:
    origin = escape(snapshot.origin)
    if snapshot.failure:
        return f"{escape(snapshot.failure)}, so there is nothing to show. The server tries again every few minutes."
    if not snapshot.read:
        return f"The server is reading the rankings in {origin}. Reload this page in a moment."
    skipped = f" (problems: {len(snapshot.problems)}, see About)" if snapshot.problems else ""
    return f"{origin} does not contain rankings{skipped}. The tab Submit shows how to add one."


def _exists(view: View, entry: Entry | None, snapshot: Snapshot) -> bool:
    """Return whether the view's ranking, task or checkpoint exists; True before the first reading."""
    if view.tab in ("home", *WITHOUT_SELECTION) or not snapshot.read:
        return True
    if view.checkpoint:
        return view.checkpoint in places(snapshot)
    return entry is not None or not (view.ranking or view.task)


def _notice(view: View, exists: bool) -> str:
    if exists:
        return ""
    kind = "checkpoint" if view.checkpoint else "ranking" if view.ranking else "ranking for the task"
    missing = f"{kind} {view.checkpoint or view.ranking or view.task}"
    return f'<p role="alert">Not found: {escape(missing)}. It was removed, or the link is wrong.</p>'


def _age(snapshot: Snapshot) -> str:
    """Render a warning if the last refresh failed."""
    if not snapshot.failure or not snapshot.entries:
        return ""
    return f'<p role="status">{escape(snapshot.failure)}: showing the data of {escape(snapshot.as_of)}.</p>'
