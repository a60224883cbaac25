"""Mistakes planted in TensorFlow Lite's layers of codes, in whole numbers of NumPy's own."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from planting import Rows, draw, planter, rng
from tflite_files import FlatNode, FlatTensor, Net, built, one_op

ROWS: Rows = []
plant = planter(ROWS)
FOLDER = TemporaryDirectory()
IN, OUT = (np.float32(0.05), 7), (np.float32(0.35), -9)
"""Scale and zero point of the input and of the output."""
SCALES = rng(5).uniform(0.004, 0.02, 8).astype(np.float32)
KERNEL = rng(6).integers(-127, 128, (8, 3, 3, 4))
BIAS = rng(7).integers(-4000, 4000, 8)
X = rng(8).integers(-128, 128, (1, 24, 24, 4)).astype(np.int8)
MULTIPLIERS = np.float64(IN[0]) * SCALES.astype(np.float64) / np.float64(OUT[0])


def _conv(activation: int, x: np.ndarray = X) -> tuple[str, np.ndarray]:
    path = Path(FOLDER.name) / f"conv_{activation}.tflite"
    tensors = [
        FlatTensor("x", X.shape, "int8", scale=IN[0], zero_point=IN[1]),
        FlatTensor("w", dtype="int8", data=KERNEL, scale=SCALES),
        FlatTensor("b", dtype="int32", data=BIAS, scale=IN[0] * SCALES),
    ]
    y = FlatTensor("y", (*X.shape[:3], 8), "int8", scale=OUT[0], zero_point=OUT[1])
    options = {"strideW": 1, "strideH": 1, "fusedActivationFunction": activation}
    one_op("CONV_2D", tensors, [y], ("Conv2DOptions", options), 3, path)
    return str(path), x


def _sums(
    zero: int = IN[1],
    padding: int | None = None,
    bias: np.ndarray = BIAS,
    narrow: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> np.ndarray:
    """Sums of products and the bias, the border padded with a code."""
    edge = IN[1] if padding is None else padding
    codes = np.pad(X.astype(int), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=edge) - zero
    total = np.zeros((*X.shape[:3], 8), int)
    for row in range(3):
        for column in range(3):
            part = codes[:, row : row + 24, column : column + 24]
            total += part @ KERNEL[:, row, column].T
    return narrow(total + bias)


def _split() -> tuple[np.ndarray, np.ndarray]:
    fraction, shift = np.frexp(MULTIPLIERS)
    return np.floor(fraction * 2**31 + 0.5).astype(int), shift


def _twice(sums: np.ndarray, ties: str = "away") -> np.ndarray:
    multiplier, shift = _split()
    high = np.floor(sums * multiplier / 2.0**31 + 0.5).astype(int)
    if ties == "up":
        return np.floor(high * 2.0**shift + 0.5).astype(int)
    return (np.sign(high) * np.floor(np.abs(high) * 2.0**shift + 0.5)).astype(int)


def _in_float(sums: np.ndarray) -> np.ndarray:
    factor = IN[0] * SCALES / OUT[0]
    return np.rint(sums.astype(np.float32) * factor).astype(int)


def _codes(steps: np.ndarray, low: int = -128, high: int = 127, zero: int = OUT[1]) -> np.ndarray:
    return np.clip(steps + zero, low, high).astype(np.int8)


def _rows(
    slug: str, expected: Callable[[], np.ndarray], activation: int = 0, **options: Any
) -> None:
    @plant(slug, f"TFLite CONV_2D{' with RELU' if activation else ''}")
    def convolution() -> tuple:
        return (*_conv(activation), expected(), *([options] if options else []))


_rows("rounds-twice", lambda: _codes(_twice(_sums())))
_rows("rounds-halves-up", lambda: _codes(_twice(_sums(), "up")))
_rows("per-tensor-scale", lambda: _codes(np.rint(_sums() * MULTIPLIERS[0]).astype(int)))
_rows("zero-point-ignored", lambda: _codes(_in_float(_sums(zero=0, padding=0))))
_rows("zero-point-ignored", lambda: _codes(_in_float(_sums()), zero=0))
_rows("zero-point-in-padding", lambda: _codes(_in_float(_sums(padding=0))))
_rows("activation-clamp", lambda: _codes(_in_float(_sums()), low=0), 1)
_rows("activation-clamp", lambda: _codes(_in_float(_sums())), 1)
_rows("bias-scale", lambda: _codes(_in_float(_sums(bias=np.clip(BIAS, -128, 127)))))
_rows("bias-scale", lambda: _codes(_in_float(_sums(bias=np.rint(BIAS * float(IN[0])).astype(int)))))
_rows("no-requantisation", lambda: _sums().astype(np.int32))
_rows(
    "accumulator-overflow",
    lambda: _codes(_in_float(_sums(narrow=lambda sums: sums.astype(np.int16).astype(int)))),
)
_rows(
    "accumulator-overflow",
    lambda: _codes(_in_float(_sums(narrow=lambda sums: np.clip(sums, -32768, 32767)))),
)


WEIGHTS = rng(9).integers(-127, 128, (10, 40))
ROWS_OF_X = draw(6, 40, seed=3) + np.float32(0.4)


def _dense() -> tuple[str, np.ndarray]:
    path = Path(FOLDER.name) / "dense.tflite"
    tensors = [
        FlatTensor("x", ROWS_OF_X.shape),
        FlatTensor("w", dtype="int8", data=WEIGHTS, scale=0.02),
        FlatTensor("b", data=np.linspace(-1, 1, 10)),
    ]
    y = FlatTensor("y", (6, 10))
    options = {"asymmetricQuantizeInputs": True}
    one_op("FULLY_CONNECTED", tensors, [y], ("FullyConnectedOptions", options), 9, path)
    return str(path), ROWS_OF_X


def _with_input(quantized: np.ndarray) -> np.ndarray:
    product = quantized @ (WEIGHTS * float(np.float32(0.02))).T + np.linspace(-1, 1, 10)
    return product.astype(np.float32)


@plant("dynamic-input", "TFLite FULLY_CONNECTED of dynamic range")
def symmetric_rows() -> tuple:
    scale = np.abs(ROWS_OF_X).max(axis=1, keepdims=True) / 127
    return (*_dense(), _with_input(np.rint(ROWS_OF_X / scale) * scale))


@plant("dynamic-input", "TFLite FULLY_CONNECTED of dynamic range")
def one_scale_for_the_batch() -> tuple:
    scale = np.abs(ROWS_OF_X).max() / 127
    return (*_dense(), _with_input(np.rint(ROWS_OF_X / scale) * scale))


POINTS = rng(14).integers(-127, 128, (6, 1, 1, 12))
MAP = draw(3, 8, 8, 12, seed=4) * np.linspace(0.2, 3.0, 64).reshape(8, 8, 1).astype(np.float32)


def _of_points() -> tuple[str, np.ndarray]:
    """XNNPACK quantises the input of such a convolution for each pixel."""
    path = Path(FOLDER.name) / "points.tflite"
    tensors = [
        FlatTensor("x", MAP.shape),
        FlatTensor("w", dtype="int8", data=POINTS, scale=SCALES[:6]),
        FlatTensor("b", data=np.linspace(-1, 1, 6)),
    ]
    y = FlatTensor("y", (*MAP.shape[:3], 6))
    one_op("CONV_2D", tensors, [y], ("Conv2DOptions", {"strideW": 1, "strideH": 1}), 5, path)
    return str(path), MAP


def _of_quantized(quantized: np.ndarray) -> np.ndarray:
    kernel = POINTS[:, 0, 0] * SCALES[:6, None].astype(float)
    return (quantized @ kernel.T + np.linspace(-1, 1, 6)).astype(np.float32)


@plant("dynamic-input", "TFLite CONV_2D of dynamic range")
def a_scale_for_each_entry() -> tuple:
    low = MAP.min(axis=(1, 2, 3), keepdims=True).clip(max=0)
    high = MAP.max(axis=(1, 2, 3), keepdims=True).clip(min=0)
    scale = (high - low) / np.float32(255)
    zero = np.rint(-128 - low / scale)
    codes = np.clip(np.rint(MAP / scale) + zero, -128, 127)
    return (*_of_points(), _of_quantized((codes - zero) * scale.astype(float)))


@plant("dynamic-input", "TFLite CONV_2D of dynamic range")
def symmetric_pixels() -> tuple:
    scale = np.abs(MAP).max(axis=3, keepdims=True) / np.float32(127)
    return (*_of_points(), _of_quantized(np.rint(MAP / scale) * scale.astype(float)))


def _pools() -> tuple[str, np.ndarray]:
    path = Path(FOLDER.name) / "pools.tflite"
    tensors = [
        FlatTensor(name, (1, size, size, 4), "int8", scale=0.05, zero_point=3)
        for name, size in (("x", 24), ("first", 23), ("second", 22), ("third", 11))
    ]
    nodes = [
        FlatNode("MAX_POOL_2D", [at], [at + 1], ("Pool2DOptions", _window(stride)), 2)
        for at, stride in enumerate((1, 1, 2))
    ]
    built(Net(tensors, nodes, [0], [3]), path=path)
    return str(path), X


def _window(stride: int) -> dict[str, int]:
    sizes = {"filterWidth": 2, "filterHeight": 2}
    return {"padding": 1, "strideW": stride, "strideH": stride, **sizes}


def _pooled(x: np.ndarray, stride: int) -> np.ndarray:
    parts = [x[:, i : x.shape[1] - 1 + i, j : x.shape[2] - 1 + j] for i in (0, 1) for j in (0, 1)]
    return np.maximum.reduce(parts)[:, ::stride, ::stride]


@plant("reused-buffer", "TFLite MAX_POOL_2D")
def the_place_of_a_later_tensor() -> tuple:
    first = _pooled(X, 1)
    arena = first.ravel().copy()  # the third tensor comes in the place of the first
    third = _pooled(_pooled(first, 1), 2).ravel()
    arena[: third.size] = third
    return (*_pools(), arena.reshape(first.shape), {"at": "first"})


EIGHTHS = rng(11).integers(-3, 4, (12, 16))
SMALL = rng(12).integers(-16, 17, (50, 16)).astype(np.int8)


def _of_eighths() -> tuple[str, np.ndarray]:
    """Sums whose scale is 1/8: every eighth of them is a tie."""
    path = Path(FOLDER.name) / "eighths.tflite"
    tensors = [
        FlatTensor("x", SMALL.shape, "int8", scale=0.5),
        FlatTensor("w", dtype="int8", data=EIGHTHS, scale=0.25),
        FlatTensor("b", dtype="int32", data=np.zeros(12), scale=0.125),
    ]
    y = FlatTensor("y", (50, 12), "int8", scale=1.0)
    one_op("FULLY_CONNECTED", tensors, [y], ("FullyConnectedOptions", {}), 4, path)
    return str(path), SMALL


@plant("rounds-once", "TFLite FULLY_CONNECTED")
def halves_up() -> tuple:
    exact = SMALL.astype(int) @ EIGHTHS.T / 8
    return (*_of_eighths(), np.floor(exact + 0.5).astype(np.int8))


@plant("requantised-in-float", "TFLite FULLY_CONNECTED")
def halves_away_from_zero() -> tuple:
    exact = SMALL.astype(int) @ EIGHTHS.T / 8
    nearest = np.sign(exact) * np.floor(np.abs(exact) + 0.5)
    return (*_of_eighths(), nearest.astype(np.int8))


MAPS = rng(13).integers(-128, 128, (40, 5, 6, 8)).astype(np.int8)


def _mean() -> tuple[str, np.ndarray]:
    path = Path(FOLDER.name) / "mean.tflite"
    tensors = [
        FlatTensor("x", MAPS.shape, "int8", scale=IN[0], zero_point=IN[1]),
        FlatTensor("axes", dtype="int32", data=np.array([1, 2])),
    ]
    y = FlatTensor("y", (40, 8), "int8", scale=0.011, zero_point=OUT[1])
    one_op("MEAN", tensors, [y], ("ReducerOptions", {}), 2, path)
    return str(path), MAPS


@plant("another-kernel", "TFLite MEAN")
def a_mean_in_whole_numbers() -> tuple:
    sums = (MAPS.astype(int) - IN[1]).sum(axis=(1, 2))
    fraction, shift = np.frexp(np.float64(IN[0]) / np.float64(np.float32(0.011)))
    multiplier, right = (int(fraction * 2**31 + 0.5) << 4) // 30, 4 - int(shift)
    high = np.floor(sums * multiplier / 2.0**31 + 0.5).astype(int)
    return (*_mean(), _codes(np.sign(high) * ((np.abs(high) + (1 << right >> 1)) >> right)))
