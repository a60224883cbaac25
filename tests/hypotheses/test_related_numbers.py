"""Numbers that belong together: bits behind the point, levels, limits, factors of colours."""

import numpy as np
import torch
from own_seed import RNG

import probe


def named(report, slug, words):
    assert report.findings, report.diagnosis
    first = report.findings[0]
    assert (first.slug, first.left <= 1) == (slug, True), first
    assert words in first.claim


class FixedPoint(torch.nn.Module):
    """Numbers of 9 bits, 5 of them behind the point, which wrap around."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor(RNG.integers(-60, 60, (5, 8))))

    def forward(self, x):
        total = (torch.round(x * 32).long()[:, None] * self.weight).sum(-1)
        steps = (total + (1 << 4)) >> 5
        return ((steps + 256) % 512 - 256).float() / 32


def fixed_point(model, x, bits=5, half=True, width=9):
    steps = np.rint(x * 2**bits).astype(np.int64)
    total = (steps[:, None] * model.weight.numpy()).sum(-1)
    steps = (total + (1 << bits - 1 if half else 0)) >> bits
    whole = 1 << width
    return ((steps + whole // 2) % whole - whole // 2).astype(np.float32) / np.float32(2**bits)


def test_other_bits_behind_the_point_and_of_a_number():
    model, x = FixedPoint().eval(), RNG.normal(0, 4, (6, 8)).astype(np.float32)

    def check(**how):
        return probe.check(model, "", x, expected=fixed_point(model, x, **how))

    assert check().verdict == "agree"
    for bits in (4, 7):
        words = f"{bits} bits are taken as those behind the point, not 5"
        named(check(bits=bits), "fixed-point", words)
    named(check(width=10), "fixed-point", "numbers have 10 bits, not 9 (512 for 256")


class FewBits(torch.nn.Module):
    """Activations of 4 bits up to a learnt limit, weights of 3."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(RNG.normal(size=(5, 8)).astype(np.float32)))
        self.limit = torch.nn.Parameter(torch.tensor(2.3))

    def forward(self, x):
        limit = self.limit
        x = torch.round(torch.minimum(x.relu(), limit) / limit * 15) / 15 * limit
        weight = torch.round((torch.tanh(self.weight) / 2 + 0.5) * 7) / 7
        return torch.nn.functional.linear(x, 2 * weight - 1)


def few_bits(model, x, steps=(15, 7), limit=None):
    limit = np.float32(limit or model.limit.item())
    x = np.rint(np.clip(x, 0, limit) / limit * np.float32(steps[0])) / np.float32(steps[0]) * limit
    weight = np.tanh(model.weight.detach().numpy()) / 2 + np.float32(0.5)
    weight = np.rint(weight * np.float32(steps[1])) / np.float32(steps[1])
    return x @ (2 * weight - 1).T


def test_other_numbers_of_levels_and_a_learnt_limit():
    model, x = FewBits().eval(), RNG.normal(0, 2, (6, 8)).astype(np.float32)

    def check(**how):
        return probe.check(model, "", x, expected=few_bits(model, x, **how))

    assert check().verdict == "agree"
    named(check(steps=(16, 8)), "changed-step", "levels are 2**bits, not 2**bits - 1")
    for limit in (6.0, 1.0):
        named(check(limit=limit), "changed-step", f"limit is taken as {limit:g} in place of 2.3")


class Colours(torch.nn.Module):
    """Luma and chroma between 0 and 1, as JPEG has them, to RGB."""

    def forward(self, x):
        y, u, v = x.unbind(1)
        u, v = u - 0.5, v - 0.5
        return torch.stack([y + 1.402 * v, y - 0.344136 * u - 0.714136 * v, y + 1.772 * u], 1)


class Differences(torch.nn.Module):
    """RGB to luma, and the differences from it."""

    def forward(self, x):
        red, green, blue = x.unbind(1)
        y = 0.299 * red + 0.587 * green + 0.114 * blue
        return torch.stack([y, (blue - y) * 0.564, (red - y) * 0.713], 1)


