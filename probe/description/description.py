"""What a layer is once its framework is left behind: steps of ops, and names for their axes and
outputs."""

from dataclasses import dataclass

from probe.ops.step import Step

__all__ = ["Description"]


@dataclass(frozen=True, eq=False)
class Description:
    """A layer as steps; its outputs are the outputs of the last one (``ops.Outputs`` gathers those
    of several).

    Axis names are for the report, and so are the names of the outputs where there are several, such
    as ("output", "h_n", "c_n").
    """

    steps: tuple[Step, ...]
    input_axes: tuple[str, ...] = ()
    output_axes: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
