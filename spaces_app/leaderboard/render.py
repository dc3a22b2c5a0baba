"""Render a view of a snapshot as HTML."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from leaderboard import across, answer, api_page, checkpoint, cost, home, markup, table
from leaderboard.lines import places
from leaderboard.selection import WITHOUT_SELECTION, View, resolved, title, to_query
from leaderboard.store import Entry, Snapshot

_FEW_PROBLEMS = 20


@dataclass(frozen=True)
class Shown:
    """The HTML of a view.

    Attributes:
        view: The resolved view.
        entry: The ranking, if there is one.
        query: Of the view's address.
        title: Of the page.
        description: Of the page, for link previews; empty for the usual one.
        answer: HTML of the answer to the page's question; empty if there is none.
        content: HTML of the view's tab.
        notice: HTML of warnings above it; empty if there are none.
        exists: Whether the requested ranking, task or checkpoint exists.
    """

    view: View
    entry: Entry | None
    query: str
    title: str
    description: str
    answer: Markup
    content: Markup
    notice: Markup
    exists: bool


def show(view: View, snapshot: Snapshot, *, repo_id: str = "", is_static: bool = False) -> Shown:
    """Render a view.

    Args:
        view: The requested view.
        snapshot: The data.
        repo_id: The results dataset, "" for a folder.
        is_static: For a page without a server.
    """
    view, entry = resolved(view, snapshot)
    exists = _exists(view, entry, snapshot)
    description, shown_answer = "", Markup()
    if entry is not None and view.tab == "rankings" and not view.checkpoint:
        description = answer.in_words(view, entry.ranking, snapshot)
        shown_answer = answer.answer(view, entry.ranking, snapshot)
    content = _content(view, entry, snapshot, repo_id, is_static)
    notice = markup.draw("notice.html", missing="" if exists else _asked(view), snapshot=snapshot)
    return Shown(view, entry, to_query(view), title(view, entry), description, shown_answer, content, notice, exists)


def answer_and_plot(view: View, snapshot: Snapshot) -> Markup:
    """Render the answer and the plot for the checkpoints of a ranking that pass the filters."""
    view, entry = resolved(view, snapshot)
    if entry is None:
        return Markup()
    return answer.answer(view, entry.ranking, snapshot) + cost.plot(view, entry.ranking, snapshot)


def about_the_data(snapshot: Snapshot, repo_id: str) -> Markup:
    """Render the origin of the rankings and the skipped files."""
    address = f"{markup.HUB}/datasets/{repo_id}" if repo_id and markup.is_id(repo_id) else None
    return markup.draw(
        "about_the_data.html",
        snapshot=snapshot,
        rows=sum(len(entry.ranking.rows) for entry in snapshot.entries.values()),
        origin=markup.Link(snapshot.origin, address=address),
        few=_FEW_PROBLEMS,
    )


def _content(view: View, entry: Entry | None, snapshot: Snapshot, repo_id: str, is_static: bool) -> Markup:
    if view.tab == "about":
        return markup.draw("about.html", data=about_the_data(snapshot, repo_id))
    if view.tab == "api":
        return api_page.page()
    if view.tab == "submit":
        return Markup()
    if view.tab == "home" and snapshot.entries:
        return home.page(view, snapshot)
    if view.tab == "across" and entry is not None:
        return across.heat_map(view, snapshot, is_static=is_static)
    if view.checkpoint and snapshot.entries:
        return checkpoint.page(view, snapshot, is_static=is_static)
    if entry is None:
        return markup.draw("nothing.html", snapshot=snapshot)
    return table.table(view, entry.ranking, snapshot, is_static=is_static)


def _exists(view: View, entry: Entry | None, snapshot: Snapshot) -> bool:
    """Return whether the view's ranking, task or checkpoint exists; True before the first reading."""
    if view.tab in ("home", *WITHOUT_SELECTION) or not snapshot.read:
        return True
    if view.checkpoint:
        return view.checkpoint in places(snapshot)
    return entry is not None or not (view.ranking or view.task)


def _asked(view: View) -> str:
    """Return what an address asks for."""
    kind = "checkpoint" if view.checkpoint else "ranking" if view.ranking else "ranking for the task"
    return f"{kind} {view.checkpoint or view.ranking or view.task}"
