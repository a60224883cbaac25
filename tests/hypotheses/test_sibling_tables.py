"""Tables that go together: read in another order at once, exchanged, or dealt out in turn."""

import numpy as np
import torch
from own_seed import RNG

import probe


def named(report, slug, *words):
    assert report.findings, report.diagnosis
    first = report.findings[0]
    assert (first.slug, first.left <= 1) == (slug, True), first
    assert all(word in first.claim for word in words), first.claim


class Requantised(torch.nn.Module):
    """Integers with a multiplier and a shift for each channel."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor(RNG.integers(-90, 90, (6, 9))))
        self.register_buffer("multiplier", torch.tensor(RNG.integers(2**14, 2**15, 6)))
        self.register_buffer("shift", torch.tensor([22, 23, 22, 24, 21, 23]))

    def forward(self, x):
        total = (x.long()[:, None] * self.weight).sum(-1)
        return (total * self.multiplier >> self.shift).clamp(-128, 127)


def requantised(model, x, order=slice(None), transposed=False):
    weight = model.weight.numpy()
    weight = weight.reshape(9, 6).T if transposed else weight
    total = (x.astype(np.int64)[:, None] * weight).sum(-1)
    return np.clip(total * model.multiplier.numpy()[order] >> model.shift.numpy()[order], -128, 127)


def test_multipliers_and_shifts_of_other_channels():
    model, x = Requantised().eval(), RNG.integers(-128, 128, (7, 9)).astype(np.int8)

    def check(**how):
        return probe.check(model, "", x, expected=requantised(model, x, **how))

    assert check().verdict == "agree"
    for order, words in (
        ([0] * 6, "taken from the first place"),
        (slice(None, None, -1), "reversed"),
    ):
        named(check(order=order), "rearranged-tensor", f"multiplier is {words}", "shift is")
    named(check(transposed=True), "rearranged-tensor", "weight is read as (9, 6)")


class Sum(torch.nn.Module):
    """Two tensors brought to one scale, and added."""

    def __init__(self):
        super().__init__()
        for name, value in (("first", 20123), ("second", 29877)):
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("zeros", torch.tensor([5, -12]))
        self.register_buffer("shifts", torch.tensor([16, 14]))

    def forward(self, a, b):
        a = (a.long() - self.zeros[0]) * self.first >> self.shifts[0]
        b = (b.long() - self.zeros[1]) * self.second >> self.shifts[1]
        return a + b


def added(a, b, factors=(20123, 29877), zeros=(5, -12), shifts=(16, 14)):
    a = (a.astype(np.int64) - zeros[0]) * factors[0] >> shifts[0]
    b = (b.astype(np.int64) - zeros[1]) * factors[1] >> shifts[1]
    return a + b


def test_scales_of_two_operands_exchanged():
    a, b = RNG.integers(-128, 128, (2, 3, 8)).astype(np.int8)

    def check(**how):
        return probe.check(Sum().eval(), "", [a, b], expected=added(a, b, **how))

    assert check().verdict == "agree"
    both = check(factors=(29877, 20123), shifts=(14, 16))
    words = "first and second", "shifts[0] and shifts[1]", "are exchanged"
    named(both, "swapped-parameters", *words)
    named(check(factors=(29877, 20123)), "swapped-parameters", "first and second are exchanged")


class Blocks(torch.nn.Module):
    """A scale for each block of 6 weights of a row."""

    def __init__(self):
        super().__init__()
        self.register_buffer("codes", torch.tensor(RNG.integers(-8, 8, (5, 24))))
        self.register_buffer("scale", torch.tensor(RNG.uniform(0.1, 1, (5, 4)).astype(np.float32)))

    def forward(self, x):
        weight = self.codes.view(5, 4, 6).float() * self.scale[..., None]
        return torch.nn.functional.linear(x, weight.view(5, 24))


def test_scales_of_blocks_dealt_out_in_turn():
    model, x = Blocks().eval(), RNG.normal(size=(3, 24)).astype(np.float32)
    codes, scale = model.codes.numpy().astype(np.float32), model.scale.numpy()

    def check(scales):
        return probe.check(model, "", x, expected=x @ (codes * scales).T)

    assert check(scale.repeat(6, 1)).verdict == "agree"
    turns = check(np.tile(scale, 6))
    named(turns, "rearranged-tensor", "used in turn along axes 1 and 2 of (5, 4, 6), not for runs")


class Shared(torch.nn.Module):
    """Blocks of 8 that share an exponent."""

    def forward(self, x):
        blocks = x.view(len(x), -1, 8)
        size = torch.exp2(torch.floor(torch.log2(blocks.abs().amax(-1, keepdim=True))) - 6)
        return (torch.round(blocks / size) * size).view_as(x)


def test_blocks_of_another_length():
    x = RNG.normal(size=(5, 32)).astype(np.float32)
    for length in (16, 4):
        blocks = x.reshape(5, -1, length)
        largest = np.abs(blocks).max(-1, keepdims=True)
        size = np.exp2(np.floor(np.log2(largest)) - 6).astype(np.float32)
        values = (np.rint(blocks / size) * size).reshape(x.shape)
        report = probe.check(Shared(), "", x, expected=values)
        named(
            report, "changed-step", f"split as (5, {32 // length}, {length}) instead of (5, 4, 8)"
        )
