"""Operators of TensorFlow Lite on codes, drawn as files of one node each, and what an engine and
our own arithmetic make of them."""

import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import probe.adapters.tflite  # noqa: F401 - its import fills the table of described operators
from probe.adapters.tflite.arithmetic import EngineKernel
from probe.adapters.tflite.describe import describe_node
from probe.adapters.tflite.engine_calls import EngineFile, run_piece
from probe.adapters.tflite.reading import read_model
from tflite_files import FlatTensor, one_op

from probe.description import Description

__all__ = ["OPERATORS", "DrawnFile", "RanNode", "described", "drawn", "gave"]

Inputs = list[np.ndarray]
LIMITS = {"int8": 128, "int16": 32768}


class DrawnFile(NamedTuple):
    """A file of one node, and what it is run on."""

    content: bytes
    inputs: Inputs


class RanNode(NamedTuple):
    """What an engine gave, and whether XNNPACK took the node."""

    outputs: list[np.ndarray]
    delegated: bool


class _Draws:
    """Codes, scales and zero points of one file."""

    def __init__(self, rng: np.random.Generator, dtype: str, size: int) -> None:
        self.rng, self.dtype, self.size = rng, dtype, size

    def scale(self, low: float = 0.01, high: float = 0.1, count: int | None = None) -> Any:
        wide = LIMITS[self.dtype] / 128
        drawn = np.exp(self.rng.uniform(np.log(low / wide), np.log(high / wide), count))
        return drawn.astype(np.float32)

    def zero(self) -> int:
        return int(self.rng.integers(-30, 30)) if self.dtype == "int8" else 0

    def codes(self, *shape: int, dtype: str = "") -> np.ndarray:
        half = LIMITS[dtype or self.dtype]
        return self.rng.integers(-half, half, shape).astype(dtype or self.dtype)

    def tensor(self, name: str, shape: Any, scale: Any, zero: int) -> FlatTensor:
        return FlatTensor(name, tuple(shape), self.dtype, scale=scale, zero_point=zero)

    def weights(self, shape: tuple[int, ...], axis: int, each: bool) -> tuple[FlatTensor, Any]:
        scales = np.exp(
            self.rng.uniform(np.log(0.002), np.log(0.02), shape[axis] if each else 1)
        ).astype(np.float32)
        codes = self.rng.integers(-127, 128, shape)
        return FlatTensor("w", dtype="int8", data=codes, scale=scales, axis=axis), scales

    def bias(self, count: int, scale: Any) -> FlatTensor:
        kind = "int32" if self.dtype == "int8" else "int64"
        most = 5000 * LIMITS[self.dtype] // 128
        data = self.rng.integers(-most, most, count)
        return FlatTensor("b", dtype=kind, data=data, scale=scale)


