"""Blocks with a call of which nothing is known: its values are the framework's."""

import numpy as np
import pytest
import torch
from torch import nn

import probe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 5)).astype(np.float32)


class Singular(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(5, 4)

    def forward(self, x):
        return torch.relu(torch.linalg.svd(self.linear(x))[1])


@pytest.fixture
def block():
    return Singular().eval()


@pytest.fixture
def values(block):
    with torch.no_grad():
        return block(torch.from_numpy(X)).numpy()


def test_without_values_of_the_users_nothing_is_said(block):
    report = probe.check(block, "", X)
    assert report.verdict == "unchecked"
    assert "taken from the framework instead of computed" in report.sentence


def test_an_agreement_says_what_was_taken(block):
    framework = probe.check(block, "", X).outputs["framework"]
    report = probe.check(block, "", X, expected=framework)
    assert report.verdict == "agree"
    assert "taken from the framework instead of computed" in report.sentence
    assert "svd has no description" in report.sentence


@pytest.mark.parametrize("share", [1e-6, 2e-5])
def test_what_an_unknown_call_may_round_is_not_held_against_the_user(block, values, share):
    report = probe.check(block, "", X, expected=values * np.float32(1 + share))
    assert report.verdict == "unchecked"
    assert "what rounding may do is not known" in report.sentence
    assert "svd has no description" in report.sentence


@pytest.mark.parametrize(
    "wrong", [lambda y: 1.01 * y, lambda y: -y, np.zeros_like, lambda y: y / 2]
)
def test_more_than_rounding_diverges(block, values, wrong):
    report = probe.check(block, "", X, expected=wrong(values).astype(np.float32))
    assert report.verdict == "diverge"


def test_nan_and_shapes_diverge(block, values):
    lost = values.copy()
    lost[0, 0] = np.nan
    assert probe.check(block, "", X, expected=lost).verdict == "diverge"
    assert probe.check(block, "", X, expected=values[:, :2]).verdict == "diverge"


class Unbounded(nn.Module):
    """An unknown call beside a division that gives inf."""

    def forward(self, x):
        return 1 / torch.linalg.svd(x)[1].round()


def test_an_infinite_value_excuses_nothing():
    x = np.float32([[[3.0, 0.0], [0.0, 0.25]], [[2.0, 0.0], [0.0, 1.0]]])
    with torch.no_grad():
        right = Unbounded()(torch.from_numpy(x)).numpy()
    assert np.isinf(right).sum() == 1
    for factor, verdict in ((1 + 1e-6, "unchecked"), (1.01, "diverge")):
        report = probe.check(Unbounded().eval(), "", x, expected=right * np.float32(factor))
        assert report.verdict == verdict, report


def test_a_tolerance_of_the_users_holds(block, values):
    near = values * np.float32(1 + 1e-6)
    assert probe.check(block, "", X, expected=near, rtol=1e-4, atol=0).verdict == "agree"
    assert probe.check(block, "", X, expected=near, rtol=1e-9, atol=0).verdict == "diverge"
