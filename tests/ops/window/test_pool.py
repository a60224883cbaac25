"""Pooling against PyTorch, TensorFlow and ONNX Runtime, in one to three spatial axes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from images import each, image, padded
from lazy import tf

import probe
from probe import ops

MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
MEAN = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_MEAN = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


@st.composite
def pools(draw, dilated):
    """(x, attributes) of a pooling that PyTorch accepts: equal pads on both sides, at most half the
    kernel."""
    rank = draw(st.integers(1, 3))
    kernel, strides = each(draw, rank, 1, 4), each(draw, rank, 1, 4)
    dilations = each(draw, rank, 1, 2) if dilated else (1,) * rank
    pads = tuple((p, p) for p in (draw(st.integers(0, k // 2)) for k in kernel))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [
        max(1, span - sum(pad)) + draw(st.integers(0, 7))
        for span, pad in zip(spans, pads, strict=True)
    ]
    x, _ = image(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *sizes))
    how = {"kernel": kernel, "strides": strides, "pads": pads, "ceil_mode": draw(st.booleans())}
    return x, how | ({"dilations": dilations} if dilated else {})


@given(pools(dilated=True))
def test_max_pool(agrees, case):
    x, how = case
    pads = [before for before, _ in how["pads"]]
    agrees(
        ops.MaxPool(**how),
        [x],
        lambda x: MAX[x.ndim - 2](
            x, how["kernel"], how["strides"], pads, how["dilations"], how["ceil_mode"]
        ),
    )


@given(pools(dilated=False), st.booleans(), st.sampled_from([None, None, 3, 4]))
def test_average_pool(agrees, case, counts, divisor):
    x, how = case
    rank = x.ndim - 2
    # PyTorch refuses the others
    assume(rank < 3 or all(size >= k for size, k in zip(x.shape[2:], how["kernel"], strict=True)))
    pads = [before for before, _ in how["pads"]]
    override = {} if rank == 1 else {"divisor_override": divisor}
    agrees(
        ops.AveragePool(**how, count_include_pad=counts, **override),
        [x],
        lambda x: MEAN[rank](
            x, how["kernel"], how["strides"], pads, how["ceil_mode"], counts, **override
        ),
    )


@given(pools(dilated=False))
def test_pools_with_uneven_pads(agrees, case):
    """TensorFlow's SAME padding: more after than before, and never counted."""
    x, how = case
    # TensorFlow refuses the others
    assume(all(s <= k for s, k in zip(how["strides"], how["kernel"], strict=True)))
    rank, last = x.ndim - 2, np.moveaxis(x, 1, -1)
    pads = []
    for size, k, s in zip(x.shape[2:], how["kernel"], how["strides"], strict=True):
        total = max(0, (-(-size // s) - 1) * s + k - size)
        pads.append((total // 2, total - total // 2))
    how = {"kernel": how["kernel"], "strides": how["strides"], "pads": tuple(pads)}

    def by(pooling):
        return lambda _: np.moveaxis(
            np.asarray(tf.nn.pool(last, how["kernel"], pooling, how["strides"], "SAME")), -1, 1
        )

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
    return image(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 4)), *each(draw, rank, 1, 9)))[
        0
    ]


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
    agrees(
        ops.AdaptiveAveragePool(output_size=size), [x], lambda x: ADAPTIVE_MEAN[x.ndim - 2](x, size)
    )
    agrees(ops.AdaptiveMaxPool(output_size=size), [x], lambda x: ADAPTIVE_MAX[x.ndim - 2](x, size))


class _Sums(torch.nn.Module):
    """Sums of windows, rounded to whole multiples of 4."""

    def __init__(self, rounding, padding=0):
        super().__init__()
        self.rounding, self.padding = rounding, padding

    def forward(self, x):
        sums = F.avg_pool2d(x, 3, 2, self.padding, divisor_override=1)
        return self.rounding(sums * 0.25)


@pytest.mark.parametrize("padding", [0, 1])
def test_sums_of_integers_are_exact(padding):
    x = np.random.default_rng(0).integers(-200, 200, size=(2, 3, 9, 8)).astype(np.float32)
    down, nearest = (_Sums(f, padding).eval() for f in (torch.floor, torch.round))
    assert probe.check(down, "", x).sentence.endswith("; all values are identical")
    other = nearest(torch.from_numpy(x)).numpy()
    assert probe.check(down, "", x, expected=other).verdict == "diverge"
