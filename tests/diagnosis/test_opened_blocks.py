"""Mistakes before whole numbers of a block, and in what it computes from numbers alone."""

import numpy as np
import torch
from own_seed import RNG
from torch import nn

import probe


class Shifted(nn.Module):
    """Integers from floats, a product, a shift that rounds, and floats again."""

    def __init__(self, half=1 << 5, zero=3, shift=6):
        super().__init__()
        self.half, self.zero, self.shift = half, zero, shift
        weight = np.random.default_rng(1).integers(-100, 100, (5, 8))
        self.register_buffer("weight", torch.from_numpy(weight))

    def forward(self, x):
        q = (x / 0.05).round().long() + self.zero
        total = (q @ self.weight.T + self.half) >> self.shift
        return total.clamp(-128, 127).float() * 0.1


class Decaying(nn.Module):
    """A table by a formula, as RetNet's decays."""

    def __init__(self, first=5.0, steps=6):
        super().__init__()
        self.first, self.steps = first, steps

    def forward(self, x):
        rates = 1 - 2 ** (-self.first - torch.arange(x.shape[1]))
        places = torch.arange(x.shape[2]) / self.steps
        return x * (rates[:, None] ** places)


def named(right, wrong, x, slug):
    with torch.no_grad():
        twin, values = right(torch.from_numpy(x)).numpy(), wrong(torch.from_numpy(x)).numpy()
    healthy = probe.check(right, "", x, expected=twin)
    assert (healthy.verdict, healthy.findings) == ("agree", ())
    report = probe.check(right, "", x, expected=values)
    finding = report.findings[0]
    assert (report.verdict, finding.slug, finding.left <= 1) == ("diverge", slug, True), report
    return finding.claim


def test_before_whole_numbers_of_a_block():
    x = RNG.normal(size=(6, 8)).astype(np.float32)
    claim = named(Shifted(), Shifted(half=0), x, "rounding-mode")
    assert claim.endswith("is rounded down (floor): half of a step is not added before"), claim
    claim = named(Shifted(), Shifted(shift=5), x, "changed-step")
    assert claim.startswith("5 is taken instead of 6 in "), claim
    claim = named(Shifted(), Shifted(zero=4), x, "changed-step")
    assert claim.startswith("4 is taken instead of 3 in "), claim


def test_in_what_is_computed_from_numbers_alone():
    x = RNG.normal(size=(3, 4, 6)).astype(np.float32)
    claim = named(Decaying(), Decaying(first=4.0), x, "changed-step")
    assert claim == "-4 is taken instead of -5 in -5 - arange(4)"
    claim = named(Decaying(steps=6), Decaying(steps=5), x, "changed-step")
    assert claim == "5 is taken instead of 6 in arange(6) / 6"
