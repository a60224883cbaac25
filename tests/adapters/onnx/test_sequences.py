"""Operators that make and take sequences of tensors, each tensor checked as an input or output of
its own."""

import numpy as np
import onnx
import pytest
import torch
from known_warnings import TORCH_EXPORT
from onnx import helper, numpy_helper
from own_seed import RNG

import probe

X = RNG.normal(size=(6, 5)).astype(np.float32)
TWO = RNG.normal(size=(2, 5)).astype(np.float32)


def model(nodes, inputs, outputs, **held):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, 1, x.shape) for name, x in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def split(*inputs, **attributes):
    return helper.make_node("SplitToSequence", inputs, ["s"], name="split", **attributes)


def at(position, output="y", name="at"):
    return helper.make_node("SequenceAt", ["s", position], [output], name=name)


def swept(proto, *arrays):
    reports = {one.layer: one for one in probe.sweep(proto, list(arrays))}
    for one in reports.values():
        assert one.ok and "numpy" in one.outputs and "onnx" in one.outputs, str(one)
    return reports


@pytest.mark.parametrize("position", [0, 1, -1])
@pytest.mark.parametrize(
    ("held", "attributes", "shapes"),
    [
        ({"n": np.array([1, 3, 2])}, {}, [(1, 5), (3, 5), (2, 5)]),
        ({"n": np.array(4)}, {"axis": 0}, [(4, 5), (2, 5)]),
        ({"n": np.array([2, 3])}, {"axis": -1}, [(6, 2), (6, 3)]),
        ({"n": np.array([2, 3])}, {"axis": 1, "keepdims": 0}, [(6, 2), (6, 3)]),
        ({}, {}, [(1, 5)] * 6),
        ({}, {"axis": 1}, [(6, 1)] * 5),
        ({}, {"axis": 1, "keepdims": 0}, [(6,)] * 5),
    ],
)
def test_split(held, attributes, shapes, position):
    nodes = [split("x", *(["n"] if held else []), **attributes), at("p")]
    proto = model(nodes, {"x": X}, ["y"], p=np.array(position), **held)
    reports = swept(proto, X)
    pieces = reports["split"].outputs["numpy"]
    assert [one.shape for one in pieces] == shapes
    axis = attributes.get("axis", 0)
    np.testing.assert_array_equal(
        np.concatenate(pieces, axis).ravel()
        if len(shapes[0]) > 1
        else np.stack(pieces, axis).ravel(),
        X.ravel(),
    )
    np.testing.assert_array_equal(reports["at"].outputs["numpy"], pieces[position])


@pytest.mark.parametrize("position", [None, 0, 1, -2])
def test_insert_erase_and_concatenate(position):
    given = [] if position is None else ["p"]
    nodes = [
        split("x", "n"),
        helper.make_node("SequenceInsert", ["s", "z", *given], ["t"], name="insert"),
        helper.make_node("SequenceErase", ["t", *given], ["u"], name="erase"),
        helper.make_node("ConcatFromSequence", ["t"], ["y"], name="joined", axis=0),
        helper.make_node("ConcatFromSequence", ["u"], ["v"], name="stacked", axis=-2, new_axis=1),
    ]
    held = {"n": np.array(2)} | ({} if position is None else {"p": np.array(position)})
    reports = swept(model(nodes, {"x": X, "z": TWO}, ["y", "v"], **held), X, TWO)
    whole = [X[:2], X[2:4], X[4:]]
    whole.insert(3 if position is None else position, TWO)
    np.testing.assert_array_equal(reports["joined"].outputs["numpy"], np.concatenate(whole))
    del whole[-1 if position is None else position]
    np.testing.assert_array_equal(reports["stacked"].outputs["numpy"], np.stack(whole, -2))


def test_construct():
    nodes = [
        helper.make_node("SequenceConstruct", ["x", "z"], ["s"], name="made"),
        helper.make_node("ConcatFromSequence", ["s"], ["y"], name="joined", axis=0),
    ]
    reports = swept(model(nodes, {"x": X, "z": TWO}, ["y"]), X, TWO)
    assert [one.shape for one in reports["made"].outputs["numpy"]] == [(6, 5), (2, 5)]


def test_values_that_came_through_a_sequence():
    """The runs with noise replace its tensors, and the whole is composed of all nodes."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["m"], name="square"),
        split("m", "n"),
        at("p"),
        helper.make_node("MatMul", ["y", "w"], ["z"], name="last"),
    ]
    held = {"n": np.array(2), "p": np.array(1), "w": RNG.normal(size=(5, 3)).astype(np.float32)}
    proto = model(nodes, {"x": X}, ["z"], **held)
    right = probe.check(proto, "last", X).outputs["framework"]
    assert probe.check(proto, "last", X, expected=right).ok
    assert all(one.ok for one in probe.sweep(proto, X, expected={"last": right}))
    assert probe.check(proto, "last", X, expected=right * 1.001).verdict == "diverge"
    report = probe.check(proto, "", X, expected=right)
    assert report.ok and "numpy" in report.outputs


@pytest.mark.costly
@pytest.mark.filterwarnings(*TORCH_EXPORT)
def test_an_export_that_splits_is_compared(tmp_path):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = torch.nn.Linear(8, 12), torch.nn.Linear(4, 3)

        def forward(self, x):
            q, k, v = self.first(x).split(4, dim=-1)
            return self.last(torch.tanh(q * k) + v)

    torch.manual_seed(0)
    net, x = Net().eval(), RNG.normal(size=(4, 8)).astype(np.float32)
    torch.onnx.export(
        net, (torch.tensor(x),), tmp_path / "net.onnx", dynamo=True, optimize=False, verbose=False
    )
    kinds = {one.kind for one in probe.sweep(tmp_path / "net.onnx", x)}
    assert {"SplitToSequence", "SequenceAt"} <= kinds
    comparison = probe.compare(net, tmp_path / "net.onnx", x)
    assert comparison.ok and not comparison.unpaired[1], str(comparison)


def test_a_sequence_of_what_the_model_holds_is_none_of_its_layers():
    nodes = [
        helper.make_node("SequenceConstruct", ["w", "w"], ["s"], name="made"),
        helper.make_node("SequenceAt", ["s", "p"], ["v"], name="at"),
        helper.make_node("Add", ["x", "v"], ["y"], name="add"),
    ]
    proto = model(nodes, {"x": TWO}, ["y"], w=TWO, p=np.array(0))
    assert [*swept(proto, TWO)] == ["add"]
