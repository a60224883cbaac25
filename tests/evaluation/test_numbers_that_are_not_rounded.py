"""Fixed point written in floats: where no operation rounds, nothing is allowed."""

import numpy as np
import pytest
import torch
from own_seed import RNG

import probe


class FixedPoint(torch.nn.Module):
    """A dense layer in fixed point: its products are cut and its sum wraps around."""

    def __init__(self):
        super().__init__()
        weight = np.random.default_rng(0).normal(size=(6, 10))
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))

    def forward(self, x):
        return ported(x, self.weight)


def ported(x, weight, wrong=""):
    half = 0.5 if wrong == "input is rounded" else 0.0
    x = torch.clamp(torch.floor(x * 128 + half), -2048, 2047) / 128
    weight = torch.clamp(torch.floor(weight * 64 + 0.5), -128, 127) / 64
    products = x[:, None] * weight * 64
    if wrong == "sum is cut":
        total = torch.floor(products.sum(-1))
    else:
        total = torch.floor(products).sum(-1)
    total = torch.remainder(total + 512, 1024) - 512
    half = 0.0 if wrong == "output is cut" else 0.5
    return torch.clamp(torch.floor(torch.relu(total / 64) * 16 + half), -128, 127) / 16


X = (RNG.normal(size=(16, 10)) * 2).astype(np.float32)


def values(wrong=""):
    with torch.no_grad():
        return ported(torch.tensor(X), FixedPoint().weight, wrong).numpy()


def test_all_parties_give_the_same_numbers():
    report = probe.check(FixedPoint().eval(), "", X, expected=values())
    assert report.verdict == "agree" and not report.findings, report
    assert report.sentence.endswith("all values are identical"), report


@pytest.mark.parametrize("wrong", ["input is rounded", "sum is cut", "output is cut"])
def test_another_rounding_diverges(wrong):
    assert (values(wrong) != values()).any()
    report = probe.check(FixedPoint().eval(), "", X, expected=values(wrong))
    assert report.verdict == "diverge", report
