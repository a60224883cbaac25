"""A file whose nodes are in no order, as ONNX Runtime takes it and its converter writes it."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

import probe

X = np.random.default_rng(0).normal(size=(2, 3, 7, 6)).astype(np.float32)


def net(order=(0, 1, 2)):
    rng = np.random.default_rng(1)
    kernel, other = (rng.normal(size=(3, 3, 3, 3)).astype(np.float32) for _ in range(2))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "second"),
        helper.make_node("Conv", ["b", "v"], ["y"], "third"),
    ]
    graph = helper.make_graph(
        [nodes[k] for k in order],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 3, 3, 2))],
        [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(other, "v")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0, 2), (2, 0, 1)])
def test_layers_are_in_the_order_of_execution(order):
    model = probe.open_model(net(order))
    assert [one.name for one in model.layers] == ["first", "second", "third"]
    assert [one.verdict for one in probe.sweep(model, X)] == ["agree"] * 3
    assert probe.compare(net(), net(order), X).ok


def test_the_casts_that_the_converter_to_float16_puts_last():
    half = convert_float_to_float16(net(), keep_io_types=True)
    names = [one.name for one in probe.open_model(half).layers]
    assert [one for one in names if "cast" not in one] == ["first", "second", "third"]
    comparison = probe.compare(net(), half, X)
    assert comparison.ok, str(comparison)
    assert any("rounded to float16" in one for one in comparison.notes)
