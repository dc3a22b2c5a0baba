"""The rows of a ranking with what else is known about each: filtered, sorted, and as flat records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_emms.ranking import Ranking, Row, emms_score
from hf_emms.scoring import Score
from leaderboard.facts import Facts
from leaderboard.selection import SIZES, View
from leaderboard.store import Snapshot
from leaderboard.training import why_seen


@dataclass(frozen=True)
class Line:
    """A row, what the Hub knows about its checkpoint, and why it is known to have seen the ranking's dataset."""

    row: Row
    facts: Facts
    seen: str = ""

    @property
    def seconds(self) -> float | None:
        return None if self.row.error is not None else self.row.seconds.features + self.row.seconds.scoring

    def score(self, estimator: str) -> Score | None:
        return self.row.scores.get(estimator)


def lines(ranking: Ranking, snapshot: Snapshot) -> list[Line]:
    """All rows, in the ranking's order."""
    found = [(row, snapshot.facts_of(row)) for row in ranking.rows]
    return [Line(row, facts, why_seen(row.checkpoint, facts, ranking.dataset_id)) for row, facts in found]


def matching(all_lines: Sequence[Line], view: View) -> list[Line]:
    """The lines that the view's filters let through. What is not known passes no filter on it."""
    wanted = [words for part in view.q.lower().split("|") if (words := part.split())]
    least, most = SIZES.get(view.at_least), SIZES.get(view.at_most)

    def passes(line: Line) -> bool:
        name, parameters = line.row.checkpoint.lower(), line.row.parameters
        if wanted and not any(all(word in name for word in words) for words in wanted):
            return False
        if least is not None and (parameters is None or parameters < least):
            return False
        if most is not None and (parameters is None or parameters > most):
            return False
        if view.trained == "unseen" and line.seen:
            return False
        if view.library and line.facts.library not in view.library:
            return False
        return not view.licence or line.facts.licence in view.licence

    return [line for line in all_lines if passes(line)]


def in_order(some_lines: Sequence[Line], sort: str) -> list[Line]:
    """The lines in order of a column ("-" before it: the largest first); what is missing comes last."""
    column, descending = sort.removeprefix("-"), sort.startswith("-")
    known = [line for line in some_lines if value(line, column) is not None]
    unknown = [line for line in some_lines if value(line, column) is None]
    return sorted(known, key=lambda line: value(line, column), reverse=descending) + unknown


def value(line: Line, column: str) -> Any:
    """What a column sorts by."""
    row = line.row
    if column in row.scores:
        return row.scores[column].value
    values = {
        "rank": row.rank,
        "checkpoint": row.checkpoint.lower(),
        "fine_tuned": row.fine_tuned.value if row.fine_tuned else None,
        "r2": r2(line),
        "elsewhere": row.elsewhere,
        "parameters": row.parameters,
        "downloads": line.facts.downloads,
        "library": line.facts.library,
        "licence": line.facts.licence,
        "seconds": line.seconds,
        "width": row.width,
        "architecture": row.architecture,
        "revision": row.revision,
    }
    return values.get(column)


def r2(line: Line) -> float | None:
    """The held-out R² that EMMS reports."""
    score = emms_score(line.row.scores)
    found = score.details.get("r2") if score else None
    return float(found) if isinstance(found, int | float) else None


def record(line: Line, ranking: Ranking) -> dict[str, Any]:
    """A line as one flat dictionary, numbers unrounded; the same keys for every line of a ranking."""
    row = line.row
    flat: dict[str, Any] = {"rank": row.rank, "tied": row.tied, "checkpoint": row.checkpoint, "revision": row.revision}
    for estimator in ranking.estimators:
        score = line.score(estimator)
        flat[estimator] = score.value if score else None
        flat[f"{estimator}_stderr"] = score.stderr if score else None
    return flat | {
        "fine_tuned": row.fine_tuned.value if row.fine_tuned else None,
        "r2": r2(line),
        "elsewhere": row.elsewhere,
        "parameters": row.parameters,
        "width": row.width,
        "architecture": row.architecture,
        "downloads": line.facts.downloads,
        "library": line.facts.library,
        "licence": line.facts.licence,
        "seen": line.seen or None,
        "seconds": line.seconds,
        "n": row.n or ranking.n,
        "error": row.error,
    }
