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
