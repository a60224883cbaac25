"""Both losses over ranks, weights, targets that are left out and reductions, against ONNX Runtime
and onnx.reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx.reference import ReferenceEvaluator
from onnx_cases import single

import probe

KINDS = ("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")


@st.composite
def losses(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, classes = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    space = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 3)))]
    kind = draw(st.sampled_from(["float32", "float64"]))
    x = rng.normal(size=(batch, classes, *space)).astype(kind)
    target = rng.integers(0, classes, (batch, *space)).astype(
        draw(st.sampled_from(["int32", "int64"]))
    )
    attributes = {"reduction": draw(st.sampled_from(["none", "sum", "mean"]))}
    if draw(st.booleans()):
        ignored = draw(st.sampled_from([-1, 0, 99]))
        attributes["ignore_index"] = ignored
        target[rng.random(target.shape) > 0.6] = ignored
        target.flat[0] = classes - 1  # of no target at all the mean is 0 / 0
    weight = draw(st.sampled_from([None, "held", "given"]))
    values = [x, target]
    values += (
        []
        if weight is None
        else [*(["s:"] if weight == "held" else []), rng.uniform(0.1, 2, classes).astype(kind)]
    )
    return draw(st.sampled_from(KINDS)), values, attributes


@examples(60)
@given(losses())
def test_every_option(case):
    kind, values, attributes = case
    if (
        attributes.get("ignore_index") == values[0].shape[1] - 1
        and attributes["reduction"] == "mean"
    ):
        attributes["reduction"] = "sum"
    proto, inputs = single(kind, values, attributes, 13)
    (report,) = probe.sweep(proto, inputs)
    assert report.verdict == "agree", str(report)
    assert not report.missing
    if attributes.get("ignore_index") == -1:
        return  # the reference evaluator takes it for none (elif ignore_index != -1)
    theirs = ReferenceEvaluator(proto).run(
        None, dict(zip([one.name for one in proto.graph.input], inputs, strict=True))
    )[0]
    np.testing.assert_allclose(report.outputs["numpy"], theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["ignored", "weight", "reduction"])
def test_a_fault_is_a_divergence(kind, fault):
    rng = np.random.default_rng(0)
    x, target, weight = (
        rng.normal(size=(4, 5, 3)).astype(np.float32),
        rng.integers(0, 5, (4, 3)),
        rng.uniform(1, 2, 5).astype(np.float32),
    )
    healthy = {"ignore_index": int(target[0, 0])}
    other, more = (weight[::-1].copy() if fault == "weight" else weight), dict(healthy)
    if fault == "ignored":
        more["ignore_index"] = int(target[1, 1] if target[1, 1] != target[0, 0] else target[1, 0])
    if fault == "reduction":
        more["reduction"] = "sum"
    wrong, inputs = single(kind, [x, target, "s:", other], more, 13)
    faulty = probe.check(wrong, "node", inputs).outputs["framework"]
    proto, inputs = single(kind, [x, target, "s:", weight], healthy, 13)
    assert probe.check(proto, "node", inputs).ok
    assert probe.check(proto, "node", inputs, expected=faulty, search=False).verdict == "diverge"


def test_an_infinite_loss_that_is_left_out():
    x = np.array([[-np.inf, -1.0], [-2.0, -3.0]], np.float32)
    proto, inputs = single("NegativeLogLikelihoodLoss", [x, np.array([7, 1])], {"ignore_index": 7})
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and report.outputs["numpy"] == 3.0


def test_a_target_that_is_left_out_beyond_all_classes():
    """Noise on the targets would look up another."""
    x, target = np.array([[[0.125, -0.5, 0.75]]]), np.array([[0, 99, 99]], np.int32)
    options = {"reduction": "none", "ignore_index": 99}
    (report,) = probe.sweep(*single("NegativeLogLikelihoodLoss", [x, target], options, 13))
    assert report.verdict == "agree" and not report.missing, str(report)
