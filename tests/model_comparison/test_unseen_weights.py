"""Weights that differ between layers that agree are said, and why the input does not show them."""

import copy
import json

import numpy as np
import pytest
import torch
from known_warnings import TORCH_EXPORT
from torch import nn

import probe

X = np.abs(np.random.default_rng(0).normal(size=(5, 4))).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    """The third unit is dead, so a column of the last layer meets only zeros."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        net[0].weight.abs_()
        net[0].bias.fill_(1)
        net[0].bias[2] = -100
    return net


UNSEEN = "2: weight[0, 2] differs (x 3) but meets only zeros on this input"


def changed(net):
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[2].weight[0, 2] *= 3
    return other


def test_a_weight_that_meets_only_zeros(net):
    comparison = probe.compare(net, changed(net), X)
    assert comparison.verdict == "agree"
    assert comparison.notes == (UNSEEN,)
    assert f"note: {UNSEEN}" in str(comparison)
    assert "meets only zeros" in comparison.to_html()
    assert UNSEEN in json.loads(comparison.to_json())["pairs"][2]["notes"]


@pytest.mark.filterwarnings(*TORCH_EXPORT)
def test_files_and_exports(net, tmp_path):
    torch.onnx.export(changed(net), (torch.from_numpy(X),), tmp_path / "b.onnx", dynamo=False)
    comparison = probe.compare(net, str(tmp_path / "b.onnx"), X)
    assert comparison.verdict == "agree"
    assert sum("weight[0, 2] differs (x 3) but meets only" in one for one in comparison.notes) == 1


def test_equal_weights_have_no_note(net):
    assert probe.compare(net, copy.deepcopy(net), X).notes == ()


def test_what_rounding_hides_is_said_apart_from_what_meets_zeros(net):
    other = changed(net)
    with torch.no_grad():
        other[2].weight[1, 0] *= 1 + 1.5e-6
    first, second = probe.compare(net, other, X).notes
    assert first == UNSEEN
    assert second.startswith("2: weight[1, 0] differs")
    assert second.endswith("but is hidden by rounding on this input")


class Flattened(nn.Module):
    """The channels first, or last, in front of the last layer."""

    def __init__(self, last):
        super().__init__()
        self.conv, self.linear, self.last = nn.Conv2d(3, 4, 3), nn.Linear(16, 5), last

    def forward(self, x):
        y = torch.relu(self.conv(x))
        return self.linear((y.permute(0, 2, 3, 1) if self.last else y).flatten(1))


def test_another_order_of_rows_is_no_difference():
    torch.manual_seed(0)
    a, b = Flattened(False).eval(), Flattened(True).eval()
    with torch.no_grad():
        a.conv.bias[1] = -100
        b.conv.load_state_dict(a.conv.state_dict())
        b.linear.bias.copy_(a.linear.bias)
        weight = a.linear.weight.reshape(5, 4, 2, 2).permute(0, 2, 3, 1)
        b.linear.weight.copy_(weight.reshape(5, 16))
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    assert probe.compare(a, b, x).notes == ()
    with torch.no_grad():
        b.linear.weight[0, 5] *= 3
    told = "linear: weight[:, 5] of B is not in A but meets only zeros on this input"
    assert probe.compare(a, b, x).notes == (told,)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.cells = nn.LSTM(4, 3, batch_first=True)

    def forward(self, x):
        return self.cells(x * self.scale)[0]


def test_recurrences_and_factors():
    torch.manual_seed(0)
    a = Scaled().eval()
    b = copy.deepcopy(a)
    with torch.no_grad():
        b.scale[1] = 2
        b.cells.weight_ih_l0[:, 1] += 1
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    x[..., 1] = 0
    notes = probe.compare(a, b, x).notes
    assert any("scale[1] differs (x 2) but" in one for one in notes)
    told = "weight_ih_l0[:, 1] differs (by up to 1) but meets only zeros on this input"
    assert any(told in one for one in notes)


class Factor(nn.Module):
    """Times a parameter, or times an input with its numbers."""

    def __init__(self, own):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.scale, self.own = nn.Linear(4, 3), nn.Parameter(2 * torch.ones(3)), own

    def forward(self, x, factor):
        return self.linear(x) * (self.scale if self.own else factor)


@pytest.mark.parametrize("own", [True, False])
def test_a_parameter_in_the_place_of_an_input_is_no_other_weight(own):
    a, b = Factor(own).eval(), Factor(not own).eval()
    comparison = probe.compare(a, b, [X, np.full(3, 2, np.float32)])
    assert comparison.verdict == "agree" and comparison.notes == ()


class Clamped(nn.Module):
    """Two layers that read the same numbers: from one ReLU, or the second from a ReLU of that."""

    def __init__(self, twice):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.twice = nn.Linear(4, 5), nn.Linear(4, 4), twice

    def forward(self, x):
        y = torch.relu(x)
        return self.first(y), self.second(torch.relu(y) if self.twice else y)


def test_another_tensor_of_the_same_numbers_is_no_other_input():
    a, b = Clamped(True).eval(), Clamped(False).eval()
    with torch.no_grad():
        b.second.weight[0, 0] *= 3
    text = str(probe.compare(a, b, X - 0.5))
    assert "differs: B's are 3 times A's: weight[0, 0]" in text
    assert "differs: input" not in text
