"""What a user may rely on from `hf_emms.score`: reference values, every form of input, clear refusals."""

from itertools import product

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import zscore

from hf_emms import LabelTable, Moments, emms, score
from hf_emms.run.plan import ROW_VERSION
from hf_emms.scoring.arrays import as_matrix, f_labels
from hf_emms.scoring.cross_validation import descend, fibonacci_search, ridge_solve, search_twice
from hf_emms.scoring.estimators import EMMS_ESTIMATORS
from hf_emms.scoring.labels import ColumnBasis, are_classes
from hf_emms.scoring.linalg import inverse_deviation, minimize_quadratic, one_norm, project_simplex
from tests.helpers import golden
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes

METHODS = ("emms", "emms_exact", "emms_one_pass", "emms_alternating")
SETTINGS = settings(max_examples=30)


def small_problem(seed=0, n=120, d1=10, widths=(6, 6), latent=4):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, latent))
    x = hidden @ rng.normal(size=(latent, d1)) + rng.normal(size=(n, d1))
    z = [
        hidden @ rng.normal(size=(latent, width)) + (k + 1) * rng.normal(size=(n, width))
        for k, width in enumerate(widths)
    ]
    return x, z


def with_nan(block, place):
    block = block.copy()
    block[place] = np.nan
    return block


@pytest.mark.parametrize("problem", golden.PROBLEMS, ids=lambda problem: f"seed{problem['seed']}")
def test_reproduces_the_reference_values(problem):
    x, z = golden.arrays(problem)
    best = score(x, z, estimator="emms_exact")
    assert best.score == pytest.approx(problem["exact_score"], abs=1e-8)
    assert best.weights == pytest.approx(problem["exact_weights"], abs=1e-5)
    official = score(x, z, estimator="emms_one_pass")
    assert official.score == pytest.approx(problem["official_one_pass_score"], abs=1e-8)
    descent = score(x, z, estimator="emms_alternating")
    assert descent.score == pytest.approx(best.score, abs=1e-4)
    assert np.all(np.diff(descent.trace) <= 1e-12)
    assert -descent.score == descent.trace[-1]


