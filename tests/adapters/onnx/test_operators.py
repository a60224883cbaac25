"""ONNX models: every node a layer, ONNX Runtime the framework, and NumPy's recomputation beside
it."""

from functools import partial

import numpy as np
import onnx
import onnx_cases
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_cases import (
    BRANCHES,
    CASES,
    DROPS,
    F32,
    LATER,
    NO_GRAPH,
    SEVERAL,
    STEP,
    V,
    X,
    graph,
    model,
    single,
)
from own_seed import RNG
from probe.adapters.onnx import described
from probe.adapters.onnx.operators.sequences import SEQUENCES
from probe.adapters.onnx.undescribed_operators import LEFT_OUT

import probe
from probe.errors import BadInput, CannotOpen, ForwardFailed, UnknownLayer
from probe.evaluation.onnxruntime_session import reason

w = partial(onnx_cases.w, rng=RNG)


@pytest.mark.parametrize(
    ("kind", "values", "attributes"),
    CASES,
    ids=[f"{kind}-{at}" for at, (kind, _, _) in enumerate(CASES)],
)
def test_operator(kind, values, attributes):
    proto, inputs = single(kind, values, attributes)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and (report.layer, report.kind) == ("node", kind), str(report)
    assert not report.missing
    # the layer alone, on the same inputs
    assert probe.check(proto, "node", given=inputs).ok


@pytest.mark.parametrize(
    ("opset", "kind", "values", "attributes"),
    LATER,
    ids=[f"{kind}-{at}" for at, (_, kind, *_) in enumerate(LATER)],
)
def test_operator_of_another_version(opset, kind, values, attributes):
    proto, inputs = single(kind, values, attributes, opset)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and set(report.missing) <= ({"onnx"} if kind in NO_GRAPH else set()), str(
        report
    )


