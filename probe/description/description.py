"""What a layer is once its framework is left behind: steps of ops, and the weights they use."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from probe.ops.base import Op

__all__ = ["Description", "Grid", "Layer", "Recipe", "Ref", "Step", "Weight", "field_names", "weights_of"]


@dataclass(frozen=True)
class Layer:
    """One line of ``probe MODEL``: a layer and whether it can be checked."""

    name: str
    kind: str
    checkable: tuple[str, ...] = ()
    """The parties beside the framework that will answer: ``("numpy", "onnx")``, or ``()``."""
    why: str = ""
    """Why it cannot be checked, or empty."""
    output_shape: tuple[int | None, ...] | None = None
    parameters: int = 0


@dataclass(frozen=True, eq=False)
class Grid:
    """The integers behind quantised values: ``effective = scale * (integer - zero_point)``.

    ``scale`` and ``zero_point`` broadcast against the values in the framework's layout.
    """

    scale: "np.ndarray"
    bits: int
    signed: bool = True
    zero_point: "np.ndarray | int" = 0

    def integers(self, effective: "np.ndarray") -> "np.ndarray":
        """The int64 that stands for each value."""
        return ((effective / self.scale).round() + self.zero_point).astype("int64")


@dataclass(frozen=True, eq=False)
class Weight:
    """A parameter as the framework stores it and as the layer uses it, both in the framework's layout.

    ``stored`` is what ``get_weights()`` or ``state_dict()`` gives under ``name``, or None where the file
    holds only ``parts`` of it. ``effective`` is what the layer multiplies by, in the stored dtype
    (bfloat16 widened to float32, exactly). ``steps`` are the words and numbers between the two.
    ``rows`` is the part of the first axis that the op uses, where one parameter holds those of several; ``axes`` and then
    ``shape`` lead from the framework's layout to the op's.
    """

    name: str
    stored: "np.ndarray | None"
    effective: "np.ndarray"
    steps: tuple[str, ...] = ()
    parts: "Mapping[str, np.ndarray]" = field(default_factory=dict)
    axes: tuple[int, ...] | None = None
    shape: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None
    grid: Grid | None = None
    """The integers that the effective values stand for, where they are multiples of a scale."""

    @property
    def value(self) -> "np.ndarray":
        """The effective values in the op's layout (a view wherever NumPy can give one)."""
        return self.to_op(self.effective)

    def to_op(self, array: "np.ndarray") -> "np.ndarray":
        """Any array in the framework's layout, such as ``stored``, brought to the op's layout."""
        array = array if self.rows is None else array[slice(*self.rows)]
        array = array if self.axes is None else array.transpose(self.axes)
        return array if self.shape is None else array.reshape(self.shape)

    def from_op(self, array: "np.ndarray") -> "np.ndarray":
        """The other way round: an array in the op's layout brought to the framework's, where all rows are used."""
        axes = tuple(range(self.effective.ndim)) if self.axes is None else self.axes
        turned = array.reshape([self.effective.shape[axis] for axis in axes])
        return turned.transpose([axes.index(axis) for axis in range(len(axes))])

    def index_of(self, where: tuple) -> tuple:
        """The framework's indices of elements that are named in the op's layout: ``to_op`` the other way round."""
        axes = tuple(range(self.effective.ndim)) if self.axes is None else self.axes
        if self.shape is not None:
            flat = sum(at * step for at, step in zip(where, _steps(self.value.shape), strict=True))
            sizes = self.effective.shape if self.rows is None else (self.rows[1] - self.rows[0], *self.effective.shape[1:])
            turned = [sizes[axis] for axis in axes]
            where = tuple(flat // step % size for size, step in zip(turned, _steps(turned), strict=True))
        back = list(where)
        for axis, at in zip(axes, where, strict=True):
            back[axis] = at
        if self.rows is not None:
            back[0] = back[0] + self.rows[0]
        return tuple(back)


def _steps(sizes: Sequence[int]) -> list[int]:
    """How many elements lie between neighbours on each axis of a row-major array."""
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


@dataclass(frozen=True)
class Ref:
    """An input of a step: output ``index`` of step ``step``, or input ``index`` of the call where ``step`` is -1."""

    step: int
    index: int = 0


@cache
def _before(position: int) -> tuple[Ref, ...]:
    return (Ref(position - 1),)


@dataclass(frozen=True, eq=False)
class Step:
    """One op and what it is applied to; without ``inputs``, to the step before (the first: to the call's first input)."""

    op: "Op"
    inputs: tuple[Ref, ...] | None = None

    def sources(self, position: int) -> tuple[Ref, ...]:
        """The inputs, with the default spelled out for a step at ``position``."""
        return _before(position) if self.inputs is None else self.inputs


class Recipe:
    """Steps being put together; ``put`` adds one and gives the Ref of its output."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def put(self, op: "Op", *inputs: Ref) -> Ref:
        self.steps.append(Step(op, inputs))
        return Ref(len(self.steps) - 1)


@dataclass(frozen=True, eq=False)
class Description:
    """A layer as steps; its outputs are the outputs of the last one (``ops.Outputs`` gathers those of several).

    Axis names are for the report, and so are the names of the outputs where there are several, such as ("output", "h_n", "c_n").
    """

    steps: tuple[Step, ...]
    input_axes: tuple[str, ...] = ()
    output_axes: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()


@cache
def field_names(kind: Any) -> tuple[str, ...]:
    """The names of a dataclass' fields, in their order."""
    return tuple(part.name for part in fields(kind))


def weights_of(steps: tuple[Step, ...]) -> dict[str, Weight]:
    """The weights that the steps use, by the framework's name for them, in the order of use."""
    found: dict[str, Weight] = {}
    for step in steps:
        kind: Any = type(step.op)
        for name in field_names(kind):
            value = getattr(step.op, name)
            if isinstance(value, Weight):
                found.setdefault(value.name, value)
    return found
