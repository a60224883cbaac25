"""Keras' layers of several inputs: the merging arithmetic and Concatenate."""

from collections.abc import Callable
from typing import Any

from probe import ops
from probe.errors import Undescribed
from probe.layer import Description, Ref, Step

from .description import Call, describes

_READ_MASKS = ("Multiply", "Maximum", "Minimum")
"""Keras 3 takes the mask that an input of these carries into account (keras/src/layers/merging/base_merge.py)."""


def _merged(call: Call, op: ops.Op) -> Description:
    """An input of lower rank gets axes of size 1 after the batch axis, which is not how NumPy would broadcast it."""
    if call.masked and not call.legacy and type(call.layer).__name__ in _READ_MASKS:
        raise Undescribed("a mask reaches it")
    ndim = max(x.ndim for x in call.inputs)
    steps: list[Step] = []
    sources = []
    for index, x in enumerate(call.inputs):
        ref = Ref(-1, index)
        if x.ndim < ndim:
            steps.append(Step(ops.Reshape(shape=(x.shape[0], *(1,) * (ndim - x.ndim), *x.shape[1:])), (ref,)))
            ref = Ref(len(steps) - 1)
        sources.append(ref)
    return Description((*steps, Step(op, tuple(sources))))


def _register(name: str, op: Callable[[], ops.Op]) -> None:
    describes(name)(lambda layer, call: _merged(call, op()))


_register("Add", ops.Add)
_register("Average", ops.Mean)
_register("Maximum", ops.Max)
_register("Minimum", ops.Min)
_register("Multiply", ops.Mul)
_register("Subtract", ops.Sub)


@describes("Concatenate")
def _concatenate(layer: Any, call: Call) -> Description:
    sources = tuple(Ref(-1, index) for index in range(len(call.inputs)))
    return Description((Step(ops.Concat(axis=layer.axis % len(call.shape)), sources),))
