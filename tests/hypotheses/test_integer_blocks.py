"""Integers of a handwritten block: how quotients round, where they are clipped, whose scale."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn
from torch.nn import functional

import probe


class Averaged(nn.Module):
    """Averages of whole numbers over a window, halves away from zero."""

    def forward(self, x):
        total = functional.avg_pool2d(x, (2, 3), divisor_override=1)
        raised = torch.floor((total.abs() + 3) / 6)
        return torch.where(total < 0, -raised, raised)


class Gated(nn.Module):
    """A rescaled sum of two inputs with zero points, kept between two ends."""

    def __init__(self, scales=(0.5, 0.75), zeros=(6, -11), after=4, low=-50, early=False):
        super().__init__()
        self.scales, self.zeros, self.after, self.low, self.early = scales, zeros, after, low, early

    def forward(self, a, b):
        y = (a - self.zeros[0]) * self.scales[0] + (b - self.zeros[1]) * self.scales[1]
        y = torch.round(y).int()
        if self.early:
            return y.clamp(self.low, 90).float() + self.after
        return (y + self.after).clamp(self.low, 90).float()


class Shifted(nn.Module):
    def __init__(self, bits=5):
        super().__init__()
        self.bits = bits

    def forward(self, x):
        return ((x.int() * 13 + (1 << (self.bits - 1))) >> self.bits).float()


def said(model, inputs, values):
    """Each explanation that gives the values."""
    report = probe.check(model, "", list(inputs), expected=values)
    assert report.verdict == "diverge", report
    exact = [finding for finding in report.findings if finding.left <= 1]
    return [f"{finding.slug}: {finding.claim}" for finding in exact]


def whole(*shape):
    return RNG.integers(-100, 100, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("rounded", "mode"), [(np.floor, "down (floor): half"), (np.trunc, "towards zero")]
)
def test_a_quotient_that_is_rounded_in_several_steps(rounded, mode):
    x = whole(2, 3, 6, 6)
    total = x.reshape(2, 3, 3, 2, 2, 3).sum((3, 5))
    right = np.copysign(np.floor(np.abs(total / 6) + 0.5), total)
    assert probe.check(Averaged(), "", x, expected=right).verdict == "agree"
    first, *_ = said(Averaged(), [x], rounded(total / 6).astype(np.float32))
    assert f"is rounded {mode}" in first


def test_a_shift_by_other_bits_with_its_half():
    x = whole(3, 20)
    wrong = np.floor((x * 13 + 8) / 16)
    claims = said(Shifted(), [x], wrong)  # as of an input of twice the size
    assert any("is shifted by 4 bits, not by 5, half of that" in claim for claim in claims)


@pytest.mark.parametrize(
    ("wrong", "claim"),
    [
        ({"scales": (0.75, 0.5)}, "changed-step: 0.5 and 0.75 are exchanged in "),
        ({"zeros": (-11, 6)}, "changed-step: -6 and 11 are exchanged in "),
        ({"early": True}, "saturation: numbers are clipped to -50 .. 90 before 4 is added"),
        ({"low": 0}, "saturation: "),
    ],
)
def test_numbers_and_ends_of_a_sum(wrong, claim):
    a, b = whole(4, 30), whole(4, 30)
    with torch.no_grad():
        values = Gated(**wrong)(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    assert any(found.startswith(claim) for found in said(Gated(), [a, b], values))


class Quantised(nn.Module):
    """A linear layer with a kernel and a ReLU of few bits."""

    def __init__(self, kernel=(-8, 7), steps=4, wraps=False, size=32):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(8, 6)
        self.kernel, self.steps, self.wraps, self.size = kernel, steps, wraps, size

    def forward(self, x):
        kernel = torch.clamp(torch.round(self.linear.weight * self.size), *self.kernel) / self.size
        y = torch.round(functional.linear(x, kernel, self.linear.bias) * self.steps)
        y = y.clamp(min=0) % 16 if self.wraps else y.clamp(0, 15)
        return y / self.steps


@pytest.mark.parametrize(
    ("wrong", "claim"),
    [
        ({"kernel": (-4, 3)}, "saturation: "),
        ({"steps": 8}, "is in steps of 0.125, not 0.25"),
        ({"size": 64, "kernel": (-16, 15)}, "steps of 0.015625, not 0.03125, in the same range"),
        ({"wraps": True}, "wrap-around: wrapping around above 15 instead of Clip to 0 .. 15"),
    ],
)
def test_bits_of_a_kernel_and_of_an_activation(wrong, claim):
    x = 20 * RNG.normal(size=(9, 8)).astype(np.float32)
    with torch.no_grad():
        values = Quantised(**wrong)(torch.from_numpy(x)).numpy()
    assert any(claim in found for found in said(Quantised().eval(), [x], values))


class Filter(nn.Module):
    """Samples of 16 bits and taps, summed up in 64."""

    def forward(self, x):
        taps = torch.tensor([9000, 27000, 17500, 9000, 27000])
        total = (x.long().unfold(1, 5, 1) * taps).sum(-1)
        return ((total + (1 << 14)) >> 15).clamp(-32768, 32767)


def test_a_sum_of_integers_that_overflows():
    x = np.where(np.arange(40) % 20 < 12, 30000, -32000).astype(np.int16)[None]
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.int64), 5, axis=1)
    total = windows @ np.array([9000, 27000, 17500, 9000, 27000])
    values = np.clip((total.astype(np.int32) + np.int32(1 << 14)) >> 15, -32768, 32767)
    found = said(Filter(), [x], values)
    assert any(claim.startswith("wrap-around: the output of sum is wrapped") for claim in found)


class Centred(nn.Module):
    """Whole numbers less their mean, rounded down."""

    def forward(self, x):
        mean = torch.div(x.long().sum(-1, keepdim=True), 12, rounding_mode="floor")
        return x - mean


def test_a_quotient_of_integers_that_is_cut_off():
    x = RNG.integers(-128, 128, (40, 12)).astype(np.int8)
    mean = np.trunc(x.sum(-1, keepdims=True, dtype=np.int64) / 12).astype(np.int64)
    first, *_ = said(Centred(), [x], x - mean)
    assert first == "rounding-mode: the output of sum, divided by 12, is rounded towards zero"


class History(nn.Module):
    """A sum over windows that goes on from the samples before."""

    def __init__(self):
        super().__init__()
        self.register_buffer("history", torch.tensor(RNG.integers(-20000, 20000, 3)))

    def forward(self, x):
        line = torch.cat([self.history.expand(len(x), -1), x.long()], 1)
        return (line.unfold(1, 4, 1) * torch.tensor([3, -7, 11, 5])).sum(-1) >> 3


def test_integers_of_a_buffer_that_are_zeros():
    model, x = History(), RNG.integers(-30000, 30000, (2, 20)).astype(np.int16)
    zeros = torch.zeros(2, 3, dtype=torch.long)
    line = torch.cat([zeros, torch.tensor(x).long()], 1).unfold(1, 4, 1)
    values = ((line * torch.tensor([3, -7, 11, 5])).sum(-1) >> 3).numpy()
    first, *_ = said(model, [x], values)
    assert first == "scaled-tensor: history is taken as 0 everywhere"


class Requantised(nn.Module):
    """Sums brought to codes by scales, with a zero point."""

    def __init__(self):
        super().__init__()
        for name, value in (("x_scale", 0.05), ("y_scale", 0.6), ("zero", -20)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, x):
        return (torch.round(x * (self.x_scale / self.y_scale)) + self.zero).clamp(-128, 127)


def test_a_zero_point_that_is_left_out_is_no_scale():
    x = whole(4, 30)
    values = np.clip(np.rint(x * (np.float32(0.05) / np.float32(0.6))), -128, 127)
    first, *_ = said(Requantised(), [x], values)
    assert first.startswith("missing-step: ")


class Rescaled(nn.Module):
    """Two tensors brought to one scale with 12 bits behind the point, and their sum."""

    def forward(self, a, b):
        a = (a.long() << 12) * 20123 >> 15
        b = (b.long() << 12) * 29877 >> 15
        return (a + b) * 23000 >> 27


def test_fewer_bits_behind_the_point_of_a_sum():
    a, b = RNG.integers(-128, 128, (2, 4, 30)).astype(np.int8)
    wide = [x.astype(np.int64) << 2 for x in (a, b)]
    total = (wide[0] * 20123 >> 15) + (wide[1] * 29877 >> 15)
    values = (total << 10) * 23000 >> 27
    first, *_ = said(Rescaled(), [a, b], values)
    assert first.startswith("fixed-point: 2 bits are kept behind the point, not 12, as far as ")


class Bytes(nn.Module):
    """Numbers kept between the ends of a byte, with a gain."""

    def forward(self, x):
        return torch.clamp(x * 1.6 - 20, 0, 255) * 0.02


def test_a_cast_to_a_byte_in_place_of_a_clip():
    x = (RNG.normal(size=(5, 40)) * 90 + 90).astype(np.float32)
    cast = (x * np.float32(1.6) - 20).astype(np.int32).astype(np.uint8)
    first, *_ = said(Bytes(), [x], cast * np.float32(0.02))
    assert first.startswith("wrap-around: a cast to whole numbers that wraps around instead of")


class Ternary(nn.Module):
    def forward(self, x):
        return torch.clamp(torch.round(x / 0.4), -1, 1) * 0.4


def test_a_dead_zone_of_a_quantiser():
    x, step = RNG.normal(size=(5, 40)).astype(np.float32), np.float32(0.4)
    first, *_ = said(Ternary(), [x], np.sign(x) * (np.abs(x) > np.float32(0.7) * step) * step)
    assert "is rounded away from zero from 0.7 of a step on" in first


class Signs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        return self.linear(torch.where(x >= 0, 1.0, -1.0))


def test_the_sign_of_zero():
    x, model = RNG.integers(-2, 3, (9, 8)).astype(np.float32), Signs().eval()
    weight, bias = (p.detach().numpy() for p in model.linear.parameters())
    first, *_ = said(model, [x], np.sign(x) @ weight.T + bias)
    assert first.startswith("changed-step: numbers of ") and "have the sign 0" in first


class Levels(nn.Module):
    """A ReLU in eighths below 2."""

    def forward(self, x):
        return torch.clamp(torch.round(x * 8), 0, 15) / 8


def test_no_more_than_the_activation_is_left_of_a_quantiser():
    x = RNG.normal(size=(5, 40)).astype(np.float32) * 2
    first, *_ = said(nn.Sequential(Levels(), nn.Tanh()), [x], np.tanh(np.maximum(x, 0)))
    assert first.startswith("missing-step: ")
    assert "neither rounded nor clipped at 15, only at 0" in first
