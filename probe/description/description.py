"""What a layer is once its framework is left behind: steps of ops, and names for their axes and
outputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from probe.ops.step import Step

__all__ = ["Description", "Site", "Taken"]


class Site(NamedTuple):
    """Where a step of a composed layer comes from."""

    call: str
    """The call that it is a part of, named from the container."""
    dtype: str
    """The precision which that computes in."""
    part: int
    """Its place among the calls of the container (``Capture.parts``); -1: of none."""
    function: str = ""
    """Of a call of a function what the framework calls it; "" of a layer's."""
    code: str = ""
    """The line of the model's own source that makes the call, with its place."""
    expression: str = ""
    """What of that line the call is."""


class Taken(NamedTuple):
    """An input of a composed layer that a call within it gave."""

    input: int
    call: int
    """Which of the calls of the container (``Capture.parts``); -1: none that was captured."""
    why: str
    """Why it is not computed; "" for integers and booleans, which such a call is checked on by
    itself: of almost equal numbers either may come first."""


@dataclass(frozen=True, eq=False)
class Description:
    """A layer as steps, and names for the report."""

    steps: tuple[Step, ...]
    """The outputs of the last one are the layer's (``ops.Outputs`` gathers those of several)."""
    input_axes: tuple[str, ...] = ()
    """What the axes of the first input are called."""
    output_axes: tuple[str, ...] = ()
    """The same of the first output."""
    output_names: tuple[str, ...] = ()
    """What the outputs are called where there are several, such as ("output", "h_n", "c_n")."""
    sites: tuple[Site, ...] = ()
    """Of a layer that is composed of several calls: one for each step."""
    taken: tuple[Taken, ...] = ()
    """Of such a layer: what is not computed again from its own inputs, but taken as it was
    captured."""
    kernels: Callable[[], Mapping[str, tuple[Step, ...]]] | None = None
    """Where an engine computes in its own way, and others do the same in theirs: whose kernel ->
    its steps, that which ran first; asked where values differ."""
