"""Differences between engines that are nobody's fault: the table holds in the installed ONNX
Runtime, and NumPy is not blamed."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from lazy import keras
from onnx import helper, numpy_helper

import probe
from probe import Description, Step, ops
from probe.description import Weight
from probe.model import Capture
from probe.ops.base import Op
from probe.ops.engine_differences import GELU_OF_INF, MEAN_OF_NOTHING, SIGN_OF_NAN
from probe.ops.recurrent.gate_blocks import SOFTPLUS_OVERFLOWS
from probe.verdict.judge import judge

WINDOWS = {"kernel": (2, 2), "strides": (2, 2), "pads": ((0, 0), (0, 0)), "dilations": (1, 1)}
STARTS = np.array([0, 2]) * np.ones((4, 1, 1), int)


def weight(*shape):
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return Weight("w", values, values)


OPS = {
    "AdaptiveAveragePool": ops.AdaptiveAveragePool(output_size=(2, 3)),
    "AdaptiveMaxPool": ops.AdaptiveMaxPool(output_size=(2, 2)),
    "AdaptiveMaxPoolIndices": ops.AdaptiveMaxPoolIndices(output_size=(2, 2)),
    "ArgMax": ops.ArgMax(axis=2),
    "ArgMin": ops.ArgMin(axis=2),
    "Cast": ops.Cast(to="int32"),
    "GroupNormalization": ops.GroupNormalization(scale=None, bias=None, groups=1, epsilon=1e-5),
    "LayerNormalization": ops.LayerNormalization(scale=None, bias=None, epsilon=1e-5, axes=(2, 3)),
    "LpNormalization": ops.LpNormalization(axes=(3,), epsilon=1e-5),
    "LpPool": ops.LpPool(kernel=(2, 2), strides=(2, 2), pads=((0, 0), (0, 0)), p=2.0),
    "RMSNormalization": ops.RMSNormalization(scale=None, epsilon=1e-5, axes=(2, 3)),
    "ReduceL2": ops.ReduceL2(axes=(2,)),
    "ReduceStd": ops.ReduceStd(axes=(2,)),
    "FractionalMaxPool": ops.FractionalMaxPool(kernel=(2, 2), starts=(STARTS, STARTS)),
    "GRU": ops.GRU(kernel=weight(4, 9), recurrent=weight(3, 9)),
    "Gelu": ops.Gelu(),
    "GlobalMaxPool": ops.GlobalMaxPool(axes=(2, 3)),
    "LRN": ops.LRN(size=3, alpha=1.0, beta=0.75, bias=1.0, before=1, after=1),
    "LSTM": ops.LSTM(kernel=weight(4, 12), recurrent=weight(3, 12)),
    "MaxPool": ops.MaxPool(**WINDOWS),
    "MaxPoolIndices": ops.MaxPoolIndices(**WINDOWS),
    "ReduceMax": ops.ReduceMax(axes=(2,)),
    "ReduceMin": ops.ReduceMin(axes=(2,)),
    "Resize": ops.Resize(sizes=(8, 3), scales=(1.75, 0.75), mode="cubic", antialias=True),
    "Sign": ops.Sign(),
}
TOLD_OF_THE_FRAMEWORK = (GELU_OF_INF, SIGN_OF_NAN, MEAN_OF_NOTHING, SOFTPLUS_OVERFLOWS)
"""Where NumPy and the graph of the op agree, and it is the framework that is known to differ."""
CASES = [
    (one, name)
    for name, op in OPS.items()
    for one in op.engine_differences
    if one not in TOLD_OF_THE_FRAMEWORK
]
VALUES = (np.nan, -np.inf, 2e30)


WITH_ONE_PLAIN = (5, 1, 4, 4)
"""A sample more, without such a value: an output that is NaN throughout tells nothing."""
SHAPES = {"LRN": (4, 5, 4, 4)} | dict.fromkeys(("GRU", "LSTM", "GlobalMaxPool"), WITH_ONE_PLAIN)


def odd_input(value=np.nan, shape=(4, 1, 4, 4)):
    """A value at every place of a window."""
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for sample in range(4):
        x[sample, 0, sample // 2, sample % 2] = value
    return x


def input_of(one, name):
    """What the op shows the difference on."""
    shape = SHAPES.get(name, (4, 1, 4, 4))
    x = next(x for x in (odd_input(value, shape) for value in VALUES) if one.holds(x).any())
    return x[:, 0].swapaxes(0, 1) if name in ("GRU", "LSTM") else x


def captured(op, x):
    return Capture(
        "layer", type(op).__name__, 0, (x,), in_floats(op, x), "float32", Description((Step(op),))
    )


def in_floats(op, x):
    with np.errstate(all="ignore"):
        return tuple(
            y.astype(np.float32) if y.dtype.kind == "f" else y for y in op.run(x.astype(np.float64))
        )


def kinds(base=Op):
    for kind in base.__subclasses__():
        yield from (kind, *kinds(kind))


def test_every_op_that_names_a_difference_has_a_case():
    named = {
        kind.__name__
        for kind in kinds()
        if kind.__module__.startswith("probe.ops.")
        and {*kind.engine_differences} - {*TOLD_OF_THE_FRAMEWORK}
    }
    assert {name for _, name in CASES} == named


@pytest.mark.parametrize(("one", "name"), CASES)
def test_onnx_runtime_does_what_the_table_says(one, name):
    x = input_of(one, name)
    report = judge(captured(OPS[name], x))
    assert report.verdict == "diverge"
    assert "ONNX Runtime is the odd one out" in report.sentence
    assert f"{one.sentence} (a known difference)" in report.sentence
    assert judge(captured(OPS[name], np.clip(np.nan_to_num(x), -9, 9))).ok


@pytest.mark.parametrize(
    ("name", "value", "found"), [("Gelu", np.inf, torch.nn.GELU()), ("Sign", np.nan, torch.sign)]
)
def test_pytorch_differs_where_the_table_says(name, value, found):
    x = odd_input(value)
    theirs = found(torch.from_numpy(x)).numpy()
    report = judge(replace(captured(OPS[name], x), outputs=(theirs,)))
    assert report.verdict == "diverge" and "undefined between engines" in report.sentence
    x = np.nan_to_num(x, posinf=2)
    assert judge(replace(captured(OPS[name], x), outputs=(found(torch.from_numpy(x)).numpy(),))).ok


def of_node(kind, inputs, held=None, **attributes):
    """A model of one ONNX node, which ONNX Runtime runs as the framework."""
    held = held or {}
    node = helper.make_node(kind, [*inputs, *held], ["y"], name="node", **attributes)
    given = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    kept = [numpy_helper.from_array(value, name) for name, value in held.items()]
    graph = helper.make_graph([node], "graph", given, [onnx.ValueInfoProto(name="y")], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_mean_of_nothing_is_0_to_onnx_runtime(axis):
    x = np.zeros((0, 3) if axis == 0 else (2, 0), np.float32)
    report = probe.check(
        of_node("ReduceMean", {"x": x}, {"axes": np.array([axis])}, keepdims=0), "node", [x]
    )
    assert (report.outputs["framework"] == 0).all()
    assert "the mean of zero elements is undefined between engines" in report.sentence
    full = np.ones((2, 3), np.float32)
    assert probe.check(
        of_node("ReduceMean", {"x": full}, {"axes": np.array([axis])}, keepdims=0), "node", [full]
    ).ok


@pytest.mark.parametrize(("kind", "functions"), [("RNN", 1), ("GRU", 2), ("LSTM", 3)])
def test_softplus_of_89_overflows_in_recurrences_of_onnx_runtime(kind, functions):
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    held = {"W": np.full((1, gates, 1), 100, np.float32), "R": np.zeros((1, gates, 1), np.float32)}
    for size, told in ((0.05, False), (1.0, True)):
        x = np.full((1, 1, 1), size, np.float32)
        model = of_node(kind, {"x": x}, held, hidden_size=1, activations=["Softplus"] * functions)
        report = probe.check(model, "node", [x])
        assert report.ok is not told
        assert (
            "softplus of 89 and more is inf in ONNX Runtime's recurrent operators"
            in report.sentence
        ) is told, report.sentence


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_two_infinities_are_a_nan_in_a_recurrence(name):
    x = odd_input()[:, :, :, 0]
    x[1, 0, :2] = np.inf, -np.inf
    x[0, 0, 0] = np.inf
    report = judge(captured(OPS[name], np.nan_to_num(x, posinf=np.inf, neginf=-np.inf)))
    assert "ONNX Runtime's own sigmoid" in report.sentence
    assert judge(captured(OPS[name], np.where(np.isinf(x), 1, np.nan_to_num(x)))).ok


def test_a_place_that_no_nan_explains_is_no_known_difference():
    """TensorFlow's places, and then one of them wrong in a line without NaN."""
    x = odd_input()
    theirs = np.where(np.isnan(x).any(axis=2), np.nanargmax(x, axis=2), np.argmax(x, axis=2))
    report = judge(replace(captured(OPS["ArgMax"], x), outputs=(theirs,)))
    assert "argmax and argmin with NaN are undefined" in report.sentence
    theirs[0, 0, 3] = (theirs[0, 0, 3] + 1) % 4
    report = judge(replace(captured(OPS["ArgMax"], x), outputs=(theirs,)))
    assert report.verdict == "diverge" and "undefined" not in report.sentence


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda: keras.layers.MaxPooling2D(2), id="keras", marks=pytest.mark.tensorflow
        ),
        pytest.param(lambda: torch.nn.MaxPool2d(2), id="torch"),
    ],
)
def test_nan_in_a_window_is_not_numpys_fault(make):
    layer, x = make(), odd_input()
    for sample in range(4):
        (report,) = probe.sweep(
            layer,
            x[sample : sample + 1]
            if isinstance(layer, torch.nn.Module)
            else np.moveaxis(x, 1, -1)[sample : sample + 1],
        )
        assert "please report it" not in report.sentence
        if report.verdict == "diverge":
            assert (
                "undefined between engines" in report.sentence
                or "ONNX Runtime is the odd one out" in report.sentence
            )


