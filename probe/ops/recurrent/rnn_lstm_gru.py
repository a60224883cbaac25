"""Recurrences: RNN, LSTM and GRU, one direction of one layer each. Sequences are (steps, batch,
features).

The NumPy kernels take the input's products of many steps at once; the gates lie side by side, so
that where they are tanh and sigmoid one tanh serves them all: sigmoid(x) = tanh(x / 2) / 2 + 1 / 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from probe.ops.base import Graph, Op
from probe.ops.contributions import Contributions, Stage
from probe.ops.elementwise.activation import Sigmoid
from probe.ops.engine_differences import NAN_IN_GATES, EngineDifference
from probe.ops.linear.matmul import MatMul
from probe.ops.recurrent.gate_blocks import SOFTPLUS_OVERFLOWS, Emitted, Gated, sharing
from probe.ops.recurrent.recurrence import Arranged, Before, Recurrence, States
from probe.ops.recurrent.running_error import Ball, Rounded
from probe.ops.weight import Weight

__all__ = ["GRU", "LSTM", "RNN"]


@dataclass(frozen=True, eq=False, kw_only=True)
class RNN(Gated):
    """h' = activation(x W + h U + b) (ONNX RNN)."""

    engine_differences = (SOFTPLUS_OVERFLOWS,)

    def arranged(self, dtype: np.dtype, batch: int) -> Arranged:
        kernel, recurrent, first, second = self.columns("h", "", dtype)
        bias = first + second

        def step(share: np.ndarray, states: States) -> States:
            z = self.multiplied(states[0]) @ recurrent
            z += share
            return self.activation.run(z)

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
        parts = [(self.inward(), x), (self.onward(), self.multiplied_ball(a, before))]
        return (a.apply(self.activation, self.summed(a, parts, self.biases())),)

    def emit_step(self, graph: Graph) -> Emitted:
        recurrent, second = graph.weight(self.recurrent), self.emit_biases(graph)[1]

        def step(inner: Graph, share: str, states: Sequence[str]) -> tuple[str, ...]:
            z = inner.op(
                "Add", share, inner.op("MatMul", self.emit_multiplied(inner, states[0]), recurrent)
            )
            return self.activation.to_onnx(inner, inner.op("Add", z, second) if second else z)

        return step

    def told(
        self, x: np.ndarray, before: Before, at: tuple[int, ...], value: float
    ) -> Contributions:
        z = _sums(self, x, before)
        stages = (
            *_parts(self, "h", before, at, z),
            Stage(f"{type(self.activation).__name__}, the new state", value),
        )
        return Contributions((self.terms_from(at, "h", len(x)),), stages)


