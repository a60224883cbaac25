"""Resizing in every mode against PyTorch, TensorFlow and ONNX Runtime."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from lazy import tf

from probe import ops
from probe.description import Step
from probe.evaluation.numpy_reference import recompute
from probe.explanation.receptive_field import influence_of
from probe.explanation.trace import origin_of

few = examples(40)
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
TENSORFLOW = {
    "bilinear": {"mode": "linear"},
    "bicubic": {"mode": "cubic", "a": -0.5, "table": 1024, "outside": "excluded"},
    "area": {"mode": "area"},
    "lanczos3": {"mode": "lanczos3", "outside": "excluded"},
    "lanczos5": {"mode": "lanczos5", "outside": "excluded"},
    "gaussian": {"mode": "gaussian", "outside": "excluded"},
    "mitchellcubic": {"mode": "mitchell", "outside": "excluded"},
}


@st.composite
def images(draw, rank, longest=9):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        *(draw(st.integers(1, longest)) for _ in range(rank)),
    )
    return (rng.normal(size=shape) + draw(st.sampled_from([0.0, 5.0]))).astype(np.float32)


def sizes_of(draw, x, longest=20):
    return tuple(draw(st.integers(1, longest)) for _ in x.shape[2:])


def scales_of(x, sizes):
    return tuple(size / have for size, have in zip(sizes, x.shape[2:], strict=True))


@few
@given(st.integers(1, 3), st.booleans(), st.data())
def test_linear(agrees, rank, corners, data):
    x = data.draw(images(rank, 9 if rank < 3 else 5))
    sizes = sizes_of(data.draw, x, 20 if rank < 3 else 9)
    op = ops.Resize(
        sizes=sizes,
        scales=scales_of(x, sizes),
        coordinates="align_corners" if corners else "half_pixel",
    )
    agrees(op, [x], lambda x: F.interpolate(x, sizes, mode=LINEAR[rank], align_corners=corners))


@few
@given(st.integers(1, 2), st.data())
def test_linear_by_a_given_scale(agrees, rank, data):
    """PyTorch goes by the given scale and not by the ratio of the sizes, but copies an axis that
    keeps its size (UpSample.h)."""
    x = data.draw(images(rank))
    scales = tuple(
        data.draw(st.floats(0.4, 3.7).filter(lambda f, n=n: n * f >= 1)) for n in x.shape[2:]
    )
    sizes = tuple(math.floor(n * f) for n, f in zip(x.shape[2:], scales, strict=True))
    used = tuple(
        1.0 if size == n else f for size, n, f in zip(sizes, x.shape[2:], scales, strict=True)
    )
    agrees(
        ops.Resize(sizes=sizes, scales=used),
        [x],
        lambda x: F.interpolate(x, scale_factor=scales, mode=LINEAR[rank]),
    )


@few
@given(images(2), st.booleans(), st.data())
def test_cubic(agrees, x, corners, data):
    sizes = sizes_of(data.draw, x)
    op = ops.Resize(
        sizes=sizes,
        scales=scales_of(x, sizes),
        mode="cubic",
        coordinates="align_corners" if corners else "half_pixel",
    )
    agrees(op, [x], lambda x: F.interpolate(x, sizes, mode="bicubic", align_corners=corners))


@few
@given(images(2, 30), st.sampled_from(["bilinear", "bicubic"]), st.data())
def test_antialiased(agrees, x, mode, data):
    sizes = sizes_of(data.draw, x, 12)
    # PyTorch 2.13 gives the first row in all rows where there is one column
    assume(x.shape[3] > 1 and sizes[1] > 1)
    how = {"mode": "linear"} if mode == "bilinear" else {"mode": "cubic", "a": -0.5}
    op = ops.Resize(sizes=sizes, scales=scales_of(x, sizes), antialias=True, **how)
    agrees(
        op,
        [x],
        lambda x: F.interpolate(x, sizes, mode=mode, antialias=True),
        name=f"Resize, antialiased {mode}",
    )


@few
@given(st.integers(1, 3), st.data())
def test_nearest_to_the_middle(agrees, rank, data):
    """PyTorch's "nearest-exact"."""
    x = data.draw(images(rank, 9 if rank < 3 else 5))
    sizes = sizes_of(data.draw, x, 12)
    op = ops.ResizeNearest(
        (1.0, 1.0, *scales_of(x, sizes)), (*x.shape[:2], *sizes), "half_pixel", "round_prefer_ceil"
    )
    agrees(op, [x], lambda x: F.interpolate(x, sizes, mode="nearest-exact"))


