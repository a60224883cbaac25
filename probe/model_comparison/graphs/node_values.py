"""What a node gives on other inputs than its own, what rounding may do to it, and signatures."""

from collections.abc import Sequence

import numpy as np

from probe.errors import absorbed
from probe.evaluation.allowance import carry
from probe.model_comparison.graphs.graph import GraphNode
from probe.numerics.dtypes import widened
from probe.numerics.precision import SIGMAS, UNBOUNDED, Precision, precision_of
from probe.trial.refusals import refused

__all__ = [
    "added",
    "as_stored",
    "bounds_of",
    "channel_axis",
    "digits",
    "evaluated",
    "signature",
    "taken",
]

_FLOATS = ("float64", "float32", "float16", "bfloat16")
_SEVEN_DIGITS = 5e-7
"""Half a unit in the seventh digit, relative: arrays often pass through text on their way."""


def evaluated(node: GraphNode, inputs: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """The outputs of a node in float64; None where its op cannot take these shapes."""
    assert node.op is not None
    operands = [taken(node, x) for x in inputs]
    try:
        with np.errstate(all="ignore"):
            if node.op.takes_any_float:
                return list(node.op.run_float64(*operands))
            return list(node.op.run(*map(widened, operands)))
    except Exception as error:
        refused(error)
        return None


def bounds_of(
    node: GraphNode,
    inputs: Sequence[np.ndarray],
    slacks: Sequence[np.ndarray | None],
    outputs: Sequence[np.ndarray],
    precision: Precision,
) -> list[np.ndarray | None]:
    """What rounding may do to each output of a node: nothing where it is not finite, or whole."""
    assert node.op is not None
    wide = list(inputs) if node.op.takes_any_float else [widened(x) for x in inputs]
    try:
        with np.errstate(all="ignore"):
            bounds = carry(node.op, wide, slacks, list(outputs), precision, False)
    except Exception as error:
        absorbed(error)
        return [np.full(y.shape, UNBOUNDED) if y.dtype.kind == "f" else None for y in outputs]
    clean: list[np.ndarray | None] = []
    for bound, value in zip(bounds, outputs, strict=False):
        if bound is None or value.dtype.kind != "f":
            clean.append(None)
            continue
        finite = np.isfinite(value)
        if not finite.all():
            bound = np.where(finite, bound, 0.0)
        if np.isnan(bound).any():
            bound = np.where(np.isnan(bound), 0.0, bound)
        clean.append(bound)
    clean += [None] * (len(outputs) - len(clean))
    for place, tensor in enumerate(node.outputs[: len(clean)]):
        if tensor.rounding is not None:  # a constant that was worked out
            clean[place] = added(clean[place], tensor.rounding)
    return clean


def as_stored(
    node: GraphNode,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    bounds: Sequence[np.ndarray | None],
    unit: float,
) -> list[np.ndarray | None]:
    """With what storing has done to outputs that are rounded already: six of its scale, as for all
    that adds up by chance."""
    assert node.op is not None
    stored: list[np.ndarray | None] = []
    for bound, y in zip(bounds, outputs, strict=True):
        if y.dtype.kind != "f":
            stored.append(bound)
            continue
        parts = (y, *node.op.intermediates([widened(x) for x in inputs], widened(y)))
        sizes = sum(np.abs(np.where(np.isfinite(part), part, 0.0)) for part in parts)
        stored.append(added(bound, SIGMAS / np.sqrt(3) * unit * sizes))
    return stored


def added(bound: np.ndarray | None, more: np.ndarray | float) -> np.ndarray:
    """What one thing may do, and another besides."""
    if bound is None:
        return np.asarray(more)
    return np.asarray(bound + more)  # NumPy gives a number of arrays without axes


def taken(node: GraphNode, x: np.ndarray) -> np.ndarray:
    """An input as the op takes it."""
    if node.takes_floats and x.dtype.kind in "biu":
        return x.astype(np.float64)
    return x


def digits(value: np.ndarray) -> np.ndarray:
    """What an array that another program wrote holds no digits of."""
    if value.dtype.name not in _FLOATS:
        return np.zeros(value.shape)
    unit = max(_SEVEN_DIGITS, precision_of(value.dtype.name).unit)
    return np.asarray(unit * np.where(np.isfinite(value), np.abs(value), 0.0), np.float64)


def signature(value: np.ndarray) -> np.ndarray:
    """Numbers that no order of axes changes: root mean square, deviation, mean size, ends; 0 of an
    array without elements."""
    if not value.size:
        return np.zeros(6)
    wide = value.astype(np.float64, copy=False).ravel()
    finite = np.isfinite(wide)
    if not finite.all():
        wide = np.where(finite, wide, 0.0)
    mean = wide.mean()
    square = float(np.dot(wide, wide)) / wide.size
    return np.array(
        [
            np.sqrt(square),
            np.sqrt(max(0.0, square - mean**2)),
            mean,
            np.abs(wide).mean(),
            wide.max(),
            wide.min(),
        ]
    )


def channel_axis(node: GraphNode) -> int | None:
    """The axis of a node's output that its rows lie on."""
    if node.kind == "MatMul":
        return -1
    if node.kind == "Conv":
        return 1
    return None
