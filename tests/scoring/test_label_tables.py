"""Labels that repeat are stored once, and score as they do row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emms import LabelTable, emms
from hf_emms.scoring.labels import are_classes


def class_embeddings(classes: int, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Features (N, 9), class codes (N,), and the embeddings of two encoders of the classes."""
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    x = rng.normal(size=(classes, 9))[codes] + 2 * rng.normal(size=(rows, 9))
    return x, codes, [rng.normal(size=(classes, 24)), rng.normal(size=(classes, 12))]


@settings(deadline=None, max_examples=15)
@given(st.integers(2, 15), st.sampled_from(["emms_knn", "emms", "emms_exact", "emms_one_pass"]), st.integers(0, 100))
def test_embeddings_of_classes_row_by_row_score_as_codes_do(classes: int, method: str, seed: int) -> None:
    x, codes, tables = class_embeddings(classes, 90, seed)
    by_row = emms(x, [table[codes] for table in tables], method=method, groups=range(90))
    by_code = emms(x, LabelTable(codes, tuple(tables)), method=method, groups=range(90))
    assert by_row.score == pytest.approx(by_code.score, abs=1e-9)
    np.testing.assert_allclose(by_row.weights, by_code.weights, atol=1e-5)


def test_repeated_rows_are_kept_once() -> None:
    _, codes, tables = class_embeddings(7, 80)
    found = LabelTable.of_rows([table[codes] for table in tables]).distinct()
    assert found.n_texts == 7
    for table, own in zip(tables, found.tables, strict=True):
        np.testing.assert_array_equal(own[found.codes], table[codes])
    part = found.take(slice(20, 50))
    np.testing.assert_array_equal(part.tables[0][part.codes], tables[0][codes[20:50]])


def test_rows_that_only_begin_alike_stay_apart() -> None:
    rng = np.random.default_rng(0)
    block = rng.normal(size=(60, 30))
    block[:, :10] = block[0, :10]
    labels = LabelTable.of_rows([block])
    assert labels.distinct() is labels
    different = LabelTable.of_rows([rng.normal(size=(60, 30))])
    assert different.distinct() is different


def test_labels_are_classes_where_each_is_there_twice_in_the_mean() -> None:
    assert are_classes(3, 6)
    assert not are_classes(4, 7)
