"""The tab Across datasets: a heat map of ranks, checkpoints × rankings, and the share of wins of each checkpoint.

A checkbox per row chooses checkpoints to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from markupsafe import Markup

from hf_emms.ranking import Row
from hf_emms.ranking.columns import format_rank
from leaderboard import compare, markup, values
from leaderboard.lines import Line, lines, matching
from leaderboard.selection import View, checkpoint_link, ranking_link
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
    is_complete = is_static or len(cells.rows) == len(cells.lines)
    return markup.draw(
        "across.html",
        cells=cells,
        heads=[ranking_link(entry, snapshot, view) for entry in cells.entries],
        link=lambda name: checkpoint_link(name, view),
        compared=None if is_static else view.compare,
        comparison=compare.table(view, snapshot),
        rank=format_rank,
        worst={entry.id: max((row.rank or 1 for row in entry.ranking.rows), default=1) for entry in cells.entries},
        shade=_shade,
        shades=_SHADES,
        data=values.of_filters([cells.lines[name] for name in cells.rows]) if is_complete else {},
    )


def _shade(rank: int, worst: int) -> int:
    """Return the shade of a rank, from the worst of its ranking to the best."""
    return _SHADES - 1 - int((_SHADES - 1) * (rank - 1) / max(worst - 1, 1) + 0.5)
