"""An internal error that costs no more than a coarser answer fails the test in which it came up:
each of these must fail."""

import numpy as np
import pytest
import torch

import probe
from probe.hypotheses import REGISTERED, Hypothesis

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


def test_in_describing_a_call(monkeypatch):
    monkeypatch.setattr("probe.adapters.torch.capture.module_hooks.describe", broken)
    assert probe.check(net(), "0", X).verdict == "unchecked"
