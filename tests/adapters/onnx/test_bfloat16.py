"""Tensors in bfloat16, which ONNX Runtime gives NumPy in no way, within a model and at its end."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import probe

W = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
X = np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], name="narrow", to=TensorProto.BFLOAT16),
        helper.make_node("Transpose", ["half"], ["turned"], name="turn", perm=[1, 0]),
        helper.make_node("Cast", ["turned"], ["wide"], name="widen", to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["wide", "w"], ["y"], name="product"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 4]),
            helper.make_tensor_value_info("turned", TensorProto.BFLOAT16, [3, 2]),
        ],
        [numpy_helper.from_array(W, "w")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path
    )
    return path


def test_its_tensors_are_checked(model):
    reports = {report.layer: report for report in probe.sweep(model, X)}
    assert list(reports) == ["narrow", "turn", "widen", "product"]
    assert all(report.ok for report in reports.values()), list(map(str, reports.values()))
    held = reports["turn"].outputs["framework"]
    held = held[0] if isinstance(held, tuple) else held
    np.testing.assert_array_equal(held.view(np.uint32) & 0xFFFF, 0)
    assert np.any(held != X.T)


def test_a_wrong_product_behind_them(model):
    right = next(report for report in probe.sweep(model, X) if report.layer == "product")
    y = np.array(right.outputs["framework"], np.float32).reshape(3, 4)
    assert probe.check(model, "product", X, expected=y).ok
    y[1, 2] += 0.1
    assert probe.check(model, "product", X, expected=y).verdict == "diverge"
    assert probe.check(model, "", X).ok
