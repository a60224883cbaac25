"""The verdict on recurrences: long runs that end elsewhere, ends alone, mistakes of one step, and
what several outputs share."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import probe
from probe import Description, Step, Weight, ops
from probe.description import Builder, Ref
from probe.evaluation.numpy_reference import recompute
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Yours


def rnn(gain, units=24, seed=0):
    rng = np.random.default_rng(seed)
    recurrent = gain * rng.normal(size=(units, units)) / np.sqrt(units)
    return ops.RNN(
        kernel=Weight("kernel", None, rng.normal(size=(3, units)).astype(np.float32)),
        recurrent=Weight("recurrent_kernel", None, recurrent.astype(np.float32)),
    )


def in_float32(op, x):
    """The same recurrence by hand in float32."""
    h, out = np.zeros((x.shape[1], op.width), np.float32), []
    w, u = op.kernel.value.astype(np.float32), op.recurrent.value.astype(np.float32)
    for row in x:
        h = np.tanh(row @ w + h @ u)
        out.append(h)
    return np.stack(out)


def capture(op, x, outputs, whole=True):
    build = Builder()
    y = build.add(op, Ref(-1))
    if not whole:
        y = build.add(
            ops.Squeeze(axes=(0,)),
            build.add(ops.Slice((len(x) - 1, 0, 0), (len(x), None, None)), y),
        )
    return Capture("rnn", "SimpleRNN", 0, (x,), outputs, "float32", Description(build.ended(y)))


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=(160, 2, 3)).astype(np.float32)


def test_a_chaotic_sequence_agrees_step_by_step_and_that_is_said(x):
    op = rnn(3.0)
    theirs = in_float32(op, x)
    assert np.abs(theirs - op.run(x.astype(np.float64))[0]).max() > 0.1
    report = judge(capture(op, x, (theirs,)))
    assert report.ok, str(report)
    assert any("compared with teacher forcing" in note for note in report.notes)
    assert (
        max(one.worst.allowance for pair, one in report.comparisons.items() if "numpy" in pair)
        < 1e-4
    )


def test_its_end_alone_cannot_be_judged(x):
    op = rnn(3.0)
    report = judge(capture(op, x, (in_float32(op, x)[-1],), whole=False))
    assert report.verdict == "unchecked" and "own range" in report.sentence
    calm = rnn(0.6)
    assert judge(capture(calm, x, (in_float32(calm, x)[-1],), whole=False)).ok


@pytest.mark.parametrize("gain", [0.6, 3.0])
def test_one_wrong_step_diverges_however_long_the_run(gain, x):
    op = rnn(gain)
    theirs = in_float32(op, x)
    # began anew at step 120
    theirs[120:] = in_float32(op, np.concatenate([x[:120] * 0, x[120:]]))[120:]
    report = judge(capture(op, x, (theirs,)))
    assert (
        report.verdict == "diverge"
        and report.comparisons["framework", "numpy"].worst.index[0] == 120
    )


def test_an_expected_sequence_is_judged_from_its_own_states(x):
    op = rnn(3.0)
    theirs = in_float32(op, x)
    mine = op.run(x.astype(np.float64) * (1 + 1e-9))[0]  # another honest run, elsewhere by the end
    assert judge(capture(op, x, (theirs,)), Yours(mine)).ok
    mine[100, 1, 5] += 1e-3
    assert judge(capture(op, x, (theirs,)), Yours(mine)).verdict == "diverge"


def test_layers_above_each_other_are_judged_where_they_are_seen(x):
    """The lower sequence is not seen: what rounding may do to it is allowed for in the upper one,
    and no more."""
    lower, upper = (
        rnn(0.6),
        replace(rnn(0.6, seed=2), kernel=Weight("kernel", None, rnn(1.0).recurrent.value)),
    )
    steps = (Step(lower), Step(upper), Step(ops.Outputs(), (Ref(1),)))
    theirs = in_float32(upper, in_float32(lower, x))
    one = Capture("rnn", "RNN", 0, (x,), (theirs,), "float32", Description(steps))
    assert judge(one).ok
    wrong = recompute(steps, (x,))[-1][0].astype(np.float32)
    wrong[80] += np.float32(1e-4)
    assert judge(replace(one, outputs=(wrong,))).verdict == "diverge"


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_not_a_number_is_one_to_onnx_runtime(kind):
    x = np.ones((2, 5, 4), np.float32)
    x[0, 2, 1] = np.nan
    report = probe.check(getattr(torch.nn, kind)(4, 3, batch_first=True).eval(), "", given=x)
    assert (
        report.comparisons["framework", "numpy"].ok and "turn NaN into a number" in report.sentence
    ), report.sentence


def test_a_sequence_that_overflows_is_infinite_where_the_framework_has_it():
    layer = torch.nn.RNN(3, 8, nonlinearity="relu", batch_first=True).eval()
    with torch.no_grad():
        layer.weight_hh_l0.copy_(layer.weight_hh_l0.abs() * 5)
    report = probe.check(
        layer,
        "",
        given=np.abs(np.random.default_rng(0).normal(size=(2, 200, 3))).astype(np.float32),
    )
    assert report.ok and np.isinf(report.outputs["framework"][0]).any(), str(report)


def test_no_samples_are_nothing_to_compare():
    report = probe.check(
        torch.nn.LSTM(4, 3, batch_first=True).eval(), "", given=np.ones((0, 5, 4), np.float32)
    )
    assert report.verdict == "unchecked" and "the output is empty" in report.sentence
