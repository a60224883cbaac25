"""Our quantisers against QKeras' own: weights bit for bit, activations within the allowance and
through ONNX Runtime."""

import numpy as np
import pytest
import qkeras
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from hypothesis_examples import examples
from quantizer_inputs import NOISE, values

from probe import ops
from probe.description import Step
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

BITS = st.integers(1, 12)
INTEGER = st.integers(0, 4)


def alphas(shape):
    per_channel = arrays(np.float32, shape[-1:], elements=st.floats(2**-6, 4, width=32))
    return st.one_of(st.none(), st.sampled_from([1, 1.0, 0.5, 2, 0.3, 3e-5]), per_channel)


@st.composite
def bits_cases(draw):
    x = draw(values())
    options = {
        "bits": draw(BITS),
        "integer": draw(INTEGER),
        "symmetric": draw(st.booleans()),
        "keep_negative": draw(st.booleans()),
        "alpha": draw(alphas(x.shape)),
        "qnoise_factor": draw(NOISE),
        "use_ste": draw(st.booleans()),
    }
    op = ops.QuantizedBits(
        options["bits"],
        options["integer"],
        options["qnoise_factor"],
        options["use_ste"],
        symmetric=options["symmetric"],
        keep_negative=options["keep_negative"],
        alpha=1.0 if options["alpha"] is None else options["alpha"],
    )
    return x, op, qkeras.quantized_bits(**options)


@st.composite
def relu_cases(draw):
    x = draw(values())
    sigmoid = draw(st.booleans())
    options = {
        "bits": draw(st.integers(2, 12)),
        "integer": draw(INTEGER),
        "use_sigmoid": int(sigmoid),
        "negative_slope": draw(st.sampled_from([0.0, 0.0, 0.5, 0.25, 0.125, 1.0, 2.0])),
        "relu_upper_bound": draw(st.sampled_from([None, 0.7, 1.5, 6.0])),
        "is_quantized_clip": draw(st.booleans()),
        "qnoise_factor": draw(NOISE),
        "use_ste": draw(st.booleans()),
    }
    op = ops.QuantizedRelu(
        options["bits"],
        options["integer"],
        options["qnoise_factor"],
        options["use_ste"],
        negative_slope=options["negative_slope"],
        upper_bound=options["relu_upper_bound"],
        quantized_clip=options["is_quantized_clip"],
        sigmoid=0.5 if sigmoid else None,
    )
    return x, op, qkeras.quantized_relu(**options)


@st.composite
def auto_cases(draw):
    x = draw(values())
    options = {
        "bits": draw(st.integers(2, 12)),
        "integer": draw(INTEGER),
        "keep_negative": draw(st.booleans()),
    }
    options["alpha"] = draw(st.sampled_from(["auto", "auto_po2"]))
    scale_axis = draw(st.sampled_from([None, *range(x.ndim)])) if x.ndim > 1 else None
    kept = x.ndim - 1 if scale_axis is None else scale_axis
    op = ops.AutoQuantizedBits(
        options["bits"],
        options["integer"],
        power_of_two=options["alpha"] == "auto_po2",
        keep_negative=options["keep_negative"],
        axes=tuple(axis for axis in range(x.ndim) if axis != kept) if x.ndim > 1 else (0,),
    )
    return x, op, qkeras.quantized_bits(scale_axis=scale_axis, **options)


@given(st.one_of(bits_cases(), relu_cases(), auto_cases()))
@examples(1000)
def test_float32_is_qkeras_bit_for_bit(case):
    x, op, quantizer = case
    theirs = quantizer(tf.constant(x)).numpy()
    np.testing.assert_array_equal(op.run(x)[0], theirs)  # exact; NaN equals NaN, and 0 equals -0


@given(
    st.one_of(bits_cases(), relu_cases(), auto_cases()), st.sampled_from([0.0, 2.0**-22, 2.0**-12])
)
@examples(300)
def test_numpy_onnx_and_qkeras_agree_within_the_allowance(case, shift):
    """Also where the framework's input is off by a known slack, whatever level it then falls on."""
    x, op, quantizer = case
    slack = shift * np.abs(x).astype(float)
    exact = x.astype(float) + slack * np.random.default_rng(0).choice([-1, 0, 1], size=x.shape)
    y = op.run(exact)
    allowed = op.error_bound(
        Evaluated((exact,), (slack if shift else None,), y), precision_of("float32")
    )[0]
    theirs, onnx = quantizer(tf.constant(x)).numpy(), crosscheck([Step(op)], [x], [y])[0]
    for party in (theirs, onnx):
        np.testing.assert_array_equal(np.isfinite(party), np.isfinite(y[0]))
        finite = np.isfinite(y[0])
        assert (np.abs(party - y[0]) <= allowed)[finite].all()


def test_only_an_input_at_a_threshold_may_change_its_level():
    op = ops.QuantizedRelu(4, 1)  # levels 1/8 apart, thresholds between them
    x = np.array([0.3125, 0.3125 + 3e-7, 0.3125 + 5e-7, 0.25, 7.0, -1.0])
    allowed = op.error_bound(
        Evaluated((x,), (np.full(x.shape, 4e-7),), op.run(x)), precision_of("float32")
    )[0]
    np.testing.assert_allclose(allowed[:2], 0.125, rtol=1e-5)
    assert (allowed[2:] < 1e-5).all()
    assert allowed[-1] == 0


def test_infinities_and_nan_are_where_qkeras_has_them():
    x = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    for op, quantizer in [
        (ops.QuantizedBits(4, 1), qkeras.quantized_bits(4, 1)),
        (ops.QuantizedRelu(4, 1), qkeras.quantized_relu(4, 1)),
        (
            ops.QuantizedRelu(4, 1, quantized_clip=False),
            qkeras.quantized_relu(4, 1, is_quantized_clip=False),
        ),
    ]:
        theirs = quantizer(tf.constant(x)).numpy()
        y = op.run(x.astype(float))
        np.testing.assert_array_equal(y[0], theirs)
        np.testing.assert_array_equal(crosscheck([Step(op)], [x], [y])[0], theirs)


@pytest.mark.parametrize(
    "op",
    [
        ops.AutoQuantizedBits(4, 0, axes=(1,)),
        ops.AutoQuantizedBits(3, 1, axes=(0, 1)),
        ops.QuantizedBits(4),
        ops.QuantizedBits(3, 1, symmetric=1),
    ],
)
def test_as_many_levels_as_are_said(op):
    x = np.linspace(-4, 4, 2001, dtype=np.float32)[None]
    assert len(np.unique(op.run(x)[0])) == op.levels
