"""Transposed convolution, and windows as columns, against PyTorch, TensorFlow, ONNX Runtime and
plain loops."""

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
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
few = examples(40)


def each(draw, rank, low, high):
    return tuple(draw(st.integers(low, high)) for _ in range(rank))


@st.composite
def transposed(draw, most=3):
    """(x, kernel, bias, attributes): strides beyond the kernel, one channel, one step, groups =
    channels among them."""
    rank, groups = draw(st.integers(1, most)), draw(st.sampled_from([1, 1, 2, 3]))
    width, deep = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    kernel, strides, dilations = (
        each(draw, rank, 1, 4),
        each(draw, rank, 1, 4),
        each(draw, rank, 1, 3),
    )
    sizes = each(draw, rank, 1, 5 if rank < 3 else 3)
    full = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(sizes, strides, kernel, dilations, strict=True)
    ]
    crops = tuple((draw(st.integers(0, 2)), draw(st.integers(-2, 2))) for _ in range(rank))
    assume(
        all(size - before - after > 0 for size, (before, after) in zip(full, crops, strict=True))
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(draw(st.integers(1, 2)), groups * width, *sizes)).astype(np.float32)
    w = rng.normal(size=(groups * width, deep, *kernel)).astype(np.float32)
    bias = rng.normal(size=groups * deep).astype(np.float32) if draw(st.booleans()) else None
    return (
        x,
        w,
        bias,
        {"strides": strides, "crops": crops, "dilations": dilations, "groups": groups},
    )


def by_torch(how):
    """The whole of it, cropped and continued by slices: with the bias last."""

    def compute(x, kernel, bias=None):
        rank = x.ndim - 2
        whole = TRANSPOSE[rank](
            x, kernel, None, how["strides"], 0, 0, how["groups"], how["dilations"]
        )
        crops = [crop for before, after in reversed(how["crops"]) for crop in (before, after)]
        out = F.pad(
            F.pad(whole, [max(0, -crop) for crop in crops]), [-max(0, crop) for crop in crops]
        )
        return out if bias is None else out + bias.reshape(-1, *(1,) * rank)

    return compute


@few
@given(transposed())
def test_conv_transpose(agrees, weight, case):
    x, w, b, how = case
    kernel = weight("kernel", w, axes=(w.ndim - 1, w.ndim - 2, *range(w.ndim - 2)))
    agrees(
        ops.ConvTranspose(weight=kernel, bias=None if b is None else weight("bias", b), **how),
        [x],
        by_torch(how),
    )


@examples(15)
@given(transposed(most=2))
def test_conv_transpose_whose_kernel_is_an_input(agrees, weight, case):
    x, w, _, how = case
    op = ops.ConvTranspose(weight=None, bias=None, **how)
    agrees(op, [x, w], by_torch(how))
    # Slack of either input is carried: a kernel that was rounded twice.
    rng = np.random.default_rng(0)
    slack = 1e-3 * np.abs(w)
    (moved,) = op.error_bound(
        Evaluated([x, w], [None, slack], op.run(x, w)), precision_of("float32")
    )
    other = (
        op.run(x.astype(float), w + slack * rng.choice([-1.0, 1.0], size=w.shape))[0]
        - op.run(x.astype(float), w.astype(float))[0]
    )
    assert (np.abs(other) <= 6 * moved + 1e-12).all()


@few
@given(transposed(most=2), st.data())
def test_what_an_output_is_made_of(weight, case, data):
    """Told terms add up to the output, and what is said to be seen is what changes it."""
    x, w, b, how = case
    steps = (
        Step(
            ops.ConvTranspose(
                weight=weight("kernel", w), bias=None if b is None else weight("bias", b), **how
            )
        ),
    )
    values = recompute(steps, [x])
    y = values[-1][0]
    at = tuple(data.draw(st.integers(0, size - 1)) for size in y.shape)
    origin = origin_of(steps, [x], values, at)
    assert sum(term.product for term in origin.terms) + (origin.bias or 0) == pytest.approx(
        float(y[at]), abs=1e-9
    )
    mask = np.zeros(y.shape, bool)
    mask[at] = True
    (reached,) = influence_of(steps, [x], mask)
    told = np.zeros(x.shape, bool)
    for term in origin.terms:
        told[term.input_index] = True
    assert (told <= reached).all() and reached.sum() == told.sum()


