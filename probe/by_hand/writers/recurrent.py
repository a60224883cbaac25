"""Recurrences: the loop over the steps, and what a cell does in one."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from probe import ops
from probe.by_hand.registry import Unwritten, writer_of, writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, TEST, Value, as_tuple
from probe.by_hand.writer import HandWriter
from probe.ops.base import Op
from probe.ops.weight import Weight

__all__ = ["StepLoop", "applied", "biases", "gate_sums", "gate_words", "split_gates", "walked"]

_GATES = {
    "LSTM": {"i": "input", "f": "forget", "g": "candidate", "o": "output"},
    "GRU": {"z": "update", "r": "reset", "h": "candidate"},
}
_LETTERS = {"LSTM": {letter: letter for letter in "ifgo"}, "GRU": {"z": "z", "r": "r", "h": "n"}}


class StepLoop(NamedTuple):
    """What the lines of a loop are made of."""

    w: HandWriter
    x: str
    """The input of a step."""
    units: tuple[int, int]
    """The batch and the units of one gate."""
    states: Sequence[str]
    """The names of the states."""
    taken: Sequence[str]
    """Their names as a step takes them."""
    lines: list[str]
    masked: bool
    """Whether a step may be skipped."""

    def state(self, number: int, text: str) -> str:
        """A statement that makes a new state; its name, another one where a step may be skipped."""
        if self.masked:
            return self.let(f"{self.states[number]}_new", text)
        self.lines.append(f"{self.states[number]} = {text}")
        return self.states[number]

    def let(self, hint: str, text: str) -> str:
        """A statement of the loop; its name."""
        name = self.w.local(hint)
        self.lines.append(f"{name} = {text}")
        return name


def applied(w: HandWriter, op: Op, name: str, shape: Sequence[int], level: int = ATOM) -> str:
    """A function of each element of a named value, as an expression within a loop."""
    found = _expression(w, op, Value(name, tuple(shape)), level)
    if found is None:
        raise Unwritten(f"an activation that takes several statements ({type(op).__name__})")
    return found


def _expression(w: HandWriter, op: Op, value: Value, level: int) -> str | None:
    """What a function makes of a value, where that is one expression."""
    before = len(w._statements)
    made = writer_of(op)(op, w, value)
    alone = len(w._statements) == before
    del w._statements[before:]
    if isinstance(made, tuple) or made.order is not None or not alone:
        return None
    return str(made.at(level))


@writes(ops.RNN)
def _rnn(op: ops.RNN, w: HandWriter, *values: Value) -> tuple[Value, ...]:
    def cell(loop: StepLoop) -> list[str]:
        z = loop.let("z", gate_sums(op, loop))
        return [applied(loop.w, op.activation, z, loop.units)]

    comment = f"a recurrence of {op.width} units"
    return walked(op, w, values, ["h"], cell, comment)


@writes(ops.LSTM)
def _lstm(op: ops.LSTM, w: HandWriter, *values: Value) -> tuple[Value, ...]:
    def cell(loop: StepLoop) -> list[str]:
        z = loop.let("z", gate_sums(op, loop))
        names = split_gates(op, loop, z, "LSTM")
        gates = {
            letter: applied(w, op.recurrent_activation, names[letter], loop.units, PRODUCT)
            for letter in "ifo"
        }
        new = applied(w, op.activation, names["g"], loop.units, PRODUCT + 1)
        c = loop.state(1, f"{gates['f']} * {loop.taken[1]} + {gates['i']} * {new}")
        h = f"{gates['o']} * {applied(w, op.activation, c, loop.units, PRODUCT + 1)}"
        if op.projection is not None:
            h = f"({h}) @ {w.plain(w.weight(op.projection)).at(ATOM)}"
        return [h, c]

    return walked(op, w, values, ["h", "c"], cell, gate_words(op, "LSTM"))


@writes(ops.GRU)
def _gru(op: ops.GRU, w: HandWriter, *values: Value) -> tuple[Value, ...]:
    def cell(loop: StepLoop) -> list[str]:
        gates, letters = len(op.gates), [_LETTERS["GRU"][letter] for letter in op.gates]
        first, second = biases(op, w)
        kernel, recurrent = _products(op, w)
        h = loop.taken[0]
        parts = _named(loop, letters, "x")
        share = f"{loop.x} @ {kernel}{first if op.reset_after else first + second}"
        loop.lines.append(f"{', '.join(parts.values())} = np.split({share}, {gates}, axis=-1)")
        if op.reset_after:
            states = _named(loop, letters, "h")
            product = f"{_multiplied(op, loop)} @ {recurrent}{second}"
            split = f"np.split({product}, {gates}, axis=-1)"
            loop.lines.append(f"{', '.join(states.values())} = {split}")
            z = _gate(op, loop, "z", f"{parts['z']} + {states['z']}")
            r = _gate(op, loop, "r", f"{parts['r']} + {states['r']}")
            inner = f"{r} * {_bounded(op, loop, states['n'])}"
        else:
            states = _beside(op, loop, recurrent, letters)
            z = _gate(op, loop, "z", f"{parts['z']} + {states['z']}")
            r = _gate(op, loop, "r", f"{parts['r']} + {states['r']}")
            reset = loop.let("reset", f"{r} * {h}")
            inner = f"{_bounded(op, loop, reset)} @ {_block(op, recurrent, 'h')}"
        n = _activated(op.activation, loop, "n", f"{parts['n']} + {inner}")
        if turned:
            return [f"(1 - {z}) * {h} + {z} * {n}"]
        return [f"{z} * {h} + (1 - {z}) * {n}"]

    op, turned = w.own_gate(op, "z")
    return walked(op, w, values, ["h"], cell, gate_words(op, "GRU"))


def _named(loop: StepLoop, letters: Sequence[str], before: str) -> dict[str, str]:
    return {letter: loop.w.local(f"{before}{letter}") for letter in letters}


def _beside(op: ops.GRU, loop: StepLoop, recurrent: str, letters: Sequence[str]) -> dict[str, str]:
    """What the state gives to the two gates, without the candidate: as one product where they lie
    in front of that."""
    given = _multiplied(op, loop)
    if op.gates[-1] != "h":
        return {letter: f"{given} @ {_block(op, recurrent, letter)}" for letter in "zr"}
    states = _named(loop, letters[:-1], "h")
    product = f"{given} @ {recurrent}[:, :{op.block('h').start}]"
    loop.lines.append(f"{', '.join(states.values())} = np.split({product}, 2, axis=-1)")
    return states


def _gate(op: ops.GRU, loop: StepLoop, letter: str, text: str) -> str:
    """A gate between 0 and 1."""
    function = op.recurrent_activation
    if letter == "r" and op.reset_activation is not None:
        function = op.reset_activation
    return _activated(function, loop, letter, text)


def _activated(function: Op, loop: StepLoop, letter: str, text: str) -> str:
    """A statement that takes a function of a sum; its name."""
    found = _expression(loop.w, function, Value(text, loop.units, None, SUM), TEST)
    if found is None:
        name = loop.let(letter, text)
        found = applied(loop.w, function, name, loop.units, TEST)
    return loop.let(letter, found)


def _bounded(op: ops.GRU, loop: StepLoop, name: str) -> str:
    if op.reset_quantizer is None:
        return name
    return applied(loop.w, op.reset_quantizer, name, loop.units)


def _block(op: ops.GRU, recurrent: str, letter: str) -> str:
    block = op.block(letter)
    return f"{recurrent}[:, {block.start}:{block.stop}]"


def _multiplied(op: ops.RNN | ops.LSTM | ops.GRU, loop: StepLoop) -> str:
    """The state as its product takes it."""
    if op.product_quantizer is None:
        return loop.taken[0]
    return applied(loop.w, op.product_quantizer, loop.taken[0], loop.units)


def gate_sums(op: ops.RNN | ops.LSTM, loop: StepLoop) -> str:
    """The sum that all gates are made of."""
    first, second = biases(op, loop.w)
    kernel, recurrent = _products(op, loop.w)
    return f"{loop.x} @ {kernel} + {_multiplied(op, loop)} @ {recurrent}{first}{second}"


def _products(op: ops.RNN | ops.LSTM | ops.GRU, w: HandWriter) -> tuple[str, str]:
    kernel, recurrent = (w.plain(w.weight(part)) for part in (op.kernel, op.recurrent))
    return kernel.at(ATOM), recurrent.at(ATOM)


def biases(op: ops.RNN | ops.LSTM | ops.GRU, w: HandWriter) -> tuple[str, str]:
    """What is added for the two biases: that of the input's product, and that of the state's."""

    def vector(weight: Weight | None) -> str:
        value = None if weight is None else w.plain(w.weight(weight))
        return "" if value is None or value.is_zero else value.at(ATOM)

    if op.bias is not None and op.bias.value.ndim == 2:
        first, second = w.rows(op.bias)
    else:
        first, second = vector(op.bias), vector(op.recurrent_bias)
    return (f" + {first}" if first else ""), (f" + {second}" if second else "")


def split_gates(op: ops.LSTM, loop: StepLoop, z: str, kind: str) -> dict[str, str]:
    """A name for each gate's columns."""
    names = {letter: loop.w.local(_LETTERS[kind][letter]) for letter in op.gates}
    loop.lines.append(f"{', '.join(names.values())} = np.split({z}, {len(op.gates)}, axis=-1)")
    return names


