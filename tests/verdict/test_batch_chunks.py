"""A large call judged a few samples at a time says what it says as a whole."""

from dataclasses import replace

import numpy as np
import pytest

from probe import Description, Step, Weight, ops
from probe.model import Capture
from probe.verdict import batch_chunks as module
from probe.verdict.batch_chunks import judged_in_pieces
from probe.verdict.judge import judge
from probe.verdict.options import Options

SPARING = Options(sparing=True)
SAMPLES = 7


@pytest.fixture(autouse=True)
def pieces(monkeypatch):
    """The sizes of the batches that are judged, where 30 elements are many."""
    sizes = []
    monkeypatch.setattr(module, "_LARGE", 30)
    monkeypatch.setattr(
        module,
        "judge",
        lambda capture, options: (
            sizes.append(len(capture.inputs[0])) or judge(capture, None, options)
        ),
    )
    return sizes


def linear(op=None, off=0.0, at=(4, 2)):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, 12)).astype(np.float32)
    w = rng.normal(size=(12, 5)).astype(np.float32)
    steps = (Step(ops.MatMul(weight=Weight("w", w, w), bias=None)), *([Step(op)] if op else []))
    y = x @ w
    if op is not None:
        (y,) = op.run(y)
    y[at] += np.float32(off)
    return Capture("fc", "Linear", 0, (x,), (y,), "float32", Description(steps))


def test_all_agree(pieces):
    capture = linear(off=1e-6)
    report, whole = judged_in_pieces(capture, SPARING), judge(capture, None, SPARING)
    assert pieces == [2, 2, 2, 1]
    assert report.verdict == whole.verdict == "agree" and report.inputs == capture.inputs
    assert report.comparisons.keys() == whole.comparisons.keys()
    for pair, comparison in report.comparisons.items():
        assert comparison.size == whole.comparisons[pair].size == SAMPLES * 5
        assert comparison.count == 0
        assert comparison.ratio == pytest.approx(whole.comparisons[pair].ratio, rel=0.2)
    assert report.comparisons["framework", "numpy"].worst.index == (4, 2)
    np.testing.assert_array_equal(report.outputs["framework"], capture.outputs[0])
    np.testing.assert_allclose(report.outputs["numpy"], capture.outputs[0], atol=1e-5)


def test_what_differs_is_judged_as_a_whole(pieces):
    report = judged_in_pieces(linear(off=1.0), SPARING)
    assert pieces == [2, 2, 2, SAMPLES]
    assert report.verdict == "diverge"
    assert report.comparisons["framework", "numpy"].worst.index == (4, 2)


@pytest.mark.parametrize(
    "capture",
    [
        linear(ops.Softmax(0)),
        replace(linear(), description=None, why="it has none"),
        replace(linear(), outputs=(linear().outputs[0][0],)),
        replace(linear(), inputs=(linear().inputs[0][:1],), outputs=(linear().outputs[0][:1],)),
    ],
    ids=["samples are not apart", "no description", "no batch in the output", "one sample"],
)
def test_what_is_not_cut(capture, pieces):
    report = judged_in_pieces(capture, SPARING)
    assert len(pieces) == 1 and report.layer == "fc"


def test_what_is_small_is_not_cut(pieces, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", SAMPLES * 12 + 1)
    judged_in_pieces(linear(), SPARING)
    assert pieces == [SAMPLES]
    monkeypatch.setattr(module, "_LARGE", SAMPLES * 12)
    judged_in_pieces(linear(), SPARING)
    assert pieces == [SAMPLES, SAMPLES]
