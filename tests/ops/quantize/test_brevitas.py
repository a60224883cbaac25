"""IntQuantize, FloatQuantize and SignQuantize bit for bit against Brevitas' own quantisers, where
it is installed, and in ONNX Runtime."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from quantizer_inputs import values

from probe import ops
from probe.description import Step
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

core = pytest.importorskip("brevitas.core.quant")
wrappers = pytest.importorskip("brevitas.core.function_wrapper")
ComputeMaxMantissa = pytest.importorskip("brevitas.core.bit_width.float").ComputeMaxMantissa
FloatQuant = pytest.importorskip("brevitas.core.quant.float").FloatQuant
ConstScaling = pytest.importorskip("brevitas.core.scaling").ConstScaling
StatelessBuffer = pytest.importorskip("brevitas.core.utils").StatelessBuffer

ROUNDINGS = {
    "even": wrappers.RoundSte,
    "floor": wrappers.FloorSte,
    "ceil": wrappers.CeilSte,
    "zero": wrappers.RoundToZeroSte,
    "up": wrappers.DPURoundSte,
}
SCALES = st.floats(2.0**-20, 2.0**20, width=32) | st.sampled_from([2.0**-7, 0.5, 1.0, 1e-3])


def same_in_onnx(op, x, y):
    (found,) = crosscheck([Step(op)], [x], [(y,)])
    np.testing.assert_array_equal(found, y)


def allowed_for(op, x, y):
    """What float32 gives lies within the allowance of what float64 gives, at every threshold
    too."""
    wide = x.astype(np.float64)
    (exact,) = op.run(wide)
    (allowed,) = op.error_bound(Evaluated((wide,), (None,), (exact,)), precision_of("float32"))
    assert (np.abs(y - exact) <= allowed).all()


@examples(120)
@given(
    x=values(),
    scale=SCALES,
    zero=st.sampled_from([0, 0, 3, -5]),
    bits=st.integers(2, 8),
    signed=st.booleans(),
    narrow=st.booleans(),
    rounding=st.sampled_from([*ROUNDINGS]),
)
def test_integers(x, scale, zero, bits, signed, narrow, rounding):
    theirs = core.IntQuant(narrow, signed, wrappers.Identity(), ROUNDINGS[rounding]())
    parts = [torch.tensor(float(part)) for part in (scale, zero, bits)]
    low, high = int(theirs.min_int(parts[2])), int(theirs.max_int(parts[2]))
    op = ops.IntQuantize(parts[0].numpy(), parts[1].numpy(), low, high, rounding)
    y = theirs(*parts, torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(op.run(x)[0], y)
    same_in_onnx(op, x, y)
    allowed_for(op, x, y)


@examples(40)
@given(x=values(), scale=SCALES, threshold=st.none() | st.sampled_from([0.5, 0.3, 1e-3]))
def test_signs(x, scale, threshold):
    scaling = ConstScaling(scale)
    theirs = (
        core.BinaryQuant(scaling) if threshold is None else core.TernaryQuant(scaling, threshold)
    )
    op = ops.SignQuantize(np.float32(scale), threshold)
    y = theirs(torch.from_numpy(x))[0].numpy()
    np.testing.assert_array_equal(op.run(x)[0], y)
    allowed_for(op, x, y)
    same_in_onnx(
        op,
        np.where(np.abs(x) < 1e-37, np.float32(0), x),
        op.run(np.where(np.abs(x) < 1e-37, np.float32(0), x))[0],
    )


@examples(150)
@given(
    x=values(),
    scale=SCALES,
    exponent=st.integers(2, 5),
    mantissa=st.integers(1, 5),
    shift=st.integers(-2, 3),
    signed=st.booleans(),
)
def test_floats(x, scale, exponent, mantissa, shift, signed):
    bias = 2 ** (exponent - 1) - 1 + shift
    clamp = wrappers.FloatClamp(wrappers.TensorClamp(), signed)
    parts = [StatelessBuffer(torch.tensor(float(part))) for part in (exponent, mantissa, bias)]
    theirs = FloatQuant(
        signed,
        *parts,
        clamp,
        wrappers.Identity(),
        ComputeMaxMantissa(),
        ConstScaling(scale),
    )
    y = theirs(torch.from_numpy(x))[0].detach().numpy()
    high = (2 - 2.0**-mantissa) * 2.0 ** (2**exponent - 1 - bias)
    op = ops.FloatQuantize(
        np.float32(scale), mantissa, 1 - bias - mantissa, -high if signed else 0.0, high
    )
    np.testing.assert_array_equal(op.run(x)[0], y)
    allowed_for(op, x, y)
    same_in_onnx(op, x, y)
