"""Recurrences whose cell is another, by hand: the loop of the layer's own script around the steps
of the cell."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.altered import expressed
from probe.by_hand.registry import Unwritten, is_written, writes
from probe.by_hand.script import Computation
from probe.by_hand.values import ATOM, Value
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.recurrent import StepLoop, biases, walked
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.edits.recurrent_decompositions import GateSum, Scanned
from probe.ops.base import Op
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.trial.edit import Steps

__all__ = ["scanned_by_hand"]

_SUMS = {
    "the sum of the input gate": "i",
    "the sum of the forget gate": "f",
    "the sum of the candidate": "g",
    "the sum of the output gate": "o",
}
"""What the script of an LSTM gives a name."""
_GATES = {"the update gate": "z", "the reset gate": "r", "the candidate": "n"}
"""What that of a GRU does."""


@writes(Scanned)
def scanned_by_hand(
    op: Scanned, w: HandWriter, *values: Value, body: Steps | None = None
) -> tuple[Value, ...]:
    """The loop over the steps; ``body``: of a cell that was changed to that."""
    if op.carried or op.again or op.reset or op.in_place or op.zero_states or op.shown or op.first:
        raise Unwritten("a recurrence whose states are other ones")
    if op.spatial:
        raise Unwritten("a recurrence of maps")
    whole = replace(op.whole, reverse=op.reverse, zero_masked=op.zero_masked)
    hints = ["h", "c"][: len(op.sizes)]

    def cell(loop: StepLoop) -> list[str]:
        return _Cell(w, op, body or op.body, loop).states()

    return walked(whole, w, values, hints, cell, f"a recurrence of {op.sizes[0]} units")


class _Cell(HandWriter):
    """The steps of a cell, written into the loop."""

    def __init__(self, w: HandWriter, op: Scanned, body: Steps, loop: StepLoop) -> None:
        given = _middle(w, op)
        super().__init__(Computation(body, given, recompute(body, given)), {})
        self._outer, self._loop = w, loop
        self._names, self._helpers = w._names, w._helpers
        self._loads, self._arrays = w._loads, w._arrays
        self._blocks = _blocks(op.whole, w)
        told = _SUMS if len(op.sizes) > 1 else _GATES
        words = {
            id(step.op): told.get(word, "") for step, word in zip(op.body, op.words, strict=True)
        }
        self._called = {at: words.get(id(step.op), "") for at, step in enumerate(body)}
        results = self.plan.results
        for number, ref in enumerate(results):
            if ref.step >= 0:
                self._called[ref.step] = self._state_name(number, ref.step)

    def _state_name(self, number: int, position: int) -> str:
        """What a new state is called: as the old one where nothing takes that any more."""
        name, steps = self._loop.states[number], self.computation.steps
        later = any(
            ref == Ref(-1, 1 + number)
            for at, step in enumerate(steps)
            if at > position
            for ref in step.sources(at)
        )
        return f"{name}_new" if later or self._loop.masked else name

    def states(self) -> list[str]:
        """The texts of the new states; the statements before them are in the loop."""
        for position in self.plan.needed:
            self._write(position)
            for statement in self._statements:
                self._loop.lines.extend(statement.lines)
            self._statements.clear()
        if self.stored:
            raise Unwritten("a step of the cell")
        return [self.plain(self._of(ref)).text for ref in self.plan.results]

    def _stands_alone(self, position: int) -> bool:
        step = self.computation.steps[position]
        trivial = isinstance(step.op, ops.Parameter | ops.Constant)
        return bool(self._called[position]) or (self.plan.uses(position) > 1 and not trivial)

    def _step_name(self, output: int) -> str:
        called = self._called[self.position]
        if called in self._loop.states:
            return called
        return self._outer.local(called or "part")

    def _local(self, hint: str) -> str:
        return self._outer.local(hint)

    def _input(self, index: int) -> Value:
        text = self._loop.taken[index - 1] if index else self._loop.x
        return Value(text, self.computation.inputs[index].shape)

    def _write_op(self, op: Op, taken: Sequence[Value]) -> Any:
        if is_written(op) or len(taken) != 1:
            return super()._write_op(op, taken)
        step, own = self.computation.steps[self.position], self.computation
        (ref,) = step.sources(self.position)
        made = expressed(taken[0], ref.of(own.inputs, own.values), own.values[self.position][0])
        if made is None:
            raise Unwritten("a step of the cell")
        return made

    def weight(self, weight: Weight) -> Value:
        known = self._blocks.get(weight.name)
        if known is None:
            raise Unwritten("a weight that the cell does not have")
        value, array = known
        if np.array_equal(array, weight.value):
            return value
        made = expressed(value, array, weight.value)
        if made is None:
            raise Unwritten("a weight that is another")
        return made


def _middle(w: HandWriter, op: Scanned) -> tuple[np.ndarray, ...]:
    """What a cell is given in the middle of the sequence: the input and the states."""
    own = w.computation
    sources = own.steps[w.position].sources(w.position)
    inputs = [ref.of(own.inputs, own.values) for ref in sources]
    states, middle = op.begun(inputs), len(inputs[0]) // 2
    for t in range(middle):
        states = op.next_states(inputs[0][t], states)
    return (inputs[0][middle], *states)


def _blocks(op: Any, w: HandWriter) -> Mapping[str, tuple[Value, np.ndarray]]:
    """The parts of the weights that belong to each gate, by their names."""
    alone = "the state" if isinstance(op, ops.RNN) else ""
    texts = [text.removeprefix(" + ") for text in biases(op, w)]
    found: dict[str, tuple[Value, np.ndarray]] = {}
    for letter in op.gates if not alone else "h":
        gate, columns = GateSum(op, letter, alone), op.block(letter)
        cut = "" if alone else f"{columns.start}:{columns.stop}"
        for block, weight in ((gate.kernel, op.kernel), (gate.recurrent, op.recurrent)):
            whole = w.plain(w.weight(weight)).at(ATOM)
            text = f"{whole}[:, {cut}]" if cut else whole
            found[block.name] = Value(text, block.value.shape), block.value
        for bias, text in zip(gate.biases, texts, strict=True):
            if bias is not None:
                text = f"{text}[{cut}]" if cut else text
                found[bias.name] = Value(text, bias.value.shape), bias.value
    if getattr(op, "projection", None) is not None:
        projected = op.projection
        found[projected.name] = w.weight(projected), projected.value
    return found
