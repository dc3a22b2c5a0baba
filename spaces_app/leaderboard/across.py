"""The tab Across datasets: a heat map of ranks, checkpoints × rankings, and the share of wins of each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hf_emms.errors import MISSING, pluralize
from hf_emms.ranking import Row
from hf_emms.ranking.columns import format_rank
from leaderboard import markup
from leaderboard.compare import checkpoint_link
from leaderboard.lines import Line, lines, matching
from leaderboard.markup import escape
from leaderboard.selection import ORDERS, View, label, to_query
from leaderboard.store import Entry, Snapshot
from leaderboard.wins import Wins

MAX_DATASETS = 40
MAX_CHECKPOINTS = 200
_SHADES = 5
_BAND = ' class="band"'


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


def heat_map(view: View, snapshot: Snapshot, *, sorted_by_browser: bool = False) -> str:
    """Render the grid; for `sorted_by_browser` see `table.table`."""
    cells = grid(view, snapshot)
    if not cells.rows:
        return '<p class="empty">No checkpoint passes these filters in any ranking.</p>'
    sizes = {entry.id: max((row.rank or 1 for row in entry.ranking.rows), default=1) for entry in cells.entries}
    head = "".join(_sorter(name, view) for name in ORDERS)
    head += "".join(_header(entry, view, snapshot) for entry in cells.entries)
    starts = _starts_of_groups(cells) if view.order == "-wins" else frozenset()
    body = "".join(
        f'<tr{_BAND if name in starts else ""}><th scope="row" class="checkpoint">{checkpoint_link(name, view)}</th>'
        + _won(cells, name)
        + "".join(_cell(rows.get(entry.id), sizes[entry.id]) for entry in cells.entries)
        + "</tr>"
        for name, rows in cells.rows.items()
    )
    caption = "Ranks of checkpoints across datasets"
    orders = ""
    if sorted_by_browser:
        won = [
            (-wins.group, wins.share, wins.rankings) if (wins := cells.wins.get(name)) else (-len(cells.wins), -1.0, 0)
            for name in cells.rows
        ]
        names = [name.lower() for name in cells.rows]
        orders = markup.sort_keys({"checkpoint": names, "wins": won, "rankings": [place[::-1] for place in won]})
    boxed = markup.boxed_table("Ranks across datasets", head, body, "board heat", caption, orders=orders)
    return f'<div class="beside">{_legend()}{_explained(cells)}</div>{boxed}'


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


def _sorter(name: str, view: View) -> str:
    css, title = "checkpoint" if name == "checkpoint" else "number", ORDERS[name]
    return markup.sorting_header(name, title, css, view.order, lambda order: to_query(replace(view, order=order)))


def _header(entry: Entry, view: View, snapshot: Snapshot) -> str:
    name = markup.breakable(label(entry, snapshot)) + (
        f"<small>{markup.breakable(entry.ranking.task)}</small>" if view.scope == "all" else ""
    )
    query = to_query(replace(view, tab="rankings", task=entry.ranking.task, ranking=entry.id, rows=View.rows))
    return f'<th scope="col" class="number">{markup.view_link(query, name)}</th>'


def _won(cells: Grid, name: str) -> str:
    wins = cells.wins.get(name)
    if wins is None:
        return f'<td class="number">{MISSING}</td><td class="number">0</td>'
    return (
        f'<td class="number mean">{wins.share:.0%} <span class="error">{wins.low:.0%}–{wins.high:.0%}</span></td>'
        f'<td class="number">{wins.rankings} of {cells.rankings}</td>'
    )


def _cell(row: Row | None, worst: int) -> str:
    if row is None:
        return "<td></td>"
    if row.rank is None:
        return f'<td class="absent" title="{escape(row.error)}">failed</td>'
    shade = _SHADES - 1 - int((_SHADES - 1) * (row.rank - 1) / max(worst - 1, 1) + 0.5)
    return f'<td class="shade{shade}">{format_rank(row)}</td>'


def _explained(cells: Grid) -> str:
    text = (
        "Wins: the probability to rank above an average checkpoint of its group, with its 95 % interval, estimated "
        "from all pairs that share a ranking (Bradley–Terry). Checkpoints of different groups share no ranking, "
        "not even indirectly; a line separates the groups. Rankings: how many rankings rank the checkpoint."
    )
    datasets, checkpoints = cells.left_out
    if datasets or checkpoints:
        text += f" Not shown: {pluralize(datasets, 'column')} with fewer checkpoints, "
        text += f"{pluralize(checkpoints, 'checkpoint')} further down."
    return f'<details class="small"><summary>How to read this</summary><p>{text}</p></details>'


def _legend() -> str:
    shades = "".join(f'<span class="shade{shade}">&nbsp;</span>' for shade in reversed(range(_SHADES)))
    return (
        f'<span class="small legend">best {shades} worst rank of the column · empty: not ranked · '
        "= tied. Compare ranks between datasets, not scores.</span>"
    )
