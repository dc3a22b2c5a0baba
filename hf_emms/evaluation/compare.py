"""How two rankings differ: in their settings, in their order, in the checkpoints that they have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hf_emms.evaluation import measures
from hf_emms.evaluation.truth import matched, stopped_early
from hf_emms.formatting import pluralize
from hf_emms.ranking import FineTuned, Ranking, Row, ranked

SCHEMA_VERSION = 1

_FACTS = (
    *("dataset_id", "dataset_revision", "config", "split", "columns", "task", "n", "n_inputs", "n_labels", "skipped"),
    "estimators",
)
_COMPARABLE = ("dataset_id", "config", "split", "task")


class Move(msgspec.Struct, frozen=True):
    """A checkpoint that both rankings have scored.

    Attributes:
        checkpoint: as the first ranking names it.
        first: its rank in the first one, among the checkpoints that both have.
        second: likewise in the second one.
        first_tied: whether the rank is shared.
        second_tied: likewise in the second one.
        up: ranks that it rose by, negative where it fell; 0 where its shared places overlap.
        first_fine_tuned: what fine-tuning measured in the first ranking, without single runs; None where it did not.
        second_fine_tuned: likewise in the second one.
    """

    checkpoint: str
    first: int
    second: int
    first_tied: bool
    second_tied: bool
    up: int
    first_fine_tuned: FineTuned | None = None
    second_fine_tuned: FineTuned | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """How two rankings differ.

    Attributes:
        schema_version: of this structure.
        estimators: what orders the first and the second one.
        settings: name, first and second value of those that differ.
        moves: of the checkpoints that both have scored, in the order of the first one.
        agreement: weighted_tau, kendall_tau and top_overlap (share of the first three) of the scores; None where
            fewer than three checkpoints are common or nothing has an order.
        picks: the best checkpoint of each, among those that both have scored.
        same_pick: "yes", "within ties" where either ranking has both picks on its first rank, or "no".
        only_first: scored in the first one, absent from the second one.
        only_second: the other way round.
        failed_first: failed in the first one.
        failed_second: failed in the second one.
        warnings: why the rankings should not be compared.
    """

    schema_version: int = SCHEMA_VERSION
    estimators: tuple[str, str]
    settings: tuple[dict[str, Any], ...]
    moves: tuple[Move, ...]
    agreement: dict[str, float | None]
    picks: tuple[str, str] | None
    same_pick: str | None
    only_first: tuple[str, ...] = ()
    only_second: tuple[str, ...] = ()
    failed_first: tuple[str, ...] = ()
    failed_second: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> str:
        """All of it as JSON text."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()


def compare(first: Ranking, second: Ranking) -> Comparison:
    """How the second ranking differs from the first one.

    Ranks are counted anew among the checkpoints that both have scored, so that one more checkpoint moves no other.
    """
    # A name means a row whatever became of it; only then the failed ones go.
    pairs = matched(first.rows, [row.checkpoint for row in second.rows])
    back = {theirs: ours for ours, theirs in pairs.items()}
    ours, theirs = first.estimators[0], second.estimators[0]
    alive = {row.checkpoint for row in second.rows if row.error is None}
    common = [row for row in first.rows if row.error is None and pairs.get(row.checkpoint) in alive]
    before = ranked(common, ours)
    names = {row.checkpoint for row in common}
    after = ranked(
        [
            msgspec.structs.replace(row, checkpoint=back[row.checkpoint])
            for row in second.rows
            if back.get(row.checkpoint) in names
        ],
        theirs,
    )
    picks = (before[0].checkpoint, after[0].checkpoint) if before else None
    return Comparison(
        estimators=(ours, theirs),
        settings=tuple(_settings(first, second, common, pairs)),
        moves=_moves(before, after),
        agreement=_agreement(before, after, ours, theirs),
        picks=picks,
        same_pick=_same_pick(before, after) if picks else None,
        only_first=tuple(row.checkpoint for row in first.rows if row.error is None and row.checkpoint not in pairs),
        only_second=tuple(row.checkpoint for row in second.rows if row.error is None and row.checkpoint not in back),
        failed_first=tuple(row.checkpoint for row in first.rows if row.error is not None),
        failed_second=tuple(row.checkpoint for row in second.rows if row.error is not None),
        warnings=tuple(_warnings(first, second, common)),
    )


