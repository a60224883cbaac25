"""Keras' layers of several inputs: the merging arithmetic and Concatenate."""

from collections.abc import Callable
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Step, Weight
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.variables import cast


def _merged(call: KerasCall, op: ops.Op) -> Description:
    """An input of lower rank gets axes of size 1 after the batch axis, which is not how NumPy would
    broadcast it."""
    if call.carried and isinstance(op, ops.Mul | ops.Max | ops.Min):
        return _merged_by_masks(call, op)
    ndim = max(x.ndim for x in call.inputs)
    build, sources = Builder(), list[Ref]()
    for index, x in enumerate(call.inputs):
        ref = Ref(-1, index)
        if x.ndim < ndim:
            shape = (x.shape[0], *(1,) * (ndim - x.ndim), *x.shape[1:])
            ref = build.add(ops.Reshape(shape=shape), ref)
        sources.append(ref)
    return Description(build.ended(build.add(op, *sources)))


def _merged_by_masks(call: KerasCall, op: ops.Op) -> Description:
    """Keras 3 leaves masked elements out of these (keras/src/layers/merging: base_merge.py and
    multiply.py)."""
    if any(x.shape != call.shape for x in call.inputs):
        raise Undescribed("masks on inputs of different shapes are not supported")
    build = Builder()

    def whole(mask: Ref) -> Ref:
        return build.add(
            ops.Reshape(shape=(*call.masks[mask.index - len(call.inputs)].shape, 1)), mask
        )

    masks = [None if mask is None else whole(mask) for mask in call.carried]
    inputs = [Ref(-1, index) for index in range(len(call.inputs))]
    result, kept = inputs[0], masks[0]
    if isinstance(op, ops.Mul):
        filled = [
            x if mask is None else build.add(ops.Fill(value=1.0), x, mask)
            for x, mask in zip(inputs, masks, strict=True)
        ]
        build.add(op, *filled)
        if None not in masks:
            build.add(
                ops.Fill(value=0.0),
                build.last,
                build.add(ops.Max(), *(mask for mask in masks if mask is not None)),
            )
        return Description(build.ended())
    for x, mask in zip(inputs[1:], masks[1:], strict=True):
        if mask is not None:
            x = build.add(ops.Where(), mask, x, result)
        if kept is not None:
            result = build.add(ops.Where(), kept, result, x)
        if mask is None or kept is None:
            kept = None
        else:
            kept = build.add(ops.Max(), kept, mask)
        result = build.add(op, result, x)
    return Description(build.ended())


def _register(name: str, op: Callable[[], ops.Op]) -> None:
    describes(name)(lambda layer, call: _merged(call, op()))


_register("Add", ops.Add)
_register("Average", ops.Mean)
_register("Maximum", ops.Max)
_register("Minimum", ops.Min)
_register("Multiply", ops.Mul)
_register("Subtract", ops.Sub)


@describes("Concatenate")
def _concatenate(layer: Any, call: KerasCall) -> Description:
    sources = tuple(Ref(-1, index) for index in range(len(call.inputs)))
    return Description((Step(ops.Concat(axis=layer.axis % len(call.shape)), sources),))


@describes("CustomScaleLayer")
def _custom_scale(layer: Any, call: KerasCall) -> Description:
    """Of keras.applications: the first input and a share of the second."""
    scale = Weight(
        "scale",
        None,
        cast(np.asarray(float(layer.scale)), call.dtype),
        ("given in the layer's configuration",),
    )
    return Description(
        (Step(ops.MulConstant(value=scale), (Ref(-1, 1),)), Step(ops.Add(), (Ref(-1, 0), Ref(0))))
    )
