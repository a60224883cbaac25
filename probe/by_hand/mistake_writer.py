"""The script of a layer with a mistake in it, in the names of the layer's own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.by_hand.altered import expressed
from probe.by_hand.registry import Unwritten, is_written
from probe.by_hand.script import Computation
from probe.by_hand.values import Value, number
from probe.by_hand.weights import WeightNames
from probe.by_hand.writer import HandWriter, same_array
from probe.ops.base import Op
from probe.ops.weight import Weight

__all__ = ["MistakeWriter"]


class MistakeWriter(HandWriter):
    """Writes what differs from the layer's own as an expression of that: weights, inputs, and what
    ops that only a search knows make of their input. Raises Unwritten where that is none."""

    def __init__(self, computation: Computation, healthy: Computation) -> None:
        super().__init__(computation, {})
        self._healthy = healthy
        self._weights = WeightNames(healthy.steps)

    def weight(self, weight: Weight) -> Value:
        altered = self._altered_weight(weight)
        if altered is not None:
            return altered
        return super().weight(weight)

    def _altered_weight(self, weight: Weight) -> Value | None:
        """A weight that is another in a mistake, as an expression of the layer's own; None where
        it is that."""
        own = self._weights.of(weight)
        if own is not None and own.effective is weight.effective:
            return None
        array = weight.value
        if own is None and array.size == 1:
            return Value(number(array.item()), ())
        if own is None:
            raise Unwritten("a weight that the layer does not have")
        value = self.weight(own)
        for known in (own, *self._weights.others(own)):
            if np.array_equal(known.value, array):
                return self.weight(known)
        if own.stored is not None and np.array_equal(own.to_op(own.stored), array):
            return self._weights.value(own, self._stored_name(own))
        found = expressed(value, own.value, array)
        if found is None:
            raise Unwritten("a weight that is another")
        return found

    def _stored_name(self, weight: Weight) -> str:
        """The name of a weight as it is stored."""
        name = self._weights.stored_name(weight)
        if name is None:
            assert weight.stored is not None
            name = self._names.new(f"stored_{self._weights.hint(weight)}")
            self._load(name, f"stored:{name}", weight.stored)
        return name

    def _input(self, index: int) -> Value:
        own, array = self._healthy.inputs[index], self.computation.inputs[index]
        if same_array(own, array):
            return super()._input(index)
        return self._altered_input(index)

    def _altered_input(self, index: int) -> Value:
        """An input that is another in a mistake, as an expression of the layer's own."""
        own, array = self._healthy.inputs[index], self.computation.inputs[index]
        name = self._names.new(self._plan.input_name(index))
        self._load(name, f"input_{index}", own)
        value = expressed(Value(name, own.shape), own, array)
        if value is None:
            raise Unwritten("an input that is another")
        self._inputs[index] = value
        return value

    def _write_op(self, op: Op, taken: Sequence[Value]) -> Any:
        if is_written(op):
            return super()._write_op(op, taken)
        return self._expressed(self.position, taken)

    def _expressed(self, position: int, taken: Sequence[Value]) -> Value:
        """What an op of a mistake, which nothing writes, made of its input, from what it gave."""
        step, values = self.computation.steps[position], self.computation.values
        if len(taken) == 1 and len(values[position]) == 1:
            array = step.sources(position)[0].of(self.computation.inputs, values)
            found = expressed(taken[0], np.asarray(array), np.asarray(values[position][0]))
            if found is not None:
                return found
        raise Unwritten("an op of the mistake")
