"""Shards of a sample, and the moments of their rows, which merge into those of the whole sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.formatting import format_bytes, pluralize
from hf_emms.options import Options
from hf_emms.ranking.estimators import get_estimator
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import SAMPLE_ROWS, Moments, needed_bytes

if TYPE_CHECKING:
    from hf_emms.data import Sample


# Rows that are added to the moments at once: enough for fast products, few enough to need little memory.
CHUNK_ROWS = 2048

# Scoring that needs more memory than this gives a note.
NOTED_BYTES = 10**9

Batches = Iterable[tuple[np.ndarray, np.ndarray]]
"""Positions int64 (b,) among the inputs of a shard, and their features float32 (b, D1)."""


@dataclass(frozen=True)
class Shard:
    """Some inputs of a sample with all rows that use them.

    A row's fold depends on its group alone, so shards never change folds.

    Attributes:
        inputs: the m inputs: strings, or `Images`.
        rows: int64, shape (n,): which rows of the sample use them.
        input_of_row: int64, shape (n,): which of the m inputs each of them uses.
        groups: uint64, shape (n,): as in the sample.
    """

    inputs: Sequence[Any]
    rows: np.ndarray
    input_of_row: np.ndarray
    groups: np.ndarray


def whole(sample: Sample) -> Shard:
    """All of a sample."""
    return Shard(sample.inputs, np.arange(len(sample)), sample.input_of_row, sample.groups)


def shard_of(sample: Sample, inputs: slice) -> Shard:
    """Consecutive inputs of a sample; they are in the order of a hash, so that the first m are a random sample."""
    start, stop, _ = inputs.indices(len(sample.inputs))
    rows = np.flatnonzero((sample.input_of_row >= start) & (sample.input_of_row < stop))
    return Shard(sample.inputs[start:stop], rows, sample.input_of_row[rows] - start, sample.groups[rows])


def samples_rows(options: Options) -> bool:
    """Whether an estimator needs a sample of the rows."""
    return any(get_estimator(name).samples_rows for name in options.estimators)


def moments_of(
    features: np.ndarray, shard: Shard, labels: LabelTable, options: Options, *, sampled: bool = False
) -> Moments:
    """Moments of a shard's rows.

    Args:
        features: float32 (m, D1), of the shard's inputs.
        shard: the rows.
        labels: of all rows of the sample.
        options: folds and their seed.
        sampled: whether rows are kept that an estimator needs; not where the features themselves will be at hand.

    Raises:
        EmmsError: features that are not finite.
    """
    _check_finite(features)
    moments = _empty_moments(labels, features.shape[1], options, sampled=sampled)
    for start in range(0, len(shard.rows), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        moments.update(features[shard.input_of_row[chunk]], labels.take(shard.rows[chunk]), shard.groups[chunk])
    return moments


def streamed_moments(
    batches: Batches, columns: Mapping[str, slice], shard: Shard, labels: LabelTable, options: Options
) -> dict[str, Moments]:
    """`moments_of` each layer straight from batches, so that no array of all features exists.

    Args:
        batches: every input of the shard once, in any order.
        columns: layer → its columns of the features.
        shard: the rows.
        labels: of all rows of the sample.
        options: folds and their seed.

    Raises:
        EmmsError: features that are not finite.
    """
    moments = {
        layer: _empty_moments(labels, its.stop - its.start, options, sampled=True) for layer, its in columns.items()
    }
    rows_of = _rows_by_input(shard.input_of_row, len(shard.inputs))
    for positions, features in batches:
        _check_finite(features)
        rows = [rows_of(position) for position in positions]
        places = np.repeat(np.arange(len(positions)), [len(group) for group in rows])
        chosen = np.concatenate(rows)
        taken, groups = labels.take(shard.rows[chosen]), shard.groups[chosen]
        for layer, its in columns.items():
            moments[layer].update(features[places, its], taken, groups)
    return moments


def _empty_moments(labels: LabelTable, d1: int, options: Options, *, sampled: bool) -> Moments:
    rows = SAMPLE_ROWS if sampled and samples_rows(options) else 0
    return Moments.like(labels, d1, folds=options.folds, seed=options.seed, sample_rows=rows)


def _check_finite(features: np.ndarray) -> None:
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise EmmsError(
            f"it gives NaN or infinite features for {int((~finite).sum()):,} of {pluralize(len(finite), 'input')}",
            "--dtype float32; if it runs in that already, its weights are damaged",
        )


def _rows_by_input(input_of_row: np.ndarray, inputs: int) -> Callable[[int], np.ndarray]:
    order = np.argsort(input_of_row, kind="stable")
    ends = np.cumsum(np.bincount(input_of_row, minlength=inputs))

    def rows_of(position: int) -> np.ndarray:
        return order[ends[position - 1] if position else 0 : ends[position]]

    return rows_of


def memory_note(rows: int, width: int, labels: LabelTable, options: Options) -> str | None:
    """A note for the user if scoring takes a lot of memory, else None."""
    needed = needed_bytes(rows, width, labels.basis().size, options.folds, keep_fits=samples_rows(options))
    return f"scoring {width:,} features takes about {format_bytes(needed)} of memory" if needed >= NOTED_BYTES else None
