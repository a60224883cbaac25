"""Every described class in every precision, and on integers; and what computes in less than it
says."""

import os
import subprocess
import sys

import keras_cases
import pytest
from probe.adapters.keras.capture.model import Opened
from representatives import exhaustive

import probe

SLOW = [
    pytest.param(policy, marks=pytest.mark.slow)
    for policy in ("float32", "float16", "mixed_float16", "bfloat16", "integers")
]
REFUSALS = ("the model's forward pass failed", "Cannot convert the argument")
"""What Keras and TensorFlow themselves say where they have no kernel for a precision."""


def judged(keras, name, policy):
    """The report of one layer as it runs in inference, None where this Keras has no such class, a
    string where it cannot run it so."""
    try:
        found = keras_cases.build(keras, name, None if policy == "integers" else policy)
        if found is None:
            return None
        layer, arrays = found
        if policy == "integers":
            arrays = [
                (5 * array).astype("int32") if array.dtype.kind == "f" else array
                for array in arrays
            ]
        return probe.check(
            Opened("a layer of a file", layer, keras, live=False), layer.name, given=arrays
        )
    except (probe.ProbeError, TypeError) as error:
        return str(error)


@pytest.mark.parametrize("policy", [*exhaustive("float64", "mixed_bfloat16"), *SLOW])
def test_every_class_in_every_precision(keras, policy):
    """No two parties differ; what is not judged has a reason, and what does not run is refused by
    the framework itself."""
    agreed = 0
    for name in keras_cases.names():
        report = judged(keras, name, policy)
        if isinstance(report, str):
            assert report.startswith(REFUSALS), f"{name}: {report}"
        elif report is not None:
            assert report.verdict != "diverge" and all(
                one.ok for one in report.comparisons.values()
            ), f"{name}\n{report}"
            agreed += report.verdict == "agree"
    assert agreed > (40 if policy == "integers" else 70)


REDUCED = """
import keras
import numpy as np
import tensorflow as tf

import probe

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
x, y = (rng.normal(size=shape).astype("float32") for shape in ((1, 12, 12, 4), (2, 10, 16)))
convolution, attention = keras.layers.Conv2D(8, 3), keras.layers.MultiHeadAttention(2, 8)
off = convolution(x) - tf.cast(tf.nn.conv2d(tf.cast(x, "float64"), tf.cast(convolution.kernel, "float64"), 1, "VALID"), "float32")
attention(y, y)
for layer, given, claim in (
    (convolution, [x], "inputs and weights are rounded to bfloat16"),
    (attention, [y, y], "the operands of every product are rounded to bfloat16, scores scaled and not queries"),
):
    report = probe.check(layer, layer.name, given=given)
    if abs(off.numpy()).max() < 1e-5:
        assert report.ok, str(report)
        continue
    assert "the framework is the odd one out" in report.sentence, str(report)
    assert report.findings, str(report)
    for finding in report.findings:
        assert finding.slug == "reduced-precision" and finding.claim.startswith(claim), str(report)
        assert "no TF_SET_ONEDNN_FPMATH_MODE" in finding.do
"""


@pytest.mark.exhaustive
def test_float32_that_tensorflow_computes_in_bfloat16_is_named():
    """What is asked for here, CPUs without such instructions do not do: there all agree."""
    environment = os.environ | {"TF_SET_ONEDNN_FPMATH_MODE": "BF16"}
    done = subprocess.run(
        [sys.executable, "-c", REDUCED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
