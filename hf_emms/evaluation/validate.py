"""Rankings against fine-tuning results: how well estimators and controls agree with them, as data and as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from hf_emms.errors import MISSING, EmmsError, Note, first_few, pluralize, setting_ref
from hf_emms.evaluation import measures
from hf_emms.evaluation.truth import Truth, dataset_of, matched, stopped_early
from hf_emms.ranking import Ranking
from hf_emms.ranking.columns import single_line, title_of

SCHEMA_VERSION = 1

PARAMETERS = "parameters"
ELSEWHERE = "mean_rank_elsewhere"
STATIC = "static"
BLIND = "dataset-blind"
RANDOM = "random"


class EstimatorResult(msgspec.Struct, frozen=True):
    """How the scores of an estimator or control agree with the truth.

    Attributes:
        control: Whether the scores do not use the dataset: the number of parameters, mean ranks on other datasets
            ("mean_rank_elsewhere"), values of a public table ("static"), mean ranks on the truth's other datasets
            ("dataset-blind"), or a random order.
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


class Point(msgspec.Struct, frozen=True):
    """A checkpoint with its truth as in the table, and estimator or control → score."""

    checkpoint: str
    truth: float
    scores: dict[str, float]


class TargetResult(msgspec.Struct, frozen=True, kw_only=True):
    """The agreement of one ranking with the truth.

    Attributes:
        n: Number of rows of the sample.
        lines: The estimators of the ranking, then the controls.
        points: The compared checkpoints, best truth first.
        without_truth: Scored checkpoints without a truth.
        without_row: Names in the truth that are not in the ranking.
        failed: Checkpoints with a truth whose row failed.
    """

    dataset: str
    task: str
    n: int
    lines: tuple[EstimatorResult, ...]
    points: tuple[Point, ...]
    without_truth: tuple[str, ...] = ()
    without_row: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """The agreement of rankings with the truth.

    Attributes:
        source, metric, lower_is_better: See `Truth`; regret is in points of the metric.
        resamples, seed: Of the bootstrap intervals.
        targets: In the order of the rankings.
        means: Over the targets, if there are several.
    """

    schema_version: int = SCHEMA_VERSION
    source: str
    metric: str
    lower_is_better: bool
    resamples: int
    seed: int
    targets: tuple[TargetResult, ...]
    means: tuple[EstimatorResult, ...] = ()
    notes: tuple[Note, ...] = ()

    def to_json(self) -> str:
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode()


MEANS = "mean"
# Columns that a narrow terminal omits, in this order.
DISPENSABLE = ("n", "τ", "Pearson", "95 % of regret")

# Measures with a meaningful mean over targets; a rank depends on the number of checkpoints.
_AVERAGED = ("weighted_tau", "kendall_tau", "pearson", "spearman", "regret", "pick_in_top", "top_recall")


def validate(
    rankings: Sequence[Ranking],
    truth: Truth,
    *,
    estimators: Sequence[str] = (),
    resamples: int = measures.RESAMPLES,
    seed: int = 0,
) -> Validation:
    """Measure how well rankings agree with the truth.

    Args:
        rankings: One per target.
        truth: For all targets.
        estimators: The compared estimators; by default all of each ranking.
        resamples: Number of bootstrap samples, of the checkpoints of a target, or of the targets for the means.
        seed: Of the bootstrap samples.

    Raises:
        EmmsError: The truth lacks the dataset of a ranking, no ranking has an estimator, or a ranking and the truth
            share fewer than three checkpoints.
    """
    _check(rankings, truth, estimators)
    blind = measures.dataset_blind({name: truth.higher_is_better(name) for name in truth.scores if name is not None})
    targets = tuple(
        _target(name, ranking, truth, blind, estimators, resamples, seed)
        for name, ranking in zip(_names(rankings), rankings, strict=True)
    )
    means = _means(targets, resamples, seed) if len(targets) > 1 else ()
    return Validation(
        source=truth.source,
        metric=truth.metric,
        lower_is_better=truth.lower_is_better,
        resamples=resamples,
        seed=seed,
        targets=targets,
        means=means,
        notes=(*truth.notes, *_notes(rankings, targets)),
    )


