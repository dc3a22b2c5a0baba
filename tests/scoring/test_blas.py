"""Products by scipy's BLAS are those of numpy, whatever the shapes and precisions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_emms.scoring.linalg import add_cross, add_gram, column_sums, cross, one_norm, row_blocks, symmetric

SIZES = st.integers(1, 40)


def rows(seed: int, n: int, width: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(dtype)


@given(n=SIZES, width=SIZES, other=SIZES, dtypes=st.tuples(*[st.sampled_from(["float32", "float64"])] * 2))
def test_products_are_those_of_numpy(n: int, width: int, other: int, dtypes: tuple[str, str]) -> None:
    x, y = rows(0, n, width, dtypes[0]), rows(1, n, other, dtypes[1])
    np.testing.assert_allclose(cross(x, y), x.T @ y, rtol=1e-4, atol=1e-4)
    assert cross(x, y).dtype == np.result_type(x, y)
    np.testing.assert_allclose(column_sums(x), x.sum(axis=0), rtol=1e-4, atol=1e-4)


@given(n=SIZES, width=SIZES, other=SIZES, dtypes=st.tuples(*[st.sampled_from(["float32", "float64"])] * 2))
def test_products_are_added_where_the_sums_are(n: int, width: int, other: int, dtypes: tuple[str, str]) -> None:
    x, y = rows(0, n, width, dtypes[0]), rows(1, n, other, dtypes[1])
    xx, xy = np.ones((width, width), x.dtype), np.ones((width, other), np.result_type(x, y))
    add_gram(xx, x)
    add_cross(xy, x, y)
    np.testing.assert_allclose(np.triu(xx), np.triu(1 + x.T @ x), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(np.tril(xx, -1), np.tril(np.ones_like(xx), -1))
    np.testing.assert_allclose(xy, 1 + x.T @ y, rtol=1e-4, atol=1e-4)
    xx.fill(np.nan)
    xy.fill(np.nan)
    add_gram(xx, x, beta=0.0)
    add_cross(xy, x, y, beta=0.0)
    np.testing.assert_allclose(np.triu(xx), np.triu(x.T @ x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(xy, x.T @ y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 127, 300])
def test_what_lies_below_the_diagonal_does_not_count(width: int) -> None:
    whole = rows(0, width, width, "float64")
    whole += whole.T
    upper = np.triu(whole) + np.tril(np.full_like(whole, np.nan), -1)
    np.testing.assert_array_equal(symmetric(upper), whole)
    assert one_norm(upper) == pytest.approx(np.linalg.norm(whole, 1))


@pytest.mark.parametrize("shape", [(1, 1), (300, 300), (7, 70_000), (70_000, 3)])
def test_steps_cover_a_matrix_once(shape: tuple[int, int]) -> None:
    seen = np.zeros(shape, np.int8)
    for step in row_blocks(shape):
        seen[step] += 1
    assert (seen == 1).all()
