"""Measures between scores and truth: against scipy, against what they promise, and on the paper's own figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from hf_emms import evaluation
from tests.helpers.errors import raises_code

TAUS = ("weighted_tau", "kendall_tau", "pearson")

numbers = st.integers(-20, 20).map(float)  # small integers tie often
pairs = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=12).map(lambda rows: np.array(rows).T)


def ordered(pair):
    return len({*pair[0]}) > 1 and len({*pair[1]}) > 1


@given(pairs)
def test_every_measure_keeps_its_bounds(pair):
    scores, truth = pair
    values = evaluation.measured(scores, truth)
    for name in TAUS:
        assert math.isnan(values[name]) is not ordered(pair)
        assert not ordered(pair) or -1 - 1e-9 <= values[name] <= 1 + 1e-9
    assert 0 <= values["regret"] <= truth.max() - truth.min()
    assert 0 <= values["pick_in_top"] <= 1


@given(pairs)
def test_weighted_tau_equals_that_of_the_paper_and_is_symmetric(pair):
    scores, truth = pair
    value = evaluation.weighted_tau(scores, truth)
    assert value == pytest.approx(stats.weightedtau(scores, truth, rank=True).statistic, nan_ok=True)
    assert value == pytest.approx(evaluation.weighted_tau(truth, scores), nan_ok=True)


@given(st.lists(numbers, min_size=3, max_size=12, unique=True))
def test_the_same_order_is_perfect_and_the_reverse_is_not(values):
    truth = np.array(values)
    perfect, reverse = evaluation.measured(truth, truth), evaluation.measured(-truth, truth)
    assert [perfect[name] for name in TAUS] == pytest.approx([1] * 3)
    assert [reverse[name] for name in TAUS] == pytest.approx([-1] * 3)
    assert (perfect["regret"], perfect["pick_in_top"]) == (0, 1)
    assert reverse["regret"] == truth.max() - truth.min()


def test_ties_for_the_best_score_have_the_value_of_a_random_pick():
    scores, truth = [1.0, 1.0, 0.0, 0.0], [80.0, 90.0, 70.0, 60.0]
    assert evaluation.picks(scores).tolist() == [0, 1]
    assert evaluation.regret(scores, truth) == 5
    nothing = evaluation.measured([0.0] * 4, truth)
    assert nothing["regret"] == 15
    assert nothing["pick_in_top"] == 0.75
    assert all(math.isnan(nothing[name]) for name in TAUS)


def test_equal_truths_share_the_top():
    assert evaluation.pick_in_top([3, 2, 1, 0], [7, 7, 9, 7]) == 1


@pytest.mark.parametrize(
    ("scores", "truth"),
    [([1, 2], [1, 2]), ([1, 2, 3], [1, 2]), ([1, 2, math.nan], [1, 2, 3]), ([1, 2, 3], [1, 2, math.inf])],
)
def test_invalid_scores_are_refused(scores, truth):
    for measure in (*evaluation.MEASURES.values(), evaluation.over_checkpoints):
        with raises_code("wrong-shape"):
            measure(scores, truth)


def test_an_interval_contains_the_value_and_depends_on_the_seed():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=30)
    scores = truth + generator.normal(size=30)
    ends = evaluation.over_checkpoints(scores, truth, seed=4)
    assert ends == evaluation.over_checkpoints(scores, truth, seed=4)
    assert ends != evaluation.over_checkpoints(scores, truth, seed=5)
    many = evaluation.over_checkpoints(scores[:5], truth[:5], seed=4, resamples=10_000)
    assert all(low < high for low, high in many.values())
    assert ends["weighted_tau"][0] < evaluation.weighted_tau(scores, truth) < ends["weighted_tau"][1]


def test_the_interval_of_a_mean_over_targets():
    values = [math.nan, *range(100)]  # whose mean has a standard error of 2.887
    assert evaluation.over_targets(values, resamples=20_000) == pytest.approx((43.84, 55.16), abs=0.15)
    assert evaluation.over_targets([0.3, 0.3]) == pytest.approx((0.3, 0.3))
    assert all(map(math.isnan, evaluation.over_targets([math.nan])))


@given(st.data())
def test_dataset_blind_scores_do_not_use_the_dataset(data):
    rows = data.draw(st.lists(st.lists(numbers, min_size=4, max_size=4), min_size=2, max_size=4))
    truths = {f"d{place}": dict(zip("abcd", row, strict=True)) for place, row in enumerate(rows)}
    blind = evaluation.dataset_blind(truths)
    other = data.draw(st.lists(numbers, min_size=4, max_size=4))
    assume(other != rows[0])
    assert evaluation.dataset_blind(truths | {"d0": dict(zip("abcd", other, strict=True))})["d0"] == blind["d0"]
