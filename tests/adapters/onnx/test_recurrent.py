"""RNN, GRU and LSTM nodes over their options, against ONNX Runtime, and where it has no kernel
against the specification's evaluator."""

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from probe.adapters.onnx.describe import NodeBuilder, describe_node

import probe
from probe.description import Ref, Weight
from probe.evaluation.numpy_reference import recompute

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {
    "Affine": (0.6, 0.1),
    "Elu": (0.8,),
    "HardSigmoid": (0.3, 0.4),
    "LeakyRelu": (0.1,),
    "Relu": (),
    "ScaledTanh": (0.9, 0.7),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": (0.2,),
}


@st.composite
def nodes(draw, layout=0):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    ways, gates = 2 if direction == "bidirectional" else 1, GATES[kind]
    steps, batch, size, units = (draw(st.integers(1, 4)) for _ in range(4))

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    def state():
        return normal(batch, ways, units) if layout else normal(ways, batch, units)

    inputs = {"X": normal(batch, steps, size) if layout else normal(steps, batch, size)}
    held = {"W": normal(ways, gates * units, size), "R": normal(ways, gates * units, units)}
    if draw(st.booleans()):
        held["B"] = normal(ways, 2 * gates * units)
    if draw(st.booleans()):
        lengths = rng.integers(1, steps + 1, batch).astype(np.int32)
        (inputs if draw(st.booleans()) else held)["lens"] = lengths
    if draw(st.booleans()):
        inputs["h"] = state()
    attributes = {"hidden_size": units, "direction": direction}
    if kind == "LSTM":
        if draw(st.booleans()):
            inputs["c"] = state()
        if draw(st.booleans()):
            held["P"] = normal(ways, 3 * units)
        attributes |= {"input_forget": 1} if draw(st.booleans()) else {}
    if kind == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if draw(st.booleans()):
        attributes["clip"] = draw(st.floats(0.1, 2))
    if draw(st.booleans()):
        names = [
            draw(st.sampled_from(sorted(FUNCTIONS)))
            for _ in range(ways * {"RNN": 1, "GRU": 2, "LSTM": 3}[kind])
        ]
        attributes["activations"] = names
        for at, name in enumerate(("activation_alpha", "activation_beta")):
            values = [FUNCTIONS[one][at] for one in names if len(FUNCTIONS[one]) > at]
            attributes |= {name: values} if values else {}
    return kind, inputs, held, attributes


def named(kind, inputs, held):
    order = ["X", "W", "R", "B", "lens", "h", "c", "P"][: 8 if kind == "LSTM" else 6]
    return [one if one in inputs or one in held else "" for one in order]


def model_of(kind, inputs, held, attributes, outputs):
    declared = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, named(kind, inputs, held), outputs, name="node", **attributes)],
        "graph",
        declared,
        [onnx.ValueInfoProto(name=name) for name in outputs if name],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def probe_outputs(report):
    found = report.outputs["framework"]
    return found if isinstance(found, tuple) else (found,)


@examples(25)
@given(nodes(), st.data())
def test_every_option(case, data):
    kind, inputs, held, attributes = case
    names = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    kept = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    proto = model_of(
        kind, inputs, held, attributes, [name if name in kept else "" for name in names]
    )
    (report,) = probe.sweep(proto, list(inputs.values()))
    # its softplus overflows, see below
    assume(all(np.isfinite(one).all() for one in probe_outputs(report)))
    # of equal numbers nothing can be said
    assume(not any(one.size > 1 and np.ptp(one) == 0 for one in probe_outputs(report)))
    assert report.ok, str(report)
    assert not report.missing
    assert len(report.comparisons) == 3


@pytest.mark.parametrize("fault", ["gates", "clip", "reset", "peepholes"])
def test_a_fault_is_a_divergence(fault):
    """Of each kind, in the values of another run of ONNX Runtime."""
    rng = np.random.default_rng(0)
    kind = "GRU" if fault == "reset" else "LSTM"
    gates = GATES[kind]
    inputs = {"X": rng.normal(size=(4, 2, 3)).astype(np.float32)}
    sizes = {"W": (1, gates * 5, 3), "R": (1, gates * 5, 5), "B": (1, 2 * gates * 5)} | (
        {"P": (1, 15)} if kind == "LSTM" else {}
    )
    held = {name: rng.normal(size=shape).astype(np.float32) for name, shape in sizes.items()}
    healthy = model_of(kind, inputs, held, {"hidden_size": 5, "clip": 1.0}, ["Y"])
    other, attributes = dict(held), {"hidden_size": 5, "clip": 1.0}
    if fault == "gates":
        other["W"] = np.roll(held["W"], 5, axis=1)
    elif fault == "peepholes":
        other["P"] = np.roll(held["P"], 5, axis=1)
    elif fault == "clip":
        del attributes["clip"]
    else:
        attributes["linear_before_reset"] = 1
    faulty = probe.check(
        model_of(kind, inputs, other, attributes, ["Y"]), "node", [inputs["X"]]
    ).outputs["framework"]
    report = probe.check(healthy, "node", [inputs["X"]], expected=faulty, search=False)
    assert report.verdict == "diverge"


def test_the_softplus_of_its_recurrences_overflows():
    """log(1 + exp(x)) as it stands: inf from 89 on, where the operator Softplus, in the graph
    beside it, gives x."""
    held = {"W": np.full((1, 1, 1), 100, np.float32), "R": np.zeros((1, 1, 1), np.float32)}
    for value, found in ((0.5, 50.0), (1.0, np.inf)):
        x = np.full((1, 1, 1), value, np.float32)
        proto = model_of(
            "RNN", {"X": x}, held, {"hidden_size": 1, "activations": ["Softplus"]}, ["Y"]
        )
        (report,) = probe.sweep(proto, [x])
        assert (
            report.outputs["framework"].item() == found
            and report.outputs["onnx"].item() == 100 * value
        )
        assert report.ok == np.isfinite(found)


def test_the_batch_first():
    """layout=1 has no kernel in ONNX Runtime; the specification's evaluator has one for a single
    direction and plain options."""
    rng = np.random.default_rng(0)
    for kind, gates in GATES.items():
        values = {
            "X": (3, 4, 2),
            "W": (1, gates * 5, 2),
            "R": (1, gates * 5, 5),
            "B": (1, 2 * gates * 5),
        }
        held = {name: rng.normal(size=shape).astype(np.float32) for name, shape in values.items()}
        x = held.pop("X")
        outputs = ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
        attributes = {"hidden_size": 5, "layout": 1, "direction": "forward"}
        theirs = ReferenceEvaluator(model_of(kind, {"X": x}, held, attributes, outputs)).run(
            None, {"X": x}
        )
        build = NodeBuilder([x], theirs, attributes, 22)
        steps = describe_node(
            kind, build, [Ref(-1), *(Weight(name, one, one) for name, one in held.items())]
        ).steps
        for ours, other in zip(recompute(steps, [x])[-1], theirs, strict=True):
            assert ours.shape == other.shape
            np.testing.assert_allclose(ours, other, rtol=1e-4, atol=1e-5)
