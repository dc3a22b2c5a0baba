"""The rows of a ranking with facts from the Hub: filtered, sorted, and as flat records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_emms.ranking import Ranking, Row, columns
from hf_emms.ranking.expected_gap import ExpectedGap, expected_gap
from hf_emms.ranking.text import verdict_cells
from hf_emms.ranking.verdict import Verdict, of_checkpoints
from hf_emms.scoring import Score
from leaderboard.facts import Facts
from leaderboard.selection import SIZES, View
from leaderboard.store import Entry, Snapshot
from leaderboard.training import why_seen

PAGE_COLUMNS = {column.name: column for column in (*columns.IDENTITY, *columns.COLUMNS) if "page" in column.tables}


@dataclass(frozen=True)
class Line:
    """A row of a ranking with everything that pages and programs show of it.

    Attributes:
        facts: From the Hub.
        seen: The evidence that the checkpoint was trained on the dataset; empty without evidence.
        gap: How far it is expected to trail the first checkpoint; None for the first and if it is unknown.
    """

    ranking: Ranking
    row: Row
    facts: Facts
    seen: str = ""
    gap: ExpectedGap | None = None

    @property
    def seconds(self) -> float | None:
        """Seconds of features and scores, without loading."""
        return PAGE_COLUMNS["seconds"].value(self.ranking, self.row)

    @property
    def memory(self) -> int | None:
        """Bytes of memory: measured on a GPU, or else computed for the weights in 32-bit numbers."""
        computed = None if self.row.parameters is None else 4 * self.row.parameters
        return self.row.memory or computed

    @property
    def speed(self) -> float | None:
        """Inputs per second, without loading; None if it was not measured."""
        return columns.inputs_per_second(self.ranking, self.row)

    def score(self, estimator: str) -> Score | None:
        return self.row.scores.get(estimator)


def lines(ranking: Ranking, snapshot: Snapshot) -> list[Line]:
    """Return all rows, in the ranking's order."""
    if id(ranking) not in snapshot.memo:
        described = [(row, snapshot.facts_of(row)) for row in ranking.rows]
        gaps = {gap.checkpoint: gap for gap in expected_gap(ranking)}
        snapshot.memo[id(ranking)] = (
            ranking,
            [  # keeps the ranking alive, so that its id stays unique
                Line(
                    ranking,
                    row,
                    facts,
                    why_seen(row.checkpoint, facts, ranking.dataset_id),
                    gaps.get(row.checkpoint),
                )
                for row, facts in described
            ],
        )
    return list(snapshot.memo[id(ranking)][1])


def places(snapshot: Snapshot) -> Mapping[str, list[tuple[Entry, Line]]]:
    """Return checkpoint → its rankings, and its line in each."""
    if "places" not in snapshot.memo:
        lines_by_checkpoint: dict[str, list[tuple[Entry, Line]]] = {}
        for entry in snapshot.entries.values():
            for line in lines(entry.ranking, snapshot):
                lines_by_checkpoint.setdefault(line.row.checkpoint, []).append((entry, line))
        snapshot.memo["places"] = lines_by_checkpoint
    return snapshot.memo["places"]


def alternatives(search: str) -> list[list[str]]:
    """Return the words of each alternative of a search: "resnet 50 | vit" is resnet and 50, or vit."""
    return [words for part in search.lower().split("|") if (words := part.split())]


def matching(all_lines: Sequence[Line], view: View, max_parameters: float | None = None) -> list[Line]:
    """Return the lines that pass the view's filters; lines with an unknown value do not pass.

    `max_parameters` replaces the limit of the view.
    """
    found = alternatives(view.q)
    most = max_parameters or SIZES.get(view.max)

    def passes(line: Line) -> bool:
        name, parameters = line.row.checkpoint.lower(), line.row.parameters
        if found and not any(all(word in name for word in words) for words in found):
            return False
        if most is not None and (parameters is None or parameters > most):
            return False
        if view.trained == "unseen" and line.seen:
            return False
        if view.library and line.facts.library not in view.library:
            return False
        if view.language and not set(view.language) & set(line.facts.languages):
            return False
        return not view.license or line.facts.license in view.license

    return [line for line in all_lines if passes(line)]


def of_lines(ranking: Ranking, some_lines: Sequence[Line]) -> Ranking:
    """Return the ranking of the checkpoints of some lines, from which their pick and its sentences follow."""
    return of_checkpoints(ranking, {line.row.checkpoint for line in some_lines})


def sorted_lines(some_lines: Sequence[Line], sort: str) -> list[Line]:
    """Sort lines by a column ("-" in front: largest first), with missing values last."""
    column, descending = sort.removeprefix("-"), sort.startswith("-")
    valued = [line for line in some_lines if value(line, column) is not None]
    unknown = [line for line in some_lines if value(line, column) is None]
    return sorted(valued, key=lambda line: value(line, column), reverse=descending) + unknown


def value(line: Line, column: str) -> Any:
    """Return the value by which a column sorts a line, or None if it is missing."""
    if column in line.row.scores:
        return line.row.scores[column].value
    if column in PAGE_COLUMNS:
        cell = PAGE_COLUMNS[column].value(line.ranking, line.row)
        return cell.lower() if column == "checkpoint" else cell
    return getattr(line if column in ("memory", "speed") else line.facts, column, None)


def record(line: Line, ranking: Ranking, decision: Verdict) -> dict[str, Any]:
    """Return a line as a flat dictionary with unrounded numbers and the same keys for all lines of a ranking.

    Args:
        line: The line.
        ranking: Its ranking.
        decision: The verdict of the checkpoints that the caller shows.
    """
    row = line.row
    flat: dict[str, Any] = {"rank": row.rank, "tied": row.tied} | verdict_cells(decision, row.checkpoint)
    flat |= {"checkpoint": row.checkpoint, "revision": row.revision}
    scores = columns.score_columns(ranking.estimators, ranking.estimators)
    flat |= {column.name: column.value(ranking, row) for column in scores}
    flat |= {name: column.value(ranking, row) for name, column in PAGE_COLUMNS.items() if name not in flat}
    gap = line.gap
    flat |= {
        "machine": row.machine,
        "memory": line.memory,
        "memory_is_measured": row.memory is not None,
        "points_behind": None if gap is None else gap.points,
        "points_behind_low": None if gap is None else gap.low,
        "points_behind_high": None if gap is None else gap.high,
    }
    facts = {name: getattr(line.facts, name) for name in ("downloads", "library", "license")}
    return flat | facts | {"seen": line.seen or None, "error": row.error}
