"""LSTMs beyond the usual ones: gates that see the cell, coupled gates, another function on the cell
(ONNX), a cell that is clipped (TensorFlow Lite)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from probe.ops.base import Graph, Op
from probe.ops.contributions import Contributions, Stage
from probe.ops.elementwise.activation import Clip, Tanh
from probe.ops.recurrent.gate_blocks import SOFTPLUS_OVERFLOWS, Emitted, sharing
from probe.ops.recurrent.recurrence import Arranged, Before, States
from probe.ops.recurrent.rnn_lstm_gru import LSTM
from probe.ops.recurrent.running_error import Ball, Rounded
from probe.ops.weight import Weight

__all__ = ["PeepholeLSTM"]


@dataclass(frozen=True, eq=False, kw_only=True)
class PeepholeLSTM(LSTM):
    """c' = f c + i g, h' = o shown(c'), where i and f also see c, and o sees c' (Gers and
    Schmidhuber, 2000; ONNX LSTM).

    ``peepholes`` (3, units) holds what the cell is multiplied by on its way to i, o and f.
    ``coupled``: f is 1 - i. ``cell_clip``, where it is not 0, is what c' is kept within.
    """

    peepholes: Weight | None = None
    coupled: bool = False
    shown: Op = field(default_factory=Tanh)
    cell_clip: float = 0.0
    engine_differences = (SOFTPLUS_OVERFLOWS,)
    fits = False

    def _peeps(self) -> np.ndarray:
        """The peepholes of i, o and f."""
        if self.peepholes is None:
            return np.zeros((3, self.width))
        return self.peepholes.value.astype(np.float64)

    def _clip(self) -> Clip:
        return Clip(-self.cell_clip, self.cell_clip)

    def arranged(self, dtype: np.dtype, batch: int) -> Arranged:
        kernel, recurrent, first, second = self.columns("ifog", "", dtype)
        bias, (to_i, to_o, to_f), gate = (
            first + second,
            self._peeps().astype(dtype),
            self.recurrent_activation,
        )

        def step(share: np.ndarray, states: States) -> States:
            h, c = states
            i, f, o, g = np.split(h @ recurrent + share, 4, axis=1)
            (i,) = gate.run(i + to_i * c)
            f = 1 - i if self.coupled else gate.run(f + to_f * c)[0]
            after = f * c + i * self.activation.run(g)[0]
            if self.cell_clip:
                after = self._clip().f(after)
            return gate.run(o + to_o * after)[0] * self.shown.run(after)[0], after

        return sharing(kernel, bias), step

    def cell(
        self,
        a: Rounded,
        x: Ball,
        before: Ball,
        rest: tuple[Ball, ...],
        keep: np.ndarray | None,
        carries: bool,
    ) -> tuple[Ball, ...]:
        z = self.summed(a, [(self.inward(), x), (self.onward(), before)], self.biases())
        to_i, to_o, to_f = (
            Ball.exactly(np.broadcast_to(weight, rest[0].value.shape)) for weight in self._peeps()
        )
        gate, c, cells, shown = self.recurrent_activation, rest[0], [], []
        for t in range(len(x.value)):
            parts = {letter: z[t][:, self.block(letter)] for letter in "ifog"}
            i = a.apply(gate, a.add(parts["i"], a.mul(to_i, c)))
            if self.coupled:
                f = a.rest(i)
            else:
                f = a.apply(gate, a.add(parts["f"], a.mul(to_f, c)))
            after = a.add(a.mul(f, c), a.mul(i, a.apply(self.activation, parts["g"])))
            if self.cell_clip:
                after = a.apply(self._clip(), after)
            o = a.apply(gate, a.add(parts["o"], a.mul(to_o, after)))
            c = after if keep is None else after.where(keep[t][:, None], c)
            cells.append(c)
            shown.append(a.mul(o, a.apply(self.shown, after)))
            if not carries:
                c = Ball.exactly(c.value)
        return tuple(
            Ball(np.stack([ball.value for ball in each]), np.stack([ball.slack for ball in each]))
            for each in (shown, cells)
        )

    def emit_step(self, graph: Graph) -> Emitted:
        recurrent, second = graph.weight(self.recurrent), self.emit_biases(graph)[1]
        peeps: tuple[str, ...] = ()
        if self.peepholes is not None:
            peeps = graph.ops(
                "Split", graph.weight(self.peepholes), outputs=3, axis=0, num_outputs=3
            )

        def seen(inner: Graph, part: str, which: int, cell: str) -> str:
            if peeps:
                return inner.op("Add", part, inner.op("Mul", peeps[which], cell))
            return part

        def step(inner: Graph, share: str, states: Sequence[str]) -> tuple[str, ...]:
            h, c = states
            z = inner.op("Add", share, inner.op("MatMul", h, recurrent))
            parts, gate = (
                self.emit_gates(inner, inner.op("Add", z, second) if second else z),
                self.recurrent_activation,
            )
            (i,) = gate.to_onnx(inner, seen(inner, parts["i"], 0, c))
            if self.coupled:
                f = inner.op("Sub", inner.const(1.0), i)
            else:
                f = gate.to_onnx(inner, seen(inner, parts["f"], 2, c))[0]
            after = inner.op(
                "Add",
                inner.op("Mul", f, c),
                inner.op("Mul", i, self.activation.to_onnx(inner, parts["g"])[0]),
            )
            if self.cell_clip:
                (after,) = self._clip().to_onnx(inner, after)
            (o,) = gate.to_onnx(inner, seen(inner, parts["o"], 1, after))
            return inner.op("Mul", o, self.shown.to_onnx(inner, after)[0]), after

        return step

    def _beyond(self) -> str:
        return "a clipped cell" if self.cell_clip else "peephole connections"

    def told(
        self, x: np.ndarray, before: Before, at: tuple[int, ...], value: float
    ) -> Contributions:
        return Contributions(
            (self.terms_from(at, "g", len(x)),),
            (Stage(f"the output of an LSTM with {self._beyond()}", value),),
        )
