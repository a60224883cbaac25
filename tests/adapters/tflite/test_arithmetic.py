"""Operators of codes, bit for bit: NumPy and ONNX Runtime against LiteRT under its three resolvers,
and against TFLM."""

import importlib.util

import numpy as np
import pytest
from own_seed import RNG
from probe.adapters.tflite.arithmetic import ENGINES, EngineKernel, rounding
from probe.adapters.tflite.engine_calls import EngineRefusal
from tflite_draws import Draws, transpose_conv
from tflite_operators import OPERATORS, WITHOUT, described, drawn, gave

from probe.errors import Undescribed
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.recording.plain_data import as_data

HERE = [
    engine
    for engine in ENGINES
    if engine != "tflm" or importlib.util.find_spec("tflite_micro") is not None
]


@pytest.mark.parametrize("name", OPERATORS)
def test_every_engine_to_the_last_bit(name):
    compared = 0
    for number, case in enumerate(drawn(name, RNG, 9)):
        for engine in HERE:
            if (name, engine) in WITHOUT:
                with pytest.raises((EngineRefusal, Undescribed)):
                    described(case, engine, *gave(case, engine))
                continue
            outputs, delegated = gave(case, engine)
            steps = described(case, engine, outputs, delegated).steps
            values = recompute(steps, case.inputs)
            np.testing.assert_array_equal(values[-1][0], outputs[0], engine)
            if not number:
                theirs = crosscheck(steps, case.inputs, values)[0]
                np.testing.assert_array_equal(theirs, outputs[0], engine)
                assert as_data(steps, lambda array: 0), "a recording keeps it"
            compared += outputs[0].size
        assert len(np.unique(outputs[0])) > 20
    assert compared > 400


@pytest.mark.skipif("tflm" not in HERE, reason="TFLM is not installed")
def test_tflm_keeps_the_shape_of_the_file():
    """Whatever the first input of a transposed convolution says, as tflite-micro's own files do."""
    case = transpose_conv(Draws(RNG, "int8", 4), told=(1, 1, 1, 0))
    ran = gave(case, "tflm")
    assert ran.outputs[0].shape == (2, 8, 8, 9)
    steps = described(case, "tflm", *ran).steps
    np.testing.assert_array_equal(recompute(steps, case.inputs)[-1][0], ran.outputs[0])


def test_a_quotient_says_what_is_shifted_beyond_its_bits():
    case = drawn("DIV", RNG, 9)[0]
    (step,) = described(case, "reference", *gave(case, "reference")).steps[2:]
    words = step.op.summary([array.astype(np.int64) for array in case.inputs])
    assert words.endswith("of 2,592 are shifted by 32 bits and more, which C leaves undefined")
    assert "undefined" not in step.op.summary([np.array([100]), np.array([1])])


MOVED = {"MAX_POOL_2D", "RESIZE_NEAREST_NEIGHBOR"}
"""The operators that compute nothing of codes: on each machine they do the same."""


@pytest.mark.parametrize("name", OPERATORS)
def test_kernels_of_another_machine_are_refused_and_not_guessed(name):
    case = drawn(name, RNG, 5)[0]
    for engine in HERE:
        if (name, engine) in WITHOUT:
            continue
        ran = gave(case, engine)
        same = engine in ("reference", "tflm") and not name.startswith("DIV")
        if name in MOVED or same:
            assert described(case, engine, *ran, "aarch64").steps
            continue
        with pytest.raises(Undescribed, match="on aarch64"):
            described(case, engine, *ran, "aarch64")


def test_an_unknown_cell_is_refused_and_not_guessed():
    assert rounding(EngineKernel("xnnpack", "x86_64", True), "CONV_2D", "int8") == "fp32"
    assert rounding(EngineKernel("xnnpack", "x86_64", False), "CONV_2D", "int8") == "up"
    for kernel, operator, dtype, what in (
        (EngineKernel("xnnpack", "aarch64", True), "CONV_2D", "int8", "aarch64"),
        (EngineKernel("optimised", "arm64"), "FULLY_CONNECTED", "int8", "arm64"),
        (EngineKernel("tflm"), "CONV_2D", "uint8", "no known rounding in the tflm kernels"),
        (EngineKernel("reference"), "SUM", "int8", "no known rounding in the reference kernels"),
    ):
        with pytest.raises(Undescribed, match=what):
            rounding(kernel, operator, dtype)
    assert rounding(EngineKernel("tflm", "aarch64"), "CONV_2D", "int8") == "double"
