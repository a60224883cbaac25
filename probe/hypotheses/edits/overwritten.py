"""Ops as loops compute them that put "=" for "+=", or whose output is the buffer of their input."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.ops.base import Arrays, Op
from probe.trial.prices import price

__all__ = ["in_place", "overwriting"]

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
