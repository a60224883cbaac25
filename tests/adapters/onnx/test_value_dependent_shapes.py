"""Operators that give as many elements as the values say, against ONNX Runtime and
onnx.reference."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx.reference import ReferenceEvaluator
from onnx_cases import single

import probe

few = examples(40)


@few
@given(
    st.integers(0, 999),
    st.booleans(),
    st.integers(1, 12),
    st.integers(0, 6),
    st.floats(0.05, 0.9),
    st.one_of(st.none(), st.floats(0.1, 0.9)),
)
def test_boxes(seed, centred, count, most, overlap, least):
    rng = np.random.default_rng(seed)
    boxes = rng.random((2, count, 4)).astype(np.float32)
    scores = np.round(rng.random((2, 3, count)), 2).astype(np.float32)  # some alike
    values = [boxes, scores, "s:", np.array([most]), "s:", np.array([overlap], np.float32)]
    values += [] if least is None else ["s:", np.array([np.round(least, 2) + 0.005], np.float32)]
    proto, inputs = single("NonMaxSuppression", values, {"center_point_box": int(centred)}, 11)
    (report,) = probe.sweep(proto, inputs)
    if not report.outputs["framework"].size:
        assert "the output is empty: the shapes agree" in report.sentence
    else:
        assert report.ok and not report.missing, str(report)


def test_an_overlap_near_its_bound_is_not_judged():
    boxes = np.array([[[0, 0, 1, 1], [0, 0.2, 1, 1.2]]], np.float32)
    overlap = np.nextafter(np.float32(0.8 / 1.2), np.float32(1))
    values = [
        boxes,
        np.array([[[0.9, 0.8]]], np.float32),
        "s:",
        np.array([3]),
        "s:",
        overlap.reshape(1),
    ]
    proto, inputs = single("NonMaxSuppression", values, {}, 11)
    (report,) = probe.sweep(proto, inputs)
    assert (
        report.verdict == "unchecked" and "rounding decides which box is removed" in report.sentence
    )


@few
@given(
    st.integers(0, 999),
    st.sampled_from([None, 0, 1, -1]),
    st.integers(0, 1),
    st.sampled_from([np.float32, np.int64, np.float64]),
)
def test_values_once_each(seed, axis, rising, kind):
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, (3, 4) if axis is None else (5, 2)).astype(kind)
    more = {"sorted": rising} | ({} if axis is None else {"axis": axis})
    proto, inputs = single("Unique", [x], more, 11, ["y", "i", "r", "n"])
    (report,) = probe.sweep(proto, inputs)
    assert report.ok and len(report.outputs["numpy"]) == 4, str(report)


def test_values_that_float32_does_not_hold_apart():
    proto, inputs = single("Unique", [np.array([1.0, 1.0 + 1e-12, 2.0])], {}, 11)
    (report,) = probe.sweep(proto, inputs)
    assert (
        report.verdict == "unchecked"
        and "equal in float32 but not in their own type" in report.sentence
    )


def test_a_score_at_its_bound():
    """By the operator's text only those below it are removed; ONNX Runtime and onnx.reference
    remove it as well."""
    boxes = np.array([[[0, 0, 1, 1], [2, 2, 3, 3]]], np.float32)
    values = [
        boxes,
        np.array([[[0.75, 0.25]]], np.float32),
        "s:",
        np.array([3]),
        "s:",
        np.float32([0.5]),
        "s:",
        np.float32([0.25]),
    ]
    proto, inputs = single("NonMaxSuppression", values, {}, 11)
    report = probe.check(proto, "node", inputs)
    (theirs,) = ReferenceEvaluator(proto).run(None, dict(zip(["v0", "v1"], inputs, strict=True)))
    assert report.outputs["framework"].tolist() == theirs.tolist() == [[0, 0, 0]]
    assert (
        report.verdict == "unchecked"
        and "by the ONNX specification its box is kept" in report.sentence
    )
