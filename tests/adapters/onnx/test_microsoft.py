"""Operators of com.microsoft, one by one over types, scales and attributes, and what ONNX Runtime's
own quantiser and graph optimisation make of a network."""

import inspect
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from probe.adapters.onnx import described
from probe.adapters.onnx.operators import microsoft

import probe

few = examples(10)
KINDS = st.sampled_from(["uint8", "int8"])
SEEDS = st.integers(0, 999)


def swept(kind, inputs, held=(), outputs=("y",), domain="com.microsoft", **attributes):
    """The report of one node, whose parties must agree and differ from element to element."""
    held = dict(held)
    names = [one if one in inputs or one in held else "" for one in {**inputs, **held}]
    order = attributes.pop("order", names)
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, order, list(outputs), name="n", domain=domain, **attributes)],
        "graph",
        declared,
        [onnx.ValueInfoProto(name=name) for name in outputs if name],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()],
    )
    sets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=10)
    (report,) = probe.sweep(model, list(inputs.values()))
    assert report.ok and not report.missing, str(report)
    y = report.outputs["framework"]
    assert np.unique(y if isinstance(y, np.ndarray) else y[0]).size > 2
    return report


def whole(rng, kind, *shape):
    limits = np.iinfo(kind)
    return rng.integers(limits.min // 2, limits.max // 2 + 1, shape).astype(kind)


def point(rng, kind):
    return np.asarray(rng.integers(0, 20), kind)


def of_x(rng, kind, *shape):
    return {"x": whole(rng, kind, *shape)}, {
        "xs": np.float32(rng.uniform(0.01, 0.1)),
        "xz": point(rng, kind),
    }


def of_result(rng, kind, scale=0.05):
    return {"s": np.float32(rng.uniform(0.5, 1) * scale), "z": point(rng, kind)}


@few
@given(st.sampled_from(["QLinearAdd", "QLinearMul"]), KINDS, st.booleans(), SEEDS)
def test_of_two(name, kind, constant, seed):
    rng = np.random.default_rng(seed)
    inputs, held = of_x(rng, kind, 2, 3, 5)
    y = {"y": whole(rng, kind, *((5,) if constant else (2, 3, 5)))}
    inputs, held = (inputs, held | y) if constant else (inputs | y, held)
    held |= {"ys": np.float32(0.03), "yz": point(rng, kind)} | of_result(rng, kind)
    order = ["x", "xs", "xz", "y", "ys", "yz", "s", "z"]
    swept(name, inputs, held, outputs=("out",), order=order)


@few
@given(
    st.sampled_from(
        [
            ("QLinearSigmoid", {}, 0.008),
            ("QLinearLeakyRelu", {"alpha": 0.125}, 0.05),
            ("QLinearLeakyRelu", {}, 0.05),
            ("QLinearGlobalAveragePool", {}, 0.1),
            ("QLinearAveragePool", {"kernel_shape": [2, 3], "pads": [1, 0, 0, 1]}, 0.2),
            (
                "QLinearAveragePool",
                {"kernel_shape": [3, 3], "strides": [2, 1], "count_include_pad": 1},
                0.2,
            ),
        ]
    ),
    KINDS,
    SEEDS,
)
def test_of_one(case, kind, seed):
    name, attributes, scale = case
    rng = np.random.default_rng(seed)
    inputs, held = of_x(rng, kind, 2, 4, 6, 7)
    swept(name, inputs, held | of_result(rng, kind, scale), **attributes)


@few
@given(KINDS, SEEDS)
def test_concat(kind, seed):
    rng = np.random.default_rng(seed)
    inputs, held = of_x(rng, kind, 2, 3, 5)
    inputs |= {"y": whole(rng, kind, 2, 4, 5)}
    held |= {"ys": np.float32(0.03), "yz": point(rng, kind)} | of_result(rng, kind)
    order = ["s", "z", "x", "xs", "xz", "y", "ys", "yz"]
    swept("QLinearConcat", inputs, held, outputs=("out",), order=order, axis=1)


@few
@given(KINDS, st.booleans(), st.tuples(st.booleans(), st.booleans()), *[st.booleans()] * 2, SEEDS)
def test_gemm(kind, by_column, turns, bias, floats, seed):
    rng = np.random.default_rng(seed)
    first, turned = turns
    inputs, held = of_x(rng, "uint8", *((9, 4) if first else (4, 9)))
    held["y"] = whole(rng, kind, *((5, 9) if turned else (9, 5)))
    size = (5,) if by_column else ()
    held["ys"] = np.asarray(rng.uniform(0.01, 0.05, size), np.float32)
    held["yz"] = np.zeros(size, kind)
    held |= {} if floats else of_result(rng, "uint8", 1.0)
    held |= {"b": rng.integers(-300, 300, 5).astype(np.int32)} if bias else {}
    order = ["x", "xs", "xz", "y", "ys", "yz", "b" if bias else ""]
    order += [] if floats else ["s", "z"]
    turned = {"transA": int(first), "transB": int(turned)}
    swept("QGemm", inputs, held, outputs=("out",), order=order, alpha=1.0, **turned)


@few
@given(st.booleans(), st.booleans(), SEEDS)
def test_products_that_end_in_floats(by_column, bias, seed):
    rng = np.random.default_rng(seed)
    inputs, scale = of_x(rng, "uint8", 3, 4, 9)
    size = (5,) if by_column else (1,)
    weight = {
        "y": whole(rng, "int8", 9, 5),
        "ys": np.asarray(rng.uniform(0.01, 0.05, size), np.float32),
        "yz": np.zeros(size, np.int8),
    }
    more = {"b": rng.normal(size=5).astype(np.float32)} if bias else {}
    last = ["b"] if bias else []
    order = ["x", "y", "xs", "ys", "xz", "yz", *last]
    held = scale | weight | more
    swept("MatMulIntegerToFloat", inputs, held, outputs=("out",), order=order)
    inputs = {"x": rng.normal(size=(3, 4, 9)).astype(np.float32)}
    order = ["x", "y", "ys", "yz", *last]
    swept("DynamicQuantizeMatMul", inputs, weight | more, outputs=("out",), order=order)


X = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)
V = np.random.default_rng(2).uniform(0.5, 1.5, 8).astype(np.float32)
IMAGE = np.random.default_rng(3).normal(size=(2, 3, 6, 7)).astype(np.float32)
KERNEL = np.random.default_rng(4).normal(size=(4, 3, 3, 3)).astype(np.float32)
RESULT = np.random.default_rng(5).normal(size=(2, 4, 4, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "inputs", "held", "attributes"),
    [
        ("Gelu", {"x": X}, {}, {}),
        ("BiasGelu", {"x": X}, {"b": V}, {}),
        ("FastGelu", {"x": X}, {}, {}),
        ("FastGelu", {"x": X}, {"b": V}, {}),
        ("QuickGelu", {"x": X}, {}, {}),
        ("QuickGelu", {"x": X}, {}, {"alpha": 1.25}),
        ("FusedMatMul", {"x": X}, {"w": W}, {"alpha": 0.5}),
        ("FusedMatMul", {"x": X}, {"w": W}, {"transB": 1}),
        ("FusedMatMul", {"x": X, "v": X + 1}, {}, {"transB": 1, "alpha": 0.25}),
        ("FusedMatMul", {"x": X, "v": X + 1}, {}, {"transA": 1}),
        ("FusedConv", {"x": IMAGE}, {"k": KERNEL}, {"activation": "Relu"}),
        (
            "FusedConv",
            {"x": IMAGE},
            {"k": KERNEL, "b": V[:4]},
            {"activation": "LeakyRelu", "activation_params": [0.125], "pads": [1, 1, 1, 1]},
        ),
        (
            "FusedConv",
            {"x": IMAGE},
            {"k": KERNEL},
            {"activation": "Clip", "activation_params": [-1.0, 2.0], "strides": [2, 1]},
        ),
        (
            "FusedConv",
            {"x": IMAGE},
            {"k": KERNEL, "b": V[:4], "more": RESULT},
            {"activation": "Relu"},
        ),
        ("FusedGemm", {"x": X[0]}, {"w": W, "b": V}, {"activation": "Relu"}),
        (
            "FusedGemm",
            {"x": X[0]},
            {"w": W, "b": V},
            {"activation": "LeakyRelu", "activation_alpha": 0.25, "transB": 1},
        ),
    ],
)
def test_fused_operators(kind, inputs, held, attributes):
    swept(kind, inputs, held, outputs=("out",), **attributes)


