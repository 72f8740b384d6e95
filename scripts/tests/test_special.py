"""The given error function against the standard library's."""

import math

import numpy as np
import pytest

from tinytorch.special import ERFC_BLOCK, erfc, normal_cdf


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [(np.float64, 1e-13, 0.0), (np.float32, 1e-4, 4e-7)]
)
def test_erfc_is_that_of_the_standard_library(dtype, rtol, atol):
    """Both fits, on both sides of 0, in the dtype of the input."""
    x = np.linspace(-6, 6, 401)
    out = erfc(x.astype(dtype))
    assert out.dtype == dtype
    np.testing.assert_allclose(out, [math.erfc(v) for v in x], rtol=rtol, atol=atol)


def test_blocks_and_shapes_do_not_show():
    """Arrays longer than a block, of any shape, give what their numbers give one by one."""
    x = np.linspace(-5, 5, 2 * ERFC_BLOCK + 2).reshape(2, -1)
    np.testing.assert_array_equal(erfc(x)[1, -3:], erfc(x[1, -3:]))
    assert normal_cdf(np.array(0.0)).shape == ()
    np.testing.assert_allclose(normal_cdf(np.array([-1e4, 0.0, 1e4])), [0, 0.5, 1], atol=1e-15)
