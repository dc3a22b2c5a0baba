"""What must not change a score, whatever the data: properties of every method."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_emms import emms

SETTINGS = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
ANY_METHOD = st.sampled_from(["emms", "emms_exact", "emms_one_pass", "emms_alternating"])


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d1, latent = draw(st.integers(40, 150)), draw(st.integers(2, 30)), draw(st.integers(1, 5))
    hidden = rng.normal(size=(n, latent))
    x = hidden @ rng.normal(size=(latent, d1)) + draw(st.floats(0.1, 3.0)) * rng.normal(size=(n, d1))
    width = draw(st.integers(1, 6))
    z = [
        hidden @ rng.normal(size=(latent, width)) + draw(st.floats(0.2, 3.0)) * rng.normal(size=(n, width))
        for _ in range(draw(st.integers(1, 4)))
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
@given(problems(), ANY_METHOD)
def test_scales_and_shifts_of_columns_do_not_matter(problem, method):
    x, z, rng = problem
    moved_x = x * rng.uniform(0.1, 10, x.shape[1]) + rng.uniform(-20, 20, x.shape[1])
    moved_z = [b * rng.uniform(0.1, 10, b.shape[1]) + rng.uniform(-20, 20, b.shape[1]) for b in z]
    groups = range(len(x))
    expected = emms(x, z, method=method, groups=groups)
    result = emms(moved_x, moved_z, method=method, groups=groups)
    assert result.score == pytest.approx(expected.score, abs=1e-7)
    assert result.weights == pytest.approx(expected.weights, abs=1e-4)


@SETTINGS
@given(problems(), ANY_METHOD, st.randoms())
def test_permuting_f_labels_permutes_the_weights(problem, method, random):
    x, z, _ = problem
    order = random.sample(range(len(z)), len(z))
    expected, result = emms(x, z, method=method), emms(x, [z[k] for k in order], method=method)
    assert result.score == pytest.approx(expected.score, abs=1e-7)
    assert result.weights == pytest.approx([expected.weights[k] for k in order], abs=1e-4)


@SETTINGS
@given(problems(), st.sampled_from(["emms", "emms_exact", "emms_alternating"]))
def test_a_duplicated_f_label_changes_no_score(problem, method):
    x, z, _ = problem
    tolerance = 1e-4 if method == "emms_alternating" else 1e-7
    assert emms(x, [*z, z[0]], method=method).score == pytest.approx(emms(x, z, method=method).score, abs=tolerance)


@SETTINGS
@given(problems(), st.integers(1, 60))
def test_noise_columns_never_look_like_an_improvement(problem, columns):
    x, z, rng = problem
    plain = emms(x, z)
    noisy = emms(np.hstack([x, rng.normal(size=(len(x), columns))]), z)
    assert noisy.score <= plain.score + noisy.stderr + plain.stderr


@SETTINGS
@given(problems(), ANY_METHOD)
def test_weights_are_a_distribution_and_scores_are_losses(problem, method):
    x, z, _ = problem
    result = emms(x, z, method=method)
    assert sum(result.weights) == pytest.approx(1.0)
    assert min(result.weights) >= 0.0
    assert result.score <= 1e-12
    assert result.r2 <= 1.0 + 1e-12
