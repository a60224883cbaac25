"""Resize and Upsample nodes over their options, against ONNX Runtime."""

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from onnx import helper, numpy_helper

import probe
from probe.errors import CannotOpen, ForwardFailed

COORDINATES = [
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
]


def resized(x, opset=19, assumed=True, **given):
    """The report of one Resize; roi, scales and sizes are initializers."""
    held = {
        name: np.asarray(given.pop(name)) for name in ("roi", "scales", "sizes") if name in given
    }
    names = (
        ["x", *(name if name in held else "" for name in ("roi", "scales", "sizes"))]
        if opset > 10
        else ["x", "scales"]
    )
    if opset == 11 and "roi" not in held:
        names, held["roi"] = ["x", "roi", *names[2:]], np.zeros(0, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Resize", names, ["y"], name="node", **given)],
        "graph",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    try:
        (report,) = probe.sweep(proto, [x])
    except (CannotOpen, ForwardFailed):
        assume(False)
    if not assumed:
        return report
    y = report.outputs["framework"]
    cropped = given.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    same = [one == other for one, other in zip(x.shape[2:], y.shape[2:], strict=True)]
    # what keeps its size it copies, see below
    assume(y.size and not all(same) and not (cropped and any(same)))
    return report


@st.composite
def cases(draw, mode):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rank = draw(st.sampled_from([1, 2] if mode == "linear" else [2]))
    space = [draw(st.integers(1, 9)) for _ in range(rank)]
    x = (
        rng.normal(size=(2, 3, *space)).astype(np.float32)
        if rank == 2
        else rng.normal(size=(2, 3, *space, 4)).astype(np.float32)
    )
    space = list(x.shape[2:])
    given = {"mode": mode, "coordinate_transformation_mode": draw(st.sampled_from(COORDINATES))}
    axes = draw(st.booleans())
    front = [] if axes else [1, 1]
    if axes:
        given["axes"] = [2, 3]
    if draw(st.booleans()):
        given["sizes"] = np.array(
            [*((2, 3) if front else ()), *(draw(st.integers(1, 14)) for _ in space)]
        )
        if draw(st.booleans()) and axes:
            given["keep_aspect_ratio_policy"] = draw(st.sampled_from(["not_larger", "not_smaller"]))
    else:
        given["scales"] = np.array(
            [*front, *(draw(st.floats(1 / n, 3)) for n in space)], np.float32
        )
    if given["coordinate_transformation_mode"] == "tf_crop_and_resize":
        low, high = ([draw(st.floats(*ends)) for _ in space] for ends in [(-0.4, 0.6), (0.6, 1.4)])
        given["roi"] = np.array([*(0 for _ in front), *low, *(1 for _ in front), *high], np.float32)
        given["extrapolation_value"] = draw(st.floats(-2, 2))
    if mode == "nearest":
        given["nearest_mode"] = draw(
            st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        )
    if mode == "cubic":
        given["cubic_coeff_a"] = draw(st.sampled_from([-0.5, -0.75]))
        given["exclude_outside"] = draw(st.integers(0, 1))
    return x, given


@examples(30)
@given(cases("nearest"))
def test_nearest(case):
    x, given = case
    report = resized(x, **given)
    # Where a coordinate lies on an element, for floor, or between two, rounding gives either.
    assert all(one.ok for one in report.comparisons.values()), str(report)
    assume("float32 rounding may change" not in report.sentence)
    assert report.ok and not report.missing, str(report)


@examples(30)
@given(cases("linear"))
def test_linear(case):
    x, given = case
    report = resized(x, **given)
    assert report.ok and not report.missing, str(report)


@examples(30)
@given(cases("cubic"))
def test_cubic(case):
    x, given = case
    report = resized(x, **given)
    assert report.ok and not report.missing, str(report)


@examples(30)
@given(
    st.sampled_from(["linear", "cubic"]),
    st.sampled_from(["half_pixel", "align_corners", "asymmetric"]),
    st.data(),
)
def test_antialiased(mode, coordinates, data):
    x = (
        np.random.default_rng(data.draw(st.integers(0, 99)))
        .normal(size=(2, 3, 12, 9))
        .astype(np.float32)
    )
    sizes = np.array([2, 3, data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))])
    report = resized(
        x, mode=mode, coordinate_transformation_mode=coordinates, antialias=1, sizes=sizes
    )
    assert report.ok and not report.missing, str(report)


@pytest.mark.parametrize("opset", [10, 11, 13, 18, 19])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_versions(opset, mode):
    """Version 10 has no roi, and asymmetric coordinates whose nearest element is the one before."""
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    scales = np.array([1, 1, 2.6, 1.5], np.float32)
    report = resized(x, opset, assumed=False, mode=mode, scales=scales)
    assert report.ok and not report.missing, str(report)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode):
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    node = helper.make_node("Upsample", ["x", "scales"], ["y"], name="node", mode=mode)
    scales = numpy_helper.from_array(np.array([1, 1, 2, 3], np.float32), "scales")
    declared = [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)]
    graph = helper.make_graph([node], "graph", declared, [onnx.ValueInfoProto(name="y")], [scales])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=8)
    (report,) = probe.sweep(proto, [x])
    assert report.ok and not report.missing, str(report)


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "linear", "scales": np.array([1, 1, 1, 1.2], np.float32)},
        {
            "mode": "nearest",
            "nearest_mode": "floor",
            "scales": np.array([1, 1, 1, 1.2], np.float32),
        },
        {
            "mode": "linear",
            "coordinate_transformation_mode": "tf_crop_and_resize",
            "sizes": np.array([1, 2, 3, 7]),
            "roi": np.array([0, 0, 0.2, 0, 1, 1, 0.7, 1], np.float32),
        },
    ],
    ids=["linear", "nearest", "roi"],
)
def test_what_onnx_runtime_copies_is_said(given):
    """It departs from the specification there, as its evaluator and the graph of steps show; the
    report knows it."""
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 4)).astype(np.float32)
    report = resized(x, assumed=False, **given)
    assert report.verdict == "diverge" and any(
        "known difference of ONNX Runtime: it ignores roi along an axis of scale 1" in note
        for note in report.notes
    )
    assert report.comparisons["numpy", "onnx"].ok
    if "roi" not in given:
        np.testing.assert_array_equal(report.outputs["framework"], x)