def _check(rankings: Sequence[Ranking], truth: Truth, estimators: Sequence[str]) -> None:
    if not rankings:
        raise EmmsError("There is no ranking to validate.", "Name the file of a " + setting_ref("ranking"))
    datasets = dict.fromkeys(ranking.dataset_id for ranking in rankings)
    if None in truth.scores and len(truth.scores) > 1:
        raise EmmsError(f"Some rows of {truth.source} name no dataset.", "Fill the column of datasets in every row.")
    if None in truth.scores and len(datasets) > 1:
        raise EmmsError(
            f"The rankings are of {len(datasets)} datasets ({', '.join(datasets)}), but {truth.source} names none.",
            "Add a column dataset.",
        )
    present = dict.fromkeys(name for ranking in rankings for name in ranking.estimators)
    for name in estimators:
        if name not in present:
            raise EmmsError(f"No ranking has the estimator {name!r}.", f"Choose from: {', '.join(present)}")


def _names(rankings: Sequence[Ranking]) -> list[str]:
    """Return the names of the datasets, numbered if several rankings have the same dataset."""
    all = [ranking.dataset for ranking in rankings]
    return [
        f"{name} #{all[: place + 1].count(name)}" if all.count(name) > 1 else name for place, name in enumerate(all)
    ]


def _target(
    dataset_name: str,
    ranking: Ranking,
    truth: Truth,
    blind: Mapping[str, Mapping[str, float]],
    estimators: Sequence[str],
    resamples: int,
    seed: int,
) -> TargetResult:
    dataset = dataset_of(ranking, truth.scores)
    pairs = matched(ranking.rows, truth.scores[dataset])
    rows = [row for row in ranking.rows if row.error is None and row.checkpoint in pairs]
    scored = [row.checkpoint for row in ranking.rows if row.error is None]
    raw = {row.checkpoint: truth.scores[dataset][pairs[row.checkpoint]] for row in rows}
    good = truth.higher_is_better(dataset)
    if len(rows) < measures.FEWEST:
        raise EmmsError(
            f"The ranking of {ranking.dataset!r} and {truth.source} share {pluralize(len(rows), 'checkpoint')}; "
            f"at least {measures.FEWEST} are required.",
            f"Compare the names: the ranking has {_few(scored)}; the truth has {_few(truth.scores[dataset])}.",
        )
    named = [name for name in ranking.estimators if not estimators or name in estimators]
    columns: dict[str, dict[str, float]] = {
        name: {row.checkpoint: row.scores[name].value for row in rows if name in row.scores} for name in named
    }
    columns[PARAMETERS] = {row.checkpoint: float(row.parameters) for row in rows if row.parameters}
    if ranking.has_mean_rank_elsewhere:
        columns[ELSEWHERE] = {
            row.checkpoint: -row.mean_rank_elsewhere for row in rows if row.mean_rank_elsewhere is not None
        }
    if ranking.static_table is not None:
        sign = -1 if ranking.static_table.lower_is_better else 1
        columns[STATIC] = {row.checkpoint: sign * row.static for row in rows if row.static is not None}
    if len(truth.scores) > 1 and dataset is not None:
        means = blind[dataset]
        columns[BLIND] = {checkpoint: means[pairs[checkpoint]] for checkpoint in raw if pairs[checkpoint] in means}
    columns[RANDOM] = dict.fromkeys(raw, 0.0)
    goodness = {row.checkpoint: good[pairs[row.checkpoint]] for row in rows}
    return TargetResult(
        dataset=dataset_name,
        task=ranking.task,
        n=ranking.n,
        lines=tuple(
            _line(name, name not in named, column, goodness, resamples, seed) for name, column in columns.items()
        ),
        points=tuple(
            Point(
                checkpoint,
                raw[checkpoint],
                {name: column[checkpoint] for name, column in columns.items() if checkpoint in column},
            )
            for checkpoint in sorted(raw, key=lambda checkpoint: (-goodness[checkpoint], checkpoint))
        ),
        without_truth=tuple(checkpoint for checkpoint in scored if checkpoint not in pairs),
        without_row=tuple(name for name in truth.scores[dataset] if name not in pairs.values()),
        failed=tuple(row.checkpoint for row in ranking.rows if row.error is not None and row.checkpoint in pairs),
    )


