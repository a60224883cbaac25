"""Elementary functions, arithmetic and logic against PyTorch, Keras and ONNX Runtime."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from lazy import keras

from probe import ops
from probe.description import Ref, Step
from probe.evaluation.allowance import allowances
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

GRID = np.concatenate(
    [
        2.0 ** np.linspace(-30, 6, 8001),
        -(2.0 ** np.linspace(-30, 6, 8001)),
        np.linspace(-12, 12, 8001),
    ]
)
POSITIVE, INSIDE = np.abs(GRID), np.concatenate([np.tanh(GRID), [1.0, -1.0, 0.0]])

FUNCTIONS = [
    (ops.Sqrt(), torch.sqrt, keras.ops.sqrt, POSITIVE),
    (ops.Rsqrt(), torch.rsqrt, keras.ops.rsqrt, POSITIVE[POSITIVE > 0]),
    (ops.Reciprocal(), torch.reciprocal, keras.ops.reciprocal, GRID[GRID != 0]),
    (ops.Square(), torch.square, keras.ops.square, GRID),
    (ops.Log(), torch.log, keras.ops.log, POSITIVE[POSITIVE > 0]),
    (ops.Log2(), torch.log2, keras.ops.log2, POSITIVE[POSITIVE > 0]),
    (ops.Log10(), torch.log10, keras.ops.log10, POSITIVE[POSITIVE > 0]),
    (ops.Log1p(), torch.log1p, keras.ops.log1p, GRID[GRID > -0.9999]),
    (ops.Expm1(), torch.expm1, keras.ops.expm1, GRID),
    (ops.Sin(), torch.sin, keras.ops.sin, GRID),
    (ops.Cos(), torch.cos, keras.ops.cos, GRID),
    (ops.Tan(), torch.tan, keras.ops.tan, GRID),
    (ops.Asin(), torch.asin, keras.ops.arcsin, INSIDE),
    (ops.Acos(), torch.acos, keras.ops.arccos, INSIDE),
    (ops.Atan(), torch.atan, keras.ops.arctan, GRID),
    (ops.Sinh(), torch.sinh, keras.ops.sinh, GRID),
    (ops.Cosh(), torch.cosh, keras.ops.cosh, GRID),
    (ops.Asinh(), torch.asinh, keras.ops.arcsinh, GRID),
    (ops.Acosh(), torch.acosh, keras.ops.arccosh, 1 + POSITIVE),
    (ops.Atanh(), torch.atanh, keras.ops.arctanh, INSIDE[np.abs(INSIDE) < 0.9999]),
    (ops.Erf(), torch.erf, keras.ops.erf, GRID),
    (ops.Sign(), torch.sign, keras.ops.sign, GRID),
    (ops.Floor(), torch.floor, keras.ops.floor, np.concatenate([GRID, np.arange(-9, 9) / 2])),
    (ops.Ceil(), torch.ceil, keras.ops.ceil, np.concatenate([GRID, np.arange(-9, 9) / 2])),
    (ops.Round(), torch.round, keras.ops.round, np.concatenate([GRID, np.arange(-9, 9) / 2])),
    (ops.Trunc(), torch.trunc, keras.ops.trunc, np.concatenate([GRID, np.arange(-9, 9) / 2])),
]


@pytest.mark.parametrize(
    ("op", "reference", "tensorflow", "x"),
    FUNCTIONS,
    ids=[type(row[0]).__name__ for row in FUNCTIONS],
)
def test_function(agrees, op, reference, tensorflow, x):
    agrees(op, [x.astype(np.float32)], reference, tensorflow)


@st.composite
def pair(draw, low=-8.0):
    """Two arrays that broadcast; some elements are whole, so that quotients are too."""
    shape = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = []
    for _ in range(2):
        own = [1 if rng.random() < 0.3 else size for size in shape][
            rng.integers(0, len(shape)) if rng.random() < 0.2 else 0 :
        ]
        x = rng.normal(size=own) * 2.0 ** rng.uniform(low, 4)
        arrays.append(np.asarray(np.where(rng.random(own) < 0.3, np.rint(x), x) + 0.0, np.float32))
    return arrays


def nonzero(y):
    return np.where(y == 0, np.float32(0.5), y)


@examples(40)
@given(pair())
def test_division(agrees, arrays):
    x, y = arrays[0], nonzero(arrays[1])
    agrees(ops.Div(), [x, y], torch.div, keras.ops.divide)
    agrees(ops.Mod(), [x, y], torch.remainder, exact=1e-9)
    agrees(ops.Mod(fmod=True), [x, y], torch.fmod)
    agrees(ops.FloorDiv(), [x, y], torch.floor_divide)


@examples(40)
@given(pair(low=-3.0))
def test_power(agrees, arrays):
    x, y = arrays[0], np.clip(arrays[1], -6, 6)
    agrees(ops.Pow(), [np.abs(nonzero(x)), y], torch.pow, keras.ops.power)
    agrees(ops.Pow(), [x, np.asarray(np.abs(np.rint(y)), np.float32)], torch.pow, keras.ops.power)


LOGICAL = [
    (ops.Equal(), torch.eq),
    (ops.NotEqual(), torch.ne),
    (ops.Greater(), torch.gt),
    (ops.GreaterOrEqual(), torch.ge),
    (ops.Less(), torch.lt),
    (ops.LessOrEqual(), torch.le),
    (ops.And(), torch.logical_and),
    (ops.Or(), torch.logical_or),
    (ops.Xor(), torch.logical_xor),
]


@examples(20)
@given(pair())
def test_logic(arrays):
    """Truths are equal, bit for bit."""
    for op, reference in LOGICAL:
        given = (
            [np.asarray(x > 0) for x in arrays]
            if type(op).__name__ in ("And", "Or", "Xor")
            else arrays
        )
        steps = (Step(op, (Ref(-1, 0), Ref(-1, 1))),)
        values = recompute(steps, given)
        theirs = reference(*map(torch.from_numpy, given)).numpy()
        assert values[-1][0].dtype == theirs.dtype == bool
        np.testing.assert_array_equal(values[-1][0], theirs)
        np.testing.assert_array_equal(crosscheck(steps, given, values)[0], theirs)


@examples(20)
@given(pair(), st.booleans())
def test_where(agrees, arrays, fixed):
    condition = np.asarray(arrays[0] > arrays[1])
    agrees(ops.Where(fixed=fixed), [condition, *arrays], torch.where)


def test_a_truth_that_slack_may_turn_is_allowed_to():
    x, y, slack = np.array([1.0, 1.0, 3.0]), np.array([1.0, 1.05, 1.0]), np.full(3, 0.1)
    (allowed,) = ops.Less().error_bound(
        Evaluated([x, y], [slack, None], ops.Less().run(x, y)), precision_of("float32")
    )
    np.testing.assert_array_equal(allowed, [1, 1, 0])
    (chosen,) = ops.Where().error_bound(
        Evaluated([x > y, x, y], [allowed, None, None], ops.Where().run(x > y, x, y)),
        precision_of("float32"),
    )
    np.testing.assert_allclose(chosen, [0, 0.05, 0])


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_cast_to_a_narrower_float(kind):
    x = np.concatenate([GRID, [np.nan, np.inf, 1e6, 65519.9, 65520.0]]).astype(np.float32)
    steps = (Step(ops.Cast(to=kind)),)
    values = recompute(steps, [x])
    theirs = torch.from_numpy(x).to(getattr(torch, kind)).to(torch.float64).numpy()
    np.testing.assert_array_equal(values[-1][0], theirs)
    np.testing.assert_array_equal(crosscheck(steps, [x], values)[0], theirs)


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "bool"])
def test_cast_to_integers(kind):
    x = np.array([0.0, -0.0, 0.4, 1.7, 200.9, 3.0], np.float32)
    steps = (Step(ops.Cast(to=kind)),)
    values = recompute(steps, [x])
    theirs = torch.from_numpy(x).to(getattr(torch, kind)).numpy()
    np.testing.assert_array_equal(values[-1][0], theirs)
    np.testing.assert_array_equal(crosscheck(steps, [x], values)[0], theirs)


def test_a_constant_is_rounded_by_the_framework_where_it_cannot_hold_it():
    steps = (
        Step(ops.Constant(np.array([0.5, 0.1, -3.0])), ()),
        Step(ops.Mul(), (Ref(-1, 0), Ref(0))),
    )
    x = np.ones(3, np.float32)
    values = recompute(steps, [x])
    (allowed,) = allowances(steps, [x], values, precision_of("float32"))
    np.testing.assert_allclose(crosscheck(steps, [x], values)[0], values[-1][0], atol=0, rtol=1e-7)
    assert (allowed > 0).all()
    (allowed,) = ops.Constant(np.array([0.5, 0.1, -3.0])).error_bound(
        Evaluated((), (), values[0]), precision_of("float32")
    )
    assert (allowed > 0).tolist() == [False, True, False]
