"""Whether a party's range of numbers may be too small for what a layer computes on the way."""

import numpy as np

from probe.comparison.compare import compare
from probe.numerics.dtypes import LARGEST
from probe.verdict.detection_power import computes_in
from probe.verdict.judgement import Judgement

__all__ = ["leaves_range"]


def leaves_range(party: str, call: Judgement, alone: bool) -> bool:
    """Whether what a party computes in may not hold all on the way: it has NaN or inf where NumPy
    has not, and is right elsewhere.

    With numbers at the very end of the range it need not be (1 / inf is 0), nor have any where
    NumPy is ``alone`` against all others.
    """
    limit = LARGEST.get(computes_in(party, call.capture.dtype), np.finfo(np.float64).max)
    theirs = [one for one in call.outputs[party] if one is not None]
    ours = list(call.results[party].reference)
    if call.unusual.products < limit or [one.shape for one in theirs] != [
        one.shape for one in ours
    ]:
        return False
    lost = [~np.isfinite(one) for one in theirs]
    if 4 * call.unusual.largest >= limit:
        return alone or any(gone.any() for gone in lost)
    left, right = (
        [np.where(gone, 0.0, one) for gone, one in zip(lost, side, strict=True)]
        for side in (theirs, ours)
    )
    allowance = call.results[party].allowance
    return any(gone.any() for gone in lost) and compare(left, right, allowance).ok