@pytest.mark.parametrize("more", [{}, {"pads": [1, 0, 0, 1]}, {"ceil_mode": 1}])
def test_places_of_maxima(more):
    proto, inputs = single("MaxPool", [X], {"kernel_shape": [3, 2], "strides": [2, 1], **more})
    proto.graph.node[0].output.append("places")
    proto.graph.output.append(onnx.ValueInfoProto(name="places"))
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and not report.missing, str(report)
    values, places = report.outputs["framework"]
    np.testing.assert_array_equal(X.ravel()[places], values)


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
def test_transposed_convolutions_crop_as_they_say(auto_pad):
    for _ in range(12):
        kernel, strides = ([int(one) for one in RNG.integers(1, high, 2)] for high in (5, 4))
        more = (
            {"output_padding": [int(RNG.integers(0, one)) for one in strides]}
            if RNG.random() < 0.5
            else {}
        )
        more |= (
            {"pads": [int(RNG.integers(0, k)) for k in kernel * 2]} if auto_pad == "NOTSET" else {}
        )
        for shape in ({}, {"output_shape": [6 * strides[0] + kernel[0] // 2, 8 * strides[1]]}):
            given = more | {"strides": strides, "auto_pad": auto_pad} | shape
            given.pop("pads", None) if shape else None
            proto, inputs = single("ConvTranspose", [X, "s:", w(3, 2, *kernel)], given)
            try:
                (report,) = probe.sweep(proto, inputs)
            except ForwardFailed:
                continue  # what ONNX Runtime takes for inconsistent
            assert report.ok and not report.missing, str(report)


@pytest.mark.parametrize(
    ("opset", "outputs", "kind", "values", "attributes"),
    SEVERAL,
    ids=[f"{case[2]}-{at}" for at, case in enumerate(SEVERAL)],
)
def test_operators_of_several_outputs(opset, outputs, kind, values, attributes):
    proto, inputs = single(kind, values, attributes, opset, outputs)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and not report.missing and len(report.outputs["numpy"]) == len(outputs), str(
        report
    )


ELSEWHERE = {
    *("GRU", "LSTM", "RNN", "Resize", "Upsample"),
    *(
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "QuantizeLinear",
    ),
    "SimplifiedLayerNormalization",
    *SEQUENCES,
    *(one for one in described() if one.startswith("com.microsoft.")),
}
"""Those that have files of their own beside this one."""


def test_every_described_operator_has_a_case():
    tried = (
        {kind for kind, _, _ in CASES}
        | {kind for _, kind, *_ in LATER}
        | {kind for _, _, kind, *_ in SEVERAL}
    )
    assert set(described()) - tried == {"If"} | ELSEWHERE


def test_every_operator_is_described_or_left_out_with_its_reason():
    """All that the installed onnx defines in its default domain."""
    defined = {one.name for one in onnx.defs.get_all_schemas() if one.domain == ""}
    assert defined - set(described()) - LEFT_OUT.keys() == set()
    assert LEFT_OUT.keys() & set(described()) == set()
    assert all(LEFT_OUT.values())


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_softmax_before_version_13(axis):
    proto, inputs = single("Softmax", [X], {"axis": axis}, opset=12)
    (report,) = probe.sweep(proto, inputs)
    assert report.ok


@pytest.fixture
def net(tmp_path):
    """A convolution whose bias is computed, reshaped by x's own shape, and at the end an operator
    without description."""
    held = {
        "k": w(4, 3, 3, 3),
        "b": w(4),
        "two": np.float32(2),
        "rest": np.array([-1]),
        "m": w(4 * 4 * 6, 5),
        "d": w(1, 4, 1, 1),
        "o": w(2, 2, 4, 6),
    }
    nodes = [
        helper.make_node("Mul", ["b", "two"], ["bias"], name="twice"),
        helper.make_node("Conv", ["x", "k", "bias"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Shape", ["x"], ["sizes"], start=0, end=1),
        helper.make_node("Concat", ["sizes", "rest"], ["to"], axis=0),
        helper.make_node("Reshape", ["r", "to"], ["f"], name="flat"),
        helper.make_node("MatMul", ["f", "m"], ["p"], name="dense"),
        helper.make_node("DeformConv", ["r", "d", "o"], ["y"], name="top"),
    ]
    path = tmp_path / "net.onnx"
    onnx.save(model(nodes, {"x": X}, held, ("y", "p")), path)
    return path


def test_a_file(net):
    opened = probe.open_model(net)
    assert [(one.name, one.kind) for one in opened.layers] == [
        *(
            ("conv", "Conv"),
            ("Relu_2", "Relu"),
            ("flat", "Reshape"),
            ("dense", "MatMul"),
            ("top", "DeformConv"),
        ),
    ]
    assert [(one.name, one.shape) for one in opened.inputs] == [
        ("x", (None, 3, 6, 8))
    ] and opened.framework.startswith("onnxruntime")
    reports = list(probe.sweep(opened, X))
    assert [one.verdict for one in reports] == ["agree"] * 4 + ["unchecked"]
    assert (
        "the operator DeformConv has no description: there is no op for sampling regions"
        in reports[-1].sentence
    )
    assert probe.check(opened, "dense").ok, "its input is drawn"
    report = probe.check(opened, "conv", X)
    assert report.weights["k"].stored is not None and report.weights["bias"].stored is None
    np.testing.assert_array_equal(
        report.weights["bias"].effective,
        2 * numpy_helper.to_array(opened.proto.graph.initializer[1]),
    )


def test_your_own_values(net):
    report = probe.check(net, "dense", X)
    assert probe.check(net, "dense", X, expected=report.outputs["numpy"].astype(np.float32)).ok
    assert (
        probe.check(net, "dense", X, expected=report.outputs["numpy"] + 0.01).verdict == "diverge"
    )
    flipped = X[..., ::-1].copy()
    assert (
        probe.check(
            net, "conv", X, expected=probe.check(net, "conv", flipped).outputs["numpy"]
        ).verdict
        == "diverge"
    )
    story = probe.explain(net, "conv", X, at=(1, 2, 3, 4), sees=True)
    assert len(story.terms) == 27 and story.sees[0].mask.sum() == 27


def test_what_is_wrong_is_one_sentence(net, tmp_path):
    with pytest.raises(UnknownLayer, match="did you mean 'conv'"):
        probe.check(net, "conf", X)
    with pytest.raises(BadInput, match="takes 1 inputs"):
        probe.check(net, "dense", given=[X, X])
    with pytest.raises(BadInput, match="cannot run alone"):
        probe.check(net, "conv", given=X)
    for other, told in (
        (X[:, :2], rf"axis 1 must be {X.shape[1]}, not 2$"),
        (X[0], rf"add a batch axis, x\[None\] \(for a random input: --shape 1,{X.shape[1]},"),
        (np.moveaxis(X, 1, -1), r"move the channel axis, np\.moveaxis\(x, -1, 1\)$"),
        (np.moveaxis(X[0], 0, -1), r"move the channel axis, np\.moveaxis\(x, -1, 0\)\[None\]$"),
    ):
        with pytest.raises(BadInput, match=told):
            probe.check(net, "conv", other)
    data = net.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(CannotOpen, match=r"cut\.onnx"):
        list(probe.sweep(tmp_path / "cut.onnx", X))


@pytest.mark.parametrize("holds", [True, False])
def test_the_branch_that_ran(holds):
    """With what it takes from outside among the inputs of its node."""
    nodes = [
        helper.make_node("Abs", ["v0"], ["v1"], name="first"),
        helper.make_node("If", ["c"], ["y"], name="node", **BRANCHES),
    ]
    inputs = {"v0": V, "c": np.array(holds)}
    proto = model(nodes, inputs)
    first, report = probe.sweep(proto, list(inputs.values()))
    assert first.ok and report.ok and not report.missing, str(report)
    assert "only the branch that ran is checked" in str(report)
    assert [one.shape for one in report.inputs] == [(), (4, 6)]
    other = np.abs(V) if holds else np.abs(V) @ w(6, 6)
    wrong = other.astype(np.float32)
    found = probe.check(proto, "node", list(inputs.values()), expected=wrong, search=False)
    assert found.verdict == "diverge"
    assert probe.check(proto, "node", given=[np.array(holds), np.abs(V)]).ok


@pytest.mark.exhaustive
def test_a_fault_in_a_body_is_a_divergence():
    wrong = onnx.GraphProto()
    wrong.CopyFrom(STEP)
    wrong.initializer[0].CopyFrom(numpy_helper.from_array(w(6, 6), "k"))
    values, more = [w(2, 6), w(5, 2, 6)], {"num_scan_inputs": 1}
    proto, inputs = single("Scan", values, more | {"body": STEP}, outputs=("y", "z"))
    faulty = probe.check(
        single("Scan", values, more | {"body": wrong}, outputs=("y", "z"))[0], "node", inputs
    ).outputs["framework"]
    assert probe.check(proto, "node", inputs, expected=faulty).verdict == "diverge"


def test_what_a_body_may_not_hold_is_named():
    body = onnx.GraphProto()
    body.CopyFrom(STEP)
    body.node[3].op_type = "Abs"
    body.node[2].op_type = "Softmax"
    body.node[2].attribute.append(helper.make_attribute("axis", 0))
    proto, inputs = single(
        "Scan", [w(2, 6), w(5, 2, 6)], {"num_scan_inputs": 1, "body": body}, outputs=("y", "z")
    )
    assert probe.check(proto, "node", inputs).ok
    proto, inputs = single(
        "Scan", [w(2, 6), w(200, 2, 6)], {"num_scan_inputs": 1, "body": STEP}, outputs=("y", "z")
    )
    report = probe.check(proto, "node", inputs)
    assert report.verdict == "unchecked" and "its body runs 200 times" in report.sentence
    function = helper.make_function(
        "",
        "Tanh",
        ["a"],
        ["b"],
        [helper.make_node("Neg", ["a"], ["b"])],
        [helper.make_opsetid("", 22)],
    )
    proto, inputs = single(
        "Scan", [w(2, 6), w(5, 2, 6)], {"num_scan_inputs": 1, "body": STEP}, outputs=("y", "z")
    )
    proto.functions.append(function)
    report = probe.check(proto, "node", inputs)
    assert report.verdict == "unchecked" and "the function Tanh in its subgraph" in report.sentence
    body.node[3].op_type = "RandomNormalLike"
    proto, inputs = single(
        "Scan", [w(2, 6), w(5, 2, 6)], {"num_scan_inputs": 1, "body": body}, 15, outputs=("y", "z")
    )
    report = probe.check(proto, "node", inputs)
    assert report.verdict == "unchecked" and "RandomNormalLike in its subgraph" in report.sentence


def test_no_samples_are_compared_by_shape():
    """Of every operator that ONNX Runtime runs on none of them; where a reduction gives numbers all
    the same, these are compared."""
    told = 0
    for kind, values, attributes in CASES:
        proto, inputs = single(kind, values, attributes)
        if len(inputs) > 1 or not inputs[0].ndim:
            continue
        try:
            (report,) = probe.sweep(proto, [inputs[0][:0]])
        except ForwardFailed:
            continue
        if report.outputs["framework"].size:
            assert report.ok, str(report)
        else:
            assert "unchecked: the output is empty: the shapes agree" in report.sentence, str(
                report
            )
            told += 1
    assert told > 100


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_determinants(size):
    """Also of matrices that are nearly singular, where little is left of large products."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = (
            rng.normal(size=(3, size, size)) * 10.0 ** rng.uniform(-0.5, 0.5, (3, size, 1))
        ).astype(np.float32)
        x[0, -1] = x[0, 0] * np.float32(1.5) if seed % 2 else x[0, -1]
        proto, inputs = single("Det", [x], {})
        (report,) = probe.sweep(proto, inputs)
        assert report.verdict != "diverge" and not report.missing, str(report)
        assert report.ok or seed % 2


def test_what_a_body_drops_at_random_is_not_known():
    """Its mask is that of another run."""
    body = graph(
        [("Identity", ["s"], ["t"], {}), ("Dropout", ["p", "r", "on"], ["z", "m"], {})],
        [("s", F32), ("p", F32)],
        ["t", "z"],
        DROPS,
    )
    proto, inputs = single(
        "Scan", [w(2, 6), w(5, 2, 6)], {"num_scan_inputs": 1, "body": body}, outputs=("y", "z")
    )
    report = probe.check(proto, "node", inputs)
    assert report.verdict == "unchecked" and "drops elements at random" in report.sentence


def test_what_a_number_without_axes_influences():
    proto, inputs = single("Range", [np.float32(0.5), np.float32(9), np.float32(0.3)], {}, 27)
    story = probe.explain(proto, "node", inputs, at=(3,), sees=True)
    assert [(field.count, field.box) for field in story.sees] == [(1, ()), (0, None), (1, ())]
    assert str(story) and all(field.as_dict()["count"] in (0, 1) for field in story.sees)


def test_a_half_of_another_length_than_its_line():
    """ONNX Runtime and onnx.reference differ, and the operator's text does not say."""
    proto, inputs = single(
        "DFT", [X[..., :2], "s:", np.array(8), "s:", np.array(1)], {"inverse": 1, "onesided": 1}, 20
    )
    (report,) = probe.sweep(proto, inputs)
    assert (
        report.verdict == "unchecked"
        and "3 one-sided frequencies are cropped or padded for a length of 8" in report.sentence
    )
    (theirs,) = ReferenceEvaluator(proto).run(None, {"v0": inputs[0]})
    assert np.abs(theirs - report.outputs["framework"]).max() > 0.01


def test_the_engine_that_ran_the_model_is_counted_once():
    proto, inputs = single("Relu", [V], {})
    both = "NumPy and ONNX Runtime (which also ran the model) agree"
    report = probe.check(proto, "node", inputs)
    assert report.sentence.startswith(f"agree: {both}; ")
    report = probe.check(proto, "node", inputs, expected=V)
    assert f"yours is the odd one out: {both}, so your values" in report.sentence


def test_a_refused_input_is_told_in_whole_sentences():
    """Two inputs whose sizes, free in the file, do not fit each other."""
    node = helper.make_node("MatMul", ["a", "b"], ["y"], name="product")
    proto = model([node], {"a": w(2, 3), "b": w(3, 4)})
    with pytest.raises(ForwardFailed) as caught:
        probe.check(proto, "product", {"a": w(2, 3), "b": w(5, 4)})
    told = str(caught.value)
    assert told.endswith("dimension mismatch") and "ONNXRuntimeError" not in told


@pytest.mark.parametrize(
    ("said", "reason_"),
    [
        ("[ONNXRuntimeError] : 1 : FAIL : no kernel", "no kernel"),
        (
            "[ONNXRuntimeError] : 6 : RUNTIME : /src/core/matmul.h:161 void Compute(int) const A. "
            + "B" * 60
            + ". It does not fit.\n Fix it.",
            "A. " + "B" * 60 + ". It does not fit. Fix it.",
        ),
        ("word " * 100 + "end", "… " + "word " * 38 + "end"),
        ("First. " + "x" * 190 + " y. Last one.", "Last one."),
        ("", "ValueError"),
    ],
)
def test_the_end_of_an_error_is_whole(said, reason_):
    told = reason(ValueError(said))
    assert told == reason_ and len(told) <= 200


@pytest.mark.parametrize("name", ["L1", "L2", "LogSum", "LogSumExp", "Max", "Sum", "SumSquare"])
def test_a_reduction_of_no_axes_still_does_what_it_does_to_each(name):
    told = [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 3])]
    node = onnx.helper.make_node(f"Reduce{name}", ["x"], ["y"], noop_with_empty_axes=1)
    graph = onnx.helper.make_graph([node], "g", told, [onnx.ValueInfoProto(name="y")])
    opset = onnx.helper.make_opsetid("", 20 if name == "Max" else 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    x = np.random.default_rng(0).uniform(0.5, 2, (2, 3)).astype(np.float32)
    x *= 1 if "Log" in name else -1
    report = probe.check(model, "", x)
    assert report.verdict == "agree", str(report)
