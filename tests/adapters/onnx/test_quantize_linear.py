"""Quantised nodes over types, scales by tensor and by axis and zero points, against ONNX Runtime;
and a graph of QDQ form."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx import TensorProto, helper, numpy_helper

import probe
from probe import ops
from probe.description import Step
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

KINDS = ["uint8", "int8", "uint16", "int16"]
few = examples(25)


def model(nodes, inputs, held, outputs=("y",), opset=21):
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    kept = [
        value
        if isinstance(value, onnx.TensorProto)
        else numpy_helper.from_array(np.asarray(value), name)
        for name, value in held.items()
    ]
    graph = helper.make_graph(
        nodes, "graph", declared, [onnx.ValueInfoProto(name=name) for name in outputs], kept
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def swept(kind, names, inputs, held, outputs=("y",), opset=21, **attributes):
    """The report of one node, whose parties must agree."""
    nodes = [helper.make_node(kind, names, list(outputs), name="node", **attributes)]
    (report,) = probe.sweep(model(nodes, inputs, held, outputs, opset), list(inputs.values()))
    assert report.ok and not report.missing, str(report)
    return report


def weights(rng, kind, *shape):
    """int8 of 7 bits: kernels of processors without VNNI add pairs of products in 16 bits, which
    hold no more."""
    return drawn(rng, kind, *shape) // (2 if kind == "int8" else 1)


def drawn(rng, kind, *shape):
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max + 1, shape).astype(kind)


@few
@given(
    st.sampled_from(["uint8", "int8", "uint16", "int16"]),
    st.sampled_from(["tensor", "axis", "block"]),
    st.booleans(),
    st.integers(0, 999),
)
def test_quantize_and_back(kind, scales, zeros, seed):
    rng = np.random.default_rng(seed)
    x = (3 * rng.normal(size=(4, 6, 5))).astype(np.float32)
    axis = int(rng.integers(-3, 3))
    shape = {"tensor": (), "axis": (x.shape[axis],)}.get(scales)
    attributes = {} if scales == "tensor" else {"axis": axis}
    if shape is None:
        axis, block = 1, 3
        shape, attributes = (4, 2, 5), {"axis": 1, "block_size": block}
    scale = np.asarray(rng.uniform(0.01, 0.3, shape), np.float32)
    held = {"scale": scale} | (
        {"zero": np.asarray(drawn(rng, kind, *shape) // 4, kind)} if zeros else {}
    )
    if not zeros:
        attributes["output_dtype"] = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    names = ["x", "scale", *(["zero"] if zeros else [])]
    report = swept("QuantizeLinear", names, {"x": x}, held, **attributes)
    codes = report.outputs["framework"]
    assert codes.dtype == kind
    attributes.pop("output_dtype", None)
    swept("DequantizeLinear", names, {"x": codes}, held, **attributes)


def test_halves_go_to_the_even_level():
    x = (np.arange(-8, 9) / 2).astype(np.float32) * np.float32(0.25)
    report = swept(
        "QuantizeLinear",
        ["x", "scale", "zero"],
        {"x": x},
        {"scale": np.float32(0.25), "zero": np.int8(1)},
    )
    assert report.outputs["framework"].tolist() == (np.rint(np.arange(-8, 9) / 2) + 1).tolist()


@few
@given(st.integers(0, 999), st.sampled_from(["usual", "positive", "negative", "zeros"]))
def test_dynamic(seed, what):
    x = np.random.default_rng(seed).normal(size=(3, 7)).astype(np.float32)
    x = {"usual": x, "positive": np.abs(x), "negative": -np.abs(x), "zeros": 0 * x}[what]
    report = swept("DynamicQuantizeLinear", ["x"], {"x": x}, {}, ("y", "scale", "zero"))
    assert len(report.outputs["numpy"]) == 3


@few
@given(st.sampled_from(["uint8", "int8"]), st.booleans(), st.booleans(), st.integers(0, 999))
def test_integer_products(kind, zeros, by_axis, seed):
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, "uint8", 2, 5, 300), weights(rng, kind, 300, 4)
    held = {"b": b}
    if zeros:
        held |= {"az": drawn(rng, "uint8"), "bz": drawn(rng, kind, *((4,) if by_axis else ()))}
    swept("MatMulInteger", ["a", "b", *(["az", "bz"] if zeros else [])], {"a": a}, held)


@few
@given(st.sampled_from(["uint8", "int8"]), st.booleans(), st.integers(1, 2), st.integers(0, 999))
def test_integer_convolutions(kind, zeros, groups, seed):
    rng = np.random.default_rng(seed)
    x, w = drawn(rng, "uint8", 2, 4, 6, 7), weights(rng, kind, 6, 4 // groups, 3, 2)
    held = {"w": w} | ({"xz": drawn(rng, "uint8"), "wz": drawn(rng, kind)} if zeros else {})
    attributes = {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2], "group": groups}
    swept("ConvInteger", ["x", "w", *(["xz", "wz"] if zeros else [])], {"x": x}, held, **attributes)


SCALES = {"xs": np.float32(0.02), "ys": np.float32(0.2)}
NAMES = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]


@few
@given(st.sampled_from(["uint8", "int8"]), st.booleans(), st.booleans(), st.integers(0, 999))
def test_quantised_convolutions(kind, by_axis, bias, seed):
    rng = np.random.default_rng(seed)
    x, w = drawn(rng, "uint8", 2, 4, 6, 7), weights(rng, kind, 6, 2, 3, 3)
    shape = (6,) if by_axis else ()
    held = SCALES | {
        "ws": np.asarray(rng.uniform(0.005, 0.02, shape), np.float32),
        "xz": np.uint8(120),
        "yz": np.uint8(128),
        "w": w,
    }
    held["wz"] = np.zeros(shape, kind) if kind == "int8" else np.full(shape, 127, kind)
    held |= {"b": rng.integers(-5000, 5000, 6).astype(np.int32)} if bias else {}
    report = swept(
        "QLinearConv",
        [*NAMES, *(["b"] if bias else [])],
        {"x": x},
        held,
        group=2,
        pads=[1, 1, 0, 1],
        strides=[1, 2],
    )
    np.testing.assert_array_equal(report.weights["w"].stored, w)
    assert report.weights["w"].grid is not None
    assert 20 < np.unique(report.outputs["framework"]).size


@few
@given(st.sampled_from(["uint8", "int8"]), st.booleans(), st.booleans(), st.integers(0, 999))
def test_quantised_products(kind, by_axis, given_, seed):
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, "uint8", 3, 5, 20), weights(rng, kind, 20, 6)
    shape = (6,) if by_axis else ()
    held = SCALES | {
        "ws": np.asarray(rng.uniform(0.005, 0.02, shape), np.float32),
        "xz": np.uint8(120),
        "yz": np.uint8(128),
    }
    held["wz"] = np.zeros(shape, kind) if kind == "int8" else np.full(shape, 127, kind)
    inputs = {"x": a} | ({"w": b} if given_ else {})
    swept("QLinearMatMul", NAMES, inputs, held | ({} if given_ else {"w": b}))


@pytest.fixture
def qdq():
    """x quantised and back, a convolution whose int8 weight and int32 bias are dequantised, an
    activation, quantised and back."""
    rng = np.random.default_rng(0)
    held = {
        "xs": np.float32(0.03),
        "xz": np.uint8(128),
        "w": drawn(rng, "int8", 5, 3, 3, 3),
        "ws": rng.uniform(0.001, 0.004, 5).astype(np.float32),
        "wz": np.zeros(5, np.int8),
        "b": rng.integers(-900, 900, 5).astype(np.int32),
        "bs": np.float32(0.0001),
        "ys": np.float32(0.02),
        "yz": np.uint8(3),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"], name="in"),
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"], name="back"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["k"], name="kernel", axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["c"], name="bias"),
        helper.make_node("Conv", ["d", "k", "c"], ["v"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["v"], ["r"], name="relu"),
        helper.make_node("QuantizeLinear", ["r", "ys", "yz"], ["p"], name="out"),
        helper.make_node("DequantizeLinear", ["p", "ys", "yz"], ["y"], name="end"),
    ]
    x = rng.normal(size=(2, 3, 8, 9)).astype(np.float32)
    return model(nodes, {"x": x}, held), x, held


def test_a_graph_of_qdq_form(qdq):
    proto, x, held = qdq
    reports = list(probe.sweep(proto, x))
    assert [one.layer for one in reports] == ["in", "back", "conv", "relu", "out", "end"]
    assert all(one.ok and not one.missing for one in reports), [one.sentence for one in reports]
    weights = reports[2].weights
    np.testing.assert_array_equal(weights["w"].stored, held["w"])
    np.testing.assert_allclose(
        weights["w"].effective, held["w"] * held["ws"].reshape(-1, 1, 1, 1), rtol=1e-6
    )
    np.testing.assert_array_equal(weights["b"].stored, held["b"])
    np.testing.assert_array_equal(weights["w"].grid.integers(weights["w"].effective), held["w"])


def test_stored_integers_taken_for_the_weights_are_named(qdq):
    proto, x, held = qdq
    report = probe.check(proto, "conv", x)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(report.inputs[0], ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3)
    )
    mine = np.einsum("bchwij,ocij->bohw", windows, held["w"].astype(np.float64)) + (
        held["b"] * held["bs"]
    ).reshape(-1, 1, 1)
    report = probe.check(proto, "conv", x, expected=mine.astype(np.float32))
    assert report.verdict == "diverge" and report.findings[0].slug == "raw-weights"


def test_weights_of_four_bits():
    """Two to a byte in the file; dequantised by blocks."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-8, 8, (8, 5))
    held = {
        "w": helper.make_tensor("w", TensorProto.INT4, codes.shape, codes.ravel()),
        "s": rng.uniform(0.1, 0.3, (2, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["k"], axis=0, block_size=4),
        helper.make_node("MatMul", ["x", "k"], ["y"], name="dense"),
    ]
    x = rng.normal(size=(3, 8)).astype(np.float32)
    (report,) = probe.sweep(model(nodes, {"x": x}, held), x)
    assert report.ok, str(report)
    np.testing.assert_array_equal(report.weights["w"].stored, codes)
    assert report.weights["w"].grid.bits == 4


@pytest.mark.parametrize(
    "fault", [{"zero_point": np.asarray(4.0)}, {"size": np.asarray(0.11)}, {"high": 100}]
)
def test_an_op_of_other_levels_is_seen(fault):
    """A scale, a zero point and an end that are others, in ONNX Runtime's hands."""
    x = np.random.default_rng(0).normal(size=(40, 9)).astype(np.float32) * 9
    healthy = {"size": np.asarray(0.1), "zero_point": np.asarray(3.0), "low": -128, "high": 127}
    steps, other = ((Step(ops.QuantizeLinear(**(healthy | more))),) for more in ({}, fault))
    values = recompute(steps, [x])
    ours, theirs = values[-1][0], crosscheck(other, [x], recompute(other, [x]))[0]
    allowed = steps[0].op.error_bound(
        Evaluated([x.astype(np.float64)], [None], [ours]), precision_of("float32")
    )[0]
    assert (np.abs(ours - theirs) > allowed).any()
    assert (np.abs(ours - crosscheck(steps, [x], values)[0]) <= allowed).all()
