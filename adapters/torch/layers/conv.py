"""Convolutions and linear layers as steps."""

from typing import Any

from probe.description import Description
from probe.ops import Conv, MatMul, Pad

from ..describe.describe import ModuleCall, batched, chain, describes, ntuple

__all__ = ["convolution", "linear"]

_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@describes("Conv1d", "Conv2d", "Conv3d")
def convolution(module: Any, call: ModuleCall) -> Description:
    """Cross-correlation; padding that is not zeros is a step of its own."""
    rank = len(module.kernel_size)
    weight, bias = call.required("weight"), call.weight("bias")
    pads = _pads(module, rank)
    inner, before = pads, list[Pad]()
    if module.padding_mode != "zeros":
        inner = ((0, 0),) * rank
        before = [Pad(pads=((0, 0), (0, 0), *pads), mode=_MODES[module.padding_mode])]
    strides, dilations = ntuple(module.stride, rank), ntuple(module.dilation, rank)
    conv = Conv(
        weight=weight,
        bias=bias,
        strides=strides,
        pads=inner,
        dilations=dilations,
        groups=module.groups,
        may_use_lossy_algorithm=call.may_use_lossy_algorithm,
    )
    sizes = [
        (size + sum(pad) - (k - 1) * d - 1) // s + 1
        for size, pad, k, d, s in zip(
            call.x.shape[-rank:], pads, module.kernel_size, dilations, strides, strict=True
        )
    ]
    return batched(call.x, rank, (module.out_channels, *sizes), *before, conv)


def _pads(module: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) per spatial axis; "same" puts an odd cell after."""
    if module.padding == "valid":
        return ((0, 0),) * rank
    if module.padding == "same":
        totals = [
            d * (k - 1)
            for k, d in zip(module.kernel_size, ntuple(module.dilation, rank), strict=True)
        ]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((p, p) for p in ntuple(module.padding, rank))


@describes("Linear")
def linear(module: Any, call: ModuleCall) -> Description:
    """x (..., in) times the transposed weight (out, in)."""
    middle = ("batch", *(f"axis {axis}" for axis in range(1, call.x.ndim - 1)))[: call.x.ndim - 1]
    weight = call.required("weight", axes=(1, 0))
    return chain(MatMul(weight=weight, bias=call.weight("bias")), input_axes=(*middle, "features"))
