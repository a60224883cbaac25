"""What an op does beside its weights, for whoever writes it again: strides, padding, groups,
epsilon, gate order, heads, ..."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from probe.ops import Op, Outputs, Transpose
from probe.ops.step import Step, field_names
from probe.ops.weight import Weight

__all__ = ["as_text", "numbers_of", "parameters_of"]

_INTERNAL = {
    "may_use_lossy_algorithm",
    "table_errors",
    "straight_through",
    "keeps_nan",
    "words",
    "layer",
    "function",
}
"""Fields that say how a description was made, and nothing about what the layer computes."""
_FEW, _SHOWN = 64, 8
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PAIRS = {"pads", "crops", "state_pads"}


def parameters_of(op: Op) -> dict[str, object]:
    """The numbers, words and inner ops of an op by the names of its fields; without its weights,
    what is None and arrays of more than 64 elements."""
    kind: Any = type(op)
    found = {name: _plain(getattr(op, name)) for name in _names(kind)}
    return {name: plain for name, plain in found.items() if plain is not None}


def numbers_of(steps: Sequence[Step]) -> dict[str, np.ndarray]:
    """The whole numbers and arrays of the steps by the names of op and field, such as
    "requantize_multiplier"; the number of the step stands between where a name is taken."""
    found: dict[str, np.ndarray] = {}
    for place, step in enumerate(steps):
        if isinstance(step.op, Outputs | Transpose):
            continue
        kind: Any = type(step.op)
        op = _CAPITAL.sub("_", kind.__name__).lower()
        for name in _names(kind):
            value = getattr(step.op, name)
            if isinstance(value, Weight | bool | str | Op) or value is None:
                continue
            array = np.asarray(value)
            if array.dtype.kind in "iuf":
                key = f"{op}_{name}"
                found[key if key not in found else f"{op}_{place}_{name}"] = array
    return found


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(name for name in field_names(kind) if name not in _INTERNAL)


def _plain(value: Any) -> Any:
    """As JSON holds it; None for what it does not hold, or is not told."""
    kind = type(value)
    if kind in (bool, int, str):
        return value
    if value is None or kind is Weight:
        return None
    if isinstance(value, Op):
        return {"op": type(value).__name__} | parameters_of(value)
    if isinstance(value, np.ndarray | np.generic):
        if value.size <= _FEW:
            return _plain(value.tolist())
        return None
    if isinstance(value, list | tuple):
        parts = list(map(_plain, value[: _FEW + 1]))
        if len(parts) > _FEW or None in parts:
            return None
        return parts
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, bool | int | float | str):
        return value
    return None


def as_text(parameters: dict[str, Any]) -> str:
    """In one line: "strides (1, 1), pads ((0, 1), (0, 1)) before and after, groups 1"."""
    return ", ".join(
        f"{name} {_words(value)}" + (" before and after" if name in _PAIRS else "")
        for name, value in parameters.items()
        if value != "" and value is not False
    )


def _words(value: Any) -> str:
    if isinstance(value, dict):
        inner = as_text({name: field for name, field in value.items() if name != "op"})
        if inner:
            return f"{value['op']} ({inner})"
        return str(value["op"])
    if isinstance(value, list) and len(value) > _SHOWN:
        return f"of {len(value)} values"
    if isinstance(value, list):
        return f"({', '.join(map(_words, value))})"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
