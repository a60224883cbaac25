"""Which options and arguments of an operation between layers its description looks at: whatever
else is set makes it unchecked, by name.

Operations of keras.ops and functions of TensorFlow are too many for a table such as the layers':
what their descriptions look at is taken down while they do, for each call.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from probe.description import Description, Ref
from probe.errors import Undescribed

from .call import KerasCall

__all__ = ["described_by_reading"]

_IDLE = frozenset(("name", "unroll"))
"""What changes no number of any of them."""

_TOLD = {
    **dict.fromkeys(
        (
            "MultiHot",
            "OneHot",
            "OnesLike",
            "ZerosLike",
            "compat.v1.ones_like",
            "compat.v1.zeros_like",
        ),
        ("dtype",),
    ),
    **dict.fromkeys(("one_hot", "ones_like", "zeros_like"), ("dtype",)),
    **dict.fromkeys(
        ("compat.v1.argmax", "compat.v1.argmin", "math.argmax", "math.argmin"), ("output_type",)
    ),
    "ConvertToTensor": ("sparse", "ragged"),
    "compat.v1.shape": ("out_type",),
    "unstack": ("num",),
}
"""What the shape tells already, the type of results that are the same small whole numbers in any
type, or what says something of sparse tensors alone, which are no arrays."""


class _Arguments(Mapping[str, Any]):
    """Arguments of a call that take down which of them were looked at."""

    def __init__(self, values: Mapping[str, Any], seen: set[str]) -> None:
        self._given, self._seen = values, seen

    def __getitem__(self, name: str) -> Any:
        self._seen.add(name)
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        self._seen.update(self._given)
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


def described_by_reading(
    operation: Any, call: KerasCall, describe: Callable[[Any, KerasCall], Description]
) -> Description:
    """The steps; Undescribed with the name of an option or argument that is set, and that
    ``describe`` did not look at."""
    options, arguments = set[str](), set[str]()
    read = operation if call.legacy else _watched(operation, options)
    description = describe(
        read, replace(call, layer=read, arguments=_Arguments(call.arguments, arguments))
    )
    kind = type(operation).__name__
    if call.legacy:
        kind = operation.symbol or kind
    for name, default in () if call.legacy else _parameters(type(operation).__init__):
        value = vars(operation).get(name, vars(operation).get(f"_{name}", default))
        seen = name in options or f"_{name}" in options or name in _TOLD.get(kind, ())
        if not seen and not _same(value, default) and not (name == "dtype" and value == call.dtype):
            raise Undescribed(
                f"{kind} has option {name}={value!r:.60}, which its description does not support"
            )
    if call.legacy and callable(getattr(operation, "function", None)):
        called = operation.function
    else:
        called = type(operation).call
    defaults = dict(_parameters(called))
    used = {ref for place, step in enumerate(description.steps) for ref in step.sources(place)}
    for name, value in call.arguments.items():
        refs = list(_refs(value))
        if (
            name in arguments
            or name in _IDLE
            or name in _TOLD.get(kind, ())
            or _same(value, defaults.get(name))
            or any(ref in used or ref == Ref(-1) for ref in refs)
        ):
            continue
        raise Undescribed(
            f"{kind} was called with `{name}`, which its description does not support"
        )
    return description


def _refs(value: Any) -> Iterator[Ref]:
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _refs(entry)


def _watched(operation: Any, seen: set[str]) -> Any:
    """The same operation, which takes down what of it is looked at."""
    found: Any = object.__new__(_watching(operation.__class__))
    object.__setattr__(found, "__dict__", {**vars(operation), "_seen_by_probe": seen})
    return found


@lru_cache(maxsize=512)
def _watching(kind: type) -> type:
    def look(self: Any, name: str) -> Any:
        if not name.startswith("__"):
            object.__getattribute__(self, "_seen_by_probe").add(name)
        return object.__getattribute__(self, name)

    return type(kind.__name__, (kind,), {"__module__": kind.__module__, "__getattribute__": look})


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, Any], ...]:
    """(name, default) of the parameters that an option or argument may be given by; none where
    Python does not tell them."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(
        (parameter.name, parameter.default)
        for parameter in given
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        and parameter.name != "self"
        and parameter.name not in _IDLE
    )


def _same(value: Any, default: Any) -> bool:
    if value is None or value is default:
        return True
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) == list(default)
    return (
        isinstance(value, bool | int | float | str)
        and isinstance(default, bool | int | float | str)
        and bool(value == default)
    )
