"""Labels that repeat are stored once."""

from __future__ import annotations

import numpy as np

from hf_emms import LabelTable
from hf_emms.scoring.labels import ColumnBasis, are_classes


def test_repeated_rows_are_kept_once() -> None:
    rng = np.random.default_rng(0)
    codes = np.concatenate([np.arange(7), rng.integers(0, 7, 73)])
    tables = [rng.normal(size=(7, 24)), rng.normal(size=(7, 12))]
    distinct = LabelTable.of_rows([table[codes] for table in tables]).distinct()
    assert distinct.n_texts == 7
    for table, kept in zip(tables, distinct.tables, strict=True):
        np.testing.assert_array_equal(kept[distinct.codes], table[codes])
    part = distinct.take(slice(20, 50))
    np.testing.assert_array_equal(part.tables[0][part.codes], tables[0][codes[20:50]])


def test_rows_that_only_begin_alike_stay_apart() -> None:
    block = np.random.default_rng(0).normal(size=(60, 30))
    different = LabelTable.of_rows([block])
    alike = LabelTable.of_rows([np.hstack([np.tile(block[0, :10], (60, 1)), block[:, 10:]])])
    assert different.distinct() is different
    assert alike.distinct() is alike


def test_labels_are_classes_where_each_is_there_twice_in_the_mean() -> None:
    assert are_classes(3, 6)
    assert not are_classes(4, 7)


def test_columns_that_stand_for_all_are_those_that_each_embedding_has() -> None:
    basis, columns, common = ColumnBasis([3, 4], np.arange(1.0, 8)).some_columns(2)
    assert (basis.widths, [*columns], [*common]) == ((1, 2), [0, 3, 6], [0, 3])
    np.testing.assert_array_equal(basis.scale, [1, 4, 7])
