"""The search for causes of a comparison has a budget, says where that ended it, may have ten times
as much, or may be left out."""

import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import probe
from probe.cli.main import command
from probe.pytest_mark import Asked
from probe.verdict.options import NOT_SEARCHED

X = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
STOPPED = (
    r"the search for the mistake stopped after \d+ candidates, when its budget was used up; "
    r"--thorough gives it 10 times as much"
)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.norm = torch.nn.Linear(6, 8), torch.nn.LayerNorm(8)
        self.outer = torch.nn.Linear(8, 5)

    def forward(self, x):
        return self.outer(torch.tanh(self.norm(self.inner(x))))


class Rolled(Net):
    """Its last layer takes the features shifted by one, which no option of a layer says."""

    def forward(self, x):
        return self.outer(torch.tanh(self.norm(self.inner(x))).roll(1, -1))


def of_torch(tmp_path):
    return Net().eval(), Rolled().eval()


def of_onnx(tmp_path):
    for kind in (Net, Rolled):
        with pytest.warns(DeprecationWarning):
            path = tmp_path / f"{kind.__name__}.onnx"
            torch.onnx.export(kind().eval(), torch.tensor(X), path, dynamo=False)
    return str(tmp_path / "Net.onnx"), str(tmp_path / "Rolled.onnx")


def of_keras(tmp_path):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8),
            layers.LayerNormalization(epsilon=1e-5),
            layers.Activation("tanh"),
            layers.Dense(5),
        ]
    )
    net = Net()
    held = [*net.inner.parameters(), *net.norm.parameters(), *net.outer.parameters()]
    model.set_weights([one.detach().numpy().T for one in held])
    return model, Rolled().eval()


@pytest.mark.parametrize(
    "pair", [of_torch, of_onnx, pytest.param(of_keras, marks=pytest.mark.tensorflow)]
)
def test_a_search_that_stopped_says_so_and_ten_times_as_much_finds_the_mistake(
    pair, tmp_path, monkeypatch
):
    monkeypatch.setattr("probe.diagnosis.diagnose._WORK", 1e7)
    a, b = pair(tmp_path)
    (source,) = probe.compare(a, b, X).sources
    assert not source.findings and re.fullmatch(STOPPED, source.notes[-1]), source.notes
    (again,) = probe.compare(a, b, X).sources
    assert again.notes == source.notes
    (found,) = probe.compare(a, b, X, thorough=True).sources
    assert found.findings[0].slug == "other-weights" and "rolled" in found.findings[0].claim
    assert not [one for one in found.notes if re.search(STOPPED, one)]


def test_outputs_alone_are_searched_within_the_same_budget(monkeypatch):
    monkeypatch.setattr("probe.diagnosis.diagnose._WORK", 1e7)
    net, rolled = Net().eval(), Rolled().eval()
    arrays = {name: probe.check(rolled, name, X).outputs["framework"] for name in ("norm", "outer")}
    (source,) = probe.compare(net, arrays, X).sources
    assert not source.findings and re.fullmatch(STOPPED, source.notes[-1]), source.notes
    (found,) = probe.compare(net, arrays, X, thorough=True).sources
    assert found.findings[0].slug == "other-weights"


def test_without_a_search_what_is_read_is_still_told():
    comparison = probe.compare(Net().eval(), Rolled().eval(), X, search=False)
    (source,) = comparison.sources
    assert source.differs and not source.findings
    assert comparison.verdict == "diverge" and NOT_SEARCHED in source.notes
    proven = Net().eval()
    proven.norm.eps = 0.1
    (source,) = probe.compare(Net().eval(), proven, X, search=False).sources
    assert source.differs[0][0] == "epsilon" and NOT_SEARCHED not in source.notes
    with pytest.raises(probe.BadInput, match="search=False not at all"):
        probe.compare(Net().eval(), Rolled().eval(), X, search=False, thorough=True)


def test_more_sources_than_are_searched_in_say_so(monkeypatch):
    monkeypatch.setattr("probe.model_comparison.pairing._EXPLAINED", 0)
    (source,) = probe.compare(Net().eval(), Rolled().eval(), X).sources
    assert not source.findings and "and not in this one" in source.notes[-1]


def test_the_options_of_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr("probe.diagnosis.diagnose._WORK", 1e7)
    a, b = of_onnx(tmp_path)
    np.save(tmp_path / "x.npy", X)

    def run(*options):
        words = ["compare", a, b, "--input", str(tmp_path / "x.npy"), *options]
        result = CliRunner().invoke(command, words)
        return result.exit_code, " ".join(result.output.split())

    status, told = run()
    assert status == 1 and re.search(STOPPED, told), told
    status, told = run("--thorough")
    assert status == 1 and "other-weights" in told, told
    status, told = run("--no-search")
    assert status == 1 and NOT_SEARCHED in told and "other-weights" not in told, told
    status, told = run("--no-search", "--thorough")
    assert status == 2 and "cannot be used together" in told, told
    options = {"against": b, "input": str(tmp_path / "x.npy"), "search": False}
    (source,) = Asked(a, options, {}, {}).compared().sources
    assert source.notes == (NOT_SEARCHED,), "of a mark for pytest"


@pytest.mark.plants_a_fault
def test_an_internal_error_of_the_search_is_told(monkeypatch):
    def broken(*args, **options):
        raise ValueError("made for this test")

    monkeypatch.setattr("probe.model_comparison.causes.why.diagnose", broken)
    (source,) = probe.compare(Net().eval(), Rolled().eval(), X).sources
    assert "internal error in the search for the mistake (ValueError: made" in source.notes[-1]
