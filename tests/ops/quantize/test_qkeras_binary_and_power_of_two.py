"""The quantizers to signs, to powers of two and along curves against QKeras' own."""

import importlib
import re
import sys

import numpy as np
import pytest
import qkeras
import tensorflow as tf
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from quantizer_inputs import NOISE, values

from probe import ops
from probe.description import Step
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

importlib.import_module("probe.adapters.qkeras")
quantizers = sys.modules["probe.adapters.qkeras.quantizers"]

TIMES = st.sampled_from([None, 1.0, 0.5, 0.3, "auto", "auto_po2"])
BITS = st.integers(2, 8)
KINDS = ("binary", "hard", "smooth")
PO2 = {
    "max_value": st.sampled_from([None, 0.5, 1.0, 4.0]),
    "quadratic_approximation": st.booleans(),
    "log2_rounding": st.sampled_from(["rnd", "floor"]),
    "qnoise_factor": NOISE,
    "use_ste": st.booleans(),
}
SIGNS = st.one_of(
    st.builds(qkeras.binary, use_01=st.booleans(), alpha=TIMES),
    st.builds(qkeras.stochastic_binary, alpha=TIMES),
    st.builds(
        qkeras.ternary,
        alpha=st.sampled_from([None, 1.0, 0.3]),
        threshold=st.sampled_from([None, 0.5, 0.1]),
    ),
    st.builds(
        qkeras.ternary,
        alpha=st.sampled_from(["auto", "auto_po2"]),
        number_of_unrolls=st.integers(1, 6),
    ),
    st.builds(qkeras.stochastic_ternary, alpha=st.sampled_from(["auto", "auto_po2"])),
)
POWERS = st.one_of(
    st.builds(qkeras.quantized_po2, bits=st.integers(3, 8), **PO2),
    st.builds(
        qkeras.quantized_relu_po2,
        bits=st.integers(3, 8),
        negative_slope=st.sampled_from([0, 0.25, 1.0]),
        **PO2,
    ),
)
CURVES = st.one_of(
    st.builds(
        qkeras.quantized_tanh, bits=BITS, symmetric=st.booleans(), use_real_tanh=st.booleans()
    ),
    st.builds(
        qkeras.quantized_sigmoid, bits=BITS, symmetric=st.booleans(), use_real_sigmoid=st.booleans()
    ),
    st.builds(
        qkeras.quantized_ulaw,
        bits=BITS,
        integer=st.integers(0, 2),
        symmetric=st.sampled_from([0, 1]),
        u=st.sampled_from([255.0, 15.0]),
    ),
    st.builds(
        qkeras.quantized_hswish,
        bits=BITS,
        integer=st.integers(0, 3),
        relu_shift=st.sampled_from([3, 2]),
        alpha=st.sampled_from([None, 0.5]),
    ),
    st.sampled_from(
        [
            getattr(qkeras.quantizers, f"{kind}_{curve}")
            for kind in KINDS
            for curve in ("sigmoid", "tanh")
        ]
    ),
)


def chain(quantizer, x):
    return quantizers.quantizer_ops(quantizer, x.ndim, "it goes through")


def fitted(quantizer):
    return isinstance(getattr(quantizer, "alpha", None), str)


@given(values(), st.one_of(SIGNS, POWERS, CURVES))
@examples(600)
def test_float32_is_qkeras_bit_for_bit_but_for_what_is_transcendental(x, quantizer):
    """One unit in the last place where tanh comes before, eight where a scale is a quotient of
    means or the levels are logarithms."""
    theirs = np.asarray(quantizer(tf.constant(x)))
    ours, _ = quantizers.effective(chain(quantizer, x), quantizer, x)
    if (
        not fitted(quantizer)
        and getattr(quantizer, "alpha", 1) is not None
        and not isinstance(quantizer, qkeras.quantized_ulaw)
    ):
        np.testing.assert_array_equal(ours, theirs)
        return
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    units = 8 if fitted(quantizer) or isinstance(quantizer, qkeras.quantized_ulaw) else 1
    same = (ours == theirs) | (np.abs(ours - theirs) <= units * np.spacing(np.abs(theirs)))
    assert same[np.isfinite(theirs)].all()


@given(values(), st.one_of(SIGNS, POWERS, CURVES), st.sampled_from([0.0, 2.0**-22, 2.0**-12]))
@example(np.array([-1e-45], np.float32), qkeras.binary(alpha="auto"), 0.0)
@example(
    np.array([0.49999997, 1.4999999], np.float32), qkeras.stochastic_ternary(alpha="auto"), 0.0
)
@examples(300)
def test_numpy_onnx_and_qkeras_agree_within_the_allowance(x, quantizer, shift):
    steps = [Step(op) for op in chain(quantizer, x)]
    slack = shift * np.abs(x).astype(float)
    exact = x.astype(float) + slack * np.random.default_rng(0).choice([-1, 0, 1], size=x.shape)
    assume(not fitted(quantizer) or not shift)
    made = recompute(steps, [exact])
    first = steps[0].op.error_bound(
        Evaluated((exact,), (slack if shift else None,), made[0]), precision_of("float32")
    )
    allowed = (
        first[0]
        if len(steps) == 1
        else steps[1].op.error_bound(Evaluated(made[0], first, made[1]), precision_of("float32"))[0]
    )
    y = made[-1][0]
    theirs, onnx = np.asarray(quantizer(tf.constant(x))), crosscheck(steps, [x], made)[0]
    for party in (theirs, onnx):
        finite = np.isfinite(y)
        np.testing.assert_array_equal(np.isfinite(party), finite)
        assert (np.abs(party - y) <= allowed)[finite].all()


@pytest.mark.parametrize("kind", [qkeras.quantized_po2, qkeras.quantized_relu_po2])
def test_every_float_around_the_thresholds_of_a_logarithm(kind):
    """Where libraries round the logarithm to either side, the quantizer itself is asked; nowhere
    else."""
    near = [
        np.float32(2.0 ** (k + 0.5)) * np.float32(1 + j * 2.0**-23)
        for k in range(-20, 10)
        for j in range(-40, 41)
    ]
    x = np.array(near, np.float32)
    quantizer = kind(6)
    ours, words = quantizers.effective(chain(quantizer, x), quantizer, x)
    np.testing.assert_array_equal(ours, np.asarray(quantizer(tf.constant(x))))
    assert int(re.search(r"; (\d+) values on a threshold", words)[1]) > 1
    for one in x[:: len(x) // 40]:
        words = quantizers.effective(chain(quantizer, x[:1]), quantizer, one[None])[1]
        assert "threshold" not in words or "; 1 value on a threshold" in words
    away = np.array([0.3, 1.0, 2.9, 5.0], np.float32)
    assert "threshold" not in quantizers.effective(chain(quantizer, away), quantizer, away)[1]


def test_below_zero_without_a_slope_is_the_smallest_power():
    np.testing.assert_array_equal(
        ops.QuantizedReluPo2(-3, 2).run(np.array([-5.0, -0.25, 0.3, 9.0]))[0],
        [0.125, 0.125, 0.25, 4.0],
    )


@pytest.mark.parametrize("bits", [3, 6])
def test_a_sigmoid_is_told_with_its_step(bits):
    quantizer = qkeras.quantized_sigmoid(bits)
    x = np.linspace(-3, 3, 200, dtype=np.float32)
    (op,) = chain(quantizer, x)
    step = float(re.search(r"to multiples of (\S+)", op.summary((x,)))[1])
    levels = np.unique(np.asarray(quantizer(tf.constant(x))))
    assert step == np.diff(levels).min()
