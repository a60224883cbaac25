"""What an allowance can tell: the share of wrong elements that it would have shown."""

from math import erf

import numpy as np
import pytest

from probe import Description, Step, ops
from probe.description import Ref, Weight
from probe.evaluation.allowance import allowances, carry
from probe.model import Capture
from probe.numerics.precision import UNBOUNDED, precision_of, stored_in
from probe.ops.base import Evaluated
from probe.verdict.detection_power import blinds, blunt, power
from probe.verdict.judge import judge
from probe.verdict.options import Options, Yours


def plain(kernel):
    return Weight("kernel", kernel, kernel)


NORMAL = np.random.default_rng(0).normal(size=(40, 50))


def share(value, allowed):
    told = power((value,), (np.asarray(allowed),))
    return None if told is None else told.share


@pytest.mark.parametrize("allowed", [0.1, 0.5, 1.0, 1.5])
def test_the_share_of_pairs_that_are_told_apart(allowed):
    """Two draws of a normal distribution lie within a of each other with the probability erf(a /
    2)."""
    assert abs(share(NORMAL, allowed) - (1 - erf(allowed / 2))) < 0.03
    assert share(NORMAL, np.full(NORMAL.shape, allowed)) == share(NORMAL, allowed)


def test_equal_elements_are_not_counted():
    sparse = np.where(np.random.default_rng(1).random(NORMAL.shape) < 0.1, NORMAL, 0.0)
    assert share(sparse, 1e-3) > 0.99
    assert share(np.ones((3, 4)), 0.4) == 1.0
    assert share(np.zeros((3, 4)), 0.4) is None
    assert share(np.arange(6), 0.4) is None  # integers are equal or not


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_the_unit_of_the_output_does_not_matter(scale):
    assert share(scale * NORMAL, scale * 0.5) == share(NORMAL, 0.5)


def test_what_is_allowed_and_how_far_values_lie_apart():
    told = power((NORMAL,), (np.linspace(0.2, 0.6, NORMAL.size).reshape(NORMAL.shape),))
    assert np.isclose(told.allowed, 0.4) and np.isclose(told.span, np.ptp(NORMAL))
    assert power((np.full((3, 4), -2.5),), (np.asarray(0.4),)).span == 2.5


def test_an_allowance_that_takes_half_of_the_output_tells_nothing():
    signs = np.sign(NORMAL)
    assert share(signs, 0.4) == 1.0
    assert share(signs, 0.6) == 0.0  # half of it would agree
    assert share(np.ones(5), 0.6) == 0.0


def test_elements_that_are_no_numbers_are_left_out():
    holes = np.where(NORMAL > 1, np.nan, np.where(NORMAL < -1, np.inf, NORMAL))
    assert share(holes, 1e-6) > 0.99
    assert share(np.full(4, np.nan), 1.0) is None
    assert share(NORMAL, np.inf) == 0.0


def test_the_output_that_is_told_least_counts():
    assert power((NORMAL, 1e-3 * NORMAL), (np.asarray(0.1), np.asarray(0.1))).share == 0.0


def test_a_wider_allowance_blinds_where_rows_are_nearly_equal():
    rows = np.arange(8.0) + 0.01 * np.arange(3.0)[:, None]
    tight, loose = (np.broadcast_to(slack, rows.shape) for slack in (0.001, 0.05))
    assert power((rows,), (loose,)).share > 0.9
    assert blinds((rows,), (tight,), (loose,))
    assert not blinds((rows,), (loose,), (loose,))
    assert not blinds((rows,), (tight,), (2 * tight,))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_stored_is_rounded_once(dtype):
    """A convolution of many terms in half precision may lie off by half a unit of its last place,
    and hardly more."""
    x = np.random.default_rng(0).normal(size=(2, 4608))
    weight = plain(np.random.default_rng(1).normal(size=(4608, 3)) / 68)
    step = Step(ops.MatMul(weight=weight, bias=None))
    values = [step.op.run(x)]
    (allowed,) = allowances((step,), (x,), values, stored_in(dtype))
    unit = precision_of(dtype).unit
    assert np.all(allowed >= unit * np.abs(values[0][0]))
    assert np.all(allowed <= 1.01 * unit * np.abs(values[0][0]) + 6e-5)
    (own,) = allowances((step,), (x,), values, precision_of(dtype))
    assert np.median(own / allowed) > 20


