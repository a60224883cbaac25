"""Codes of few bits that are read as numbers of another format."""

import numpy as np
import torch
from own_seed import RNG

import probe
from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.integer_codes import holds_codes
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight
from probe.trial.case import Case

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def named(report, words):
    assert report.findings, report.diagnosis
    first = report.findings[0]
    assert (first.slug, first.left <= 1) == ("code-format", True), first
    assert words in first.claim


class FourBits(torch.nn.Module):
    """Weights of 4 bits by a table, with an exponent for each row."""

    def __init__(self):
        super().__init__()
        self.register_buffer("codes", torch.tensor(RNG.integers(0, 16, (6, 12)).astype(np.uint8)))
        self.register_buffer("exponents", torch.tensor(RNG.integers(124, 128, (6, 1))))
        self.register_buffer("table", torch.tensor(np.concatenate([E2M1, -E2M1])))

    def forward(self, x):
        weight = torch.ldexp(self.table[self.codes.long()], self.exponents - 127)
        return torch.nn.functional.linear(x, weight)


def test_four_bits_read_by_another_table():
    model, x = FourBits().eval(), RNG.normal(size=(4, 12)).astype(np.float32)
    codes, exponents = model.codes.numpy().astype(int), model.exponents.numpy()

    def check(weight, bias=127):
        return probe.check(model, "", x, expected=x @ (weight * 2.0 ** (exponents - bias)).T)

    sign = np.where(codes < 8, 1, -1)
    assert check(sign * E2M1[codes % 8]).verdict == "agree"
    named(check(sign * (codes % 8)), "integers of a sign bit and a magnitude")
    named(check(np.where(codes < 8, codes, codes - 16)), "integers in two's complement")
    half = np.where(codes < 8, E2M1[codes % 8], -E2M1[(16 - codes) % 8])
    named(check(half), "read in two's complement")
    other = check(sign * E2M1[codes % 8], bias=128)
    assert any("128 is taken off the exponents" in finding.claim for finding in other.findings)


class Integers(torch.nn.Module):
    """A product of integers, as they are stored."""

    def __init__(self):
        super().__init__()
        self.register_buffer(
            "weight", torch.tensor(RNG.integers(-128, 128, (6, 9)).astype(np.int8))
        )

    def forward(self, x):
        return (x.long()[:, None] * self.weight.long()).sum(-1).float() / 1024


def test_integers_without_their_sign():
    model, x = Integers().eval(), RNG.integers(-128, 128, (5, 9)).astype(np.int8)
    weight = model.weight.numpy()

    def check(x, weight):
        total = (x.astype(np.int64)[:, None] * weight.astype(np.int64)).sum(-1)
        return probe.check(model, "", given, expected=total.astype(np.float32) / 1024)

    given = x
    assert check(x, weight).verdict == "agree"
    named(check(x, weight.view(np.uint8)), "weight is read as integers without a sign")
    named(check(x.view(np.uint8), weight), "input is read as integers without a sign")
    named(check(x, weight.view(np.uint8).astype(int) - 128), "weight is read as integers in offset")


class Sound(torch.nn.Module):
    """Samples of 16 bits as shares of the largest, and their differences."""

    def forward(self, x):
        y = x.float() / 32768
        return y[:, 1:] - 0.9 * y[:, :-1]


def test_samples_in_the_other_order_of_bytes_or_without_a_sign():
    x = RNG.integers(-30000, 30000, (2, 30)).astype(np.int16)

    def check(samples):
        y = samples.astype(np.float32) / 32768
        return probe.check(Sound(), "", x, expected=y[:, 1:] - np.float32(0.9) * y[:, :-1])

    assert check(x).verdict == "agree"
    named(check(x.byteswap()), "input is read with the two bytes exchanged")
    named(check(x.view(np.uint16)), "input is read as integers without a sign")


class WithBias(torch.nn.Module):
    """A linear layer of int8 numbers with a bias of 32 bits, whose last eight are 0."""

    def __init__(self):
        super().__init__()
        weight = RNG.integers(-127, 128, (6, 12)).astype(np.int8)
        self.register_buffer("weight", torch.tensor(weight))
        bias = 256 * RNG.integers(-20, 20, 6).astype(np.int32)
        self.register_buffer("bias", torch.tensor(bias))
        self.register_buffer("zero", torch.tensor([48, 80, 96, -16, 32, 64]))

    def forward(self, x):
        codes = torch.clamp(torch.round(x / 0.05), -128, 127)
        total = codes.double() @ self.weight.double().T + self.bias
        return torch.clamp(torch.round(total * 0.01) + self.zero, -128, 127)


def test_what_is_left_out_is_not_wrapped_around_in_few_bits():
    model, x = WithBias().eval(), RNG.normal(size=(4, 12)).astype(np.float32)
    codes = np.clip(np.round(x / np.float32(0.05)), -128, 127)
    weight, bias, zero = (
        array.numpy().astype(np.float64) for array in (model.weight, model.bias, model.zero)
    )

    def check(bias, zero):
        y = np.round((codes @ weight.T + bias) * 0.01)
        return probe.check(model, "", x, expected=np.clip(y + zero, -128, 127).astype(np.float32))

    assert check(bias, zero).verdict == "agree"
    for report in (check(0 * bias, zero), check(bias, 0 * zero)):
        slugs = {finding.slug for finding in report.findings}
        assert "missing-step" in slugs and not slugs & {"wrap-around", "saturation", "code-format"}


def test_places_masks_and_what_is_added_or_shifted_by_are_no_codes():
    given = {
        "codes": RNG.integers(-128, 128, (5, 9)).astype(np.int8),
        "mask": RNG.integers(0, 2, (5, 9)),
        "positions": np.tile(np.arange(9), (5, 1)),
        "indices": RNG.integers(0, 9, 11),
    }
    codes, mask, positions, indices = (Ref(-1, k) for k in range(4))
    numbers = RNG.integers(20, 90, 9), RNG.integers(1, 4, 9)
    zero, shift = (ops.Parameter(Weight("number", None, array)) for array in numbers)
    steps = (
        Step(zero, ()),
        Step(shift, ()),
        Step(ops.Sub(), (codes, Ref(0))),
        Step(ops.Mul(), (Ref(2), mask)),
        Step(ops.Mul(), (Ref(3), positions)),
        Step(ops.BitShift(left=False, kind="int64"), (Ref(4), Ref(1))),
        Step(ops.Gather(1), (Ref(5), indices)),
    )
    inputs = tuple(given.values())
    values = recompute(steps, inputs)
    case = Case(steps, inputs, values, values[-1][0])
    for ref in (codes, Ref(2), Ref(3), Ref(4), Ref(6)):
        assert holds_codes(case, ref), ref
    for ref in (mask, positions, indices, Ref(0), Ref(1)):
        assert not holds_codes(case, ref), ref
