"""Loops, maps and recurrences over a function or a cell of the user's own, written out step by step
so that its operations leave nodes.

How often a loop goes round follows from its values: it is run once on those that it was given.
"""

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from probe.description import Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.tensors import Tensors

__all__ = ["unrolled"]

_MOST = 256
"""Steps."""


def unrolled(operation: Any, call: KerasCall, tensors: Tensors) -> Callable[..., Any] | None:
    """What to call in place of the operation's own ``call``, with the same arguments by name; None
    where it is none of these."""
    kind = type(operation)
    if kind.__module__.startswith("keras.src.ops."):
        made = _MADE.get(kind.__name__)
    else:
        made = None
    if kind.__name__ == "RNN" and kind.__module__.startswith(
        ("keras.src.layers.", "tf_keras.src.layers.")
    ):
        made = _rnn
    if made is None:
        return None
    return partial(made, operation, call, tensors)


def _count(steps: int) -> int:
    if not 0 < steps <= _MOST:
        raise Undescribed(
            f"its loop runs {steps} iterations; between 1 and {_MOST} can be unrolled"
        )
    return steps


def _length(nested: Any, tensors: Tensors, axis: int = 0) -> int:
    return _count(tensors.flat(nested)[0].shape[axis])


def _row(nested: Any, at: int, tensors: Tensors) -> Any:
    return tensors.mapped(lambda x: x[at], nested)


def _stacked(parts: list[Any], call: KerasCall, tensors: Tensors) -> Any:
    columns = zip(*(tensors.flat(part) for part in parts), strict=True)
    return tensors.packed(
        parts[0], [call.namespace.ops.stack(list(column), axis=0) for column in columns]
    )


def _map(operation: Any, call: KerasCall, tensors: Tensors, f: Callable[..., Any], xs: Any) -> Any:
    return _stacked([f(_row(xs, at, tensors)) for at in range(_length(xs, tensors))], call, tensors)


def _vectorized_map(operation: Any, call: KerasCall, tensors: Tensors, elements: Any) -> Any:
    return _map(operation, call, tensors, operation.function, elements)


def _fori_loop(operation: Any, call: KerasCall, tensors: Tensors, init_val: Any) -> Any:
    low, high = (
        int(tensors.array(bound)) if hasattr(bound, "shape") else int(bound)
        for bound in (operation.lower, operation.upper)
    )
    _count(high - low)
    for at in range(low, high):
        init_val = operation.body_fun(at, init_val)
    return init_val


def _several(value: Any) -> tuple[Any, ...]:
    if isinstance(value, list | tuple):
        return tuple(value)
    return (value,)


def _while_loop(operation: Any, call: KerasCall, tensors: Tensors, loop_vars: Any) -> Any:
    given = tensors.mapped(
        lambda leaf: tensors.tensor(call.inputs[leaf.index]) if isinstance(leaf, Ref) else leaf,
        call.arguments["loop_vars"],
    )
    values, steps = _several(given), 0
    if operation.maximum_iterations is None:
        most = _MOST
    else:
        most = min(_MOST, int(operation.maximum_iterations))
    while steps < most and bool(operation.cond(*values)):
        values, steps = _several(operation.body(*values)), steps + 1
    if steps == _MOST:
        raise Undescribed(f"its loop runs {_MOST} iterations or more, which is too many to unroll")
    made = _several(loop_vars)
    for _ in range(_count(steps)):
        made = _several(operation.body(*made))
    if isinstance(loop_vars, list | tuple):
        return made
    return made[0]


def _scan(
    operation: Any,
    call: KerasCall,
    tensors: Tensors,
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
) -> Any:
    if operation.length is not None:
        count = _count(int(operation.length))
    else:
        count = _length(xs, tensors)
    order = range(count)[::-1] if operation.reverse else range(count)
    found = [None] * count
    for at in order:
        init, found[at] = f(init, None if xs is None else _row(xs, at, tensors))
    return init, _stacked(found, call, tensors)


def _switch(
    operation: Any, call: KerasCall, tensors: Tensors, index: Any, branches: Any, operands: Any = ()
) -> Any:
    told = call.arguments["index"]
    place = int(np.ravel(call.inputs[told.index])[0] if isinstance(told, Ref) else told)
    return branches[min(max(place, 0), len(branches) - 1)](*operands)


