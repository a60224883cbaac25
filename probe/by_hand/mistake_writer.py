"""The script of a layer with a mistake in it, in the names of the layer's own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.altered import expressed
from probe.by_hand.altered_elements import pattern, short
from probe.by_hand.counterparts import counterparts
from probe.by_hand.names import Names
from probe.by_hand.registry import Unwritten, is_written
from probe.by_hand.script import Computation, Statement
from probe.by_hand.values import ATOM, SUM, Order, Value, as_tuple, number
from probe.by_hand.weights import WeightNames
from probe.by_hand.writer import HandWriter, Kind, NameKey, same_array
from probe.by_hand.writers.along_axis import over
from probe.ops.base import Elementwise, Op
from probe.ops.step import Ref, weight_fields
from probe.ops.weight import Weight

__all__ = ["MistakeWriter"]


_SYMMETRIC = (ops.Sigmoid, ops.HardSigmoid)
"""Functions of which f(-x) is 1 - f(x)."""


class MistakeWriter(HandWriter):
    """Writes what differs from the layer's own as an expression of that: weights, inputs, and what
    ops that only a search knows make of their input. Raises Unwritten where that is none."""

    def __init__(self, computation: Computation, layer: HandWriter) -> None:
        super().__init__(computation, {})
        self._layer = layer
        self._healthy = layer.computation
        self._counterparts = counterparts(layer.computation, computation)
        self._weights = WeightNames(layer.computation.steps)
        self.plan.call_names = layer.plan.call_names
        self._names = Names({name for names in layer.given.values() for name in names})
        self._locals = {
            name: -1 for key, names in layer.given.items() if key[0] == "local" for name in names
        }
        self._asked: Counter[NameKey] = Counter()
        """How often a name was asked for what has one in the layer."""
        self._replacing: dict[str, Value] = {}
        """What stands under the name of a tensor of the layer in its place."""
        self._taken: list[tuple[Value, np.ndarray]] = []
        """What the step being written is applied to."""
        self.patterns: list[str] = []
        """The lines that make those inputs of the layer of which yours are other patterns."""

    def place(self, position: int) -> int | None:
        """The step of the layer that a step stands for."""
        return self._counterparts.steps.get(position)

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
            return Value(_in_few_digits(array.item()), ())
        if own is None:
            return pattern(array) or self._statistic(array)
        value = self.weight(own)
        for known in (own, *self._weights.others(own)):
            if np.array_equal(known.value, array):
                return self.weight(known)
            if known is not own and np.array_equal(known.effective, weight.effective):
                self.weight(known)
                return self._weights.value(weight, str(self._weights.known(known)))
        if own.stored is not None and own.stored.shape == own.effective.shape:  # not packed
            if np.array_equal(own.to_op(own.stored), array):
                return self._weights.value(own, self._stored_name(own))
        found = expressed(value, own.value, array) or self._combined(value, own, array)
        if found is None:
            raise Unwritten("a weight that is another")
        return found

    def _combined(self, value: Value, own: Weight, array: np.ndarray) -> Value | None:
        """A weight that is the sum of two of the layer's, or whose two rows are made of these."""
        for other in self._weights.others(own):
            if other.value.shape == own.value.shape == array.shape:
                if np.allclose(own.value.astype(np.float64) + other.value, array, rtol=1e-6):
                    text = f"{value.at(SUM)} + {self.plain(self.weight(other)).at(SUM)}"
                    return replace(value, text=text, level=SUM)
        return None

    def rows(self, weight: Weight) -> tuple[str, str]:
        own = self._weights.of(weight)
        if own is None or own.value.shape != weight.value.shape or len(own.value) != 2:
            return super().rows(weight)
        (name, other), (first, second) = super().rows(own), own.value.astype(np.float64)
        made = ((name, first), (other, second), (f"{name} + {other}", first + second))
        texts: list[str | None] = []
        for given in weight.value:
            known = (*made, ("", 0 * first))
            found = (text for text, array in known if np.allclose(array, given, rtol=1e-6))
            texts.append(next(found, None))
        if texts[0] is None or texts[1] is None:
            return super().rows(weight)
        return texts[0], texts[1]

    def own_gate(self, op: Kind, letter: str) -> tuple[Kind, bool]:
        """Whether the weights of a gate, whose function is a sigmoid, are those of the layer times
        -1: the gate is then 1 minus that of the layer's weights."""
        if not isinstance(op, ops.GRU) or not isinstance(op.recurrent_activation, _SYMMETRIC):
            return op, False
        given = weight_fields(op)
        own: dict[str, Any] = {name: self._weights.of(each) for name, each in given.items()}
        columns = op.block(letter)
        for name, weight in given.items():
            mine = own[name]
            if mine is None:
                return op, False
            turned = np.array(mine.value, np.float64)
            turned[..., columns] *= -1
            if not np.array_equal(turned, weight.value):
                return op, False
        return replace(op, **own), True

    def constant(self, hint: str, array: np.ndarray) -> Value:
        array = np.asarray(array)
        if array.ndim == 0 and array.dtype.kind == "f" and self._is_new_constant():
            return Value(_in_few_digits(array.item()), ())
        return pattern(array) or super().constant(hint, array)

    def _is_new_constant(self) -> bool:
        """Whether the step being written is a constant that the layer does not have."""
        op, place = self.computation.steps[self.position].op, self.place(self.position)
        own = None if place is None else self._healthy.steps[place].op
        return isinstance(op, ops.Constant) and op is not own

    def _statistic(self, array: np.ndarray) -> Value:
        """A weight that the layer does not have, as the mean or the variance of the step's input
        along all axes but one."""
        for value, x in self._taken:
            for axis in range(x.ndim) if x.dtype.kind == "f" and x.ndim > 1 else ():
                rest = tuple(at for at in range(x.ndim) if at != axis)
                lying = over([value.axes[at] for at in rest], False)
                for made, text in (
                    (x.mean(rest), f"mean({lying})"),
                    (x.var(rest), f"var({lying})"),
                    (x.var(rest, ddof=1), f"var({lying}, ddof=1)"),
                ):
                    if made.shape == array.shape and np.allclose(made, array, rtol=1e-9):
                        return Value(f"{value.at(ATOM)}.{text}", made.shape)
        raise Unwritten("a weight that the layer does not have")

    def _stored_name(self, weight: Weight) -> str:
        """The name of a weight as it is stored."""
        name = self._weights.stored_name(weight)
        if name is None:
            assert weight.stored is not None
            name = self._names.new(f"stored_{self._weights.hint(weight)}")
            self._load(name, f"stored:{name}", weight.stored)
        return name

    def root(self, variance: Weight, epsilon: float) -> str:
        own = self._weights.of(variance)
        if own is None or own.effective is variance.effective:
            return super().root(variance, epsilon)
        exact, array = own.value.astype(np.float64), variance.value
        name = self.plain(self.weight_of_layer(own)).text
        with np.errstate(all="ignore"):
            for divisor, text in (
                (np.sqrt(exact) + epsilon, f"(np.sqrt({name}) + {number(epsilon)})"),
                (exact + epsilon, f"({name} + {number(epsilon)})"),
            ):
                if np.allclose(np.square(divisor) - epsilon, array, rtol=1e-6, atol=1e-9):
                    return text
        return super().root(variance, epsilon)

    def weight_of_layer(self, weight: Weight) -> Value:
        """One of the layer's own weights."""
        return super().weight(weight)

    def _own_name(self, key: NameKey) -> str | None:
        """What the layer calls the same, None where it has no such thing."""
        kind, position, *rest = key
        if kind in ("step", "local", "constant"):
            place = self._counterparts.steps.get(int(position))
            if place is None:
                return None
            key = (kind, place, *rest)
        names = self._layer.given.get(key, [])
        at = self._asked[key]
        self._asked[key] += 1
        return names[at] if at < len(names) else None

    def _new(self, key: NameKey, hint: str) -> str:
        return self._own_name(key) or super()._new(key, hint)

    def _step_name(self, output: int) -> str:
        ends = self.plan.maker(self.plan.results[0]) == self.position
        if ends and self.place(self.position) is None and len(self.plan.results) == 1:
            return self._new(("step", self.position, output), "y")
        return super()._step_name(output)

    def _local(self, hint: str) -> str:
        name = self._own_name(("local", self.position, hint))
        if name is None or self._held(name):
            return super()._local(hint)
        self._locals[name] = self.position
        return name

    def _stands_alone(self, position: int) -> bool:
        place = self._counterparts.steps.get(position)
        if place is None or self.plan.uses(position) != 1:
            return self.plan.stands_alone(position) and not self._within_new(position)
        return self._layer.plan.stands_alone(place)

    def _within_new(self, position: int) -> bool:
        """Whether a function of each element, that the layer does not have, is applied before
        another that it does not have."""
        if self.place(position) is not None or self.plan.uses(position) != 1:
            return False
        user = self.plan.last_use(position)
        op, steps = self.computation.steps[position].op, self.computation.steps
        return isinstance(op, Elementwise) and user < len(steps) and self.place(user) is None

    def _step_value(self, value: Value, output: int) -> Value:
        place = self._counterparts.steps.get(self.position)
        if place is not None:
            own = self._layer.orders.get((place, output), value.order)
            value = _laid(value, own)
        return super()._step_value(value, output)

    def _of(self, ref: Ref) -> Value:
        value = super()._of(ref)
        mine = self._counterparts.replaced.get((self.position, ref))
        names = [] if mine is None else self._layer.given.get(("step", mine.step, mine.index), [])
        if not names or value.text == names[0]:
            return value
        (name,) = names
        if name not in self._replacing:
            self._state((f"{name} = {value.text}",))
            self._replacing[name] = replace(value, text=name, level=ATOM)
        return self._replacing[name]

    def _input(self, index: int) -> Value:
        own, array = self._healthy.inputs[index], self.computation.inputs[index]
        if same_array(own, array):
            return super()._input(index)
        return self._altered_input(index)

    def _altered_input(self, index: int) -> Value:
        """An input that is another in a mistake, as an expression of the layer's own."""
        own, array = self._healthy.inputs[index], self.computation.inputs[index]
        name = self._new(("input", index), self.plan.input_name(index))
        made, layers = pattern(array), pattern(own)
        if made is not None and layers is not None:
            self._loads.append(Statement((f"{name} = {made.text}",), ""))
            self.patterns.append(f"{name} = {layers.text}")
            value = Value(name, array.shape)
        else:
            self._load(name, f"input_{index}", own)
            found = made or expressed(Value(name, own.shape), own, array)
            if found is None:
                raise Unwritten("an input that is another")
            value = found
        self._inputs[index] = value
        return value

    def _write_op(self, op: Op, taken: Sequence[Value]) -> Any:
        sources = self.computation.steps[self.position].sources(self.position)
        arrays = [ref.of(self.computation.inputs, self.computation.values) for ref in sources]
        self._taken = [*zip(taken, map(_wide, arrays), strict=True)]
        if isinstance(op, ops.Equal | ops.NotEqual) and self._compares_otherwise():
            return self._all_alike()
        if is_written(op):
            return super()._write_op(op, taken)
        return self._expressed(self.position)

    def _compares_otherwise(self) -> bool:
        """Whether the layer compares with another number, and here all elements are alike."""
        made = np.asarray(self.computation.values[self.position][0])
        place = self._counterparts.steps.get(self.position)
        if place is None or not made.size or (made != made.flat[0]).any():
            return False
        own = np.asarray(self._healthy.values[place][0])
        return own.shape == made.shape and not np.array_equal(own, made)

    def _all_alike(self) -> Value:
        """What is true of all elements, or of none."""
        made = np.asarray(self.computation.values[self.position][0])
        return Value(f"np.full({as_tuple(made.shape)}, {bool(made.flat[0])})", made.shape)

    def _expressed(self, position: int) -> Value:
        """What an op of a mistake, which nothing writes, made of its input, from what it gave."""
        made = self.computation.values[position]
        if len(self._taken) == 1 and len(made) == 1:
            ((value, array),) = self._taken
            found = expressed(value, array, np.asarray(made[0]))
            if found is not None:
                return found
        raise Unwritten("an op of the mistake")


def _in_few_digits(value: Any) -> str:
    """A number; one that was fitted, or computed from others, in the digits that are known of
    it."""
    near = short(value) if isinstance(value, float) else value
    return number(near if np.isclose(near, value, rtol=_KNOWN, atol=0) else value)


_KNOWN = 1e-6
"""How far a fitted number lies from the one that is meant, as a share of it."""


def _laid(value: Value, order: Order) -> Value:
    """The value with its axes lying as in that order."""
    wanted = tuple(range(value.rank)) if order is None else order
    if wanted == value.axes or len(wanted) != value.rank:
        return value
    perm = [0] * value.rank
    for mine, theirs in zip(value.axes, wanted, strict=True):
        perm[theirs] = mine
    shape = tuple(value.shape[axis] for axis in perm)
    return Value(f"{value.at(ATOM)}.transpose{as_tuple(perm)}", shape, order)


def _wide(array: np.ndarray) -> np.ndarray:
    """Floats in float64, as ops compute."""
    array = np.asarray(array)
    return array.astype(np.float64) if array.dtype.kind == "f" else array
