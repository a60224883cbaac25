"""Pooling layers as steps."""

from typing import Any

from probe.layer import Description
from probe.ops import AdaptiveAveragePool, AdaptiveMaxPool, AveragePool, MaxPool

from .description import SPATIAL, Call, batched, chain, describes, ntuple

__all__ = ["adaptive", "average_pool", "max_pool"]


def _indices(module: Any) -> str:
    return "return_indices=True: a second output, the places of the maxima, has no description" if module.return_indices else ""


def _rank(module: Any) -> int:
    """The spatial axes, told by the class: a subclass may have another name."""
    return next(int(cls.__name__[-2]) for cls in type(module).__mro__ if cls.__name__[-2:] in ("1d", "2d", "3d"))


@describes("MaxPool1d", "MaxPool2d", "MaxPool3d", refuses=_indices)
def max_pool(module: Any, call: Call) -> Description:
    rank = _rank(module)
    kernel, strides, padding, dilations = (ntuple(v, rank) for v in (module.kernel_size, module.stride, module.padding, module.dilation))
    op = MaxPool(kernel=kernel, strides=strides, pads=tuple((p, p) for p in padding), dilations=dilations, ceil_mode=bool(module.ceil_mode))
    return batched(call.x, rank, _output(call.x.shape, op, dilations), op)


@describes("AvgPool1d", "AvgPool2d", "AvgPool3d")
def average_pool(module: Any, call: Call) -> Description:
    rank = _rank(module)
    kernel, strides, padding = (ntuple(v, rank) for v in (module.kernel_size, module.stride, module.padding))
    op = AveragePool(
        kernel=kernel,
        strides=strides,
        pads=tuple((p, p) for p in padding),
        ceil_mode=bool(module.ceil_mode),
        count_include_pad=bool(module.count_include_pad),
        divisor_override=getattr(module, "divisor_override", None),
    )
    return batched(call.x, rank, _output(call.x.shape, op, (1,) * rank), op)


def _output(shape: tuple[int, ...], op: MaxPool | AveragePool, dilations: tuple[int, ...]) -> tuple[int, ...]:
    """(channels, *spatial) after the pool, for an input without a batch axis."""
    sizes = []
    for size, k, s, (before, after), d in zip(shape[-len(op.kernel) :], op.kernel, op.strides, op.pads, dilations, strict=True):
        room = size + before + after - (k - 1) * d - 1
        count = (-(-room // s) if op.ceil_mode else room // s) + 1
        # No window starts in the padding after the input (ATen/native/Pool.h, pooling_output_shape_pad_lr).
        sizes.append(count - 1 if op.ceil_mode and (count - 1) * s >= size + before else count)
    return (shape[-len(op.kernel) - 1], *sizes)


@describes("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d")
def adaptive_average(module: Any, call: Call) -> Description:
    return adaptive(module, call, AdaptiveAveragePool)


@describes("AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", refuses=_indices)
def adaptive_max(module: Any, call: Call) -> Description:
    return adaptive(module, call, AdaptiveMaxPool)


def adaptive(module: Any, call: Call, op: type[AdaptiveAveragePool] | type[AdaptiveMaxPool]) -> Description:
    """An output size of None keeps the input's."""
    rank = _rank(module)
    wanted = ntuple(module.output_size, rank)
    sizes = tuple(have if size is None else size for size, have in zip(wanted, call.x.shape[-rank:], strict=True))
    return chain(op(output_size=sizes), input_axes=("batch", "channels", *SPATIAL[rank])[-call.x.ndim :])
