"""By what a layer's allowance is told: slack pushed from step to step, or runs with noise; and of
which sums a part of the squares is worth taking."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import probe
from probe import Step, Weight, ops
from probe.evaluation import propagated_error
from probe.evaluation.bounds import Bounds, _useless
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.reference import Reference
from probe.numerics.precision import precision_of

SINGLE = precision_of("float32")


def reference(steps, x, **more):
    return Reference(steps, (x,), recompute(steps, (x,)), **more)


def matmul(width, units, scale=1.0):
    w = (scale * np.random.default_rng(0).normal(size=(width, units))).astype(np.float32)
    return Step(ops.MatMul(weight=Weight("w", w, w), bias=None))


def drawn(rows, width):
    return np.random.default_rng(1).normal(size=(rows, width)).astype(np.float32)


@pytest.mark.parametrize(
    ("step", "x", "pays"),
    [
        (matmul(128, 128), drawn(2, 128), True),
        (matmul(128, 127), drawn(2, 128), False),  # of too few weights
        (matmul(127, 200), drawn(2, 127), False),  # of too few terms
        (Step(ops.Relu()), drawn(2, 128), False),
        (Step(ops.Transpose((1, 0))), drawn(2, 128), False),
    ],
)
def test_of_which_sums_a_part_of_the_squares_pays(step, x, pays):
    layer = reference((step,), x)
    assert layer.pays(0) is pays
    behind = reference((Step(ops.Neg()), step), x)
    assert behind.pays(1) is pays and behind.pays(0) is False


def long(count, error):
    """So many steps that each lose about as much: 1 + x - 1, of x that far below 1."""
    there, back = (np.array([value], np.float32) for value in (1.0, -1.0))
    steps = [
        Step(ops.AddConstant(Weight("c", (one := (there, back)[k % 2]), one))) for k in range(count)
    ]
    return reference(tuple(steps), error * drawn(4, 8))


def test_a_long_layer_is_drawn_where_pushed_slack_says_nothing_any_more():
    """A hundredth of the output's deviation is where, in float32."""
    slack = float(np.median(Bounds(long(12, 1e-2), SINGLE).usual()[0]))
    for times, expected in ((50.0, True), (200.0, False)):
        # the deviation of the output is the scale of the input
        layer = long(12, slack * times)
        share = np.median(Bounds(layer, SINGLE).pushed()[0]) / np.std(layer.values[-1][0])
        assert bool(share > 0.01) is expected
        assert Bounds(layer, SINGLE).drawn is expected
    assert not Bounds(long(10, slack * 50.0), SINGLE).drawn  # too short


def test_in_half_precision_more_of_the_output_may_be_slack():
    half = precision_of("float16")
    limit = 50 * half.unit
    slack = float(np.median(Bounds(long(12, 0.3), half).pushed()[0]))
    for times, expected in ((0.5, True), (2.0, False)):
        layer = long(12, times * slack / limit)
        share = np.median(Bounds(layer, half).pushed()[0]) / np.std(layer.values[-1][0])
        assert bool(share > limit) is expected
        assert Bounds(layer, half).drawn is expected


def test_of_several_calls_it_always_is():
    one = reference((matmul(4, 4),), drawn(2, 4), dtypes=("float32",))
    assert Bounds(one, SINGLE).drawn and not Bounds(replace(one, dtypes=()), SINGLE).drawn


def test_slack_is_useless_beyond_a_share_of_the_deviation():
    value = 10.0 * drawn(40, 5)
    deviation = float(np.std(value))
    for share in (0.01, 0.5, 3.0):
        assert not _useless(np.full(value.shape, 0.99 * share * deviation), value, share)
        assert _useless(np.full(value.shape, 1.01 * share * deviation), value, share)
    assert _useless(np.full(value.shape, np.nan), value, 1.0)
    assert not _useless(np.full(value.shape, 1e9), np.full(value.shape, np.nan), 1.0)
    assert not _useless(np.full(3, 1e9), np.arange(3), 1.0)


def test_the_scale_of_a_described_call_is_computed_and_never_guessed(monkeypatch):
    """A fault of ours in it would only make the answer coarser."""
    asked, own = [], propagated_error._scales

    def spied(capture, values):
        asked.append((capture.layer, values is not None))
        return own(capture, values)

    monkeypatch.setattr(propagated_error, "_scales", spied)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).eval()
    found = propagated_error.drifts(probe.open_model(net), (drawn(2, 4),), None, names=("2",))
    assert {layer for layer, _ in found} == {"2"}
    assert asked and all(computed for _, computed in asked)
