"""The parties to a call, asked: the framework, ONNX Runtime and the user, each held against
NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from probe.comparison.compare import Comparison, compare_three
from probe.errors import Undescribed
from probe.evaluation.allowance import whole_at
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.evaluation.party import Allowed, Arrays, Extra, Party, PartyResult, compared
from probe.evaluation.propagated_error import Drift
from probe.evaluation.reference import Reference
from probe.model import Capture
from probe.numerics.dtypes import overflown
from probe.numerics.precision import Precision, precision_of
from probe.ops import Transpose
from probe.ops.base import Sum
from probe.verdict.judgement import Pair
from probe.verdict.ladder import judged
from probe.verdict.pairwise import equal

__all__ = ["engines", "onnx_answer", "user"]

_FEW = 16
_ROOM = 64.0
"""How many times what is allowed the values must reach over, where that is less than the whole."""


def onnx_answer(
    capture: Capture, layer: Reference, threads: int
) -> tuple[tuple[np.ndarray, ...] | None, str]:
    """ONNX Runtime's outputs, or None and why there are none."""
    if layer.empty:
        return None, "an array of this call is empty: there is nothing to compute"
    try:
        found = crosscheck(layer.steps, layer.given, layer.values, threads)
    except Undescribed as error:
        return None, str(error)
    wrapped = [
        _wrapped(one, value.dtype) for one, value in zip(found, layer.values[-1], strict=True)
    ]
    answer = overflown(wrapped, capture.dtype)
    if capture.dtype == "float64":
        lost = sum(map(_lost, answer, layer.values[-1]))
        unheld = sum(map(_unheld, layer.given))
        if lost or unheld:
            text = (
                f"{lost} elements of its output are inf or NaN"
                if lost
                else f"{unheld} elements of the input are inf"
            )
            return None, f"it computes this layer in float32, which overflows here: {text}"
    return answer, ""


def _lost(found: np.ndarray, value: np.ndarray) -> int:
    """How many elements are inf or NaN that are none in NumPy."""
    return (
        int((np.isfinite(value) & ~np.isfinite(found)).sum()) if found.shape == value.shape else 0
    )


def _unheld(x: np.ndarray) -> int:
    """How many finite numbers are infinite in float32, as a comparison does not show."""
    return (
        int((np.isfinite(x) & (np.abs(x) > np.finfo(np.float32).max)).sum())
        if x.dtype == np.float64
        else 0
    )


