"""What QKeras takes for an activation, as steps; and a layer without its own."""

from collections.abc import Mapping
from typing import Any

from probe.layer import Step

from .quantizers import quantizer_ops

__all__ = ["quantizer_steps", "without_activation"]


def quantizer_steps(function: Any, ndim: int) -> tuple[Step, ...]:
    """The steps of a quantizer, or of a function of QKeras' own, on a tensor of ``ndim`` axes."""
    return tuple(Step(op) for op in quantizer_ops(function, ndim, "its output goes through"))


class _Changed:
    def __init__(self, layer: Any, values: Mapping[str, Any]) -> None:
        self._layer, self._values = layer, values

    def __getattr__(self, name: str) -> Any:
        return self._values[name] if name in self._values else getattr(self._layer, name)


def without_activation(layer: Any, **values: Any) -> Any:
    """The layer as it would be without its fused activation, and with these values of other attributes."""
    return _Changed(layer, {"activation": None, **values})
