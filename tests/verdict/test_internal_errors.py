"""A fault of ours in one call leaves it unchecked with the reason and ends no sweep; one of the
user's function is theirs to see."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

import probe
from probe import ops
from probe.hypotheses import REGISTERED, Hypothesis

pytestmark = pytest.mark.plants_a_fault
WORDS = "(ZeroDivisionError: made for this test); please report this bug"


def broken(*args, **kwargs):
    raise ZeroDivisionError("made for this test")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.act, self.b = torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.b(torch.exp(self.act(self.a(x))))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)


def swept(model, x, **options):
    return {report.layer: report for report in probe.sweep(model, x, **options)}


@pytest.mark.parametrize(
    ("where", "name"),
    [("module_capture.describe", None), ("function_capture.describe_function", "/exp")],
)
def test_in_describing_a_call_of_pytorch(where, name, x, monkeypatch):
    monkeypatch.setattr(f"probe.adapters.torch.capture.{where}", broken)
    reports = swept(Net().eval(), x)
    faulty = {"a", "act", "b"} if name is None else {name}
    assert faulty < reports.keys()
    for layer, report in reports.items():
        assert report.verdict == ("unchecked" if layer in faulty else "agree")
        assert (f"it cannot be described {WORDS}" in report.sentence) == (layer in faulty)


@pytest.mark.tensorflow
def test_in_describing_a_layer_of_keras(monkeypatch):
    keras = pytest.importorskip("keras")
    monkeypatch.setattr("probe.adapters.keras.capture.captured_call.describe", broken)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a")])
    (report,) = probe.sweep(model, np.ones((2, 4), np.float32))
    assert report.verdict == "unchecked" and f"it cannot be described {WORDS}" in report.sentence


def test_in_describing_a_node_of_onnx(monkeypatch, tmp_path):
    monkeypatch.setattr("probe.adapters.onnx.node_capture.describe_node", broken)
    places = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Tanh", ["x"], ["y"], name="t")], "g", places[:1], places[1:]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        tmp_path / "net.onnx",
    )
    (report,) = probe.sweep(str(tmp_path / "net.onnx"), np.ones((2, 4), np.float32))
    assert report.verdict == "unchecked" and f"it cannot be described {WORDS}" in report.sentence


@pytest.mark.parametrize(
    ("op", "method", "layer"),
    [(ops.Tanh, "run", "act"), (ops.Tanh, "error_bound", "act"), (ops.Exp, "error_bound", "/exp")],
)
def test_in_computing_or_judging(op, method, layer, x, monkeypatch):
    monkeypatch.setattr(op, method, broken)
    net = Net().eval()
    for report in (swept(net, x)[layer], probe.check(net, layer, x)):
        assert report.verdict == "unchecked" and WORDS in report.sentence
    assert all(report.ok for name, report in swept(net, x).items() if name != layer)
    right = net(torch.from_numpy(x)).detach().numpy()
    assert swept(net, x, expected={"b": right})["b"].ok, (
        "what its rounding may do to later layers is estimated without it"
    )


def test_in_looking_for_the_mistake(x, monkeypatch):
    monkeypatch.setattr("probe.diagnosis.outputs.of_parties", broken)
    net = Net().eval()
    for report in (
        probe.check(net, "a", x, expected=np.zeros((2, 3))),
        swept(net, x, expected={"a": np.zeros((2, 3))})["a"],
    ):
        assert report.verdict == "diverge" and not report.findings
        assert f"internal error in the search for the mistake {WORDS}" in report.notes


@pytest.mark.parametrize("last", [False, True])
def test_in_the_search_for_one_mistake_the_others_are_still_found(x, last, monkeypatch):
    def fails(case):
        yield case.edit("nothing else", case.steps)
        broken()

    first = Hypothesis("broken", fails, "", last=last)
    monkeypatch.setattr("probe.diagnosis.search.REGISTERED", [first, *REGISTERED])
    net = Net().eval()
    mine = (torch.from_numpy(x) @ net.a.weight.T).detach().numpy()
    report = probe.check(net, "a", x, expected=mine)
    assert report.findings[0].slug == "missing-bias"
    words = f"internal error in the search for broken {WORDS}"
    assert (words in report.diagnosis) is not last
    report = probe.check(net, "a", x, expected=np.zeros((2, 3)))
    assert words in report.diagnosis


def test_of_the_users_own_function_it_is_theirs_to_see(x):
    class Own(torch.nn.Module):
        def forward(self, x):
            return x + 1

    probe.recomputes(Own)(broken)
    with pytest.raises(ZeroDivisionError, match="made for this test"):
        probe.check(Own().eval(), "", x)
    with pytest.raises(ZeroDivisionError, match="made for this test"):
        list(probe.sweep(Own().eval(), x))
