"""Compare two rankings: their settings, their order, and their checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hf_emms.errors import MISSING, Note, pluralize
from hf_emms.evaluation import measures
from hf_emms.evaluation.truth import matched, stopped_early
from hf_emms.ranking import FineTuned, Ranking, Row, ranked
from hf_emms.ranking.columns import format_finetuned, single_line

SCHEMA_VERSION = 1

_FACTS = (
    *("dataset_id", "dataset_revision", "config", "split", "columns", "task", "n", "n_inputs", "n_labels", "skipped"),
    "estimators",
)
_COMPARABLE = ("dataset_id", "config", "split", "task")


class Move(msgspec.Struct, frozen=True):
    """A checkpoint that both rankings have scored, by its name in the first.

    Attributes:
        first, second: Its rank in each ranking, among the checkpoints that both have scored.
        first_tied, second_tied: Whether it shares this rank.
        up: Number of ranks gained, negative for lost ones; 0 if the ranks that it shares overlap.
        first_fine_tuned, second_fine_tuned: fine-tuned scores without single runs; None without fine-tuning.
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
        estimators: The estimators that order the first and the second ranking.
        settings: Name, first and second value of settings that differ.
        moves: The checkpoints that both have scored, in the order of the first ranking.
        agreement: weighted_tau, kendall_tau and top_overlap (share of the first three) of the scores; None if
            fewer than three checkpoints are common or all scores are equal.
        picks: The best checkpoint of each ranking, among the checkpoints that both have scored.
        same_pick: "yes", "no", or "within ties" if both picks share the first rank of a ranking.
        only_first, only_second: Checkpoints that only this ranking has scored.
        failed_first, failed_second: Checkpoints that failed.
        warnings: Reasons not to compare the rankings.
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
    warnings: tuple[Note, ...] = ()

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()


def compare(first: Ranking, second: Ranking) -> Comparison:
    """Return how the second ranking differs from the first.

    Ranks are recomputed among the checkpoints that both have scored, so an additional checkpoint moves no other.
    """
    # Match the names first: a failed row takes part in this.
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
    return ["@".join(filter(None, (encoder.id, encoder.revision))) for encoder in ranking.encoders]


def _warnings(first: Ranking, second: Ranking, common: Sequence[Row]) -> list[Note]:
    different = [name for name in _COMPARABLE if getattr(first, name) != getattr(second, name)]
    warnings = []
    if different:
        values = ", ".join(f"{name} {getattr(first, name)} and {getattr(second, name)}" for name in different)
        warnings.append(Note("different-questions", f"The rankings answer different questions: {values}."))
    elif first.dataset_revision != second.dataset_revision:
        warnings.append(Note("different-revisions", "The revisions of the dataset differ."))
    warnings += [*stopped_early(first), *stopped_early(second)]
    if len(common) < measures.FEWEST:
        count = pluralize(len(common), "checkpoint")
        text = f"Both rankings have scored {count}; agreement requires {measures.FEWEST}."
        warnings.append(Note("few-checkpoints", text))
    return warnings


def _moves(before: Sequence[Row], after: Sequence[Row]) -> tuple[Move, ...]:
    then, now = _positions(before), _positions(after)
    rows = {row.checkpoint: row for row in after}
    moves = []
    for row in before:
        other = rows[row.checkpoint]
        (best, worst), (best_now, worst_now) = then[row.checkpoint], now[row.checkpoint]
        overlap = best <= worst_now and best_now <= worst
        up = 0 if overlap else best - best_now
        measured = [each.fine_tuned and msgspec.structs.replace(each.fine_tuned, runs=()) for each in (row, other)]
        moves.append(Move(row.checkpoint, best, best_now, row.tied, other.tied, up, *measured))
    return tuple(moves)


