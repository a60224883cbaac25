"""SAME padding: how many cells it adds, and whether an input's size lets its asymmetry show."""

from collections.abc import Sequence

from probe.ops.window.sliding_windows import Pads

__all__ = ["hides_asymmetry", "same_padding", "symmetric_padding", "unreached_padding"]


def hides_asymmetry(
    shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int] | None = None,
) -> bool:
    """Whether padding as Keras' "same" does is symmetric on every strided axis of this size, and
    would not be on another size."""
    if len(shape) != len(strides) + 2:
        return False
    elsewhere = False
    for size, k, d, stride, pad in zip(
        shape[2:], kernel, dilations or (1,) * len(strides), strides, pads, strict=True
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


def symmetric_padding(shape: Sequence[int]) -> str:
    """What goes undetected where an input of that shape hides the asymmetry."""
    return (
        f"for an input of {' x '.join(map(str, shape[2:]))} the padding is equal on both "
        "sides, so padding an odd element at the wrong end would not be detected"
    )


def unreached_padding(
    shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    dilations: Sequence[int],
) -> list[str]:
    """What goes undetected where an axis is padded at its end alone and no window reaches that."""
    sentences = []
    for axis, (size, k, d, stride, (before, after)) in enumerate(
        zip(shape[2:], kernel, dilations, strides, pads, strict=True)
    ):
        reach = (k - 1) * d + 1
        last = (size + before + after - reach) // stride * stride + reach - before
        if after and not before and last <= size:
            sentences.append(
                f"no window reaches the padding of {after} at the end of axis {axis + 2}, so "
                "omitting it would not be detected"
            )
    return sentences


def same_padding(size: int, span: int, stride: int) -> int:
    """How many cells SAME padding adds to an axis of ``size``, for windows that span ``span``
    cells."""
    return max(0, (-(-size // stride) - 1) * stride + span - size)
