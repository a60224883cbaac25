"""SAME padding: how many cells it adds, and whether an input's size lets its asymmetry show."""

from collections.abc import Sequence

from probe.ops import AveragePool, Conv, MaxPool, Op

__all__ = ["misses_asymmetry", "same_padding"]


def misses_asymmetry(op: Op, shape: Sequence[int]) -> bool:
    """Whether padding as Keras' "same" does is symmetric on every strided axis of this size, and
    would not be on another size."""
    if not isinstance(op, (AveragePool, Conv, MaxPool)) or len(shape) != len(op.strides) + 2:
        return False
    kernel = (
        op.kernel
        if not isinstance(op, Conv)
        else op.weight.value.shape[2:]
        if op.weight is not None
        else (1,) * len(op.strides)
    )
    dilations = getattr(op, "dilations", (1,) * len(op.strides))
    elsewhere = False
    for size, k, d, stride, pad in zip(
        shape[2:], kernel, dilations, op.strides, op.pads, strict=True
    ):
        if stride == 1:
            continue
        here, *others = (
            same_padding(size + more, (k - 1) * d + 1, stride) for more in range(stride)
        )
        if here % 2 or pad != (here // 2, here // 2) or not here:
            return False
        elsewhere = elsewhere or any(other % 2 for other in others)
    return elsewhere


def same_padding(size: int, span: int, stride: int) -> int:
    """How many cells SAME padding adds to an axis of ``size``, for windows that span ``span``
    cells."""
    return max(0, (-(-size // stride) - 1) * stride + span - size)
