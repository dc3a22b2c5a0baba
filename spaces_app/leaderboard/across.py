"""The tab Across datasets: a heat map of ranks, checkpoints × rankings, and the share of wins of each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from markupsafe import Markup

from hf_emms.errors import MISSING
from hf_emms.ranking import Row
from hf_emms.ranking.columns import format_rank
from leaderboard import markup
from leaderboard.compare import checkpoint_link
from leaderboard.lines import Line, lines, matching
from leaderboard.markup import Cell, Column, Link, Table, TableRow
from leaderboard.selection import ORDERS, View, label, to_query
from leaderboard.store import Entry, Snapshot
from leaderboard.wins import Wins

MAX_DATASETS = 40
MAX_CHECKPOINTS = 200
_SHADES = 5


@dataclass(frozen=True)
class Grid:
    """Ranks of checkpoints in several rankings.

    Attributes:
        entries: The rankings, each a column.
        rows: Checkpoint → entry id → row, for the entries that ranked the checkpoint.
        wins: Checkpoint → its share of wins over all rankings, hidden ones included.
        rankings: Number of rankings.
        left_out: Number of hidden rankings and hidden checkpoints.
    """

    entries: tuple[Entry, ...]
    rows: Mapping[str, Mapping[str, Row]]
    wins: Mapping[str, Wins]
    rankings: int
    left_out: tuple[int, int] = (0, 0)


def of_scope(view: View, snapshot: Snapshot) -> list[Entry]:
    """Return the entries of the view's task, or of all tasks."""
    return list(snapshot.entries.values()) if view.scope == "all" else snapshot.of_task(view.task)


def grid(view: View, snapshot: Snapshot) -> Grid:
    """Return the grid of a view, filtered and in the view's order."""
    entries = of_scope(view, snapshot)
    rows_of = {entry.id: _by_checkpoint(matching(lines(entry.ranking, snapshot), view)) for entry in entries}
    most = sorted((entry for entry in entries if rows_of[entry.id]), key=lambda entry: -len(rows_of[entry.id]))
    columns = {entry.id for entry in most[:MAX_DATASETS]}
    shown = [entry for entry in entries if entry.id in columns]
    won = snapshot.wins.get("" if view.scope == "all" else view.task, {})
    rows: dict[str, dict[str, Row]] = {}
    for entry in entries:
        for checkpoint, row in rows_of[entry.id].items():
            rows.setdefault(checkpoint, {})[entry.id] = row
    first = {name: rows[name] for name in _ordered(rows, won, view.order)[: min(view.rows, MAX_CHECKPOINTS)]}
    return Grid(tuple(shown), first, won, len(entries), (len(most) - len(shown), len(rows) - len(first)))


def heat_map(view: View, snapshot: Snapshot, *, sorted_by_browser: bool = False) -> Markup:
    """Render the grid; for `sorted_by_browser` see `table.table`."""
    cells = grid(view, snapshot)
    sizes = {entry.id: max((row.rank or 1 for row in entry.ranking.rows), default=1) for entry in cells.entries}
    starts = _starts_of_groups(cells) if view.order == "-wins" else frozenset()
    rows = [
        TableRow(
            (
                checkpoint_link(name, view),
                *_won(cells, name),
                *(_cell(rows.get(entry.id), sizes[entry.id]) for entry in cells.entries),
            ),
            "band" if name in starts else "",
        )
        for name, rows in cells.rows.items()
    ]
    columns = [*(_sorter(name, view) for name in ORDERS), *(_header(entry, view, snapshot) for entry in cells.entries)]
    data = {}
    if sorted_by_browser:
        won = [
            (-wins.group, wins.share, wins.rankings) if (wins := cells.wins.get(name)) else (-len(cells.wins), -1.0, 0)
            for name in cells.rows
        ]
        names = [name.lower() for name in cells.rows]
        by_rankings = [place[::-1] for place in won]
        data["orders"] = markup.sort_keys({"checkpoint": names, "wins": won, "rankings": by_rankings})
    ranks = Table("Ranks across datasets", columns, rows, "board heat", "Ranks of checkpoints across datasets", data)
    return markup.draw("across.html", ranks=ranks, left_out=cells.left_out, shades=_SHADES)


def _by_checkpoint(passing: Sequence[Line]) -> dict[str, Row]:
    return {line.row.checkpoint: line.row for line in passing}


def _ordered(rows: Mapping[str, Mapping[str, Row]], won: Mapping[str, Wins], order: str) -> list[str]:
    def key(name: str) -> tuple[float, ...]:
        wins = won.get(name)
        place = (-wins.group, wins.share, wins.rankings) if wins else (-len(won), -1.0, 0)
        return place if order.endswith("wins") else place[::-1]

    by_name = sorted(rows, key=str.lower)
    if order.endswith("checkpoint"):
        return by_name[::-1] if order.startswith("-") else by_name
    return sorted(by_name, key=key, reverse=order.startswith("-"))


def _starts_of_groups(cells: Grid) -> frozenset[str]:
    """Return the first checkpoint of each group except the first group, in the order of wins."""
    groups = [(name, cells.wins[name].group) for name in cells.rows if name in cells.wins]
    return frozenset(name for (_, before), (name, group) in pairwise(groups) if group != before)


def _sorter(name: str, view: View) -> Column:
    css, title = "checkpoint" if name == "checkpoint" else "number", ORDERS[name]
    return markup.sorting_column(name, title, css, view.order, lambda order: to_query(replace(view, order=order)))


def _header(entry: Entry, view: View, snapshot: Snapshot) -> Column:
    query = to_query(replace(view, tab="rankings", task=entry.ranking.task, ranking=entry.id, rows=View.rows))
    task = entry.ranking.task if view.scope == "all" else ""
    return Column(Link(label(entry, snapshot), query, is_name=True), "number", small=task)


def _won(cells: Grid, name: str) -> tuple[str | Cell, str]:
    wins = cells.wins.get(name)
    if wins is None:
        return MISSING, "0"
    share = Cell(f"{wins.share:.0%}", "mean", f"{wins.low:.0%}–{wins.high:.0%}")
    return share, f"{wins.rankings} of {cells.rankings}"


def _cell(row: Row | None, worst: int) -> str | Cell:
    if row is None:
        return ""
    if row.rank is None:
        return Cell("failed", "absent", hint=row.error or "")
    shade = _SHADES - 1 - int((_SHADES - 1) * (row.rank - 1) / max(worst - 1, 1) + 0.5)
    return Cell(format_rank(row), f"shade{shade}")
