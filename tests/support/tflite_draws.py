"""Files of one node of TensorFlow Lite on codes that are drawn."""

from typing import Any, NamedTuple

import numpy as np
from tflite_files import FlatTensor, one_op

__all__ = [
    "DrawnFile",
    "Draws",
    "convolution",
    "dense",
    "mean_or_sum",
    "of_two",
    "pool",
    "prelu",
    "quantize",
    "quotient",
    "resize",
    "transpose_conv",
    "unary",
]

_HALVES = {"int8": 128, "uint8": 128, "int16": 32768}
"""So many codes lie on either side of the middle of a type."""


class DrawnFile(NamedTuple):
    """A file of one node, and what it is run on."""

    content: bytes
    inputs: list[np.ndarray]


class Draws:
    """Codes, scales and zero points of one file."""

    def __init__(
        self, rng: np.random.Generator, dtype: str, size: int, powers: bool = False
    ) -> None:
        self.rng, self.dtype, self.size, self.powers = rng, dtype, size, powers

    @property
    def in_powers(self) -> "Draws":
        """With scales that are powers of two: their quotients make ties."""
        return Draws(self.rng, self.dtype, self.size, powers=True)

    def scale(self, low: float = 0.01, high: float = 0.1, count: int | None = None) -> Any:
        wide = self.half / 128
        drawn = np.exp(self.rng.uniform(np.log(low / wide), np.log(high / wide), count))
        if self.powers:
            drawn = np.exp2(np.round(np.log2(drawn)))
        return np.float32(drawn)

    @property
    def half(self) -> int:
        return _HALVES[self.dtype]

    @property
    def middle(self) -> int:
        return 128 if self.dtype == "uint8" else 0

    def zero(self) -> int:
        return 0 if self.dtype == "int16" else self.middle + int(self.rng.integers(-30, 30))

    def codes(self, *shape: int) -> np.ndarray:
        drawn = self.middle + self.rng.integers(-self.half, self.half, shape)
        return drawn.astype(self.dtype)

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
        most = 5000 * self.half // 128
        data = self.rng.integers(-most, most, count)
        return FlatTensor("b", dtype=kind, data=data, scale=scale)


def convolution(
    draws: Draws, depthwise: bool, groups: int, each: bool, activation: int
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


def dense(draws: Draws, each: bool) -> DrawnFile:
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


def of_two(draws: Draws, operator: str) -> DrawnFile:
    n = draws.size
    shape, scales = (2, n, n, 16), (draws.scale(), draws.scale())
    if operator == "MUL":
        out = np.float32(scales[0] * scales[1] * 60 * draws.half / 128)
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


def pool(draws: Draws, operator: str) -> DrawnFile:
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


def mean_or_sum(draws: Draws, operator: str, axes: tuple[int, ...], keep: bool) -> DrawnFile:
    """A sum has 32 times the steps."""
    shape = (draws.size, 5, 6, 44)
    out = np.zeros(shape).mean(axes, keepdims=keep).shape
    ends, coarse = (draws.scale(), draws.scale(0.003, 0.02)), 1 if operator == "MEAN" else 32
    content = one_op(
        operator,
        [
            draws.tensor("x", shape, ends[0], draws.zero()),
            FlatTensor("axes", dtype="int32", data=np.array(axes)),
        ],
        [draws.tensor("y", out, ends[1] * coarse, draws.zero())],
        ("ReducerOptions", {"keepDims": keep}),
        2,
    )
    return DrawnFile(content, [draws.codes(*shape)])


def quotient(draws: Draws, shared: bool) -> DrawnFile:
    """By other codes, or by the same of each channel; never by 0."""
    n, zero = draws.size, draws.zero()
    x, y = draws.codes(2, n, n, 16), draws.codes(*((16,) if shared else (2, n, n, 16)))
    y = np.where(y == zero, y + 1, y).astype(y.dtype)
    out = draws.scale(0.05, 0.5)
    content = one_op(
        "DIV",
        [
            draws.tensor("x", x.shape, draws.scale(), draws.zero()),
            draws.tensor("y", y.shape, draws.scale(), zero),
        ],
        [draws.tensor("z", x.shape, out, draws.zero())],
        ("DivOptions", {}),
        2,
    )
    return DrawnFile(content, [x, y])


def prelu(draws: Draws) -> DrawnFile:
    """The slopes of 16-bit codes have 8 bits."""
    n, kind = draws.size, "int8" if draws.dtype == "int16" else draws.dtype
    slopes = Draws(draws.rng, kind, n)
    alpha = FlatTensor(
        "alpha",
        dtype=kind,
        data=slopes.codes(1, 1, 16),
        scale=slopes.scale(0.002, 0.02),
        zero_point=slopes.zero(),
    )
    shape = (2, n, n, 16)
    content = one_op(
        "PRELU",
        [draws.tensor("x", shape, draws.scale(), draws.zero()), alpha],
        [draws.tensor("y", shape, draws.scale(), draws.zero())],
    )
    return DrawnFile(content, [draws.codes(*shape)])


def unary(
    draws: Draws, operator: str, options: Any, out: Any, version: int = 2, step: float = 0.0
) -> DrawnFile:
    """``out`` is scale and zero point of the output where the kernel wants these, ``step`` the
    scale of the input where that is not drawn."""
    shape = (2, draws.size, draws.size, 16)
    scale, zero = (draws.scale(), draws.zero()) if out is None else out
    content = one_op(
        operator,
        [draws.tensor("x", shape, step or draws.scale(), draws.zero())],
        [draws.tensor("y", shape, scale, zero)],
        options,
        version,
    )
    return DrawnFile(content, [draws.codes(*shape)])


def quantize(draws: Draws) -> DrawnFile:
    n, scale = draws.size, draws.scale()
    shape, half = (2, n, n, 15), draws.half
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


def transpose_conv(draws: Draws, told: Any = None) -> DrawnFile:
    """``told`` is what its first input says of the shape, where that is another one."""
    n = draws.size
    own, scale = draws.weights((9, 3, 3, 8), 0, True), draws.scale()
    out = np.float32(scale * own[1].max() * np.sqrt(72) * 20)
    shape = (2, 2 * n, 2 * n, 9)
    content = one_op(
        "TRANSPOSE_CONV",
        [
            FlatTensor("shape", dtype="int32", data=np.array(told or shape)),
            own[0],
            draws.tensor("x", (2, n, n, 8), scale, draws.zero()),
            draws.bias(9, scale * own[1]),
        ],
        [draws.tensor("y", shape, out, draws.zero())],
        ("TransposeConvOptions", {"strideW": 2, "strideH": 2}),
        3 if draws.dtype == "int8" else 4,
    )
    return DrawnFile(content, [draws.codes(2, n, n, 8)])


def resize(draws: Draws, operator: str, centers: bool, corners: bool) -> DrawnFile:
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
