"""Rankings against fine-tuning results: how well estimators and controls agree with them, as data and as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from hf_emms.errors import EmmsError, Note
from hf_emms.evaluation import measures
from hf_emms.evaluation.truth import Truth, dataset_of, matched
from hf_emms.formatting import MISSING, first_few, pluralize
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.columns import single_line, title_of

SCHEMA_VERSION = 1

PARAMETERS = "parameters"
PUBLISHED = "published"
BLIND = "dataset-blind"
RANDOM = "random"


class EstimatorResult(msgspec.Struct, frozen=True):
    """How the scores of an estimator or control agree with the truth.

    Attributes:
        control: Whether the scores do not use the dataset: the number of parameters, values of a public table
            ("published"), mean ranks on the truth's other datasets ("dataset-blind"), or a random order.
        n: Number of compared checkpoints, or of targets in a mean.
        values: Measure → value; None if it is not defined, such as for equal scores.
        intervals: Measure → lower and upper end.
        picks: The checkpoints with the best score; several if scores are equal.
        unscored: Checkpoints with a truth but without this score.
    """

    name: str
    control: bool
    n: int
    values: dict[str, float | None] = {}
    intervals: dict[str, tuple[float | None, float | None]] = {}
    picks: tuple[str, ...] = ()
    unscored: tuple[str, ...] = ()


class TargetResult(msgspec.Struct, frozen=True, kw_only=True):
    """The agreement of one ranking with the truth.

    Attributes:
        n: Number of rows of the sample.
        n_checkpoints: Number of compared checkpoints.
        lines: The estimators of the ranking, then the controls.
        without_truth: Scored checkpoints without a truth.
        without_row: Names in the truth that are not in the ranking.
        failed: Checkpoints with a truth whose row failed.
    """

    dataset: str
    task: str
    n: int
    n_checkpoints: int
    lines: tuple[EstimatorResult, ...]
    without_truth: tuple[str, ...] = ()
    without_row: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """The agreement of rankings with the truth.

    Attributes:
        source, metric, lower_is_better: See `Truth`; regret is in points of the metric.
        targets: In the order of the rankings.
        means: Over the targets, if there are several.
    """

    schema_version: int = SCHEMA_VERSION
    source: str
    metric: str
    lower_is_better: bool
    targets: tuple[TargetResult, ...]
    means: tuple[EstimatorResult, ...] = ()
    notes: tuple[Note, ...] = ()

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()


# Columns that a narrow terminal omits, in this order.
DISPENSABLE = ("n", "τ", "Pearson", "95 % of regret")


def validate(rankings: Sequence[Ranking], truth: Truth) -> Validation:
    """Measure how well rankings agree with the truth.

    Args:
        rankings: One per target.
        truth: For all targets.

    Raises:
        EmmsError: The truth lacks the dataset of a ranking, or a ranking and the truth share fewer than three
            checkpoints.
    """
    if None in truth.scores and len({ranking.dataset_id for ranking in rankings}) > 1:
        raise EmmsError(
            "truth-without-dataset",
            f"{truth.source} has rows without a dataset",
            "name the dataset in a column dataset",
        )
    blind = measures.dataset_blind({name: truth.higher_is_better(name) for name in truth.scores if name is not None})
    targets = tuple(_target(ranking, truth, blind) for ranking in rankings)
    return Validation(
        source=truth.source,
        metric=truth.metric,
        lower_is_better=truth.lower_is_better,
        targets=targets,
        means=_means(targets) if len(targets) > 1 else (),
        notes=(*truth.notes, *_notes(targets)),
    )


def _target(ranking: Ranking, truth: Truth, blind: Mapping[str, Mapping[str, float]]) -> TargetResult:
    dataset = dataset_of(ranking, truth.scores)
    pairs = matched(ranking.rows, truth.scores[dataset])
    scored = [row for row in ranking.rows if row.error is None]
    rows = [row for row in scored if row.checkpoint in pairs]
    if len(rows) < measures.FEWEST:
        raise EmmsError(
            "few-checkpoints",
            f"the ranking of {ranking.dataset!r} and {truth.source} share {pluralize(len(rows), 'checkpoint')}; "
            f"at least {measures.FEWEST} are required",
            f"compare the names: the ranking has {_few(row.checkpoint for row in scored)}; "
            f"the truth has {_few(truth.scores[dataset])}",
        )
    values = truth.higher_is_better(dataset)
    truths = {row.checkpoint: values[pairs[row.checkpoint]] for row in rows}
    estimated = {
        name: {row.checkpoint: row.scores[name].value for row in rows if name in row.scores}
        for name in ranking.estimators
    }
    controls = _controls(ranking, rows)
    if len(truth.scores) > 1 and dataset is not None:
        controls[BLIND] = {name: blind[dataset][pairs[name]] for name in truths if pairs[name] in blind[dataset]}
    lines = [_line(name, False, column, truths) for name, column in estimated.items()]
    lines += [_line(name, True, column, truths) for name, column in controls.items()]
    return TargetResult(
        dataset=ranking.dataset,
        task=ranking.task,
        n=ranking.n,
        n_checkpoints=len(rows),
        lines=(*lines, _line(RANDOM, True, dict.fromkeys(truths, 0.0), truths)),
        without_truth=tuple(row.checkpoint for row in scored if row.checkpoint not in pairs),
        without_row=tuple(name for name in truth.scores[dataset] if name not in pairs.values()),
        failed=tuple(row.checkpoint for row in ranking.rows if row.error is not None and row.checkpoint in pairs),
    )


def _controls(ranking: Ranking, rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return control → checkpoint → score, for the controls that the ranking knows."""
    controls = {PARAMETERS: {row.checkpoint: float(row.parameters) for row in rows if row.parameters}}
    if ranking.published_table is not None:
        sign = -1 if ranking.published_table.lower_is_better else 1
        controls[PUBLISHED] = {row.checkpoint: sign * row.published for row in rows if row.published is not None}
    return controls


