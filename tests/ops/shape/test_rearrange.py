"""Ops that move elements, against NumPy's definition by PyTorch, and ONNX Runtime: equal, not
near."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from probe import ops


@st.composite
def arrays(draw, least=1, most=4, longest=6):
    """Every element different; floats or integers."""
    shape = draw(st.lists(st.integers(1, longest), min_size=least, max_size=most))
    return (
        np.arange(1, math.prod(shape) + 1)
        .reshape(shape)
        .astype(draw(st.sampled_from([np.float32, np.int64])))
    )


@given(arrays(), st.randoms())
def test_transpose(agrees, x, random):
    perm = tuple(random.sample(range(x.ndim), x.ndim))
    agrees(ops.Transpose(perm=perm), [x], lambda x: x.permute(perm))


@given(arrays(), st.data())
def test_reshape(agrees, x, data):
    first = data.draw(st.sampled_from([n for n in range(1, x.size + 1) if x.size % n == 0]))
    shape = data.draw(
        st.sampled_from([(first, x.size // first), (-1, first), (first, 1, -1), (x.size,)])
    )
    agrees(ops.Reshape(shape=shape), [x], lambda x: x.reshape(shape))


@given(arrays(), st.data())
def test_pad_with_a_constant(agrees, x, data):
    pads = tuple((data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))) for _ in x.shape)
    value = data.draw(st.sampled_from([0.0, -2.5])) if x.dtype.kind == "f" else 0.0
    flat = [amount for pad in reversed(pads) for amount in pad]
    agrees(
        ops.Pad(pads=pads, value=value),
        [x],
        lambda x: F.pad(x, flat, value=value),
        onnx=x.dtype.kind == "f" or value == 0,
    )


@given(
    arrays(least=3, most=5, longest=5),
    st.sampled_from([("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")]),
    st.data(),
)
def test_pad_from_the_input(agrees, x, mode, data):
    """PyTorch's modes, over up to three trailing axes; NumPy's "symmetric" has no counterpart
    there."""
    x, (ours, theirs) = x.astype(np.float32), mode
    most = {"reflect": -1, "edge": 3, "wrap": 0}[ours]
    pads = tuple(
        tuple(data.draw(st.integers(0, size + most if most < 1 else most)) for _ in range(2))
        for size in x.shape[2:]
    )
    flat = [amount for pad in reversed(pads) for amount in pad]
    agrees(
        ops.Pad(pads=((0, 0), (0, 0), *pads), mode=ours), [x], lambda x: F.pad(x, flat, mode=theirs)
    )


@given(arrays(), st.data())
def test_symmetric_pad(agrees, x, data):
    pads = tuple(
        (data.draw(st.integers(0, size)), data.draw(st.integers(0, size))) for size in x.shape
    )
    agrees(
        ops.Pad(pads=pads, mode="symmetric"),
        [x],
        lambda x: torch.from_numpy(np.pad(x.numpy(), pads, mode="symmetric")),
    )


@given(arrays(), st.data())
def test_slice(agrees, x, data):
    starts = tuple(data.draw(st.integers(-size, size - 1)) for size in x.shape)
    stops = []
    for size, start in zip(x.shape, starts, strict=True):
        first = start % size
        stop = data.draw(
            st.sampled_from([None, *range(first + 1, size + 1), *range(first + 1 - size, 0)])
        )
        stops.append(stop)
    where = tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    agrees(ops.Slice(starts=starts, stops=tuple(stops)), [x], lambda x: x[where])


@given(arrays(least=3, most=5, longest=7), st.data())
def test_resize_nearest_by_whole_scales(agrees, x, data):
    scales = (1, 1, *(data.draw(st.integers(1, 4)) for _ in x.shape[2:]))
    sizes = tuple(size * scale for size, scale in zip(x.shape, scales, strict=True))

    def repeated(x):
        for axis, scale in enumerate(scales):
            x = x.repeat_interleave(scale, axis)
        return x

    agrees(ops.ResizeNearest(scales=scales, sizes=sizes), [x.astype(np.float32)], repeated)


@given(arrays(least=3, most=5, longest=9), st.data())
def test_resize_nearest_to_sizes(agrees, x, data):
    """As ``Upsample(size=...)``: the scale is the ratio of the sizes."""
    size = tuple(data.draw(st.integers(1, 20)) for _ in x.shape[2:])
    sizes = (*x.shape[:2], *size)
    scales = tuple(to / of for to, of in zip(sizes, x.shape, strict=True))
    agrees(
        ops.ResizeNearest(scales=scales, sizes=sizes),
        [x.astype(np.float32)],
        lambda x: F.interpolate(x, size),
    )


@given(arrays(least=3, most=5, longest=9), st.data())
def test_resize_nearest_by_broken_scales(agrees, x, data):
    """As ``Upsample(scale_factor=...)``: the given scale counts, not the ratio of the sizes.

    But in two dimensions PyTorch goes by the sizes where one is kept or doubled
    (ATen/native/UpSample.h, nearest_idx).
    """
    factor = tuple(
        data.draw(st.floats(0.4, 3.7).filter(lambda f, size=size: size * f >= 1))
        for size in x.shape[2:]
    )
    sizes = (
        *x.shape[:2],
        *(math.floor(size * f) for size, f in zip(x.shape[2:], factor, strict=True)),
    )
    ratios = [to / of for to, of in zip(sizes[2:], x.shape[2:], strict=True)]
    scales = [
        ratio if x.ndim == 4 and ratio in (1, 2) else scale
        for ratio, scale in zip(ratios, factor, strict=True)
    ]
    op = ops.ResizeNearest(scales=(1, 1, *scales), sizes=sizes)
    agrees(
        op,
        [x.astype(np.float32)],
        lambda x: F.interpolate(x, scale_factor=factor, recompute_scale_factor=False),
    )
