"""Products by scipy's BLAS are those of numpy, whatever the shapes and precisions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_emms.scoring.blas import column_sums, cross, gram

SIZES = st.integers(1, 40)


def rows(seed: int, n: int, width: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width)).astype(dtype)


@given(n=SIZES, width=SIZES, other=SIZES, dtypes=st.tuples(*[st.sampled_from(["float32", "float64"])] * 2))
def test_products_are_those_of_numpy(n: int, width: int, other: int, dtypes: tuple[str, str]) -> None:
    x, y = rows(0, n, width, dtypes[0]), rows(1, n, other, dtypes[1])
    np.testing.assert_allclose(cross(x, y), x.T @ y, rtol=1e-4, atol=1e-4)
    assert cross(x, y).dtype == np.result_type(x, y)
    np.testing.assert_allclose(column_sums(x), x.sum(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gram(x), x.T @ x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [127, 128, 129, 300])
def test_a_gram_matrix_is_symmetric_across_its_tiles(width: int) -> None:
    x = rows(0, 20, width, "float64")
    product = gram(x)
    np.testing.assert_array_equal(product, product.T)
    np.testing.assert_allclose(product, x.T @ x, atol=1e-12)
