"""Codes that a kernel makes of some channels in another way than of the rest."""

from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref

from ..arithmetic import channels_rounded_singly
from ..describe import OperatorBuilder

__all__ = ["in_blocks", "in_flat_blocks"]


def in_blocks(
    build: OperatorBuilder, y: Ref, op: ops.Requantize, operator: str, dtype: str, axis: int
) -> Ref:
    """The op on what has its channels on an axis, those behind the last whole block rounded
    twice."""
    channels, rank = build.result.shape[-1], len(build.result.shape)
    blocks = channels - channels_rounded_singly(build.kernel, operator, dtype, channels)
    if blocks == channels:
        return build.add(op, y)
    starts, stops = [0] * rank, [None] * rank

    def part(first: int, end: int, how: str) -> Ref:
        own: dict[str, Any] = {name: _cut(getattr(op, name), first, end) for name in _BY_CHANNEL}
        cut = ops.Slice(
            starts=(*starts[:axis], first, *starts[axis + 1 :]),
            stops=(*stops[:axis], end, *stops[axis + 1 :]),
        )
        return build.add(replace(op, rounding=how, **own), build.add(cut, y))

    rest = part(blocks, channels, "double")
    if not blocks:
        return rest
    return build.add(ops.Concat(axis=axis), part(0, blocks, op.rounding), rest)


def in_flat_blocks(build: OperatorBuilder, x: Ref, block: int, op: ops.Op, rest: ops.Op) -> Ref:
    """The op on the elements in their order in memory, and another one on those behind the last
    whole block."""
    count = build.result.array.size
    cut = count - count % block
    if cut == count:
        return build.add(op, x)
    if not cut:
        return build.add(rest, x)
    flat = build.add(ops.Reshape(shape=(-1,)), x)
    parts = (
        build.add(op, build.add(ops.Slice(starts=(0,), stops=(cut,)), flat)),
        build.add(rest, build.add(ops.Slice(starts=(cut,), stops=(None,)), flat)),
    )
    return build.reshaped(build.add(ops.Concat(axis=0), *parts))


_BY_CHANNEL = ("multiplier", "shift", "factor")


def _cut(values: np.ndarray, first: int, end: int) -> np.ndarray:
    """Of channels, which come first, those of a part."""
    return values if values.size == 1 else values[first:end]
