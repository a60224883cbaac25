"""Of a block in which no mistake is found: up to where the values are right, behind which call they
are not, and which call to give next."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import probe
from probe.diagnosis import diagnose
from probe.printable import line


class Attention(nn.Module):
    """Attention and an MLP, each of which may be computed as nobody does."""

    def __init__(self):
        super().__init__()
        self.norm, self.q, self.k = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.v, self.up, self.down = nn.Linear(6, 6), nn.Linear(6, 12), nn.Linear(12, 6)
        self.wrong = ""

    def forward(self, x):
        h = self.norm(x)
        weights = torch.softmax(self.q(h) @ self.k(h).transpose(-1, -2), -1)
        x = x + weights @ self.v(h)
        h = torch.relu(self.up(x))
        if self.wrong == "late tokens":
            h = torch.cat([h[:, :3], torch.sin(h[:, 3:])], 1)
        return x + self.down(h)


class Weights(nn.Module):
    """What attends to what."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.wrong = nn.Linear(6, 6), nn.Linear(6, 6), ""

    def forward(self, x):
        scores = self.q(x) @ self.k(x).transpose(-1, -2)
        if self.wrong == "scores":
            scores = scores * torch.linspace(0.3, 2, 5) ** 1.7 + torch.sin(scores)
        weights = torch.softmax(scores, -1)
        if self.wrong == "weights":
            weights = weights * torch.linspace(0.3, 2, 5) ** 1.7 + 0.1 * torch.sin(9 * weights)
        return (weights * 2).transpose(1, 2)


class Clipped(nn.Module):
    """A residual part whose sum is clipped at 0: zeros agree whatever stands before them."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(6, 12), nn.Linear(12, 6)
        self.wrong = ""

    def forward(self, x):
        h = torch.sigmoid(self.up(x))
        if self.wrong == "late tokens":
            h = torch.cat([h[:, :3], torch.sin(9 * h[:, 3:])], 1)
        return torch.relu(x + self.down(h) - 1.5)


class Cumulative(nn.Module):
    """Sums of shares, of which the last is 1 whatever the shares are."""

    def __init__(self):
        super().__init__()
        self.shares, self.value, self.wrong = nn.Linear(6, 8), nn.Linear(6, 8), ""

    def forward(self, x):
        scores = self.shares(x)
        if self.wrong:
            scores = torch.sin(9 * scores) + scores**2
        return torch.softmax(scores, -1).cumsum(-1) * torch.tanh(self.value(x))


class Gate(nn.Module):
    """A gate of what may be computed as nobody does."""

    def __init__(self):
        super().__init__()
        self.gate, self.value, self.wrong = nn.Linear(6, 8), nn.Linear(6, 8), ""

    def forward(self, x):
        value = self.value(x)
        if self.wrong:
            value = torch.sin(9 * value) + 3 * value**2
        return torch.sigmoid(self.gate(x)) * value


class Causal(nn.Module):
    """Tokens that see none behind them: the first ones agree whatever those are."""

    def __init__(self):
        super().__init__()
        self.norm, self.q, self.k = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.v, self.out = nn.Linear(6, 6), nn.Linear(6, 6)
        self.wrong = ""

    def forward(self, x):
        h = self.norm(x)
        v = self.v(h)
        if self.wrong == "late tokens":
            v = torch.cat([v[:, :3], torch.sin(9 * v[:, 3:]) + v[:, 3:] ** 2], 1)
        scores = self.q(h) @ self.k(h).transpose(-1, -2)
        later = torch.ones(5, 5, dtype=torch.bool).triu(1)
        weights = torch.softmax(scores.masked_fill(later, float("-inf")), -1)
        return self.out(weights @ v)


def of(made, wrong, monkeypatch):
    torch.manual_seed(1)
    block, x = made().eval(), torch.randn(2, 5, 6)
    block.wrong = wrong
    with torch.no_grad():
        values = block(x).numpy()
    block.wrong = ""
    monkeypatch.setattr(diagnose, "_WORK", 2e7)
    return probe.check(block, "", x.numpy(), expected=values)


def test_elements_that_agree_tell_what_is_right(monkeypatch):
    report = of(Attention, "late tokens", monkeypatch)
    assert not report.findings
    told = "; ".join(report.diagnosis)
    assert "the elements that agree depend on all of the output of v: up to there" in told, told
    assert report.ask in ("/softmax", "/matmul:1", "/add", "up"), report.ask
    assert f"compare your output of {report.ask} too: --layer {report.ask} --expect" in told
    assert json.loads(report.to_json())["ask"] == report.ask


@pytest.mark.parametrize("block", [Clipped, Causal, Cumulative])
def test_elements_that_agree_anyway_tell_nothing(block, monkeypatch):
    report = of(block, "late tokens", monkeypatch)
    assert not report.findings, report
    assert "depend on all" not in "; ".join(report.diagnosis), report.diagnosis
    assert report.ask


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("weights", "does not give weights that sum to 1: the difference is in what follows"),
        ("scores", "gives weights that sum to 1 there, too: what follows is right"),
    ],
)
def test_what_undone_steps_give_tells_on_which_side_it_is(wrong, told, monkeypatch):
    report = of(Weights, wrong, monkeypatch)
    assert not report.findings, report
    assert told in "; ".join(map(line, report.diagnosis)), report.diagnosis


def test_another_operand_may_be_what_differs(monkeypatch):
    report = of(Gate, "value", monkeypatch)
    assert not report.findings, report
    words = (
        "does not give values that a sigmoid gives: the difference is in what follows or in the "
    )
    assert words + "output of value" in "; ".join(map(line, report.diagnosis)), report.diagnosis


def test_a_layer_is_asked_for_an_input_of_its_own_shape(monkeypatch):
    monkeypatch.setattr(diagnose, "_WORK", 2e7)
    layer, x = nn.Linear(3, 4), np.ones((2, 3), np.float32)
    values = np.random.default_rng(0).normal(size=(2, 4))
    told = "; ".join(probe.check(layer, "", x, expected=values).diagnosis)
    assert "is np.zeros((2, 3)): give it and your values of it with --expect-input" in told
