"""Recurrences whose products are with matrices: their blocks in either order, and how they become
ONNX's RNN, LSTM and GRU, or its Scan."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from probe.ops.base import Graph, Op
from probe.ops.elementwise.activation import HardSigmoid, Relu, Sigmoid, Softplus, Tanh
from probe.ops.engine_differences import EngineDifference, anywhere
from probe.ops.recurrent.recurrence import Recurrence

__all__ = ["SOFTPLUS_OVERFLOWS", "Gated", "sharing"]

_KNOWN = {Sigmoid: "Sigmoid", Tanh: "Tanh", Relu: "Relu", HardSigmoid: "HardSigmoid"}
"""The activations of ONNX's recurrent operators that are used there."""

Emitted = Callable[[Graph, str, Sequence[str]], tuple[str, ...]]
"""(inner graph, share, states) -> the states after."""

SOFTPLUS_OVERFLOWS = EngineDifference(
    anywhere,
    "in its recurrent operators ONNX Runtime computes softplus as log(1 + exp(x)), which "
    "overflows from x = 89 on",
    "softplus of 89 and more is inf in ONNX Runtime's recurrent operators, which compute "
    "log(1 + exp(x)) in float32",
    applies=lambda op: any(isinstance(getattr(op, part.name), Softplus) for part in fields(op)),
)


