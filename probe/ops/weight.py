"""A parameter as the framework stores it and as the layer uses it, and the integers behind it where
it is quantised."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Grid", "Weight", "grid_fits", "leads_to_op", "numbered", "one_parameter", "zero_bias"]


@dataclass(frozen=True, eq=False)
class Grid:
    """The integers behind quantised values: ``effective = scale * (integer - zero_point)``.

    ``scale`` and ``zero_point`` broadcast against the values in the framework's layout.
    """

    scale: "np.ndarray"
    bits: int
    signed: bool = True
    zero_point: "np.ndarray | int" = 0
    in_steps: bool = False
    """Whether ``effective`` is ``integer - zero_point`` alone, which is what a layer multiplies
    that computes in integers."""

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest integer."""
        if self.signed:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return 0, (1 << self.bits) - 1

    def integers(self, effective: "np.ndarray") -> "np.ndarray":
        """The int64 that stands for each value."""
        steps = effective if self.in_steps else effective / self.scale
        return (steps.round() + self.zero_point).astype("int64")

    def numbers(self, effective: "np.ndarray") -> "np.ndarray":
        """The real number that each value stands for."""
        if self.in_steps:
            return effective * self.scale
        return effective


@dataclass(frozen=True, eq=False, repr=False)
class Weight:
    """A parameter as the framework stores it and as the layer uses it, both in the framework's
    layout.

    ``stored`` is what ``get_weights()`` or ``state_dict()`` gives under ``name``, or None where the
    file holds only ``parts`` of it. ``effective`` is what the layer multiplies by, in the stored
    dtype (bfloat16 widened to float32, exactly). ``steps`` are the words and numbers between the
    two. ``rows`` is the part of the first axis that the op uses, where one parameter holds those of
    several; ``axes`` and then ``shape`` lead from the framework's layout to the op's.
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

    def __repr__(self) -> str:
        shape = ", ".join(map(str, self.effective.shape))
        return f"<Weight {self.name} ({shape}) {self.effective.dtype}>"

    @property
    def value(self) -> "np.ndarray":
        """The effective values in the op's layout (a view wherever NumPy can give one)."""
        return self.to_op(self.effective)

    @property
    def step(self) -> "np.ndarray | None":
        """The distance between neighbouring values of each entry, in the op's layout; None where
        there is no grid."""
        if self.grid is None:
            return None
        import numpy as np  # noqa: PLC0415 - a listing does without it

        scale = 1.0 if self.grid.in_steps else self.grid.scale
        return self.to_op(np.broadcast_to(np.asarray(scale, np.float64), self.effective.shape))

    def to_op(self, array: "np.ndarray") -> "np.ndarray":
        """Any array in the framework's layout, such as ``stored``, brought to the op's layout."""
        if self.rows is not None:
            array = array[slice(*self.rows)]
        if self.axes is not None:
            array = array.transpose(self.axes)
        if self.shape is None:
            return array
        return array.reshape(self.shape)

    def _order(self) -> tuple[int, ...]:
        """The framework's axes in the op's order."""
        if self.axes is None:
            return tuple(range(self.effective.ndim))
        return self.axes

    def from_op(self, array: "np.ndarray") -> "np.ndarray":
        """The other way round: an array in the op's layout brought to the framework's, where all
        rows are used."""
        axes = self._order()
        turned = array.reshape([self.effective.shape[axis] for axis in axes])
        return turned.transpose([axes.index(axis) for axis in range(len(axes))])

    def index_of(self, where: tuple[Any, ...]) -> tuple[Any, ...]:
        """The framework's indices of elements that are named in the op's layout: ``to_op`` the
        other way round."""
        axes = self._order()
        if self.shape is not None:
            flat = sum(at * step for at, step in zip(where, _steps(self.value.shape), strict=True))
            if self.rows is None:
                sizes = self.effective.shape
            else:
                sizes = (self.rows[1] - self.rows[0], *self.effective.shape[1:])
            turned = [sizes[axis] for axis in axes]
            where = tuple(
                flat // step % size for size, step in zip(turned, _steps(turned), strict=True)
            )
        back = list(where)
        for axis, at in zip(axes, where, strict=True):
            back[axis] = at
        if self.rows is not None:
            back[0] = back[0] + self.rows[0]
        return tuple(back)


def _steps(sizes: Sequence[int]) -> list[int]:
    """How many elements lie between neighbours on each axis of a row-major array."""
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


def leads_to_op(weight: Weight) -> bool:
    """Whether its rows are rows of the array, its axes are the array's, and its shape, in which one
    size may be -1 as in NumPy's reshape, holds as many values."""
    sizes = weight.effective.shape
    if weight.rows is not None:
        first, end = weight.rows
        if not (sizes and 0 <= first <= end <= sizes[0]):
            return False
        sizes = (end - first, *sizes[1:])
    if weight.axes is not None and sorted(weight.axes) != list(range(len(sizes))):
        return False
    shape, count = sizes if weight.shape is None else weight.shape, math.prod(sizes)
    if shape.count(-1) == 1:
        rest = -math.prod(shape)
        shape = tuple(count // rest if size == -1 and rest > 0 else size for size in shape)
    return all(size >= 0 for size in shape) and math.prod(shape) == count


def grid_fits(grid: Grid | None, codes: "np.ndarray") -> bool:
    """Whether the codes can be what the grid says: its scales are for all of them, or for places
    on their axes, and its integers have a length that arrays have."""
    if grid is None:
        return True
    parts = (getattr(part, "shape", ()) for part in (grid.scale, grid.zero_point))
    return 1 <= grid.bits <= 64 and all(
        len(shape) in (0, codes.ndim)
        and all(size in (1, length) for size, length in zip(shape, codes.shape, strict=False))
        for shape in parts
    )


def numbered(weights: Iterable[Weight]) -> dict[str, Weight]:
    """The weights by name, each parameter once; a number stands behind the name of one whose name
    another parameter has."""
    found: dict[str, Weight] = {}
    for weight in weights:
        key, number = weight.name, 1
        while key in found and not one_parameter(found[key], weight):
            number += 1
            key = f"{weight.name} ({number})"
        found.setdefault(key, weight)
    return found


def one_parameter(first: Weight, second: Weight) -> bool:
    """Whether two are made of the same parameter, whichever part of it either is."""
    mine, theirs = first.effective, second.effective
    return mine is theirs or (
        (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        and mine.tobytes() == theirs.tobytes()
    )


def zero_bias(bias: Weight | None) -> list[str]:
    """What goes undetected where a bias is zero."""
    if bias is None or bias.effective.any():
        return []
    return [f"{bias.name} is all zero, so omitting it would not change the output"]
