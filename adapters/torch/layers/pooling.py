"""Pooling layers as steps."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from probe.description import Builder, Description, Ref
from probe.errors import Undescribed
from probe.ops import (
    AdaptiveAveragePool,
    AdaptiveMaxPool,
    AdaptiveMaxPoolIndices,
    AveragePool,
    MaxPool,
    MaxPoolIndices,
    Op,
    Reshape,
)

from ..describe.describe import SPATIAL, ModuleCall, batched, chain, describes, ntuple

__all__ = ["adaptive", "average_pool", "max_pool", "rank_of", "with_places"]


def rank_of(module: Any) -> int:
    """The spatial axes, told by the class: a subclass may have another name."""
    return next(
        int(cls.__name__[-2])
        for cls in type(module).__mro__
        if cls.__name__[-2:] in ("1d", "2d", "3d")
    )


def with_places(x: np.ndarray, rank: int, op: Op, output: tuple[int, ...]) -> Description:
    """An op of two outputs, values and places; ``output`` is their shape without a batch axis."""
    axes = ("batch", "channels", *SPATIAL[rank])[rank + 2 - x.ndim :]
    build, parts = Builder(), list[Ref]()
    if x.ndim == rank + 2:
        build.add(op, Ref(-1))
    elif x.ndim == rank + 1:
        found = build.add(op, build.add(Reshape(shape=(1, *x.shape)), Ref(-1)))
        parts = [build.add(Reshape(shape=output), Ref(found.step, index)) for index in (0, 1)]
    else:
        raise Undescribed(f"an input with {x.ndim} axes; {rank + 1} or {rank + 2} were expected")
    return Description(build.ended(*parts), axes, axes, ("output", "indices"))


def max_pool(
    x: np.ndarray,
    rank: int,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil: bool = False,
    indices: bool = False,
) -> Description:
    """``F.max_pool1d`` to ``3d``; with ``indices`` the places of the maxima too."""
    kernel, padding, dilations = (ntuple(option, rank) for option in (kernel, padding, dilation))
    strides = kernel if stride is None or stride == [] else ntuple(stride, rank)
    how = {
        "kernel": kernel,
        "strides": strides,
        "pads": tuple((p, p) for p in padding),
        "dilations": dilations,
        "ceil_mode": bool(ceil),
    }
    op = MaxPool(**how)
    output = _output(x.shape, op, dilations)
    if not indices:
        return batched(x, rank, output, op)
    both = MaxPoolIndices(**how)
    if both.placeless(x.shape[-rank:]):
        raise Undescribed(
            "a window contains only padding, so the index of its maximum is undefined"
        )
    return with_places(x, rank, both, output)


@describes("MaxPool1d", "MaxPool2d", "MaxPool3d")
def _max_pool(module: Any, call: ModuleCall) -> Description:
    how = (
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.ceil_mode,
        getattr(module, "return_indices", False),
    )
    return max_pool(call.x, rank_of(module), *how)


def average_pool(
    x: np.ndarray,
    rank: int,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil: bool = False,
    counts: bool = True,
    divisor: int | None = None,
) -> Description:
    """``F.avg_pool1d`` to ``3d``; ``counts`` is ``count_include_pad``."""
    kernel, padding = ntuple(kernel, rank), ntuple(padding, rank)
    strides = kernel if stride is None or stride == [] else ntuple(stride, rank)
    op = AveragePool(
        kernel=kernel,
        strides=strides,
        pads=tuple((p, p) for p in padding),
        ceil_mode=bool(ceil),
        count_include_pad=bool(counts),
        divisor_override=divisor,
    )
    return batched(x, rank, _output(x.shape, op, (1,) * rank), op)


@describes("AvgPool1d", "AvgPool2d", "AvgPool3d")
def _average_pool(module: Any, call: ModuleCall) -> Description:
    how = (
        module.kernel_size,
        module.stride,
        module.padding,
        module.ceil_mode,
        module.count_include_pad,
    )
    return average_pool(call.x, rank_of(module), *how, getattr(module, "divisor_override", None))


def _output(
    shape: tuple[int, ...], op: MaxPool | AveragePool, dilations: tuple[int, ...]
) -> tuple[int, ...]:
    """(channels, *spatial) after the pool, for an input without a batch axis."""
    sizes = []
    for size, k, s, (before, after), d in zip(
        shape[-len(op.kernel) :], op.kernel, op.strides, op.pads, dilations, strict=True
    ):
        room = size + before + after - (k - 1) * d - 1
        count = (-(-room // s) if op.ceil_mode else room // s) + 1
        # No window starts in the padding after the input (ATen/native/Pool.h,
        # pooling_output_shape_pad_lr).
        sizes.append(count - 1 if op.ceil_mode and (count - 1) * s >= size + before else count)
    return (shape[-len(op.kernel) - 1], *sizes)


def adaptive(
    x: np.ndarray, rank: int, output_size: Any, op: Callable[..., Op], indices: bool = False
) -> Description:
    """Adaptive pooling; an output size of None keeps the input's. With ``indices`` the op has two
    outputs."""
    wanted = ntuple(output_size, rank)
    sizes = tuple(
        have if size is None else int(size)
        for size, have in zip(wanted, x.shape[-rank:], strict=True)
    )
    found = chain(
        op(output_size=sizes), input_axes=("batch", "channels", *SPATIAL[rank])[-x.ndim :]
    )
    if indices:
        return replace(found, output_names=("output", "indices"))
    return found


@describes("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d")
def _adaptive_average(module: Any, call: ModuleCall) -> Description:
    return adaptive(call.x, rank_of(module), module.output_size, AdaptiveAveragePool)


@describes("AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d")
def _adaptive_max(module: Any, call: ModuleCall) -> Description:
    op = AdaptiveMaxPoolIndices if module.return_indices else AdaptiveMaxPool
    return adaptive(call.x, rank_of(module), module.output_size, op, module.return_indices)
