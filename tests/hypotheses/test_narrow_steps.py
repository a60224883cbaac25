"""Steps that compute in 16 bits, and roundings that float32 decides by its last digit."""

import sys

import ml_dtypes
import numpy as np
import pytest
import torch
from own_seed import RNG
from torch.nn import functional as F

import probe


def named(report, slug, claim):
    assert report.findings, report.diagnosis
    first = report.findings[0]
    assert (first.slug, first.left <= 1) == (slug, True), first
    assert first.claim == claim


class Angles(torch.nn.Module):
    """Sines of positions times rates, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, 9)

    def forward(self, place):
        rates = torch.exp(-torch.arange(16, dtype=torch.float32) / 3)
        return self.linear(torch.sin(place[:, None].float() * rates))


def test_angles_in_16_bits():
    torch.manual_seed(5)
    model, place = Angles().eval(), np.array([1, 981, 437, 999, 250])
    weight, bias = (p.detach().numpy() for p in model.linear.parameters())
    rates = np.exp(-np.arange(16) / 3)

    def check(kind):
        angles = place.astype(kind)[:, None] * rates.astype(kind)
        values = np.sin(angles.astype(np.float32)) @ weight.T + bias
        return probe.check(model, "", place, expected=values)

    assert check(np.float32).verdict == "agree"
    for kind in (np.float16, ml_dtypes.bfloat16):
        first, *_ = check(kind).findings
        assert (first.slug, first.left <= 1) == ("reduced-precision", True), first
        assert first.claim.endswith(f" is computed in {np.dtype(kind).name}")


class Attention(torch.nn.Module):
    """Scores with a bias for each distance."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.tensor(RNG.normal(size=(6, 6)).astype(np.float32)))

    def forward(self, q, k, v):
        return F.softmax(q @ k.transpose(1, 2) * 0.5 + self.bias, -1) @ v


def test_scores_in_half_precision():
    model = Attention().eval()
    q, k, v = RNG.normal(size=(3, 2, 6, 4)).astype(np.float32)
    scores = (q @ k.swapaxes(1, 2) * np.float32(0.5)).astype(np.float16).astype(np.float32)
    with torch.no_grad():
        shares = F.softmax(torch.tensor(scores) + model.bias, -1).numpy()
    report = probe.check(model, "", [q, k, v], expected=shares @ v)
    product = "`q @ k.transpose(1, 2) * 0.5`" if sys.version_info >= (3, 11) else "with 0.5"
    named(report, "reduced-precision", f"the product {product} is stored as float16")


class Activations(torch.nn.Module):
    """Activations of 8 bits by the largest of each token."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(12, 7)

    def forward(self, x):
        step = 127.0 / x.abs().amax(-1, keepdim=True)
        return self.linear((x * step).round() / step)


@pytest.mark.parametrize(
    ("rounded", "mode"), [(np.trunc, "towards zero"), (np.floor, "down (floor)")]
)
def test_the_largest_of_each_token_is_truncated_as_float32_has_it(rounded, mode):
    torch.manual_seed(6)
    model, x = Activations().eval(), RNG.normal(size=(2, 9, 12)).astype(np.float32)
    weight, bias = (p.detach().numpy() for p in model.linear.parameters())
    step = np.float32(127) / np.abs(x).max(-1, keepdims=True)
    values = (rounded(x * step) / step) @ weight.T + bias
    report = probe.check(model, "", x, expected=values)
    product = "`x * step`" if sys.version_info >= (3, 11) else "with the input"
    named(report, "rounding-mode", f"the product {product} is rounded {mode}")