def _convolution(
    draws: _Draws, depthwise: bool, groups: int, each: bool, activation: int
) -> DrawnFile:
    rng, n = draws.rng, draws.size
    kernel, stride = int(rng.choice([1, 3])), int(rng.choice([1, 2]))
    channels, filters = 2 * int(rng.integers(2, 8)), 4 * int(rng.integers(2, 8))
    if depthwise:
        filters, shape, axis = channels, (1, kernel, kernel, channels), 3
        taps = kernel * kernel
    else:
        shape, axis = (filters, kernel, kernel, channels // groups), 0
        taps = kernel * kernel * channels // groups
    scale, own = draws.scale(), draws.weights(shape, axis, each)
    out = np.float32(scale * own[1].max() * np.sqrt(taps) * 30)
    cells = -(-n // stride)
    options: dict[str, Any] = {"strideW": stride, "strideH": stride}
    options |= {"fusedActivationFunction": activation}
    options |= {"depthMultiplier": 1} if depthwise else {}
    content = one_op(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        [
            draws.tensor("x", (2, n, n, channels), scale, draws.zero()),
            own[0],
            draws.bias(filters, scale * own[1]),
        ],
        [draws.tensor("y", (2, cells, cells, filters), out, draws.zero())],
        ("DepthwiseConv2DOptions" if depthwise else "Conv2DOptions", options),
        3 if draws.dtype == "int8" else 5,
    )
    return DrawnFile(content, [draws.codes(2, n, n, channels)])


def _dense(draws: _Draws, each: bool) -> DrawnFile:
    rows, wide, deep = 4 * draws.size, 48, 30
    scale, own = draws.scale(), draws.weights((deep, wide), 0, each)
    out = np.float32(scale * own[1].max() * np.sqrt(wide) * 30)
    content = one_op(
        "FULLY_CONNECTED",
        [
            draws.tensor("x", (rows, wide), scale, draws.zero()),
            own[0],
            draws.bias(deep, scale * own[1]),
        ],
        [draws.tensor("y", (rows, deep), out, draws.zero())],
        ("FullyConnectedOptions", {}),
        4 if draws.dtype == "int8" else 7,
    )
    return DrawnFile(content, [draws.codes(rows, wide)])


def _of_two(draws: _Draws, operator: str) -> DrawnFile:
    n = draws.size
    shape, scales = (2, n, n, 16), (draws.scale(), draws.scale())
    if operator == "MUL":
        out = np.float32(scales[0] * scales[1] * 60 * LIMITS[draws.dtype] / 128)
    else:
        out = np.float32(scales[0] + scales[1])
    options = {} if operator == "MUL" else {"potScaleInt16": False}
    inputs = [
        draws.tensor(name, shape, scale, draws.zero())
        for name, scale in zip("xy", scales, strict=True)
    ]
    content = one_op(
        operator,
        inputs,
        [draws.tensor("z", shape, out, draws.zero())],
        (f"{operator.title()}Options", options),
        2 if draws.dtype == "int8" else 4 + (operator != "MUL"),
    )
    return DrawnFile(content, [draws.codes(*shape), draws.codes(*shape)])


def _pool(draws: _Draws, operator: str) -> DrawnFile:
    n, scale, zero = draws.size, draws.scale(), draws.zero()
    options = {"strideW": 1, "strideH": 1, "filterWidth": 3, "filterHeight": 2}
    shape = (2, n, n, 12)
    content = one_op(
        operator,
        [draws.tensor("x", shape, scale, zero)],
        [draws.tensor("y", shape, scale, zero)],
        ("Pool2DOptions", options),
        2,
    )
    return DrawnFile(content, [draws.codes(*shape)])


def _mean(draws: _Draws, axes: tuple[int, ...], keep: bool) -> DrawnFile:
    shape = (draws.size, 5, 6, 44)
    out = np.zeros(shape).mean(axes, keepdims=keep).shape
    content = one_op(
        "MEAN",
        [
            draws.tensor("x", shape, draws.scale(), draws.zero()),
            FlatTensor("axes", dtype="int32", data=np.array(axes)),
        ],
        [draws.tensor("y", out, draws.scale(0.003, 0.02), draws.zero())],
        ("ReducerOptions", {"keepDims": keep}),
        2,
    )
    return DrawnFile(content, [draws.codes(*shape)])


def _unary(draws: _Draws, operator: str, options: Any, out: Any, version: int = 2) -> DrawnFile:
    shape = (2, draws.size, draws.size, 16)
    scale, zero = (draws.scale(), draws.zero()) if out is None else out
    content = one_op(
        operator,
        [draws.tensor("x", shape, draws.scale(), draws.zero())],
        [draws.tensor("y", shape, scale, zero)],
        options,
        version,
    )
    return DrawnFile(content, [draws.codes(*shape)])


def _quantize(draws: _Draws) -> DrawnFile:
    n, scale = draws.size, draws.scale()
    shape, half = (2, n, n, 15), LIMITS[draws.dtype]
    x = draws.rng.normal(size=shape) * scale * half
    x.flat[:n] = (draws.rng.integers(-half, half, n) + 0.5) * scale
    content = one_op(
        "QUANTIZE",
        [FlatTensor("x", shape)],
        [draws.tensor("y", shape, scale, draws.zero())],
        ("QuantizeOptions", {}),
        2,
    )
    return DrawnFile(content, [x.astype(np.float32)])


def _transpose_conv(draws: _Draws) -> DrawnFile:
    n = draws.size
    own, scale = draws.weights((9, 3, 3, 8), 0, True), draws.scale()
    out = np.float32(scale * own[1].max() * np.sqrt(72) * 20)
    shape = (2, 2 * n, 2 * n, 9)
    content = one_op(
        "TRANSPOSE_CONV",
        [
            FlatTensor("shape", dtype="int32", data=np.array(shape)),
            own[0],
            draws.tensor("x", (2, n, n, 8), scale, draws.zero()),
            draws.bias(9, scale * own[1]),
        ],
        [draws.tensor("y", shape, out, draws.zero())],
        ("TransposeConvOptions", {"strideW": 2, "strideH": 2}),
        3 if draws.dtype == "int8" else 4,
    )
    return DrawnFile(content, [draws.codes(2, n, n, 8)])


def _resize(draws: _Draws, operator: str, centers: bool, corners: bool) -> DrawnFile:
    n, scale, zero = draws.size, draws.scale(), draws.zero()
    sizes = np.array([2 * n + 1, n + 3])
    options = {"halfPixelCenters": centers, "alignCorners": corners}
    name = "ResizeBilinear" if operator == "RESIZE_BILINEAR" else "ResizeNearestNeighbor"
    content = one_op(
        operator,
        [draws.tensor("x", (2, n, n, 6), scale, zero), FlatTensor("n", dtype="int32", data=sizes)],
        [draws.tensor("y", (2, *sizes.tolist(), 6), scale, zero)],
        (f"{name}Options", options),
        3,
    )
    return DrawnFile(content, [draws.codes(2, n, n, 6)])


Draw = Callable[[_Draws], Iterator[DrawnFile]]


def _all(*calls: Callable[[_Draws], DrawnFile]) -> Draw:
    return lambda draws: (call(draws) for call in calls)


_SIGMOID, _TANH = (1 / 256, -128), (1 / 128, 0)
_SOFTMAX, _LEAKY = ("SoftmaxOptions", {"beta": 1.0}), ("LeakyReluOptions", {"alpha": 0.3})
OPERATORS: Mapping[str, tuple[str, Draw]] = {
    "CONV_2D": (
        "int8",
        _all(
            lambda draws: _convolution(draws, False, 1, True, 1),
            lambda draws: _convolution(draws, False, 1, False, 0),
        ),
    ),
    "CONV_2D, grouped": ("int8", _all(lambda draws: _convolution(draws, False, 2, True, 0))),
    "DEPTHWISE_CONV_2D": (
        "int8",
        _all(
            lambda draws: _convolution(draws, True, 1, True, 0),
            lambda draws: _convolution(draws, True, 1, False, 3),
        ),
    ),
    "FULLY_CONNECTED": (
        "int8",
        _all(lambda draws: _dense(draws, True), lambda draws: _dense(draws, False)),
    ),
    "ADD": ("int8", _all(lambda draws: _of_two(draws, "ADD"))),
    "SUB": ("int8", _all(lambda draws: _of_two(draws, "SUB"))),
    "MUL": ("int8", _all(lambda draws: _of_two(draws, "MUL"))),
    "AVERAGE_POOL_2D": ("int8", _all(lambda draws: _pool(draws, "AVERAGE_POOL_2D"))),
    "MAX_POOL_2D": ("int8", _all(lambda draws: _pool(draws, "MAX_POOL_2D"))),
    "MEAN": (
        "int8",
        _all(
            lambda draws: _mean(draws, (1, 2), True),
            lambda draws: _mean(draws, (1, 2), False),
            lambda draws: _mean(draws, (3,), True),
        ),
    ),
    "LOGISTIC": ("int8", _all(lambda draws: _unary(draws, "LOGISTIC", None, _SIGMOID))),
    "TANH": ("int8", _all(lambda draws: _unary(draws, "TANH", None, _TANH))),
    "SOFTMAX": ("int8", _all(lambda draws: _unary(draws, "SOFTMAX", _SOFTMAX, _SIGMOID))),
    "LEAKY_RELU": ("int8", _all(lambda draws: _unary(draws, "LEAKY_RELU", _LEAKY, None))),
    "HARD_SWISH": ("int8", _all(lambda draws: _unary(draws, "HARD_SWISH", None, None, 1))),
    "QUANTIZE, of floats": ("int8", _all(_quantize)),
    "QUANTIZE, of codes": ("int8", _all(lambda draws: _unary(draws, "QUANTIZE", None, None))),
    "TRANSPOSE_CONV": ("int8", _all(_transpose_conv)),
    "RESIZE_BILINEAR": (
        "int8",
        _all(
            lambda draws: _resize(draws, "RESIZE_BILINEAR", True, False),
            lambda draws: _resize(draws, "RESIZE_BILINEAR", False, True),
        ),
    ),
    "RESIZE_NEAREST_NEIGHBOR": (
        "int8",
        _all(lambda draws: _resize(draws, "RESIZE_NEAREST_NEIGHBOR", False, False)),
    ),
    "CONV_2D, int16": ("int16", _all(lambda draws: _convolution(draws, False, 1, True, 1))),
    "DEPTHWISE_CONV_2D, int16": (
        "int16",
        _all(lambda draws: _convolution(draws, True, 1, True, 0)),
    ),
    "FULLY_CONNECTED, int16": ("int16", _all(lambda draws: _dense(draws, False))),
    "ADD, int16": ("int16", _all(lambda draws: _of_two(draws, "ADD"))),
    "SUB, int16": ("int16", _all(lambda draws: _of_two(draws, "SUB"))),
    "MUL, int16": ("int16", _all(lambda draws: _of_two(draws, "MUL"))),
    "LEAKY_RELU, int16": ("int16", _all(lambda draws: _unary(draws, "LEAKY_RELU", _LEAKY, None))),
    "TRANSPOSE_CONV, int16": ("int16", _all(_transpose_conv)),
}
"""Name -> the type of its codes, and files of it."""


def drawn(name: str, rng: np.random.Generator, size: int) -> list[DrawnFile]:
    """Files of an operator; ``size`` is the height and width of its tensors."""
    dtype, draw = OPERATORS[name]
    return list(draw(_Draws(rng, dtype, size)))


def gave(case: DrawnFile, engine: str) -> RanNode:
    """The outputs of an engine that runs in this process."""
    graph = read_model(case.content, "a drawn file").subgraphs[0]
    numbers = {at: at for at in range(len(graph.tensors))}
    piece = EngineFile(case.content, numbers, graph.inputs, graph.outputs, graph.outputs)
    found = run_piece(piece, dict(zip(graph.inputs, case.inputs, strict=True)), engine, True)
    return RanNode([found.arrays[at] for at in graph.outputs], bool(found.delegated))


def described(
    case: DrawnFile, engine: str, outputs: list[np.ndarray], delegated: bool
) -> Description:
    """The node as steps, in the arithmetic of the kernel that ran."""
    graph = read_model(case.content, "a drawn file").subgraphs[0]
    arrays = dict(zip(graph.inputs, case.inputs, strict=True))
    arrays |= dict(zip(graph.outputs, outputs, strict=True))
    kernel = EngineKernel(engine, platform.machine(), delegated)
    return describe_node(graph.nodes[0], graph, arrays, graph.inputs, kernel)
