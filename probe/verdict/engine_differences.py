"""Which differences between engines that are nobody's fault a call may show."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probe.evaluation.allowance import Values
from probe.evaluation.reference import Reference
from probe.numerics.blocks import blocks
from probe.ops.engine_differences import EngineDifference
from probe.ops.step import Step, weights_of

__all__ = ["EngineDifference", "Unusual", "unusual"]


@dataclass(frozen=True, eq=False)
class Unusual:
    """What may set engines apart in a call although none is at fault."""

    differences: tuple[EngineDifference, ...] = ()
    """What engines are known to differ in, as far as this call may show it."""
    touched: np.ndarray | None = None
    """Which elements of the output that may change to other numbers."""
    largest: float = 0.0
    """The largest number that the layer works with."""
    products: float = 0.0
    """What no sum of products of any two of these numbers exceeds."""


def unusual(layer: Reference) -> Unusual:
    """What of that a call shows."""
    call = layer.steps, layer.inputs, layer.values
    largest, products = _magnitudes(*call)
    return Unusual(_known(*call), _touched(*call), largest, products)


def _shown(
    steps: Sequence[Step], position: int, inputs: Sequence[np.ndarray], values: Values
) -> Iterator[tuple[EngineDifference, np.ndarray]]:
    """Those that one step may show, with its first input."""
    op, refs = steps[position].op, steps[position].sources(position)
    if not op.engine_differences or not refs:
        return
    x = refs[0].of(inputs, values)
    if x.dtype.kind == "f":
        yield from (
            (difference, x)
            for difference in op.engine_differences
            if difference.applies(op) and np.any(difference.holds(x))
        )


def _known(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> tuple[EngineDifference, ...]:
    """Those that this call may show."""
    return tuple(
        dict.fromkeys(
            difference
            for position in range(len(steps))
            for difference, _ in _shown(steps, position, inputs, values)
        )
    )


def _touched(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> np.ndarray | None:
    """Which elements of the only output may be other numbers by what some step shows; None where
    there is nothing of the kind.

    Those of the last step are known one by one; one before it may change all.
    """
    last, masks = len(steps) - 1, None
    for position in range(len(steps)):
        for difference, x in _shown(steps, position, inputs, values):
            if difference.touches is not None and len(values[-1]) == 1:
                mask = np.asarray(True)
                if position == last:
                    mask = difference.touches(steps[position].op, x)
                masks = mask if masks is None else masks | mask
    return masks


def _magnitudes(
    steps: Sequence[Step], inputs: Sequence[np.ndarray], values: Values
) -> tuple[float, float]:
    """The largest finite number among inputs, weights and what the steps give, and the sum of the
    squares of all.

    No sum of products of two of these numbers exceeds the latter (Cauchy and Schwarz), nor any sum
    of such numbers that are large.
    """
    weights = [weight.value for weight in weights_of(tuple(steps)).values()]
    largest, squares = 0.0, 0.0
    for x in (*inputs, *weights, *(value for step in values for value in step)):
        for (part,), _ in blocks(x) if x.dtype.kind in "fiu" and x.size else ():
            sizes = np.abs(part[np.isfinite(part)], dtype=np.float64)
            with np.errstate(over="ignore"):
                largest, squares = (
                    max(largest, float(sizes.max(initial=0.0))),
                    squares + float(sizes @ sizes),
                )
    return largest, squares