def test_another_fault_is_still_named_beside_nan():
    x = odd_input()
    (y,) = OPS["MaxPool"].run(x)
    report = judge(replace(captured(OPS["MaxPool"], x), outputs=(np.where(np.isnan(y), y, y + 1),)))
    assert report.verdict == "diverge"
    assert report.comparisons["framework", "numpy"].certain


def test_masked_scores_of_a_logsumexp_are_no_divergence():
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    x[:, 5:] = -np.inf
    assert judge(captured(ops.ReduceLogSumExp(axes=(1,)), x)).ok


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: torch.nn.Softmax(-1), id="torch"),
        pytest.param(lambda: torch.nn.LogSoftmax(-1), id="log"),
        pytest.param(lambda: keras.layers.Softmax(), id="keras", marks=pytest.mark.tensorflow),
    ],
)
def test_masked_scores_are_no_divergence(make):
    """-inf, as attention masks have it."""
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    x[:, 5:] = -np.inf
    (report,) = probe.sweep(make(), x)
    assert report.ok, report.sentence


SIGNS = np.array([[-1, 2, -3], [0.5, -0.25, 0]], np.float32)


@pytest.mark.parametrize("kind", ["LeakyRelu", "Elu", "ThresholdedRelu"])
def test_a_constant_beyond_float32_is_infinity_in_an_onnx_file(kind):
    report = probe.check(of_node(kind, {"x": SIGNS}, alpha=1e39), "node", [SIGNS])
    assert report.ok, report.sentence


def test_where_a_constant_beyond_float32_sets_engines_apart_its_value_is_said():
    model = torch.nn.Sequential(torch.nn.LayerNorm(3, eps=1e39)).eval()
    report = probe.check(model, "0", SIGNS)
    assert report.verdict == "unchecked"
    assert "the epsilon of its LayerNormalization is 1e+39, which float32 does not hold" in (
        report.sentence
    )
    mine = report.outputs["framework"] + 1
    assert probe.check(model, "0", SIGNS, expected=mine).verdict == "diverge"


@pytest.mark.parametrize(("value", "verdict"), [(np.inf, "unchecked"), (0.5, "diverge")])
def test_an_infinite_slope_sets_engines_apart_at_0(value, verdict):
    """TensorFlow multiplies it by 0 as well."""
    capture = captured(ops.LeakyRelu(alpha=value), SIGNS)
    theirs = np.where(SIGNS == 0, np.nan, capture.outputs[0])
    report = judge(replace(capture, outputs=(theirs,)))
    assert report.verdict == verdict
    assert ("the alpha of its LeakyRelu is inf, and engines differ" in report.sentence) is (
        value == np.inf
    )
