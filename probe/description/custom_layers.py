"""Layers of the user's own, told by the user: as steps of ops, or as a NumPy function of their
inputs.

A registration holds for that very class, since a subclass may compute something else.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from probe import printable
from probe.description.description import Description
from probe.errors import BadInput, Undescribed
from probe.ops import Op, Recomputed
from probe.ops.step import Ref, Step

__all__ = ["describe_registered", "describes", "recomputes", "registered"]

Function = TypeVar("Function", bound=Callable[..., Any])

_OWN: dict[type, Callable[[Any, Any], Any]] = {}


class Call(Protocol):
    """What an adapter knows about a call of the layer, as far as it is asked here."""

    @property
    def inputs(self) -> Sequence[np.ndarray]:
        """What the layer received, in the framework's layout."""


def describes(cls: type) -> Callable[[Function], Function]:
    """Registers what layers of the user's own class compute, as steps of ``probe.ops``.

    The decorated ``function(layer, call)`` returns an op, a sequence of ops (each applied to what
    the one before gave) or Steps, or a Description. ``call.inputs`` are the arrays that the layer
    received, ``call.x`` is the first; ``call.weight("name")`` reads a parameter of a PyTorch
    module, ``call.weight("name", layer.variable)`` a variable of a Keras layer. Layouts are ONNX's:
    (batch, channel, *spatial).

    Args:
        cls: The class; a subclass of it may compute something else, and is registered by itself.

    Returns:
        A decorator that gives the function back as it is.
    """

    _refuse_other_than_a_class(cls)

    def register(function: Function) -> Function:
        _OWN[cls] = function
        return function

    return register


def recomputes(cls: type) -> Callable[[Function], Function]:
    """Registers a NumPy function that computes layers of the user's own class.

    The decorated ``function(layer, *inputs)`` receives the layer's inputs as arrays in float64, in
    the framework's layout, and returns an array, or a tuple of arrays for several outputs. There is
    then no second opinion of ONNX Runtime, and what rounding may do is estimated by running the
    function on moved inputs.

    Args:
        cls: The class; a subclass of it may compute something else, and is registered by itself.

    Returns:
        A decorator that gives the function back as it is.
    """

    _refuse_other_than_a_class(cls)

    def register(function: Function) -> Function:
        _OWN[cls] = lambda layer, call: Step(
            Recomputed(function, layer), tuple(Ref(-1, at) for at in range(len(call.inputs)))
        )
        return function

    return register


def _refuse_other_than_a_class(cls: object) -> None:
    if not isinstance(cls, type):
        raise BadInput(f"a registration is for a class of layers; you gave {printable.kind(cls)}")


def registered(layer: object) -> bool:
    """Whether the user has told what layers of this very class compute."""
    return type(layer) in _OWN


def describe_registered(layer: object, call: Call) -> Description:
    """The steps of one call of a layer whose class is registered."""
    told = _OWN[type(layer)](layer, call)
    if isinstance(told, Description):
        return told
    parts: Sequence[Any] = told if isinstance(told, list | tuple) else (told,)
    steps = tuple(Step(part) if isinstance(part, Op) else part for part in parts)
    if not steps or not all(isinstance(step, Step) for step in steps):
        raise Undescribed(
            f"the function registered for {type(layer).__name__} must return an op, steps or "
            f"a Description; it returned {type(told).__name__}"
        )
    return Description(steps)
