"""Numbers of eight bits of another type, clipped at another number, or cut off."""

import ml_dtypes
import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe


class Scaled(nn.Module):
    """A product of numbers of eight bits, scaled by the largest of each tensor."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 5)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(RNG.normal(size=(5, 12))))

    def forward(self, x):
        x_scale, scale = 430 / x.abs().max(), 430 / self.linear.weight.abs().max()
        narrow = (x * x_scale).to(torch.float8_e4m3fn).float()
        kernel = (self.linear.weight * scale).to(torch.float8_e4m3fn).float()
        return narrow @ kernel.T / (x_scale * scale) + self.linear.bias


def cut(x):
    """To a number of e4m3, towards zero."""
    step = 2.0 ** (np.maximum(np.frexp(x)[1] - 1, -6) - 3)
    return (np.trunc(x / step) * step).astype(np.float32)


@pytest.mark.parametrize(
    ("to", "claim"),
    [
        (lambda x: x.astype(ml_dtypes.float8_e4m3fn).astype(np.float32), ""),
        (lambda x: x.astype(ml_dtypes.float8_e5m2).astype(np.float32), "the type is float8_e5m2 "),
        (
            lambda x: np.clip(x, -240, 240).astype(ml_dtypes.float8_e4m3fn).astype(np.float32),
            "numbers are clipped to 240, not to 448",
        ),
        (cut, "numbers are cut off, not rounded"),
    ],
    ids=["right", "e5m2", "240", "cut"],
)
def test_numbers_of_eight_bits(to, claim):
    model, x = Scaled(), RNG.normal(size=(4, 12)).astype(np.float32)
    kernel, bias = (p.detach().numpy() for p in (model.linear.weight, model.linear.bias))
    x_scale, scale = np.float32(430) / np.abs(x).max(), np.float32(430) / np.abs(kernel).max()
    values = to(x * x_scale) @ to(kernel * scale).T / (x_scale * scale) + bias
    report = probe.check(model, "", x, expected=values)
    if not claim:
        assert (report.verdict, report.findings) == ("agree", ())
        return
    finding = report.findings[0]
    assert (report.verdict, finding.slug, finding.left <= 1) == ("diverge", "changed-step", True)
    assert finding.claim.startswith(claim)
