"""What QKeras takes for an activation, as steps; and a layer without its own."""

from collections.abc import Mapping
from typing import Any

from probe.layer import Step

from ..keras.activation import activation_steps
from ..keras.description import Call
from .quantizers import function_ops, quantizer_ops

__all__ = ["activated", "without_activation"]


def activated(function: Any, call: Call, ndim: int) -> tuple[Step, ...]:
    """The steps of a quantizer, of a function of QKeras' own, or of one of Keras', on a tensor of ``ndim`` axes."""
    if function is not None and (
        function_ops(function) is not None or str(getattr(function, "__module__", "")).partition(".")[0] == "qkeras"
    ):
        return tuple(Step(op) for op in quantizer_ops(function, ndim, "its output goes through"))
    return activation_steps(function, call, ndim)


class _Changed:
    def __init__(self, layer: Any, values: Mapping[str, Any]) -> None:
        self._layer, self._values = layer, values

    def __getattr__(self, name: str) -> Any:
        return self._values[name] if name in self._values else getattr(self._layer, name)


def without_activation(layer: Any, **values: Any) -> Any:
    """The layer as it would be without its fused activation, and with these values of other attributes."""
    return _Changed(layer, {"activation": None, **values})
