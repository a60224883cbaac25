"""Sums of products of integers, which are exact: in float64 where that holds them, in 64-bit
integers in ONNX Runtime."""

import math
from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Evaluated, Graph
from probe.ops.linear.conv import Conv
from probe.ops.linear.im2col import Im2Col
from probe.ops.linear.im2col_gemm import convolve
from probe.ops.linear.matmul import MatMul
from probe.ops.linear.transpose_conv import ConvTranspose
from probe.ops.weight import Weight

__all__ = ["IntegerConv", "IntegerConvTranspose", "IntegerMatMul"]

_EXACT = 2.0**53
_INT64 = 7
"""onnx.TensorProto.INT64."""


def _holder(x: np.ndarray, kernel: np.ndarray, count: int) -> np.dtype:
    """float64 where it holds sums of so many products, else int64."""
    most = count * float(np.abs(x).max(initial=0)) * float(np.abs(kernel).max(initial=0))
    if x.dtype.kind == "f" or most < _EXACT:
        return np.dtype(np.float64)
    return np.dtype(np.int64)


def _in_kind(sums: np.ndarray, x: np.ndarray, bias: Weight | None, rank: int) -> np.ndarray:
    """The sums plus the bias, integers where x are."""
    if x.dtype.kind != "f":
        sums = sums.astype(np.int64)
    if bias is None:
        return sums
    return sums + bias.value.reshape(-1, *(1,) * rank)


