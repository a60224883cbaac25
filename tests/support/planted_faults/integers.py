"""Mistakes planted in the integers behind the weights of an ONNX model, in arithmetic of NumPy's
own."""

from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from planting import Rows, draw, planter, rng

ROWS: Rows = []
plant = planter(ROWS)
CODES = rng(2).integers(0, 256, (12, 8)).astype(np.uint8)
SCALE = rng(3).uniform(0.01, 0.05, 8).astype(np.float32)
ZERO = rng(4).integers(100, 150, 8).astype(np.uint8)


def _weight(codes: np.ndarray = CODES, scale: np.ndarray = SCALE, by: int = 0) -> np.ndarray:
    return (codes.astype(np.float32) - ZERO - by) * scale


def _pairs_exchanged() -> np.ndarray:
    return _weight(codes=CODES.reshape(6, 2, 8)[:, ::-1].reshape(12, 8))


def _planted(slug: str, weight: Callable[[], np.ndarray]) -> None:
    @plant(slug, "DequantizeLinear")
    def product() -> tuple:
        held = {"codes": CODES, "scale": SCALE, "zero": ZERO}
        nodes = [
            helper.make_node("DequantizeLinear", list(held), ["w"], axis=1),
            helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
        ]
        shapes = {"x": (3, 12), "y": (3, 8)}
        x, y = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        )
        arrays = [numpy_helper.from_array(array, name) for name, array in held.items()]
        graph = helper.make_graph(nodes, "g", [x], [y], arrays)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        given = draw(3, 12)
        return model, given, given @ weight(), {"at": "product"}


_planted("zero-point", lambda: _weight(by=1))
_planted("ignored-scale", lambda: _weight(scale=np.ones(8, np.float32)))
_planted("transposed-scale", lambda: _weight(scale=SCALE[::-1]))
_planted("nibble-order", _pairs_exchanged)
_planted("code-format", lambda: _weight(codes=CODES.astype(np.int8)))


_CONV = {
    "x_scale": np.float32(0.021),
    "x_zero": np.uint8(121),
    "w": rng(5).integers(-127, 128, (5, 3, 3, 3)).astype(np.int8),
    "w_scale": np.array([0.0043, 0.0081, 0.0032, 0.0096, 0.0057], np.float32),
    "w_zero": np.zeros(5, np.int8),
    "y_scale": np.float32(0.041),
    "y_zero": np.uint8(117),
    "bias": rng(6).integers(-4000, 4000, 5).astype(np.int32),
}


def _whole(sums: np.ndarray) -> np.ndarray:
    return sums


def _levels(
    x: np.ndarray,
    products: Callable[[np.ndarray], np.ndarray] = _whole,
    sums: Callable[[np.ndarray], np.ndarray] = _whole,
    scale: Callable[[np.ndarray], np.ndarray] = _whole,
    rounded: Callable[[np.ndarray], np.ndarray] = np.rint,
    kept: Callable[[np.ndarray], np.ndarray] = lambda levels: levels.clip(0, 255),
) -> np.ndarray:
    """A convolution in the integers that C code computes with."""
    centred = np.pad(x.astype(np.int64) - 121, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(centred, (3, 3), axis=(2, 3))
    total = products(np.einsum("nchwij,ocij->nohw", windows, _CONV["w"].astype(np.int64)))
    total = sums(total + _CONV["bias"].astype(np.int64)[:, None, None])
    factor = 0.021 * scale(_CONV["w_scale"]).astype(np.float64) / 0.041
    return kept(rounded(total * factor[:, None, None]) + 117).astype(np.uint8)


def _convolved(slug: str, **mistake: Callable[[np.ndarray], np.ndarray]) -> None:
    @plant(slug, "QLinearConv")
    def convolution() -> tuple:
        names = ["x", *list(_CONV)]
        node = helper.make_node("QLinearConv", names, ["y"], name="conv", pads=[1] * 4)
        shapes = {"x": (2, 3, 7, 6), "y": (2, 5, 7, 6)}
        x, y = (
            helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
            for name, shape in shapes.items()
        )
        arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in _CONV.items()]
        graph = helper.make_graph([node], "g", [x], [y], arrays)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9)
        given = rng(7).integers(0, 256, shapes["x"]).astype(np.uint8)
        return model, given, _levels(given, **mistake), {"at": "conv"}


_convolved("rounding-mode", rounded=np.floor)
_convolved("wrap-around", kept=lambda levels: levels % 256)
_convolved("wrap-around", sums=lambda total: total.astype(np.int16))
_convolved("saturation", sums=lambda total: total.clip(-(2**15), 2**15 - 1))
_convolved("fixed-point", products=lambda total: (total >> 6) << 6)
_convolved("transposed-scale", scale=lambda scale: np.full_like(scale, scale.max()))
