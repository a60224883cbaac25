"""The roundings of integer sums against Python's own integers and fractions, ties included, and in
ONNX Runtime."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops
from probe.description import Step
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.ops.quantize.gemmlowp import logistic, reciprocal, tanh
from probe.ops.quantize.requantize import ROUNDINGS, fixed_point

HALF = Fraction(1, 2)


def away(value):
    return floor(value + HALF) if value >= 0 else -floor(HALF - value)


def by_python(x, multiplier, shift, rounding):
    """The product in fractions, rounded as each rounding is told."""
    scale = Fraction(2) ** shift
    if rounding == "single":
        return floor(Fraction(x * multiplier, 1 << 31) * scale + HALF)
    if rounding == "reduced":
        narrow = 32767 if multiplier >= 0x7FFF0000 else (multiplier + (1 << 15)) >> 16
        return floor(Fraction(x * narrow, 1 << 15) * scale + HALF)
    left, right = max(shift, 0), Fraction(2) ** min(shift, 0)
    high = floor(Fraction((x << left) * multiplier, 1 << 31) + HALF)
    if rounding == "up":
        return floor(high * right + HALF)
    return away(high * right)


SCALES = st.floats(2.0**-24, 1.5)


@st.composite
def cases(draw):
    """Channels with a scale each; sums, and those that are rounded from a half."""
    scales = np.array([draw(SCALES) for _ in range(3)])
    scales[0] = 2.0 ** draw(st.integers(-12, 0))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sums = rng.integers(-(2**21), 2**21, (3, 40))
    sums[0, :20] = (2 * rng.integers(-60, 60, 20) + 1) * int(round(0.5 / scales[0]) or 1)
    return sums, scales[:, None]


@examples(60)
@given(case=cases(), rounding=st.sampled_from([*ROUNDINGS]), zero=st.integers(-128, 127))
def test_as_integers_of_python_and_in_onnx_runtime(case, rounding, zero):
    sums, scales = case
    multiplier, shift = fixed_point(scales)
    factor = scales.astype(np.float32)
    op = ops.Requantize(multiplier, shift, factor, zero, -(1 << 15), (1 << 15) - 1, rounding)
    (codes,) = op.run(sums)
    (theirs,) = crosscheck((Step(op),), (sums,), [(codes,)])
    np.testing.assert_array_equal(codes, theirs)
    if rounding == "fp32":
        product = sums.astype(np.float32) * factor
        expected = np.rint(product).astype(np.int64) + zero
    else:
        rows = zip(sums.tolist(), multiplier.ravel().tolist(), shift.ravel().tolist(), strict=True)
        expected = np.array(
            [[by_python(x, m, s, rounding) + zero for x in xs] for xs, m, s in rows]
        )
    np.testing.assert_array_equal(codes, expected.clip(-(1 << 15), (1 << 15) - 1))


@examples(60)
@given(scale=st.floats(2.0**-30, 2.0**30))
def test_a_scale_is_its_multiplier_and_shift(scale):
    multiplier, shift = (int(part) for part in fixed_point(scale))
    assert 1 << 30 <= multiplier < 1 << 31
    assert abs(Fraction(multiplier) * Fraction(2) ** (shift - 31) / Fraction(scale) - 1) < 2.0**-30


def test_the_roundings_differ_where_they_are_said_to():
    halves = np.array([-3, -1, 1, 3])  # of a scale of 1/2
    found = {}
    for rounding in ROUNDINGS:
        op = ops.Requantize(*map(np.asarray, (1 << 30, 0, np.float32(0.5))), 0, -9, 9, rounding)
        found[rounding] = op.run(halves)[0].tolist()
    assert found["fp32"] == [-2, 0, 0, 2]
    assert found["single"] == found["reduced"] == [-1, 0, 1, 2]
    by_shift = {}
    for rounding in ("double", "up"):
        op = ops.Requantize(*map(np.asarray, (1 << 30, -1, np.float32(0.25))), 0, -9, 9, rounding)
        by_shift[rounding] = op.run(2 * halves)[0].tolist()
    assert by_shift == {"double": [-2, -1, 1, 2], "up": [-1, 0, 1, 2]}


@pytest.mark.parametrize("bits", [15, 31])
@pytest.mark.parametrize(
    ("ours", "true"), [(logistic, lambda x: 1 / (1 + np.exp(-x))), (tanh, np.tanh)]
)
def test_fixed_point_functions_are_near_the_true_ones(ours, true, bits):
    step = 1 if bits == 15 else 104729
    raw = np.arange(-(1 << bits), 1 << bits, step, dtype=np.int64)
    for integer_bits in (3, 4, 5):
        near = true(raw * 2.0 ** (integer_bits - bits))
        off = np.abs(ours(raw, integer_bits, bits) * 2.0**-bits - near)
        assert off.max() < (4e-4 if bits == 15 else 2e-7)
        assert off.max() > 0


def test_a_reciprocal_in_fixed_point():
    x = np.arange(1, 1 << 31, 104729, dtype=np.int64)
    inverse, over = reciprocal(x, 12)
    assert np.abs(inverse * 2.0 ** (-31.0 - over) * (x / 2.0**19) - 1).max() < 1e-8


def test_a_float_is_brought_to_codes_by_each_way():
    step = np.float32(0.1)
    x = np.array([-0.25, -0.05, 0.05, 0.15, 0.25, 12.75, np.inf, -np.inf, np.nan], np.float32)
    found = {}
    for rounding, by in (("away", "division"), ("even", "reciprocal"), ("away", "wide division")):
        op = ops.QuantizeFloat(float(step), 3, -128, 127, rounding, by)
        (codes,) = op.run(x)
        (theirs,) = crosscheck((Step(op),), (x[:-1],), [(codes[:-1],)])
        np.testing.assert_array_equal(codes[:-1], theirs)
        found[rounding, by] = codes.tolist()
    assert found["away", "division"][:5] == [0, 2, 4, 5, 6]
    assert found["even", "reciprocal"][:5] == [1, 3, 3, 5, 5]
    assert all(codes[-3:] == [127, -128, -128] for codes in found.values())
