"""Ops as loops compute them that put "=" for "+=", or whose output is the buffer of their input."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.step_words import tensor_name
from probe.ops.base import Arrays, Op, Rearrangement
from probe.ops.step import Ref, Step
from probe.trial.case import Case, shape_of, users_of
from probe.trial.change import Change
from probe.trial.prices import price

__all__ = ["copied_onto_itself", "in_place", "overwriting"]

_PLACES = 1024
"""Places of an output that a loop in Python computes one after the other."""
_AT_EACH = 30_000.0
"""The price of one of them."""
_ALL = (slice(None), slice(None))
"""All samples and channels."""


@dataclass(frozen=True, eq=False)
class _Loop(Op):
    """An op as a loop over places of its output computes it."""

    instead_of: Any
    function: Callable[..., np.ndarray]
    in_words: str

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self.function(self.instead_of, *inputs),)


@price.register
def _(op: _Loop, inputs: Arrays, outputs: Arrays) -> float:
    return _AT_EACH * int(np.prod(outputs[0].shape[2:]))


def overwriting(op: Any) -> Iterator[Op]:
    """The loops with such a mistake that may stand for an op."""
    if isinstance(op, ops.ConvTranspose) and op.weight is not None and op.groups == 1:
        yield _Loop(op, _assigned, "the last product alone where several overlap")
    if isinstance(op, ops.ScatterND | ops.ScatterElements):
        yield _Loop(op, _first_stays, "the first of several values at one place")
        if op.reduction == "add":
            yield _Loop(op, _mean, "the mean of several values at one place")


def in_place(op: ops.Conv) -> Iterator[tuple[str, Op]]:
    """A convolution with the output in the buffer of its input, and in which units it is put
    there."""
    if op.weight is not None and set(op.strides) == {1}:
        for unit, function in (("pixel", _in_place_by_pixel), ("row", _in_place_by_row)):
            yield f"{unit} by {unit}", _Loop(op, function, "a convolution in place")


def _few(shape: tuple[int, ...]) -> None:
    if np.prod(shape) > _PLACES:
        raise ValueError("too many places for a loop")


def _assigned(op: Any, x: np.ndarray) -> np.ndarray:
    """What each input adds to the output put there instead, the last on top."""
    _few(x.shape[2:])
    kernel = op.weight.value.astype(np.float64)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[2:], op.dilations, strict=True)]
    if any(dilation != 1 for dilation in op.dilations):
        raise ValueError("between the taps of a dilated kernel nothing is put")
    shape = [(n - 1) * s + r for n, s, r in zip(x.shape[2:], op.strides, reach, strict=True)]
    y = np.zeros((len(x), kernel.shape[1], *shape))
    for at in np.ndindex(*x.shape[2:]):
        box = tuple(slice(i * s, i * s + r) for i, s, r in zip(at, op.strides, reach, strict=True))
        y[(*_ALL, *box)] = np.tensordot(x[(*_ALL, *at)], kernel, 1)
    for axis, (before, after) in enumerate(op.crops, 2):
        if min(before, after) < 0:
            raise ValueError("nothing is known of what is appended")
        y = np.take(y, range(before, y.shape[axis] - after), axis)
    if op.bias is None:
        return y
    return np.asarray(y + op.bias.value.reshape(-1, *(1,) * len(op.strides)))


def _in_place(op: Any, x: np.ndarray, by_row: bool) -> np.ndarray:
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *op.pads))
    plain = replace(op, pads=((0, 0),) * len(op.pads))
    shape = op.run(x)[0].shape
    if shape != x.shape or any(dilation != 1 for dilation in op.dilations):
        raise ValueError("the output does not fit into the input")
    places = shape[2:-1] if by_row else shape[2:]
    _few(places)
    kernel = op.weight.value.shape[2:]
    begin = [before for before, _ in op.pads]
    for at in np.ndindex(*places):
        box = [slice(i, i + k) for i, k in zip(at, kernel, strict=False)]
        target = [slice(i + b, i + b + 1) for i, b in zip(at, begin, strict=False)]
        if by_row:
            box.append(slice(None))
            target.append(slice(begin[-1], begin[-1] + shape[-1]))
        wide[(*_ALL, *target)] = plain.run(wide[(*_ALL, *box)])[0]
    inside = (slice(b, b + n) for b, n in zip(begin, shape[2:], strict=True))
    return np.asarray(wide[(*_ALL, *inside)])


def _in_place_by_pixel(op: Any, x: np.ndarray) -> np.ndarray:
    return _in_place(op, x, False)


def _in_place_by_row(op: Any, x: np.ndarray) -> np.ndarray:
    return _in_place(op, x, True)


def _first_stays(op: Any, *inputs: np.ndarray) -> np.ndarray:
    x, _, updates = inputs
    targets = op.targets(inputs).reshape(-1)[::-1]
    flat = np.array(x, np.result_type(x, updates)).reshape(-1)
    flat[targets] = updates.reshape(-1)[::-1]
    return flat.reshape(x.shape)


def _mean(op: Any, *inputs: np.ndarray) -> np.ndarray:
    x, indices, updates = inputs
    count = op.run(np.zeros(x.shape), indices, np.ones(updates.shape))[0]
    return np.asarray(op.run(*inputs)[0] / np.maximum(count, 1))


def copied_onto_itself(case: Case) -> Iterator[Change]:
    """A tensor that is shifted within its own memory, from the end at which elements overwrite
    those that are still to be copied: a part of it, joined with new ones to its own shape."""
    for position, op in case.having(ops.Slice):
        (x, *_) = case.steps[position].sources(position)
        axes = [axis for axis in range(len(op.starts)) if _cut(op, shape_of(case, x), axis)]
        if len(axes) == 1 and _joined_to(case, Ref(position), shape_of(case, x)):
            shifted = Step(_Shifted(op, axes[0]), case.steps[position].sources(position))
            what = f"{tensor_name(case, x)} is shifted in place from the wrong end, so that its "
            what += "last elements are copied into all others"
            yield Change(what, "", {position: shifted})


def _cut(op: ops.Slice, shape: tuple[int, ...], axis: int) -> bool:
    """Whether a slice takes less than all of an axis."""
    stop = op.stops[axis]
    return bool(op.starts[axis]) or (stop is not None and stop != shape[axis])


def _joined_to(case: Case, ref: Ref, shape: tuple[int, ...]) -> bool:
    """Whether a tensor becomes one of this shape by a concatenation, perhaps rearranged before."""
    for user in users_of(case).get(ref, ()):
        if isinstance(case.steps[user].op, ops.Concat):
            if shape_of(case, Ref(user)) == shape:
                return True
        elif isinstance(case.steps[user].op, Rearrangement):
            if shape_of(case, Ref(user)) == shape_of(case, ref):
                return _joined_to(case, Ref(user), shape)
    return False


@dataclass(frozen=True, eq=False)
class _Shifted(Op):
    """The part of a tensor that is kept as it is shifted, element by element from the wrong end."""

    instead_of: Any
    axis: int

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        count = inputs[0].shape[self.axis]
        kept = self.instead_of.run(np.arange(count).reshape(self._alone(inputs[0].ndim)))[0].ravel()
        by = count - len(kept)
        if not 0 < by < count or (np.diff(kept) != 1).any() or 0 < kept[0] < by:
            raise ValueError("no shift by whole elements")
        first = kept % by
        last = kept + by * ((count - 1 - kept) // by)
        return (np.take(inputs[0], last if kept[0] else first, self.axis),)

    def _alone(self, rank: int) -> tuple[int, ...]:
        return tuple(-1 if axis == self.axis else 1 for axis in range(rank))