@dataclass(frozen=True, eq=False, kw_only=True)
class LSTM(Gated):
    """c' = f c + i g, h' = o activation(c'); i, f, o are gates of recurrent_activation, g is
    activation (ONNX LSTM).

    ``gates`` names the order of the blocks: "ifgo" in Keras and PyTorch. ``projection`` (units,
    projected), where there is one, is what h' is multiplied by at the end. States: h and c.
    """

    gates: str = "ifgo"
    recurrent_activation: Op = field(default_factory=Sigmoid)
    projection: Weight | None = None

    state_count = 2
    onnx_gates = "iofg"
    engine_differences: ClassVar[tuple[EngineDifference, ...]] = (NAN_IN_GATES,)

    def state_shapes(self, x: np.ndarray) -> list[tuple[int, ...]]:
        return [(x.shape[1], self.recurrent.value.shape[0]), (x.shape[1], self.width)]

    def arranged(self, dtype: np.dtype, batch: int) -> Arranged:
        n, fused = self.width, self.fused()
        kernel, recurrent, first, second = self.columns("ifog", "ifo" if fused else "", dtype)
        if batch == 1:
            recurrent = np.asfortranarray(recurrent)
        if self.projection is None:
            projection = None
        else:
            projection = self.projection.value.astype(dtype)
        bias = first + second

        def step(share: np.ndarray, states: States) -> States:
            h, c = states
            z = np.dot(self.multiplied(h), recurrent)
            z += share
            if fused:
                np.tanh(z, out=z)
                open_ = z[:, : 3 * n]
                open_ *= 0.5
                open_ += 0.5
            else:
                self._activate(z)
            after = c * z[:, n : 2 * n]
            z[:, :n] *= z[:, 3 * n :]
            after += z[:, :n]
            if fused:
                out = np.tanh(after)
                out *= z[:, 2 * n : 3 * n]
            else:
                out = self.activation.run(after)[0] * z[:, 2 * n : 3 * n]
            return (out if projection is None else out @ projection), after

        return sharing(kernel, bias), step

    def _activate(self, z: np.ndarray) -> None:
        """The four gates of one step, in the order i f o g, in place."""
        n = self.width
        for at, function in enumerate((self.recurrent_activation,) * 3 + (self.activation,)):
            z[:, at * n : (at + 1) * n] = function.run(z[:, at * n : (at + 1) * n])[0]

    def cell(
        self,
        a: Rounded,
        x: Ball,
        before: Ball,
        rest: tuple[Ball, ...],
        keep: np.ndarray | None,
        carries: bool,
    ) -> tuple[Ball, ...]:
        z = self.summed(
            a, [(self.inward(), x), (self.onward(), self.multiplied_ball(a, before))], self.biases()
        )
        i, f, o = (
            a.apply(self.recurrent_activation, z[:, :, self.block(letter)]) for letter in "ifo"
        )
        new = a.mul(i, a.apply(self.activation, z[:, :, self.block("g")]))
        c, cells = rest[0], []
        for t in range(len(x.value)):
            after = a.add(a.mul(f[t], self.taken_ball(a, c)), new[t])
            if keep is None:
                c = after
            else:
                c = after.where(keep[t].reshape(-1, *(1,) * (c.value.ndim - 1)), c)
            cells.append(c)
            if not carries:
                c = Ball.exactly(c.value)
        cell = Ball(
            np.stack([ball.value for ball in cells]), np.stack([ball.slack for ball in cells])
        )
        h = a.mul(o, a.apply(self.activation, cell))
        if self.projection is not None:
            h = self.summed(a, [(MatMul(self.projection, None), h)], ())
        return h, cell

    @property
    def fits(self) -> bool:
        return self.projection is None

    def node_functions(self, functions: Sequence[Op]) -> list[Op]:
        return [*functions, functions[1]]

    def emit_step(self, graph: Graph) -> Emitted:
        recurrent, second = graph.weight(self.recurrent), self.emit_biases(graph)[1]
        if self.projection is None:
            projection = None
        else:
            projection = graph.weight(self.projection)
        return lambda inner, share, states: self.emit_cell(
            inner,
            _added(
                inner,
                share,
                inner.op("MatMul", self.emit_multiplied(inner, states[0]), recurrent),
                second,
            ),
            states,
            projection,
        )

    def emit_cell(
        self, inner: Graph, z: str, states: Sequence[str], projection: str | None
    ) -> tuple[str, str]:
        parts = self.emit_gates(inner, z)
        i, f, o = (self.recurrent_activation.to_onnx(inner, parts[letter])[0] for letter in "ifo")
        g = self.activation.to_onnx(inner, parts["g"])[0]
        cell = inner.op("Add", inner.op("Mul", f, states[1]), inner.op("Mul", i, g))
        h = inner.op("Mul", o, self.activation.to_onnx(inner, cell)[0])
        return (h if projection is None else inner.op("MatMul", h, projection)), cell

    def told(
        self, x: np.ndarray, before: Before, at: tuple[int, ...], value: float
    ) -> Contributions:
        if self.projection is not None:
            return Contributions((), (Stage("an LSTM's output, projected", value),))
        z, unit = _sums(self, x, before), at[2]
        names = {"i": "input gate i", "f": "forget gate f", "o": "output gate o"}
        act = type(self.activation).__name__
        on = {
            letter: float(self.recurrent_activation.run(z[:, self.block(letter)])[0][0, unit])
            for letter in names
        }
        g = float(self.activation.run(z[:, self.block("g")])[0][0, unit])
        cell = on["f"] * float(before.states[1][0, unit]) + on["i"] * g
        gate = type(self.recurrent_activation).__name__
        stages = [*_parts(self, "g", before, at, z), Stage(f"{act}: the candidate g", g)]
        stages += [Stage(f"{gate}: the {told}", on[letter]) for letter, told in names.items()]
        stages += [
            Stage(f"the cell state c {before.when}", float(before.states[1][0, unit])),
            Stage("f · c + i · g: the new cell state", cell),
        ]
        return Contributions(
            (self.terms_from(at, "g", len(x)),),
            (*stages, Stage(f"o · {act}(c): the new state", value)),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class GRU(Gated):
    """h' = z h + (1 - z) n (ONNX GRU); z and r are gates of recurrent_activation.

    n = activation(x W + b + r (h U + b')) with ``reset_after``, else activation(x W + b + (r h) U).
    ``gates``: "zrh" in Keras, "rzh" in PyTorch.
    """

    gates: str = "zrh"
    recurrent_activation: Op = field(default_factory=Sigmoid)
    reset_activation: Op | None = None
    """That of r, where it is not that of z (HGQ2)."""
    reset_after: bool = True
    reset_quantizer: Op | None = None
    """What the state's share of the candidate goes through: h U + b' before it is multiplied by r,
    or r h (HGQ2)."""

    onnx_gates = "zrh"
    engine_differences = (SOFTPLUS_OVERFLOWS, NAN_IN_GATES)

    @property
    def fits(self) -> bool:
        return self.reset_activation is None and self.reset_quantizer is None

    def _functions(self) -> tuple[Op, Op]:
        """The activations of z and r."""
        return self.recurrent_activation, self.reset_activation or self.recurrent_activation

    def _bounded(self, x: np.ndarray) -> np.ndarray:
        if self.reset_quantizer is None:
            return x
        return self.reset_quantizer.run(x)[0]

    def arranged(self, dtype: np.dtype, batch: int) -> Arranged:
        n, fused = self.width, self.fused() and self.reset_activation is None
        kernel, recurrent, first, second = self.columns("zrh", "zr" if fused else "", dtype)
        bias = first + second
        inner, outer = second[2 * n :], recurrent[:, 2 * n :]
        if self.reset_after:
            bias[2 * n :] = first[2 * n :]
        else:
            recurrent = recurrent[:, : 2 * n]

        def step(share: np.ndarray, states: States) -> States:
            (h,) = states
            product = self.multiplied(h) @ recurrent
            on = product[:, : 2 * n]
            on += share[:, : 2 * n]
            if fused:
                np.tanh(on, out=on)
                on *= 0.5
                on += 0.5
            else:
                for at, function in zip((0, n), self._functions(), strict=True):
                    on[:, at : at + n] = function.run(on[:, at : at + n])[0]
            z, r = on[:, :n], on[:, n:]
            if self.reset_after:
                new = r * self._bounded(product[:, 2 * n :] + inner)
            else:
                new = self._bounded(r * h) @ outer
            new += share[:, 2 * n :]
            if fused:
                new = np.tanh(new, out=new)
            else:
                new = self.activation.run(new)[0]
            return (new + z * (h - new),)

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
        first, second = self.biases()
        n = self.block("h")
        shares = self.summed(a, [(self.inward(), x)], (first, None if self.reset_after else second))
        products = self.summed(
            a,
            [(self.onward(), self.multiplied_ball(a, before))],
            (second if self.reset_after else None,),
        )
        gates = (a.add(shares[:, :, part], products[:, :, part]) for part in map(self.block, "zr"))
        z, r = (
            a.apply(function, gate) for function, gate in zip(self._functions(), gates, strict=True)
        )

        def bounded(x: Ball) -> Ball:
            if self.reset_quantizer is None:
                return x
            return a.apply(self.reset_quantizer, x)

        if self.reset_after:
            inner = a.mul(r, bounded(products[:, :, n]))
        else:
            weight = replace(
                self.recurrent,
                effective=self.recurrent.value[:, n],
                axes=None,
                shape=None,
                rows=None,
            )
            inner = self.summed(a, [(MatMul(weight, None), bounded(a.mul(r, before)))], ())
        new = a.apply(self.activation, a.add(shares[:, :, n], inner))
        return (a.add(a.mul(z, before), a.mul(a.rest(z), new)),)

    def node_attributes(self) -> dict[str, int]:
        return {"linear_before_reset": int(self.reset_after)}

    def emit_step(self, graph: Graph) -> Emitted:
        weight, second = graph.weight(self.recurrent), self.emit_biases(graph)[1]
        block = self.emit_gates(graph, weight)["h"]

        def step(inner: Graph, share: str, states: Sequence[str]) -> tuple[str, ...]:
            shares, rest = (
                self.emit_gates(inner, share),
                self.emit_gates(inner, second, 0) if second else {},
            )
            products = self.emit_gates(
                inner, inner.op("MatMul", self.emit_multiplied(inner, states[0]), weight)
            )
            gates = (
                _added(inner, shares[letter], products[letter], rest.get(letter, ""))
                for letter in "zr"
            )
            z, r = (
                function.to_onnx(inner, gate)[0]
                for function, gate in zip(self._functions(), gates, strict=True)
            )
            if self.reset_after:
                last = inner.op(
                    "Mul",
                    r,
                    self._emit_bounded(inner, _added(inner, products["h"], rest.get("h", ""))),
                )
            else:
                reset = self._emit_bounded(inner, inner.op("Mul", r, states[0]))
                last = _added(inner, inner.op("MatMul", reset, block), rest.get("h", ""))
            new = self.activation.to_onnx(inner, inner.op("Add", shares["h"], last))[0]
            kept = inner.op("Mul", inner.op("Sub", inner.const(1.0), z), new)
            return (inner.op("Add", inner.op("Mul", z, states[0]), kept),)

        return step

    def _emit_bounded(self, inner: Graph, x: str) -> str:
        if self.reset_quantizer is None:
            return x
        return self.reset_quantizer.to_onnx(inner, x)[0]

    def told(
        self, x: np.ndarray, before: Before, at: tuple[int, ...], value: float
    ) -> Contributions:
        unit, h = at[2], before.states[0]
        first, second = (
            np.zeros(self.kernel.value.shape[1]) if bias is None else bias for bias in self.biases()
        )
        shares, products = (
            x @ self.kernel.value + first,
            before.multiplied @ self.recurrent.value.astype(np.float64) + second,
        )
        gates = (shares[self.block(letter)] + products[:, self.block(letter)] for letter in "zr")
        z, r = (
            function.run(gate)[0] for function, gate in zip(self._functions(), gates, strict=True)
        )
        part, gate, act = (
            self.block("h"),
            type(self.recurrent_activation).__name__,
            type(self.activation).__name__,
        )
        if self.reset_after:
            inner = r * self._bounded(products[:, part])
        else:
            inner = (
                self._bounded(r * h) @ self.recurrent.value[:, part].astype(np.float64)
                + second[part]
            )
        new = self.activation.run(shares[part] + inner)[0]
        state, level = "the state", ""
        if self.product_quantizer is not None:
            state, level = (
                "the quantised state",
                f", quantised {before.multiplied[0, unit]:.6g}",
            )
        if self.reset_after:
            text = f"r · ({state} · recurrent kernel + its bias)"
        else:
            text = f"(r · {state}) · recurrent kernel"
        stages = (
            Stage("plus the bias", float(shares[part][unit])),
            Stage(f"{gate}: the update gate z", float(z[0, unit])),
            Stage(f"{gate}: the reset gate r", float(r[0, unit])),
            Stage(f"plus {text}", float((shares[part] + inner)[0, unit])),
            Stage(f"{act}: the candidate", float(new[0, unit])),
            Stage(f"the state h {before.when}{level}", float(h[0, unit])),
            Stage("z · h + (1 - z) · candidate: the new state", value),
        )
        return Contributions((self.terms_from(at, "h", len(x)),), stages)


def _added(graph: Graph, *names: str) -> str:
    """The sum of those that are there."""
    first, *rest = (name for name in names if name)
    for name in rest:
        first = graph.op("Add", first, name)
    return first


def _sums(op: Recurrence, x: np.ndarray, before: Before) -> np.ndarray:
    """The gates' sums before activation, (1, gates * units)."""
    biases = sum(bias for bias in op.biases() if bias is not None)
    return (
        x @ op.kernel.value.astype(np.float64)
        + before.multiplied @ op.recurrent.value.astype(np.float64)
        + biases
    )


def _shown(state: np.ndarray) -> str:
    """The first few numbers of a sample's state."""
    return ", ".join(f"{value:.6g}" for value in state[0, :4]) + (
        ", …" if state.shape[1] > 4 else ""
    )


def _parts(
    op: Recurrence, letter: str, before: Before, at: tuple[int, ...], z: np.ndarray
) -> list[Stage]:
    """What comes to the products with the input: the state's products and the biases."""
    part = (0, op.block(letter).start + at[2])
    biases = sum(float(bias[part[1]]) for bias in op.biases() if bias is not None)
    levels = "" if op.product_quantizer is None else "quantised "
    return [
        Stage(
            (
                f"plus the state {before.when} {levels}({_shown(before.multiplied)}) · "
                f"{op.recurrent.name}"
            ),
            float(z[part]) - biases,
        ),
        Stage("plus the bias" if biases else "no bias", float(z[part])),
    ]