class Grey(torch.nn.Module):
    """RGB to luma, by a convolution of one pixel."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shares", torch.tensor([0.299, 0.587, 0.114])[:, None, None])

    def forward(self, x):
        return (x * self.shares).sum(1)


def test_factors_of_colours_of_another_standard():
    x = RNG.uniform(size=(2, 3, 4, 5)).astype(np.float32)
    y, u, v = x[:, 0], x[:, 1] - np.float32(0.5), x[:, 2] - np.float32(0.5)

    def rgb(red, green_of_u, green_of_v, blue):
        parts = [y + red * v, y - green_of_u * u - green_of_v * v, y + blue * u]
        return np.stack(parts, 1).astype(np.float32)

    def check(values):
        return probe.check(Colours().eval(), "", x, expected=values)

    assert check(rgb(1.402, 0.344136, 0.714136, 1.772)).verdict == "agree"
    high = check(rgb(1.5748, 0.187324, 0.468124, 1.8556))
    named(high, "changed-step", "the factors are those of BT.709")
    other = check(rgb(1.4, 0.344136, 0.714136, 1.772))  # of no standard
    assert not any("BT." in finding.claim for finding in other.findings)
    shares = np.array([0.2126, 0.7152, 0.0722], np.float32)[:, None, None]
    grey = probe.check(Grey().eval(), "", x, expected=(x * shares).sum(1))
    assert grey.findings[0].left <= 1
    red, green, blue = x.swapaxes(0, 1)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    for factors, own in (((0.564, 0.713), "BT.709"), ((0.5389, 0.635), "BT.709")):
        parts = [luma, (blue - luma) * factors[0], (red - luma) * factors[1]]
        report = probe.check(Differences(), "", x, expected=np.stack(parts, 1).astype(np.float32))
        named(report, "changed-step", f"the factors are those of {own}, not of BT.601")


class Pixels(torch.nn.Module):
    """Pixels of 16 bits: 5 of red, 6 of green and 5 of blue."""

    def forward(self, x):
        red, green, blue = (x >> 11) & 31, (x >> 5) & 63, x & 31
        return torch.stack([red / 31.0, green / 63.0, blue / 31.0], -1)


class Tokens(torch.nn.Module):
    """Codes of 8 bits with a zero point for each token."""

    def forward(self, x):
        low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
        step = (high - low) / 255
        zero = torch.round(-low / step)
        return ((torch.round(x / step) + zero).clamp(0, 255) - zero) * step


def test_levels_of_codes_of_few_bits():
    x = RNG.integers(0, 65536, (3, 20)).astype(np.int32)
    parts = [(x >> 11) & 31, (x >> 5) & 63, x & 31]
    for divisors, words in (
        ((32, 64, 32), "levels are 2**bits, not 2**bits - 1 (32 for 31, 64 for 63)"),
        ((31.875, 63.75, 31.875), "shifted up to 8 bits and divided by 255"),
    ):
        shares = [part / by for part, by in zip(parts, divisors, strict=True)]
        values = np.stack(shares, -1).astype(np.float32)
        named(probe.check(Pixels(), "", x, expected=values), "changed-step", words)
    x = RNG.normal(size=(5, 16)).astype(np.float32)
    for levels, slug, words in (
        (256, "changed-step", "levels are 2**bits, not 2**bits - 1 (256 for 255)"),
        (127, "fixed-point", "numbers have 7 bits, not 8 (127 for 255)"),
    ):
        low = x.min(-1, keepdims=True)
        step = (x.max(-1, keepdims=True) - low) / np.float32(levels)
        zero = np.rint(-low / step)
        values = (np.clip(np.rint(x / step) + zero, 0, levels) - zero) * step
        named(probe.check(Tokens(), "", x, expected=values), slug, words)


class Companded(torch.nn.Module):
    """Samples as codes of 6 bits by the mu-law, embedded."""

    def __init__(self):
        super().__init__()
        self.codes = torch.nn.Embedding(64, 5)
        torch.nn.init.normal_(self.codes.weight, generator=torch.Generator().manual_seed(0))

    def forward(self, x):
        y = torch.sign(x) * torch.log1p(63 * x.abs()) / np.log1p(63)
        return self.codes(((y + 1) / 2 * 63 + 0.5).long())


def test_a_number_and_its_logarithm():
    model, x = Companded().eval(), RNG.uniform(-1, 1, (4, 40)).astype(np.float32)

    def check(mu):
        y = np.sign(x) * np.log1p(mu * np.abs(x)) / np.float32(np.log1p(mu))
        codes = ((y + 1) / 2 * 63 + np.float32(0.5)).astype(int)
        return probe.check(model, "", x, expected=model.codes.weight.detach().numpy()[codes])

    assert check(63).verdict == "agree"
    for mu in (62, 64):
        named(check(mu), "changed-step", f"{mu} is taken instead of 63 ({mu} for 63")
