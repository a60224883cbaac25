"""What a description does not read and is set to other than its default leaves the node unchecked,
by that name."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import CASES, LATER, SEVERAL, STEP, V, X, single, w
from probe.adapters.onnx import describe, described
from probe.adapters.onnx.describe import NodeBuilder, describe_node, implied
from probe.adapters.onnx.operators.sequences import SEQUENCES

import probe
from probe.description import Ref, Weight
from probe.errors import Undescribed

RECURRENT = [
    [w(4, 2, 3), "s:", w(1, gates * 5, 3), "s:", w(1, gates * 5, 5)] for gates in (1, 3, 4)
]
U8, F = np.arange(24, dtype=np.uint8).reshape(4, 6), np.float32(0.1)
QUANTISED = ["s:", F, "s:", np.uint8(3)]
MORE = [
    *(
        (22, kind, values, {"hidden_size": 5})
        for kind, values in zip(("RNN", "GRU", "LSTM"), RECURRENT, strict=True)
    ),
    (22, "Resize", [X, "", "s:", np.array([1, 1, 2, 2], np.float32)], {}),
    (9, "Upsample", [X, "s:", np.array([1, 1, 2, 2], np.float32)], {}),
    (22, "QuantizeLinear", [V, *QUANTISED], {}),
    (22, "DequantizeLinear", [U8, *QUANTISED], {}),
    (22, "MatMulInteger", [U8, "s:", U8.T.copy()], {}),
    (22, "ConvInteger", [U8[None, None], "s:", U8[None, None, :2, :2].copy()], {}),
    (22, "QLinearMatMul", [U8, *QUANTISED, "s:", U8.T.copy(), *QUANTISED, *QUANTISED], {}),
    (
        22,
        "QLinearConv",
        [U8[None, None], *QUANTISED, "s:", U8[None, None, :2, :2].copy(), *QUANTISED, *QUANTISED],
        {},
    ),
]
ALL = [
    *((22, ["y"], *case) for case in CASES),
    *((opset, ["y"], *case) for opset, *case in [*LATER, *MORE]),
    *SEVERAL,
    (22, ["y", "scale", "zero"], "DynamicQuantizeLinear", [V], {}),
]
EACH = {case[2]: case for case in ALL}
"""One case of every operator."""


ELSEWHERE = {
    *("If", "SimplifiedLayerNormalization", *SEQUENCES),
    *(one for one in described() if one.startswith("com.microsoft.")),
}
"""Of which onnx has no schema, or whose inputs no single node has."""


def test_every_operator_has_a_case():
    assert EACH.keys() == set(described()) - ELSEWHERE


def history(kind):
    """The schemas of every version of an operator."""
    return [
        one
        for one in onnx.defs.get_all_schemas_with_history()
        if one.domain == "" and one.name == kind
    ]


def given(opset, outputs, kind, values, attributes):
    """What a description of the case gets: the call's inputs and outputs, the values of its node,
    and the model that runs its graphs."""
    proto, inputs = single(kind, values, attributes, opset, outputs)
    opened, calls = probe.open_model(proto), []
    opened.run(inputs, None, calls.append)
    held = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    free = iter(range(len(inputs)))
    names = proto.graph.node[0].input
    refs = [
        None
        if not name
        else Weight(name, held[name], held[name])
        if name in held
        else Ref(-1, next(free))
        for name in names
    ]
    return calls[0].inputs, calls[0].outputs, refs, opened


def told(opset, outputs, kind, values, attributes, more, extra=()):
    """Why the node has no description with ``more`` set, or what its description has read."""
    inputs, made, refs, opened = given(opset, outputs, kind, values, attributes)
    build = NodeBuilder(inputs, made, attributes | more, opset)
    build.run_graph = opened._sessions.run_graph
    try:
        describe_node(kind, build, [*refs, *extra])
    except Undescribed as error:
        return str(error), build.read
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        AttributeError,
        AssertionError,
        ZeroDivisionError,
    ):
        return "", build.read  # what ONNX Runtime refuses
    return "", build.read


def other(attribute):
    """A value that is not the default."""
    kinds = onnx.defs.OpSchema.AttrType
    usual = (
        helper.get_attribute_value(attribute.default_value)
        if attribute.default_value.type
        else None
    )
    drawn = {
        kinds.INT: 7,
        kinds.FLOAT: 0.123,
        kinds.STRING: "made-up",
        kinds.INTS: [7, 7],
        kinds.FLOATS: [0.123],
        kinds.STRINGS: ["made-up"],
        kinds.TENSOR: numpy_helper.from_array(V),
        kinds.GRAPH: STEP,
    }
    value = drawn[attribute.type]
    assert value != usual
    return value


@pytest.mark.exhaustive(default=40)
@pytest.mark.parametrize("kind", sorted(EACH))
def test_an_attribute_is_read_or_named(kind):
    """Each that any version of the operator has."""
    case = EACH[kind]
    attributes = {name: one for schema in history(kind) for name, one in schema.attributes.items()}
    for name, attribute in attributes.items():
        why, read = told(*case, {name: other(attribute)})
        assert name in read or name in implied(kind) or name in why, f"{name}: {why}"


@pytest.mark.exhaustive(default=40)
@pytest.mark.parametrize("kind", sorted(EACH))
def test_what_no_version_has_is_named(kind):
    """An attribute and an input of a release to come."""
    assert "its attribute made_up=1 is not supported" in told(*EACH[kind], {"made_up": 1})[0]
    schema = history(kind)[-1]
    if schema.max_input < 99:
        inputs = len(given(*EACH[kind])[2])
        later = (*(None,) * (schema.max_input - inputs), Weight("later", F, F))
        assert "its input number" in told(*EACH[kind], {}, later)[0]


def test_what_is_implied_is_of_the_operator():
    for kind in set(described()) - ELSEWHERE:
        known = {
            name
            for schema in history(kind)
            for name in (*schema.attributes, *(one.name for one in schema.inputs))
        }
        assert implied(kind) <= known, kind


NEWEST = onnx.defs.get_schema("SpaceToDepth").since_version
"""The version that gave it a mode."""


def test_the_default_written_out_is_the_default():
    for kind, values, more, opset in (
        ("SpaceToDepth", [X], {"blocksize": 2, "mode": "DCR"}, NEWEST),
        ("SpaceToDepth", [X], {"blocksize": 2, "mode": "CRD"}, NEWEST),
        ("Cast", [V], {"to": TensorProto.INT32, "saturate": 1}, 22),
    ):
        proto, inputs = single(kind, values, more, opset)
        (report,) = probe.sweep(proto, inputs)
        assert report.ok and not report.missing


def blocks_alone(build, x):
    """A description of SpaceToDepth from before it had a mode."""
    return build.add(probe.ops.Identity(), x) if build.get("blocksize") else x


def test_a_model_says_which(monkeypatch):
    monkeypatch.setitem(describe._TABLE, "SpaceToDepth", blocks_alone)
    proto, inputs = single("SpaceToDepth", [X], {"blocksize": 2, "mode": "CRD"}, NEWEST)
    (report,) = probe.sweep(proto, inputs)
    assert report.verdict == "unchecked"
    assert "its attribute mode='CRD' is not supported by its description" in report.sentence


def test_a_function_of_the_model_is_not_the_operator_of_its_name():
    """A file may define what its Relu does."""
    body = [helper.make_node("Neg", ["a"], ["b"])]
    proto, inputs = single("Relu", [V], {})
    proto.functions.append(
        helper.make_function("", "Relu", ["a"], ["b"], body, [helper.make_opsetid("", 22)])
    )
    (report,) = probe.sweep(proto, inputs)
    assert (
        report.verdict == "unchecked"
        and "Relu is a function defined in the model" in report.sentence
    )


@pytest.mark.plants_a_fault
def test_a_description_that_fails_does_not_end_the_sweep(monkeypatch):
    monkeypatch.setitem(describe._TABLE, "Relu", lambda build, x: build.add(x + None))
    proto, inputs = single("Relu", [V], {})
    (report,) = probe.sweep(proto, inputs)
    assert (
        report.verdict == "unchecked" and "it cannot be described (TypeError: " in report.sentence
    )