@pytest.mark.parametrize("spread", [0.0, 2.5])
def test_alternating_takes_the_steps_of_algorithm_1(spread):
    """W moves 10,000 gradient steps, here as a power of a matrix; some directions have not arrived by then."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    x = zscore(rng.normal(size=(80, 6)) * np.logspace(0, -spread, 6) @ rotation)
    z = zscore(x @ rng.normal(size=(6, 4)) + rng.normal(size=(3, 80, 4)), axis=1)
    system, products, zz = x.T @ x / 80, x.T @ z / 80, np.einsum("jnd,knd->jk", z, z) / 80
    steps = np.linalg.matrix_power(np.eye(6) - system / np.linalg.eigvalsh(system)[-1], 10_000)
    w, t, trace = np.zeros((6, 4)), np.full(3, 1 / 3), []
    result = score(x, list(z), estimator="emms_alternating")
    for _ in result.trace:
        best = np.linalg.solve(system, np.tensordot(t, products, 1))
        w = best + steps @ (w - best)
        gradient = zz @ t - np.einsum("kij,ij->k", products, w)
        t = project_simplex(t - gradient / np.linalg.eigvalsh(zz)[-1])
        trace.append(np.sum((x @ w - np.tensordot(t, z, 1)) ** 2) / (80 * 4))
    assert result.trace == pytest.approx(trace, rel=1e-9)
    assert result.weights == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_every_form_of_the_same_labels_gives_the_same_score(method):
    rng = np.random.default_rng(1)
    tables = tuple(rng.normal(size=(7, 5)) for _ in range(3))
    codes = rng.integers(0, 7, size=150)
    x = tables[0][codes] @ rng.normal(size=(5, 9)) + rng.normal(size=(150, 9))
    blocks = [block[codes] for block in tables]
    in_columns = Moments(9, [5] * 3)
    in_columns.update(x, blocks)
    reference = score(in_columns, estimator=method)
    for labels in (
        blocks,
        np.stack(blocks, axis=1),
        np.stack(blocks, axis=2),
        LabelTable(codes, tables),
        LabelTable(codes, tables, categorical=False),
    ):
        result = score(x, labels, estimator=method)
        assert result.score == pytest.approx(reference.score, abs=1e-9)
        assert result.weights == pytest.approx(reference.weights, abs=1e-6)
        assert result.r2 == pytest.approx(reference.r2, abs=1e-8)
    square = np.arange(18).reshape(2, 3, 3)
    assert f_labels(square) is square
    single = score(x, blocks[0], estimator=method)
    assert (single.weights, len(single.trace)) == ((1.0,), 2 if method == "emms_alternating" else 0)
    assert single.score == pytest.approx(score(x, blocks[:1], estimator=method).score)


def test_wide_features_are_scored_on_held_out_rows():
    x, z = small_problem(n=80, d1=300)
    result = emms(x, z)
    assert result.score < -0.05
    assert result.notes == score(x[:, :79], z, estimator="emms_exact").notes == ()
    for width in (80, 300):
        in_sample = score(x[:, :width], z, estimator="emms_exact")
        assert in_sample.score == pytest.approx(0.0, abs=1e-9)
        assert codes(in_sample.notes) == ["fewer-rows-than-features"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_that_carry_nothing_change_nothing(method, dtype):
    x, z = small_problem(n=200)
    x = x.astype(dtype)
    constant = np.full((200, 1), 3.5, dtype)
    jitter = (1000 + 1e-5 * np.random.default_rng(3).normal(size=(200, 1))).astype(np.float32).astype(dtype)
    padded = np.hstack([x, constant, jitter] if dtype == np.float32 else [x, constant])
    expected, result = (score(features, z, estimator=method, groups=range(200)) for features in (x, padded))
    assert result.score == pytest.approx(expected.score, abs=1e-6)
    (note,) = result.notes
    width = padded.shape[1]
    assert str(note) == f"{width - 10} of {width} feature columns are constant and were ignored"


@pytest.mark.parametrize("method", ["emms_exact", "emms_one_pass"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duplicated_and_dependent_columns_are_handled(method, dtype):
    x, z = small_problem(n=200)
    x = x.astype(dtype)
    dependent = np.hstack([x, x[:, :3], x @ np.ones((x.shape[1], 1), dtype)])
    assert score(dependent, z, estimator=method).score == pytest.approx(score(x, z, estimator=method).score, abs=1e-5)
    assert np.isfinite(emms(dependent, z).score)


def test_half_precision_and_tensors_are_accepted():
    precisions = {"float16": "float32", "longdouble": "float64", "int8": "float64", "bool": "float64"}
    assert {dtype: str(as_matrix(np.ones((2, 1), dtype), "features").dtype) for dtype in precisions} == precisions
    x, z = small_problem(n=200)
    reference = emms(x.astype(np.float32), z).score
    assert emms(torch.tensor(x, dtype=torch.float32, requires_grad=True), z).score == pytest.approx(reference)
    assert emms(torch.tensor(x, dtype=torch.bfloat16), z).score == pytest.approx(reference, abs=3e-2)
    assert emms(x.astype(np.float32), torch.tensor(z[0])).n == 200


def test_the_callers_arrays_are_left_as_they_were():
    x, z = small_problem()
    for method in METHODS:
        score(x, z, estimator=method)
    for array, before in zip((x, *z), (small_problem()[0], *small_problem()[1]), strict=True):
        np.testing.assert_array_equal(array, before)


def test_groups_may_be_strings_and_decide_the_folds_alone():
    x, z = small_problem()
    names = np.array([f"image-{i // 3}" for i in range(len(x))])
    order = np.random.default_rng(0).permutation(len(x))
    straight = emms(x, z, groups=names)
    shuffled = emms(x[order], [block[order] for block in z], groups=list(names[order]))
    assert shuffled.score == pytest.approx(straight.score, abs=1e-10)
    assert straight.score not in (emms(x, z).score, emms(x, z, groups=names, seed=1).score)


@pytest.mark.parametrize(
    ("arguments", "code", "value"),
    [
        (lambda x, z: (np.where(np.arange(x.size).reshape(x.shape) == 7, np.nan, x), z), "not-finite", "(0, 7)"),
        (lambda x, z: (x, [z[0], np.full_like(z[1], np.inf)]), "not-finite", "label_embeddings[1]"),
        (lambda x, z: (x, with_nan(z[0], (3, 1))), "not-finite", "(3, 1)"),
        (lambda x, z: (x, with_nan(np.stack(z, 1), (3, 0, 1))), "not-finite", "(3, 0, 1)"),
        (lambda x, z: (x, np.stack(z, 1)[:, :, None]), "wrong-shape", "(120, 2, 1, 6)"),
        (lambda x, z: (x[:0], z), "wrong-shape", "(0, 10)"),
        (lambda x, z: (x[:, 0], z), "wrong-shape", "(120,)"),
        (lambda x, z: (x[:-1], z), "different-lengths", "119 rows"),
        (lambda x, z: (x.astype(complex), z), "wrong-type", "complex128"),
        (lambda x, z: (x.astype(object), z), "wrong-type", "features has dtype object"),
        (lambda x, z: (x, np.arange(120)), "labels-not-classes", "120 different"),
        (lambda x, z: (x, [f"a {i}" for i in range(120)]), "labels-not-classes", "texts"),
        (lambda x, z: (x, np.array([b"cat"] * 120)), "wrong-type", "|S3"),
        (lambda x, z: ([[1.0, 2.0], [3.0]], z), "wrong-shape", ""),
        (lambda x, z: (x, np.zeros((120, 4))), "labels-all-equal", "label_embeddings[0]"),
        (lambda x, z: (x, LabelTable(np.zeros(119, int), (np.eye(2),))), "different-lengths", "119 codes"),
        (lambda x, z: (x.astype(np.float32) * 1e30, z), "out-of-range", "large for float32"),
        (lambda x, z: (np.tile(x.astype(np.float32) * 1e30, 20), z), "out-of-range", "large for float32"),
        (lambda x, z: (x * 1e200, z), "out-of-range", "large for float64"),
        (lambda x, z: (x * 1e-200, z), "out-of-range", "small for float64"),
        (lambda x, z: (np.tile(x.astype(np.float32) * 1e-30, 20), z), "out-of-range", "small for float32"),
        (lambda x, z: (x, [block * 1e-160 for block in z]), "labels-all-equal", "label_embeddings[0]"),
        (lambda x, z: (np.ma.masked_greater(x, 1.0), z), "masked-values", ""),
        (lambda x, z: (scipy.sparse.csr_array(x), z), "wrong-type", "features has dtype object"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_input_is_named_with_its_shape(arguments, code, value):
    with np.errstate(over="ignore", invalid="ignore"), raises_code(code, value) as caught:
        emms(*arguments(*small_problem()))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"estimator": "best"}, "unknown-estimator"),
        *[({"folds": value}, "invalid-value") for value in (2.5, True, 1, 1001)],
        *[({"seed": value}, "invalid-value") for value in (1.0, 2**63, -(2**63) - 1, None)],
        ({"groups": np.zeros(120, int)}, "one-fold"),
        ({"groups": [1, 2, 3]}, "different-lengths"),
        ({"groups": np.zeros((120, 2), int)}, "wrong-shape"),
        ({"groups": np.linspace(0, 1, 120)}, "wrong-type"),
    ],
)
def test_bad_options_are_refused(options, code):
    with raises_code(code):
        score(*small_problem(), **options)


@pytest.mark.parametrize(
    ("codes", "tables", "code"),
    [
        (np.array([0.5]), (np.eye(2),), "wrong-type"),
        (np.array([0, 2]), (np.eye(2),), "unknown-row"),
        (np.array([-1, 0]), (np.eye(2),), "unknown-row"),
        (np.array([0]), (), "wrong-shape"),
        *[(np.array([0]), (np.eye(2), table), "wrong-shape") for table in (np.eye(3), np.zeros(2), np.zeros((2, 0)))],
    ],
)
def test_label_tables_are_checked(codes, tables, code):
    with raises_code(code):
        LabelTable(codes, tables)


def test_two_folds_are_enough_and_fewer_rows_than_folds_still_score_or_say_why():
    for method in ("emms", "emms_knn"):
        result = score(*small_problem(), estimator=method, folds=2, seed=-(2**63))
        assert len(result.folds) == 2
        assert -1 < result.score < 0
    x, z = small_problem(n=4, d1=3)
    result = emms(x, z, folds=1000, seed=2**63 - 1)
    assert np.isfinite(result.score)
    assert codes(result.notes) == ["empty-folds"]
    with raises_code("labels-all-equal"):
        emms(x[:1], [block[:1] for block in z])
    with raises_code("no-rows"):
        emms(Moments(3, [2]))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20, 25])
def test_search_finds_the_least_of_a_valley(size):
    for least in range(size):
        asked = []
        assert fibonacci_search(lambda i, least=least, asked=asked: asked.append(i) or abs(i - least), size) == least
        assert all(0 <= index < size for index in asked)


def test_search_passes_a_small_bump_in_the_middle():
    # Of the ridge on demo_words with bert-masked-short.
    losses = [21960, 22226, 22634, 22998, 23129, 23115, 23523, 25531, 30848, 39861, 46061, 48229]
    assert search_twice(losses.__getitem__, losses.__getitem__, len(losses)) == 0


@pytest.mark.parametrize("size", [1, 2, 3, 12])
def test_a_second_search_goes_on_to_the_side_where_the_first_rises_less(size):
    for start, least, slope in product(range(size), range(size), (-0.3, 0.3)):
        asked = []
        found = search_twice(
            lambda i, asked=asked, valley=start + slope: asked.append(i) or abs(i - valley),
            lambda i, least=least: abs(i - least),
            size,
        )
        goes_up = start == 0 or (slope > 0 and start < size - 1)
        assert found == (max if goes_up else min)(start, least)
        assert {*asked} <= {*range(size)}
    assert descend(lambda index: 0.0, 0, 1, size) == 0


def test_a_ridge_that_float32_loses_beside_large_eigenvalues_is_added_in_float64():
    same, targets = np.ones((20, 20)), np.random.default_rng(0).normal(size=(20, 3))
    solution = ridge_solve(same.astype(np.float32), targets.astype(np.float32), 1e-9, overwrite=False)
    expected = np.linalg.solve(same + 1e-9 * np.eye(20), targets.astype(np.float32))
    np.testing.assert_allclose(solution, expected, rtol=1e-3)
    assert solution.dtype == np.float32


def test_a_column_is_constant_where_it_varies_by_the_rounding_of_its_values():
    border = 32 * 2.0**-23 * 1000
    for mean, origin, deviation in (500, 500, 1.01 * border), (500, 500, 0.99 * border), (0, 0, 1), (0, 0, 0):
        mean, squares = np.full(1, mean), np.full(1, deviation**2 + mean**2)
        inverse = inverse_deviation(4, 4 * mean, 4 * squares, np.full(1, origin), np.dtype(np.float32))
        assert inverse == pytest.approx(1 / deviation if deviation >= border else 0, rel=1e-3)


def test_the_norm_of_a_symmetric_matrix_is_read_from_its_upper_triangle():
    square = np.random.default_rng(0).normal(size=(300, 300))
    assert one_norm(np.triu(square) + np.tril(np.full_like(square, np.nan), -1)) == pytest.approx(
        np.linalg.norm(np.triu(square) + np.triu(square, 1).T, 1)
    )


def test_simplex_projection_and_program_against_brute_force():
    assert minimize_quadratic(np.zeros((4, 4))).tolist() == [0.25] * 4
    assert minimize_quadratic(np.diag([1.0, 3.0])) == pytest.approx([0.75, 0.25])
    rng = np.random.default_rng(0)
    grid = np.array([(a, b, 100 - a - b) for a in range(101) for b in range(101 - a)]) / 100
    for _ in range(20):
        root = rng.normal(size=(3, 3))
        weights = minimize_quadratic(root.T @ root)
        assert (weights.sum(), min(*weights, 0)) == (pytest.approx(1), 0)
        assert minimize_quadratic(2.0**-80 * root.T @ root) == pytest.approx(weights, abs=1e-9)
        best = np.einsum("ij,jk,ik->i", grid, root.T @ root, grid).min()
        assert weights @ (root.T @ root) @ weights <= best + 1e-9
        point = rng.normal(size=3)
        assert np.sum((project_simplex(point) - point) ** 2) <= np.sum((grid - point) ** 2, axis=1).min() + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_features_that_never_vary_explain_nothing(method):
    _, z = small_problem()
    for value in (0.0, 1.0):
        result = score(np.full((120, 3), value), z, estimator=method, folds=2 if method == "emms" else 1)
        assert result.r2 == pytest.approx(0.0, abs=1e-9)
        assert codes(result.notes) == ["features-without-variation"]


def test_labels_are_classes_where_each_is_there_twice_in_the_mean():
    assert are_classes(3, 6)
    assert not are_classes(4, 7)


def test_columns_that_stand_for_all_are_those_that_each_embedding_has():
    basis, columns, common = ColumnBasis([3, 4], np.arange(1.0, 8)).some_columns(2)
    assert (basis.widths, [*columns], [*common]) == ((1, 2), [0, 3, 6], [0, 3])
    np.testing.assert_array_equal(basis.scale, [1, 4, 7])


# Of more than 128 features, neighbors are looked for in principal components.
@pytest.mark.parametrize(
    ("width", "method", "expected", "stderr", "ridge"),
    [
        (24, "emms", -0.2365634455966899, 0.006075317991593028, 0.1519911082952933),
        (24, "emms_knn", -0.2363444612899288, 0.005747765639904493, 0.1519911082952933),
        (160, "emms", -0.24418016826446523, 0.009315596355807159, 2.848035868435799),
        (160, "emms_knn", -0.243534491595657, 0.008521131396155164, 2.848035868435799),
    ],
)
def test_scores_by_default_settings_change_only_with_the_version_that_keys_of_cached_rows_hold(
    width, method, expected, stderr, ridge
):
    rng = np.random.default_rng(width)
    hidden = rng.normal(size=(240, 6))
    features = hidden @ rng.normal(size=(6, width)) + 2 * rng.normal(size=(240, width))
    labels = [
        hidden @ rng.normal(size=(6, size)) + noise * rng.normal(size=(240, size)) for size, noise in ((8, 1), (5, 3))
    ]
    result = score(features, labels, estimator=method, groups=range(240))
    assert ROW_VERSION == 17, "raised: write the new scores down here"
    assert (result.score, result.stderr, result.ridge) == pytest.approx((expected, stderr, ridge), rel=1e-7)


# ---- properties of every estimator -----------------------------------------------------------------------------------


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
@given(problems(), st.sampled_from(EMMS_ESTIMATORS), st.booleans())
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
    expected = score(x, labels, estimator=method, groups=range(len(x)))
    result = score(moved_x[rows], moved_labels, estimator=method, groups=rows)
    assert result.score == pytest.approx(expected.score, abs=1e-7)
    assert result.weights == pytest.approx([expected.weights[place] for place in order], abs=1e-4)
    assert sum(result.weights) == pytest.approx(1.0)
    assert min(result.weights) >= 0.0
    assert result.score <= 1e-12
    assert result.r2 <= 1.0 + 1e-12


@SETTINGS
@given(problems(), st.sampled_from(sorted({*EMMS_ESTIMATORS} - {"emms_one_pass"})), st.integers(2, 6))
def test_copies_of_f_labels_explain_what_one_does(problem, method, copies):
    x, z, _ = problem
    few, many = (score(x, labels, estimator=method, groups=range(len(x))) for labels in (z, z * copies))
    tolerance = 1e-4 if method == "emms_alternating" else 1e-6
    assert (many.score, many.r2) == pytest.approx((few.score, few.r2), abs=tolerance)
