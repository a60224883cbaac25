"""What moves, repeats, fills up or combines elements by the same rules in every dialect of
Keras."""

from collections.abc import Collection, Sequence

import numpy as np

from probe import ops
from probe.description import Ref

from .op_builder import OpBuilder

__all__ = ["divided_no_nan", "einsum", "flipped", "is_finite", "padded", "sliced_by_size", "tiled"]


def flipped(build: OpBuilder, ref: Ref, axes: Collection[int]) -> Ref:
    """These axes from the end on."""
    rank = build.rank(ref)
    return build.sliced(
        ref, [slice(None, None, -1) if axis in axes else slice(None) for axis in range(rank)]
    )


def sliced_by_size(build: OpBuilder, ref: Ref, starts: Sequence[int], sizes: Sequence[int]) -> Ref:
    """So many elements from each start on; all that are left for a size below 0."""
    places = zip(starts, sizes, strict=True)
    return build.sliced(
        ref, [slice(start, None if size < 0 else start + size) for start, size in places]
    )


def tiled(build: OpBuilder, ref: Ref, repeats: Sequence[int]) -> Ref:
    """The whole tensor so many times along each axis."""
    shape = [size * times for size, times in zip(build.shape(ref), repeats, strict=True)]
    return build.add(ops.Tile(repeats=tuple(repeats)), ref, shape=shape)


def padded(
    build: OpBuilder,
    ref: Ref,
    pads: Sequence[tuple[int, int]],
    mode: str = "constant",
    value: float = 0.0,
) -> Ref:
    """With so many elements before and after those of each axis."""
    shape = [size + sum(pad) for size, pad in zip(build.shape(ref), pads, strict=True)]
    return build.add(ops.Pad(pads=tuple(pads), mode=mode, value=value), ref, shape=shape)


def einsum(build: OpBuilder, equation: str, refs: Sequence[Ref]) -> Ref:
    """Sums of products as the equation says."""
    operands = [np.broadcast_to(np.float32(0), build.shape(ref)) for ref in refs]
    shape = np.einsum(equation, *operands).shape
    return build.add(ops.Einsum(equation=equation), *refs, shape=shape)


def divided_no_nan(build: OpBuilder, left: Ref, right: Ref) -> Ref:
    """A quotient that is 0 where the divisor is 0."""
    zero = build.add(ops.Equal(), right, 0.0)
    return build.add(ops.Where(), zero, build.ref(0.0), build.add(ops.Div(), left, right))


def is_finite(build: OpBuilder, ref: Ref) -> Ref:
    """Whether each element is a number."""
    odd = build.add(ops.Or(), build.add(ops.IsNaN(), ref), build.add(ops.IsInf(), ref))
    return build.add(ops.Not(), odd)
