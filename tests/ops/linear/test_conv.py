"""Convolution against PyTorch, TensorFlow and ONNX Runtime, in one to three spatial axes."""

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from images import each, image, padded
from lazy import tf

from probe import ops
from probe.description import Step
from probe.evaluation.numpy_reference import recompute

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@st.composite
def convolutions(draw):
    """(x, kernel, bias, attributes) of a convolution that has at least one output."""
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 3]))
    width, deep = draw(st.integers(1, 1 if draw(st.booleans()) else 9)), draw(st.integers(1, 4))
    kernel, strides, dilations = (
        each(draw, rank, 1, 4),
        each(draw, rank, 1, 3),
        each(draw, rank, 1, 3),
    )
    pads = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [
        max(1, span - sum(pad)) + draw(st.integers(0, 6 if rank < 3 else 2))
        for span, pad in zip(spans, pads, strict=True)
    ]
    x, rng = image(draw, (draw(st.integers(1, 2)), groups * width, *sizes))
    w = (
        rng.normal(draw(st.sampled_from([0.0, 0.05])), 0.3, size=(groups * deep, width, *kernel))
    ).astype(np.float32)
    bias = rng.normal(size=groups * deep).astype(np.float32) if draw(st.booleans()) else None
    return x, w, bias, {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups}


@given(convolutions())
def test_conv(agrees, weight, case):
    x, w, b, how = case
    rank = w.ndim - 2

    def by_torch(x, kernel, bias=None):
        return CONV[rank](
            padded(x, how["pads"]), kernel, bias, how["strides"], 0, how["dilations"], how["groups"]
        )

    def by_tensorflow(x, kernel, bias=None):
        last = tf.convert_to_tensor(np.moveaxis(np.pad(x, [(0, 0), (0, 0), *how["pads"]]), 1, -1))
        out = tf.nn.convolution(
            last,
            np.moveaxis(kernel, (0, 1), (-1, -2)),
            how["strides"],
            "VALID",
            dilations=how["dilations"],
        )
        return np.moveaxis(np.asarray(out if bias is None else tf.nn.bias_add(out, bias)), -1, 1)

    # TensorFlow's CPU kernels have no groups in three dimensions, and no strides together with
    # dilations.
    fits = how["groups"] == 1 and (max(how["strides"]) == 1 or max(how["dilations"]) == 1)
    kernel = weight("kernel", w, axes=(rank + 1, rank, *range(rank)))
    op = ops.Conv(weight=kernel, bias=None if b is None else weight("bias", b), **how)
    # TensorFlow 2.21 with oneDNN leaves elements of one column unwritten where one channel is
    # strided along columns alone.
    unwritten = (
        x.shape[1] == 1
        and rank == 2
        and how["strides"][0] == 1 < how["strides"][1]
        and op.run(x)[0].shape[-1] == 1
    )
    agrees(op, [x], by_torch, by_tensorflow if fits and not unwritten else None)


@pytest.mark.parametrize("groups", [0, 3, 7, -8])
def test_a_kernel_of_other_groups_is_refused(weight, groups):
    kernel = weight("kernel", np.ones((8, 1, 5), np.float32))
    op = ops.Conv(kernel, None, (1,), ((0, 0),), (1,), groups)
    with pytest.raises(ValueError, match=f"does not take 8 channels in {groups} groups"):
        op.run(np.ones((4, 8, 30)))


@given(convolutions())
def test_conv_whose_kernel_is_an_input(agrees, weight, case):
    x, w, b, how = case
    op = ops.Conv(weight=None, bias=None if b is None else weight("bias", b), **how)
    agrees(
        op,
        [x, w],
        lambda x, w, bias=None: CONV[w.ndim - 2](
            padded(x, how["pads"]), w, bias, how["strides"], 0, how["dilations"], how["groups"]
        ),
    )


@pytest.mark.parametrize(
    ("channels", "size", "out", "kernel"), [(64, 9, 32, 3), (512, 4, 16, 3), (3, 30, 8, 7)]
)
def test_conv_at_real_sizes(agrees, weight, channels, size, out, kernel):
    """Sums of up to 4608 terms, over blocks of the gathered windows."""
    rng = np.random.default_rng(channels)
    x = np.maximum(rng.normal(size=(2, channels, size, size + 1)), 0).astype(np.float32)
    w = (rng.normal(size=(out, channels, kernel, kernel)) / np.sqrt(channels * kernel**2)).astype(
        np.float32
    )
    op = ops.Conv(
        weight=weight("kernel", w),
        bias=None,
        strides=(1, 1),
        pads=((1, 1), (1, 1)),
        dilations=(1, 1),
    )
    agrees(op, [x], lambda x, kernel: F.conv2d(x, kernel, padding=1))


@pytest.mark.parametrize("dilations", [(1, 1), (1, 2)])
def test_a_rectangular_kernel_over_channels_last(agrees, weight, dilations):
    rng = np.random.default_rng(0)
    x = np.moveaxis(rng.normal(size=(2, 9, 8, 6)).astype(np.float32), -1, 1)
    w = rng.normal(size=(5, 6, 2, 3)).astype(np.float32)
    op = ops.Conv(
        weight=weight("kernel", w),
        bias=None,
        strides=(1, 2),
        pads=((0, 1), (2, 0)),
        dilations=dilations,
    )
    agrees(
        op,
        [x],
        lambda x, kernel: F.conv2d(
            padded(x, op.pads), kernel, stride=op.strides, dilation=op.dilations
        ),
    )


@given(convolutions())
def test_an_empty_batch_has_a_shape(weight, case):
    x, w, _, how = case
    op = ops.Conv(weight=weight("kernel", w), bias=None, **how)
    full, empty = (recompute((Step(op),), [some])[-1][0].shape for some in (x, x[:0]))
    assert empty == (0, *full[1:])
