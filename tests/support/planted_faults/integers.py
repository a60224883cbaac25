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