def _settings(first: Ranking, second: Ranking, common: Sequence[Row], pairs: Mapping[str, str]) -> list[dict[str, Any]]:
    values: list[tuple[str, Any, Any]] = [(name, getattr(first, name), getattr(second, name)) for name in _FACTS]
    for name in first.settings | second.settings:
        values.append((name, first.settings.get(name), second.settings.get(name)))
    values.append(("encoders", _encoders(first), _encoders(second)))
    for package in dict.fromkeys([*first.versions, *second.versions]):
        values.append((f"version of {package}", first.versions.get(package), second.versions.get(package)))
    for row in common:
        other = second.row(pairs[row.checkpoint])
        values.append((f"revision of {row.checkpoint}", row.revision, other.revision))
        values.append((f"layer of {row.checkpoint}", row.layer, other.layer))
    return [{"name": name, "first": ours, "second": theirs} for name, ours, theirs in values if ours != theirs]


def _encoders(ranking: Ranking) -> list[str]:
    return ["@".join(filter(None, (one.id, one.revision))) for one in ranking.encoders]


def _warnings(first: Ranking, second: Ranking, common: Sequence[Row]) -> list[str]:
    different = [name for name in _COMPARABLE if getattr(first, name) != getattr(second, name)]
    warnings = []
    if different:
        values = ", ".join(f"{name} {getattr(first, name)} and {getattr(second, name)}" for name in different)
        warnings.append(f"the rankings answer different questions: {values}")
    elif first.dataset_revision != second.dataset_revision:
        warnings.append("the revisions of the dataset differ")
    for name, ranking in (("first", first), ("second", second)):
        stopped = stopped_early(ranking.rows)
        if stopped:
            warnings.append(f"of the {name} ranking, {stopped}")
    if len(common) < measures.FEWEST:
        warnings.append(
            f"both rankings have scored {pluralize(len(common), 'checkpoint')}; agreement needs {measures.FEWEST}"
        )
    return warnings


def _moves(before: Sequence[Row], after: Sequence[Row]) -> tuple[Move, ...]:
    then, now = _places(before), _places(after)
    rows = {row.checkpoint: row for row in after}
    moves = []
    for row in before:
        other = rows[row.checkpoint]
        (best, worst), (best_now, worst_now) = then[row.checkpoint], now[row.checkpoint]
        overlap = best <= worst_now and best_now <= worst
        up = 0 if overlap else best - best_now
        measured = _without_runs(row), _without_runs(other)
        moves.append(Move(row.checkpoint, best, best_now, row.tied, other.tied, up, *measured))
    return tuple(moves)


def _without_runs(row: Row) -> FineTuned | None:
    return msgspec.structs.replace(row.fine_tuned, runs=()) if row.fine_tuned is not None else None


def _places(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """The first and the last place that a row may have: those of all rows with its rank."""
    last = {row.rank: place for place, row in enumerate(rows, 1)}
    return {row.checkpoint: (row.rank or 0, last[row.rank]) for row in rows}


def _agreement(before: Sequence[Row], after: Sequence[Row], ours: str, theirs: str) -> dict[str, float | None]:
    if len(before) < measures.FEWEST:
        return dict.fromkeys(("weighted_tau", "kendall_tau", "top_overlap"))
    there = {row.checkpoint: row.scores[theirs].value for row in after}
    scores = [row.scores[ours].value for row in before], [there[row.checkpoint] for row in before]
    values = {
        "weighted_tau": measures.weighted_tau(*scores),
        "kendall_tau": measures.kendall_tau(*scores),
        "top_overlap": measures.top_recall(*scores),
    }
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _same_pick(before: Sequence[Row], after: Sequence[Row]) -> str:
    if before[0].checkpoint == after[0].checkpoint:
        return "yes"
    picks = {before[0].checkpoint, after[0].checkpoint}
    tied = any(picks <= {row.checkpoint for row in rows if row.rank == 1} for rows in (before, after))
    return "within ties" if tied else "no"
