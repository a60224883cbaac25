"""Every pair of parties compared: what each may be off by, and for recurrences along which path."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from probe.comparison.compare import PARTIES, Comparison, compare, identical, tolerated
from probe.evaluation.party import Arrays, PartyResult, only
from probe.numerics.blocks import same_bits
from probe.numerics.precision import precision_of
from probe.verdict.judgement import Pair

__all__ = ["equal", "pairs"]


def pairs(
    outputs: Mapping[str, Arrays],
    results: Mapping[str, PartyResult],
    compared: Mapping[Pair, Comparison],
    tolerance: tuple[float, float] | None,
    dtype: str,
) -> dict[Pair, Comparison]:
    """Every pair of parties, in the order of PARTIES; ``compared`` are those compared already.

    NumPy's own error is nothing beside a party's in float32, so a pair with NumPy has that party's
    allowance and any other pair the sum of both. Where yours was computed from other inputs than
    the framework's, it is compared with NumPy alone.
    """
    present = [party for party in PARTIES if party in outputs]
    yours = results.get("expected")
    apart = yours is not None and yours.party.layer is not results["framework"].party.layer
    comparisons: dict[Pair, Comparison] = {}
    for i, left in enumerate(present):
        for right in present[i + 1 :]:
            if right == "expected" and apart and left != "numpy":
                continue
            if tolerance is not None:
                first = yours.party.values if yours is not None and apart else outputs[left]
                known = yours.party.known if yours is not None and right == "expected" else None
                allowed = tolerated(first, tolerance)
                comparisons[left, right] = _compared(first, outputs[right], allowed, 1.0, known)
            elif "numpy" not in outputs:
                continue
            elif "numpy" in (left, right):
                result = results[right if left == "numpy" else left]
                comparisons[left, right] = _certainty(result, dtype)
            elif (left, right) in compared:
                comparisons[left, right] = compared[left, right]
            else:
                comparisons[left, right] = _two(results[left], results[right])
    return comparisons


def _compared(
    first: Arrays,
    second: Arrays,
    allowed: tuple[np.ndarray, ...],
    times: float,
    known: np.ndarray | None,
) -> Comparison:
    """Two parties' outputs, where values are ``known``."""
    if known is None:
        return compare(first, second, allowed, times)
    comparison = compare(only(known, first), only(known, second), allowed, times)
    return replace(comparison, size=int(known.sum()))


def _two(left: PartyResult, right: PartyResult) -> Comparison:
    """Two parties, neither of which is NumPy: each may lie off what it was held against."""
    first, second, known = left.party.outputs, right.party.outputs, right.party.known
    if right.party.name != "expected" and equal(first, second):
        return identical(first, left.allowance)
    paths = list(zip(left.reference, right.reference, strict=True))
    alike = all(path is other for path, other in paths)
    if alike and left.allowance is right.allowance:
        return _compared(first, second, left.allowance, 2.0, known)
    allowed = tuple(map(np.add, left.allowance, right.allowance))
    if not alike:
        if len(first) == len(second) == len(paths):
            first, second = (
                tuple(_both(output, path) for output, path in zip(outputs, paths, strict=True))
                for outputs in (first, second)
            )
        allowed = tuple(slack + _apart(*path) for path, slack in zip(paths, allowed, strict=True))
    return _compared(first, second, allowed, 1.0, known)


def _both(output: np.ndarray | None, paths: tuple[np.ndarray, np.ndarray]) -> np.ndarray | None:
    """A party's output where both paths are finite or neither is; each party is held against its
    own path elsewhere."""
    apart = np.isfinite(paths[0]) != np.isfinite(paths[1])
    if output is not None and output.shape == apart.shape and apart.any():
        return np.where(apart, 0.0, output)
    return output


def _apart(path: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far two paths are apart; 0 where that is no number."""
    with np.errstate(all="ignore"):
        difference = np.abs(np.subtract(path, other, dtype=np.float64))
    return np.where(np.isfinite(difference), difference, 0.0)


def equal(left: Arrays, right: Arrays) -> bool:
    """Whether all outputs of two parties are there and equal bit for bit."""
    return len(left) == len(right) and all(
        array is not None and other is not None and array.size > 0 and same_bits(array, other)
        for array, other in zip(left, right, strict=True)
    )


def _certainty(result: PartyResult, dtype: str) -> Comparison:
    """A party and NumPy; where they differ, whether any order of rounding could do that at the
    worst element."""
    comparison = result.comparison
    worst = comparison.worst
    composed = result.party.layer.composed
    # of several calls behind each other no bound is known that is of any use
    if comparison.ok or comparison.reason or worst is None or composed:
        return comparison
    if result.party.name == "onnx":
        precision = precision_of("float32", casts=dtype == "float64")
    else:
        precision = precision_of(dtype)
    bounds = result.party.bounds.by(precision)
    usual = float(bounds.usual()[worst.output][worst.index])
    bound = bounds.certain(worst.index, worst.output)
    # What else the pair was allowed (the layers before, storing) is allowed here too.
    extra = max(0.0, worst.allowance - max(usual, 0.0))
    return replace(comparison, certain=worst.error > max(bound, usual) + extra)
