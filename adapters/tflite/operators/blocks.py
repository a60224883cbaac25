"""Codes that a kernel makes of some channels in another way than of the rest."""

from dataclasses import replace

import numpy as np

from probe import ops
from probe.description import Ref

from ..arithmetic import channels_rounded_singly
from ..describe import NodeBuilder

__all__ = ["in_blocks"]


def in_blocks(
    build: NodeBuilder, y: Ref, op: ops.Requantize, operator: str, dtype: str, axis: int
) -> Ref:
    """The op on (batch, ...) with the channels on an axis, those behind the last whole block rounded
    twice."""
    channels, rank = build.result.shape[-1], len(build.result.shape)
    blocks = channels - channels_rounded_singly(build.kernel, operator, dtype, channels)
    if blocks == channels:
        return build.add(op, y)
    starts, stops = [0] * rank, [None] * rank

    def part(first: int, end: int, how: str) -> Ref:
        own = {name: _cut(getattr(op, name), first, end) for name in _BY_CHANNEL}
        cut = ops.Slice(
            starts=(*starts[:axis], first, *starts[axis + 1 :]),
            stops=(*stops[:axis], end, *stops[axis + 1 :]),
        )
        return build.add(replace(op, rounding=how, **own), build.add(cut, y))

    rest = part(blocks, channels, "double")
    if not blocks:
        return rest
    return build.add(ops.Concat(axis=axis), part(0, blocks, op.rounding), rest)


_BY_CHANNEL = ("multiplier", "shift", "factor")


def _cut(values: np.ndarray, first: int, end: int) -> np.ndarray:
    """Of channels, which come first, those of a part."""
    return values if values.size == 1 else values[first:end]
