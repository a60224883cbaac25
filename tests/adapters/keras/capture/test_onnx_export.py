"""What has no description is exported alone by the framework's converter and run in ONNX Runtime:
told, and never a verdict."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import probe
from probe.process.extras import install

X = np.random.default_rng(0).normal(size=(2, 4, 4)).astype("float32")


class Mixed(keras.layers.Layer):
    """A layer of the user's own, one operation of which has no description."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(4, 3), name="kernel")

    def call(self, x, factor=2.0):
        return keras.ops.matmul(x, self.kernel) * factor + 0 * keras.ops.det(x)[:, None, None]


def asked(output, inputs, keras):
    model = keras.Model(inputs, output)
    return probe.check(model, probe.open_model(model).layers[-1].name, X)


def test_operations_and_layers():
    pytest.importorskip("tf2onnx")
    x, old = keras.Input((4, 4)), tf_keras.Input((4, 4))
    layer = Mixed(name="mine")
    cases = {
        "Det": asked(keras.ops.det(x), x, keras),
        "Mixed": asked(layer(x, factor=3.0), x, keras),
    }
    cases["TFOpLambda"] = asked(tf.linalg.det(old), old, tf_keras)
    for kind, report in cases.items():
        assert report.kind == kind and report.verdict == "unchecked" and "numpy" in report.missing
        assert any(
            (
                "exported to ONNX by the framework itself and run in ONNX Runtime, the layer "
                "differs by"
            )
            in note
            for note in report.notes
        ), str(report)
        assert np.allclose(report.outputs["onnx"], report.outputs["framework"], atol=1e-5)
    assert np.allclose(
        cases["Mixed"].outputs["onnx"], 3 * X @ np.array(layer.get_weights()[0]), atol=1e-5
    )


def test_what_the_converter_does_not_know_is_named():
    pytest.importorskip("tf2onnx")
    x = keras.Input((4, 4))
    report = asked(keras.ops.erfinv(keras.ops.tanh(x)), x, keras)
    assert report.verdict == "unchecked" and "onnx" in report.missing
    assert any(
        note.endswith("tf2onnx has no ONNX operators for TensorFlow's Erfinv")
        for note in report.notes
    ), report.notes


def test_without_the_converter_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    x = keras.Input((4, 4))
    report = asked(keras.ops.det(x), x, keras)
    assert report.verdict == "unchecked"
    assert any(f"needs tf2onnx: {install('tf2onnx')}" in note for note in report.notes), (
        report.notes
    )
