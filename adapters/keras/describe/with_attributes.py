"""A layer as a description would see it if some attributes were others."""

from collections.abc import Mapping
from typing import Any

__all__ = ["changed"]


class _WithAttributes:
    def __init__(self, layer: Any, values: Mapping[str, Any]) -> None:
        self._layer, self._values = layer, values

    def __getattr__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        return getattr(self._layer, name)


def changed(layer: Any, **values: Any) -> Any:
    """The layer with these values in place of its attributes."""
    return _WithAttributes(layer, values)
