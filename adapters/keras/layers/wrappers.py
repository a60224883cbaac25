"""Keras' wrappers: a recurrent layer read in both directions, and any layer applied to every time
step."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describe, describes
from ..describe.op_builder import as_list
from .recurrent import recurrence

__all__: list[str] = []

_MERGED: dict[str, Callable[[], ops.Op]] = {"sum": ops.Add, "ave": ops.Mean, "mul": ops.Mul}


def _refs(value: Any) -> list[Ref]:
    if isinstance(value, Ref):
        return [value]
    if isinstance(value, list | tuple):
        return [ref for entry in value for ref in _refs(entry)]
    return []


@describes("Bidirectional", arguments=("mask", "initial_state"))
def _bidirectional(layer: Any, call: KerasCall) -> Description:
    """Both layers on the same input; the second one's sequence is turned back before they are
    merged."""
    build = Builder()
    x, *states = _refs(call.arguments["sequences" if "sequences" in call.arguments else "inputs"])
    states = [*states, *_refs(call.arguments.get("initial_state"))]
    half, shape, mask = len(states) // 2, call.inputs[x.index].shape, call.arguments.get("mask")
    first = recurrence(
        layer.forward_layer, call, build, x, shape, mask, states[:half], "forward_layer."
    )
    second = recurrence(
        layer.backward_layer, call, build, x, shape, mask, states[half:], "backward_layer."
    )
    major = bool(getattr(layer.forward_layer, "time_major", False))
    time = ("time", "batch") if major else ("batch", "time")
    whole = bool(layer.forward_layer.return_sequences)
    pair: tuple[Ref, ...] = (first.last, second.last)
    if whole:
        turned = build.add(ops.Flip(axis=0 if major else 1), second.sequence)
        pair = (first.sequence, turned)
    mode = layer.merge_mode
    if mode is not None and mode != "concat" and mode not in _MERGED:
        raise Undescribed(f"its merge mode {mode!r} is not supported")
    last = len(shape) - 1 if whole else len(shape) - 2
    outputs = pair
    if mode is not None:
        merge = ops.Concat(axis=last) if mode == "concat" else _MERGED[mode]()
        outputs = (build.add(merge, *pair),)
    if layer.forward_layer.return_state:
        outputs = (*outputs, *first.states, *second.states)
    names: tuple[str, ...] = ("forward", "backward") if mode is None else ("output",)
    names += tuple(
        f"{way} state {index}"
        for way, read in (("forward", first), ("backward", second))
        for index in range(len(read.states))
    )
    input_axes: tuple[str, ...] = ()
    output_axes: tuple[str, ...] = ()
    if len(shape) == 3:
        input_axes = (*time, "features")
        output_axes = (*time, "units") if whole else ("batch", "units")
    output_names = names[: len(outputs)] if len(outputs) > 1 else ()
    return Description(build.ended(*outputs), input_axes, output_axes, output_names)


@describes("TimeDistributed", arguments=("mask",))
def _time_distributed(layer: Any, call: KerasCall) -> Description:
    """The layer inside on batch and time as one axis; step by step where it looks across the batch,
    as Keras 3 does."""
    inner, x = layer.layer, call.inputs[0]
    if (
        call.arguments.get("mask") is not None
        and "mask" in inspect.signature(inner.call).parameters
        and not _heedless(inner)
    ):
        raise Undescribed(
            f"the {type(inner).__name__} inside it received a mask, which is not supported"
        )
    if getattr(inner, "stateful", False):
        raise Undescribed("a stateful inner layer is not supported")
    if not call.legacy and getattr(inner, "compute_dtype", call.dtype) != call.dtype:
        raise Undescribed(
            f"its inner layer computes in {inner.compute_dtype} but is called in {call.dtype}"
        )
    batch, count, *rest = x.shape
    build = Builder()
    if not call.legacy and (call.training or _across(inner, x.ndim - 1)):
        parts = [_one_step(build, inner, call, t) for t in range(count)]
        if count > 1:
            made = build.add(ops.Concat(axis=1), *parts)
        else:
            made = parts[0]
        return Description(build.ended(made), ("batch", "time", *_unnamed(x.ndim - 2)), ())
    merged = build.add(ops.Reshape(shape=(batch * count, *rest)), Ref(-1))
    found = _inner(inner, call, x.reshape(batch * count, *rest))
    outputs = [
        build.add(ops.Grouped(count=count), ref) for ref in build.include(found.steps, merged)
    ]
    axes = [
        ("batch", "time", *names[1:]) if names else ()
        for names in (found.input_axes, found.output_axes)
    ]
    return Description(
        build.ended(*outputs),
        axes[0] or ("batch", "time", *_unnamed(x.ndim - 2)),
        axes[1],
        found.output_names,
    )


def _unnamed(count: int) -> tuple[str, ...]:
    if count == 1:
        return ("features",)
    return tuple(f"axis {axis}" for axis in range(2, 2 + count))


def _one_step(build: Builder, inner: Any, call: KerasCall, t: int) -> Ref:
    rest = call.shape[2:]
    part = build.add(
        ops.Slice(starts=(0, t, *(0 for _ in rest)), stops=(None, t + 1, *(None for _ in rest))),
        Ref(-1),
    )
    part = build.add(ops.Squeeze(axes=(1,)), part)
    (made,) = build.include(_inner(inner, call, call.inputs[0][:, t]).steps, part)
    return build.add(ops.Unsqueeze(axes=(1,)), made)


def _heedless(inner: Any) -> bool:
    """Whether the layer looks at its mask in training only."""
    return type(inner).__name__ in ("BatchNormalization", "QBatchNormalization")


def _across(inner: Any, rank: int) -> bool:
    """Whether the layer works along the batch axis."""
    axes = as_list(getattr(inner, "axis", None))
    return any(isinstance(axis, int) and axis % rank == 0 for axis in axes)


def _inner(layer: Any, call: KerasCall, x: np.ndarray) -> Description:
    """The layer inside, on x; of a Sequential model its layers one after the other."""
    if type(layer).__name__ == "Sequential" and isinstance(layer, call.namespace.Sequential):
        return _chain(layer, call, x)
    first = next(iter(inspect.signature(layer.call).parameters), "inputs")
    arguments = {first: Ref(-1)} | ({"training": True} if call.training else {})
    dtype = str(getattr(layer, "compute_dtype", None) or call.dtype)
    return describe(
        layer,
        replace(
            call, layer=layer, inputs=(x,), dtype=dtype, arguments=arguments, carried=(), masks=()
        ),
    )


def _chain(model: Any, call: KerasCall, x: np.ndarray) -> Description:
    build, at = Builder(), Ref(-1)
    for layer in model.layers:
        if isinstance(layer, call.namespace.layers.InputLayer):
            continue
        (at,) = build.include(_inner(layer, call, x).steps, at)
        x = np.broadcast_to(np.zeros((), x.dtype), tuple(layer.compute_output_shape(x.shape)))
    made: tuple[Step, ...] = build.ended(at)
    return Description(made)
