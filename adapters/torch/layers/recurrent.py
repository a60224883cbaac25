"""RNN, LSTM, GRU and their cells: one op for each layer and direction, with what PyTorch does about
their sequences around it."""

from dataclasses import replace
from typing import Any

import numpy as np

from probe.description import Builder, Description, Ref
from probe.errors import Undescribed
from probe.ops import (
    GRU,
    LSTM,
    RNN,
    Concat,
    DynamicQuantize,
    Op,
    Packed,
    Recurrence,
    Relu,
    Reshape,
    Slice,
    Take,
    Tanh,
    Transpose,
    Unpacked,
)

from ..describe.describe import ModuleCall, describes

__all__ = ["cell", "recurrence"]

_STATES = {"LSTM": ("h_n", "c_n"), "GRU": ("h_n",), "RNN": ("h_n",)}
_FUNCTIONS = {"tanh": Tanh, "relu": Relu}


@describes("RNN", "LSTM", "GRU", several=True)
def _recurrence(module: Any, call: ModuleCall) -> Description:
    return recurrence(module, call)


def recurrence(module: Any, call: ModuleCall, levels: int | None = None) -> Description:
    """Each layer in each direction, from the first to the last; the directions stand side by side.

    ``levels`` is the highest level of those that numbers are rounded to before each product, where
    they are: over the whole sequence of the input, and over the batch of the states at each step;
    of a packed sequence, over the samples that it has then.
    """
    if module.dropout and module.training and module.num_layers > 1:
        raise Undescribed("dropout is active between its layers")
    sequence: Any = call.arguments["input"]
    build, names = Builder(), _STATES[_kind(module)]
    if isinstance(sequence, Ref):
        packed, batched = None, call.inputs[sequence.index].ndim == 3
        x = _steps_first(build, sequence, call.inputs[sequence.index].shape, module.batch_first)
        mask = None
    else:
        packed = _Sizes(sequence, call)
        batched, mask = True, build.ref(packed.mask)
        x = build.add(Unpacked(packed.sizes), sequence.data)
    initial = _initial(module, call, build, batched, packed)
    x, last = _layers(module, call, build, x, mask, initial, levels)
    batch = 1
    if packed is not None:
        batch = max(packed.sizes)
    elif batched:
        batch = call.inputs[sequence.index].shape[0 if module.batch_first else 1]
    sizes = (getattr(module, "proj_size", 0) or module.hidden_size, module.hidden_size)
    ended = [
        _stacked(build, last, index, (batch, sizes[index - 1]), batched, packed)
        for index in range(1, 1 + len(names))
    ]
    if packed is not None:
        parts = zip(sequence._fields, sequence, strict=True)
        own = tuple(f"output.{name}" for name, part in parts if part is not None)
        x = build.add(Packed(packed.sizes), x)
        return Description(build.ended(x, *packed.rest, *ended), output_names=(*own, *names))
    axes: tuple[str, ...] = ("batch", "steps") if module.batch_first else ("steps", "batch")
    if not batched:
        axes, x = ("steps",), _squeezed(build, x, call.inputs[sequence.index].shape[0])
    elif module.batch_first:
        x = build.add(Transpose(perm=(1, 0, 2)), x)
    return Description(
        build.ended(x, *ended), (*axes, "features"), (*axes, "units"), ("output", *names)
    )


def _layers(
    module: Any,
    call: ModuleCall,
    build: Builder,
    x: Ref,
    mask: Ref | None,
    initial: list[list[Ref]] | None,
    levels: int | None,
) -> tuple[Ref, list[Ref]]:
    """What the last layer gives, and each layer in each direction."""
    ways = 2 if module.bidirectional else 1
    last: list[Ref] = []
    for layer in range(module.num_layers):
        outputs = []
        if levels is not None:
            x = build.add(DynamicQuantize(high=levels), x)
        for way in range(ways):
            suffix = f"_l{layer}" + "_reverse" * way
            op = _op(module, call, suffix, bool(way), mask is not None, initial is not None)
            if levels is not None:
                op = replace(op, product_quantizer=DynamicQuantize(high=levels, axes=2))
            states = () if initial is None else (state[layer * ways + way] for state in initial)
            outputs.append(build.add(op, x, *(() if mask is None else (mask,)), *states))
        last += outputs
        x = outputs[0] if ways == 1 else build.add(Concat(axis=2), *outputs)
    return x, last


class _Sizes:
    """What a PackedSequence says of its rows."""

    def __init__(self, sequence: Any, call: ModuleCall):
        self.sizes = tuple(int(size) for size in call.inputs[sequence.batch_sizes.index])
        self.mask = np.arange(max(self.sizes))[None] < np.asarray(self.sizes)[:, None]
        self.rest = tuple(part for part in sequence[1:] if part is not None)
        self.sorted, self.unsorted = (
            None if order is None else tuple(int(at) for at in call.inputs[order.index])
            for order in (sequence.sorted_indices, sequence.unsorted_indices)
        )


def _kind(module: Any) -> str:
    return next(cls.__name__ for cls in type(module).__mro__ if cls.__name__ in _STATES)


