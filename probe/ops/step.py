"""One op and what it is applied to; a layer is a short tuple of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from probe.ops.weight import Weight

if TYPE_CHECKING:
    from probe.ops.base import Op

__all__ = ["Ref", "Step", "field_names", "weight_fields", "weights_of"]

T = TypeVar("T")


@dataclass(frozen=True)
class Ref:
    """An input of a step.

    It is output ``index`` of step ``step``, or input ``index`` of the call where ``step`` is -1.
    """

    step: int
    index: int = 0

    def of(self, inputs: Sequence[T] | Mapping[int, T], values: Sequence[Sequence[T]]) -> T:
        """Which of these it names: one for each input of the call, or for each output of each
        step (arrays, shapes, names, ...)."""
        if self.step < 0:
            return inputs[self.index]
        return values[self.step][self.index]


@cache
def _before(position: int) -> tuple[Ref, ...]:
    return (Ref(position - 1),)


@dataclass(frozen=True, eq=False)
class Step:
    """One op and what it is applied to."""

    op: "Op"
    """One of ``probe.ops``."""
    inputs: tuple[Ref, ...] | None = None
    """Without them it is applied to the step before (the first: to the call's first input)."""

    def sources(self, position: int) -> tuple[Ref, ...]:
        """The inputs, with the default spelled out for a step at ``position``."""
        if self.inputs is None:
            return _before(position)
        return self.inputs


@cache
def field_names(kind: Any) -> tuple[str, ...]:
    """The names of a dataclass' fields, in their order."""
    return tuple(part.name for part in fields(kind))


def weight_fields(op: "Op") -> dict[str, Weight]:
    """The weights that an op uses, by the names of its fields."""
    kind: Any = type(op)
    held = {name: getattr(op, name) for name in field_names(kind)}
    return {name: value for name, value in held.items() if isinstance(value, Weight)}


def weights_of(steps: tuple[Step, ...]) -> dict[str, Weight]:
    """The weights that the steps use, by the framework's name for them, in the order of use."""
    found: dict[str, Weight] = {}
    for step in steps:
        for weight in weight_fields(step.op).values():
            found.setdefault(weight.name, weight)
    return found
