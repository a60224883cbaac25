"""Norms whose gain and bias a model computes: of its parameters, or of its input."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn
from torch.nn import functional

import probe


class Normed(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm
        self.gain = nn.Parameter(torch.from_numpy(RNG.normal(size=6).astype(np.float32)))
        self.bias = nn.Parameter(torch.from_numpy(RNG.normal(size=6).astype(np.float32)))

    def forward(self, x):
        return self.norm(x, self.gain + 1, self.bias, x.mean((0, 1)))


@pytest.mark.parametrize(
    "norm",
    [
        lambda x, gain, bias, mean: functional.layer_norm(x, (6,), gain, bias, 1e-3),
        lambda x, gain, bias, mean: functional.layer_norm(x, (6,), gain, mean),
        lambda x, gain, bias, mean: functional.layer_norm(x, (6,), mean),
        lambda x, gain, bias, mean: functional.rms_norm(x, (6,), gain),
        lambda x, gain, bias, mean: functional.group_norm(x.mT, 3, gain, mean),
    ],
)
def test_a_gain_that_is_computed(norm):
    model, x = Normed(norm).eval(), RNG.normal(size=(4, 5, 6)).astype(np.float32)
    with torch.no_grad():
        right = model(torch.from_numpy(x)).numpy()
    assert probe.check(model, "", x, expected=right).verdict == "agree"
    assert probe.check(model, "", x, expected=1.001 * right).verdict == "diverge"
