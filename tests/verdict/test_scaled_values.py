"""Values in half precision that are the layer's times a number are a mistake, such as a dropout
that was never undone, and not what rounds intermediate results."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import probe

X = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(64), nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x):
        return x + self.b(torch.nn.functional.gelu(self.a(self.norm(x))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    blocks = [Block() for _ in range(6)]
    return nn.Sequential(nn.Linear(64, 64), *blocks, nn.LayerNorm(64)).bfloat16().eval()


def rounded_everywhere(model, x):
    """Each step of each layer written out, and its result stored in bfloat16."""
    x = torch.from_numpy(x).bfloat16()

    def norm(layer, x):
        x = x - x.mean(-1, keepdim=True)
        x = x / torch.sqrt((x * x).mean(-1, keepdim=True) + layer.eps)
        return x * layer.weight + layer.bias

    def linear(layer, x):
        return x @ layer.weight.T + layer.bias

    def gelu(x):
        return x * (1 + torch.erf(x / 2**0.5)) / 2

    first, *blocks, last = model
    x = linear(first, x)
    for block in blocks:
        x = x + linear(block.b, gelu(linear(block.a, norm(block.norm, x))))
    return norm(last, x).detach().float().numpy()


@pytest.mark.parametrize("layer", ["", "7"])
@pytest.mark.parametrize("scale", [1.05, 1 / 0.9, 0.9])
def test_a_scale_is_not_excused_as_rounding(model, layer, scale):
    right = probe.check(model, layer, X).outputs["framework"]
    wrong = (right * scale).astype(np.float32)
    assert probe.check(model, layer, X, expected=wrong, search=False).verdict == "diverge"


@pytest.mark.parametrize("layer", ["", "7"])
def test_honest_values_agree(model, layer):
    """Those of float32 arithmetic, and those that round every intermediate result."""
    whole = copy.deepcopy(model).float()(torch.from_numpy(X)).detach().numpy()
    for mine in (whole, rounded_everywhere(model, X)):
        assert probe.check(model, layer, X, expected=mine).ok


def test_one_row_may_err_by_one_factor(model):
    """Its mean and variance are one number each."""
    x = X[:1]
    right = probe.check(model, "", x).outputs["framework"]
    mine = rounded_everywhere(model, x)
    assert probe.check(model, "", x, expected=mine).ok
    assert probe.check(model, "", x, expected=right).ok


def test_a_norm_with_the_variance_of_a_sample_is_not_excused_as_rounding():
    """All rows are off by sqrt(39/40) around the bias, which is three roundings of bfloat16."""
    torch.manual_seed(0)
    norm = nn.LayerNorm(40)
    with torch.no_grad():
        norm.weight.add_(0.3 * torch.randn(40))
        norm.bias.add_(0.3 * torch.randn(40))
        norm.bfloat16().eval()
        x = torch.from_numpy(X[:, :40] + 3).bfloat16()
        wide = x.float() - x.float().mean(-1, keepdim=True)
        for less, verdict in ((0, "agree"), (1, "diverge")):
            variance = wide.square().sum(-1, keepdim=True) / (40 - less)
            y = wide / torch.sqrt(variance + norm.eps) * norm.weight + norm.bias
            report = probe.check(norm, "", x, expected=y.bfloat16().float().numpy())
            assert report.verdict == verdict, report
