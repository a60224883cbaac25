"""Layers in each other's places, inputs taken for each other, and training mode: one sentence and
one source each, and what else is wrong beside them is still found."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import probe

X = np.random.default_rng(0).normal(size=(2, 7, 6)).astype(np.float32)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        self.key_first = False

    def forward(self, x):
        y = self.norm(x)
        if self.key_first:
            keys, queries = self.k(y), self.q(y)
        else:
            queries, keys = self.q(y), self.k(y)
        weights = torch.softmax(queries @ keys.transpose(-1, -2) / 3, -1)
        x = x + self.out(weights @ self.v(y))
        return x + self.down(torch.relu(self.up(x)))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 5)
        self.layers = nn.ModuleList(Layer() for _ in range(4))

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Decoder().eval()


def told(comparison):
    """(source, what differs) of what is told as one thing."""
    (source,) = comparison.sources
    (differing,) = source.differs
    return source.b, differing


def test_blocks_that_are_exchanged_are_one_source(net):
    other = copy.deepcopy(net)
    layers = other.layers
    layers[0], layers[1] = layers[1], layers[0]
    comparison = probe.compare(net, other, X)
    assert told(comparison) == (
        ("layers.0.norm",),
        ("layers", "layers.0, layers.1", "layers.1, layers.0"),
    )
    assert any("they are exchanged" in note for note in comparison.sources[0].notes)
    layers[2].up.weight.data[1] *= 1.5
    _, second = probe.compare(net, other, X).sources
    assert second.b == ("layers.2.up",)


class Fused(nn.Module):
    """The same layer with its first three products in one."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.qkv = layer, nn.Linear(8, 24, bias=False)
        self.qkv.weight.data = torch.cat([part.weight.data for part in (layer.q, layer.k, layer.v)])

    def forward(self, x):
        layer = self.layer
        queries, keys, values = self.qkv(layer.norm(x)).chunk(3, -1)
        weights = torch.softmax(queries @ keys.transpose(-1, -2) / 3, -1)
        x = x + layer.out(weights @ values)
        return x + layer.down(torch.relu(layer.up(x)))


def test_blocks_with_fused_products_that_are_exchanged(net):
    fused = copy.deepcopy(net)
    fused.layers = nn.ModuleList(map(Fused, fused.layers))
    assert probe.compare(net, fused, X).verdict == "agree"
    layers = fused.layers
    layers[1], layers[2] = layers[2], layers[1]
    source, differing = told(probe.compare(net, fused, X))
    assert source[0].startswith("layers.1.")
    assert differing == ("layers", "layers.1, layers.2", "layers.2, layers.1")


class Towers(nn.Module):
    """Two towers that are both called at two places."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return [self.head(tower(part)) for part in (x, x * x) for tower in (self.one, self.two)]


def test_layers_that_are_called_twice_and_are_exchanged():
    torch.manual_seed(0)
    first = Towers().eval()
    second = copy.deepcopy(first)
    second.one, second.two = second.two, second.one
    comparison = probe.compare(first, second, X)
    (source,) = comparison.sources
    assert source.b == ("one",)
    assert source.notes[0].endswith(": they are exchanged")


def test_blocks_in_turn_and_one_block_twice(net):
    other = copy.deepcopy(net)
    layers = other.layers
    layers[0], layers[1], layers[2] = layers[1], layers[2], layers[0]
    _, differing = told(probe.compare(net, other, X))
    assert differing[2] == "layers.1, layers.2, layers.0"
    other = copy.deepcopy(net)
    other.layers[1] = other.layers[0]
    comparison = probe.compare(net, other, X)
    _, differing = told(comparison)
    assert differing == ("layers", "layers.1", "layers.0")
    assert not any("exchanged" in note for note in comparison.sources[0].notes)


@pytest.mark.parametrize("names", [("layers.0.q", "layers.0.k"), ("layers.1.v", "layers.3.v")])
def test_single_layers_that_are_exchanged(net, names):
    other = copy.deepcopy(net)
    first, second = (other.get_submodule(name) for name in names)
    first.weight, second.weight = second.weight, first.weight
    source, differing = told(probe.compare(net, other, X))
    assert source == names[:1] and differing == ("layers", ", ".join(names), ", ".join(names[::-1]))


def test_another_order_of_execution_is_no_exchange(net):
    other = copy.deepcopy(net)
    for layer in other.layers:
        layer.key_first = True
    assert probe.compare(net, other, X).ok
    other.layers[2].k.weight.data[1] *= 1.5
    (source,) = probe.compare(net, other, X).sources
    assert source.b == ("layers.2.k",) and source.differs[0][0].startswith("weight")


class Pyramid(nn.Module):
    """Convolutions of equal shapes on maps of different sizes."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 4, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return self.first(x), self.second(nn.functional.avg_pool2d(x, 2))


def test_layers_on_maps_of_other_sizes_that_are_exchanged():
    torch.manual_seed(0)
    net = Pyramid().eval()
    other = copy.deepcopy(net)
    other.first, other.second = other.second, other.first
    x = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    source, differing = told(probe.compare(net, other, x))
    assert source == ("first",) and differing == ("layers", "first, second", "second, first")


class Difference(nn.Module):
    def __init__(self, exchanged=False):
        super().__init__()
        self.left, self.right, self.exchanged = nn.Linear(6, 4), nn.Linear(6, 4), exchanged

    def forward(self, left, right):
        left, right = (right, left) if self.exchanged else (left, right)
        return torch.tanh(self.left(left)) - torch.tanh(self.right(right))


def test_inputs_that_are_taken_for_each_other():
    torch.manual_seed(0)
    net, other = Difference().eval(), Difference(exchanged=True).eval()
    other.load_state_dict(net.state_dict())
    comparison = probe.compare(net, other, [X[0], X[1]])
    assert told(comparison) == (("input 0",), ("inputs", "0, 1", "1, 0"))
    other.right.bias.data[1] += 0.3
    first, second = probe.compare(net, other, [X[0], X[1]]).sources
    assert (first.b, second.b) == (("input 0",), ("right",))


def test_training_mode_is_one_source():
    torch.manual_seed(0)
    layers = (m for _ in range(3) for m in (nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU()))
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 4)).eval()
    other = copy.deepcopy(net)
    for module in other:
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    x = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    for a, b, modes, words in (
        (net, other, ("inference", "training"), "B ran in training mode"),
        (other, net, ("training", "inference"), "A ran in training mode"),
    ):
        comparison = probe.compare(a, b, x)
        source, differing = told(comparison)
        assert source[0] == "1" and differing == ("mode", *modes)
        said = [*comparison.notes, *comparison.sources[0].notes]
        assert len([note for note in said if note.startswith(words)]) == 1
    assert probe.compare(other, copy.deepcopy(other), x).ok
    other[6].bias.data[1] += 0.3
    _, second = probe.compare(net, other, x).sources
    assert second.b == ("6",)
