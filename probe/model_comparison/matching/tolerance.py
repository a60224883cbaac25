"""Differences that the user allows, though rounding does not explain them."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from probe.comparison.compare import compare, tolerated
from probe.model_comparison.matching.paired import Paired
from probe.model_comparison.matching.segments import Segment
from probe.numerics.dtypes import widened

__all__ = ["tolerate"]


def tolerate(segments: Iterable[Segment], tolerance: tuple[float, float]) -> None:
    """Takes the local error of a segment for none where it lies within rtol and atol of A's
    values; it stays in units of the allowance."""
    for segment in segments:
        paired = segment.paired
        if segment.differs and paired.local is not None and _lies_within(paired, tolerance):
            local = replace(paired.local, ok=True, count=0)
            segment.paired = replace(paired, local=local)


def _lies_within(paired: Paired, tolerance: tuple[float, float]) -> bool:
    if paired.unforced is None:
        return False
    array = paired.a.gathered([tensor.value for tensor in paired.a.tensors])
    try:
        theirs = paired.way.to_b(widened(array))
    except ValueError:  # of another shape
        return False
    if theirs.shape != paired.unforced.shape:
        return False
    allowed = np.broadcast_to(tolerated((theirs,), tolerance)[0], theirs.shape)
    return bool(compare((theirs,), (paired.unforced,), (allowed,)).ok)
