"""The framework and ONNX Runtime held against NumPy in one pass, where all three agree: what most
calls of a sweep need and no more."""

from dataclasses import replace

import numpy as np

from probe.comparison.compare import Comparison
from probe.comparison.compare_three import compare_three
from probe.evaluation.bounds import Bounds
from probe.evaluation.party import Allowed, Party, PartyResult, compared
from probe.evaluation.reference import Reference
from probe.model import Capture
from probe.numerics.precision import Precision, precision_of
from probe.ops import Transpose
from probe.ops.base import Sum
from probe.verdict.judgement import Pair

__all__ = ["Agreement", "all_agree", "all_agree_with_less"]

Agreement = tuple[dict[str, PartyResult], dict[Pair, Comparison]]
"""The results of both, and the pair that they are, where it was compared."""
_FEW = 16
_ROOM = 64.0
"""How many times what is allowed the values must reach over, where that is less than the whole."""


def all_agree(
    capture: Capture,
    bounds: Bounds,
    answer: tuple[np.ndarray, ...],
    allowance: tuple[np.ndarray, ...],
    room: float = 0.0,
) -> Agreement | None:
    """The three engines in one pass, where all agree within ``allowance``; elements of a sum beyond
    that are looked at one by one.

    With ``room`` the values must reach over so many times what is allowed, as they must where that
    is less than the whole.
    """
    layer = bounds.layer
    if not len(answer) == len(capture.outputs) == len(layer.values[-1]) == 1:
        return None
    value, theirs, third = layer.values[-1][0], capture.outputs[0], answer[0]
    if room and not (value.size and _spreads_over(value, room * _largest(allowance[0]))):
        return None

    def allowance_at(where: tuple[np.ndarray, ...]) -> np.ndarray:
        with np.errstate(all="ignore"):
            error = np.maximum(*(np.abs(party[where] - value[where]) for party in (theirs, third)))
        return bounds.by(precision_of(capture.dtype)).at(where, error)

    looks = allowance_at if value.ndim and _sum_at(layer) is not None else None
    within = compare_three(theirs, value, third, allowance[0], looks, room > 0)
    if within is None or not all(comparison.ok for comparison in within):
        return None
    framework = Party("framework", capture.outputs, bounds)
    allowed = Allowed(framework.values, allowance, bounds.precision)
    onnx = Party("onnx", answer, bounds)
    results = {
        "framework": PartyResult(framework, allowed, within[0]),
        "onnx": PartyResult(onnx, allowed, within[1]),
    }
    return results, {("framework", "onnx"): within[2]}


def all_agree_with_less(
    capture: Capture, bounds: Bounds, answer: tuple[np.ndarray, ...], single: Precision
) -> Agreement | None:
    """The three engines where all agree within less than the whole allowance, for which that of a
    large sum is spared; None where they do not, or nothing is spared."""
    if not _divisible(bounds.layer):
        return None
    if single == bounds.precision:
        return all_agree(capture, bounds, answer, _less(bounds), _ROOM)
    if bounds.precision.stored:
        return _all_agree_as_stored(capture, bounds, answer)
    return None


def _less(bounds: Bounds) -> tuple[np.ndarray, ...]:
    """Less than the whole allowance, from a part of the terms."""
    return bounds.by(replace(bounds.precision, partial=True)).first()


def _all_agree_as_stored(
    capture: Capture, bounds: Bounds, answer: tuple[np.ndarray, ...]
) -> Agreement | None:
    """The same by a part of what is allowed for a sum that the framework stores in half precision,
    and that ONNX Runtime gives in float32."""
    layer, less = bounds.layer, _less(bounds)
    framework = compared(
        Party("framework", capture.outputs, bounds),
        Allowed(tuple(layer.values[-1]), less, bounds.precision),
    )
    if not framework.comparison.ok:
        return None
    single = bounds.by(precision_of("float32"))
    alone = replace(capture, outputs=answer, dtype="float32")
    agreement = all_agree(alone, single, answer, _less(single), _ROOM)
    # of several calls it is nearly the whole: what is stored is most of what they round
    room = 0.0 if layer.composed else _ROOM
    if agreement is None or not _spreads_over(layer.values[-1][0], room * _largest(less[0])):
        return None
    return {"framework": framework, "onnx": agreement[0]["onnx"]}, {}


def _largest(allowed: np.ndarray) -> float:
    """The largest that is allowed anywhere."""
    return float(allowed.max() if any(allowed.strides) else allowed[(0,) * allowed.ndim])


def _spreads_over(value: np.ndarray, distance: float) -> bool:
    """Whether a few of the values are seen to lie so far apart."""
    some = [value.item(value.size * place // _FEW) for place in range(_FEW)]
    return bool(distance <= max(some) - min(some) < np.inf)


def _sum_at(layer: Reference) -> int | None:
    """The step that is the one sum of products which a layer is but for moves of elements, if it is
    that."""
    others = [
        position for position, step in enumerate(layer.steps) if not isinstance(step.op, Transpose)
    ]
    op = layer.steps[others[0]].op if len(others) == 1 else None
    if isinstance(op, Sum) and op.terms is not None:
        return others[0]
    return None


def _divisible(layer: Reference) -> bool:
    """Whether less than the whole allowance may do, for a sum of many products or several calls
    with one among them: their squares are most of the work."""
    if layer.composed:
        return len(layer.values[-1]) == 1 and any(map(layer.pays, range(len(layer.steps))))
    position = _sum_at(layer)
    return position is not None and layer.pays(position)
