"""The tab Which one for me?: a task and limits in, a shortlist and the command that checks it out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hf_emms.formatting import MISSING, format_count
from hf_emms.ranking import Row
from hf_emms.ranking.columns import format_rank
from leaderboard import markup
from leaderboard.compare import checkpoint_link
from leaderboard.facts import Facts
from leaderboard.lines import lines, matching
from leaderboard.markup import escape
from leaderboard.selection import View, label, to_query
from leaderboard.store import Entry, Snapshot
from leaderboard.wins import Wins

LENGTH = 5
_OWN = "./my-dataset"
_HEADS = (
    ("number place", '<span class="unseen">Place</span>'),
    ("checkpoint", "Checkpoint"),
    ("number", "Parameters"),
    ("text", "License"),
    ("number", "Wins"),
    ("text", "Ranked in"),
)


@dataclass(frozen=True)
class Candidate:
    """A checkpoint with its ranks in several rankings.

    Attributes:
        row: its row in the ranking where it is best.
        facts: from the Hub.
        wins: how often it wins over all rankings of the task.
        ranks: (entry, its row there, how many were ranked), the best first.
    """

    row: Row
    facts: Facts
    wins: Wins
    ranks: tuple[tuple[Entry, Row, int], ...]


def shortlist(view: View, snapshot: Snapshot, length: int = LENGTH) -> list[Candidate]:
    """The checkpoints of a task that pass the view's filters, the largest share of wins first."""
    ranks: dict[str, list[tuple[Entry, Row, int]]] = {}
    rows: dict[str, tuple[Row, Facts]] = {}
    won = snapshot.wins.get(view.task, {})
    for entry in snapshot.of_task(view.task):
        ranked = sum(row.rank is not None for row in entry.ranking.rows)
        for line in matching(lines(entry.ranking, snapshot), view):
            row = line.row
            if row.rank is None or row.checkpoint not in won:
                continue
            ranks.setdefault(row.checkpoint, []).append((entry, row, ranked))
            if row.checkpoint not in rows or row.rank < (rows[row.checkpoint][0].rank or 0):
                rows[row.checkpoint] = (row, line.facts)
    found = [
        Candidate(*rows[name], won[name], tuple(sorted(where, key=lambda one: (one[1].rank or 0) / one[2])))
        for name, where in ranks.items()
    ]
    found.sort(key=lambda one: (-one.wins.share, one.row.parameters or float("inf"), one.row.checkpoint))
    return found[:length]


def command(view: View, found: Sequence[Candidate]) -> str:
    """The command that ranks a shortlist on the user's own dataset; only names that are Hub ids get in."""
    parts = ["hf-emms", "rank", "--dataset", view.own or _OWN, "--task", view.task]
    names = [one.row.checkpoint for one in found if markup.is_id(one.row.checkpoint)]
    return " \\\n  ".join([shlex.join(parts), *(f"--checkpoint {shlex.quote(name)}" for name in names)])


def answer(view: View, snapshot: Snapshot) -> str:
    """The shortlist and the command as HTML."""
    found = shortlist(view, snapshot)
    if not found:
        return f'<p class="empty">No checkpoint for {escape(view.task or "this task")} passes these limits.</p>'
    rows = "".join(
        f'<tr><td class="number place">{place}</td>'
        f'<th scope="row" class="checkpoint">{checkpoint_link(one.row.checkpoint)}</th>'
        f'<td class="number">{format_count(one.row.parameters)}</td>'
        f'<td class="text">{escape(one.facts.license or MISSING)}</td>'
        f'<td class="number">{one.wins.share:.0%}</td><td class="text">{_evidence(one, view, snapshot)}</td></tr>'
        for place, one in enumerate(found, 1)
    )
    head = "".join(f'<th scope="col" class="{css}">{title}</th>' for css, title in _HEADS)
    return (
        f"<h2>A shortlist for {escape(view.task)}</h2>"
        + markup.boxed_table("Shortlist", head, rows, "board plain")
        + '<p class="small">Wins: how often it would be ranked above an average checkpoint of these rankings; a '
        "checkpoint that few of them have stays near 50 %. They are of <em>other people's</em> datasets: the command "
        "below ranks the shortlist on yours.</p>"
        + markup.command_box(command(view, found), "Rank them on your dataset")
    )


def _evidence(one: Candidate, view: View, snapshot: Snapshot) -> str:
    shown = [_rank(*rank, view, snapshot) for rank in one.ranks[:3]]
    more = len(one.ranks) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _rank(entry: Entry, row: Row, ranked: int, view: View, snapshot: Snapshot) -> str:
    query = to_query(replace(view, tab="rankings", task=entry.ranking.task, ranking=entry.id))
    return f"{markup.view_link(query, escape(label(entry, snapshot)))} ({format_rank(row)} of {ranked})"


def as_data(one: Candidate) -> dict[str, object]:
    """A candidate for programs."""
    return {
        "checkpoint": one.row.checkpoint,
        "revision": one.row.revision,
        "parameters": one.row.parameters,
        "license": one.facts.license,
        "library": one.facts.library,
        "downloads": one.facts.downloads,
        "wins": round(one.wins.share, 4),
        "wins_interval": [round(one.wins.low, 4), round(one.wins.high, 4)],
        "rankings": [
            {"ranking": entry.id, "dataset": entry.ranking.dataset, "rank": row.rank, "tied": row.tied, "of": ranked}
            for entry, row, ranked in one.ranks
        ],
    }
