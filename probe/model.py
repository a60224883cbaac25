"""What an adapter offers to the rest: a model that lists its layers and pushes their calls to a
callback.

A Protocol and not a base class: adapters share no code through it, and a test can offer one in ten
lines. Everything framework-specific (opening, capture, effective weights, descriptions) stays
behind it; what comes out is NumPy arrays, ``Description`` values and sentences.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from probe.description.description import Description
from probe.listing import Layer

__all__ = ["Capture", "InputSpec", "Model", "OnCall", "StopForward"]


class StopForward(BaseException):
    """Raised by a callback to end a forward pass early; not an Exception, so that no model's own
    handler keeps it."""


@dataclass(frozen=True, eq=False)
class Capture:
    """One call of a layer: copies of its inputs and outputs, and its description read while the
    call was on.

    Arrays are in the framework's own layout; bfloat16 is widened to float32, which is exact.
    """

    layer: str
    kind: str
    call: int
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    dtype: str
    """The precision the layer computes in: "float32", "bfloat16", …"""
    description: Description | None = None
    why: str = ""
    """Why there is no description, or empty."""
    training: bool = False
    """Whether the layer ran in training mode."""
    notes: tuple[str, ...] = ()
    """Sentences about this call that the report must carry."""
    fixed: tuple[int, ...] = ()
    """Which inputs are known not to follow from the model's input, such as a mask that the model
    makes itself."""
    sketches: bool = False
    """Whether the framework's recurrences have a sigmoid and tanh of their own
    (``Precision.sketches``): it is ONNX Runtime."""
    alone: Callable[[], tuple[np.ndarray, ...]] | None = None
    """For a call without description: exports the layer alone with the framework's own exporter and
    runs it in ONNX Runtime."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a model as far as the model says: ``shape`` has None where a size is free;
    ``high`` bounds indices."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    high: int | None = None


OnCall = Callable[[Capture], Sequence[np.ndarray] | None]
"""Receives each call of a wanted layer; arrays that it returns take the place of the layer's
outputs."""


class Model(Protocol):
    """What ``probe.open_model`` returns."""

    source: str
    """The path, or what kind of live object it is."""
    framework: str
    """Name and version of what runs it, such as "keras 3.15.1 on tensorflow 2.21.0"."""
    notes: tuple[str, ...]
    """Sentences about the opening, such as which key of a checkpoint was read."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The atomic layers, in the order of the model's own listing."""

    @property
    def inputs(self) -> tuple[InputSpec, ...] | None:
        """What the model says about its inputs, or None where it says nothing (PyTorch)."""

    def names(self) -> tuple[str, ...]:
        """Every name that can be asked for, containers and inner layers included."""

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        """One forward pass, whose outputs are returned; each call of a wanted layer (None: of every
        atomic one) goes to ``on_call``.

        With nothing wanted the pass is not watched at all.

        Leaves the model as it was: modes, hooks, variables and states. Raises ForwardFailed where
        the model's own forward pass raises, BadInput where an input does not fit.
        """

    def settings(self) -> AbstractContextManager[None]:
        """What the calling thread has set in the framework for itself alone, to be entered in
        another that runs a pass for it."""

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        """The one layer called directly on ``inputs``, otherwise as ``run``."""
