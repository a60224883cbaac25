"""Transposed convolutions, windows as columns and back, and the poolings that tell or take places:
as steps."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.description import Builder, Description, Ref, Step, Weight
from probe.errors import Undescribed
from probe.ops import (
    Abs,
    Col2Im,
    ConvTranspose,
    FractionalMaxPool,
    Im2Col,
    LpPool,
    MaxPool,
    MaxUnpool,
    Neg,
    Reshape,
)

from ..describe.describe import SPATIAL, ModuleCall, batched, describes, ntuple
from .pooling import rank_of, with_places

__all__ = ["conv_transpose", "fold", "lp_pool", "max_unpool", "transposed_sizes", "unfold"]


def transposed_sizes(
    sizes: Sequence[int], kernel: Sequence[int], strides: Any, padding: Any, dilation: Any
) -> tuple[int, ...]:
    """The smallest output sizes of a transposed convolution, without ``output_padding``."""
    return tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + 1
        for n, k, s, p, d in zip(sizes, kernel, strides, padding, dilation, strict=True)
    )


def conv_transpose(
    x: np.ndarray,
    weight: Weight,
    bias: Weight | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Description:
    """``F.conv_transpose1d`` to ``3d``: the padding is cut off both ends, the output padding is put
    on at the end."""
    shape = weight.value.shape
    rank = len(shape) - 2
    strides, pads, more, dilations = (
        ntuple(option, rank) for option in (stride, padding, output_padding, dilation)
    )
    crops = tuple((p, p - extra) for p, extra in zip(pads, more, strict=True))
    op = ConvTranspose(
        weight=weight, bias=bias, strides=strides, crops=crops, dilations=dilations, groups=groups
    )
    least = transposed_sizes(x.shape[-rank:], shape[2:], strides, pads, dilations)
    return batched(
        x, rank, (shape[1] * groups, *(n + extra for n, extra in zip(least, more, strict=True))), op
    )


@describes("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
def _conv_transpose(module: Any, call: ModuleCall) -> Description:
    rank = len(module.kernel_size)
    more = module.output_padding
    asked = call.arguments.get("output_size")
    if asked is not None:
        least = transposed_sizes(
            call.x.shape[-rank:], module.kernel_size, module.stride, module.padding, module.dilation
        )
        more = tuple(int(size) - n for size, n in zip(tuple(asked)[-rank:], least, strict=True))
    weight, bias = call.required("weight"), call.weight("bias")
    return conv_transpose(
        call.x, weight, bias, module.stride, module.padding, more, module.groups, module.dilation
    )


def _two(option: Any) -> tuple[int, int]:
    first, second = ntuple(option, 2)
    return int(first), int(second)


def unfold(
    x: np.ndarray, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Description:
    """``F.unfold``: the windows of (batch, channels, height, width) as columns."""
    kernel, dilations, pads, strides = map(_two, (kernel_size, dilation, padding, stride))
    op = Im2Col(
        kernel=kernel, strides=strides, pads=tuple((p, p) for p in pads), dilations=dilations
    )
    count = math.prod(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(x.shape[-2:], pads, dilations, kernel, strides, strict=True)
    )
    found = batched(x, 2, (x.shape[-3] * math.prod(kernel), count), op)
    return Description(
        found.steps, found.input_axes, ("batch", "channels and taps", "windows")[3 - x.ndim + 1 :]
    )


def fold(
    x: np.ndarray,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Description:
    """``F.fold``: columns (batch, channels * taps, windows) added up in (batch, channels, height,
    width)."""
    sizes, kernel, dilations, pads, strides = map(
        _two, (output_size, kernel_size, dilation, padding, stride)
    )
    build = Builder()
    op = Col2Im(
        sizes=sizes,
        kernel=kernel,
        strides=strides,
        pads=tuple((p, p) for p in pads),
        dilations=dilations,
    )
    if x.ndim == 3:
        columns = Ref(-1)
    else:
        columns = build.add(Reshape(shape=(1, *x.shape)), Ref(-1))
    out = build.add(op, columns)
    if x.ndim == 2:
        build.add(Reshape(shape=(x.shape[0] // math.prod(kernel), *sizes)), out)
    axes = ("batch", "channels and taps", "windows")[3 - x.ndim :]
    return Description(build.ended(), axes, ("batch", "channels", "height", "width")[3 - x.ndim :])


@describes("Unfold")
def _unfold(module: Any, call: ModuleCall) -> Description:
    return unfold(call.x, module.kernel_size, module.dilation, module.padding, module.stride)


@describes("Fold")
def _fold(module: Any, call: ModuleCall) -> Description:
    return fold(
        call.x,
        module.output_size,
        module.kernel_size,
        module.dilation,
        module.padding,
        module.stride,
    )


def max_unpool(x: np.ndarray, sizes: Sequence[int]) -> Description:
    """``F.max_unpool1d`` to ``3d`` of two tensors, to planes of these sizes."""
    rank, axes = len(sizes), ("batch", "channels", *SPATIAL[len(sizes)])[len(sizes) + 2 - x.ndim :]
    build = Builder()
    given = [Ref(-1, 0), Ref(-1, 1)]
    if x.ndim == rank + 1:
        given = [build.add(Reshape(shape=(1, *x.shape)), ref) for ref in given]
    out = build.add(MaxUnpool(sizes=tuple(sizes)), *given)
    if x.ndim == rank + 1:
        build.add(Reshape(shape=(x.shape[0], *sizes)), out)
    return Description(build.ended(), axes, axes)


@describes("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d", several=True)
def _max_unpool(module: Any, call: ModuleCall) -> Description:
    rank = rank_of(module)
    asked = call.arguments.get("output_size")
    if len(call.inputs) != 2:
        raise Undescribed(f"it was called with {len(call.inputs)} tensors; two were expected")
    kernel, strides, padding = (
        ntuple(option, rank) for option in (module.kernel_size, module.stride, module.padding)
    )
    plain = tuple(
        (n - 1) * s + k - 2 * p
        for n, s, k, p in zip(call.x.shape[-rank:], strides, kernel, padding, strict=True)
    )
    return max_unpool(
        call.x, plain if asked is None else tuple(int(n) for n in tuple(asked)[-rank:])
    )


def lp_pool(
    x: np.ndarray,
    rank: int,
    norm_type: float,
    kernel_size: Any,
    stride: Any = None,
    ceil_mode: bool = False,
) -> Description:
    """``F.lp_pool1d`` to ``3d``; the infinite norms are the largest and the smallest absolute
    value."""
    kernel = ntuple(kernel_size, rank)
    strides = kernel if stride is None else ntuple(stride, rank)
    nothing = ((0, 0),) * rank
    sizes = []
    for n, k, s in zip(x.shape[-rank:], kernel, strides, strict=True):
        count = (-(-(n - k) // s) if ceil_mode else (n - k) // s) + 1
        sizes.append(count - 1 if ceil_mode and (count - 1) * s >= n else count)
    output = (x.shape[-rank - 1], *sizes)
    if math.isfinite(norm_type):
        return batched(
            x,
            rank,
            output,
            LpPool(
                kernel=kernel,
                strides=strides,
                pads=nothing,
                p=float(norm_type),
                ceil_mode=bool(ceil_mode),
            ),
        )
    pool = MaxPool(
        kernel=kernel,
        strides=strides,
        pads=nothing,
        dilations=(1,) * rank,
        ceil_mode=bool(ceil_mode),
    )
    chain = (Abs(), pool) if norm_type > 0 else (Abs(), Neg(), pool, Neg())
    return batched(x, rank, output, *chain)


@describes("LPPool1d", "LPPool2d", "LPPool3d")
def _lp_pool(module: Any, call: ModuleCall) -> Description:
    return lp_pool(
        call.x,
        rank_of(module),
        float(module.norm_type),
        module.kernel_size,
        module.stride,
        module.ceil_mode,
    )


def _draws(module: Any) -> str:
    if module._random_samples is None:
        return "it draws the position of its windows at random in every call"
    return ""


@describes("FractionalMaxPool2d", "FractionalMaxPool3d", refuses=_draws)
def _fractional(module: Any, call: ModuleCall) -> Description:
    """With samples of its own the windows lie where those put them
    (ATen/native/FractionalMaxPooling.h, generate_intervals)."""
    rank = rank_of(module)
    sizes, kernel = call.x.shape[-rank:], ntuple(module.kernel_size, rank)
    if module.output_size is not None:
        wanted = ntuple(module.output_size, rank)
    else:
        wanted = tuple(
            int(n * ratio)
            for n, ratio in zip(sizes, ntuple(module.output_ratio, rank), strict=True)
        )
    samples = call.required("_random_samples").value
    if call.x.ndim == rank + 1:
        samples = samples[:1]  # a single one takes those of the first
    # The samples name the axes the other way round in two dimensions and in order in three.
    order = range(rank) if rank == 3 else range(rank - 1, -1, -1)
    starts = tuple(
        _starts(samples[..., at], n, out, k)
        for at, n, out, k in zip(order, sizes, wanted, kernel, strict=True)
    )
    planes = (samples.shape[0], samples.shape[1])
    taken = (1, *call.x.shape)[-rank - 2 : -rank]
    if planes != taken:
        raise Undescribed(f"its random samples are for {planes} planes, not for {taken}")
    y = with_places(
        call.x,
        rank,
        FractionalMaxPool(kernel=kernel, starts=starts),
        (call.x.shape[-rank - 1], *wanted),
    )
    if module.return_indices:
        return y
    if call.x.ndim == rank + 2:
        return Description(
            (*y.steps, Step(Reshape(shape=(*call.x.shape[:2], *wanted)))),
            y.input_axes,
            y.output_axes,
        )
    return Description(y.steps[:3], y.input_axes, y.output_axes)


def _starts(samples: np.ndarray, size: int, out: int, kernel: int) -> np.ndarray:
    """Where the windows of every plane start: (batch, channels, out), in the precision of the
    samples."""
    kind = samples.dtype.type
    alpha = kind(size - kernel) / kind(out - 1) if out > 1 else kind(0)
    along = np.arange(out, dtype=samples.dtype)
    starts: np.ndarray = ((samples[..., None] + along) * alpha).astype(int) - (
        samples[..., None] * alpha
    ).astype(int)
    starts[..., -1] = size - kernel
    return starts
