"""An internal error that costs no more than a coarser answer fails the test in which it came up:
each of these must fail."""

import numpy as np
import pytest
import torch

import probe
from probe import ops
from probe.hypotheses import REGISTERED, Hypothesis
from probe.ops.step import Step

pytestmark = pytest.mark.xfail(strict=True, raises=pytest.fail.Exception)


def broken(*args, **kwargs):
    raise TypeError("made for this test")


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).eval()


X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)


@pytest.mark.parametrize("name", ["allowances", "values_of"])
def test_in_what_the_layers_before_round(name, monkeypatch):
    model = net()
    right = model(torch.from_numpy(X)).detach().numpy()
    monkeypatch.setattr(f"probe.evaluation.propagated_error.{name}", broken)
    reports = list(probe.sweep(model, X, expected={"2": right}))
    assert all(report.ok for report in reports)


def test_in_the_search_for_one_mistake(monkeypatch):
    first = Hypothesis("broken", broken, "")
    monkeypatch.setattr("probe.diagnosis.search.REGISTERED", [first, *REGISTERED])
    model = net()
    mine = (torch.from_numpy(X) @ model[0].weight.T).detach().numpy()
    assert probe.check(model, "0", X, expected=mine).findings[0].slug == "missing-bias"


class Broken(ops.Tanh):
    """An op that a mistake puts in the place of another."""

    def run(self, x):
        raise self.error


@pytest.mark.parametrize("error", [TypeError, AttributeError, KeyError])
def test_in_a_layer_as_a_mistake_changes_it(error, monkeypatch):
    def changed(case):
        yield case.edit("made for this test", (*case.steps, Step(Broken(), None)))

    Broken.error = error("made for this test")
    monkeypatch.setattr("probe.diagnosis.search.REGISTERED", [Hypothesis("broken", changed, "")])
    assert probe.check(net(), "0", X, expected=np.ones((2, 3))).verdict == "diverge"


def test_in_what_a_layer_of_a_comparison_rounds(monkeypatch):
    monkeypatch.setattr("probe.model_comparison.graphs.node_values.carry", broken)
    assert probe.compare(net(), net(), X).verdict


def test_in_describing_a_call(monkeypatch):
    monkeypatch.setattr("probe.adapters.torch.capture.module_capture.describe", broken)
    assert probe.check(net(), "0", X).verdict == "unchecked"
