"""Mistakes of the comparison itself are named before a model is blamed."""

import copy

import numpy as np
import pytest
import torch

import probe

X = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (torch.nn.Linear(12, 12) for _ in range(3))
        self.norm = torch.nn.LayerNorm(12)
        torch.nn.init.uniform_(self.norm.weight, 0.5, 1.5)

    def forward(self, x):
        x = torch.relu(self.one(x))
        x = x + self.two(x)
        return self.norm(self.three(x))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


def dumped(net):
    names = ("one", "two", "three", "norm")
    return {name: probe.check(net, name, X).outputs["framework"] for name in names}


@pytest.mark.costly
def test_nothing_was_copied(net):
    torch.manual_seed(1)
    comparison = probe.compare(net, Net().eval(), X)
    assert comparison.verdict == "diverge"
    assert "the weights were not copied" in comparison.sentence


def test_another_input(net):
    comparison = probe.compare(net, net, X, x_b=X / 255)
    assert len(comparison.sources) == 1
    assert "another preprocessing" in comparison.sources[0].findings[0].claim
    assert all(one.local.ok for one in comparison.pairs if not one.source)


def test_another_mode(net):
    other = copy.deepcopy(net).train()
    comparison = probe.compare(net, other, X)
    assert "B ran in training mode and A in inference mode (eval())" in comparison.notes


@pytest.mark.costly
def test_the_values_of_another_layer(net):
    arrays = dumped(net)
    arrays["three"] = arrays["norm"]
    comparison = probe.compare(net, arrays, X)
    assert len(comparison.sources) == 1
    assert "holds the output of norm" in comparison.sources[0].notes[0]


@pytest.mark.costly
def test_identical_arrays(net):
    arrays = dict.fromkeys(("one", "two", "three"), dumped(net)["norm"])
    comparison = probe.compare(net, arrays, X)
    assert any("hold identical arrays" in one for one in comparison.notes)


def test_a_residual_that_is_kept_apart(net):
    calls = []
    probe.open_model(net).run((X,), None, calls.append)
    found = {one.layer: one.outputs[0] for one in calls}
    arrays = dumped(net) | {"/relu": found["/relu"], "/add": found["/add"] - found["/relu"]}
    comparison = probe.compare(net, arrays, X)
    source = next(one for one in comparison.sources if one.a == ("/add",))
    assert "with /relu added these values are the model's" in source.notes[0]


def test_a_tie_of_logits(net):
    class Head(torch.nn.Module):
        def __init__(self, more):
            super().__init__()
            self.two = torch.nn.Linear(12, 4)
            weight = torch.linspace(-1, 1, 12).repeat(4, 1)
            weight[2:] -= 5 * torch.sign(torch.tensor(X[0]))
            self.two.weight.data, self.two.bias.data = weight, torch.tensor([0, more, 0, 0])

        def forward(self, x):
            return self.two(x)

    comparison = probe.compare(Head(0.0).eval(), Head(1e-7).eval(), X[:1])
    assert any(note.endswith("at 1 within rounding: a tie") for note in comparison.notes)


def test_fixed_point_of_a_trace_is_named(net):
    arrays = dumped(net)
    arrays["two"] = np.floor(arrays["two"] * 2**6) / 2**6
    comparison = probe.compare(net, arrays, X)
    source = comparison.sources[0]
    assert source.tensors == ("two", "two")
    assert source.findings[0].slug == "fixed-point", str(comparison)


def test_weights_with_channels_of_zeros_beside_them_were_copied():
    """As hardware wants them, in multiples of 8: they are compared as one, and agree."""

    class Padded(torch.nn.Module):
        def __init__(self, more):
            super().__init__()
            self.one, self.two = (
                torch.nn.Linear(12 + more, 10 + more),
                torch.nn.Linear(10 + more, 3),
            )
            self.more = more

        def forward(self, x):
            x = torch.nn.functional.pad(x, (0, self.more))
            return self.two(torch.relu(self.one(x)))

    torch.manual_seed(0)
    net, wide = Padded(0).eval(), Padded(6).eval()
    with torch.no_grad():
        for layer, own in ((wide.one, net.one), (wide.two, net.two)):
            rows, columns = own.weight.shape
            layer.weight.zero_()[:rows, :columns] = own.weight
            layer.bias.zero_()[:rows] = own.bias
    found = probe.compare(net, wide, X)
    assert found.ok and not found.notes, str(found)
    with torch.no_grad():
        wide.one.weight[2] *= 1.2
    found = probe.compare(net, wide, X, search=False)
    assert len(found.sources) == 1 and "not copied" not in str(found)
