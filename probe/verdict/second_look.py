"""A party's allowance after a second look at its elements that lie beyond: by their true partial
sums, and by the places of equal numbers."""

import numpy as np

from probe.comparison.compare import compare
from probe.evaluation.allowance import settle
from probe.evaluation.party import Arrays
from probe.evaluation.reference import Reference
from probe.numerics.precision import Precision
from probe.verdict.discontinuities import among_equals

NEAR = 100.0, 2.0
"""What lies so many times beyond what a few runs with noise tell, or more of them, may lie within
what yet more tell: errors that all elements share are drawn but once a run."""

__all__ = ["NEAR", "among_equal_numbers", "looked_at", "rounding"]


def rounding(
    layer: Reference, precision: Precision, outputs: Arrays, first: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
    """The allowance of an arithmetic after all that rounding alone may do."""
    looked = looked_at(layer, precision, outputs, first)
    equals = among_equal_numbers(layer, outputs, looked)
    if equals is None:
        return looked
    return equals


def looked_at(
    layer: Reference, precision: Precision, outputs: Arrays, first: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
    """The allowance after a second look at those elements of a party that lie beyond ``first``.

    Of runs with noise after more of them, where these may tell another scale.
    """
    if layer.drawn(precision):
        for look, near in enumerate(NEAR, start=1):
            ratio = compare(outputs, layer.values[-1], first).ratio
            if not (1 < ratio < near or (ratio > 1 and layer.jumps)):
                break
            first = layer.allowances(precision, look)
        return first
    looked = []
    for output, (allowed, value) in enumerate(zip(first, layer.values[-1], strict=True)):
        theirs = _alike(outputs, output, value)
        looked.append(
            allowed
            if theirs is None
            else settle(
                layer.steps,
                layer.inputs,
                layer.values,
                precision,
                _error(theirs, value),
                allowed,
                output,
            )
        )
    return tuple(looked)


def among_equal_numbers(
    layer: Reference, outputs: Arrays, allowance: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...] | None:
    """The allowance with that of other places of equal numbers; None where no output is places."""
    widened: dict[int, np.ndarray] = {}
    for output, (slack, value) in enumerate(zip(allowance, layer.values[-1], strict=True)):
        theirs = _alike(outputs, output, value)
        if theirs is None:
            continue
        ties = among_equals(layer.steps, layer.inputs, layer.values, output, theirs)
        if ties is not None:
            widened[output] = np.where(ties, np.maximum(slack, _error(theirs, value)), slack)
    if widened:
        return tuple(widened.get(k, slack) for k, slack in enumerate(allowance))
    return None


def _alike(outputs: Arrays, output: int, value: np.ndarray) -> np.ndarray | None:
    """An output of a party, where it is there and has NumPy's shape."""
    theirs = outputs[output] if output < len(outputs) else None
    if theirs is not None and theirs.shape == value.shape:
        return theirs
    return None


def _error(theirs: np.ndarray, value: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        # without axes it is no array
        error = np.asarray(np.subtract(theirs, value, dtype=np.float64))
        np.abs(error, out=error)
    return error
