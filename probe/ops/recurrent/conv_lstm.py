"""An LSTM whose products are convolutions, as Keras' ConvLSTM1D, 2D and 3D: sequences are (steps,
batch, channels, *spatial)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe.ops.base import Arrays, Graph
from probe.ops.contributions import Contributions, Stage
from probe.ops.linear.conv import Conv
from probe.ops.recurrent.gate_blocks import Emitted
from probe.ops.recurrent.recurrence import Arranged, States
from probe.ops.recurrent.rnn_lstm_gru import LSTM
from probe.ops.window.sliding_windows import Pads

__all__ = ["ConvLSTM"]


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvLSTM(LSTM):
    """c' = f c + i g, h' = o activation(c'), all of them maps.

    The kernels are (4 * filters, in, *kernel) and (4 * filters, filters, *kernel). The input's
    convolution has ``strides``, ``pads`` and ``dilations``, the state's none but ``state_pads``,
    which keep its size.
    """

    strides: tuple[int, ...] = (1,)
    pads: Pads = ((0, 0),)
    dilations: tuple[int, ...] = (1,)
    state_pads: Pads = ((0, 0),)
    engine_differences = ()  # no operator of ONNX, but a Scan of others

    @property
    def width(self) -> int:
        return self.recurrent.value.shape[0] // len(self.gates)

    def inward(self) -> Conv:
        return Conv(self.kernel, None, self.strides, self.pads, self.dilations)

    def onward(self) -> Conv:
        ones = (1,) * len(self.strides)
        return Conv(self.recurrent, None, ones, self.state_pads, ones)

    def state_shapes(self, x: np.ndarray) -> list[tuple[int, ...]]:
        kernel = self.kernel.value.shape[2:]
        windows = zip(x.shape[3:], self.pads, kernel, self.dilations, self.strides, strict=True)
        spatial = ((n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, d, s in windows)
        return [(x.shape[1], self.width, *spatial)] * 2

    def through(self, method: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
        made = method(x.reshape(-1, *x.shape[2:]))
        return made.reshape(*x.shape[:2], *made.shape[1:])

    def arranged(self, dtype: np.dtype, batch: int) -> Arranged:
        inward, onward, bias = (
            self.inward(),
            self.onward(),
            sum(bias for bias in self.biases() if bias is not None),
        )
        shift = np.reshape(bias, (-1, *(1,) * len(self.strides)))
        i, f, o, g = (self.block(letter) for letter in "ifog")

        def step(share: np.ndarray, states: States) -> States:
            h, c = states
            z = onward.run(h)[0] + share
            on = [self.recurrent_activation.run(z[:, part])[0] for part in (i, f, o)]
            after = on[1] * c + on[0] * self.activation.run(z[:, g])[0]
            return on[2] * self.activation.run(after)[0], after

        return lambda x: self.through(lambda part: inward.run(part)[0], x) + shift, step

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        return self.emit_scan(graph, *inputs)

    def emit_zeros(self, graph: Graph, x: str) -> list[str]:
        return [
            graph.const(np.zeros(shape))
            for shape in self.state_shapes(np.broadcast_to(0.0, graph.shape(x)))
        ]

    def emit_share(self, graph: Graph, x: str) -> str:
        shape = graph.shape(x)
        merged = graph.op("Reshape", x, graph.const([shape[0] * shape[1], *shape[2:]]))
        if self.bias is None:
            op = self.inward()
        else:
            op = replace(self.inward(), bias=self.bias)
        (made,) = op.to_onnx(graph, merged)
        spatial = self.state_shapes(np.broadcast_to(0.0, shape))[0][2:]
        return graph.op(
            "Reshape", made, graph.const([*shape[:2], len(self.gates) * self.width, *spatial])
        )

    def emit_step(self, graph: Graph) -> Emitted:
        onward = self.onward()
        kernel = graph.weight(self.recurrent)

        def step(inner: Graph, share: str, states: Sequence[str]) -> tuple[str, ...]:
            product = inner.op(
                "Conv",
                states[0],
                kernel,
                pads=[before for before, _ in onward.pads] + [after for _, after in onward.pads],
            )
            return self.emit_cell(inner, inner.op("Add", share, product), states, None)

        return step

    def summary(self, inputs: Arrays) -> str:
        x, size = inputs[0], math.prod(self.kernel.value.shape[2:])
        return f"{self.width} filters of {size} positions over {len(x)} time steps" + (
            ", masked time steps skipped" if self.has_mask else ""
        )

    def contributions(self, inputs: Arrays, outputs: Arrays, at: tuple[int, ...]) -> Contributions:
        return Contributions((), (Stage(self.title(inputs), float(outputs[0][at])),))
