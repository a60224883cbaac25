"""Recurrences by the steps of their cells."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.decompositions import Decomposition, Parts, X
from probe.ops.base import Arrays, Elementwise, Op
from probe.ops.step import Ref, weights_of
from probe.ops.weight import Weight
from probe.trial.edit import Steps
from probe.trial.prices import multiplied, price

__all__ = ["RECURRENCES", "C", "GateSum", "H", "Scanned"]


_INNER_STEP = 1_000.0
"""The price of a step of a cell, which is run without what large arrays need."""


@dataclass(frozen=True, eq=False)
class Scanned(Op):
    """A recurrence by the steps of its cell: (x of one step, states) -> the next states.

    ``first`` is what each state without initial values begins with. With ``carried`` each sample
    begins with the states that the one before ended in, with ``again`` with those that the same
    sample ends in, and with ``reset`` they begin anew each time that so many steps are done. The
    output is the state ``shown``.
    """

    narrows = True

    body: Steps
    words: tuple[str, ...]
    sizes: tuple[int, ...]
    reverse: bool = False
    has_mask: bool = False
    has_states: bool = False
    zero_masked: bool = False
    first: tuple[float, ...] = ()
    carried: bool = False
    again: bool = False
    reset: int = 0
    shown: int = 0
    zero_states: bool = False
    """Whether a step that is skipped sets the states to 0, and with them its output."""
    whole: Any = None
    """The op of the layer."""
    in_place: bool = False
    """Whether each unit of a state overwrites the old one before the next unit is computed."""
    spatial: tuple[int, ...] = ()
    """The sizes of the axes that each unit of a state has, where the states are maps."""
    held: dict[tuple[int, np.dtype], tuple[Op, np.ndarray]] = field(default_factory=dict)
    """What the parameters of the cell are, of this one and of those that it is changed to."""

    def begun(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        if self.has_states:
            return tuple(inputs[1 + self.has_mask :])
        batch, dtype = inputs[0].shape[1], inputs[0].dtype
        first = self.first or (0.0,) * len(self.sizes)
        return tuple(
            np.full((batch, size, *self.spatial), value, dtype)
            for size, value in zip(self.sizes, first, strict=True)
        )

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        if self.carried:
            return self._carried(inputs)
        begun = self.begun(inputs)
        return self._scanned(inputs, self._scanned(inputs, begun)[1:] if self.again else begun)

    def _carried(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        states = tuple(state[:1] for state in self.begun(inputs))
        parts = []
        for at in range(inputs[0].shape[1]):
            first_step = [x[:, at : at + 1] for x in inputs[: 1 + self.has_mask]]
            parts.append(self._scanned(first_step, states))
            states = parts[-1][1:]
        out, *rest = zip(*parts, strict=True)
        return (np.concatenate(out, axis=1), *(np.concatenate(states) for states in rest))

    def _scanned(
        self, inputs: Sequence[np.ndarray], states: tuple[np.ndarray, ...]
    ) -> tuple[np.ndarray, ...]:
        x, mask = inputs[0], inputs[1] != 0 if self.has_mask else None
        begun, out = states, np.zeros((len(x), *states[self.shown].shape), x.dtype)
        held = np.zeros_like(states[self.shown])
        shares = self._ahead(x)
        times = range(len(x) - 1, -1, -1) if self.reverse else range(len(x))
        for done, t in enumerate(times):
            states = begun if self.reset and done % self.reset == 0 else states
            after = (self._one_by_one if self.in_place else self._step)(x[t], states, shares, t)
            if mask is None:
                out[t] = after[self.shown]
            else:
                keep = mask[t].reshape(-1, 1, *(1,) * len(self.spatial))
                after = tuple(
                    np.where(keep, new, 0.0 if self.zero_states else old)
                    for new, old in zip(after, states, strict=True)
                )
                shown = 0.0 if self.zero_masked or self.zero_states else held
                held = np.where(keep, after[self.shown], shown)
                out[t] = held
            states = after
        return (out, *states)

    def _one_by_one(
        self,
        x: np.ndarray,
        states: Sequence[np.ndarray],
        ahead: dict[int, tuple[np.ndarray, bool]],
        t: int,
    ) -> tuple[np.ndarray, ...]:
        now = [state.copy() for state in states]
        for unit in range(max(state.shape[-1] for state in now)):
            for state, new in zip(now, self._step(x, now, ahead, t), strict=True):
                if unit < state.shape[-1]:
                    state[..., unit] = new[..., unit]
        return tuple(now)

    def next_states(self, x: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        return self._step(x, states, self._ahead(x[None]), 0)

    def _ahead(self, x: np.ndarray) -> dict[int, tuple[np.ndarray, bool]]:
        """What takes no state, for all steps of the sequence at once, and whether it takes x."""
        found: dict[int, tuple[np.ndarray, bool]] = {}
        for position, step in enumerate(self.body):
            sources = step.sources(position)
            if isinstance(step.op, ops.Conv):
                continue
            if all(ref.step in found or (ref.step < 0 and not ref.index) for ref in sources):
                given = [found[ref.step][0] if ref.step >= 0 else x for ref in sources]
                takes = any(ref.step < 0 or found[ref.step][1] for ref in sources)
                if not sources:
                    key = (id(step.op), x.dtype)
                    if key not in self.held:
                        self.held[key] = step.op, step.op.run()[0].astype(x.dtype)
                    found[position] = self.held[key][1], False
                else:
                    found[position] = step.op.run(*given)[0], takes
        return found

    def _step(
        self,
        x: np.ndarray,
        states: Sequence[np.ndarray],
        ahead: dict[int, tuple[np.ndarray, bool]],
        t: int,
    ) -> tuple[np.ndarray, ...]:
        given, values = (x, *states), list[Any]()
        for position, (run, refs) in enumerate(self._plan):
            if (known := ahead.get(position)) is not None:
                values.append(known[0][t] if known[1] else known[0])
            else:
                values.append(run(*[given[at] if step < 0 else values[step] for step, at in refs]))
        return tuple(values[-1])

    @cached_property
    def _plan(self) -> list[tuple[Callable[..., Any], list[tuple[int, int]]]]:
        """What each step of the body runs, and on what; the last one gives all states."""
        return [
            (_quick(step.op), [(ref.step, ref.index) for ref in step.sources(position)])
            for position, step in enumerate(self.body)
        ]


@price.register
def _(op: Scanned, inputs: Arrays, outputs: Arrays) -> float:
    steps, batch = inputs[0].shape[:2]
    held: int = sum(weight.value.size for weight in weights_of(op.body).values())
    times: int = steps * (batch if op.carried else 1) * (1 + op.again)
    times *= max(op.sizes) if op.in_place else 1
    rows = batch * math.prod(op.spatial)
    return times * (len(op.body) * _INNER_STEP + multiplied(held, rows))


def _quick(op: Op) -> Callable[..., Any]:
    """The function of an op of one output, without what only large arrays need."""
    if isinstance(op, Elementwise) and op.pointwise:
        return op.f
    if isinstance(op, ops.Add | ops.Sub | ops.Mul):
        return lambda x, *more: reduce(type(op).function, more, x)
    if isinstance(op, ops.Outputs):
        return op.run
    return lambda *given: op.run(*given)[0]


_GATES = {"i": "input gate", "f": "forget gate", "o": "output gate", "g": "candidate"}
_GATES |= {"z": "update gate", "r": "reset gate", "h": "candidate"}


def _block(weight: Weight, name: str, array: np.ndarray) -> Weight:
    return Weight(f"{weight.name} of {name}", None, np.asarray(array, np.float64))


class GateSum:
    """The products of one gate with the input and the state, and their biases."""

    def __init__(self, op: Any, letter: str, alone: str) -> None:
        self.name = alone or f"the {_GATES[letter]}"
        columns = op.block(letter)
        self.kernel = _block(op.kernel, self.name, op.kernel.value[:, columns])
        self.recurrent = _block(op.recurrent, self.name, op.recurrent.value[:, columns])
        self.biases: list[Weight | None] = []
        for which, bias in zip(("", "recurrent "), op.biases(), strict=True):
            own = None
            if bias is not None:
                own = Weight(f"the {which}bias of {self.name}", None, bias[columns])
            self.biases.append(own)

    def of_input(self, to: Parts) -> Ref:
        kernel = to.weight(self.kernel, self.kernel.value.shape)
        share = to.add(f"the input term of {self.name}", ops.Product(), X, kernel)
        return self._with(to, share, 0)

    def of_state(self, to: Parts, state: Ref) -> Ref:
        kernel = to.weight(self.recurrent, self.recurrent.value.shape)
        share = to.add(f"the recurrent term of {self.name}", ops.Product(), state, kernel)
        return self._with(to, share, 1)

    def _with(self, to: Parts, y: Ref, which: int) -> Ref:
        bias = self.biases[which]
        if bias is None:
            return y
        return to.add(
            f"a term of {self.name} with its bias", ops.Add(), y, to.weight(bias, bias.value.shape)
        )

    def summed(self, to: Parts, state: Ref) -> Ref:
        return to.add(
            f"the sum of {self.name}", ops.Add(), self.of_input(to), self.of_state(to, state)
        )


H, C = Ref(-1, 1), Ref(-1, 2)
"""The hidden and the cell state that a step begins with."""


def _lstm(op: ops.LSTM, to: Parts) -> tuple[Ref, ...]:
    gates = {}
    for letter in "ifog":
        function = op.activation if letter == "g" else op.recurrent_activation
        summed = GateSum(op, letter, "").summed(to, H)
        gates[letter] = to.add(f"the {_GATES[letter]}", function, summed)
    h, cell = _of_gates(op, to, gates)
    if op.projection is not None:
        h = to.add("the projected state", ops.MatMul(op.projection, None), h)
    return h, cell


def _of_gates(op: ops.LSTM, to: Parts, gates: Mapping[str, Ref]) -> tuple[Ref, Ref]:
    kept = to.add("the product of forget gate and cell state", ops.Mul(), gates["f"], C)
    new = to.add("the product of input gate and candidate", ops.Mul(), gates["i"], gates["g"])
    cell = to.add("the cell state", ops.Add(), kept, new)
    shown = to.add("the activated cell state", op.activation, cell)
    return to.add("the state", ops.Mul(), gates["o"], shown), cell


def _gru(op: ops.GRU, to: Parts) -> tuple[Ref, ...]:
    z = to.add("the update gate", op.recurrent_activation, GateSum(op, "z", "").summed(to, H))
    r = to.add("the reset gate", op.recurrent_activation, GateSum(op, "r", "").summed(to, H))
    gate = GateSum(op, "h", "")
    share = gate.of_input(to)
    if op.reset_after:
        inner = to.add(
            "the product of reset gate and recurrent term", ops.Mul(), r, gate.of_state(to, H)
        )
    else:
        inner = gate.of_state(to, to.add("the product of reset gate and state", ops.Mul(), r, H))
    n = to.add("the candidate", op.activation, to.add("the sum", ops.Add(), share, inner))
    kept = to.add("the product of update gate and state", ops.Mul(), z, H)
    rest = to.add("1 - the update gate", ops.Sub(), to.number("1", 1.0), z)
    return (
        to.add(
            "the new state",
            ops.Add(),
            kept,
            to.add("the product of 1 - update gate and candidate", ops.Mul(), rest, n),
        ),
    )


def _rnn(op: ops.RNN, to: Parts) -> tuple[Ref, ...]:
    return (to.add("the new state", op.activation, GateSum(op, "h", "the state").summed(to, H)),)


def _conv_lstm(op: ops.ConvLSTM, to: Parts) -> tuple[Ref, ...]:
    """The two convolutions are of all gates together: what is done to one is done to all."""
    share = to.add("the input's convolution", op.inward(), X)
    summed = to.add("the sum", ops.Add(), share, to.add("the state's convolution", op.onward(), H))
    given = [bias for bias in op.biases() if bias is not None]
    if given:
        bias = Weight("the bias", None, np.asarray(sum(given), np.float64))
        shape = (len(bias.value), *(1,) * len(op.strides))
        summed = to.add("the sum with its bias", ops.Add(), summed, to.weight(bias, shape))
    gates = {}
    for letter in "ifog":
        function = op.activation if letter == "g" else op.recurrent_activation
        block, name = op.block(letter), f"the {_GATES[letter]}"
        part = ops.Slice((0, block.start), (None, block.stop))
        gates[letter] = to.add(name, function, to.add(f"the sum of {name}", part, summed))
    return _of_gates(op, to, gates)


_CELLS: dict[type, Callable[[Any, Parts], tuple[Ref, ...]]] = {
    ops.LSTM: _lstm,
    ops.GRU: _gru,
    ops.RNN: _rnn,
    ops.ConvLSTM: _conv_lstm,
}


def _recurrence(op: Any, to: Parts) -> Ref | None:
    if op.state_quantizer is not None or op.product_quantizer is not None:
        return None
    if isinstance(op, ops.GRU) and not op.fits:
        return None
    cell = Parts(())
    cell.add("the states", ops.Outputs(), *_CELLS[type(op)](op, cell))
    shapes = op.state_shapes(np.zeros(to.shapes[0]))
    sizes, spatial = tuple(shape[1] for shape in shapes), tuple(shapes[0][2:])
    flags = {
        name: getattr(op, name) for name in ("reverse", "has_mask", "has_states", "zero_masked")
    }
    given = tuple(Ref(-1, k) for k in range(len(to.shapes)))
    return to.add(
        "the recurrence",
        Scanned(tuple(cell.steps), tuple(cell.words), sizes, whole=op, spatial=spatial, **flags),
        *given,
    )


RECURRENCES: dict[type, Decomposition] = dict.fromkeys(_CELLS, _recurrence)
