"""Recurrences beside the plain ones: cells that their gates see, and states that are maps."""

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import PRODUCT, Value, as_tuple, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.recurrent import (
    StepLoop,
    applied,
    biases,
    gate_sums,
    gate_words,
    split_gates,
    walked,
)
from probe.by_hand.writers.shape import pairs

_SPACE, _TAPS = {1: "t", 2: "hw", 3: "dhw"}, {1: "i", 2: "ij", 3: "ijk"}


@writes(ops.PeepholeLSTM)
def _peephole_lstm(op: ops.PeepholeLSTM, w: HandWriter, *values: Value) -> tuple[Value, ...]:
    if op.projection is not None or op.state_quantizer is not None:
        raise Unwritten("peepholes beside a projection")
    peeps = None if op.peepholes is None else w.plain(w.weight(op.peepholes)).text

    def cell(loop: StepLoop) -> list[str]:
        z = loop.let("z", gate_sums(op, loop))
        names, c = split_gates(op, loop, z, "LSTM"), loop.taken[1]

        def gate(letter: str, row: int, seen: str) -> str:
            text = names[letter]
            if peeps is not None:
                text = loop.let(letter, f"{text} + {peeps}[{row}] * {seen}")
            return loop.let(letter, applied(w, op.recurrent_activation, text, loop.units))

        i = gate("i", 0, c)
        f = f"(1 - {i})" if op.coupled else gate("f", 2, c)
        new = applied(w, op.activation, names["g"], loop.units, PRODUCT + 1)
        text = f"{f} * {c} + {i} * {new}"
        if op.cell_clip:
            text = f"np.clip({text}, {number(-op.cell_clip)}, {number(op.cell_clip)})"
        after = loop.state(1, text)
        o = gate("o", 1, after)
        return [f"{o} * {applied(w, op.shown, after, loop.units, PRODUCT + 1)}", after]

    comment = gate_words(op, "LSTM")
    if peeps is not None:
        comment += "; the gates see the cell, o the new one"
    return walked(op, w, values, ["h", "c"], cell, comment)


@writes(ops.ConvLSTM)
def _conv_lstm(op: ops.ConvLSTM, w: HandWriter, *values: Value) -> tuple[Value, ...]:
    rank = len(op.strides)
    if op.projection is not None or rank not in _SPACE:
        raise Unwritten("maps of so many axes")
    x, *rest = values
    values = (w.plain(x), *rest)
    kernel, recurrent = (w.named("kernel", w.weight(part)) for part in (op.kernel, op.recurrent))
    units = w.shape(1)
    ones = (1,) * rank
    gates = len(op.gates)
    spread = f"[:{', None' * rank}]"

    def cell(loop: StepLoop) -> list[str]:
        first, second = biases(op, w)
        added = f"{first}{spread if first else ''}{second}{spread if second else ''}"
        share = _convolved(loop, loop.x, kernel, op.strides, op.pads, op.dilations)
        state = _convolved(loop, loop.taken[0], recurrent, ones, op.state_pads, ones)
        z = loop.let("z", f"{share} + {state}{added}")
        names = {letter: w.local(letter) for letter in op.gates}
        loop.lines.append(f"{', '.join(names.values())} = np.split({z}, {gates}, axis=1)")
        on = {
            letter: applied(w, op.recurrent_activation, names[letter], units, PRODUCT)
            for letter in "ifo"
        }
        new = applied(w, op.activation, names["g"], units, PRODUCT + 1)
        c = loop.state(1, f"{on['f']} * {loop.taken[1]} + {on['i']} * {new}")
        return [f"{on['o']} * {applied(w, op.activation, c, units, PRODUCT + 1)}", c]

    comment = gate_words(op, "LSTM").replace("units", "filters").replace("columns", "maps")
    return walked(op, w, values, ["h", "c"], cell, comment)


def _convolved(
    loop: StepLoop,
    x: str,
    kernel: Value,
    strides: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
    dilations: tuple[int, ...],
) -> str:
    """The name of a convolution within a loop."""
    rank, cells = len(strides), kernel.own_shape[2:]
    if any(pad < 0 for pair in pads for pad in pair):
        raise Unwritten("windows that leave a part of the input out")
    if any(map(any, pads)):
        x = loop.let("padded", f"np.pad({x}, {pairs([(0, 0), (0, 0), *pads])})")
    spans = [(k - 1) * d + 1 for k, d in zip(cells, dilations, strict=True)]
    text = f"sliding_window_view({x}, {as_tuple(spans)}, axis={as_tuple(range(2, 2 + rank))})"
    words = [":", ":", *(f"::{step}" for step in (*strides, *dilations))]
    text += f"[{', '.join(words)}]"
    windows = loop.let("windows", text)
    space, taps = _SPACE[rank], _TAPS[rank]
    right = kernel.letters(f"oc{taps}")
    product = f'np.einsum("bc{space}{taps},{right}->bo{space}", {windows}, {kernel.text})'
    return loop.let("convolved", product)
