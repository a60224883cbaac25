"""ONNX models: every node a layer, ONNX Runtime the framework, and NumPy's recomputation beside it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from probe.adapters.onnx import described

import probe
from probe.errors import BadInput, CannotOpen, ForwardFailed, UnknownLayer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 6, 8)).astype(np.float32)
V = RNG.normal(size=(4, 6)).astype(np.float32)
P = np.abs(V) + np.float32(0.1)
B = V > 0


def w(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def model(nodes, inputs, held=(), outputs=("y",), opset=22, shape=True):
    """A ModelProto of these nodes; the inputs' first size is free."""
    declared = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(x.dtype), [f"{name}_batch", *x.shape[1:]] if shape and x.ndim else x.shape
        )
        for name, x in inputs.items()
    ]
    given = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(held).items()]
    graph = helper.make_graph(list(nodes), "graph", declared, [onnx.ValueInfoProto(name=name) for name in outputs], given)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


INT = np.int64
CASES = [
    *((kind, [V], {}) for kind in ("Abs", "Atan", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Identity", "IsNaN", "IsInf", "Mish")),
    *((kind, [V], {}) for kind in ("Neg", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh")),
    *(
        (kind, [V], {})
        for kind in ("Cosh", "Asinh", "Elu", "Selu", "Celu", "HardSigmoid", "LeakyRelu", "Shrink", "ThresholdedRelu", "Gelu")
    ),
    *((kind, [P], {}) for kind in ("Log", "Sqrt", "Reciprocal")),
    *((kind, [np.tanh(V) * np.float32(0.9)], {}) for kind in ("Acos", "Asin", "Atanh")),
    ("Acosh", [1 + P], {}),
    ("Gelu", [V], {"approximate": "tanh"}),
    ("Elu", [V], {"alpha": 0.3}),
    ("HardSigmoid", [V], {"alpha": 0.3, "beta": 0.4}),
    ("PRelu", [V, "s:", w(6)], {}),
    ("Not", [B], {}),
    *((kind, [V, "s:", w(6)], {}) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum")),
    *((kind, [V, V[::-1].copy()], {}) for kind in ("Add", "Mul", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")),
    *((kind, [B, ~B[::-1]], {}) for kind in ("And", "Or", "Xor")),
    ("Pow", [P, "s:", np.float32(1.7)], {}),
    ("Mod", [V, "s:", np.float32(0.7)], {"fmod": 1}),
    ("Div", [np.arange(24).reshape(4, 6) - 9, "s:", np.array(4)], {}),
    ("Where", [B, V, "s:", np.float32(0)], {}),
    ("Cast", [V], {"to": TensorProto.INT64}),
    ("Cast", [V], {"to": TensorProto.FLOAT16}),
    ("Clip", [V, "s:", np.float32(-0.5), "s:", np.float32(0.7)], {}),
    ("Dropout", [V], {}),
    ("CumSum", [V, "s:", np.array(1)], {}),
    ("MatMul", [V, "s:", w(6, 5)], {}),
    ("MatMul", [V, V.T.copy()], {}),
    ("Gemm", [V, "s:", w(5, 6), "s:", w(5)], {"transB": 1}),
    ("Gemm", [V, "s:", w(6, 5), "s:", w(5)], {"alpha": 0.5, "beta": 0.3}),
    ("Einsum", [V, "s:", w(6, 3)], {"equation": "ij,jk->ki"}),
    ("Conv", [X, "s:", w(4, 3, 3, 2), "s:", w(4)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", [X, "s:", w(6, 1, 3, 3)], {"group": 3, "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", [X, "s:", w(4, 3, 2, 2)], {"auto_pad": "SAME_UPPER", "strides": [1, 2]}),
    ("Conv", [X, X[:1, :, :3, :3].copy()], {}),
    ("MaxPool", [X], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", [X], {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("GlobalAveragePool", [X], {}),
    ("GlobalMaxPool", [X], {}),
    ("BatchNormalization", [X, "s:", w(3), "s:", w(3), "s:", w(3), "s:", np.abs(w(3)) + 1], {"epsilon": 1e-3}),
    ("LayerNormalization", [X, "s:", w(8), "s:", w(8)], {}),
    ("LayerNormalization", [X, "s:", w(6, 8)], {"axis": 2}),
    ("InstanceNormalization", [X, "s:", w(3), "s:", w(3)], {}),
    ("GroupNormalization", [X, "s:", w(3), "s:", w(3)], {"num_groups": 3}),
    *((kind, [X], {"axis": 1}) for kind in ("Softmax", "LogSoftmax")),
    *((f"Reduce{kind}", [X, "s:", np.array([1, -1])], {"keepdims": 0}) for kind in ("Max", "Mean", "Min", "Sum", "L1", "L2")),
    *((f"Reduce{kind}", [V], {}) for kind in ("LogSumExp", "Prod", "SumSquare")),
    *((kind, [X], {"axis": 2, "keepdims": 0}) for kind in ("ArgMax", "ArgMin")),
    ("Reshape", [X, "s:", np.array([0, -1])], {}),
    ("Flatten", [X], {}),
    ("Unsqueeze", [V, "s:", np.array([0])], {}),
    ("Squeeze", [V[:, None], "s:", np.array([1])], {}),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [V], {}),
    ("Concat", [V, V], {"axis": 1}),
    ("Slice", [X, "s:", np.array([1, -2]), "s:", np.array([99, -9]), "s:", np.array([1, 3]), "s:", np.array([1, -2])], {}),
    ("Pad", [X, "s:", np.array([0, 0, 1, 2, 0, 0, 0, 1]), "s:", np.float32(0.5)], {}),
    ("Pad", [X, "s:", np.array([0, 0, 1, 2, 0, 0, 0, 1])], {"mode": "reflect"}),
    ("Expand", [V[:, :1], "s:", np.array([4, 3])], {}),
    ("Tile", [V, "s:", np.array([2, 1])], {}),
    ("Gather", [V, "s:", np.array([[0, 3], [-1, 1]])], {"axis": 1}),
    ("Gather", ["s:", w(9, 5), np.array([[0, 3], [8, 1]])], {}),
    ("GatherElements", [V, "s:", np.array([[0, 3]])], {"axis": 1}),
    ("GatherND", [V, "s:", np.array([[0, 3], [1, 1]])], {}),
    ("ScatterND", [V, "s:", np.array([[0, 3], [1, 1]]), "s:", w(2)], {}),
    ("ScatterElements", [V, "s:", np.array([[0, 3]]), "s:", w(1, 2)], {"axis": 1, "reduction": "add"}),
    ("Trilu", [V, "s:", np.array(1)], {"upper": 0}),
    ("DepthToSpace", [w(2, 8, 3, 2)], {"blocksize": 2}),
    ("DepthToSpace", [w(2, 8, 3, 2)], {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", [X], {"blocksize": 2}),
    ("OneHot", [np.array([0, 2, 1]), "s:", np.array(4), "s:", np.array([0.0, 1.0], np.float32)], {}),
]


def single(kind, values, attributes, opset=22):
    """A model of one node; what follows "s:" is an initializer."""
    inputs, held, names = {}, {}, []
    for at, value in enumerate(values):
        if isinstance(value, str):
            continue
        name = f"v{at}"
        (held if at and isinstance(values[at - 1], str) else inputs)[name] = value
        names.append(name)
    return model([helper.make_node(kind, names, ["y"], name="node", **attributes)], inputs, held, opset=opset), list(inputs.values())


@pytest.mark.parametrize(("kind", "values", "attributes"), CASES, ids=[f"{kind}-{at}" for at, (kind, _, _) in enumerate(CASES)])
def test_operator(kind, values, attributes):
    proto, inputs = single(kind, values, attributes)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and (report.layer, report.kind) == ("node", kind), str(report)
    assert not report.missing
    # the layer alone, on the same inputs
    assert probe.check(proto, "node", given=inputs).ok


@pytest.mark.parametrize(
    ("outputs", "kind", "values", "attributes"),
    [
        (["y", "z"], "Split", [V], {"axis": 1, "num_outputs": 2}),
        (["y", "z"], "TopK", [V, "s:", np.array([2])], {"axis": 0}),
    ],
)
def test_operators_of_several_outputs(outputs, kind, values, attributes):
    proto, inputs = single(kind, values, attributes)
    proto.graph.node[0].output.append("z")
    proto.graph.output.append(onnx.ValueInfoProto(name="z"))
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and len(report.outputs["numpy"]) == 2


def test_every_described_operator_has_a_case():
    assert set(described()) - {kind for kind, _, _ in CASES} == {"GRU", "LSTM", "RNN", "Split", "Swish", "TopK"}


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_softmax_before_version_13(axis):
    proto, inputs = single("Softmax", [X], {"axis": axis}, opset=12)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok


@pytest.fixture
def net(tmp_path):
    """A convolution whose bias is computed, reshaped by x's own shape, and at the end an operator without description."""
    held = {"k": w(4, 3, 3, 3), "b": w(4), "two": np.float32(2), "rest": np.array([-1]), "m": w(4 * 4 * 6, 5)}
    nodes = [
        helper.make_node("Mul", ["b", "two"], ["bias"], name="twice"),
        helper.make_node("Conv", ["x", "k", "bias"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Shape", ["x"], ["sizes"], start=0, end=1),
        helper.make_node("Concat", ["sizes", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["r", "to"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "m"], ["p"], name="dense"),
        helper.make_node("Hardmax", ["p"], ["y"], name="top"),
    ]
    path = tmp_path / "net.onnx"
    onnx.save(model(nodes, {"x": X}, held, ("y", "p")), path)
    return path


def test_a_file(net):
    opened = probe.open_model(net)
    assert [(one.name, one.kind) for one in opened.layers] == [
        *(("conv", "Conv"), ("Relu_2", "Relu"), ("flat", "Reshape"), ("dense", "MatMul"), ("top", "Hardmax")),
    ]
    assert [(one.name, one.shape) for one in opened.inputs] == [("x", (None, 3, 6, 8))] and opened.framework.startswith("onnxruntime")
    reports = list(probe.sweep(opened, X))
    assert [one.verdict for one in reports] == ["agree"] * 4 + ["unchecked"]
    assert "the operator Hardmax has no description" in reports[-1].sentence
    assert probe.check(opened, "dense").ok, "its input is drawn"
    report = probe.check(opened, "conv", X)
    assert report.weights["k"].stored is not None and report.weights["bias"].stored is None
    np.testing.assert_array_equal(report.weights["bias"].effective, 2 * numpy_helper.to_array(opened.proto.graph.initializer[1]))


def test_your_own_values(net):
    report = probe.check(net, "dense", X)
    assert probe.check(net, "dense", X, expected=report.outputs["numpy"].astype(np.float32)).ok
    assert probe.check(net, "dense", X, expected=report.outputs["numpy"] + 0.01).verdict == "diverge"
    flipped = X[..., ::-1].copy()
    assert probe.check(net, "conv", X, expected=probe.check(net, "conv", flipped).outputs["numpy"]).verdict == "diverge"
    story = probe.explain(net, "conv", X, at=(1, 2, 3, 4), sees=True)
    assert len(story.terms) == 27 and story.sees[0].mask.sum() == 27


def test_what_is_wrong_is_one_sentence(net, tmp_path):
    with pytest.raises(UnknownLayer, match="did you mean 'conv'"):
        probe.check(net, "conf", X)
    with pytest.raises(BadInput, match="takes 1 inputs"):
        probe.check(net, "dense", given=[X, X])
    with pytest.raises(BadInput, match="does not run alone"):
        probe.check(net, "conv", given=X)
    with pytest.raises(ForwardFailed, match="the forward pass failed on x"):
        probe.check(net, "conv", X[:, :2])
    data = net.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(CannotOpen, match=r"cut\.onnx"):
        list(probe.sweep(tmp_path / "cut.onnx", X))
