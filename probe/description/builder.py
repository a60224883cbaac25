"""Steps put together one by one: under every adapter's describers, and the hypotheses."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from probe.description.description import Description
from probe.errors import Undescribed
from probe.ops import Constant, Op, Outputs, Parameter, Reshape
from probe.ops.step import Ref, Step
from probe.ops.weight import Weight

__all__ = ["Builder", "Value", "followed_by"]

Value = Ref | Weight | np.ndarray | float | int | bool
"""What an op is applied to: an input or the output of a step, a weight, an array or a number."""


class Builder:
    """Steps under construction: ``add`` applies an op, ``include`` takes in another description,
    ``ended`` gives the steps.

    An adapter's own says besides what its framework makes of a number (``constant``).
    """

    single: ClassVar[type[Op]] = Outputs
    """What a single output goes through that is not what the last step gives."""

    def __init__(
        self, inputs: Sequence[np.ndarray] = (), outputs: Sequence[np.ndarray] = ()
    ) -> None:
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        """The arrays of the call, where they are known."""
        self.steps: list[Step] = []
        self._shapes: dict[int, tuple[int, ...]] = {}

    @property
    def last(self) -> Ref:
        """The output of the last step."""
        return Ref(len(self.steps) - 1)

    def add(self, op: Op, *inputs: Value, shape: Sequence[int] | None = None) -> Ref:
        """Applies an op, whose outputs have that shape where it is known."""
        return self._append(op, tuple([self.ref(value) for value in inputs]), shape)

    def include(self, steps: Sequence[Step], *inputs: Value) -> tuple[Ref, ...]:
        """All steps of another description, on these inputs in place of its own (none: on its own);
        gives its outputs."""
        given = [self.ref(value) for value in inputs]
        before = len(self.steps)

        def moved(ref: Ref) -> Ref:
            if ref.step >= 0:
                return Ref(before + ref.step, ref.index)
            if given:
                return given[ref.index]
            return ref

        for position, step in enumerate(steps):
            refs = tuple(map(moved, step.sources(position)))
            if position == len(steps) - 1 and isinstance(step.op, Outputs):
                return refs
            self._append(step.op, refs)
        return (self.last,)

    def ended(self, *outputs: Ref) -> tuple[Step, ...]:
        """The steps, with these as the outputs of the last one."""
        if len(outputs) > 1:
            self._append(Outputs(), outputs)
        elif outputs and (
            not self.steps or outputs[0] != self.last or self.steps[-1].op.output_count != 1
        ):
            self._append(self.single(), outputs)
        return tuple(self.steps)

    def ref(self, value: Value) -> Ref:
        """What a step takes for a value; a weight, an array or a number is a step of its own."""
        if isinstance(value, Ref):
            return value
        if isinstance(value, Weight):
            return self._append(Parameter(weight=value), (), value.value.shape)
        array = self.constant(value)
        return self._append(Constant(value=array), (), array.shape)

    def constant(self, value: Any) -> np.ndarray:
        """An array or a number in the type that the framework computes with."""
        return np.asarray(value)

    def array(self, value: Value) -> np.ndarray:
        """The numbers of an input of the call, a weight, an array or a number."""
        if isinstance(value, Ref):
            if value.step >= 0:
                raise Undescribed("a value that is not an argument")
            return self.inputs[value.index]
        if isinstance(value, Weight):
            return value.value
        return np.asarray(value)

    def shape(self, value: Value) -> tuple[int, ...]:
        if isinstance(value, Ref) and value.step in self._shapes:
            return self._shapes[value.step]
        return self.array(value).shape

    def rank(self, value: Value) -> int:
        return len(self.shape(value))

    def reshaped(self, value: Value) -> Ref:
        """The elements in the shape of the call's output."""
        shape = self.outputs[0].shape
        return self.add(Reshape(shape=shape), value, shape=shape)

    def _append(self, op: Op, inputs: tuple[Ref, ...], shape: Sequence[int] | None = None) -> Ref:
        self.steps.append(Step(op, inputs))
        if shape is not None:
            self._shapes[len(self.steps) - 1] = tuple(int(size) for size in shape)
        return self.last


def followed_by(description: Description, *more: Op) -> Description:
    """The layer with these ops behind its only output."""
    build = Builder()
    (y,) = build.include(description.steps)
    for op in more:
        y = build.add(op, y)
    return replace(description, steps=build.ended(y))
