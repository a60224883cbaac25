"""The walk over a layer's steps: what becomes a statement, what its name is, and what stands within
another's expression."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from probe.by_hand.helpers import HELPERS
from probe.by_hand.names import Names, identifier, words
from probe.by_hand.plan import Plan
from probe.by_hand.registry import Unwritten, writer_of
from probe.by_hand.script import Computation, HandScript, NamedValue, Statement
from probe.by_hand.values import ATOM, Order, Value, array_text, as_tuple, commented, joined, number
from probe.by_hand.weights import WeightNames
from probe.errors import absorbed
from probe.ops.base import Op
from probe.ops.step import Ref
from probe.ops.weight import Weight

__all__ = ["HandWriter", "Kind", "NameKey", "same_array", "written"]

_WRITTEN_OUT = 10
"""So many constants are written, more of them are loaded."""


Kind = TypeVar("Kind", bound=Op)
NameKey = tuple[str | int, ...]
"""What a name is for: ("weight", name), ("input", index), ("output", index), or of a step ("step",
position, output), ("local", position, hint), ("constant", position, hint)."""


def written(computation: Computation, stored: Mapping[int, str] | None = None) -> HandScript:
    """The script of a computation, which is not run; the outputs of the ``stored`` steps are
    loaded, for the reasons that stand there."""
    return HandWriter(computation, stored or {}).script()


class HandWriter:
    """A script under construction: what the functions that write ops ask for and tell."""

    def __init__(self, computation: Computation, stored: Mapping[int, str]) -> None:
        self.computation = computation
        self.stored = dict(stored)
        self.position = -1
        """The step that is being written."""
        self.plan = Plan(computation)
        self._names = Names()
        self.given: dict[NameKey, list[str]] = {}
        """The names that were given, one after the other, by what they are for."""
        self.orders: dict[tuple[int, int], Order] = {}
        """In which order the axes of the named outputs of steps lie."""
        self._locals: dict[str, int] = {}
        """The step that last assigned each name that may be used again."""
        self._loads: list[Statement] = []
        self._statements: list[Statement] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._helpers: set[str] = set()
        self._values: dict[int, tuple[Value, ...]] = {}
        self._weights = WeightNames(computation.steps)
        self._inputs: dict[int, Value] = {}

    # What a function that writes an op asks for

    def weight(self, weight: Weight) -> Value:
        """A weight in the op's layout."""
        known = self._weights.known(weight)
        if known is None:
            known = self._new(("weight", weight.name), self._weights.hint(weight))
            own = self._weights.of(weight) or weight
            for statement, arrays in self._weights.loaded(own, known):
                self._loads.append(statement)
                self._arrays |= arrays
        return self._weights.value(weight, known)

    def own_gate(self, op: Kind, letter: str) -> tuple[Kind, bool]:
        """A recurrence, and whether a gate of it is 1 minus that."""
        return op, False

    def rows(self, weight: Weight) -> tuple[str, str]:
        """The two rows of a weight that holds two biases."""
        name = self.plain(self.weight(weight)).at(ATOM)
        return f"{name}[0]", f"{name}[1]"

    def root(self, variance: Weight, epsilon: float) -> str:
        """The standard deviation that a normalisation divides by."""
        return f"np.sqrt({self.plain(self.weight(variance)).text} + {number(epsilon)})"

    def constant(self, hint: str, array: np.ndarray) -> Value:
        """Numbers that belong to the op: written where they are few, else loaded."""
        array = np.asarray(array)
        if array.ndim == 0:
            return Value(number(array.item()), ())
        if array.ndim == 1 and 0 < array.size <= _WRITTEN_OUT and array.dtype.kind in "biuf":
            return Value(array_text(array), array.shape)
        name = self._new(("constant", self.position, hint), hint)
        self._load(name, f"constant:{name}", array, "a constant of the layer")
        return Value(name, array.shape)

    def result(self, text: str, level: int = ATOM, order: Order = None, output: int = 0) -> Value:
        """The value of an output of the step being written, whose shape is that of NumPy's."""
        own = np.shape(self.computation.values[self.position][output])
        shape = list(own)
        if order is not None:
            for axis, size in zip(order, own, strict=True):
                shape[axis] = size
        return Value(text, tuple(shape), order, level)

    def let(self, hint: str, value: Value, comment: str = "") -> Value:
        """Gives a value a name of its own within the step; another step may use the name again."""
        name = self._local(hint)
        self._state((f"{name} = {value.text}",), commented(value.shape, comment))
        return replace(value, text=name, level=ATOM)

    def named(self, hint: str, value: Value) -> Value:
        """The value under a name, which it is given where it has none: it is used several
        times."""
        if value.is_name or not value.shape:
            return value
        return self.let(hint, value)

    def plain(self, value: Value) -> Value:
        """The value with its axes in the op's order."""
        if value.order is None:
            return value
        turn = f".transpose{as_tuple(value.order)}"
        swapped = (*range(value.rank - 2), value.rank - 1, value.rank - 2)
        if value.rank == 2:
            turn = ".T"
        elif value.order == swapped:
            turn = ".swapaxes(-1, -2)"
        return Value(value.at(ATOM) + turn, value.own_shape)

    def aligned(self, *values: Value) -> tuple[tuple[Value, ...], Order]:
        """The values in one order of axes, so that they broadcast, and that order."""
        orders = {(value.rank, value.order) for value in values if value.shape}
        if len(orders) == 1:
            return values, orders.pop()[1]
        return tuple(self.plain(value) for value in values), None

    def helper(self, name: str) -> str:
        """A function that stands at the head of the script (``HELPERS``)."""
        assert name in HELPERS
        self._helpers.add(name)
        return name

    def block(self, lines: Sequence[str], comment: str = "") -> None:
        """Several lines that belong together, such as a loop."""
        self._state(tuple(lines), comment)

    def local(self, hint: str) -> str:
        """A name for lines of one's own."""
        return self._local(hint)

    def shape(self, output: int = 0) -> tuple[int, ...]:
        """The shape of an output of the step being written, in the op's layout."""
        return np.shape(self.computation.values[self.position][output])

    def dtype(self, output: int = 0) -> np.dtype[Any]:
        """The type of an output of the step being written."""
        return np.asarray(self.computation.values[self.position][output]).dtype

    # The walk

    def script(self) -> HandScript:
        for position in self.plan.needed:
            self._write(position)
        outputs = self._outputs()
        return HandScript(
            tuple(self._loads),
            tuple(self._statements),
            self._arrays,
            frozenset(self._helpers),
            outputs,
            self.stored,
        )

    def _write(self, position: int) -> None:
        self.position = position
        if position not in self.stored:
            try:
                made = self._made(position)
            except Unwritten as reason:
                self.stored[position] = str(reason)
        if position in self.stored:
            self._values[position] = self._loaded(position)
            return
        if self._stands_alone(position):
            made = tuple(self._step_value(value, k) for k, value in enumerate(made))
        self._values[position] = made

    def _stands_alone(self, position: int) -> bool:
        return self.plan.stands_alone(position)

    def _made(self, position: int) -> tuple[Value, ...]:
        step = self.computation.steps[position]
        begun = len(self._statements)
        taken = [self._of(ref) for ref in step.sources(position)]
        try:
            made = self._write_op(step.op, taken)
        except Exception as error:
            del self._statements[begun:]
            if isinstance(error, Unwritten):
                raise
            absorbed(error)
            raise Unwritten(f"{type(step.op).__name__} could not be written") from error
        return made if isinstance(made, tuple) else (made,)

    def _write_op(self, op: Op, taken: Sequence[Value]) -> Any:
        """What the function that writes the op gives."""
        return writer_of(op)(op, self, *taken)

    def _of(self, ref: Ref) -> Value:
        if ref.step < 0:
            return self._input(ref.index)
        return self._values[ref.step][ref.index]

    def _input(self, index: int) -> Value:
        if index not in self._inputs:
            array = self.computation.inputs[index]
            same = next(
                (k for k in self._inputs if same_array(self.computation.inputs[k], array)), None
            )
            if same is not None:
                self._inputs[index] = self._inputs[same]
            else:
                name = self._new(("input", index), self.plan.input_name(index))
                self._load(name, f"input_{index}", array, self.plan.input_note(index))
                self._inputs[index] = Value(name, array.shape)
        return self._inputs[index]

    def _load(self, name: str, key: str, array: np.ndarray, comment: str = "") -> None:
        self._arrays[key] = array
        line = f'{name} = load("{key}")'
        self._loads.append(Statement((line,), commented(np.shape(array), comment)))

    def _loaded(self, position: int) -> tuple[Value, ...]:
        """The outputs of a step that is not written, as they were computed."""
        found = []
        for k, array in enumerate(self.computation.values[position]):
            name = self._new(("step", position, k), self.plan.step_name(position, k))
            key = f"computed:{name}"
            self._arrays[key] = np.asarray(array)
            comment = f"taken as computed: {words(self.stored[position])}"
            named = NamedValue(name, position, k, None)
            self._state((f'{name} = load("{key}")',), comment, (named,))
            found.append(Value(name, np.shape(array)))
        return tuple(found)

    def _step_value(self, value: Value, output: int) -> Value:
        """An output of a step as a statement of its own."""
        last = self._statements[-1] if self._statements else None
        self.orders[self.position, output] = value.order
        if value.is_name and last is not None and last.step == self.position:
            if last.lines[-1].startswith(f"{value.text} = "):
                return self._renamed(value, output)
        if value.is_name:
            return value
        name = self._step_name(output)
        self._state(
            (f"{name} = {value.text}",),
            commented(value.shape, self.plan.source_line(self.position)),
            (NamedValue(name, self.position, output, value.order),),
        )
        return replace(value, text=name, level=ATOM)

    def _step_name(self, output: int) -> str:
        hint = self.plan.step_name(self.position, output)
        return self._new(("step", self.position, output), hint)

    def _renamed(self, value: Value, output: int) -> Value:
        """An output that the op's own last statement made, under the name of the step."""
        name = self._step_name(output)
        last = self._statements.pop()
        line = last.lines[-1].replace(f"{value.text} = ", f"{name} = ", 1)
        self._statements.append(
            replace(
                last,
                lines=(*last.lines[:-1], line),
                comment=joined(last.comment, self.plan.source_line(self.position)),
                named=(NamedValue(name, self.position, output, value.order),),
            )
        )
        return replace(value, text=name)

    def _state(
        self, lines: tuple[str, ...], comment: str = "", named: tuple[NamedValue, ...] = ()
    ) -> None:
        section = self.plan.section(self.position)
        self._statements.append(Statement(lines, comment, self.position, named, section=section))

    def _new(self, key: NameKey, hint: str) -> str:
        """A name that nothing has, for what the key says."""
        name = self._names.new(hint)
        self.given.setdefault(key, []).append(name)
        return name

    def _local(self, hint: str) -> str:
        key = ("local", self.position, hint)
        name = identifier(hint)
        at = self._locals.get(name)
        free = name not in self._names.taken
        if not free and (at is None or at == self.position or self._held(name)):
            name = self._new(key, name)
        else:
            self.given.setdefault(key, []).append(name)
        self._names.taken.add(name)
        self._locals[name] = self.position
        return name

    def _held(self, name: str) -> bool:
        """Whether an expression that is not yet part of a statement holds the name."""
        mention = re.compile(rf"\b{name}\b")
        return any(
            mention.search(value.text)
            for position, values in self._values.items()
            if self.plan.last_use(position) >= self.position
            for value in values
        )

    def _outputs(self) -> tuple[str, ...]:
        last = len(self.computation.steps) - 1
        refs = self.plan.results
        found = []
        for k, ref in enumerate(refs):
            value = self.plain(self._of(ref))
            if not (value.is_name and self.plan.composed):
                self.position = self.plan.maker(ref)
                name = self._new(("output", k), self.plan.output_name(k, len(refs)))
                self._state(
                    (f"{name} = {value.text}",),
                    commented(value.shape, ""),
                    (NamedValue(name, last, k, None),),
                )
                value = replace(value, text=name, level=ATOM)
            found.append(value.text)
        return tuple(found)


def same_array(left: np.ndarray, right: np.ndarray) -> bool:
    return left is right or (
        left.shape == right.shape
        and left.dtype == right.dtype
        and left.tobytes() == right.tobytes()
    )
