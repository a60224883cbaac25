"""The arithmetic that QKeras' quantisers are made of, as TensorFlow's float32 kernels do it; the
ONNX nodes for it below."""

import numpy as np

from probe.ops.base import Graph

__all__ = [
    "EPSILON",
    "TINY",
    "emit_capped",
    "emit_flush",
    "emit_round",
    "flush",
    "like",
    "round_through",
]

TINY = float(np.finfo(np.float32).tiny)
EPSILON = 1e-7
"""keras.backend.epsilon()"""


def flush(x: np.ndarray) -> np.ndarray:
    """TensorFlow's kernels take float32 denormals for zero; ``sign`` can tell."""
    return np.where(np.abs(x) < TINY, x.dtype.type(0), x)


def like(x: np.ndarray, value: float | np.ndarray) -> np.ndarray:
    """A constant as QKeras has it, in float32, to be used with x."""
    return np.asarray(value, np.float32).astype(x.dtype)


def round_through(p: np.ndarray) -> np.ndarray:
    """Half to even, passed straight through: inf becomes NaN."""
    return p + (-p + np.rint(p))


def emit_flush(graph: Graph, x: str) -> str:
    return graph.op(
        "Where", graph.op("Less", graph.op("Abs", x), graph.const(TINY)), graph.const(0.0), x
    )


def emit_round(graph: Graph, p: str) -> str:
    return graph.op("Add", p, graph.op("Sub", graph.op("Round", p), p))


def emit_capped(graph: Graph, x: str, bound: float | np.ndarray, otherwise: str) -> str:
    """``bound`` where x is not below it, ``otherwise`` elsewhere."""
    limit = graph.const(bound)
    return graph.op("Where", graph.op("LessOrEqual", x, limit), otherwise, limit)
