"""Convolution and pooling against PyTorch, TensorFlow and ONNX Runtime, in one to three spatial axes."""

import numpy as np
import pytest
import tensorflow as tf
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from probe import ops
from probe.layer import Step
from probe.recompute import recompute

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_MEAN = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def image(draw, shape):
    """Values of a layer's input: normal, all positive as after a ReLU, or far from zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=shape) * 2.0 ** draw(st.floats(-6, 6))
    kind = draw(st.sampled_from(["normal", "positive", "offset"]))
    x = np.maximum(x, 0) if kind == "positive" else x + 3 * np.abs(x).mean() * (kind == "offset")
    return x.astype(np.float32), rng


def each(draw, rank, low, high):
    return tuple(draw(st.integers(low, high)) for _ in range(rank))


@st.composite
def convolutions(draw):
    """(x, kernel, bias, attributes) of a convolution that has at least one output."""
    rank, groups = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1, 2, 3]))
    width, deep = draw(st.integers(1, 1 if draw(st.booleans()) else 9)), draw(st.integers(1, 4))
    kernel, strides, dilations = each(draw, rank, 1, 4), each(draw, rank, 1, 3), each(draw, rank, 1, 3)
    pads = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [max(1, span - sum(pad)) + draw(st.integers(0, 6 if rank < 3 else 2)) for span, pad in zip(spans, pads, strict=True)]
    x, rng = image(draw, (draw(st.integers(1, 2)), groups * width, *sizes))
    w = (rng.normal(draw(st.sampled_from([0.0, 0.05])), 0.3, size=(groups * deep, width, *kernel))).astype(np.float32)
    bias = rng.normal(size=groups * deep).astype(np.float32) if draw(st.booleans()) else None
    return x, w, bias, {"strides": strides, "pads": pads, "dilations": dilations, "groups": groups}


def padded(x, pads, value=0.0):
    return F.pad(x, [amount for pad in reversed(pads) for amount in pad], value=value)


@given(convolutions())
def test_conv(agrees, weight, case):
    x, w, b, how = case
    rank = w.ndim - 2

    def by_torch(x, kernel, bias=None):
        return CONV[rank](padded(x, how["pads"]), kernel, bias, how["strides"], 0, how["dilations"], how["groups"])

    def by_tensorflow(x, kernel, bias=None):
        last = tf.convert_to_tensor(np.moveaxis(np.pad(x, [(0, 0), (0, 0), *how["pads"]]), 1, -1))
        out = tf.nn.convolution(last, np.moveaxis(kernel, (0, 1), (-1, -2)), how["strides"], "VALID", dilations=how["dilations"])
        return np.moveaxis(np.asarray(out if bias is None else tf.nn.bias_add(out, bias)), -1, 1)

    # TensorFlow's CPU kernels have no groups in three dimensions, and no strides together with dilations.
    fits = how["groups"] == 1 and (max(how["strides"]) == 1 or max(how["dilations"]) == 1)
    kernel = weight("kernel", w, axes=(rank + 1, rank, *range(rank)))
    op = ops.Conv(weight=kernel, bias=None if b is None else weight("bias", b), **how)
    agrees(op, [x], by_torch, by_tensorflow if fits else None)


@given(convolutions())
def test_conv_whose_kernel_is_an_input(agrees, weight, case):
    x, w, b, how = case
    op = ops.Conv(weight=None, bias=None if b is None else weight("bias", b), **how)
    agrees(
        op,
        [x, w],
        lambda x, w, bias=None: CONV[w.ndim - 2](padded(x, how["pads"]), w, bias, how["strides"], 0, how["dilations"], how["groups"]),
    )


@pytest.mark.parametrize(("channels", "size", "out", "kernel"), [(64, 9, 32, 3), (512, 4, 16, 3), (3, 30, 8, 7)])
def test_conv_at_real_sizes(agrees, weight, channels, size, out, kernel):
    """Sums of up to 4608 terms, over blocks of the gathered windows."""
    rng = np.random.default_rng(channels)
    x = np.maximum(rng.normal(size=(2, channels, size, size + 1)), 0).astype(np.float32)
    w = (rng.normal(size=(out, channels, kernel, kernel)) / np.sqrt(channels * kernel**2)).astype(np.float32)
    op = ops.Conv(weight=weight("kernel", w), bias=None, strides=(1, 1), pads=((1, 1), (1, 1)), dilations=(1, 1))
    agrees(op, [x], lambda x, kernel: F.conv2d(x, kernel, padding=1))


@st.composite
def pools(draw, dilated):
    """(x, attributes) of a pooling that PyTorch accepts: equal pads on both sides, at most half the kernel."""
    rank = draw(st.integers(1, 3))
    kernel, strides = each(draw, rank, 1, 4), each(draw, rank, 1, 4)
    dilations = each(draw, rank, 1, 2) if dilated else (1,) * rank
    pads = tuple((p, p) for p in (draw(st.integers(0, k // 2)) for k in kernel))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [max(1, span - sum(pad)) + draw(st.integers(0, 7)) for span, pad in zip(spans, pads, strict=True)]
    x, _ = image(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *sizes))
    how = {"kernel": kernel, "strides": strides, "pads": pads, "ceil_mode": draw(st.booleans())}
    return x, how | ({"dilations": dilations} if dilated else {})


@given(pools(dilated=True))
def test_max_pool(agrees, case):
    x, how = case
    pads = [before for before, _ in how["pads"]]
    agrees(ops.MaxPool(**how), [x], lambda x: MAX[x.ndim - 2](x, how["kernel"], how["strides"], pads, how["dilations"], how["ceil_mode"]))


@given(pools(dilated=False), st.booleans(), st.sampled_from([None, None, 3]))
def test_average_pool(agrees, case, counts, divisor):
    x, how = case
    rank = x.ndim - 2
    assume(rank < 3 or all(size >= k for size, k in zip(x.shape[2:], how["kernel"], strict=True)))  # PyTorch refuses the others
    pads = [before for before, _ in how["pads"]]
    override = {} if rank == 1 else {"divisor_override": divisor}
    agrees(
        ops.AveragePool(**how, count_include_pad=counts, **override),
        [x],
        lambda x: MEAN[rank](x, how["kernel"], how["strides"], pads, how["ceil_mode"], counts, **override),
    )


@given(pools(dilated=False))
def test_pools_with_uneven_pads(agrees, case):
    """TensorFlow's SAME padding: more after than before, and never counted."""
    x, how = case
    assume(all(s <= k for s, k in zip(how["strides"], how["kernel"], strict=True)))  # TensorFlow refuses the others
    rank, last = x.ndim - 2, np.moveaxis(x, 1, -1)
    pads = []
    for size, k, s in zip(x.shape[2:], how["kernel"], how["strides"], strict=True):
        total = max(0, (-(-size // s) - 1) * s + k - size)
        pads.append((total // 2, total - total // 2))
    how = {"kernel": how["kernel"], "strides": how["strides"], "pads": tuple(pads)}

    def by(pooling):
        return lambda _: np.moveaxis(np.asarray(tf.nn.pool(last, how["kernel"], pooling, how["strides"], "SAME")), -1, 1)

    def largest(x):
        return MAX[rank](padded(x, pads, -np.inf), how["kernel"], how["strides"])

    def mean(x):
        sums = MEAN[rank](padded(x, pads), how["kernel"], how["strides"])
        return sums / MEAN[rank](padded(torch.ones_like(x), pads), how["kernel"], how["strides"])

    agrees(ops.MaxPool(**how, dilations=(1,) * rank), [x], largest, by("MAX"))
    agrees(ops.AveragePool(**how), [x], mean, by("AVG"))


@st.composite
def volumes(draw):
    rank = draw(st.integers(1, 3))
    return image(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 4)), *each(draw, rank, 1, 9)))[0]


@given(volumes(), st.booleans(), st.data())
def test_global_pools(agrees, x, keepdims, data):
    axes = tuple(sorted(data.draw(st.sets(st.integers(1, x.ndim - 1), min_size=1))))
    agrees(
        ops.GlobalAveragePool(axes=axes, keepdims=keepdims),
        [x],
        lambda x: x.mean(axes, keepdim=keepdims),
        lambda x: tf.reduce_mean(x, axes, keepdims=keepdims),
    )
    agrees(
        ops.GlobalMaxPool(axes=axes, keepdims=keepdims),
        [x],
        lambda x: x.amax(axes, keepdim=keepdims),
        lambda x: tf.reduce_max(x, axes, keepdims=keepdims),
    )


@given(volumes(), st.data())
def test_adaptive_pools(agrees, x, data):
    size = tuple(data.draw(st.integers(1, 8)) for _ in x.shape[2:])
    agrees(ops.AdaptiveAveragePool(output_size=size), [x], lambda x: ADAPTIVE_MEAN[x.ndim - 2](x, size))
    agrees(ops.AdaptiveMaxPool(output_size=size), [x], lambda x: ADAPTIVE_MAX[x.ndim - 2](x, size))


@given(convolutions())
def test_an_empty_batch_has_a_shape(weight, case):
    x, w, _, how = case
    op = ops.Conv(weight=weight("kernel", w), bias=None, **how)
    full, empty = (recompute((Step(op),), [some])[-1][0].shape for some in (x, x[:0]))
    assert empty == (0, *full[1:])
