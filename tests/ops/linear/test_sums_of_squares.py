"""Sums of squares, which allowances are made of, next to plain float64."""

import numpy as np
import pytest
import torch

from probe.ops.linear.im2col_gemm import convolve, convolve_squares
from probe.ops.linear.matmul import _squared_product


@pytest.mark.parametrize("by_x", [1e-30, 1e-12, 1e-6, 1e-3, 1.0, 1e6, 1e20])
@pytest.mark.parametrize("by_w", [1e-30, 1e-12, 1e-3, 1.0, 1e20])
def test_sums_of_squares_keep_to_float64_whatever_the_scale(by_x, by_w):
    """Allowances compute them in float32 where that holds them: neither overflow nor underflow may
    show."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 9, 9)) * by_x * 10.0 ** rng.integers(-4, 1, (2, 3, 9, 9))
    w = rng.normal(size=(4, 3, 3, 3)) * by_w
    geometry = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    np.testing.assert_allclose(
        convolve_squares(x, w, *geometry), convolve(x**2, w**2, *geometry), rtol=1e-4
    )
    flat, matrix = x[:, :, 0, 0], w[0, :, :, 0]
    np.testing.assert_allclose(_squared_product(flat, matrix), flat**2 @ matrix**2, rtol=1e-4)


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [2, 40])
def test_depthwise_kernels_over_planes_that_are_brought_side_by_side(channels, stride, last):
    """Planes of more than 1,024 elements and more than 16 channels take a path of their own, and so
    do few channels without strides."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, channels, 37, 41)), rng.normal(size=(2 * channels, 1, 3, 5))
    x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if last else x
    geometry = (stride, stride), ((1, 1), (2, 2)), (1, 1), channels
    for power, computed, near in (
        (1, convolve(x, w, *geometry), 1e-12),
        (2, convolve_squares(x, w, *geometry), 1e-4),
    ):
        given = (torch.from_numpy(np.ascontiguousarray(one**power)) for one in (x, w))
        expected = torch.nn.functional.conv2d(
            *given, stride=stride, padding=(1, 2), groups=channels
        ).numpy()
        np.testing.assert_allclose(computed, expected, rtol=near, atol=near)
