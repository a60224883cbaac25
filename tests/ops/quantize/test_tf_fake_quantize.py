"""TensorFlow's fake quantisation: its kernels bit for bit, ONNX Runtime within the allowance, ties
and limits among the values."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops
from probe.description import Step
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

ranges = st.tuples(st.floats(-1000, 0, width=32), st.floats(2.0**-10, 1000, width=32))
options = st.tuples(st.integers(2, 16), st.booleans(), st.integers(0, 2**32 - 1))


def values(op, seed, channels=()):
    """Anything around the range, thresholds between levels and their neighbours, limits, zeros,
    denormals and large values."""
    rng = np.random.default_rng(seed)
    low, high = op.limits()
    x = rng.normal(size=(60, *channels)) * np.maximum(np.abs(low), high)
    x[:20] = (
        low + op.step() * (rng.integers(0, op.levels + 1, (20, *channels)) + np.float32(0.5))
    ).astype(np.float32)
    x[20:24] = np.nextafter(x[:4].astype(np.float32), np.float32(np.inf))
    x[24], x[25] = low, high
    x[26:32] = np.array([0.0, -0.0, 1e-40, 3e30, -3e30, np.inf]).reshape(-1, *(1 for _ in channels))
    return x.astype(np.float32)


def judged(op, x, theirs):
    np.testing.assert_array_equal(op.run(x)[0], theirs)
    wide = (x.astype(float),)
    y = op.run(*wide)
    allowed = op.error_bound(Evaluated(wide, (None,), y), precision_of("float32"))[0]
    assert (np.abs(theirs - y[0]) <= allowed).all()
    assert (np.abs(crosscheck([Step(op)], [x], [y])[0] - y[0]) <= allowed).all()
    away = np.abs(x)[allowed > 0.9 * op.step()]  # a whole level is allowed at thresholds alone
    assert len(away) < 0.6 * x.size


@given(ranges, options)
@examples(40)
def test_one_range_is_tensorflows(limits, option):
    (low, high), (bits, narrow, seed) = limits, option
    for divides, theirs in (
        (True, tf.quantization.fake_quant_with_min_max_vars),
        (False, tf.quantization.fake_quant_with_min_max_args),
    ):
        op = ops.NudgedFakeQuantize(np.float32(low), np.float32(high), bits, narrow, divides)
        x = values(op, seed)
        judged(op, x, theirs(x, low, high, num_bits=bits, narrow_range=narrow).numpy())


@given(st.lists(ranges, min_size=1, max_size=4), options)
@examples(25)
def test_a_range_per_channel_is_tensorflows(limits, option):
    bits, narrow, seed = option
    low, high = np.array(limits, np.float32).T
    low[0], high[0] = (0, 0) if seed % 3 == 0 else (low[0], high[0])
    op = ops.NudgedFakeQuantize(low, high, bits, narrow, divides=False)
    x = values(op, seed, low.shape)
    theirs = tf.quantization.fake_quant_with_min_max_vars_per_channel(
        x, low, high, num_bits=bits, narrow_range=narrow
    )
    judged(op, x, theirs.numpy())


@pytest.mark.parametrize(("low", "high"), [(1.0, 3.0), (-3.0, -1.0), (0.0, 0.0)])
def test_a_range_without_zero_is_moved_to_hold_it(low, high):
    op = ops.NudgedFakeQuantize(np.float32(low), np.float32(high))
    x = np.linspace(-5, 5, 101, dtype=np.float32)
    np.testing.assert_array_equal(
        op.run(x)[0], tf.quantization.fake_quant_with_min_max_vars(x, low, high).numpy()
    )
    assert op.run(np.zeros(1))[0] == 0


def test_an_input_off_by_rounding_may_move_by_a_level_at_a_threshold_alone():
    op = ops.NudgedFakeQuantize(np.float32(-127), np.float32(127), 8, True)
    x = np.array([0.5, 0.25, -3.5, 200.0])
    allowed = op.error_bound(
        Evaluated((x,), (np.full(4, 1e-6),), op.run(x)), precision_of("float32")
    )[0]
    np.testing.assert_array_equal(np.round(allowed), [1, 0, 1, 0])
