"""Indices that a graph looks up: numbers that are none, and those without a row."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from own_seed import RNG

import probe
from probe.errors import BadInput, ForwardFailed


def test_what_is_no_index_is_told_with_its_value():
    table = numpy_helper.from_array(RNG.normal(size=(8, 4)).astype(np.float32), "table")
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["samples", "steps"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["samples", "steps", 4])
    node = helper.make_node("Gather", ["table", "ids"], ["y"], name="look")
    graph = helper.make_graph([node], "g", [ids], [y], [table])
    opset = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(proto)
    words = (
        "the input 'ids' takes integers (int64); you gave non-integer values such as 0.5: give "
        "whole numbers (random ones: np.random.randint(0, 2, (1, 2)))"
    )
    with pytest.raises(BadInput, match=re.escape(words)):
        probe.check(proto, "look", np.array([[1, 0.5]]))
    with pytest.raises(ForwardFailed, match=r": in node 'look' \(Gather\): indices .* idx=99 must"):
        probe.check(proto, "look", np.array([[1, 99]]))
    assert probe.check(proto, "look", np.array([[1.0, 7.0]])).ok