def _line(
    name: str, control: bool, column: Mapping[str, float], truth: Mapping[str, float], resamples: int, seed: int
) -> EstimatorResult:
    unscored = tuple(checkpoint for checkpoint in truth if checkpoint not in column)
    if len(column) < measures.FEWEST:
        return EstimatorResult(name, control, len(column), unscored=unscored)
    scores, truths = [*column.values()], [truth[checkpoint] for checkpoint in column]
    values = measures.measured(scores, truths)
    # Intervals of a random order would show the truth alone.
    intervals = {} if name == RANDOM else measures.over_checkpoints(scores, truths, resamples=resamples, seed=seed)
    best = measures.picks(scores)
    return EstimatorResult(
        name,
        control,
        len(column),
        {key: _number(value) for key, value in values.items()},
        {key: (_number(low), _number(high)) for key, (low, high) in intervals.items()},
        tuple(sorted([*column][place] for place in best)) if name != RANDOM else (),
        unscored,
    )


def _means(targets: Sequence[TargetResult], resamples: int, seed: int) -> tuple[EstimatorResult, ...]:
    means = []
    for name in dict.fromkeys(line.name for target in targets for line in target.lines):
        lines = [line for target in targets for line in target.lines if line.name == name and line.values]
        columns = {
            measure: [value for line in lines if (value := line.values[measure]) is not None] for measure in _AVERAGED
        }
        ends = {key: measures.over_targets(column, resamples=resamples, seed=seed) for key, column in columns.items()}
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


def _notes(rankings: Iterable[Ranking], targets: Iterable[TargetResult]) -> list[Note]:
    notes = [note for ranking in rankings for note in stopped_early(ranking)]
    for target in targets:
        name, count = target.dataset, len(target.points)
        if count <= measures.TOP:
            text = f"{name}: with {count} checkpoints every pick is in the top {measures.TOP}."
            notes.append(Note("few-checkpoints", text))
        for line in target.lines:
            if line.unscored and (line.n or not line.control):
                text = f"{name}: {line.name} has no score for {', '.join(line.unscored)}."
                notes.append(Note("no-score", text))
            if line.values and line.values["weighted_tau"] is None and line.name != RANDOM:
                text = f"{name}: all values of {line.name} or of the truth are equal, so there is no tau."
                notes.append(Note("equal-values", text))
    return notes


def _number(value: float) -> float | None:
    return None if value != value else float(value)


def _few(names: Iterable[str]) -> str:
    return first_few([*names], 5) or "none"


def validation_records(validation: Validation) -> list[dict[str, Any]]:
    """Return a flat dictionary per line of each target, then of the means; numbers are not rounded."""
    flat = []
    tables = _tables(validation)
    every = [line for _, lines in tables for line in lines]
    names = dict.fromkeys(name for line in every for name in line.values)
    for target, lines in tables:
        for line in lines:
            record: dict[str, Any] = {"target": target, "scores": line.name, "control": line.control, "n": line.n}
            for name in names:
                record[name] = line.values.get(name)
                if any(name in other.intervals for other in every):
                    record[f"{name}_low"], record[f"{name}_high"] = line.intervals.get(name, (None, None))
            flat.append(record | {"picks": " ".join(line.picks)})
    return flat


def validation_cells(lines: Sequence[EstimatorResult]) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of a table for the terminal; controls come last."""
    picked = any(line.picks for line in lines)
    header = ["scores", "weighted τ", "95 %", "τ", "Pearson", "regret", "95 % of regret", "top 3", "n"]
    return header + ["pick"] * picked, [_line_cells(line, picked) for line in lines]


def validation_tables(validation: Validation) -> list[tuple[str, tuple[EstimatorResult, ...]]]:
    """Return heading and lines of each target, then of the means if there are any."""
    titles = {target.dataset: f"{target.dataset} ({len(target.points)} checkpoints)" for target in validation.targets}
    titles[MEANS] = f"mean over {pluralize(len(validation.targets), 'target')}"
    return [(titles[name], lines) for name, lines in _tables(validation)]


def _tables(validation: Validation) -> list[tuple[str, tuple[EstimatorResult, ...]]]:
    means = [(MEANS, validation.means)] if validation.means else []
    return [*((target.dataset, target.lines) for target in validation.targets), *means]


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