@pytest.mark.parametrize(("channels", "size", "out", "kernel"), [(64, 16, 32, 4), (8, 40, 1, 7)])
def test_conv_transpose_at_real_sizes(agrees, weight, channels, size, out, kernel):
    rng = np.random.default_rng(channels)
    x = np.maximum(rng.normal(size=(2, channels, size, size + 1)), 0).astype(np.float32)
    w = (rng.normal(size=(channels, out, kernel, kernel)) / np.sqrt(channels * kernel)).astype(
        np.float32
    )
    how = {"strides": (2, 2), "crops": ((1, 1), (1, 0)), "dilations": (1, 1), "groups": 1}
    agrees(ops.ConvTranspose(weight=weight("kernel", w), bias=None, **how), [x], by_torch(how))


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_conv_transpose_against_tensorflow(agrees, weight, padding):
    rng = np.random.default_rng(3)
    x, w = (
        rng.normal(size=(2, 5, 6, 4)).astype("f"),
        rng.normal(size=(3, 2, 3, 5)).astype("f")[:, :, :, :4],
    )
    wide = (5 * 2, 6 * 3) if padding == "SAME" else (4 * 2 + 3, 5 * 3 + 2)
    total = [
        (n - 1) * s + k - size for n, s, k, size in zip((5, 6), (2, 3), (3, 2), wide, strict=True)
    ]
    crops = tuple((max(0, t) // 2, t - max(0, t) // 2) for t in total)
    how = {"strides": (2, 3), "crops": crops, "dilations": (1, 1), "groups": 1}
    kernel = weight("kernel", np.moveaxis(w, (3, 2), (0, 1)))

    def by_tensorflow(given, kernel):
        out = tf.nn.conv2d_transpose(x, w, (2, *wide, 3), (2, 3), padding)
        return np.moveaxis(np.asarray(out), -1, 1)

    agrees(
        ops.ConvTranspose(weight=kernel, bias=None, **how),
        [np.moveaxis(x, -1, 1)],
        by_torch(how),
        by_tensorflow,
    )


@st.composite
def columns(draw):
    """(sizes, attributes, channels) of windows in two axes that exist."""
    kernel, strides, dilations = each(draw, 2, 1, 3), each(draw, 2, 1, 3), each(draw, 2, 1, 2)
    pads = tuple((p, p) for p in each(draw, 2, 0, 2))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = tuple(
        max(1, span - sum(pad)) + draw(st.integers(0, 4))
        for span, pad in zip(spans, pads, strict=True)
    )
    return (
        sizes,
        {"kernel": kernel, "strides": strides, "pads": pads, "dilations": dilations},
        draw(st.integers(1, 3)),
    )


@few
@given(columns(), st.data())
def test_windows_as_columns_and_back(agrees, case, data):
    sizes, how, channels = case
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    x = rng.normal(size=(2, channels, *sizes)).astype(np.float32)
    torchs = (
        how["kernel"],
        how["dilations"],
        [before for before, _ in how["pads"]],
        how["strides"],
    )
    agrees(ops.Im2Col(**how), [x], lambda x: F.unfold(x, *torchs))
    unfolded = F.unfold(torch.from_numpy(x), *torchs)
    y = rng.normal(size=unfolded.shape).astype(np.float32)
    agrees(ops.Col2Im(sizes=sizes, **how), [y], lambda y: F.fold(y, sizes, *torchs))


def test_columns_in_one_and_three_axes(agrees):
    """PyTorch has them in two only: by slices."""
    x = np.arange(2 * 3 * 7, dtype=np.float32).reshape(2, 3, 7)
    one = ops.Im2Col(kernel=(3,), strides=(2,), pads=((1, 0),), dilations=(1,))
    agrees(
        one, [x], lambda x: F.pad(x, (1, 0)).unfold(2, 3, 2).permute(0, 1, 3, 2).reshape(2, 9, 3)
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 6)).astype("f")
    three = ops.Im2Col(kernel=(2, 3, 1), strides=(1, 2, 3), pads=((0, 0),) * 3, dilations=(1, 1, 1))

    def cut(x):
        return (
            x.unfold(2, 2, 1)
            .unfold(3, 3, 2)
            .unfold(4, 1, 3)
            .permute(0, 1, 5, 6, 7, 2, 3, 4)
            .reshape(2, 18, -1)
        )

    agrees(three, [x], cut)
    y = recompute((Step(three),), [x])[-1][0]
    back = ops.Col2Im(
        sizes=(4, 5, 6),
        kernel=(2, 3, 1),
        strides=(1, 2, 3),
        pads=((0, 0),) * 3,
        dilations=(1, 1, 1),
    )
    agrees(back, [y], None)
