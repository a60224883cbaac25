"""What a node gives on other inputs than its own, what rounding may do to it, and signatures."""

from collections.abc import Sequence

import numpy as np

from probe.errors import absorbed
from probe.evaluation.allowance import carry
from probe.model_comparison.graphs.graph import Node
from probe.numerics.dtypes import widened
from probe.numerics.precision import SIGMAS, UNBOUNDED, Precision, precision_of
from probe.trial.refusals import refused

__all__ = ["as_stored", "bounds_of", "channel_axis", "digits", "evaluated", "signature", "taken"]

_FLOATS = ("float64", "float32", "float16", "bfloat16")
_SEVEN_DIGITS = 5e-7
"""Half a unit in the seventh digit, relative: arrays often pass through text on their way."""


def evaluated(node: Node, inputs: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """The outputs of a node in float64; None where its op cannot take these shapes."""
    assert node.op is not None
    given = [taken(node, x) for x in inputs]
    try:
        with np.errstate(all="ignore"):
            if node.op.takes_any_float:
                return list(node.op.run_float64(*given))
            return list(node.op.run(*map(widened, given)))
    except Exception as error:
        refused(error)
        return None


def bounds_of(
    node: Node,
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
            found = carry(node.op, wide, slacks, list(outputs), precision, False)
    except Exception as error:
        absorbed(error)
        return [np.full(y.shape, UNBOUNDED) if y.dtype.kind == "f" else None for y in outputs]
    made: list[np.ndarray | None] = []
    for bound, value in zip(found, outputs, strict=False):
        if bound is None or value.dtype.kind != "f":
            made.append(None)
            continue
        finite = np.isfinite(value)
        clean = bound if finite.all() else np.where(finite, bound, 0.0)
        made.append(np.where(np.isnan(clean), 0.0, clean) if np.isnan(clean).any() else clean)
    return made + [None] * (len(outputs) - len(made))


def as_stored(
    node: Node,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    bounds: Sequence[np.ndarray | None],
    unit: float,
) -> list[np.ndarray | None]:
    """With what storing has done to outputs that are rounded already: six of its scale, as for all
    that adds up by chance."""
    assert node.op is not None
    made: list[np.ndarray | None] = []
    for bound, y in zip(bounds, outputs, strict=True):
        if y.dtype.kind != "f":
            made.append(bound)
            continue
        parts = (y, *node.op.intermediates([widened(x) for x in inputs], widened(y)))
        sizes = sum(np.abs(np.where(np.isfinite(one), one, 0.0)) for one in parts)
        made.append(SIGMAS / np.sqrt(3) * unit * sizes + (0.0 if bound is None else bound))
    return made


def taken(node: Node, x: np.ndarray) -> np.ndarray:
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


def channel_axis(node: Node) -> int | None:
    """The axis of a node's output that its rows lie on."""
    if node.kind == "MatMul":
        return -1
    if node.kind == "Conv":
        return 1
    return None
