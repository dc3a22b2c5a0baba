"""The tab Which one for me?: a shortlist for a task and limits, and the command that ranks it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from hf_emms.errors import MISSING, format_count, pluralize
from hf_emms.ranking import Row
from hf_emms.ranking.columns import format_rank
from leaderboard import markup
from leaderboard.compare import checkpoint_link
from leaderboard.facts import Facts
from leaderboard.lines import lines, matching
from leaderboard.markup import Cell, Link, Parts
from leaderboard.selection import View, label, to_query
from leaderboard.store import Entry, Snapshot
from leaderboard.wins import Wins

LENGTH = 5
_OWN = "./my-dataset"
_HEADS = (
    ("number place", "Place"),
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
        row: Its row in its best ranking.
        facts: From the Hub.
        wins: Its share of wins over all rankings of the task.
        ranks: (entry, its row, number of ranked checkpoints), best first.
    """

    row: Row
    facts: Facts
    wins: Wins
    ranks: tuple[tuple[Entry, Row, int], ...]


def shortlist(view: View, snapshot: Snapshot, length: int = LENGTH) -> list[Candidate]:
    """Return the checkpoints of a task that pass the view's filters, largest share of wins first."""
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
    candidates = [
        Candidate(*rows[name], won[name], tuple(sorted(where, key=lambda place: (place[1].rank or 0) / place[2])))
        for name, where in ranks.items()
    ]
    candidates.sort(
        key=lambda each: (each.wins.group, -each.wins.share, each.row.parameters or float("inf"), each.row.checkpoint)
    )
    return candidates[:length]


def command(view: View, candidates: Sequence[Candidate]) -> str:
    """Return the command that ranks the Hub's candidates on the user's dataset."""
    parts = ["hf-emms", "rank", "--dataset", view.data or _OWN, "--task", view.task]
    names = [candidate.row.checkpoint for candidate in candidates if markup.is_id(candidate.row.checkpoint)]
    return " \\\n  ".join([shlex.join(parts), *(f"--checkpoint {shlex.quote(name)}" for name in names)])


def sentence(view: View, snapshot: Snapshot) -> Parts:
    """Return a sentence that names the first checkpoint to try; empty if none passes the limits."""
    candidates = shortlist(view, snapshot)
    if not candidates:
        return ""
    first, others = candidates[0], candidates[1:]
    known = [format_count(first.row.parameters) + " parameters"] if first.row.parameters is not None else []
    known += [first.facts.license] if first.facts.license else []
    facts = f" ({', '.join(known)})" if known else ""
    start = [
        "Begin with ",
        checkpoint_link(first.row.checkpoint, view),
        f"{facts}: in {pluralize(first.wins.rankings, 'ranking')} for {view.task} "
        f"it wins {first.wins.share:.0%} ({_interval(first.wins)})",
    ]
    close = [other for other in others if other.wins.group == first.wins.group and other.wins.high >= first.wins.low]
    if close:
        more = f" and {len(close) - 1} more of the shortlist" if len(close) > 1 else ""
        return [*start, ", tied with ", checkpoint_link(close[0].row.checkpoint, view), f"{more}."]
    return [*start, ", clearly more than the others." if others else "."]


def _interval(wins: Wins) -> str:
    return f"{wins.low:.0%}–{wins.high:.0%}"


def answer(view: View, snapshot: Snapshot) -> Markup:
    """Render the shortlist and the command."""
    candidates = shortlist(view, snapshot)
    rows = [
        (
            str(place),
            checkpoint_link(candidate.row.checkpoint, view),
            format_count(candidate.row.parameters),
            candidate.facts.license or MISSING,
            Cell(f"{candidate.wins.share:.0%}", small=_interval(candidate.wins)),
            list(_evidence(candidate, view, snapshot)),
        )
        for place, candidate in enumerate(candidates, 1)
    ]
    return markup.draw(
        "choose.html",
        task=view.task,
        board=markup.plain_table("Shortlist", _HEADS, rows, css="board plain"),
        command_text=command(view, candidates),
    )


def _evidence(candidate: Candidate, view: View, snapshot: Snapshot) -> Iterator[str | Link]:
    """Yield the best ranks of a candidate, with links to their rankings."""
    for place, (entry, row, ranked) in enumerate(candidate.ranks[:3]):
        query = to_query(replace(view, tab="rankings", task=entry.ranking.task, ranking=entry.id))
        yield ", " if place else ""
        yield Link(label(entry, snapshot), query)
        yield f" ({format_rank(row)} of {ranked})"
    if (more := len(candidate.ranks) - 3) > 0:
        yield f" and {more} more"


def as_data(candidate: Candidate) -> dict[str, object]:
    """Return a candidate as a dictionary for programs."""
    return {
        "checkpoint": candidate.row.checkpoint,
        "revision": candidate.row.revision,
        "parameters": candidate.row.parameters,
        "license": candidate.facts.license,
        "library": candidate.facts.library,
        "downloads": candidate.facts.downloads,
        **candidate.wins.as_data(),
        "rankings": [
            {"ranking": entry.id, "dataset": entry.ranking.dataset, "rank": row.rank, "tied": row.tied, "of": ranked}
            for entry, row, ranked in candidate.ranks
        ],
    }
