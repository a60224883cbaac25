"""Every described class in every precision, and on integers."""

import keras_cases
import pytest
from probe.adapters.keras.opened import Opened

import probe

SLOW = [pytest.param(policy, marks=pytest.mark.slow) for policy in ("float32", "float16", "mixed_float16", "bfloat16", "integers")]
REFUSALS = ("the model's forward pass failed", "Cannot convert the argument")
"""What Keras and TensorFlow themselves say where they have no kernel for a precision."""


def judged(keras, name, policy):
    """The report of one layer as it runs in inference, None where this Keras has no such class, a string where it cannot run it so."""
    try:
        found = keras_cases.build(keras, name, None if policy == "integers" else policy)
        if found is None:
            return None
        layer, arrays = found
        if policy == "integers":
            arrays = [(5 * array).astype("int32") if array.dtype.kind == "f" else array for array in arrays]
        return probe.check(Opened("a layer of a file", layer, keras, live=False), layer.name, given=arrays)
    except (probe.ProbeError, TypeError) as error:
        return str(error)


@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16", *SLOW])
def test_every_class_in_every_precision(keras, policy):
    """No two parties differ; what is not judged has a reason, and what does not run is refused by the framework itself."""
    agreed = 0
    for name in keras_cases.names():
        report = judged(keras, name, policy)
        if isinstance(report, str):
            assert report.startswith(REFUSALS), f"{name}: {report}"
        elif report is not None:
            assert report.verdict != "diverge" and all(one.ok for one in report.comparisons.values()), f"{name}\n{report}"
            agreed += report.verdict == "agree"
    assert agreed > (40 if policy == "integers" else 70)
