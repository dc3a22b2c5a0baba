"""From rows and options to the dictionary that ``compute`` returns."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.metric.batch import MetricRows
from hf_emms.ranking.estimators import get_estimator
from hf_emms.run.from_arrays import DEFAULT_ESTIMATOR, table_for
from hf_emms.scoring import EmmsResult
from hf_emms.scoring.arrays import as_labels, check_folds, group_ids, groups_by_content
from hf_emms.scoring.estimators import METHODS, Estimator, ScoringInputs, get_method
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import SAMPLE_ROWS, Moments


@dataclass(frozen=True)
class ComputeOptions:
    """What ``compute`` takes beside the rows; the fields are its arguments."""

    method: str = DEFAULT_ESTIMATOR
    groups: Any = None
    folds: int = 5
    seed: int = 0
    encoders: tuple[str, ...] = ()
    label_table: Any = None
    class_names: Sequence[str] | None = None
    estimators: tuple[str, ...] = ()
    device: str = "auto"

    @property
    def moment_folds(self) -> int:
        """In-sample methods need no folds, and one is cheaper than five."""
        return self.folds if any(estimator.folds for estimator in self.needed) else 1

    @property
    def needed(self) -> tuple[Estimator, ...]:
        """The estimator of the method, and the others."""
        return get_method(self.method), *map(get_estimator, self.estimators)


OPTIONS = tuple(field.name for field in fields(ComputeOptions))


def options_from(given: Mapping[str, Any]) -> ComputeOptions:
    """Checks names and values before any row is looked at.

    Raises:
        EmmsError: an unknown option, method or estimator, or a value out of range.
    """
    for name in given:
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(OPTIONS)}"
            raise EmmsError(f"the metric emms has no option {name!r}", hint)
    named = {name: _names(given[name]) for name in ("encoders", "estimators") if name in given}
    options = ComputeOptions(**{**given, **named})
    check_folds(options.folds, options.seed, fewest=2)
    _ = options.needed  # refuses unknown names
    return options


def score(rows: MetricRows, options: ComputeOptions) -> dict[str, Any]:
    """Scores rows.

    Args:
        rows: they are gone through batch by batch; estimators that look for neighbours hold them all.
        options: checked by `options_from`.

    Returns:
        score, stderr, weights, r2, n, d1, method, and one value for every estimator asked for: plain Python values.

    Raises:
        EmmsError: fewer than two rows, or labels or groups that do not fit.
    """
    n = len(rows)
    if n < 2:
        raise EmmsError(
            f"{n or 'no'} row was given; a score compares rows, and needs at least two",
            "pass hundreds of rows of the dataset that you want to fine-tune on",
        )
    groups = _groups(rows, options)
    table, needs_rows = _table(rows, options), any(estimator.needs_rows for estimator in options.needed)
    samples_rows = any(estimator.samples_rows for estimator in options.needed)
    if table is None and (needs_rows or samples_rows):
        table = _dense(rows)
        table = table.distinct() if all(estimator.name in METHODS.values() for estimator in options.needed) else table
    moments = _moments(rows, table, groups, options, sample_rows=SAMPLE_ROWS if samples_rows and not needs_rows else 0)
    inputs = ScoringInputs(moments, keep_fits=samples_rows)
    if needs_rows:
        features = np.concatenate([batch.x for batch in rows.batches()])
        inputs = ScoringInputs(moments, features, table, groups, keep_fits=samples_rows)
    result, *others = (estimator.score(inputs) for estimator in options.needed)
    assert isinstance(result, EmmsResult)
    return {
        "score": result.score,
        "stderr": result.stderr,
        "weights": list(result.weights),
        "r2": float(result.r2),
        "n": result.n,
        "d1": result.d1,
        "method": result.method,
        **{name: float(score) for name, score in zip(options.estimators, others, strict=True)},
    }


def _names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(isinstance(name, str) for name in names):
        raise EmmsError(f"{value!r} does not name encoders or estimators", 'pass names: encoders=["demo"]')
    return names


def _table(rows: MetricRows, options: ComputeOptions) -> LabelTable | None:
    if next(rows.batches()).kind == "embeddings":
        if options.encoders or options.label_table is not None:
            name = "encoders" if options.encoders else "label_table"
            raise EmmsError(
                f"references are embeddings already, so {name} has nothing to do",
                f"leave {name} out, or pass class ids or texts as references",
            )
        return None
    references = np.concatenate([batch.y for batch in rows.batches()])
    table = table_for(
        references,
        encoders=options.encoders,
        label_table=options.label_table,
        class_names=options.class_names,
        device=options.device,
        name="references",
    )
    as_labels(table, len(rows))
    return table


def _groups(rows: MetricRows, options: ComputeOptions) -> np.ndarray:
    if options.groups is not None:
        return group_ids(options.groups, len(rows))
    if any(estimator.folds or estimator.needs_rows or estimator.samples_rows for estimator in options.needed):
        return groups_by_content(batch.x for batch in rows.batches())
    return np.zeros(len(rows), dtype=np.uint64)


def _moments(
    rows: MetricRows, table: LabelTable | None, groups: np.ndarray, options: ComputeOptions, *, sample_rows: int
) -> Moments:
    moments: Moments | None = None
    for part, x, labels in _parts(rows, table):
        if moments is None:
            moments = Moments.like(
                labels, x.shape[1], folds=options.moment_folds, seed=int(options.seed), sample_rows=sample_rows
            )
        moments.update_checked(x, labels, groups[part])
    assert moments is not None
    return moments


def _parts(rows: MetricRows, table: LabelTable | None) -> Iterator[tuple[slice, np.ndarray, LabelTable]]:
    start = 0
    for batch in rows.batches():
        part = slice(start, start + len(batch))
        yield part, batch.x, LabelTable.of_rows(batch.blocks) if table is None else table.take(part)
        start = part.stop


def _dense(rows: MetricRows) -> LabelTable:
    columns = zip(*(batch.blocks for batch in rows.batches()), strict=True)
    return LabelTable.of_rows([np.concatenate(column) for column in columns])
