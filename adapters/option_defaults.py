"""Whether an option of a layer is at its default."""

import inspect
from typing import Any

__all__ = ["NO_PARAMETER", "at_default"]

NO_PARAMETER = object()
"""In place of a default: what is no parameter of the constructor, but a key of the configuration or
a constant of the class."""


def at_default(value: Any, default: Any) -> bool:
    """A constructor may keep a default once for every axis, and a function in place of its name.
    Without one None and False are."""
    if default is NO_PARAMETER or default is inspect.Parameter.empty:
        return value is None or value is False
    if value is default:
        return True
    if isinstance(value, list | tuple):
        if isinstance(default, list | tuple):
            return list(value) == list(default)
        return all(at_default(part, default) for part in value)
    if isinstance(default, str) and callable(value):
        return getattr(value, "__name__", "") == default
    return isinstance(value, bool | int | float | str) and bool(value == default)