def gate_words(op: ops.LSTM | ops.GRU, kind: str) -> str:
    gates = ", ".join(f"{_LETTERS[kind][gate]} ({_GATES[kind][gate]})" for gate in op.gates)
    return f"{kind} of {op.width} units; gates side by side, {op.width} columns each: {gates}"


def walked(
    op: ops.RNN | ops.LSTM | ops.GRU,
    w: HandWriter,
    values: Sequence[Value],
    hints: Sequence[str],
    cell: Callable[[StepLoop], list[str]],
    comment: str,
) -> tuple[Value, ...]:
    """The loop over the steps, around the texts of the new states that ``cell`` gives."""
    x, *rest = values
    x = w.named("values", x)
    if x.order is not None and sorted(x.axes[1:]) != list(x.axes[1:]):
        x = w.named("values", w.plain(x))
    if op.product_quantizer is not None and op.has_mask:
        raise Unwritten("a mask beside a state that is quantised for its product")
    mask = w.named("mask", w.plain(rest.pop(0))) if op.has_mask else None
    steps, batch = x.own_shape[:2]
    begun = [w.plain(state) for state in rest]
    names = [w.local(hint) for hint in hints]
    outputs, t, shown = w.local("outputs"), w.local("t"), w.local("shown")
    at = f"{x.text}[{':, ' * x.axes[0]}{t}]"
    shapes = [w.shape(1 + k) for k in range(len(names))]
    lines = [
        f"{name} = {begun[k].text if begun else f'np.zeros({as_tuple(shapes[k])})'}"
        for k, name in enumerate(names)
    ]
    if mask is not None:
        lines.append(f"{shown} = np.zeros({as_tuple(shapes[0])})")
    lines.append(f"{outputs} = [None] * {steps}")
    order = f"reversed(range({steps}))" if op.reverse else f"range({steps})"
    lines.append(f"for {t} in {order}:")
    loop = StepLoop(
        w, at, (batch, op.width), names, _taken(op, w, names, shapes), [], mask is not None
    )
    _quantise(op, loop, shapes)
    texts = cell(loop)
    spread = ", None" * (len(shapes[0]) - 1)
    kept = "" if mask is None else f"{mask.text}[{t}][:{spread}] != 0"
    _advance(op, loop, texts, kept, (outputs, t, shown))
    lines += [f"    {line}" for line in loop.lines]
    w.block(lines, comment)
    sequence = _stacked(w, outputs, x)
    return (sequence, *(Value(name, shape) for name, shape in zip(names, shapes, strict=True)))


