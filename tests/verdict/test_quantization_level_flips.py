"""A quantiser whose input lies within rounding of a threshold may flip a level: counted and said,
and no divergence by itself."""

import numpy as np
import pytest

from probe import Description, Ref, Step, Weight, ops
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Yours

STEP = 2.0**-3


def layer(x, w, *after):
    op = ops.MatMul(weight=Weight("kernel", w, w), bias=None)
    quantiser = ops.QuantizedBits(bits=4, integer=0)
    return lambda y: Capture(
        "act",
        "QDense",
        0,
        (x,),
        (y.astype(np.float32),),
        "float32",
        Description((Step(op), Step(quantiser), *after)),
    )


@pytest.fixture
def case():
    """Inputs whose sums lie halfway between two levels but for a few units of the last place."""
    rng = np.random.default_rng(0)
    x, w = (
        rng.normal(size=(40, 64)).astype(np.float32),
        (rng.normal(size=(64, 8)) / 30).astype(np.float32),
    )
    x[:, 0] = 0
    w[0] = 1
    sums = x.astype(np.float64) @ w
    # the first column of the output is at a threshold
    x[:, 0] = (np.floor(sums[:, 0] / STEP) + 0.5) * STEP - sums[:, 0]
    return x, w


def quantised(sums):
    return np.clip(np.rint(sums / STEP), -8, 7) * STEP


@pytest.mark.parametrize(
    "after", [(), (Step(ops.Reshape(shape=(-1,))),)], ids=["last", "before a reshape"]
)
def test_a_flip_within_rounding_is_counted(case, after):
    x, w = case
    sums = x.astype(np.float64) @ w
    exact = quantised(sums)
    sums[:20, 0] += np.where(exact[:20, 0] < sums[:20, 0], 1e-6, -1e-6)
    flips = int((quantised(sums) != exact).sum())
    assert 10 <= flips <= 20
    y = quantised(sums).reshape(-1) if after else quantised(sums)
    report = judge(layer(x, w, *after)(y))
    assert report.ok, report.sentence
    (note,) = [note for note in report.notes if "values of the framework" in note]
    assert note.startswith(f"boundary-flip: {flips} of 320 values")
    assert "not counted as a difference" in str(report)


def test_a_flip_far_from_a_threshold_is_a_divergence(case):
    x, w = case
    sums = x.astype(np.float64) @ w
    y = quantised(sums)
    away = np.abs(sums / STEP - np.floor(sums / STEP) - 0.5)
    y[np.unravel_index(np.argmax(np.where(np.abs(y) < 0.5, away, -1)), y.shape)] += STEP
    report = judge(layer(x, w)(y))
    assert report.verdict == "diverge"
    assert report.comparisons["framework", "numpy"].count == 1


def test_nothing_is_said_where_nothing_flips(case):
    x, w = case
    report = judge(layer(x, w)(quantised(x.astype(np.float64) @ w)))
    assert report.ok
    assert not [note for note in report.notes if "values of the framework" in note]


def test_yours_is_counted_too(case):
    x, w = case
    sums = x.astype(np.float64) @ w
    mine = quantised(sums + np.where(np.arange(40)[:, None] < 5, 1e-6, 0))
    report = judge(layer(x, w)(quantised(sums)), Yours(mine))
    assert report.ok
    assert any("values of yours" in note for note in report.notes) == bool(
        (mine != quantised(sums)).any()
    )


def averaged(floor, counts):
    """What is said of a ``floor`` of total / count where every quotient is whole."""
    count = np.array(counts, np.float32)
    total = (count * np.arange(1.0, 42.0)[:, None]).astype(np.float32)
    steps = Step(ops.Div(), (Ref(-1, 0), Ref(-1, 1))), Step(ops.Floor())
    y = total / count
    capture = Capture("mean", "Floor", 0, (total, count), (y,), "float32", Description(steps))
    return judge(capture, Yours(floor(total, count))).verdict


def test_a_whole_quotient_is_not_rounded_before_it_is_cut():
    assert averaged(lambda total, count: np.floor(total / count), [3, 6, 9]) == "agree"
    assert averaged(lambda total, count: np.floor((total - 1) / count), [3, 6, 9]) == "diverge"
    # a kernel with the reciprocal, by which 16 of these are below the whole number, is as right
    assert averaged(lambda total, count: np.floor(total * (1 / count)), [41]) == "agree"