def _line(name: str, control: bool, column: Mapping[str, float], truth: Mapping[str, float]) -> EstimatorResult:
    unscored = tuple(checkpoint for checkpoint in truth if checkpoint not in column)
    if len(column) < measures.FEWEST:
        return EstimatorResult(name, control, len(column), unscored=unscored)
    scores, truths = [*column.values()], [truth[checkpoint] for checkpoint in column]
    values = {key: _number(value) for key, value in measures.measured(scores, truths).items()}
    if name == RANDOM:  # its intervals and picks would show the truth alone
        return EstimatorResult(name, control, len(column), values)
    intervals = measures.over_checkpoints(scores, truths)
    return EstimatorResult(
        name,
        control,
        len(column),
        values,
        {key: (_number(low), _number(high)) for key, (low, high) in intervals.items()},
        tuple(sorted([*column][place] for place in measures.picks(scores))),
        unscored,
    )


def _means(targets: Sequence[TargetResult]) -> tuple[EstimatorResult, ...]:
    means = []
    for name in dict.fromkeys(line.name for target in targets for line in target.lines):
        lines = [line for target in targets for line in target.lines if line.name == name and line.values]
        columns = {
            measure: [value for line in lines if (value := line.values[measure]) is not None]
            for measure in measures.MEASURES
        }
        ends = {key: measures.over_targets(column) for key, column in columns.items()}
        means.append(
            EstimatorResult(
                name,
                lines[0].control if lines else False,
                len(lines),
                {key: sum(column) / len(column) if column else None for key, column in columns.items()},
                {key: (_number(low), _number(high)) for key, (low, high) in ends.items()},
            )
        )
    return tuple(means)


def _notes(targets: Sequence[TargetResult]) -> list[Note]:
    notes = []
    for target in targets:
        name = target.dataset
        if target.n_checkpoints <= measures.TOP:
            text = f"{name}: with {target.n_checkpoints} checkpoints every pick is in the top {measures.TOP}"
            notes.append(Note("few-checkpoints", text))
        for line in target.lines:
            if line.unscored and (line.n or not line.control):
                text = f"{name}: {line.name} has no score for {', '.join(line.unscored)}"
                notes.append(Note("no-score", text))
            if line.values and line.values["weighted_tau"] is None and line.name != RANDOM:
                text = f"{name}: all values of {line.name} or of the truth are equal, so there is no tau"
                notes.append(Note("equal-values", text))
    return notes


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _few(names: Iterable[str]) -> str:
    return first_few([*names], 5) or "none"


def validation_cells(lines: Sequence[EstimatorResult]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of a table for the terminal; controls come last."""
    picked = any(line.picks for line in lines)
    header = ["scores", "weighted τ", "95 %", "τ", "Pearson", "regret", "95 % of regret", "top 3", "n"]
    return header + ["pick"] * picked, [_line_cells(line, picked) for line in lines]


def validation_tables(validation: Validation) -> list[tuple[str, tuple[EstimatorResult, ...]]]:
    """Return heading and lines of each target, then of the means if there are any."""
    tables = [(f"{target.dataset} ({target.n_checkpoints} checkpoints)", target.lines) for target in validation.targets]
    if validation.means:
        tables.append((f"mean over {pluralize(len(validation.targets), 'target')}", validation.means))
    return tables


def _line_cells(line: EstimatorResult, picked: bool) -> list[str]:
    value, ends = line.values, line.intervals
    chance = value.get("pick_in_top")
    cells = [
        title_of(line.name) + (" *" if line.control else ""),
        _signed(value.get("weighted_tau")),
        _ends(ends.get("weighted_tau"), _signed),
        _signed(value.get("kendall_tau")),
        _signed(value.get("pearson")),
        format_regret(value.get("regret")),
        _ends(ends.get("regret"), format_regret),
        MISSING if chance is None else {0.0: "no", 1.0: "yes"}.get(chance, f"{chance:.0%}"),
        str(line.n),
    ]
    return cells + [_pick(line.picks)] * picked


def format_regret(value: float | None) -> str:
    """Format a regret with two decimals, or more digits if the truth is a share."""
    if value is None:
        return MISSING
    return f"{value:.3g}" if 0 < value < 0.095 else f"{value:.2f}"


def _signed(value: float | None) -> str:
    return MISSING if value is None else f"{value:z.2f}"


def _ends(ends: tuple[float | None, float | None] | None, text: Any) -> str:
    return f"{text(ends[0])}…{text(ends[1])}" if ends is not None and ends[0] is not None else MISSING


def _pick(picks: Sequence[str]) -> str:
    if not picks:
        return MISSING
    more = f" (ties with {len(picks) - 1} more)" if len(picks) > 1 else ""
    return single_line(picks[0]) + more
