"""How the tests of the descriptions draw a Keras layer, run it alone and judge it."""

import importlib
import zlib

import numpy as np
import pytest
from representatives import exhaustive

import probe


@pytest.fixture(scope="session", params=["keras", *exhaustive("tf_keras")])
def keras(request):
    """The two frameworks that the descriptions serve, by the name of their module. By default the
    tests of QKeras stand for Keras 2, on which it is built."""
    return importlib.import_module(request.param)


@pytest.fixture(scope="session")
def drawn():
    """Builds a layer for inputs of these shapes and gives it weights that no initializer gives:
    signed, none of them equal."""

    def draw(layer, *shapes, seed=0):
        rng = np.random.default_rng(seed)
        if not layer.built:
            layer.build(shapes[0] if len(shapes) == 1 else list(shapes))
        weights = [
            rng.uniform(0.05, 2.0, v.shape) if "variance" in v.name else rng.normal(size=v.shape)
            for v in layer.weights
        ]
        if weights:
            layer.set_weights(weights)
        return layer

    return draw


@pytest.fixture(scope="session")
def agrees(drawn):
    """Runs a layer alone on arrays, or on inputs of these shapes: framework, NumPy and ONNX Runtime
    must agree. Returns the report."""

    def check(layer, *inputs):
        seed = zlib.crc32(f"{type(layer).__name__} {inputs}".encode())
        rng = np.random.default_rng(seed)
        given = [
            rng.normal(size=one).astype("float32") if isinstance(one, tuple) else one
            for one in inputs
        ]
        shapes = tuple(one.shape for one in given)
        drawn(layer, *shapes, seed=seed)
        report = probe.check(layer, layer.name, given=given)
        assert set(report.outputs) == {"framework", "numpy", "onnx"}, report.missing
        # An output that is all but constant, such as a saturated tanh, is not judged; its parties
        # must lie within rounding all the same. A drawn recurrence without bounds may overflow.
        judged = report.verdict == "agree" or (
            "own range" in report.sentence and all(one.ok for one in report.comparisons.values())
        )
        judged |= "intermediate result overflows float32 in the framework" in report.sentence
        assert judged, f"{layer.get_config()} on {shapes}\n{report}"
        return report

    return check