def _associative_scan(
    operation: Any, call: KerasCall, tensors: Tensors, f: Callable[..., Any], elems: Any
) -> Any:
    """One after the other, where Keras joins neighbours first: the same but for rounding."""
    axis = operation.axis

    def part(at: int) -> Any:
        return tensors.mapped(
            lambda x: x[(slice(None),) * (axis % len(x.shape)) + (slice(at, at + 1),)], elems
        )

    count = _length(elems, tensors, axis)
    order = list(range(count)[::-1] if operation.reverse else range(count))
    found: dict[int, Any] = {}
    for before, at in zip([None, *order], order, strict=False):
        if before is None:
            found[at] = part(at)
        else:
            found[at] = f(found[before], part(at))
    columns = zip(*(tensors.flat(found[at]) for at in range(count)), strict=True)
    return tensors.packed(
        elems, [call.namespace.ops.concatenate(list(column), axis=axis) for column in columns]
    )


def _rnn(
    layer: Any,
    call: KerasCall,
    tensors: Tensors,
    *,
    mask: Any = None,
    initial_state: Any = None,
    constants: Any = None,
    training: Any = None,
    **sequences: Any,
) -> Any:
    """``RNN.call`` (keras/src/layers/rnn/rnn.py, backend/tensorflow/rnn.py;
    tf_keras/src/layers/rnn/base_rnn.py): a masked step leaves the states as they are, and its
    output is the one before, or zeros. Read backwards the sequence stays in the order of
    reading."""
    (given,) = sequences.values()  # its name is not the same in Keras 2 and 3
    other = isinstance(given, dict | tuple) or getattr(layer, "time_major", False)
    if other or constants is not None or vars(layer).get("_num_constants"):
        raise Undescribed("constants, nested inputs and time-major inputs are not supported")
    x, *begun = (
        *tensors.flat(given),
        *([] if initial_state is None else tensors.flat(initial_state)),
    )
    held = call.states.get(id(layer))
    if held is not None and begun and call.legacy:
        raise Undescribed(
            "it is stateful and was called with initial states, which is not supported"
        )
    states = _initial(layer, call, tensors)
    if begun or held is not None:
        states = tensors.packed(
            states, begun or [tensors.tensor(state, call.dtype) for state in held or ()]
        )
    if call.legacy:
        functions = importlib.import_module("tensorflow")
    else:
        functions = call.namespace.ops
    mask = None if mask is None else tensors.flat(mask)[0]
    steps = range(_count(call.shape[1]))
    outputs: list[Any] = []
    for at in reversed(steps) if layer.go_backwards else steps:
        output, after = _step(layer.cell, x[:, at], states, training, tensors)
        if mask is not None:
            keep = mask[:, at]
            nothing = not outputs or getattr(layer, "zero_output_for_mask", False)
            before = _zeros(output, tensors) if nothing else outputs[-1]
            output = _where(functions, keep, output, before)
            pairs = zip(tensors.flat(after), tensors.flat(states), strict=True)
            after = tensors.packed(
                states, [_where(functions, keep, new, old) for new, old in pairs]
            )
        states = after
        outputs.append(output)
    if layer.return_sequences:
        result = functions.stack(outputs, axis=1)
    else:
        result = outputs[-1]
    if layer.return_state:
        return [result, *states]
    return result


def _where(functions: Any, keep: Any, new: Any, old: Any) -> Any:
    """What a step gives for the samples that it is not masked for, for the others what was
    before."""
    rows = functions.reshape(keep, (keep.shape[0], *(1,) * (len(new.shape) - 1)))
    return functions.where(rows, new, old)


def _initial(layer: Any, call: KerasCall, tensors: Tensors) -> Any:
    if call.legacy:
        return layer.get_initial_state(tensors.tensor(call.inputs[0], call.dtype))
    return layer.get_initial_state(call.shape[0])


def _zeros(like: Any, tensors: Tensors) -> Any:
    return tensors.tensor(np.zeros(tuple(like.shape), np.float32), like.dtype)


def _step(cell: Any, x: Any, states: Any, training: Any, tensors: Tensors) -> tuple[Any, list[Any]]:
    """One step of a cell, or of stacked ones, each of which takes what the one before gives."""
    if type(cell).__name__ == "StackedRNNCells":
        if getattr(cell, "reverse_state_order", False):
            raise Undescribed("stacked cells with their states in reverse order are not supported")
        made: list[Any] = []
        for inner, state in zip(cell.cells, states, strict=True):
            several = isinstance(state, list | tuple)
            x, after = _step(inner, x, list(state) if several else [state], training, tensors)
            made.append(after if several else after[0])
        return x, made
    takes = training is not None and "training" in inspect.signature(cell.call).parameters
    called = cell if callable(cell) else cell.call
    x, after = called(x, states, **({"training": training} if takes else {}))
    return x, list(after) if isinstance(after, list | tuple) else [after]


_MADE: dict[str, Callable[..., Any]] = {
    "AssociativeScan": _associative_scan,
    "ForiLoop": _fori_loop,
    "Map": _map,
    "Scan": _scan,
    "Switch": _switch,
    "VectorizedMap": _vectorized_map,
    "WhileLoop": _while_loop,
}
