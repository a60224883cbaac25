"""Name scopes of a SavedModel as blocks."""

import numpy as np
import pytest
from own_seed import RNG

import probe
from probe.errors import BadInput
from probe.model import Argument, CallOutput, ModelInput

X = RNG.normal(size=(2, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def scopes(saved):
    return probe.open_model(saved / "net", signature="scopes")


def test_each_name_scope_is_a_block(scopes, tmp_path):
    listed = [(layer.name, layer.kind, layer.parameters) for layer in scopes.containers]
    assert listed == [
        ("", "graph", 32),
        ("outer", "name scope", 16),
        ("outer/inner", "name scope", 16),
    ]
    calls = []
    outputs = scopes.run([X], {"", "outer", "outer/inner"}, calls.append)
    inner, outer, whole = calls
    assert [call.layer for call in calls] == ["outer/inner", "outer", ""]
    assert [len(call.parts) for call in calls] == [2, 3, 4]
    assert inner.made_by == outer.made_by == whole.made_by == (ModelInput(0),)
    assert outer.results == (CallOutput("outer/inner/Tanh", 0, 0), CallOutput("outer/add", 0, 0))
    np.testing.assert_array_equal(inner.outputs[0], outputs[0])
    probe.record(scopes, X, tmp_path / "run.npz")
    for model in (scopes, tmp_path / "run.npz"):
        for name in ("", "outer", "outer/inner"):
            report = probe.check(model, name, X if model is scopes else None)
            assert report.verdict == "agree"
    # Variables without names of their own are named as the checkpoint's keys.
    assert list(report.weights) == ["pair/0"]
    turned = np.tanh(X @ report.weights["pair/0"].effective.T)
    assert probe.check(scopes, "outer/inner", X, expected=turned).verdict == "diverge"


def test_a_block_alone_and_behind_what_no_call_made(scopes, saved):
    calls = []
    scopes.run([X], {"outer/inner"}, calls.append)
    scopes.run_alone("outer/inner", [X], calls.append)
    np.testing.assert_array_equal(calls[0].outputs[0], calls[1].outputs[0])
    with pytest.raises(BadInput, match="takes 1 input"):
        scopes.run_alone("outer", [X, X], calls.append)
    served = probe.open_model(saved / "net")
    served.run([X], {"second"}, calls.append)
    assert calls[-1].made_by == (Argument("second", 0, 0),)
    assert [part.path for part in calls[-1].parts] == ["", ""]


def test_a_block_gives_other_numbers(scopes):
    mine, calls = np.ones((2, 4), np.float32), []

    def replaced(call):
        calls.append(call)
        return [mine] if call.layer == "outer/inner" else None

    outputs = scopes.run([X], {"outer/inner", "outer/add", "MatMul"}, replaced)
    assert [call.layer for call in calls] == ["outer/inner", "outer/add", "MatMul"]
    np.testing.assert_array_equal(calls[1].inputs[0], mine)
    np.testing.assert_array_equal(outputs[0], mine)
    np.testing.assert_array_equal(outputs[1], calls[2].outputs[0])
    assert calls[2].made_by == (CallOutput("outer/add", 0, 0),)
