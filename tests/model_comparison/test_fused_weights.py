"""Layers of one model that the other holds as one."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe
from probe.model_comparison.causes.fused_weights import FusedPart, cut, part_of
from probe.ops.weight import Weight

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)


class Apart(nn.Module):
    """Attention with a layer each for query, key and value."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))

    def heads(self, x):
        return self.q(x), self.k(x), self.v(x)

    def forward(self, x):
        q, k, v = self.heads(x)
        return self.out(torch.softmax(q @ k.transpose(1, 2), -1) @ v)


class Fused(Apart):
    """The same with one layer for all three."""

    def __init__(self, apart):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        with torch.no_grad():
            for name in ("weight", "bias"):
                parts = [getattr(layer, name) for layer in (apart.q, apart.k, apart.v)]
                getattr(self.qkv, name).copy_(torch.cat(parts))
        self.out = apart.out

    def heads(self, x):
        return self.qkv(x).chunk(3, -1)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    apart = Apart().eval()
    return apart, Fused(apart).eval()


def test_both_agree(pair):
    assert probe.compare(*pair, X).verdict == "agree"
    assert probe.compare(*pair[::-1], X).verdict == "agree"


@pytest.mark.parametrize("place", [0, 9, 20])
def test_what_differs_is_the_parts_and_not_the_shape(pair, place):
    apart, fused = pair
    fused.qkv.bias.data[place] += 0.5
    for a, b in ((apart, fused), (fused, apart)):
        found = probe.compare(a, b, X, search=False)
        (source,) = found.sources
        ((name, _, _),) = source.differs
        assert name.startswith(f"bias[{place % 8}]"), str(found)


def test_a_part_is_found_along_the_axis_that_differs():
    large = RNG.normal(size=(6, 12))
    small = large[:, 4:8].copy()
    small[:, 1] += 1
    assert part_of(small, large) == part_of(large, small) == FusedPart(1, 4)
    assert part_of(RNG.normal(size=(6, 4)), large) is None
    assert part_of(large[:3, 4:8], large) is None and part_of(large, large) is None
    weight = Weight("weight", None, large)
    np.testing.assert_array_equal(cut(weight, FusedPart(1, 4), 4).value, large[:, 4:8])
    assert cut(weight, FusedPart(1, 10), 4) is None and cut(weight, FusedPart(1, 4), 12) is weight