@few
@given(
    images(2),
    st.sampled_from(["asymmetric", "align_corners", "half_pixel"]),
    st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]),
    st.data(),
)
def test_nearest_by_whole_scales_in_onnx(agrees, x, coordinates, rounding, data):
    scales = (1.0, 1.0, *(float(data.draw(st.integers(1, 4))) for _ in x.shape[2:]))
    sizes = tuple(int(n * s) for n, s in zip(x.shape, scales, strict=True))
    agrees(ops.ResizeNearest(scales, sizes, coordinates, rounding), [x], None)


@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
def test_nearest_of_broken_scales_in_onnx(agrees, coordinates, rounding):
    """No rounding leaves the image."""
    x = np.arange(1.0, 13.0).reshape(1, 1, 3, 4)
    op = ops.ResizeNearest((1.0, 1.0, 5 / 3, 5 / 4), (1, 1, 5, 5), coordinates, rounding)
    agrees(op, [x], None)


@pytest.mark.parametrize("method", TENSORFLOW)
@examples(25)
@given(images(2, 12), st.booleans(), st.data())
def test_tensorflow(agrees, method, x, antialias, data):
    sizes = sizes_of(data.draw, x)
    how = TENSORFLOW[method]
    # tf.image.resize turns to ScaleAndTranslate, without a table, where it is to antialias or has
    # no kernel of its own.
    if antialias and method == "area":
        antialias = False
    if antialias:
        how = (
            {"a": -0.5}
            | {key: value for key, value in how.items() if key != "table"}
            | {"antialias": True}
        )
    op = ops.Resize(sizes=sizes, scales=scales_of(x, sizes), **how)
    last = np.moveaxis(x, 1, -1)
    agrees(
        op,
        [x],
        None,
        lambda _: np.moveaxis(
            tf.image.resize(last, sizes, method, antialias=antialias).numpy(), -1, 1
        ),
        name=f"Resize, TensorFlow's {method}",
    )


@few
@given(images(2), st.data())
def test_tensorflow_nearest(agrees, x, data):
    sizes = sizes_of(data.draw, x)
    op = ops.ResizeNearest(
        (1.0, 1.0, *scales_of(x, sizes)), (*x.shape[:2], *sizes), "half_pixel", "round_prefer_ceil"
    )
    last = np.moveaxis(x, 1, -1)
    agrees(
        op,
        [x],
        None,
        lambda _: np.moveaxis(tf.image.resize(last, sizes, "nearest").numpy(), -1, 1),
        name="ResizeNearest, TensorFlow's",
    )


MODES = [
    {},
    {"coordinates": "align_corners"},
    {"mode": "cubic"},
    {"mode": "area"},
    {"mode": "lanczos3", "outside": "excluded", "antialias": True},
]


@pytest.mark.parametrize("how", MODES)
@examples(10)
@given(images(2), st.data())
def test_what_an_element_is_made_of(how, x, data):
    """The shares told of an element give it, and they are of what it is said to see."""
    sizes = sizes_of(data.draw, x)
    steps = (Step(ops.Resize(sizes=sizes, scales=scales_of(x, sizes), **how)),)
    values = recompute(steps, [x])
    y = values[-1][0]
    at = tuple(data.draw(st.integers(0, size - 1)) for size in y.shape)
    terms = origin_of(steps, [x], values, at).terms
    assert sum(term.product for term in terms) == pytest.approx(float(y[at]), abs=1e-9)
    assert sum(term.weight_value for term in terms) == pytest.approx(1, abs=1e-9)
    mask = np.zeros(y.shape, bool)
    mask[at] = True
    (reached,) = influence_of(steps, [x], mask)
    assert all(reached[term.input_index] for term in terms)


def test_large_maps_in_blocks():
    """Blocks of planes give what the whole gives."""
    x = np.random.default_rng(0).normal(size=(2, 5, 300, 400))
    op = ops.Resize(sizes=(450, 700), scales=(1.5, 1.75))
    theirs = F.interpolate(torch.from_numpy(x), (450, 700), mode="bilinear").numpy()
    np.testing.assert_allclose(recompute((Step(op),), [x])[-1][0], theirs, atol=1e-12)


def test_the_end_of_a_gaussian_that_float32_decides(agrees):
    """From 7 to 4 an element stands right at the kernel's end, which TensorFlow divides by 1.75 to
    find."""
    x = np.random.default_rng(0).normal(size=(1, 1, 1, 7)).astype(np.float32)
    op = ops.Resize(
        sizes=(1, 4),
        scales=(1.0, 4 / 7),
        mode="gaussian",
        outside="excluded",
        antialias=True,
        single=True,
    )
    agrees(
        op,
        [x],
        None,
        lambda x: np.moveaxis(
            tf.image.resize(np.moveaxis(x, 1, -1), (1, 4), "gaussian", antialias=True), -1, 1
        ),
    )
