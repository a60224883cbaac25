"""What a layer is once its framework is left behind: steps of ops, and names for their axes and
outputs."""

from dataclasses import dataclass

from probe.ops.step import Step

__all__ = ["Description"]


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
