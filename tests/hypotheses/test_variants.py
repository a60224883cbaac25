"""Ops that a port has otherwise, where no field of theirs says so: another op of the same name."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import probe

RNG = np.random.default_rng(1)
X = RNG.normal(size=(2, 3, 10, 9)).astype(np.float32)


def of_largest_magnitude(x):
    most, least = F.max_pool2d(x, 2), -F.max_pool2d(-x, 2)
    return torch.where(most >= -least, most, least)


def as_maximum(m, x):
    return torch.maximum(x, m.weight.reshape(-1, 1, 1) * x)


def to_even(x):
    rows, columns = (torch.round(torch.arange(7) * (n - 1) / 6).long() for n in (10, 9))
    return x[:, :, rows][:, :, :, columns]


def zeros_beyond(x):
    """Of an image with a border of zeros that is wide enough, the middle of what is made of it."""
    wide = F.interpolate(F.pad(x, (4, 4, 4, 4)), scale_factor=2, mode="bicubic")
    return wide[:, :, 8:-8, 8:-8]


def equal_windows(x):
    return F.avg_pool2d(x[:, :, :8, :8], 2)


def until_floor(x):
    cells = lambda n: [slice(i * n // 4, (i + 1) * n // 4) for i in range(4)]  # noqa: E731
    rows = [[x[:, :, a, b].mean((2, 3)) for b in cells(9)] for a in cells(10)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def slopes():
    m = nn.PReLU(3)
    with torch.no_grad():
        m.weight.copy_(torch.tensor([0.25, 1.5, -0.5]))
    return m


def old_hard_swish(x):
    return x * torch.clip(0.2 * x + 0.5, 0, 1)


def of_table(x):
    table = torch.tanh(torch.linspace(-8, 8, 257))
    return table[torch.clip(torch.round((x + 8) * 16), 0, 256).long()]


FAULTS = {
    "the value of the largest magnitude": (nn.MaxPool2d(2), lambda m, x: of_largest_magnitude(x)),
    "the smallest value": (nn.MaxPool2d(2), lambda m, x: -F.max_pool2d(-x, 2)),
    "max(x, slope x)": (slopes(), as_maximum),
    "halves rounded to even": (nn.Upsample((7, 7)), lambda m, x: to_even(x)),
    "zeros beyond the border": (
        nn.Upsample(scale_factor=2, mode="bicubic"),
        lambda m, x: zeros_beyond(x),
    ),
    "the rest at the end unused": (nn.AdaptiveAvgPool2d(4), lambda m, x: equal_windows(x)),
    "not at the ceiling": (nn.AdaptiveAvgPool2d(4), lambda m, x: until_floor(x)),
    "clip(0.2 x + 0.5, 0, 1)": (nn.Hardswish(), lambda m, x: old_hard_swish(x)),
    "a table's values of Tanh in steps of 0.0625": (nn.Tanh(), lambda m, x: of_table(x)),
    "wrapping around": (nn.Hardtanh(0, 255), lambda m, x: x % 256),
}


@pytest.mark.parametrize("words", FAULTS)
def test_another_op_of_the_same_name(words):
    m, port = FAULTS[words]
    x = np.round(300 * X) if words == "wrapping around" else 3 * X
    with torch.no_grad():
        y = port(m, torch.tensor(x)).numpy()
    report = probe.check(m, "", x, expected=y)
    assert report.findings, report.diagnosis
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1


def test_a_state_that_is_overwritten_in_place():
    torch.manual_seed(0)
    m = nn.RNN(4, 5, batch_first=True).eval()
    x = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    state, seen = np.zeros((2, 5)), []
    (wx, wh, bx, bh) = (one.detach().numpy().astype(float) for one in m.parameters())
    for t in range(6):
        for unit in range(5):
            share = x[:, t] @ wx[unit] + state @ wh[unit] + bx[unit] + bh[unit]
            state[:, unit] = np.tanh(share)
        seen.append(state.copy())
    y = np.stack(seen, 1).astype(np.float32)
    report = probe.check(m, "", x, expected=y)
    assert "overwritten before the next" in report.findings[0].claim
    right = m(torch.tensor(x))[0].detach().numpy()
    assert probe.check(m, "", x, expected=right).verdict == "agree"