def sharing(kernel: np.ndarray, bias: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """x (steps, batch, in) -> its product with the kernel, plus the bias: one product, where NumPy
    would take one for each step."""

    def share(x: np.ndarray) -> np.ndarray:
        out = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ kernel
        out += bias
        return out.reshape(*x.shape[:-1], len(bias))

    return share


@dataclass(frozen=True, eq=False, kw_only=True)
class Gated(Recurrence):
    """A recurrence whose products are with matrices."""

    onnx_gates = "h"

    # NumPy.

    def columns(self, letters: str, halved: str, dtype: np.dtype) -> tuple[np.ndarray, ...]:
        """(kernel, recurrent kernel, bias, recurrent bias) with the blocks in the order of
        ``letters``, some of them halved."""
        parts = (
            self.kernel.value,
            self.recurrent.value,
            *(np.zeros(self.kernel.value.shape[1]) if b is None else b for b in self.biases()),
        )
        return tuple(
            np.concatenate(
                [
                    part[..., self.block(letter)].astype(dtype) * (0.5 if letter in halved else 1.0)
                    for letter in letters
                ],
                axis=-1,
            )
            for part in parts
        )

    def fused(self) -> bool:
        """Whether one tanh serves all gates."""
        return isinstance(getattr(self, "recurrent_activation", None), Sigmoid) and isinstance(
            self.activation, Tanh
        )

    # ONNX.

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        functions = [getattr(self, "recurrent_activation", None), self.activation]
        known = all(function is None or type(function) in _KNOWN for function in functions)
        quantised = self.state_quantizer is not None or self.product_quantizer is not None
        if self.has_mask or quantised or not known or not self.fits:
            return self.emit_scan(graph, *inputs)
        return self.emit_node(
            graph, inputs, [function for function in functions if function is not None]
        )

    @property
    def fits(self) -> bool:
        """Whether ONNX's operator has everything that this one has."""
        return True

    def node_functions(self, functions: Sequence[Op]) -> list[Op]:
        return list(functions)

    def emit_node(
        self, graph: Graph, inputs: Sequence[str], functions: Sequence[Op]
    ) -> tuple[str, ...]:
        gates, n = len(self.gates), self.width
        kernels = []
        for weight in (self.kernel, self.recurrent):
            turned = graph.op("Transpose", graph.weight(weight), perm=(1, 0))
            kernels.append(
                graph.op("Unsqueeze", self.emit_ordered(graph, turned), graph.const([0]))
            )
        bias = graph.const(np.zeros((1, 2 * gates * n)))
        if self.bias is not None or self.recurrent_bias is not None:
            both = [
                self.emit_ordered(graph, part) if part else graph.const(np.zeros(gates * n))
                for part in self.emit_biases(graph)
            ]
            bias = graph.op("Unsqueeze", graph.op("Concat", *both, axis=0), graph.const([0]))
        begun = [graph.op("Unsqueeze", state, graph.const([0])) for state in inputs[1:]]
        named = self.node_functions(functions)
        slopes = [function for function in named if isinstance(function, HardSigmoid)]
        if slopes:
            attributes = {
                "activation_alpha": [function.alpha for function in slopes],
                "activation_beta": [function.beta for function in slopes],
            }
        else:
            attributes = {}
        sequence, *last = graph.ops(
            type(self).__name__,
            inputs[0],
            *kernels,
            bias,
            "",
            *begun,
            outputs=1 + self.state_count,
            hidden_size=n,
            direction="reverse" if self.reverse else "forward",
            activations=[_KNOWN[type(function)] for function in named],
            **attributes,
            **self.node_attributes(),
        )
        squeezed = graph.op("Squeeze", sequence, graph.const([1]))
        return (squeezed, *(graph.op("Squeeze", state, graph.const([0])) for state in last))

    def node_attributes(self) -> dict[str, int]:
        return {}

    def emit_ordered(self, graph: Graph, name: str) -> str:
        """The blocks along the first axis in ONNX's order."""
        if self.gates == self.onnx_gates:
            return name
        parts = graph.ops(
            "Split", name, outputs=len(self.gates), axis=0, num_outputs=len(self.gates)
        )
        return graph.op(
            "Concat", *(parts[self.gates.index(letter)] for letter in self.onnx_gates), axis=0
        )

    def emit_biases(self, graph: Graph) -> tuple[str, str]:
        """The names of the input's bias and the state's; empty where there is none."""
        if self.bias is not None and self.bias.value.ndim == 2:
            both = graph.ops("Split", graph.weight(self.bias), outputs=2, axis=0, num_outputs=2)
            first, second = (graph.op("Squeeze", part, graph.const([0])) for part in both)
            return first, second
        return tuple(
            "" if weight is None else graph.weight(weight)
            for weight in (self.bias, self.recurrent_bias)
        )  # type: ignore[return-value]

    def emit_scan(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """The steps one by one, as ONNX's Scan."""
        x, *rest = inputs
        mask = [graph.op("Cast", rest.pop(0), to=9)] if self.has_mask else []
        states = rest or self.emit_zeros(graph, x)
        held = self.emit_zeros(graph, x)[:1] if self.has_mask else []
        step = self.emit_step(graph)
        share = self.emit_share(graph, x)

        def body(
            inner: Graph, before: Sequence[str], parts: Sequence[str]
        ) -> tuple[Sequence[str], Sequence[str]]:
            old, kept = before[: self.state_count], before[self.state_count :]
            if not self.has_mask:
                after = step(inner, parts[0], self.emit_taken(inner, old))
                return after, (inner.op("Identity", after[0]),)
            keep = inner.op("Unsqueeze", parts[1], inner.const(list(range(1, self.rank))))
            present = old
            if self.product_quantizer is not None:
                present = tuple(inner.op("Where", keep, state, inner.const(0.0)) for state in old)
            after = step(inner, parts[0], self.emit_taken(inner, present))
            after = tuple(
                inner.op("Where", keep, new, state) for new, state in zip(after, old, strict=True)
            )
            shown = inner.op("Where", keep, after[0], held[0] if self.zero_masked else kept[0])
            return (*after, shown), (inner.op("Identity", shown),)

        *last, sequence = graph.scan(
            body, (*states, *held), (share, *mask), self.rank, self.reverse
        )
        return (sequence, *last[: self.state_count])

    def emit_taken(self, inner: Graph, states: Sequence[str]) -> Sequence[str]:
        """The states as a step takes them."""
        if self.state_quantizer is None:
            return states
        return tuple(self.state_quantizer.to_onnx(inner, state)[0] for state in states)

    def emit_multiplied(self, inner: Graph, state: str) -> str:
        """The state as its product takes it."""
        if self.product_quantizer is None:
            return state
        return self.product_quantizer.to_onnx(inner, state)[0]

    def emit_zeros(self, graph: Graph, x: str) -> list[str]:
        """States of zeros."""
        widths = (self.recurrent.value.shape[0], self.width)[: self.state_count]
        return [graph.const(np.zeros((graph.shape(x)[1], width))) for width in widths]

    def emit_share(self, graph: Graph, x: str) -> str:
        share = graph.op("MatMul", x, graph.weight(self.kernel))
        first = self.emit_biases(graph)[0]
        if first:
            return graph.op("Add", share, first)
        return share

    def emit_step(self, graph: Graph) -> Emitted:
        """One step; what all steps share is emitted now."""
        raise NotImplementedError

    @property
    def rank(self) -> int:
        """The axes of a state."""
        return self.recurrent.value.ndim

    def emit_gates(self, graph: Graph, name: str, axis: int = 1) -> dict[str, str]:
        """The blocks along an axis by their letters."""
        if len(self.gates) == 1:
            return {self.gates: name}
        return dict(
            zip(
                self.gates,
                graph.ops(
                    "Split", name, outputs=len(self.gates), axis=axis, num_outputs=len(self.gates)
                ),
                strict=True,
            )
        )
