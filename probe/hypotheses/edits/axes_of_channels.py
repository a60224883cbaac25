"""Which axis of a tensor is that of channels or features, as the steps tell that give it or take
it: the words of a claim are those of what is there."""

from probe import ops
from probe.ops.base import Elementwise, Op
from probe.ops.step import Ref
from probe.trial.case import Case, shape_of, users_of

__all__ = ["of_channels"]

_SECOND = (
    *(ops.Conv, ops.ConvTranspose, ops.AveragePool, ops.MaxPool, ops.GlobalAveragePool),
    *(ops.GlobalMaxPool, ops.BatchNormalization, ops.GroupNormalization),
)
_LAST = (ops.MatMul, ops.LayerNormalization, ops.Embedding, ops.Recurrence)
_LEAST = 3
"""The rank from which on there is an axis beside those of samples and of channels."""


def of_channels(case: Case, ref: Ref, axis: int) -> bool | None:
    """Whether an axis of a tensor is that of channels or features; None where no step tells."""
    rank = len(shape_of(case, ref))
    axis %= rank
    if rank < _LEAST:
        return axis == rank - 1
    behind = _made_along(case, ref, axis)
    if behind is None:
        behind = _taken_along(case, ref, axis)
    return behind


def _along(op: Op, axis: int, rank: int) -> bool | None:
    if isinstance(op, _SECOND):
        return axis == 1
    if isinstance(op, _LAST):
        return axis == rank - 1
    return None


def _made_along(case: Case, ref: Ref, axis: int) -> bool | None:
    """What the steps tell that give a tensor, as long as none of them but moves its axes."""
    rank = len(shape_of(case, ref))
    while ref.step >= 0:
        op, sources = case.steps[ref.step].op, case.steps[ref.step].sources(ref.step)
        found = _along(op, axis, rank)
        if found is not None or not sources:
            return found
        if isinstance(op, ops.Transpose):
            axis = op.perm[axis]
        elif not (isinstance(op, Elementwise | ops.Slice | ops.Concat | ops.Pad | ops.Flip)):
            return None
        ref = sources[0]
        if len(shape_of(case, ref)) != rank:
            return None
    return None


def _taken_along(case: Case, ref: Ref, axis: int) -> bool | None:
    """What the steps tell that take a tensor, behind moves of its axes."""
    rank = len(shape_of(case, ref))
    for position in users_of(case).get(ref, ()):
        op = case.steps[position].op
        if case.steps[position].sources(position)[0] != ref:
            continue
        found = _along(op, axis, rank)
        if found is None and isinstance(op, ops.Transpose):
            found = _taken_along(case, Ref(position), op.perm.index(axis))
        elif found is None and isinstance(op, Elementwise | ops.Pad):
            found = _taken_along(case, Ref(position), axis)
        if found is not None:
            return found
    return None
