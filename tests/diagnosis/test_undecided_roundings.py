"""Numbers that a change brings between two levels, to one of which a later step rounds them."""

import numpy as np
import torch
from own_seed import RNG

import probe


class Sum(torch.nn.Module):
    """The sum of two maps of integers, each with its own scale, on the levels of a third one."""

    def __init__(self):
        super().__init__()
        self.register_buffer("first", torch.tensor(0.07))
        self.register_buffer("second", torch.tensor(0.03))
        self.register_buffer("step", torch.tensor(0.14))

    def forward(self, a, b):
        total = a.float() * self.first + b.float() * self.second
        return torch.clamp(torch.round(total / self.step), -128, 127) * self.step


def test_a_later_step_may_round_either_way_what_a_change_brings_between_two_levels():
    a, b = (RNG.integers(-99, 99, (4, 10)).astype(np.int8) for _ in range(2))
    model, first, step = Sum(), np.float32(0.07), np.float32(0.14)
    exact = (a.astype(float) + b) / 2  # every other one of these lies between two levels
    levels = np.where(RNG.random(exact.shape) < 0.5, np.ceil(exact), np.floor(exact))
    report = probe.check(model, "", (a, b), expected=levels.astype(np.float32) * step)
    assert first + first == step
    assert [(finding.also, finding.left <= 1) for finding in report.findings] == [((), True)]
    assert "first" in report.findings[0].claim


class Shortcut(torch.nn.Module):
    """The sum of two maps of integers on levels of 8 bits, and the mean of each row of it."""

    def forward(self, a, b):
        total = a.float() * 0.05 + b.float() * 0.025
        codes = torch.clamp(torch.round(total / 0.1) + 96, 0, 255)
        return torch.maximum(codes, torch.tensor(96.0)).mean(-1)


def test_float32_decides_what_is_rounded_before_a_change():
    # half of the sums lie between the last level and the one that wraps around
    a, b = (RNG.integers(-250, 250, (40, 9)).astype(np.int16) for _ in range(2))
    b[::2] = 638 - 2 * a[::2]
    total = a * np.float32(0.05) + b * np.float32(0.025)
    codes = np.mod(np.round(total / np.float32(0.1)) + 96, 256)
    values = np.maximum(codes, 96).mean(-1, dtype=np.float32)
    first, *_ = probe.check(Shortcut(), "", (a, b), expected=values).findings
    assert (first.slug, first.left <= 1) == ("wrap-around", True), first
