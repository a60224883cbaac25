"""In which call of a block a mistake is said to be."""

import numpy as np
import pytest
import torch
from torch import nn

import probe

X = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)


class Block(nn.Module):
    """Three layers with an activation each."""

    def __init__(self, left_out=None):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = (nn.Linear(8, 8) for _ in range(3))
        for name in ("one", "two", "three"):
            self.add_module(name, nn.Identity() if name == left_out else nn.ReLU())

    def forward(self, x):
        return self.three(self.third(self.two(self.second(self.one(self.first(x))))))


class Alone(nn.Module):
    def __init__(self, left_out=False):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.act = nn.Linear(8, 8), nn.Identity() if left_out else nn.ReLU()

    def forward(self, x):
        return self.act(self.linear(x))


def claim(model, wrong):
    with torch.no_grad():
        values = wrong.eval()(torch.from_numpy(X)).numpy()
    finding = probe.check(model.eval(), "", X, expected=values).findings[0]
    assert finding.left <= 1
    return finding.claim


@pytest.mark.parametrize("which", ["one", "two", "three"])
def test_of_several_it_is_said_which(which):
    assert claim(Block(), Block(which)) == f"ReLU is not applied in {which}"


def test_of_one_it_is_not():
    assert claim(Alone(), Alone(True)) == "ReLU is not applied"
