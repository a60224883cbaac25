"""Arrays that quantizers find hard."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

__all__ = ["NOISE", "values"]

NOISE = st.sampled_from([1.0, 1.0, 1.0, 0.25, 0.0, 0.3])
"""QKeras' qnoise_factor: 1 but in training schedules."""


def values():
    """Arrays of ties, limits, their neighbours, zeros, denormals and very large values, and of
    anything between."""
    grid = st.builds(lambda k, e: k / 2.0**e, st.integers(-70, 70), st.integers(0, 9))
    beside = st.builds(
        lambda v, up: np.nextafter(np.float32(v), np.float32(up * np.inf)),
        grid,
        st.sampled_from([-1, 1]),
    )
    special = st.sampled_from(
        [0.0, -0.0, 1e-40, -1e-40, 1e-30, -1e-30, 1e10, -1e10, 3e30, -3e30, 16777217.0]
    )
    # TensorFlow flushes what becomes denormal
    between = st.floats(-100, 100, width=32).filter(lambda v: not 0 < abs(v) < 1e-30)
    element = st.one_of(grid, beside, special, between, between.map(lambda v: v / 50))
    return arrays(
        np.float32,
        array_shapes(min_dims=1, max_dims=4, max_side=4),
        elements=element.map(np.float32),
    )