@pytest.mark.parametrize(
    "op", [ops.Log(), ops.Reciprocal(), ops.Rsqrt()], ids=lambda op: type(op).__name__
)
def test_slack_that_leaves_the_domain_allows_everything(op):
    x, slack = np.array([1e-3, 2.0]), np.array([1e-2, 1e-2])
    (y,) = op.run(x)
    (allowed,) = op.error_bound(Evaluated((x,), (slack,), (y,)), precision_of("float32"))
    assert allowed[0] >= UNBOUNDED / 2 and allowed[1] < 1


def test_a_power_that_leaves_the_range_allows_everything():
    x, y, slack = np.array([1e-3, 1e-3, 2.0]), np.array([-0.5, -1.0, 3.0]), np.full(3, 1e-2)
    (allowed,) = ops.Pow().error_bound(
        Evaluated((x, y), (slack, None), (np.power(x, y),)), precision_of("float32")
    )
    assert np.all(allowed[:2] >= UNBOUNDED / 2) and allowed[2] < 1
    (allowed,) = ops.Div().error_bound(
        Evaluated((y, x), (None, slack), (y / x,)), precision_of("float32")
    )
    assert np.all(allowed[:2] >= UNBOUNDED / 2) and allowed[2] < 1


def test_what_follows_an_unbounded_slack_is_unchecked_or_told():
    """0 times what is unbounded is 0, and no NaN that would allow nothing."""
    x = np.array([[1e-3, 2.0]])
    kernel = plain(np.array([[0.0, 1.0], [1.0, 1.0]]))
    steps = (Step(ops.Log()), Step(ops.MatMul(weight=kernel, bias=None)))
    values = [ops.Log().run(x)]
    values.append(steps[1].op.run(*values[0]))
    with np.errstate(all="ignore"):
        (allowed,) = carry(
            steps[1].op,
            values[0],
            [np.array([[UNBOUNDED, 1e-7]])],
            values[1],
            precision_of("float32"),
            False,
        )
    assert allowed[0, 0] < 1 and float(allowed[0, 1]) >= UNBOUNDED / 2
    capture = Capture(
        "log",
        "Log",
        0,
        (x,),
        (np.log(x),),
        "float32",
        Description((Step(ops.Log(), (Ref(-1, 0),)),)),
    )
    assert judge(capture).ok


def test_an_agreement_says_how_much_it_would_have_seen():
    """Values of a layer given with a tolerance of the user's own."""
    y = np.linspace(-1, 1, 200, dtype=np.float32)
    capture = Capture(
        "abs", "Abs", 0, (y,), (np.abs(y),), "float32", Description((Step(ops.Abs()),))
    )
    mine = capture.outputs[0] + np.float32(1e-3)
    assert (
        "of 100 wrong elements"
        not in judge(capture, Yours(mine), Options(tolerance=(0.0, 0.01))).sentence
    )
    assert (
        "of 100 wrong elements"
        in judge(capture, Yours(mine), Options(tolerance=(0.0, 0.2))).sentence
    )
    assert judge(capture, Yours(mine), Options(tolerance=(0.0, 2.0))).verdict == "unchecked"


def test_the_way_out_is_told():
    """Behind many layers in half precision, the layer's own input helps."""
    told = power((NORMAL,), (np.asarray(3.0),))
    assert "--expect-input" in blunt("expected", told, "bfloat16")
    assert "float32" in blunt("framework", told, "bfloat16")
