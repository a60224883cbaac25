"""Tensors that no call which was seen has made: what made them is said to be unchecked, and
constants are left alone."""

import numpy as np
import pytest
import torch
from torch import nn

import probe
from probe.report.text import line

X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)


class Net(nn.Module):
    """Two layers, and ``between`` them what a test is about."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.between = nn.Linear(4, 5), nn.Linear(5, 3), between
        self.table, self.more = torch.from_numpy(np.arange(5, dtype=np.float32)), [torch.ones(5)]

    def forward(self, x):
        return self.b(torch.relu(self.between(self, self.a(x))))


class Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(np.tanh(x.numpy()))


class OfNumpy(nn.Module):
    def forward(self, x):
        return torch.from_numpy(np.tanh(x.numpy()))


def swept(net, x=X):
    return {report.layer: report for report in probe.sweep(net.eval(), x)}


@pytest.mark.parametrize(
    ("between", "words"),
    [
        (
            lambda net, h: torch.from_numpy(np.tanh(h.numpy())),
            "the input of a call of relu, (2, 5),",
        ),
        (
            lambda net, h: torch.tensor(np.tanh(h.numpy()).tolist()),
            "the input of a call of relu, (2, 5),",
        ),
        (
            lambda net, h: torch.Tensor([[value + 1 for value in row] for row in h.tolist()]),
            "the input of a call of relu, (2, 5),",
        ),
        (
            lambda net, h: torch.from_dlpack(np.tanh(np.from_dlpack(h))),
            "the input of a call of relu, (2, 5),",
        ),
        (lambda net, h: h * torch.tensor(float(h.sum())), "the input of a call of Tensor.mul, (),"),
        (lambda net, h: Tanh.apply(h), "the input of a call of relu, (2, 5),"),
        (lambda net, h: torch.func.vmap(torch.tanh)(h), "the input of a call of relu, (2, 5),"),
        (lambda net, h: h + nn.Parameter(h[:1] * 2), "the input of a call of Tensor.add, (1, 5),"),
        (
            lambda net, h: h + torch.from_numpy(np.tanh(h.numpy()))[:1].float(),
            "the input of a call of Tensor.__getitem__, (2, 5),",
        ),
    ],
)
def test_what_came_from_nowhere_seen_is_unchecked(between, words):
    reports = swept(Net(between))
    assert reports["a"].ok and reports["b"].ok
    assert reports["/unseen"].verdict == "unchecked"
    assert (f"{words} came from no captured call, and it depends on the model's input") in reports[
        "/unseen"
    ].sentence
    assert line(reports["/unseen"]).startswith("unchecked /unseen")
    assert str(reports["/unseen"]) and reports["/unseen"].to_json()


def test_what_is_called_on_arrays_that_came_back_is_checked():
    assert swept(Net(lambda net, h: torch.from_numpy(np.tanh(h.numpy()))))["/relu"].ok


def test_the_input_of_a_layer_is_named():
    class Direct(Net):
        def forward(self, x):
            return self.b(torch.from_numpy(np.tanh(self.a(x).numpy())))

    assert (
        "the input of 'b', (2, 5), came from no captured call"
        in swept(Direct(None))["/unseen"].sentence
    )


def test_a_check_says_that_the_input_of_its_layer_came_from_nowhere_seen():
    class Direct(Net):
        def forward(self, x):
            y = torch.from_numpy(np.tanh(self.a(x).numpy()))
            return self.b(y) + torch.relu(y).sum()

    net = Direct(None).eval()
    told = "the input of {!r}, (2, 5), came from no captured call, and it depends on the model's"
    for layer in ("b", "/relu"):
        assert any(told.format(layer) in note for note in probe.check(net, layer, X).notes), layer
    for layer in ("a", "/add", ""):
        assert not any("no captured call" in note for note in probe.check(net, layer, X).notes)
    assert "no captured call" not in str(probe.check(net, "b", given=np.ones((2, 5), np.float32)))
    behind = nn.Sequential(nn.Linear(4, 5), OfNumpy(), nn.ReLU(), nn.Linear(5, 3)).eval()
    assert told.format("2") in str(" ".join(str(probe.check(behind, "2", X)).split()))
    assert "no captured call" not in str(probe.check(behind, "3", X))


def test_a_check_takes_no_constant_for_it():
    class Constant(Net):
        def forward(self, x):
            return self.b(self.a(x)) + self.b(torch.from_numpy(np.ones((2, 5), np.float32)))

    assert "no captured call" not in str(probe.check(Constant(None).eval(), "b", X))


def test_the_output_of_a_module_is_named():
    reports = swept(nn.Sequential(nn.Linear(4, 5), OfNumpy(), nn.ReLU(), nn.Linear(5, 3)))
    assert "the output of '1', (2, 5), came from no captured call" in reports["1/unseen"].sentence
    assert list(reports) == ["0", "2", "3", "1/unseen"]


HELD = torch.full((5,), 2.0)


def made_on_the_way(net):
    """A layer that draws parameters, which those of another take the place of."""
    layer = nn.Linear(5, 5)
    layer.weight, layer.bias = nn.Parameter(torch.diag(net.table)), net.a.bias
    return layer


@pytest.mark.parametrize(
    "between",
    [
        lambda net, h: h * net.table + net.more[0] + HELD,
        lambda net, h: (
            h
            + torch.from_numpy(np.ones(5, np.float32))
            + torch.tensor(2.0)
            + torch.arange(5)
            + torch.Tensor([1.0] * 5)
        ),
        lambda net, h: (
            h + torch.full((5,), len(h.tolist())) + torch.from_numpy(np.ones(5, np.float32))
        ),
        lambda net, h: h * (1.0 if h.sum().item() > 1e9 else 2.0) + net.b.weight[0],
        lambda net, h: h + torch.func.vmap(torch.tanh)(net.table),
        lambda net, h: made_on_the_way(net)(h),
    ],
)
def test_constants_are_not_taken_for_it(between):
    reports = swept(Net(between))
    assert all(report.ok for report in reports.values()), list(map(line, reports.values()))
    assert not any("unseen" in name for name in reports)


def test_a_module_that_answers_with_a_constant_is_not_taken_for_it():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.randn(9, 5))
            self.look = nn.Embedding(9, 5)

        def forward(self, x):
            return self.table[: x.shape[0]] + self.look(torch.arange(x.shape[0]))

    positions = Positions()
    net = Net(lambda net, h: h + net.positions(h))
    net.positions = positions
    assert not any("unseen" in name for name in swept(net))


def test_of_a_model_that_fails_on_other_numbers_no_more_is_said_than_is_known():
    def between(net, h):
        if net.seen and not np.array_equal(net.seen[0], h.numpy()):
            raise ValueError("other numbers")
        net.seen.append(h.numpy().copy())
        return torch.from_numpy(np.tanh(h.numpy()))

    net = Net(between)
    net.seen = []
    assert "and it may depend on the model's input" in swept(net)["/unseen"].sentence
