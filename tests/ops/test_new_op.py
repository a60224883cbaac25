"""An op is one class: one that no file of the package knows, in a layer of a user's own, is listed,
checked, explained and diagnosed as any other."""

import re
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from repository import ROOT

import probe
from probe.cli import main
from probe.description.custom_layers import _OWN
from probe.ops.base import Elementwise

PAGE = (ROOT / "docs" / "adding-an-op.md").read_text(encoding="utf-8")
MINIMAL = '''
from dataclasses import dataclass

import numpy as np

from probe.ops.base import Op


@dataclass(frozen=True, eq=False)
class SoftClip(Op):
    """limit * tanh(x / limit)"""

    limit: float

    def run(self, *inputs):
        return (self.limit * np.tanh(inputs[0] / self.limit),)

    def to_onnx(self, graph, *inputs):
        limit = graph.const(self.limit)
        return (graph.op("Mul", limit, graph.op("Tanh", graph.op("Div", inputs[0], limit))),)

    def error_bound(self, of, precision):
        own = 6 * precision.unit * np.minimum(np.abs(of.inputs[0]), self.limit) + precision.tiny
        return (own if of.slacks[0] is None else own + of.slacks[0],)
'''
LAYER = """
import torch

import probe
from probe import ops

from new_op import SoftClip


class Clipped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 6))
        self.bias = torch.nn.Parameter(torch.randn(4))

    def forward(self, x):
        return 3.0 * torch.tanh((x @ self.weight.T + self.bias) / 3.0)


@probe.describes(Clipped)
def clipped(layer, call):
    weight, bias = call.weight("weight", axes=(1, 0)), call.weight("bias")
    return [ops.MatMul(weight=weight, bias=bias), SoftClip(limit=3.0)]


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 6), Clipped()).eval()
"""


@pytest.fixture(params=["as on the page", "three hooks and no more"])
def net(request, tmp_path, monkeypatch):
    """A model with a layer of an op that is written in a file of the user's."""
    page = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "new_op.py").write_text(page[0] if request.param == "as on the page" else MINIMAL)
    (tmp_path / "new_layer.py").write_text(LAYER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = dict(_OWN)
    yield import_module("new_layer").net()
    _OWN.clear()
    _OWN.update(before)
    for name in ("new_op", "new_layer"):
        sys.modules.pop(name, None)


X = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


def test_a_layer_of_it_is_listed_and_checked(net):
    assert [layer.name for layer in probe.open_model(net).layers] == ["0", "1"]
    report = probe.check(net, "1", X)
    assert report.verdict == "agree" and list(report.outputs) == ["framework", "numpy", "onnx"]
    assert report.ops[1].startswith("SoftClip")
    wrong = report.outputs["framework"].copy()
    wrong[2, 3] *= 1 + 1e-5
    assert probe.check(net, "1", X, expected=wrong).verdict == "diverge"


def test_an_element_of_it_is_explained(net):
    story = probe.explain(net, "1", X, at=(2, 3))
    followed = issubclass(import_module("new_op").SoftClip, Elementwise)
    assert len(story.terms) == 6 * followed and "SoftClip: limit * tanh(x / limit)" in str(story)
    assert story.value == pytest.approx(probe.check(net, "1", X).outputs["numpy"][2, 3])


@pytest.mark.parametrize(
    ("slug", "mistaken"),
    [
        ("missing-bias", lambda x, w, b: 3 * np.tanh(x @ w.T / 3)),
        ("transposed-kernel", lambda x, w, b: 3 * np.tanh((x @ w.reshape(6, 4) + b) / 3)),
        ("transposed-output", lambda x, w, b: (3 * np.tanh((x @ w.T + b) / 3)).T),
    ],
)
def test_a_mistake_in_it_is_named(net, slug, mistaken):
    x = probe.check(net, "1", X).inputs[0].astype(float)
    w, b = (one.detach().numpy().astype(float) for one in (net[1].weight, net[1].bias))
    report = probe.check(net, "1", X, expected=mistaken(x, w, b).astype(np.float32))
    assert report.verdict == "diverge" and report.findings[0].slug == slug, report.diagnosis


def test_the_command_line(net, tmp_path, monkeypatch, capsys):
    torch.save(net.state_dict(), tmp_path / "net.pt")
    np.save(tmp_path / "x.npy", X)
    model = ["net.pt", "--factory", "new_layer:net", "--input", "x.npy"]
    for more, told in ((["--layer", "1"], "agree"), (["--layer", "1", "--at", "2,3"], "SoftClip")):
        monkeypatch.setattr(sys, "argv", ["probe", *model, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0 and told in capsys.readouterr().out
