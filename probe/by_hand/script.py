"""What is written of a layer, and what that is written from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from probe.by_hand.values import Order
from probe.description.description import Description, Site
from probe.ops.step import Step

__all__ = ["Computation", "HandScript", "NamedValue", "Statement"]


@dataclass(frozen=True, eq=False)
class Computation:
    """A layer's steps on one set of inputs."""

    steps: Sequence[Step]
    inputs: Sequence[np.ndarray]
    values: Sequence[Sequence[np.ndarray]]
    """The outputs of every step in NumPy: of which a writer may read shapes and dtypes alone."""
    input_names: tuple[str, ...] = ()
    input_notes: tuple[str, ...] = ()
    """What else is to be said of each input."""
    input_axes: tuple[str, ...] = ()
    """What the axes of the first input are called."""
    output_names: tuple[str, ...] = ()
    sites: tuple[Site, ...] = ()
    """Of a layer that is composed of several calls: one for each step."""
    lines: tuple[int | None, ...] = ()
    """Of such a layer: the source line of the model's own that makes the call of each step."""

    @classmethod
    def of(
        cls,
        description: Description,
        inputs: Sequence[np.ndarray],
        values: Sequence[Sequence[np.ndarray]],
    ) -> "Computation":
        """That of a described layer."""
        return cls(
            description.steps,
            inputs,
            values,
            input_axes=description.input_axes,
            output_names=description.output_names,
            sites=description.sites,
        )


class NamedValue(NamedTuple):
    """A name of the script that stands for an output of a step."""

    name: str
    step: int
    output: int
    order: Order
    """As that of a ``Value``."""


@dataclass(frozen=True)
class Statement:
    """Lines that belong together: an assignment, or a loop."""

    lines: tuple[str, ...]
    comment: str = ""
    step: int = -1
    """Which step it is of; -1: of none, it loads something."""
    named: tuple[NamedValue, ...] = ()
    beside: str = ""
    """What stands above it besides: what a mistake does there."""
    section: str = ""
    """Of a composed layer: the module that it belongs to."""


@dataclass(frozen=True, eq=False)
class HandScript:
    """The statements that compute a layer, and the arrays that they load."""

    loads: tuple[Statement, ...]
    statements: tuple[Statement, ...]
    arrays: Mapping[str, np.ndarray]
    helpers: frozenset[str]
    outputs: tuple[str, ...]
    """The names of the layer's outputs."""
    stored: Mapping[int, str] = field(default_factory=dict)
    """Which steps are not written, and why: their values are loaded."""
