"""Sums of squares, which allowances are made of, next to plain float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.layer import Weight
from probe.ops import Conv
from probe.ops.convolve import convolve, convolve_squares
from probe.ops.linear import _squared_product


@pytest.mark.parametrize("by_x", [1e-30, 1e-12, 1e-6, 1e-3, 1.0, 1e6, 1e20])
@pytest.mark.parametrize("by_w", [1e-30, 1e-12, 1e-3, 1.0, 1e20])
def test_sums_of_squares_keep_to_float64_whatever_the_scale(by_x, by_w):
    """Allowances compute them in float32 where that holds them: neither overflow nor underflow may show."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 9, 9)) * by_x * 10.0 ** rng.integers(-4, 1, (2, 3, 9, 9))
    w = rng.normal(size=(4, 3, 3, 3)) * by_w
    geometry = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    np.testing.assert_allclose(convolve_squares(x, w, *geometry), convolve(x**2, w**2, *geometry), rtol=1e-4)
    flat, matrix = x[:, :, 0, 0], w[0, :, :, 0]
    np.testing.assert_allclose(_squared_product(flat, matrix), flat**2 @ matrix**2, rtol=1e-4)


@settings(max_examples=150, deadline=None)
@given(
    kernel=st.tuples(st.integers(3, 5), st.integers(3, 5)),
    pads=st.tuples(*[st.tuples(st.integers(0, 5), st.integers(0, 5))] * 2),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    more=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    deep=st.integers(1, 2),
    groups=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_part_under_few_channels_is_the_middle_row(kernel, pads, strides, dilations, more, deep, groups, seed):
    rng = np.random.default_rng(seed)
    spans = zip(kernel, pads, dilations, more, strict=True)
    sizes = [max(1, (k - 1) * d + 1 - sum(pad)) + extra for k, pad, d, extra in spans]
    x, w = rng.normal(size=(2, 3, *sizes)), rng.normal(size=(3 * deep, 3 // groups, *kernel)).astype(np.float32)
    op = Conv(Weight("kernel", w, w), None, strides, pads, dilations, groups)
    alone = np.zeros_like(w)
    alone[:, :, kernel[0] // 2] = w[:, :, kernel[0] // 2]
    part = op.part((x,))
    np.testing.assert_allclose(part, convolve(x**2, alone.astype(np.float64) ** 2, strides, pads, dilations, groups), rtol=1e-4, atol=1e-6)
    assert op.divisible and (part <= op.squares((x,)) * (1 + 1e-4)).all()
