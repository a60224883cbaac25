"""Loops and maps of keras.ops over a function of the user's own, written out step by step so that its operations leave nodes.

How often a loop goes round follows from its values: it is run once on those that it was given.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from probe.errors import Undescribed
from probe.layer import Ref

from .description import Call
from .tensors import Tensors

__all__ = ["unrolled"]

_MOST = 256
"""Steps."""


def unrolled(operation: Any, call: Call, tensors: Tensors) -> Callable[..., Any] | None:
    """What to call in place of the operation's own ``call``, with the same arguments by name; None where it is none of these."""
    kind = type(operation)
    made = _MADE.get(kind.__name__) if kind.__module__.startswith("keras.src.ops.") else None
    return None if made is None else partial(made, operation, call, tensors)


def _count(steps: int) -> int:
    if not 0 < steps <= _MOST:
        raise Undescribed(f"it goes round {steps} times, where 1 to {_MOST} are written out")
    return steps


def _length(nested: Any, tensors: Tensors, axis: int = 0) -> int:
    return _count(tensors.flat(nested)[0].shape[axis])


def _row(nested: Any, at: int, tensors: Tensors) -> Any:
    return tensors.mapped(lambda x: x[at], nested)


def _stacked(parts: list[Any], call: Call, tensors: Tensors) -> Any:
    columns = zip(*(tensors.flat(part) for part in parts), strict=True)
    return tensors.packed(parts[0], [call.namespace.ops.stack(list(column), axis=0) for column in columns])


def _map(operation: Any, call: Call, tensors: Tensors, f: Callable[..., Any], xs: Any) -> Any:
    return _stacked([f(_row(xs, at, tensors)) for at in range(_length(xs, tensors))], call, tensors)


def _vectorized_map(operation: Any, call: Call, tensors: Tensors, elements: Any) -> Any:
    return _map(operation, call, tensors, operation.function, elements)


def _fori_loop(operation: Any, call: Call, tensors: Tensors, init_val: Any) -> Any:
    low, high = (int(tensors.array(one)) if hasattr(one, "shape") else int(one) for one in (operation.lower, operation.upper))
    _count(high - low)
    for at in range(low, high):
        init_val = operation.body_fun(at, init_val)
    return init_val


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _while_loop(operation: Any, call: Call, tensors: Tensors, loop_vars: Any) -> Any:
    given = tensors.mapped(
        lambda leaf: tensors.tensor(call.inputs[leaf.index]) if isinstance(leaf, Ref) else leaf, call.arguments["loop_vars"]
    )
    values, steps = _several(given), 0
    most = _MOST if operation.maximum_iterations is None else min(_MOST, int(operation.maximum_iterations))
    while steps < most and bool(operation.cond(*values)):
        values, steps = _several(operation.body(*values)), steps + 1
    if steps == _MOST:
        raise Undescribed(f"it goes round {_MOST} times or more")
    made = _several(loop_vars)
    for _ in range(_count(steps)):
        made = _several(operation.body(*made))
    return made if isinstance(loop_vars, list | tuple) else made[0]


def _scan(operation: Any, call: Call, tensors: Tensors, f: Callable[..., Any], init: Any, xs: Any = None) -> Any:
    count = _count(int(operation.length)) if operation.length is not None else _length(xs, tensors)
    order = range(count)[::-1] if operation.reverse else range(count)
    found = [None] * count
    for at in order:
        init, found[at] = f(init, None if xs is None else _row(xs, at, tensors))
    return init, _stacked(found, call, tensors)


def _switch(operation: Any, call: Call, tensors: Tensors, index: Any, branches: Any, operands: Any = ()) -> Any:
    told = call.arguments["index"]
    place = int(np.ravel(call.inputs[told.index])[0] if isinstance(told, Ref) else told)
    return branches[min(max(place, 0), len(branches) - 1)](*operands)


def _associative_scan(operation: Any, call: Call, tensors: Tensors, f: Callable[..., Any], elems: Any) -> Any:
    """One after the other, where Keras joins neighbours first: the same but for rounding."""
    axis = operation.axis

    def part(at: int) -> Any:
        return tensors.mapped(lambda x: x[(slice(None),) * (axis % len(x.shape)) + (slice(at, at + 1),)], elems)

    count = _length(elems, tensors, axis)
    order = list(range(count)[::-1] if operation.reverse else range(count))
    found: dict[int, Any] = {}
    for before, at in zip([None, *order], order, strict=False):
        found[at] = part(at) if before is None else f(found[before], part(at))
    columns = zip(*(tensors.flat(found[at]) for at in range(count)), strict=True)
    return tensors.packed(elems, [call.namespace.ops.concatenate(list(column), axis=axis) for column in columns])


_MADE: dict[str, Callable[..., Any]] = {
    "AssociativeScan": _associative_scan,
    "ForiLoop": _fori_loop,
    "Map": _map,
    "Scan": _scan,
    "Switch": _switch,
    "VectorizedMap": _vectorized_map,
    "WhileLoop": _while_loop,
}
