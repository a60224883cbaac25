"""The two sides of a comparison: models, or arrays by names that another program wrote."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum

import numpy as np

from probe import printable
from probe.capture.printed_tensors import PrintedTensor
from probe.capture.run import ModelLike, opened
from probe.capture.user_arrays import as_array, holds_numbers
from probe.errors import BadInput, ForwardFailed, ProbeError
from probe.model import ComputesInCodes, Model, OutputsAlone, recorded
from probe.model_comparison.declared_axes import Axes

__all__ = ["ArraysAlone", "Side", "declare_axes", "in_numbers", "opened_side", "told_of"]


class Side(Enum):
    """One of the two that are compared."""

    A = "A"
    B = "B"

    @property
    def other(self) -> "Side":
        if self is Side.A:
            return Side.B
        return Side.A


@contextmanager
def told_of(side: Side, hint: str = "") -> Iterator[None]:
    """What goes wrong within is said of that side, where it does not say so itself, and then the
    hint."""
    try:
        yield
    except ProbeError as error:
        said = str(error)
        if not said.startswith(("A ", "A's ", "A: ", "B ", "B's ", "B: ")):
            more = hint if isinstance(error, BadInput | ForwardFailed) else ""
            error.args = (f"{side.value}: {said}{more}",)
        raise


class ArraysAlone:
    """Arrays by names, and where they come from: outputs alone."""

    def __init__(self, arrays: Mapping[str, np.ndarray | PrintedTensor], source: str) -> None:
        self.source = source
        self.printed = {
            name: array for name, array in arrays.items() if isinstance(array, PrintedTensor)
        }
        whole = {
            name: array for name, array in arrays.items() if not isinstance(array, PrintedTensor)
        }
        self.arrays = {name: array for name, array in whole.items() if holds_numbers(array)}
        self.notes: tuple[str, ...] = ()
        self.axes: Axes | None = None
        if not self.arrays and not self.printed:
            raise BadInput(f"{source} holds no arrays of real numbers")
        if others := [repr(name) for name in whole if name not in self.arrays]:
            self.notes = (
                f"{printable.several(others)} of {source} holds no real numbers and is not "
                "compared",
            )


def opened_side(source: ModelLike | Mapping[str, object]) -> Model | ArraysAlone:
    """What one side is; CannotOpen where it is neither a model nor arrays."""
    if isinstance(source, Mapping):
        arrays = {
            str(name): as_array(array, f"the array {name!r}") for name, array in source.items()
        }
        return ArraysAlone(arrays, f"{len(arrays)} arrays by name")
    model = opened(source)
    if isinstance(model, OutputsAlone):
        return ArraysAlone(model.outputs_alone(), model.source)
    return model


def declare_axes(sides: Iterable[Model | ArraysAlone], axes: Axes | None) -> None:
    """Notes the order of the axes of arrays; BadInput where both sides are models."""
    if axes is None:
        return
    alone = [side for side in sides if isinstance(side, ArraysAlone)]
    if not alone:
        raise BadInput(
            "axes (--axes) is the order of axes of arrays that another program wrote, and both "
            "sides are models: leave it out"
        )
    for side in alone:
        side.axes = axes


def in_numbers(
    a: Model | ArraysAlone, b: Model | ArraysAlone, drawn: bool
) -> tuple[list[Model | ArraysAlone], tuple[str, ...]]:
    """Both sides, a model of integers with the numbers that these stand for in their place where
    the other one is a model of floats, arrays by the layers of a model of integers; and what is
    said of that. BadInput where the input is drawn."""
    sides = [a, b]
    for model, alone in ((a, b), (b, a)):
        if isinstance(model, ComputesInCodes) and isinstance(alone, ArraysAlone):
            alone.arrays, words = model.dumped(alone.arrays)
            return sides, tuple(f"{alone.source}: {note}" for note in words)
    found = [
        side.in_real_numbers() if isinstance(side, ComputesInCodes) else None for side in sides
    ]
    if found.count(None) != 1 or ArraysAlone in map(type, sides):
        return sides, ()
    at = 1 - found.index(None)
    seen, side, other = found[at], list(Side)[at], sides[1 - at]
    assert seen is not None and not isinstance(other, ArraysAlone)
    if drawn and recorded(other) is None:
        raise BadInput(
            f"{side.value} computes with integers, whose ranges were chosen for real inputs: give "
            "one (x=, --input), since drawn values lie beyond them"
        )
    sides[at] = seen
    return sides, tuple(f"{side.value}: {note}" for note in seen.notes)
