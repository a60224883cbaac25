"""One call of a layer, as the description functions see it."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from probe.description import Description, Ref, Step
from probe.errors import Undescribed

from .variables import Reader, cast, read_variable

__all__ = ["Describer", "KerasCall", "Tracer"]

Describer = Callable[[Any, "KerasCall"], Description]


class Tracer(Protocol):
    """What follows code of the user's own through the operations that it makes; Undescribed where
    that fails."""

    def followed(self, layer: Any, call: "KerasCall") -> Description:
        """The steps of a layer."""

    def function_steps(
        self, function: Callable[[Any], Any], x: np.ndarray, call: "KerasCall"
    ) -> tuple[Step, ...]:
        """The steps of a function of one tensor, called on ``x``."""


class _Untraced:
    def followed(self, layer: Any, call: "KerasCall") -> Description:
        raise Undescribed("the call was not traced")

    def function_steps(
        self, function: Callable[[Any], Any], x: np.ndarray, call: "KerasCall"
    ) -> tuple[Step, ...]:
        raise Undescribed("the call was not traced")


@dataclass(frozen=True, eq=False)
class KerasCall:
    """One call of a layer, as the description functions see it; ``inputs`` are as ``layer.call``
    received them."""

    layer: Any
    namespace: Any
    """The module keras or tf_keras."""
    inputs: tuple[np.ndarray, ...]
    dtype: str
    """The layer's compute dtype: "float32", "bfloat16", …"""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What ``layer.call`` received, by name; a tensor anywhere in it is the ``Ref`` of that input,
    a mask's of one after the inputs."""
    watched: Collection[str] = ()
    """Methods that the capture itself has replaced on the instance for as long as it watches."""
    read: Reader | None = None
    """How a variable becomes a weight; without it as ``read_variable`` does."""
    carried: tuple[Ref | None, ...] = ()
    """The mask that each input carries, where any does: Keras 3's merging layers read them from the
    tensors, not from an argument."""
    masks: tuple[np.ndarray, ...] = ()
    """The masks among the arguments and then those that inputs carry, which Refs count after the
    inputs."""
    states: Mapping[int, tuple[np.ndarray, ...]] = field(default_factory=dict)
    """What the stateful recurrences in it held before the call, by the layers' ids."""
    outputs: tuple[np.ndarray, ...] | None = None
    """What the call gave, where that is known."""
    tracer: Tracer = field(default_factory=_Untraced)
    begun: Callable[[], AbstractContextManager[None]] = nullcontext
    """Puts the layer back, for as long as it is entered, to what the call began with."""
    assigned: str = ""
    """The names of the variables that the call has assigned to, in words."""

    @property
    def legacy(self) -> bool:
        """Whether this is Keras 2 (tf_keras, and QKeras on it)."""
        return bool(self.namespace.__name__ != "keras")

    @property
    def backend(self) -> str:
        """What computes it: "tensorflow", and for Keras 3 also "torch", "jax", …"""
        return "tensorflow" if self.legacy else self.namespace.backend.backend()

    def early(self, value: Any) -> np.ndarray:
        """A number as an operation has it that makes it a tensor before it looks at the other one.

        On TensorFlow that is one of float32, and both are then widened to one type; on PyTorch one
        of ``floatx``, which is then brought to the type of the tensor that has axes. Keras 2 asks
        for that type at once.
        """
        if self.legacy:
            return cast(np.asarray(value, np.float64), self.dtype)
        if self.backend == "tensorflow":
            return np.asarray(value, np.float32)
        return cast(cast(np.asarray(value, np.float64), self.namespace.config.floatx()), self.dtype)

    @property
    def training(self) -> bool:
        """Whether the layer was told that it is in training; Keras passes True, 1 or an eager
        tensor."""
        return bool(self.arguments.get("training"))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the (first) input."""
        return self.inputs[0].shape

    def weight(
        self,
        name: str,
        variable: Any,
        axes: tuple[int, ...] | None = None,
        shape: tuple[int, ...] | None = None,
        cast: bool = True,
    ) -> Any:
        """The variable as a Weight, or None for None. ``cast`` False where the layer uses it in the
        dtype it is stored in."""
        if variable is None:
            return None
        read = self.read or read_variable(self.namespace)
        weight = read(name, variable, self.dtype if cast else None)
        if axes is None and shape is None:
            return weight
        return replace(weight, axes=axes, shape=shape)