@pytest.mark.parametrize("outputs", [("y",), ("y", "", "", "sum")])
@pytest.mark.parametrize("bias", [{}, {"b": V - 1}])
@pytest.mark.parametrize("epsilon", [{}, {"epsilon": 0.125}])
def test_sums_that_are_normalised(outputs, bias, epsilon):
    inputs = {"x": X, "skip": X[::-1] + 1}
    layer = partial(swept, "SkipLayerNormalization", inputs, outputs=outputs, **epsilon)
    layer(held={"scale": V, "offset": V / 2} | bias)
    layer(held={"scale": V} | bias, order=["x", "skip", "scale", "", *bias])
    swept(
        "SkipSimplifiedLayerNormalization",
        inputs,
        {"scale": V} | bias,
        outputs=outputs,
        **epsilon,
    )


@pytest.mark.parametrize("outputs", [("y",), ("y", "deviation")])
@pytest.mark.parametrize("attributes", [{}, {"epsilon": 0.125, "axis": -1}])
def test_simplified_layer_normalisation(outputs, attributes):
    swept("SimplifiedLayerNormalization", {"x": X}, {"scale": V}, outputs, domain="", **attributes)


@pytest.mark.parametrize(
    ("kind", "inputs", "held", "attributes", "why"),
    [
        (
            "FusedMatMul",
            {"x": X, "v": X.transpose(1, 2, 0)},
            {},
            {"transBatchA": 1},
            "transBatchA=1",
        ),
        ("Attention", {"x": X}, {"w": np.tile(W, 3), "b": np.tile(V, 3)}, {"num_heads": 2}, "no"),
    ],
)
def test_what_has_no_description_says_so(kind, inputs, held, attributes, why):
    with pytest.raises((AssertionError, probe.ProbeError), match=why):
        swept(kind, inputs, held, outputs=("out",), **attributes)