def _steps_first(build: Builder, x: Ref, shape: tuple[int, ...], batch_first: bool) -> Ref:
    """The input as (steps, batch, features)."""
    if len(shape) == 2:
        return build.add(Reshape(shape=(shape[0], 1, shape[1])), x)
    if batch_first:
        return build.add(Transpose(perm=(1, 0, 2)), x)
    return x


def _squeezed(build: Builder, x: Ref, count: int) -> Ref:
    return build.add(Reshape(shape=(count, -1)), x)


def _initial(
    module: Any, call: ModuleCall, build: Builder, batched: bool, packed: _Sizes | None
) -> list[list[Ref]] | None:
    """For h and, in an LSTM, c: the initial state of each layer and direction; None where they are
    zero."""
    given = call.arguments.get("hx")
    if given is None:
        return None
    found = []
    for ref in given if isinstance(given, tuple | list) else (given,):
        shape = call.inputs[ref.index].shape
        if batched:
            whole = ref
        else:
            whole = build.add(Reshape(shape=(shape[0], 1, shape[1])), ref)
        if packed is not None and packed.sorted is not None:
            whole = build.add(Take(axis=1, order=packed.sorted), whole)
        parts = []
        for at in range(shape[0]):
            part = build.add(Slice(starts=(at, 0, 0), stops=(at + 1, None, None)), whole)
            parts.append(build.add(Reshape(shape=(-1, shape[-1])), part))
        found.append(parts)
    return found


def _stacked(
    build: Builder,
    last: list[Ref],
    index: int,
    size: tuple[int, int],
    batched: bool,
    packed: _Sizes | None,
) -> Ref:
    """The last states of all layers and directions as one tensor."""
    if len(last) > 1:
        whole = build.add(Concat(axis=0), *(Ref(ref.step, index) for ref in last))
    else:
        whole = Ref(last[0].step, index)
    if not batched:
        return whole
    whole = build.add(Reshape(shape=(len(last), *size)), whole)
    if packed is None or packed.unsorted is None:
        return whole
    return build.add(Take(axis=1, order=packed.unsorted), whole)


def _op(
    module: Any, call: ModuleCall, suffix: str, reverse: bool, has_mask: bool, has_states: bool
) -> Recurrence:
    def weight(name: str, required: bool = True, axes: tuple[int, ...] | None = None) -> Any:
        if required:
            return call.required(name + suffix, axes=axes)
        return call.weight(name + suffix, axes=axes)

    shared: dict[str, Any] = {
        "kernel": weight("weight_ih", axes=(1, 0)),
        "recurrent": weight("weight_hh", axes=(1, 0)),
        "bias": weight("bias_ih") if module.bias else None,
        "recurrent_bias": weight("bias_hh") if module.bias else None,
        "reverse": reverse,
        "has_mask": has_mask,
        "has_states": has_states,
    }
    match _kind(module):
        case "LSTM":
            if getattr(module, "proj_size", 0):
                return LSTM(**shared, projection=weight("weight_hr", axes=(1, 0)))
            return LSTM(**shared, projection=None)
        case "GRU":
            return GRU(**shared, gates="rzh")
    return RNN(**shared, activation=_FUNCTIONS[module.nonlinearity]())


@describes("RNNCell", "LSTMCell", "GRUCell", several=True)
def _cell(module: Any, call: ModuleCall) -> Description:
    return cell(module, call)


def cell(module: Any, call: ModuleCall, levels: int | None = None) -> Description:
    """One step, as a sequence of one; ``levels`` as in ``recurrence``."""
    build, given = Builder(), call.arguments["input"]
    shape = call.inputs[given.index].shape
    batch = shape[0] if len(shape) == 2 else 1
    x = build.add(Reshape(shape=(1, batch, shape[-1])), given)
    hx = call.arguments.get("hx")
    states: tuple[Ref, ...] = ()
    if hx is not None:
        states = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
    if len(shape) == 1:
        states = tuple(
            build.add(Reshape(shape=(1, call.inputs[ref.index].shape[-1])), ref) for ref in states
        )
    shared: dict[str, Any] = {
        "kernel": call.required("weight_ih", axes=(1, 0)),
        "recurrent": call.required("weight_hh", axes=(1, 0)),
        "bias": call.weight("bias_ih"),
        "recurrent_bias": call.weight("bias_hh"),
        "has_states": bool(states),
        "product_quantizer": None if levels is None else DynamicQuantize(high=levels, axes=2),
    }
    kind = next(
        cls.__name__
        for cls in type(module).__mro__
        if cls.__name__ in ("RNNCell", "LSTMCell", "GRUCell")
    )
    op: Op
    match kind:
        case "LSTMCell":
            op = LSTM(**shared)
        case "GRUCell":
            op = GRU(**shared, gates="rzh")
        case _:
            op = RNN(**shared, activation=_FUNCTIONS[module.nonlinearity]())
    made = build.add(
        op, x if levels is None else build.add(DynamicQuantize(high=levels), x), *states
    )
    words = (0, 2) if kind == "LSTMCell" else (0,)
    axes = ("batch",) if len(shape) == 2 else ()
    out = shape[:-1]
    ended = [
        build.add(Reshape(shape=(*out, module.hidden_size)), Ref(made.step, index))
        for index in words
    ]
    return Description(
        build.ended(*ended),
        (*axes, "features"),
        (*axes, "units"),
        ("h", "c") if len(words) > 1 else (),
    )
