"""What must not change a score, whatever the data: properties of every method."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_emms import LabelTable, emms

SETTINGS = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
METHODS = ("emms", "emms_knn", "emms_exact", "emms_one_pass", "emms_alternating")


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d1, latent = draw(st.integers(40, 150)), draw(st.integers(2, 30)), draw(st.integers(1, 5))
    hidden = rng.normal(size=(n, latent))
    x = hidden @ rng.normal(size=(latent, d1)) + draw(st.floats(0.1, 3.0)) * rng.normal(size=(n, d1))
    z = [
        hidden @ rng.normal(size=(latent, width)) + draw(st.floats(0.2, 3.0)) * rng.normal(size=(n, width))
        for width in draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    ]
    return x, z, rng


@SETTINGS
@given(problems())
def test_exact_sees_only_the_span_of_the_features(problem):
    x, z, rng = problem
    rotation = np.linalg.qr(rng.normal(size=(x.shape[1], x.shape[1])))[0]
    mixed = x @ (rotation * rng.uniform(0.1, 10, x.shape[1]))
    assert emms(mixed, z, method="emms_exact").score == pytest.approx(emms(x, z, method="emms_exact").score, abs=1e-7)


@SETTINGS
@given(problems(), st.sampled_from(METHODS), st.booleans())
def test_neither_orders_nor_scales_nor_shifts_matter(problem, method, are_classes):
    """Of rows, of columns, and of F-labels, whose weights go with them."""
    x, z, rng = problem
    rows, order = rng.permutation(len(x)), rng.permutation(len(z))
    codes = rng.integers(0, 5, len(x)) if are_classes else np.arange(len(x))
    tables = [block[:5] if are_classes else block for block in z]
    moved_x = x * rng.uniform(0.1, 10, x.shape[1]) + rng.uniform(-20, 20, x.shape[1])
    moved = [b * rng.uniform(0.1, 10, b.shape[1]) + rng.uniform(-20, 20, b.shape[1]) for b in tables]
    labels, moved_labels = (
        LabelTable(numbers, tuple(blocks), categorical=are_classes)
        for numbers, blocks in ((codes, tables), (codes[rows], [moved[place] for place in order]))
    )
    expected = emms(x, labels, method=method, groups=range(len(x)))
    result = emms(moved_x[rows], moved_labels, method=method, groups=rows)
    assert result.score == pytest.approx(expected.score, abs=1e-7)
    assert result.weights == pytest.approx([expected.weights[place] for place in order], abs=1e-4)
    assert sum(result.weights) == pytest.approx(1.0)
    assert min(result.weights) >= 0.0
    assert result.score <= 1e-12
    assert result.r2 <= 1.0 + 1e-12


@SETTINGS
@given(problems(), st.sampled_from([method for method in METHODS if method != "emms_one_pass"]), st.integers(2, 6))
def test_copies_of_f_labels_explain_what_one_does(problem, method, copies):
    x, z, _ = problem
    few, many = (emms(x, labels, method=method, groups=range(len(x))) for labels in (z, z * copies))
    tolerance = 1e-4 if method == "emms_alternating" else 1e-6
    assert (many.score, many.r2) == pytest.approx((few.score, few.r2), abs=tolerance)


@SETTINGS
@given(problems(), st.integers(1, 60))
def test_noise_columns_never_look_like_an_improvement(problem, columns):
    x, z, rng = problem
    plain = emms(x, z)
    noisy = emms(np.hstack([x, rng.normal(size=(len(x), columns))]), z)
    assert noisy.score <= plain.score + noisy.stderr + plain.stderr
