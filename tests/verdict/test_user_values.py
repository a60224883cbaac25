"""A user's values as outputs of a layer, and what they may be off by beside its own rounding."""

from dataclasses import replace

import numpy as np
import pytest

from probe import Description, Step, Weight, ops
from probe.capture.model_inputs import part_of
from probe.capture.user_arrays import Unshaped, part_at
from probe.evaluation.propagated_error import Drift
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Yours
from probe.verdict.user_values import outputs_of

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
W = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
Y = X @ W


def linear(dtype="float32"):
    op = ops.MatMul(weight=Weight("w", W, W), bias=None)
    return Capture("fc", "Linear", 0, (X,), (Y,), dtype, Description((Step(op),)))


def typed(values, slack):
    return Unshaped(np.asarray(values, float), "values.txt", slack)


def test_values_without_a_shape():
    found = outputs_of(Yours(typed(Y.ravel(), 0.0)), linear())
    np.testing.assert_array_equal(found.outputs[0], Y)
    assert found.known is None and found.notes == (
        "your file has no shape; its 12 values are read in row-major (C) order as (4, 3)",
    )
    few = outputs_of(Yours(typed(Y.ravel(), 0.025)), linear())
    assert (few.digits == 0.025).all() and few.digits.shape == (4, 3)
    assert few.notes[1] == (
        "your values are written with few digits; the allowance includes up to 0.025 for the "
        "digits left out"
    )
    slack = np.linspace(0, 0.5, 5)
    short = outputs_of(Yours(typed(Y.ravel()[:5], slack)), linear())
    assert short.outputs[0].shape == (5,) and short.digits == 0.5 and len(short.notes) == 1


def test_a_part():
    found = outputs_of(Yours(part_at(typed([1, 2], 0.25), part_of("1,:2"))), linear())
    assert found.notes == (
        "you gave 2 of the output's 12 values; the others are not compared",
        "your values are written with few digits; the allowance includes up to 0.25 for the "
        "digits left out",
    )
    assert found.known.sum() == 2 and found.digits.sum() == 0.5
    assert found.outputs[0][1, 1] == 2 and np.isnan(found.outputs[0][0]).all()


def test_digits_that_float32_leaves_out_too_are_no_few():
    values = np.array([4.0, np.inf])
    for times, words in ((1.0, 0), (1.01, 1)):
        notes = outputs_of(Yours(typed(values, times * 4 * 2.0**-25)), linear()).notes
        assert len(notes) == words, notes


@pytest.mark.parametrize(
    ("yours", "note"),
    [
        (Yours(typed(Y.ravel() + 0.02, 0.025)), "few digits"),
        (Yours(Y + np.float32(0.02), Drift((np.full(Y.shape, 0.025),))), "from the preceding"),
        (Yours(Y.astype(np.float16)), "your values are stored in float16"),
        (Yours((2 * X) @ W, None, (2 * X,)), "on your own values of the layer's input"),
    ],
)
def test_what_is_allowed_is_said(yours, note):
    report = judge(linear(), yours)
    assert report.ok, report
    assert any(note in text for text in report.notes), report.notes
    bare = np.asarray(outputs_of(yours, linear()).outputs[0])
    if bare.dtype != np.float16:
        assert not judge(linear(), Yours(bare)).ok


def test_what_is_beyond_it_differs():
    for yours in (
        Yours(typed(Y.ravel() + 0.03, 0.025)),
        Yours(Y + np.float32(0.03), Drift((np.full(Y.shape, 0.025),))),
        Yours(Y.astype(np.float16) + np.float16(0.05)),
        Yours((2 * X) @ W + 1, None, (2 * X,)),
    ):
        assert not judge(linear(), yours).ok


def test_drift_that_rounds_inside_goes_further():
    """In half precision up to so many times as far leaves a doubt, and is no divergence."""
    half = linear("bfloat16")
    (y,) = half.outputs
    for times, ok in ((1.5, True), (4.0, False)):
        drift = Drift((np.full(Y.shape, 0.5),), further=2.0)
        report = judge(replace(half, outputs=(y,)), Yours(y + np.float32(0.5 * times), drift))
        assert report.ok is ok, report
