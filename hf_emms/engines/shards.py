"""Parts of a sample, and the moments of their rows, which merge into those of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.formatting import format_bytes
from hf_emms.options import Options
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments, kept_by_text, needed_bytes

if TYPE_CHECKING:
    from hf_emms.data import Sample


# Rows that enter the moments at once: enough for fast products, few enough to stay small.
CHUNK_ROWS = 2048

# Scoring that needs more than this is announced.
NOTED_BYTES = 10**9

Batches = Iterable[tuple[np.ndarray, np.ndarray]]
"""Positions int64 (b,) among the inputs of a part, and their features float32 (b, D1)."""


@dataclass(frozen=True)
class Shard:
    """Some inputs of a sample with all rows that they feed.

    A row's fold depends on its group alone, so parts never change folds.

    Attributes:
        inputs: the m inputs: strings, or `Images`.
        rows: int64, shape (n,): which rows of the sample they feed.
        input_of_row: int64, shape (n,): which of the m inputs feeds each.
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
    """A run of a sample's inputs; they are in the order of a hash, so that the first m are a sample as good as any."""
    start, stop, _ = inputs.indices(len(sample.inputs))
    rows = np.flatnonzero((sample.input_of_row >= start) & (sample.input_of_row < stop))
    return Shard(sample.inputs[start:stop], rows, sample.input_of_row[rows] - start, sample.groups[rows])


def moments_of(features: np.ndarray, part: Shard, labels: LabelTable, options: Options) -> Moments:
    """Moments of a part's rows.

    Args:
        features: float32 (m, D1), of the part's inputs.
        part: the rows.
        labels: of all rows of the sample.
        options: folds and their seed.
    """
    moments = Moments.like(labels, features.shape[1], folds=options.folds, seed=options.seed)
    for start in range(0, len(part.rows), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        moments.update(features[part.input_of_row[chunk]], labels.take(part.rows[chunk]), part.groups[chunk])
    return moments


def streamed_moments(
    batches: Batches, columns: Mapping[str, slice], part: Shard, labels: LabelTable, options: Options
) -> dict[str, Moments]:
    """`moments_of` each layer straight from batches: no array of all features exists.

    Args:
        batches: every input of the part once, in any order.
        columns: layer → its columns of the features.
        part: the rows.
        labels: of all rows of the sample.
        options: folds and their seed.
    """
    moments = {
        layer: Moments.like(labels, own.stop - own.start, folds=options.folds, seed=options.seed)
        for layer, own in columns.items()
    }
    rows_of = _rows_by_input(part.input_of_row, len(part.inputs))
    for positions, features in batches:
        rows = [rows_of(position) for position in positions]
        places = np.repeat(np.arange(len(positions)), [len(group) for group in rows])
        chosen = np.concatenate(rows)
        taken, groups = labels.take(part.rows[chosen]), part.groups[chosen]
        for layer, own in columns.items():
            moments[layer].update(features[places, own], taken, groups)
    return moments


def _rows_by_input(input_of_row: np.ndarray, inputs: int) -> Callable[[int], np.ndarray]:
    order = np.argsort(input_of_row, kind="stable")
    ends = np.cumsum(np.bincount(input_of_row, minlength=inputs))

    def rows_of(position: int) -> np.ndarray:
        return order[ends[position - 1] if position else 0 : ends[position]]

    return rows_of


def memory_note(rows: int, width: int, labels: LabelTable, options: Options) -> str | None:
    """What a user should know before scoring takes a lot of memory; None where it does not."""
    size = labels.n_texts if kept_by_text(labels) else sum(labels.widths)
    needed = needed_bytes(rows, width, size, options.folds)
    return f"scoring {width:,} features takes about {format_bytes(needed)} of memory" if needed >= NOTED_BYTES else None