def _taken(
    op: ops.RNN | ops.LSTM | ops.GRU, w: HandWriter, names: Sequence[str], shapes: Sequence[object]
) -> list[str]:
    """What the states are called as a step takes them."""
    if op.state_quantizer is None:
        return list(names)
    return [w.local(f"{name}_quantized") for name in names]


def _quantise(
    op: ops.RNN | ops.LSTM | ops.GRU, loop: StepLoop, shapes: Sequence[tuple[int, ...]]
) -> None:
    if op.state_quantizer is None:
        return
    for name, taken, shape in zip(loop.states, loop.taken, shapes, strict=True):
        loop.lines.append(f"{taken} = {applied(loop.w, op.state_quantizer, name, shape)}")


def _advance(
    op: ops.RNN | ops.LSTM | ops.GRU,
    loop: StepLoop,
    texts: Sequence[str],
    kept: str,
    names: tuple[str, str, str],
) -> None:
    """The new states, which a step that the mask hides does not take."""
    outputs, t, shown = names
    if not kept:
        pairs = list(zip(loop.states, texts, strict=True))
        loop.lines.extend(f"{name} = {text}" for name, text in pairs if name != text)
        loop.lines.append(f"{outputs}[{t}] = {loop.states[0]}")
        return
    keep = loop.let("keep", kept)
    new = [
        text if text.isidentifier() else loop.let(f"{name}_new", text)
        for name, text in zip(loop.states, texts, strict=True)
    ]
    loop.lines.extend(
        f"{name} = np.where({keep}, {text}, {name})"
        for name, text in zip(loop.states, new, strict=True)
    )
    before = "0" if op.zero_masked else shown
    loop.lines.append(f"{shown} = np.where({keep}, {new[0]}, {before})")
    loop.lines.append(f"{outputs}[{t}] = {shown}")


def _stacked(w: HandWriter, outputs: str, x: Value) -> Value:
    """The sequence, with the steps where those of the input lie."""
    shape = list(w.shape())
    lying = [0] * len(shape)
    for axis, at in enumerate(x.axes):
        lying[at] = shape[axis]
    text = f"np.stack({outputs}, axis={x.axes[0]})"
    return w.let("sequence", Value(text, tuple(lying), x.order))
