"""What the rounding of a sum may be: the formulas that the module names, in plain arithmetic."""

import math
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from probe.numerics.precision import VANISHING, of_storing, precision_of, stored_in
from probe.numerics.sum_error import of_axes, of_partial_sums, of_sums

FLOAT32 = precision_of("float32")
TERMS = np.random.default_rng(0).normal(size=(5, 3, 4))
DTYPES = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}


def scale(count, total, squares, casts=False):
    return math.sqrt((count * (total**2 / 3 + squares / 6) + squares * (3 if casts else 1)) / 3)


@pytest.mark.parametrize("casts", [False, True])
@pytest.mark.parametrize("owned", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_six_of_the_scale_of_a_random_order(kind, owned, casts):
    precision = replace(FLOAT32, casts=casts)
    total, squares = TERMS.sum(axis=(1, 2)), np.square(TERMS).sum(axis=(1, 2)).astype(kind)
    expected = [
        6 * 2.0**-24 * scale(12, t, q, casts) + 12 * FLOAT32.tiny
        for t, q in zip(total, squares, strict=True)
    ]
    before = squares.copy()
    found = of_sums(12, total, squares, precision, owned)
    assert found.dtype == (kind if owned else np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-5 if kind == np.float32 else 1e-12)
    assert owned or np.array_equal(squares, before)
    np.testing.assert_array_equal(
        of_sums(0, total, before.copy(), precision), of_sums(1, total, before.copy(), precision)
    )


@pytest.mark.parametrize("casts", [False, True])
def test_the_worst_case(casts):
    precision = replace(FLOAT32, casts=casts, certain=True)
    each = (12 + 2 * casts) * 2.0**-24 * np.abs(TERMS).sum(axis=(1, 2)) + 12 * FLOAT32.tiny
    np.testing.assert_allclose(of_partial_sums(TERMS, precision), each, rtol=1e-12)


def largest_sums(terms):
    """Of each term the largest sum of those that end there, in the plainest way."""
    return [
        max(abs(math.fsum(terms[begin : end + 1])) for begin in range(end + 1))
        for end in range(len(terms))
    ]


@pytest.mark.parametrize("casts", [False, True])
def test_the_true_partial_sums_of_the_worse_of_two_orders(casts):
    precision = replace(FLOAT32, casts=casts)
    found = of_partial_sums(TERMS, precision)
    for each, terms in zip(found, TERMS, strict=True):
        walks = [
            sum(s * s for s in largest_sums(order.ravel().tolist())) for order in (terms, terms.T)
        ]
        squares = float(np.square(terms).sum())
        expected = math.sqrt(max(walks) + (3 if casts else 1) * squares)
        expected = 6 * 2.0**-24 / math.sqrt(3) * expected + 12 * FLOAT32.tiny
        assert each == pytest.approx(expected, rel=1e-9)
    assert (of_partial_sums(TERMS, precision_of("int32")) == 0).all()


def test_terms_that_are_alike_err_alike():
    """Equal terms add up their errors before these are squared."""
    alike, signs = np.ones((1, 1, 64)), np.where(np.arange(64) % 2, 1.0, -1.0).reshape(1, 1, 64)
    one, other = (of_partial_sums(terms, FLOAT32)[0] for terms in (alike, alike * 1.1))
    assert other == pytest.approx(1.1 * one, rel=1e-6)
    sums = np.arange(1, 65.0)
    assert one == pytest.approx(
        6 * 2.0**-24 / math.sqrt(3) * math.sqrt(sums.sum() ** 2 + 64) + 64 * FLOAT32.tiny
    )
    assert of_partial_sums(signs, FLOAT32)[0] < one / 20
    apart = 1 + np.arange(64).reshape(1, 1, 64) * 2.0**-12
    assert of_partial_sums(apart, FLOAT32)[0] < one / 3


def test_sums_over_axes():
    total, squares = TERMS.sum(axis=(0, 2)), np.square(TERMS).sum(axis=(0, 2))
    plain = of_axes(TERMS, (0, -1), total, squares, FLOAT32)
    np.testing.assert_array_equal(plain, of_sums(20, total, squares, FLOAT32))
    refined = of_axes(TERMS, (0, -1), total, squares, replace(FLOAT32, refine=True))
    looked = of_partial_sums(TERMS.transpose(1, 0, 2), FLOAT32)
    np.testing.assert_array_equal(refined, np.maximum(plain, looked))
    same = np.ones((4, 2, 300))
    for precision, more in ((FLOAT32, False), (replace(FLOAT32, refine=True), True)):
        found = of_axes(same, (2,), same.sum(2), same.sum(2), precision)
        own = of_sums(300, same.sum(2), same.sum(2), FLOAT32)
        assert found.shape == (4, 2) and bool((found > own).all()) is more
    assert of_axes(same, (), same, same, replace(FLOAT32, refine=True)).shape == same.shape


def test_the_arithmetic_of_a_dtype():
    for dtype, unit in DTYPES.items():
        info = ml_dtypes.finfo(dtype)
        assert precision_of(dtype).unit == unit == float(info.eps) / 2
        assert precision_of(dtype).normal == float(info.smallest_normal)
    assert precision_of("float16").tiny == float(ml_dtypes.finfo("float16").smallest_subnormal)
    assert precision_of("float32").tiny == 4 * float(np.finfo(np.float32).smallest_normal)
    assert precision_of("float64").unit == float(np.finfo(np.float64).eps)
    assert precision_of("int32").unit == 0 and precision_of("float32", True).casts
    assert VANISHING == 2.0**20 * precision_of("float32").tiny
    assert [precision_of(dtype).narrow for dtype in (*DTYPES, "float64")] == [True] * 3 + [False]
    assert precision_of("float16").narrow


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_stored_in_half_is_computed_in_float32(dtype):
    stored = stored_in(dtype)
    assert (stored.unit, stored.stored, stored.name) == (2.0**-24, DTYPES[dtype], dtype)
    for other in ("float32", "float64", "int32"):
        assert stored_in(other) == precision_of(other)
    kind = np.dtype(getattr(ml_dtypes, dtype, None) or dtype)
    y = np.concatenate([TERMS.ravel() * 2.0**power for power in (-20, 0, 10)])
    y = np.concatenate([y, [0.0, 1.0, -0.5, np.inf, np.nan]])
    moved = np.abs(y[:-5].astype(kind).astype(np.float64) - y[:-5])
    allowed = of_storing(y, stored)
    assert (allowed[-5:] == 0).all()
    assert (moved <= allowed[:-5]).all()
    least = float(ml_dtypes.finfo(kind).smallest_subnormal) / 2
    np.testing.assert_allclose(allowed[:-5], DTYPES[dtype] * np.abs(y[:-5]) + least)
