"""An ONNX graph as a whole, and a segment of it, is composed of its nodes."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import probe
from probe.errors import BadInput

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)


@pytest.fixture
def graph():
    """x + relu(x @ w), and the place of its largest number in each row."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="product"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Add", ["b", "x"], ["y"], name="sum"),
        helper.make_node("ArgMax", ["y"], ["place"], name="place", axis=1),
    ]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "graph",
        [value("x", onnx.TensorProto.FLOAT, [3, 4])],
        [
            value("y", onnx.TensorProto.FLOAT, [3, 4]),
            value("place", onnx.TensorProto.INT64, [3, 1]),
        ],
        [numpy_helper.from_array(W, "w")],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_the_whole(graph):
    report = probe.check(graph, "", X)
    assert report.ok and list(report.weights) == ["w"]
    assert report.calls[:3] == ("product", "relu", "sum")
    y = X + np.maximum(X @ W, 0)
    mine = (y, y.argmax(axis=1, keepdims=True))
    assert probe.check(graph, "", X, expected=mine).ok
    assert probe.check(graph, "", X, expected=(y - X, None)).verdict == "diverge"
    assert [one.name for one in probe.open_model(graph).containers] == [""]


def test_the_inputs_are_called_as_the_tensors_are(graph):
    calls = {}

    def take(capture):
        calls[capture.layer] = capture.input_names

    probe.open_model(graph).run((X,), ["", "sum"], take)
    assert calls == {"": ("x",), "sum": ("b", "x")}


def test_a_segment(graph):
    report = probe.check(graph, ("relu", "sum"), X)
    assert report.ok and report.calls == ("relu", "sum") and len(report.inputs) == 2
    with pytest.raises(BadInput, match="does not follow from"):
        probe.check(graph, ("sum", "relu"), X)
