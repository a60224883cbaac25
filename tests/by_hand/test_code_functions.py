"""Functions of codes, as TensorFlow Lite's kernels compute them, are written bit for bit."""

import numpy as np
import pytest
from hand_scripts import computation, unwritten, wrong
from own_seed import RNG

from probe import ops

FLOATS = RNG.normal(size=(2, 3, 16))
CODES = RNG.integers(-128, 128, (2, 3, 16))
WIDE = RNG.integers(-32768, 32768, (2, 3, 16))
ENDS = (-128, -128, 127)


@pytest.mark.parametrize(
    "op, x",
    [
        (ops.DynamicInput((2,)), FLOATS),
        (ops.DynamicInput((0, 1, 2)), np.abs(FLOATS) + 1),
        (ops.DynamicInput((2,), True), FLOATS),
        (ops.DynamicInput((2,), True), 0 * FLOATS),
        *(
            (ops.FunctionOfCodes(name, 0.05, 3, 1 / 256, *ENDS), CODES)
            for name in ("Sigmoid", "Tanh", "Gelu", "Gelu, tanh")
        ),
        (ops.SoftmaxOfCodes(0.1, 1.0, 1 / 256, *ENDS), CODES),
        *(
            (ops.HardSwishOfCodes(step, out, zero, -128, 127), CODES)
            for step, out, zero in ((0.05, 0.03, 2), (0.001, 0.2, 0), (1.5, 0.7, -9))
        ),
        (ops.InterpolatedFunction(1e-4, 2e-4), WIDE),
        (ops.InterpolatedFunction(1e-4, 2e-4, "tanh"), WIDE),
        (ops.InterpolatedSoftmax(3e-6, 1.0), WIDE),
        (ops.InterpolatedSoftmax(1e-3, 1.0, "float32"), WIDE),
    ],
)
def test_a_function_of_codes_is_written_as_its_kernel_computes_it(op, x):
    made = computation(op, x)
    assert not unwritten(made)
    assert not wrong(made)


@pytest.mark.parametrize(
    "op",
    [
        ops.FunctionOfCodes("Tanh", 0.05, 3, 1 / 128, 0, -128, 127, "gemmlowp"),
        ops.SoftmaxOfCodes(0.1, 1.0, 1 / 256, *ENDS, "gemmlowp"),
    ],
)
def test_fixed_point_of_31_bits_is_not_written(op):
    (reason,) = unwritten(computation(op, CODES))
    assert reason.endswith("in fixed point of 31 bits, by polynomials of a kernel")
