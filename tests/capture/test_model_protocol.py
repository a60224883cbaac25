"""What every adapter answers, and what is told for a model of ours."""

import numpy as np
import onnx
import pytest
import torch
from chain_model import ChainModel
from onnx import helper

import probe
from probe import ops
from probe.capture.run import opened
from probe.errors import BadInput
from probe.model import Compiled, Model, Runnable, is_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
]
X = np.linspace(-2, 3, 12, dtype=np.float32).reshape(4, 3)
HALVES = probe.Weight("factor", None, np.float32([0.5]))


def chain() -> ChainModel:
    halved = probe.Description((probe.Step(ops.MulConstant(value=HALVES)),))
    cut = probe.Description((probe.Step(ops.Relu()),))
    return ChainModel(
        {
            "halved": (lambda x: x * np.float32(0.5), halved),
            "cut": (lambda x: np.maximum(x, 0), cut),
        }
    )


def exported() -> torch.export.ExportedProgram:
    return torch.export.export(torch.nn.Sequential(torch.nn.Linear(3, 2)), (torch.zeros(1, 3),))


def relu() -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def members() -> set[str]:
    told = {name for one in (Model, Runnable) for name in vars(one)}
    return {name for name in told if not name.startswith("_")}


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain(),
        lambda: torch.nn.Linear(3, 2),
        lambda: torch.jit.script(torch.nn.Linear(3, 2)),
        exported,
        relu,
    ],
    ids=["a test's", "torch", "TorchScript", "exported program", "onnx"],
)
def test_each_answers_all(make):
    model = opened(make())
    assert {"layers", "run", "other_files", "input_hint"} <= members()
    assert not [name for name in members() if not hasattr(model, name)]
    assert is_model(model) and model.input_order(["x"]) == () and not model.other_files
    assert not model.may_be_operation("no/such")


@pytest.mark.tensorflow
@pytest.mark.parametrize("saved", [False, True])
def test_keras_answers_all(saved, tmp_path):
    keras = pytest.importorskip("keras")
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="d")])
    net.save(path := tmp_path / "net.h5")
    model = probe.open_model(path if saved else net)
    assert is_model(model) and opened(model) is model
    assert not (saved and model._is_loaded), "to ask whether it is one of ours loads nothing"
    assert not [name for name in members() if not hasattr(model, name)]


def test_a_module_with_attributes_of_such_names_is_opened():
    class Stack(torch.nn.Module):
        """Attributes that a model of ours has, too."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(3, 2)])

        def forward(self, x):
            return self.layers[0](x)

        def run_alone(self, x):
            return self.layers[0](x)

    assert probe.check(Stack(), "layers.0", X).ok


def test_a_chain_of_a_test_is_checked_like_any_model():
    model = chain()
    assert [(one.layer, one.verdict) for one in probe.sweep(model, X)] == [
        ("halved", "agree"),
        ("cut", "agree"),
    ]
    assert probe.check(model, "cut", given=X, expected=np.maximum(X, 0)).ok
    model.chain["cut"] = (lambda x: np.maximum(x, 0.25), model.chain["cut"][1])
    assert probe.check(model, "cut").verdict == "diverge"


def inside() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU())
    ).eval()


class Around(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.jit.script(inside())
        self.last = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.last(self.inner(x))


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (lambda: torch.jit.script(inside()), "1.0", "TorchScript"),
        (Around, "inner.1.0", "TorchScript"),
        (lambda: torch.export.export(inside(), (torch.zeros(4, 3),)), "1.0", "an exported program"),
    ],
    ids=["TorchScript", "TorchScript in a module", "exported program"],
)
def test_parts_of_a_graph_have_no_call_of_their_own(make, name, words):
    """Each said "never reached" or raised what PyTorch raises of hooks."""
    model = probe.open_model(make())
    assert isinstance(model, Compiled) and name not in model.names()
    said = f"{name!r} is inside {words}, whose single calls can be checked"
    for given in ({"x": X}, {"given": X}, {"x": X, "expected": {name: X}}):
        with pytest.raises(BadInput, match=said):
            probe.check(model, name, **given)
    list(probe.sweep(model, X))
    with pytest.raises(BadInput, match=f"such as '{name}/gemm'"):
        probe.check(model, name, X)
    assert probe.check(model, f"{name}/gemm", X).ok


def test_what_torchscript_holds_as_a_whole_runs_alone():
    model = probe.open_model(Around())
    report = probe.check(model, "inner", given=X)
    assert report.outputs["framework"].shape == (4, 2) and report.ok and len(report.calls) > 1
    assert isinstance(model.module.inner, torch.jit.ScriptModule), "put back"


class Pairs(torch.nn.Module):
    """It takes arrays of other shapes, in tuples in a list."""

    def forward(self, x, pairs, by=(1.0, (2.0,))):
        for factor, offset in pairs:
            x = x * factor + offset * by[1][0]
        return x


def test_arrays_in_tuples_in_a_list_are_inputs():
    pairs = [(X + 1, X[0]), (X[:, :1], X[1])]
    reports = list(probe.sweep(Pairs(), (X, pairs)))
    assert [report.verdict for report in reports] == ["agree"] * 6
    wanted = (X * (X + 1) + 2 * X[0]) * X[:, :1] + 2 * X[1]
    np.testing.assert_allclose(reports[-1].outputs["framework"], wanted, rtol=1e-5)
