"""The tab Across datasets: a heat map of ranks, checkpoints × rankings, and the share of wins of each checkpoint.

A checkbox per row chooses checkpoints to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from hf_emms.formatting import MISSING
from hf_emms.ranking import Row
from hf_emms.ranking.columns import format_rank
from leaderboard import compare, markup, values
from leaderboard.lines import Line, lines, matching
from leaderboard.markup import Cell, Column, Link, Table, TableRow
from leaderboard.selection import View, checkpoint_link, label, to_query
from leaderboard.store import Entry, Snapshot
from leaderboard.wins import Wins

MAX_DATASETS = 40
MAX_CHECKPOINTS = 200
_SHADES = 5
_FIRST = 10


@dataclass(frozen=True)
class Grid:
    """Ranks of checkpoints in several rankings.

    Attributes:
        entries: The rankings, each a column.
        rows: Checkpoint → entry id → row, for the entries that ranked the checkpoint; most wins first.
        lines: Checkpoint → its first line, for all checkpoints.
        passing: The checkpoints that pass the filters.
        wins: Checkpoint → its share of wins over all rankings, hidden ones included.
        rankings: Number of rankings.
        left_out: Number of hidden rankings and hidden checkpoints.
    """

    entries: tuple[Entry, ...]
    rows: Mapping[str, Mapping[str, Row]]
    lines: Mapping[str, Line]
    passing: frozenset[str]
    wins: Mapping[str, Wins]
    rankings: int
    left_out: tuple[int, int] = (0, 0)


def grid(view: View, snapshot: Snapshot) -> Grid:
    """Return the grid of a view: all checkpoints, or the first that pass the filters if there are many."""
    entries = snapshot.of_task(view.task)
    won = snapshot.wins.get(view.task, {})
    # First the datasets that ranked the first checkpoints, so that the top left of the map is filled.
    first_names = {*[*won][:_FIRST]}
    ranked = {entry.id: sum(row.checkpoint in first_names for row in entry.ranking.rows) for entry in entries}
    shown = sorted(entries, key=lambda entry: (-ranked[entry.id], -len(entry.ranking.rows)))[:MAX_DATASETS]
    first: dict[str, Line] = {}
    rows: dict[str, dict[str, Row]] = {}
    for entry in entries:
        for line in lines(entry.ranking, snapshot):
            first.setdefault(line.row.checkpoint, line)
            rows.setdefault(line.row.checkpoint, {})[entry.id] = line.row
    names = [*won, *sorted(first.keys() - won.keys(), key=str.lower)]
    # Several datasets: it does not matter whether a checkpoint was trained on one of them.
    passing = {line.row.checkpoint for line in matching([*first.values()], replace(view, trained=""))}
    limit = min(view.rows, MAX_CHECKPOINTS)
    if len(names) > limit:
        names = [name for name in names if name in passing][:limit]
    left_out = (len(entries) - len(shown), len(passing) - len(passing & {*names}))
    return Grid(
        tuple(shown), {name: rows[name] for name in names}, first, frozenset(passing), won, len(entries), left_out
    )


def heat_map(view: View, snapshot: Snapshot, *, is_static: bool = False) -> Markup:
    """Render the grid; without a server, the browser filters the rows that it has."""
    cells = grid(view, snapshot)
    sizes = {entry.id: max((row.rank or 1 for row in entry.ranking.rows), default=1) for entry in cells.entries}
    rows = [
        TableRow(
            (
                Cell(checkpoint_link(name, view), choice="" if is_static else name, is_chosen=name in view.compare),
                *_won(cells, name),
                *(_cell(rows.get(entry.id), sizes[entry.id]) for entry in cells.entries),
            ),
            place=place,
            is_hidden=name not in cells.passing,
        )
        for place, (name, rows) in enumerate(cells.rows.items())
    ]
    fixed = [Column("Checkpoint", "checkpoint"), Column("Wins", "number"), Column("Rankings", "number")]
    columns = [*fixed, *(_header(entry, view, snapshot) for entry in cells.entries)]
    is_complete = is_static or len(cells.rows) == len(cells.lines)
    data: dict[str, Any] = values.of_filters([cells.lines[name] for name in cells.rows]) if is_complete else {}
    ranks = Table("Ranks across datasets", columns, rows, "board heat", "Ranks of checkpoints across datasets", data)
    return markup.draw(
        "across.html",
        ranks=ranks,
        comparison=compare.table(view, snapshot),
        left_out=cells.left_out,
        shades=_SHADES,
        empty=not cells.passing,
    )


def _header(entry: Entry, view: View, snapshot: Snapshot) -> Column:
    query = to_query(replace(view, tab="rankings", task=entry.ranking.task, ranking=entry.id, rows=View.rows))
    name = label(entry, snapshot)
    return Column(Link(name, query, is_name=True), "number", hint=f"{name}, {entry.ranking.task}")


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
