"""Whether a party's range of numbers may be too small for what a layer computes on the way, or for
one of its constants."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from probe.comparison.compare import compare
from probe.numerics.dtypes import LARGEST
from probe.ops import Op
from probe.ops.step import field_names
from probe.verdict.detection_power import computes_in
from probe.verdict.judgement import Judgement

__all__ = ["constant_beyond", "leaves_range"]


def constant_beyond(call: Judgement) -> str:
    """That a number among the layer's options lies beyond the range of every engine that differs
    from NumPy, or is infinite where NaN or inf are all that differs, in words; "" where none is."""
    engines = [party for party in call.differing if party != "expected"]
    yours = call.comparisons.get(("framework", "expected"))
    if call.layer is None or not engines or (yours is not None and not yours.ok):
        return ""
    dtypes = [computes_in(party, call.capture.dtype) for party in engines]
    dtype = max(dtypes, key=lambda name: LARGEST.get(name, math.inf))
    largest = LARGEST.get(dtype, math.inf)
    lost = all(comparison.ok or comparison.reason for comparison in call.comparisons.values())
    for step in call.layer.steps:
        for option, value in _numbers(step.op):
            if largest <= abs(value) < math.inf:
                return (
                    f"{option} is {value:g}, which {dtype} does not hold (its largest number is "
                    f"{largest:.3g}): some engines round it to infinity, others compute with it in "
                    "float64"
                )
            if lost and value == math.inf:
                return f"{option} is inf, and engines differ in where that gives NaN"
    return ""


def _numbers(op: Op) -> Iterator[tuple[str, float]]:
    """The numbers among the options of an op and of those within it, each with its name."""
    kind: Any = type(op)
    for name in field_names(kind):
        value = getattr(op, name)
        if isinstance(value, float | np.floating):
            yield f"the {name} of its {kind.__name__}", float(value)
        elif isinstance(value, Op):
            yield from _numbers(value)


def leaves_range(party: str, call: Judgement, alone: bool) -> bool:
    """Whether what a party computes in may not hold all on the way: it has NaN or inf where NumPy
    has not, and is right elsewhere.

    With numbers at the very end of the range it need not be (1 / inf is 0), nor have any where
    NumPy is ``alone`` against all others.
    """
    limit = LARGEST.get(computes_in(party, call.capture.dtype), np.finfo(np.float64).max)
    theirs = [output for output in call.outputs[party] if output is not None]
    ours = list(call.results[party].reference)
    if call.unusual.products < limit or [array.shape for array in theirs] != [
        array.shape for array in ours
    ]:
        return False
    lost = [~np.isfinite(array) for array in theirs]
    if 4 * call.unusual.largest >= limit:
        return alone or any(gone.any() for gone in lost)
    left, right = (
        [np.where(gone, 0.0, array) for gone, array in zip(lost, side, strict=True)]
        for side in (theirs, ours)
    )
    allowance = call.results[party].allowance
    return any(gone.any() for gone in lost) and compare(left, right, allowance).ok