class _OfIntegers:
    """Integers are not rounded, whatever the order."""

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        if of.slacks[0] is None:
            return (np.zeros(of.outputs[0].shape),)
        return (self.propagate(of.slacks[0]),)  # type: ignore[attr-defined]

    def is_exact(self, inputs: Arrays, precision: Precision) -> bool:
        return True

    def run_float64(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        return self.run(*inputs)  # type: ignore[attr-defined]

    def partial_squares_pay(self, inputs: Arrays, outputs: Arrays) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class IntegerConv(_OfIntegers, Conv):
    """Cross-correlation of integers. Input (batch, channel, *spatial), output (batch, out channel,
    *spatial)."""

    lossy_algorithm = ""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, kernel = inputs[0], self._kernel(inputs)
        held = _holder(x, kernel, math.prod(kernel.shape[1:]))
        sums = convolve(x, kernel, self.strides, self.pads, self.dilations, self.groups, held)
        return (_in_kind(sums, x, self.bias, x.ndim - 2),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        kernel = inputs[1] if self.weight is None else graph.weight(self.weight)
        batch, _, *sizes = graph.shape(inputs[0])
        deep, width, *taps = graph.shape(kernel)
        spans = zip(sizes, self.pads, taps, self.dilations, self.strides, strict=True)
        counts = [(n + sum(pad) - (k - 1) * d - 1) // s + 1 for n, pad, k, d, s in spans]
        windows = Im2Col(tuple(taps), self.strides, self.pads, self.dilations)
        (columns,) = windows.to_onnx(graph, inputs[0])
        each = width * math.prod(taps)
        split = graph.const([batch, self.groups, each, math.prod(counts)])
        rows = graph.const([1, self.groups, deep // self.groups, each])
        product = graph.op(
            "MatMul",
            graph.op("Cast", graph.op("Reshape", kernel, rows), to=_INT64),
            graph.op("Reshape", columns, split),
        )
        whole = graph.op("Reshape", product, graph.const([batch, deep, *counts]))
        if self.bias is None:
            return (whole,)
        bias = graph.op("Cast", graph.weight(self.bias), to=_INT64)
        return (
            graph.op(
                "Add",
                whole,
                graph.op("Reshape", bias, graph.const([-1, *[1] * len(counts)])),
            ),
        )


@dataclass(frozen=True, eq=False)
class IntegerMatMul(_OfIntegers, MatMul):
    """x (..., in) times weight (in, out), plus bias (out,), in integers."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        (x,), kernel = inputs, self.weight.value
        held = _holder(x, kernel, kernel.shape[0])
        sums = np.matmul(x.astype(held), kernel.astype(held))
        return (_in_kind(sums, x, self.bias, 0),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        kernel = graph.op("Cast", graph.weight(self.weight), to=_INT64)
        product = graph.op("MatMul", inputs[0], kernel)
        if self.bias is None:
            return (product,)
        return (graph.op("Add", product, graph.op("Cast", graph.weight(self.bias), to=_INT64)),)


@dataclass(frozen=True, eq=False)
class IntegerConvTranspose(_OfIntegers, ConvTranspose):
    """The sum of the kernels that all inputs add, cropped, in integers."""

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        x, kernel = inputs[0], self._kernel(inputs)
        held = _holder(x, kernel, kernel.shape[0] * math.prod(kernel.shape[2:]))
        sums = self._spread(x.astype(held), kernel.astype(held), held, 1, (1.0, 1.0))
        return (_in_kind(sums, x, self.bias, x.ndim - 2),)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        """A convolution with zeros between the inputs, of the kernel turned round."""
        batch, channels, *sizes = graph.shape(inputs[0])
        kernel = inputs[1] if self.weight is None else graph.weight(self.weight)
        width, deep, *taps = graph.shape(kernel)
        x = inputs[0]
        for axis, (size, stride) in enumerate(zip(sizes, self.strides, strict=True), start=2):
            x = _with_zeros(graph, x, axis, size, stride, len(sizes) + 2)
        wide = [(n - 1) * s + 1 for n, s in zip(sizes, self.strides, strict=True)]
        pads = tuple(
            ((k - 1) * d - before, (k - 1) * d - after)
            for k, d, (before, after) in zip(taps, self.dilations, self.crops, strict=True)
        )
        for axis, n in enumerate(taps, start=2):
            kernel = graph.op("Gather", kernel, graph.const(list(range(n))[::-1]), axis=axis)
        each = width // self.groups
        split = [self.groups, each, deep, *taps]
        kernel = graph.op("Reshape", kernel, graph.const(split))
        kernel = graph.op("Transpose", kernel, perm=[0, 2, 1, *range(3, 3 + len(taps))])
        rows = graph.op(
            "Reshape", kernel, graph.const([1, self.groups, deep, each * math.prod(taps)])
        )
        columns, counts = _columns(graph, x, batch, channels, wide, taps, self.dilations, pads)
        columns = graph.op(
            "Reshape",
            columns,
            graph.const([batch, self.groups, each * math.prod(taps), math.prod(counts)]),
        )
        product = graph.op("MatMul", graph.op("Cast", rows, to=_INT64), columns)
        whole = graph.op("Reshape", product, graph.const([batch, self.groups * deep, *counts]))
        if self.bias is None:
            return (whole,)
        bias = graph.op("Cast", graph.weight(self.bias), to=_INT64)
        around = graph.const([-1, *[1] * len(counts)])
        return (graph.op("Add", whole, graph.op("Reshape", bias, around)),)


def _with_zeros(graph: Graph, x: str, axis: int, size: int, stride: int, rank: int) -> str:
    """stride - 1 zeros between neighbours on an axis."""
    if stride == 1:
        return x
    x = graph.op("Unsqueeze", x, graph.const([axis + 1]))
    pads = [0] * (2 * rank + 2)
    pads[rank + 1 + axis + 1] = stride - 1
    x = graph.op("Pad", x, graph.const(pads))
    sizes = graph.op(
        "Concat",
        graph.op("Shape", x, start=0, end=axis),
        graph.const([size * stride]),
        *(() if axis == rank - 1 else (graph.op("Shape", x, start=axis + 2),)),
        axis=0,
    )
    x = graph.op("Reshape", x, sizes)
    return graph.op(
        "Slice",
        x,
        graph.const([0]),
        graph.const([(size - 1) * stride + 1]),
        graph.const([axis]),
    )


def _columns(
    graph: Graph,
    x: str,
    batch: int,
    channels: int,
    sizes: list[int],
    taps: list[int],
    dilations: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
) -> tuple[str, list[int]]:
    """The windows of x with stride 1, as (batch, channels * taps, windows), and how many there are
    on each axis."""
    rank = len(sizes)
    flat = [0, 0, *(before for before, _ in pads), 0, 0, *(after for _, after in pads)]
    x, counts, split = graph.op("Pad", x, graph.const(flat)), list[int](), [batch, channels]
    for axis, (n, k, d, pad) in enumerate(zip(sizes, taps, dilations, pads, strict=True)):
        count = n + sum(pad) - (k - 1) * d
        cells = [tap * d + at for tap in range(k) for at in range(count)]
        x = graph.op("Gather", x, graph.const(cells), axis=2 + axis)
        counts.append(count)
        split += [k, count]
    x = graph.op("Reshape", x, graph.const(split))
    order = [0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2)]
    return graph.op("Transpose", x, perm=order), counts
