"""Mistakes before the layer that is asked for: it is right by itself, on an input that is wrong."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import probe

SCALE = math.sqrt(8)
IDS = np.random.default_rng(1).integers(0, 20, (2, 6))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Net(nn.Module):
    """Embeddings, scaled and normalised, and a block."""

    def __init__(self):
        super().__init__()
        self.words, self.segments = nn.Embedding(20, 8), nn.Embedding(20, 8)
        self.norm, self.block = nn.LayerNorm(8), Block()

    def forward(self, ids):
        x = self.words(ids) * SCALE + self.segments(ids // 2)
        return self.block(self.norm(x))


def net():
    torch.manual_seed(0)
    made = Net().eval()
    with torch.no_grad():
        for one in made.parameters():
            one.add_(0.3 * torch.randn_like(one))
    return made


def port(m, scale=SCALE, norm=True, row=0, block=None):
    """The block's output on what comes before it."""
    ids = torch.tensor(IDS)
    x = m.words(ids) * scale + m.segments(ids // 2 + row)
    return (block or m.block)(m.norm(x) if norm else x).detach().numpy()


MISTAKES = {
    "embeddings not scaled": ({"scale": 1.0}, "embedding-scale"),
    "norm forgotten": ({"norm": False}, "missing-step"),
    "rows counted from 1": ({"row": 1}, "off-by-one"),
}


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("name", MISTAKES)
def test_it_is_named_before_the_layer(name):
    options, slug = MISTAKES[name]
    m = net()
    report = probe.check(m, "block", IDS, expected=port(m, **options))
    assert report.verdict == "diverge"
    first = report.findings[0]
    assert first.slug == slug and first.claim.startswith("before this layer: ")
    assert first.left <= 1


def test_the_layer_comes_first():
    m = net()
    mine = port(m, block=lambda x: x + m.block.down(F.relu(m.block.up(m.block.norm(x)))))
    report = probe.check(m, "block", IDS, expected=mine)
    assert not report.findings[0].claim.startswith("before")


@pytest.mark.costly
def test_nothing_before_the_layer_is_named_for_noise():
    m = net()
    y = port(m)
    y = y + np.random.default_rng(0).normal(scale=0.1, size=y.shape).astype(np.float32)
    assert not probe.check(m, "block", IDS, expected=y).findings


def test_weights_of_the_layer_and_of_those_before_it_are_rounded_alike():
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.Tanh(), torch.nn.Linear(8, 7))
    x = np.random.default_rng(3).normal(size=(3, 9)).astype(np.float32)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for one in other.parameters():
            one.copy_(torch.round(one, decimals=2))
        y = other(torch.tensor(x)).numpy()
    (first,) = probe.check(model, "2", x, expected=y).findings
    assert first.claim == "before this layer: the weights have 2 digits after the decimal point"


def test_an_edited_block_is_allowed_what_its_own_values_need():
    """Rounding in a convolution that gives larger values than the layer's is larger too."""
    torch.manual_seed(4)
    layers = [torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.BatchNorm2d(12), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers).eval()
    with torch.no_grad():
        model[1].running_mean.normal_(0, 3)
        model[1].running_var.uniform_(0.01, 0.1)
        x = torch.rand(2, 3, 8, 8)
        y = model(x.flip(1)).numpy()
    (first,) = probe.check(model, "2", x.numpy(), expected=y).findings
    assert (first.slug, first.left <= 1) == ("reversed-channels", True)
