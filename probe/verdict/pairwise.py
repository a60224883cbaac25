"""Every pair of parties compared: what each may be off by, and for recurrences along which path."""

from dataclasses import replace
from functools import reduce

import numpy as np

from probe.comparison.compare import PARTIES, Comparison, compare, identical
from probe.numerics.blocks import same_bits
from probe.verdict.evidence import Arrays, Evidence, Pair

__all__ = ["equal", "pairs"]


def pairs(
    evidence: Evidence, tolerance: tuple[float, float] | None, on_own: tuple[np.ndarray, ...] | None
) -> dict[Pair, Comparison]:
    """Every pair of parties, in the order of PARTIES.

    NumPy's own error is nothing beside a party's in float32, so a pair with NumPy has that party's
    allowance and any other pair the sum of both. Where yours was computed from other inputs than
    the framework's, it is compared with NumPy alone.
    """
    present = [party for party in PARTIES if party in evidence.outputs]
    found: dict[Pair, Comparison] = {}
    for i, left in enumerate(present):
        for right in present[i + 1 :]:
            first, second, times = evidence.outputs[left], evidence.outputs[right], 1.0
            if right == "expected" and on_own is not None:
                if left != "numpy":
                    continue
                first = on_own
            if tolerance is not None:
                rtol, atol = tolerance
                allowed = tuple(
                    np.zeros(())
                    if one is None
                    else atol + rtol * np.abs(np.asarray(one, np.float64))
                    for one in first
                )
            elif "numpy" not in evidence.outputs:
                continue
            else:
                parts = [evidence.allowed[party] for party in (left, right) if party != "numpy"]
                if (left, right) in evidence.near:
                    found[left, right] = evidence.near[left, right]
                    continue
                if right != "expected" and equal(first, second):
                    found[left, right] = identical(first, parts[0])
                    continue
                if len(parts) == 2 and parts[0] is parts[1]:
                    allowed, times = parts[0], 2.0
                else:
                    allowed = tuple(reduce(np.add, slacks) for slacks in zip(*parts, strict=True))
            if tolerance is None and evidence.paths:
                first, second, allowed = _along(evidence, left, right, first, second, allowed)
            if right == "expected" and evidence.known is not None:
                first, second = (
                    (np.where(evidence.known, np.asarray(part[0]), 0.0), *part[1:])
                    for part in (first, second)
                )
            found[left, right] = compare(first, second, allowed, times)
            if right == "expected" and evidence.known is not None:
                found[left, right] = replace(found[left, right], size=int(evidence.known.sum()))
    return found


def _along(
    evidence: Evidence,
    left: str,
    right: str,
    first: Arrays,
    second: Arrays,
    allowed: tuple[np.ndarray, ...],
) -> tuple[Arrays, Arrays, tuple[np.ndarray, ...]]:
    """A pair of parties that have recurrences: NumPy goes along with the other, and of two others
    each may lie off its own path."""
    if left == "numpy":
        return evidence.paths.get(right, first), second, allowed
    if right == "numpy":
        return first, evidence.paths.get(left, second), allowed
    ours = tuple(one for one in evidence.outputs["numpy"] if one is not None)
    paths = list(zip(evidence.paths.get(left, ours), evidence.paths.get(right, ours), strict=True))
    if len(first) == len(second) == len(paths):
        first, second = (
            tuple(_both(one, path) for one, path in zip(outputs, paths, strict=True))
            for outputs in (first, second)
        )
    return (
        first,
        second,
        tuple(
            slack + _apart(one, other) for (one, other), slack in zip(paths, allowed, strict=True)
        ),
    )


def _both(output: np.ndarray | None, paths: tuple[np.ndarray, np.ndarray]) -> np.ndarray | None:
    """A party's output where both paths are finite or neither is; each party is held against its
    own path elsewhere."""
    apart = np.isfinite(paths[0]) != np.isfinite(paths[1])
    return (
        np.where(apart, 0.0, output)
        if output is not None and output.shape == apart.shape and apart.any()
        else output
    )


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far two paths are apart; 0 where that is no number."""
    with np.errstate(all="ignore"):
        difference = np.abs(np.subtract(one, other, dtype=np.float64))
    return np.where(np.isfinite(difference), difference, 0.0)


def equal(left: Arrays, right: Arrays) -> bool:
    """Whether all outputs of two parties are there and equal bit for bit."""
    return len(left) == len(right) and all(
        one is not None and other is not None and one.size > 0 and same_bits(one, other)
        for one, other in zip(left, right, strict=True)
    )