def test_every_described_operator_of_the_domain_is_tried():
    source = inspect.getsource(inspect.getmodule(swept))
    names = [one.rpartition(".")[2] for one in described() if one.startswith("com.microsoft.")]
    assert len(names) > 15 and microsoft.__doc__
    assert [one for one in names if f'"{one}"' not in source] == []


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 1)
        self.head = torch.nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.nn.functional.leaky_relu(self.second(x) + x)
        x = torch.cat([x[:, :4], torch.sigmoid(x[:, 4:])], 1)
        return self.head(x.mean((2, 3)))


class Calibration(CalibrationDataReader):
    def __init__(self, arrays):
        self.arrays = iter(arrays)

    def get_next(self):
        return next(({"x": one} for one in self.arrays), None)


@pytest.fixture
def net(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 8, 8)
    with pytest.warns(DeprecationWarning):
        torch.onnx.export(Net().eval(), x, tmp_path / "net.onnx", dynamo=False, input_names=["x"])
    return tmp_path / "net.onnx", x.numpy()


def test_a_statically_quantised_network(net, tmp_path):
    path, x = net
    quantize_static(path, tmp_path / "q.onnx", Calibration([x]), quant_format=QuantFormat.QOperator)
    reports = list(probe.sweep(tmp_path / "q.onnx", x))
    assert {one.kind for one in reports} >= {"QLinearConv", "com.microsoft.QLinearAdd"}
    assert [str(one) for one in reports if not one.ok] == []


def test_such_a_network_is_compared_with_what_it_was_made_of(net, tmp_path):
    path, x = net
    quantize_static(path, tmp_path / "q.onnx", Calibration([x]), quant_format=QuantFormat.QOperator)
    comparison = probe.compare(path, tmp_path / "q.onnx", x)
    assert comparison.ok and not any(comparison.unpaired), str(comparison)
    wrong = onnx.load(tmp_path / "q.onnx")
    (bias,) = (one for one in wrong.graph.initializer if one.name == "head.bias_quantized")
    values = numpy_helper.to_array(bias).copy()
    values[2] += 4000
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    comparison = probe.compare(path, wrong, x)
    assert [one.b for one in comparison.sources] == [("/head/Gemm_quant",)]


def test_a_network_that_graph_optimisation_has_fused(net, tmp_path):
    path, x = net
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    reports = list(probe.sweep(tmp_path / "fused.onnx", x))
    assert "com.microsoft.FusedConv" in {one.kind for one in reports}
    assert [str(one) for one in reports if not one.ok] == []
