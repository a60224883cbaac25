"""Zeros that stand around another tensor than the layer pads."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch.nn import functional as F

import probe


class Offset(torch.nn.Module):
    """Integers less their zero point, padded and summed up in windows."""

    def __init__(self, before):
        super().__init__()
        self.before = before
        weight = torch.tensor(RNG.normal(size=(3, 2, 3, 3)).astype(np.float32))
        self.register_buffer("weight", weight)

    def forward(self, x):
        if self.before:
            return F.conv2d(F.pad(x, (1, 1, 1, 1)).float() + 7, self.weight)
        return F.conv2d(x.float() + 7, self.weight, padding=1)


class Codes(torch.nn.Module):
    """Codes, their embeddings, and a causal convolution."""

    def __init__(self, before):
        super().__init__()
        self.before = before
        self.table = torch.nn.Embedding(9, 4)
        self.causal = torch.nn.Conv1d(4, 5, 3)

    def forward(self, codes):
        if self.before:
            return self.causal(self.table(F.pad(codes, (2, 0))).transpose(1, 2))
        return self.causal(F.pad(self.table(codes).transpose(1, 2), (2, 0)))


class Normed(torch.nn.Module):
    """A norm of channels before a convolution that pads."""

    def __init__(self, before):
        super().__init__()
        self.before = before
        self.norm = torch.nn.BatchNorm2d(2)
        self.conv = torch.nn.Conv2d(2, 3, 3, padding=1)
        self.norm.bias.data = torch.tensor([0.4, -0.7])

    def forward(self, x):
        if self.before:
            y = self.norm(F.pad(x, (1, 1, 1, 1))).relu()
            return F.conv2d(y, self.conv.weight, self.conv.bias)
        return self.conv(self.norm(x).relu())


@pytest.mark.parametrize(
    ("kind", "before", "claim"),
    [
        (Offset, True, "padded with zeros after the sum"),
        (Offset, False, "padded with zeros before the sum"),
        (Codes, True, "padded with zeros after table (embedding), not before"),
        (Codes, False, "padded with zeros before table"),
        (Normed, True, "norm is applied before F.pad, not after it"),
        (Normed, False, "padded with zeros before relu, not after it"),
    ],
)
def test_zeros_before_or_behind(kind, before, claim):
    torch.manual_seed(3)
    model, other = kind(before).eval(), kind(not before).eval()
    other.load_state_dict(model.state_dict())
    x = RNG.normal(size=(2, 2, 6, 5)).astype(np.float32)
    if kind is Codes:
        x = RNG.integers(1, 9, (2, 7))
    elif kind is Offset:
        x = RNG.integers(-20, 20, (2, 2, 6, 5)).astype(np.int8)
    with torch.no_grad():
        values = other(torch.tensor(x)).numpy()
    first, *_ = probe.check(model, "", x, expected=values).findings
    assert (first.claim.startswith(claim), first.left <= 1) == (True, True), first
