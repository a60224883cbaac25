"""Windows over (batch, channels, *spatial): convolutions, poolings, blocks of pixels.

Keras names them in four ways: as layers, operations of keras.ops, functions of TensorFlow, and
operations of a graph of TensorFlow. What they compute is said here once; the four say where their
arguments are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from probe import ops
from probe.description import Ref, Weight
from probe.errors import Undescribed
from probe.ops.window.same_padding import same_padding

from .op_builder import OpBuilder

__all__ = [
    "Kernel",
    "Pads",
    "SlidingWindow",
    "columns",
    "convolved",
    "depth_to_space",
    "kernel_axes",
    "kernel_of",
    "kernel_sizes",
    "local_response",
    "padding_pairs",
    "pooled",
    "space_to_depth",
    "to_channels_first",
    "to_channels_last",
    "transposed_convolved",
]

Pads = tuple[tuple[int, int], ...]


def padding_pairs(
    padding: str,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Pads:
    """ "valid", "same" or "causal" as (before, after) per spatial axis. "same" puts the odd element
    after, as TensorFlow does."""
    spans = _spans(kernel, dilations)
    match padding.lower():
        case "valid":
            return ((0, 0),) * len(spans)
        case "causal":
            return tuple((span - 1, 0) for span in spans)
        case "same":
            needed = [
                same_padding(n, span, s) for n, span, s in zip(sizes, spans, strides, strict=True)
            ]
            return tuple((total // 2, total - total // 2) for total in needed)
    raise Undescribed(f"its padding {padding!r} is not supported")


def _spans(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """The distance from the first element of a window to behind its last one, along each axis."""
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]


@dataclass(frozen=True)
class SlidingWindow:
    """What slides over the spatial axes, with a number for each of them."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: Pads
    dilations: tuple[int, ...]

    @classmethod
    def padded(
        cls,
        padding: str | Pads,
        sizes: Sequence[int],
        kernel: Sequence[int],
        strides: Sequence[int] | None = None,
        dilations: Sequence[int] | None = None,
    ) -> "SlidingWindow":
        """Over an input of these sizes, with padding by one of Keras' words or by numbers; strides
        and dilations are 1 unless given."""
        ones = (1,) * len(kernel)
        strides, dilations = strides or ones, dilations or ones
        if isinstance(padding, str):
            pads = padding_pairs(padding, sizes, kernel, strides, dilations)
        else:
            pads = padding
        return cls(tuple(kernel), tuple(strides), pads, tuple(dilations))

    def counts(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """How many places it has along each axis of these sizes."""
        spans = _spans(self.kernel, self.dilations)
        windows = zip(sizes, self.pads, spans, self.strides, strict=True)
        return tuple((n + sum(pad) - span) // s + 1 for n, pad, span, s in windows)

    def along(self, axes: Sequence[int]) -> "SlidingWindow":
        """The same along some of its axes."""
        return SlidingWindow(
            tuple(self.kernel[axis] for axis in axes),
            tuple(self.strides[axis] for axis in axes),
            tuple(self.pads[axis] for axis in axes),
            tuple(self.dilations[axis] for axis in axes),
        )

    def conv(
        self, weight: Weight | None = None, bias: Weight | None = None, groups: int = 1
    ) -> ops.Conv:
        return ops.Conv(
            weight=weight,
            bias=bias,
            strides=self.strides,
            pads=self.pads,
            dilations=self.dilations,
            groups=groups,
        )

    def max_pool(self) -> ops.MaxPool:
        return ops.MaxPool(
            kernel=self.kernel, strides=self.strides, pads=self.pads, dilations=self.dilations
        )

    def average_pool(self) -> ops.AveragePool:
        """The mean of what of the input lies in the window."""
        return ops.AveragePool(
            kernel=self.kernel, strides=self.strides, pads=self.pads, count_include_pad=False
        )


def to_channels_first(build: OpBuilder, x: Ref, last: bool = True) -> Ref:
    """(batch, *spatial, channels) as (batch, channels, *spatial), where the channels are last."""
    rank = build.rank(x)
    if last:
        return build.transpose(x, (0, rank - 1, *range(1, rank - 1)))
    return x


def to_channels_last(build: OpBuilder, y: Ref, last: bool = True) -> Ref:
    """(batch, channels, *spatial) as (batch, *spatial, channels), where the channels are last."""
    rank = build.rank(y)
    if last:
        return build.transpose(y, (0, *range(2, rank), 1))
    return y


class Kernel(NamedTuple):
    """A kernel in the layout of its op: a weight, or what computes it."""

    weight: Weight | None
    computed: tuple[Ref, ...]


def kernel_axes(rank: int, depthwise: bool = False) -> tuple[int, ...]:
    """The axes of a kernel of Keras' (*spatial, input, output) in the order that the op has them
    in."""
    if depthwise:
        return (rank, rank + 1, *range(rank))
    return (rank + 1, rank, *range(rank))


def kernel_of(
    build: OpBuilder, value: Any, axes: tuple[int, ...], shape: tuple[int, ...] | None = None
) -> Kernel:
    """A variable as a weight, anything else as a further input, with its axes in that order and
    then in that shape."""
    value = build.shaped(value)
    weight = build.weight(value, axes, shape)
    if weight is not None:
        return Kernel(weight, ())
    turned = build.transpose(build.ref(value), axes)
    return Kernel(None, (turned if shape is None else build.reshape(turned, shape),))


def kernel_sizes(build: OpBuilder, value: Any) -> tuple[int, ...]:
    """The shape of a kernel as it was handed over."""
    value = build.shaped(value)
    if isinstance(value, Ref):
        return build.shape(value)
    return tuple(int(size) for size in value.shape)


def convolved(
    build: OpBuilder, x: Ref, window: SlidingWindow, kernel: Kernel, filters: int, groups: int = 1
) -> Ref:
    """A convolution of (batch, channels, *spatial)."""
    batch, _, *sizes = build.shape(x)
    conv = window.conv(kernel.weight, groups=groups)
    return build.add(conv, x, *kernel.computed, shape=(batch, filters, *window.counts(sizes)))


def transposed_convolved(
    build: OpBuilder,
    x: Ref,
    window: SlidingWindow,
    kernel: Kernel,
    filters: int,
    wanted: Sequence[int],
) -> Ref:
    """The gradient of the convolution by that window that makes the input's size of the output's,
    ``wanted``: that is what its padding crops."""
    batch, _, *sizes = build.shape(x)
    spans = _spans(window.kernel, window.dilations)
    whole = [(n - 1) * s + span for n, s, span in zip(sizes, window.strides, spans, strict=True)]
    crops = tuple(
        (before, full - size - before)
        for (before, _), full, size in zip(window.pads, whole, wanted, strict=True)
    )
    conv = ops.ConvTranspose(
        weight=kernel.weight,
        bias=None,
        strides=window.strides,
        crops=crops,
        dilations=window.dilations,
    )
    return build.add(conv, x, *kernel.computed, shape=(batch, filters, *wanted))


def pooled(build: OpBuilder, x: Ref, window: SlidingWindow, largest: bool) -> Ref:
    """The largest or the mean of each window of (batch, channels, *spatial)."""
    batch, channels, *sizes = build.shape(x)
    pool = window.max_pool() if largest else window.average_pool()
    return build.add(pool, x, shape=(batch, channels, *window.counts(sizes)))


def columns(build: OpBuilder, x: Ref, window: SlidingWindow) -> Ref:
    """(batch, channels * taps, places): the elements of each window of (batch, channels,
    *spatial)."""
    batch, channels, *sizes = build.shape(x)
    op = ops.Im2Col(
        kernel=window.kernel, strides=window.strides, pads=window.pads, dilations=window.dilations
    )
    shape = (batch, channels * prod(window.kernel), prod(window.counts(sizes)))
    return build.add(op, x, shape=shape)


def depth_to_space(build: OpBuilder, x: Ref, block: int, outer: bool = True) -> Ref:
    """Channels of (batch, height, width, channels) as blocks of pixels; ``outer`` where the place
    in the block is the outer part of the channel, else the inner one."""
    batch, height, width, channels = build.shape(x)
    depth = channels // block**2
    if outer:
        within, order = (block, block, depth), (0, 1, 3, 2, 4, 5)
    else:
        within, order = (depth, block, block), (0, 1, 4, 2, 5, 3)
    parts = build.transpose(build.reshape(x, (batch, height, width, *within)), order)
    return build.reshape(parts, (batch, height * block, width * block, depth))


def space_to_depth(build: OpBuilder, x: Ref, block: int, outer: bool = True) -> Ref:
    """The other way round."""
    batch, height, width, channels = build.shape(x)
    parts = build.reshape(x, (batch, height // block, block, width // block, block, channels))
    mixed = build.transpose(parts, (0, 1, 3, 2, 4, 5) if outer else (0, 1, 3, 5, 2, 4))
    return build.reshape(mixed, (batch, height // block, width // block, channels * block**2))


def local_response(
    build: OpBuilder, x: Ref, radius: int, alpha: float, beta: float, bias: float
) -> Ref:
    """Each of (batch, *spatial, channels) by the squares of the channels beside it."""
    size = 2 * radius + 1
    op = ops.LRN(size=size, alpha=alpha * size, beta=beta, bias=bias, before=radius, after=radius)
    return to_channels_last(build, build.add(op, to_channels_first(build, x)))
