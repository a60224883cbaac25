"""Sequences, each tensor of which is one of several inputs or outputs here: exporters write them
for what PyTorch splits and stacks.

A describer receives a sequence as a tuple of its tensors.
"""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref

from ..describe import NodeBuilder, Tensors, Value, node

__all__ = ["SEQUENCES"]

SEQUENCES = (
    *("ConcatFromSequence", "SequenceAt", "SequenceConstruct"),
    *("SequenceErase", "SequenceInsert", "SplitToSequence"),
)
"""The operators that take or give them and have a description."""


def _same(build: NodeBuilder, tensors: Any) -> list[Ref]:
    return [build.add(ops.Identity(), tensor) for tensor in tensors]


def _place(build: NodeBuilder, position: Value | None, default: int) -> int:
    if position is None:
        return default
    return int(build.array(position).reshape(()))


@node("SplitToSequence", implied=("split",))
def split_to_sequence(build: NodeBuilder, x: Value, split: Value | None = None) -> list[Ref]:
    """Without ``split`` one by one, and without that axis where keepdims is 0."""
    shape, pieces, start = build.shape(x), [], 0
    axis = build.get("axis", 0) % len(shape)
    flat = split is None and not build.get("keepdims", 1)
    build.knows("keepdims")
    for piece in build.outputs:
        stop = start + (1 if flat else piece.shape[axis])
        found = build.add(
            ops.Slice(
                starts=tuple(start if k == axis else 0 for k in range(len(shape))),
                stops=tuple(stop if k == axis else n for k, n in enumerate(shape)),
            ),
            x,
        )
        pieces.append(build.add(ops.Reshape(shape=piece.shape), found) if flat else found)
        start = stop
    return pieces


@node("SequenceConstruct")
def sequence_construct(build: NodeBuilder, *values: Value) -> list[Ref]:
    return _same(build, values)


@node("SequenceAt")
def sequence_at(build: NodeBuilder, sequence: Tensors, position: Value) -> Ref:
    return build.add(ops.Identity(), build.several(sequence)[_place(build, position, 0)])


@node("SequenceInsert")
def sequence_insert(
    build: NodeBuilder, sequence: Tensors, tensor: Value, position: Value | None = None
) -> list[Ref]:
    tensors: list[Value] = [*build.several(sequence)]
    tensors.insert(_place(build, position, len(tensors)), tensor)
    return _same(build, tensors)


@node("SequenceErase")
def sequence_erase(
    build: NodeBuilder, sequence: Tensors, position: Value | None = None
) -> list[Ref]:
    tensors = [*build.several(sequence)]
    del tensors[_place(build, position, -1)]
    return _same(build, tensors)


@node("ConcatFromSequence")
def concat_from_sequence(build: NodeBuilder, sequence: Tensors) -> Ref:
    """With ``new_axis`` the tensors are stacked."""
    tensors, axis = build.several(sequence), build.get("axis")
    if build.get("new_axis", 0):
        axis %= build.outputs[0].ndim
        tensors = tuple(build.add(ops.Unsqueeze(axes=(axis,)), tensor) for tensor in tensors)
    return build.add(ops.Concat(axis=axis % np.ndim(build.outputs[0])), *tensors)
