"""Our frozen dataclasses as plain data, and back, by a table of their names and the types of their
fields: no class says how it is kept.

What is written down is believed only as far as it fits these types: a name out of the table, and
for each field a value of its type.
"""

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from probe import ops
from probe.description import Description, Grid, Ref, Site, Step, Taken, Weight
from probe.errors import Undescribed
from probe.listing import Layer
from probe.model import Argument, CallOutput, Capture, InputSpec, ModelInput

__all__ = ["Unfit", "all_weights", "as_data", "from_data", "kind_of", "kinds"]

_OTHERS: tuple[type, ...] = (
    *(Argument, CallOutput, Capture, Description, Grid, InputSpec, Layer, ModelInput),
    *(Ref, Site, Step, Taken, Weight),
)


class Unfit(ValueError):
    """A value that is none of those that its place takes."""


def kinds() -> Mapping[str, type]:
    """All that can be written down, by name: every op but a user's own function, and what stands
    around them."""
    names = (*(kind.__name__ for kind in _OTHERS), *dir(ops))
    return {name: found for name in names if (found := kind_of(name)) is not None}


@cache
def kind_of(name: str) -> type | None:
    """The one of that name."""
    for kind in _OTHERS:
        if kind.__name__ == name:
            return kind
    found = getattr(ops, name, None)
    if not isinstance(found, type) or not issubclass(found, ops.Op):
        return None
    plain = "__dataclass_params__" in vars(found) and found not in (ops.Op, ops.Recomputed)
    if plain:
        return found
    return None


def as_data(value: Any, keep: Callable[[np.ndarray], int]) -> Any:
    """What ``json`` takes for a value; ``keep`` takes an array and gives its number.

    Raises Undescribed where the value is none that ``from_data`` would give back.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        if np.isfinite(value):
            return value
        return {"float": str(value)}
    if isinstance(value, np.ndarray):
        return {"array": keep(value)}
    if isinstance(value, np.generic):
        return {"number": keep(np.asarray(value))}
    if type(value) is tuple:
        return [as_data(item, keep) for item in value]
    if type(value) is list:
        return {"list": [as_data(item, keep) for item in value]}
    if isinstance(value, Mapping):
        return {"map": {key: as_data(item, keep) for key, item in value.items()}}
    kind: Any = type(value)
    called: str = kind.__name__
    if kind_of(called) is not kind:
        raise Undescribed(f"{called} cannot be stored in a file")
    told: dict[str, Any] = {"is": called}
    for name, (hint, default) in _fields(kind).items():
        part = getattr(value, name)
        if part is default:
            continue
        if not _fits(part, hint):
            raise Undescribed(f"{called}.{name} cannot be stored in a file")
        told[name] = as_data(part, keep)
    return told


def from_data(data: Any, array: Callable[[Any], np.ndarray]) -> Any:
    """The value that was written down as ``data``; ``array`` gives the one of a number. Raises
    Unfit where no such value can be meant."""
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if isinstance(data, list):
        return tuple(from_data(item, array) for item in data)
    if "is" in data:
        return _object(data, array)
    if len(data) == 1:
        ((form, inner),) = data.items()
        if form == "array":
            return array(inner)
        if form == "number" and (found := array(inner)).ndim == 0:
            return found[()]
        if form == "float" and inner in ("nan", "inf", "-inf"):
            return float(inner)
        if form == "list" and isinstance(inner, list):
            return [from_data(item, array) for item in inner]
        if form == "map" and isinstance(inner, dict):
            return {key: from_data(item, array) for key, item in inner.items()}
    raise Unfit(f"an entry with the keys {', '.join(map(repr, list(data)[:3])) or 'none'}")


def _object(data: Mapping[str, Any], array: Callable[[Any], np.ndarray]) -> Any:
    kind = kind_of(data["is"]) if isinstance(data["is"], str) else None
    if kind is None:
        raise Unfit(f"the unknown kind {data['is']!r:.60}")
    known = _fields(kind)
    if unknown := data.keys() - known.keys() - {"is"}:
        raise Unfit(f"{kind.__name__} with the unknown field {min(unknown)!r:.60}")
    found: dict[str, Any] = {}
    for name, (hint, default) in known.items():
        if name in data:
            found[name] = value = from_data(data[name], array)
            if not _fits(value, hint):
                raise Unfit(f"{kind.__name__}.{name} of the type {type(value).__name__}")
        elif default is MISSING:
            raise Unfit(f"{kind.__name__} without the field {name!r}")
    return kind(**found)


def all_weights(value: Any) -> Iterator[Weight]:
    """The weights in what ``from_data`` gives, however deep."""
    if isinstance(value, Weight):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from all_weights(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from all_weights(part)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from all_weights(part)


@cache
def _fields(kind: Any) -> Mapping[str, tuple[Any, Any]]:
    """Each field's type and what it is where nothing is said."""
    names = {"np": np, "Op": ops.Op}
    hints = get_type_hints(kind, localns=names)
    if is_dataclass(kind):
        return {
            part.name: (hints[part.name], part.default if part.default_factory is MISSING else {})
            for part in fields(kind)
        }
    return {name: (hints[name], kind._field_defaults.get(name, MISSING)) for name in kind._fields}


@cache
def _parts_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(hint), get_args(hint)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a type, as far down as that is told."""
    origin, inner = _parts_of(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, member) for member in inner)
    if origin is tuple:
        if type(value) is not tuple:
            return False
        if inner[1:] == (...,):
            return all(_fits(item, inner[0]) for item in value)
        return len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is Sequence:
        return type(value) in (tuple, list) and all(_fits(item, inner[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and _fits(item, inner[1]) for key, item in value.items()
        )
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, float | int | np.floating | np.integer) and type(value) is not bool
    if hint is int:
        return isinstance(value, int | np.integer) and type(value) is not bool
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    return isinstance(hint, type) and isinstance(value, hint)
