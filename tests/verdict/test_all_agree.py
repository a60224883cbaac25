"""Each short way to see that three engines agree is taken where it may be, and finds what the long
one finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import Description, Ref, Step, Weight, ops
from probe.model import Capture
from probe.verdict import all_agree as module
from probe.verdict import parties
from probe.verdict.judge import judge
from probe.verdict.options import Options

SPARING = Options(sparing=True)
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def linear(rows=4, width=256, units=128, dtype="float32", seed=0, scale=1.0):
    """A layer large enough for a part of its squares to pay, as PyTorch computes it."""
    rng = np.random.default_rng(seed)
    kind = TYPES[dtype]
    x, w, b = (
        torch.from_numpy(rng.normal(size=size).astype(np.float32)).to(kind)
        for size in ((rows, width), (units, width), (units,))
    )
    y = torch.nn.functional.linear(x, w * scale, b if scale else b * 0 + 1)
    x, w, b, y = (one.float().numpy() for one in (x, w * scale, b if scale else b * 0 + 1, y))
    op = ops.MatMul(weight=Weight("w", w.T.copy(), w.T.copy()), bias=Weight("b", b, b))
    return Capture("fc", "Linear", 0, (x,), (y,), dtype, Description((Step(op),)))


def wrong(capture, output=0, index=(1, 2)):
    """One element of an output half as large again as it should be."""
    outputs = [one.copy() for one in capture.outputs]
    outputs[output][index] += 0.5 * np.abs(outputs[output]).max()
    return replace(capture, outputs=tuple(outputs))


@pytest.fixture
def ways(monkeypatch):
    """What each of the short ways gave, by its name."""
    found = {}
    for place, name in (
        (parties, "all_agree"),
        (parties, "all_agree_with_less"),
        (module, "_all_agree_as_stored"),
    ):
        own = getattr(place, name)

        def spied(*args, own=own, name=name):
            found[name] = own(*args)
            return found[name]

        monkeypatch.setattr(place, name, spied)
    return found


@examples(10)
@given(
    rows=st.integers(1, 4),
    width=st.integers(1, 40),
    units=st.integers(1, 9),
    off=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_short_way_finds_what_the_long_one_finds(rows, width, units, off, seed):
    capture = linear(rows, width, units, seed=seed)
    if off:
        capture = wrong(capture, index=(rows - 1, units - 1))
    report = judge(capture)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parties, "all_agree", lambda *args: None)
        patch.setattr(parties, "all_agree_with_less", lambda *args: None)
        long = judge(capture)
    assert report.verdict == long.verdict == ("diverge" if off else "agree")
    assert report.comparisons.keys() == long.comparisons.keys()
    for pair, comparison in () if off else report.comparisons.items():
        assert comparison.ratio == pytest.approx(long.comparisons[pair].ratio, rel=1e-5, abs=1e-6)


def test_three_in_one_pass(ways):
    assert judge(linear()).ok and ways["all_agree"] is not None
    assert judge(wrong(linear())).verdict == "diverge" and ways["all_agree"] is None


def test_a_part_of_the_allowance(ways):
    report = judge(linear(), options=SPARING)
    assert report.ok and ways["all_agree_with_less"] is not None and "all_agree" not in ways
    assert judge(wrong(linear()), options=SPARING).verdict == "diverge"
    assert ways["all_agree_with_less"] is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_what_is_stored_in_half_precision(ways, dtype):
    capture = linear(dtype=dtype)
    report = judge(capture, options=SPARING)
    results, between = ways["_all_agree_as_stored"]
    assert report.ok and list(results) == ["framework", "onnx"] and between == {}
    assert results["framework"].party.outputs is capture.outputs
    rounded = results["framework"].comparison
    exact = judge(capture).comparisons["framework", "numpy"]
    assert rounded.ratio == pytest.approx(exact.ratio, rel=0.2)
    assert judge(wrong(capture), options=SPARING).verdict == "diverge"
    assert ways["_all_agree_as_stored"] is None


def test_an_output_in_half_precision_that_hardly_varies(ways):
    """A part of the allowance is no evidence where the output reaches over less."""
    assert judge(linear(dtype="bfloat16", scale=0.0), options=SPARING).ok
    assert ways["_all_agree_as_stored"] is None


def split():
    """A layer with two outputs."""
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    steps = (
        Step(ops.Relu(), (Ref(-1),)),
        Step(ops.Neg(), (Ref(-1),)),
        Step(ops.Outputs(), (Ref(0), Ref(1))),
    )
    outputs = (np.maximum(x, 0), -x)
    return Capture("split", "Split", 0, (x,), outputs, "float32", Description(steps))


@pytest.mark.parametrize("output", range(2))
@pytest.mark.parametrize("options", [Options(), SPARING])
def test_each_of_several_outputs_is_compared(ways, output, options):
    assert judge(split(), options=options).ok and ways["all_agree"] is None
    report = judge(wrong(split(), output), options=options)
    assert report.verdict == "diverge"
    assert report.comparisons["framework", "numpy"].worst.output == output
