"""Moments do not depend on the order and the batches of rows."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_emms import LabelTable, Moments, emms, score
from hf_emms.scoring.linalg import as_slice
from hf_emms.scoring.sums import smallest_keys
from tests.helpers.errors import raises_code

METHODS = ("emms", "emms_exact", "emms_one_pass", "emms_alternating")
SETTINGS = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


def problem(seed=0, n=240, d1=6, coded=False):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 5, size=n)
    tables = (rng.normal(size=(5, 4)), rng.normal(size=(5, 3)))
    x = tables[0][codes] @ rng.normal(size=(4, d1)) + rng.normal(size=(n, d1)) + 3.0
    if coded:
        return x, LabelTable(codes, tables)
    return x, LabelTable.of_rows([table[codes] + 0.3 * rng.normal(size=(n, table.shape[1])) for table in tables])


def part(labels, rows):
    return [table[rows] for table in labels.tables] if labels.dense else labels.take(rows)


def moments_of(x, labels, *batches, flush=lambda: False, **options):
    """Moments of batches of rows, whose numbers are their groups; `flush` forces sums where rows would still wait."""
    moments = Moments.like(labels, x.shape[1], **options)
    for rows in batches:
        moments.update(x[rows], part(labels, rows), groups=np.asarray(rows))
        if flush():
            moments.sums()
    return moments


@SETTINGS
@given(
    coded=st.booleans(),
    cuts=st.lists(st.integers(1, 239), min_size=2, max_size=6, unique=True),
    random=st.randoms(use_true_random=False),
    method=st.sampled_from(METHODS),
)
def test_any_order_and_batching_gives_the_same_score(coded, cuts, random, method):
    x, labels = problem(coded=coded)
    expected = score(moments_of(x, labels, np.arange(len(x))), estimator=method)
    batches = np.split(np.array(random.sample(range(len(x)), len(x))), sorted(cuts))
    result = score(moments_of(x, labels, *batches, flush=lambda: random.random() < 0.5), estimator=method)
    assert result.n == len(x)
    assert result.score == pytest.approx(expected.score, abs=1e-6)
    assert result.stderr == (expected.stderr and pytest.approx(expected.stderr, abs=1e-6))
    assert result.weights == pytest.approx(expected.weights, abs=1e-4)


@SETTINGS
@given(st.integers(0, 400), st.integers(1, 400), st.integers(0, 99))
def test_rows_of_the_smallest_keys_are_kept_in_their_order(rows, count, seed):
    keys = np.random.default_rng(seed).permutation(rows).astype(np.uint64)
    assert smallest_keys(keys, count).tolist() == [place for place, key in enumerate(keys) if key < count]


def test_row_numbers_are_a_slice_where_they_are_consecutive():
    for numbers in map(list, (*product(range(4), repeat=3), (2,))):
        places = as_slice(np.array(numbers))
        assert np.arange(4)[places].tolist() == numbers
        assert isinstance(places, slice) == (numbers == [*range(numbers[0], numbers[-1] + 1)])


def test_batches_of_another_width_are_refused():
    x, labels = problem()
    moments = moments_of(x, labels, range(9))
    with raises_code("wrong-shape", "d1=6"):
        moments.update(x[:, :3], labels)
    with raises_code("wrong-shape"):
        moments.update(x, labels.tables[0])
    with raises_code("other-tables"):
        moments_of(*problem(coded=True), range(9)).update(x, labels)


@pytest.mark.parametrize(
    ("sizes", "code"),
    [
        ({"d1": 0}, "invalid-value"),
        ({"widths": []}, "invalid-value"),
        ({"widths": [2, 0]}, "invalid-value"),
        ({"widths": 2}, "invalid-value"),
        ({"d1": 2.5}, "invalid-value"),
        ({"tables": [np.eye(3)]}, "wrong-shape"),
    ],
)
def test_sizes_that_cannot_be_are_refused_and_five_folds_are_made_by_default(sizes, code):
    with raises_code(code):
        Moments(**{"d1": 4, "widths": [2], **sizes})
    for moments in (Moments(1, np.array([1, 2])), Moments.like(LabelTable.of_rows([np.eye(2)]), 1)):
        assert (moments.d1, moments.folds, moments.seed) == (1, 5, 0)


@pytest.mark.parametrize("coded", [False, True])
def test_memory_does_not_grow_with_rows(coded):
    def peak(batches):
        x, labels = problem(n=4000, d1=64, coded=coded)
        x = x.astype(np.float32)
        moments = Moments.like(labels, 64)
        tracemalloc.start()
        for batch in range(batches):
            moments.update(x, labels, groups=np.arange(batch * 4000, (batch + 1) * 4000))
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert moments.n == batches * 4000
        return high

    assert peak(30) < 1.1 * peak(4)


def test_texts_that_hardly_repeat_are_kept_as_columns_and_classes_as_sums():
    codes = np.arange(50)
    for width, categorical, by_text in (49, False, False), (50, False, True), (4, True, True):
        labels = LabelTable(codes, (np.random.default_rng(0).normal(size=(50, width)),), categorical=categorical)
        assert Moments.like(labels, 3).basis.by_text is by_text


@pytest.mark.parametrize("coded", [False, True])
def test_batches_may_be_read_into_the_same_buffers(coded):
    x, labels = problem(coded=coded)
    labels = labels if coded else LabelTable.of_rows(labels.tables[:1])
    moments = Moments.like(labels, 6)
    for rows in np.split(np.arange(240), 4):
        features, batch = x[rows], part(labels, rows)
        moments.update(features, batch, groups=rows)
        for buffer in (features, batch.codes if coded else batch[0]):
            buffer[:] = 0
    assert emms(moments).score == pytest.approx(emms(moments_of(x, labels, np.arange(240))).score, abs=1e-12)