def _positions(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """Return the first and the last position of all rows that share a row's rank."""
    positions = [*enumerate(rows, 1)]
    last = {row.rank: position for position, row in positions}
    first = {row.rank: position for position, row in reversed(positions)}
    return {row.checkpoint: (first[row.rank], last[row.rank]) for row in rows}


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


def move_columns(comparison: Comparison) -> list[str]:
    """Return the keys of `move_records`, with keys of fine-tuned scores only if a checkpoint has one."""
    measured = ("fine_tuned", "fine_tuned_spread", "fine_tuned_metric") if _fine_tuned(comparison) else ()
    return [
        *("checkpoint", "rank_a", "rank_b", "up"),
        *(f"{name}_{side}" for side in "ab" for name in measured),
        "state",
    ]


def move_records(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a flat dictionary per checkpoint: common ones in the first ranking's order, then all others."""
    empty = dict.fromkeys(move_columns(comparison))
    records: list[dict[str, Any]] = []
    for move in comparison.moves:
        record = {"checkpoint": move.checkpoint, "rank_a": move.first, "rank_b": move.second, "up": move.up}
        for side, measured in (("a", move.first_fine_tuned), ("b", move.second_fine_tuned)):
            if measured is not None:
                record[f"fine_tuned_{side}"] = measured.value
                record[f"fine_tuned_spread_{side}"] = measured.spread
                record[f"fine_tuned_metric_{side}"] = measured.metric
        records.append(empty | record | {"state": "both"})
    rest = (
        ("only in A", comparison.only_first),
        ("only in B", comparison.only_second),
        ("failed in A", comparison.failed_first),
        ("failed in B", comparison.failed_second),
    )
    return records + [empty | {"checkpoint": name, "state": state} for state, names in rest for name in names]


def move_cells(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the moves: "=" before a shared rank, an arrow before a move.

    If any checkpoint was fine-tuned, there is a column of fine-tuned scores per ranking, in points.
    """
    measured = _fine_tuned(comparison)
    header = ["A", "B", "move", "checkpoint", *(["fine-tuned in A", "fine-tuned in B"] if measured else [])]
    rows = []
    for move in comparison.moves:
        ranks = [f"{'=' * move.first_tied}{move.first}", f"{'=' * move.second_tied}{move.second}"]
        values = [format_finetuned(move.first_fine_tuned), format_finetuned(move.second_fine_tuned)] if measured else []
        arrow = f"↑{move.up}" if move.up > 0 else f"↓{-move.up}" if move.up else ""
        rows.append([*ranks, arrow, single_line(move.checkpoint), *values])
    return header, rows


def _fine_tuned(comparison: Comparison) -> bool:
    return any(move.first_fine_tuned or move.second_fine_tuned for move in comparison.moves)


def summary(comparison: Comparison) -> list[str]:
    """Summarize the comparison, one sentence per line."""
    moved = [move for move in comparison.moves if move.up]
    count = len(comparison.moves)
    lines = [f"{len(moved)} of {count} common checkpoints moved beyond what their ranks share"]
    agreement = comparison.agreement
    if agreement["weighted_tau"] is not None:
        lines.append(
            f"weighted τ {agreement['weighted_tau']:.3f}, τ {agreement['kendall_tau']:.3f}, "
            f"{agreement['top_overlap']:.0%} of A's first three are among B's"
        )
    if comparison.picks is not None:
        ours, theirs = map(single_line, comparison.picks)
        if comparison.same_pick == "yes":
            lines.append(f"the same pick: {ours}")
        else:
            how = "picks that tie" if comparison.same_pick == "within ties" else "different picks"
            lines.append(f"{how}: {ours} and {theirs}")
    for record in move_records(comparison)[count:]:
        lines.append(f"{record['state']}: {single_line(record['checkpoint'])}")
    return lines


def setting_rows(comparison: Comparison) -> list[list[str]]:
    """Return the name and both values of each setting that differs."""
    return [[line["name"], _value(line["first"]), _value(line["second"])] for line in comparison.settings]


def _value(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else single_line(value)
