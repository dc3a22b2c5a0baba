"""The tab Across datasets: checkpoints × rankings as a heat map of ranks, and mean ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hf_emms.formatting import MISSING, pluralize
from hf_emms.ranking import Row
from hf_emms.views import rank_of, with_error
from leaderboard import markup
from leaderboard.lines import Line, lines, matching
from leaderboard.markup import escape
from leaderboard.selection import View, label, to_query
from leaderboard.store import Entry, Snapshot

MAX_DATASETS = 40
MAX_CHECKPOINTS = 200
_SHADES = 5


@dataclass(frozen=True)
class Grid:
    """Ranks of checkpoints in several rankings.

    Attributes:
        entries: the rankings, one a column.
        rows: checkpoint → entry id → row; an entry that has not ranked the checkpoint is not there.
        shared: ids of the entries that the mean rank is taken over.
        means: checkpoint → mean rank, for those that every shared entry has ranked.
        left_out: how many rankings and checkpoints are not shown.
    """

    entries: tuple[Entry, ...]
    rows: Mapping[str, Mapping[str, Row]]
    shared: tuple[str, ...]
    means: Mapping[str, float]
    left_out: tuple[int, int] = (0, 0)


def grid(view: View, snapshot: Snapshot) -> Grid:
    """The grid for a view's task (or all tasks) and filters, best mean rank first."""
    entries = list(snapshot.entries.values()) if view.scope == "all" else snapshot.of_task(view.task)
    found = {entry.id: _by_checkpoint(matching(lines(entry.ranking, snapshot), view)) for entry in entries}
    entries = [entry for entry in entries if found[entry.id]]
    most = sorted(entries, key=lambda entry: -len(found[entry.id]))[:MAX_DATASETS]
    shown = [entry for entry in entries if entry in most]
    rows: dict[str, dict[str, Row]] = {}
    for entry in shown:
        for checkpoint, row in found[entry.id].items():
            rows.setdefault(checkpoint, {})[entry.id] = row
    shared, members = _shared([entry.id for entry in most], rows)
    means = _mean_ranks(shared, {name: rows[name] for name in members})
    order = sorted(rows, key=lambda name: (means.get(name, float("inf")), -len(rows[name]), name.lower()))
    first = {name: rows[name] for name in order[:MAX_CHECKPOINTS]}
    left_out = (len(entries) - len(shown), len(rows) - len(first))
    return Grid(tuple(shown), first, shared, means, left_out)


def heat_map(view: View, snapshot: Snapshot) -> str:
    """The grid as an HTML table; every cell leads to its ranking."""
    cells = grid(view, snapshot)
    if not cells.rows:
        return '<p class="empty">No checkpoint passes these filters in any ranking.</p>'
    sizes = {entry.id: max((row.rank or 1 for row in entry.ranking.rows), default=1) for entry in cells.entries}
    head = "".join(_header(entry, view, snapshot, entry.id in cells.shared) for entry in cells.entries)
    body = "".join(
        f'<tr><th scope="row" class="checkpoint">{_name(rows)}</th><td class="number mean">{_mean(cells, name)}</td>'
        + "".join(_cell(rows.get(entry.id), sizes[entry.id], entry) for entry in cells.entries)
        + "</tr>"
        for name, rows in cells.rows.items()
    )
    return (
        f'{_explained(cells)}<div class="sideways" tabindex="0" role="region" aria-label="Ranks across datasets">'
        '<table class="board heat"><caption class="unseen">Ranks of checkpoints across datasets</caption><thead><tr>'
        f'<th scope="col" class="checkpoint">Checkpoint</th><th scope="col" class="number">Mean rank</th>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>{_legend()}"
    )


def _by_checkpoint(found: Sequence[Line]) -> dict[str, Row]:
    return {line.row.checkpoint: line.row for line in found}


def _shared(ids: Sequence[str], rows: Mapping[str, Mapping[str, Row]]) -> tuple[tuple[str, ...], list[str]]:
    """Entries, the fullest first, as long as two checkpoints are ranked in all of them; and those checkpoints."""
    shared: list[str] = []
    members = list(rows)
    for id in ids:
        left = [name for name in members if id in rows[name] and rows[name][id].rank is not None]
        if len(left) >= 2:
            shared, members = [*shared, id], left
    return (tuple(shared), members) if len(shared) > 1 else ((), [])


def _mean_ranks(shared: Sequence[str], rows: Mapping[str, Mapping[str, Row]]) -> dict[str, float]:
    """Means of the ranks that the checkpoints have among themselves."""
    totals = dict.fromkeys(rows, 0.0)
    for id in shared:
        ranks = {name: rows[name][id].rank or 0 for name in rows}
        for name in rows:
            totals[name] += 1 + sum(other < ranks[name] for other in ranks.values())
    return {name: total / len(shared) for name, total in totals.items()} if shared else {}


def _header(entry: Entry, view: View, snapshot: Snapshot, shared: bool) -> str:
    name = escape(label(entry, snapshot)) + (
        f"<small>{escape(entry.ranking.task)}</small>" if view.scope == "all" else ""
    )
    query = to_query(replace(view, tab="rankings", task=entry.ranking.task, ranking=entry.id, rows=View.rows))
    mark = '<span title="counts for the mean rank" aria-label="counts for the mean rank">●</span>' if shared else ""
    return f'<th scope="col" class="number">{markup.view_link(query, f"{name}{mark}")}</th>'


def _name(rows: Mapping[str, Row]) -> str:
    row = next(iter(rows.values()))
    return markup.hub_link(row.checkpoint, row.revision)


def _mean(cells: Grid, name: str) -> str:
    return f"{cells.means[name]:.2f}" if name in cells.means else MISSING


def _cell(row: Row | None, worst: int, entry: Entry) -> str:
    if row is None:
        return f'<td class="number absent" title="not ranked here"><span class="unseen">not ranked</span>{MISSING}</td>'
    if row.rank is None:
        return f'<td class="number absent" title="failed: {escape(row.error)}">failed</td>'
    shade = _SHADES - 1 - int((_SHADES - 1) * (row.rank - 1) / max(worst - 1, 1) + 0.5)
    score = row.scores[entry.ranking.estimators[0]]
    title = f"{entry.ranking.estimators[0]} {with_error(score)}"
    return f'<td class="number shade{shade}" title="{escape(title)}">{rank_of(row)}</td>'


def _explained(cells: Grid) -> str:
    if cells.shared:
        text = (
            f"Mean rank: over the {len(cells.shared)} rankings marked ●, among the {len(cells.means)} checkpoints "
            "that all of these have ranked. Other checkpoints have none: their ranks are among other checkpoints."
        )
    else:
        text = "No two checkpoints are ranked in more than one of these rankings, so there is no mean rank."
    datasets, checkpoints = cells.left_out
    if datasets or checkpoints:
        text += f" Not shown: {pluralize(datasets, 'ranking')} with fewer checkpoints, "
        text += f"{pluralize(checkpoints, 'checkpoint')} further down."
    return f'<p class="small">{text}</p>'


def _legend() -> str:
    shades = "".join(f'<span class="shade{shade}">&nbsp;</span>' for shade in reversed(range(_SHADES)))
    return (
        f'<p class="small legend">best {shades} worst rank of its column · <span class="absent">{MISSING}</span> '
        "not ranked there · = shared rank. Scores of different datasets cannot be compared, ranks can.</p>"
    )