def _wrapped(found: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Integers, which the graph holds in 64 bits, in the layer's own: what lies beyond wraps
    around."""
    return found.astype(dtype) if found.dtype.kind in "iu" and dtype.kind in "iu" else found


def engines(
    capture: Capture, layer: Reference, answer: tuple[np.ndarray, ...] | None, sparing: bool
) -> tuple[dict[str, PartyResult], Mapping[Pair, Comparison]]:
    """The framework and ONNX Runtime, which gave ``answer``, held against NumPy; and the two held
    against each other, where that is known on the way.

    Where ONNX Runtime gives what the framework gave, bit for bit, and may err as much, it needs no
    look of its own. ``sparing`` does with less than the whole allowance where all agree within
    that.
    """
    usual, recurrent = layer.first_look(capture.dtype), layer.recurrent
    single = precision_of("float32", casts=capture.dtype == "float64")
    bound = None
    if not recurrent:
        spared = sparing and answer is not None and _divisible(layer)
        if answer is not None and single == usual:
            if spared:
                less = layer.allowances(replace(usual, partial=True), 0)
                if (found := _all_agree(capture, layer, answer, usual, less, _ROOM)) is not None:
                    return found
            bound = layer.allowances(usual, 0)
            if (found := _all_agree(capture, layer, answer, usual, bound)) is not None:
                return found
        else:
            if answer is not None and spared and usual.stored:
                stored = _all_agree_as_stored(capture, layer, answer, usual)
                if stored is not None:
                    return stored, {}
            bound = layer.allowances(usual, 0)
    layer.bound(capture.dtype)  # only now: where all agree nothing lies beyond
    own = replace(usual, sketches=capture.by_onnxruntime) if layer.sketchy else usual
    framework = judged(
        Party("framework", capture.outputs, layer, own, bound if own == usual else None)
    )
    if answer is None:
        return {"framework": framework}, {}
    party = Party(
        "onnx",
        answer,
        layer,
        replace(single, sketches=True) if layer.sketchy else single,
        bound if single == usual and not layer.sketchy else None,
    )
    onnx = _shared(framework, party, recurrent) if single == usual else None
    return {"framework": framework, "onnx": judged(party) if onnx is None else onnx}, {}


def _shared(framework: PartyResult, party: Party, recurrent: bool) -> PartyResult | None:
    """ONNX Runtime held against what the framework was held against, where that tells enough: it
    gave the same, or each of its steps is right from the framework's states already."""
    if not recurrent and (
        framework.allowed.lossy or not equal(framework.party.outputs, party.outputs)
    ):
        return None
    result = compared(party, framework.allowed)
    return result if not recurrent or result.comparison.ok else None


def _sum_at(layer: Reference) -> int | None:
    """The step that is the one sum of products which a layer is but for moves of elements, if it is
    that."""
    others = [
        position for position, step in enumerate(layer.steps) if not isinstance(step.op, Transpose)
    ]
    op = layer.steps[others[0]].op if len(others) == 1 else None
    return others[0] if isinstance(op, Sum) and op.terms is not None else None


def _divisible(layer: Reference) -> bool:
    """Whether less than the whole allowance may do, for a sum of many products or several calls
    with one among them: their squares are most of the work."""
    if layer.composed:
        return len(layer.values[-1]) == 1 and any(map(layer.pays, range(len(layer.steps))))
    position = _sum_at(layer)
    return position is not None and layer.pays(position)


def _all_agree(
    capture: Capture,
    layer: Reference,
    answer: tuple[np.ndarray, ...],
    usual: Precision,
    allowance: tuple[np.ndarray, ...],
    room: float = 0.0,
) -> tuple[dict[str, PartyResult], dict[Pair, Comparison]] | None:
    """The three engines in one pass, where all agree within ``allowance``; elements of a sum beyond
    that are looked at one by one.

    With ``room`` the values must reach over so many times what is allowed, as they must where that
    is less than the whole.
    """
    if not len(answer) == len(capture.outputs) == len(layer.values[-1]) == 1:
        return None
    value, theirs, third = layer.values[-1][0], capture.outputs[0], answer[0]
    if room and not (value.size and _reaches(value, room * _largest(allowance[0]))):
        return None

    def look(where: tuple[np.ndarray, ...]) -> np.ndarray:
        with np.errstate(all="ignore"):
            error = np.maximum(*(np.abs(one[where] - value[where]) for one in (theirs, third)))
        return whole_at(
            layer.steps, layer.given, layer.values, precision_of(capture.dtype), where, error
        )

    looks = look if value.ndim and _sum_at(layer) is not None else None
    near = compare_three(theirs, value, third, allowance[0], looks, room > 0)
    if near is None or not all(near):
        return None
    framework = Party("framework", capture.outputs, layer, usual)
    allowed = Allowed(framework.values, allowance, usual)
    onnx = Party("onnx", answer, layer, usual)
    results = {
        "framework": PartyResult(framework, allowed, near[0]),
        "onnx": PartyResult(onnx, allowed, near[1]),
    }
    return results, {("framework", "onnx"): near[2]}


def _all_agree_as_stored(
    capture: Capture, layer: Reference, answer: tuple[np.ndarray, ...], usual: Precision
) -> dict[str, PartyResult] | None:
    """The same by a part of what is allowed for a sum that the framework stores in half precision,
    and that ONNX Runtime gives in float32."""
    less = layer.allowances(replace(usual, partial=True), 0)
    framework = compared(
        Party("framework", capture.outputs, layer, usual),
        Allowed(tuple(layer.values[-1]), less, usual),
    )
    if not framework.comparison.ok:
        return None
    single = precision_of("float32")
    alone = replace(capture, outputs=answer, dtype="float32")
    part = layer.allowances(replace(single, partial=True), 0)
    found = _all_agree(alone, layer, answer, single, part, _ROOM)
    # of several calls it is nearly the whole: what is stored is most of what they round
    room = 0.0 if layer.composed else _ROOM
    if found is None or not _reaches(layer.values[-1][0], room * _largest(less[0])):
        return None
    return {"framework": framework, "onnx": found[0]["onnx"]}


def _largest(allowed: np.ndarray) -> float:
    """The largest that is allowed anywhere."""
    return float(allowed.max() if any(allowed.strides) else allowed[(0,) * allowed.ndim])


def _reaches(value: np.ndarray, distance: float) -> bool:
    """Whether a few of the values are seen to lie so far apart."""
    some = [value.item(value.size * place // _FEW) for place in range(_FEW)]
    return bool(distance <= max(some) - min(some) < np.inf)


def user(
    outputs: Arrays,
    layer: Reference,
    dtype: str,
    *,
    drift: Drift | None,
    digits: np.ndarray | float,
    known: np.ndarray | None,
) -> PartyResult:
    """The user's values held against NumPy: they may be off by the layer's own rounding, that of
    the layers before, and of storing or typing them."""
    notes: list[str] = []
    stored: list[np.ndarray] = []
    for output, one in enumerate(outputs):
        slack = np.zeros(()) if output else np.asarray(digits)
        if one is not None and one.dtype == np.float16 and dtype != "float16":
            unit = precision_of("float16").unit
            slack = slack + unit * np.abs(layer.values[-1][output]) + 2.0**-25
            notes.append("your values are stored in float16; the allowance includes that rounding")
        stored.append(slack)
    extra = _beside(stored, drift)
    if drift is not None and any(slack.any() for slack in drift.slack):
        notes.append(
            "the allowance for your values includes rounding error propagated from the "
            "preceding layers"
        )
    party = Party("expected", outputs, layer, layer.first_look(dtype), extra=extra, known=known)
    result = judged(party)
    return replace(result, notes=(*notes, *result.notes))


def _beside(stored: Sequence[np.ndarray], drift: Drift | None) -> Extra:
    """What the user's values are allowed beside the layer's own rounding."""
    if drift is None:
        return Extra(tuple(stored), tuple(stored)) if any(map(np.any, stored)) else Extra()
    pairs = list(zip(stored, drift.slack, strict=True))
    return Extra(
        tuple(slack + one for slack, one in pairs),
        tuple(slack + drift.further * one for slack, one in pairs),
    )
