"""What a party is allowed: the rules from the tightest to the loosest, of which the first that
holds decides.

Rounding alone comes first, each rule tried where the one before does not hold. What loses more
digits than that is allowed only as long as the check could then still tell right from wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from probe.comparison.compare import compare
from probe.evaluation.allowance import LEAST_HOPE
from probe.evaluation.bounds import Bounds
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.party import NAMES, Allowed, Party, PartyResult, compared
from probe.evaluation.teacher_forcing import follow
from probe.numerics.dtypes import flushed, overflown
from probe.numerics.precision import Precision, precision_of
from probe.numerics.usual_numbers import EPSILONS
from probe.verdict.detection_power import ENOUGH, Power, blinds, blunt, power

__all__ = ["judged"]

Rule = Callable[[Party, PartyResult | None], Allowed | None]
"""What a party is allowed beyond the result of the rule before; None where the rule does not
apply."""
_OWN_STATES = (
    "compared with teacher forcing (NumPy computes each step from the compared party's own "
    "previous state); run freely, NumPy's trajectory drifts away by rounding"
)


def judged(party: Party) -> PartyResult:
    """A party by the first rule that holds."""
    recurrent = party.layer.recurrent
    rules = TEACHER_FORCED if recurrent and party.known is None else ROUNDING
    result = _first_that_holds(party, rules)
    if rules is TEACHER_FORCED and not compare(result.reference, party.values, result.allowance):
        result = replace(result, notes=(_OWN_STATES,))
    if party.extra.stored:
        more = _with(result.allowance, party.extra.stored)
        widened = compared(party, replace(result.allowed, allowance=more))
        result = replace(widened, notes=result.notes)
    if result.comparison.ok or recurrent or party.known is not None or party.name == "onnx":
        return result
    return _explained(party, result)


def _first_that_holds(party: Party, rules: tuple[Rule, ...]) -> PartyResult:
    """By the first rule that holds, or else by the last that applies."""
    result: PartyResult | None = None
    for rule in rules:
        allowed = rule(party, result)
        if allowed is None:
            continue
        result = compared(party, allowed)
        if result.comparison.ok:
            break
    assert result is not None
    return result


def first_bound(party: Party, before: PartyResult | None) -> Allowed:
    """What is probable, of sums by the squares of their terms."""
    return Allowed(party.values, party.bounds.first(), party.precision)


def second_look(party: Party, before: PartyResult | None) -> Allowed:
    """The true partial sums of those elements that lie beyond."""
    assert before is not None
    refined = party.bounds.refined(party.outputs, before.allowance)
    return replace(before.allowed, allowance=refined)


def equal_indices(party: Party, before: PartyResult | None) -> Allowed | None:
    """Any place of equal numbers."""
    assert before is not None
    allowance = party.bounds.among_equal_numbers(party.outputs, before.allowance)
    if allowance is None:
        return None
    return replace(before.allowed, allowance=allowance)


def teacher_forced(party: Party, before: PartyResult | None) -> Allowed:
    """Each step of a recurrence from the state that the party itself had before it."""
    layer, precision = party.layer, party.precision
    if before is not None:
        precision = replace(precision, refine_steps=True)
    path, allowance = follow(layer.steps, layer.inputs, layer.values, precision, party.outputs)
    return Allowed(overflown(path, precision.name), allowance, party.precision)


def teacher_forced_second_look(party: Party, before: PartyResult | None) -> Allowed | None:
    """The same, by the true partial sums of every step."""
    assert before is not None
    if before.comparison.reason:
        return None
    return teacher_forced(party, before)


ROUNDING: tuple[Rule, ...] = (first_bound, second_look, equal_indices)
TEACHER_FORCED: tuple[Rule, ...] = (teacher_forced, teacher_forced_second_look)


def _explained(party: Party, plain: PartyResult) -> PartyResult:
    """A party that lies beyond its rounding, by what it may do that loses more digits."""
    doubt = ""
    if party.name == "expected" and (
        _of_another_epsilon(party, plain) or _of_another_scale(party, plain)
    ):
        return plain
    for allowed in chain(lossy_algorithms(party, plain), subnormals_flushed(party)):
        result = compared(party, allowed)
        if not result.comparison.ok:
            continue
        left = _without_power(party, plain, allowed)
        if left is None:
            return replace(result, notes=(allowed.note,) if allowed.note else ())
        if allowed.doubtful and not doubt:
            words = blunt(party.name, left, party.precision.name)
            doubt = f"{NAMES[party.name]} possibly {allowed.lossy}; if so, {words}"
    return replace(plain, doubt=doubt)


def _without_power(party: Party, plain: PartyResult, loose: Allowed) -> Power | None:
    """What little an allowance can tell, where that is too little to be evidence."""
    left = power(party.values, loose.allowance)
    if (
        left is not None
        and (party.name == "expected" or not loose.doubtful)
        and blinds(party.values, plain.allowance, loose.allowance)
    ):
        left = left._replace(share=0.0)
    if left is not None and left.share < ENOUGH:
        return left
    return None


def _of_another_epsilon(party: Party, plain: PartyResult) -> bool:
    """Whether the values are within rounding those of a normalisation with another epsilon: no
    digits need be lost to explain them."""
    layer = party.layer
    steps = () if layer.composed else layer.steps
    for position, step in enumerate(steps):
        op: Any = step.op
        if not (op.lossy_algorithm and hasattr(op, "epsilon")):
            continue
        for epsilon in EPSILONS:
            if epsilon == op.epsilon:
                continue
            changed = replace(step, op=replace(op, epsilon=epsilon))
            others = (*steps[:position], changed, *steps[position + 1 :])
            if compare(party.outputs, recompute(others, layer.inputs)[-1], plain.allowance):
                return True
    return False


_UNITS, _ROWS = 2, 8
"""By how many roundings a scale must differ from 1, and how many rows of an output share it."""


def _of_another_scale(party: Party, plain: PartyResult) -> bool:
    """Whether values in half precision are within rounding the layer's times a number, or that plus
    a number for each feature, as a norm with another variance and its bias gives them: intermediate
    results that are rounded do not err by the same factor in every row."""
    unit = party.precision.stored
    if not unit:
        return False
    for offsets in (False, True):
        scaled, allowed, found = list[np.ndarray](), list[np.ndarray](), False
        for theirs, y, slack in zip(party.outputs, party.values, plain.allowance, strict=True):
            fit = None if theirs is None else _scaled(theirs, y, unit, offsets)
            if fit is not None:
                found, y, slack = True, fit[0], slack + fit[1]
            scaled.append(y)
            allowed.append(slack)
        if found and compare(party.outputs, scaled, tuple(allowed)).ok:
            return True
    return False


def _scaled(
    theirs: np.ndarray, y: np.ndarray, unit: float, offsets: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """The values times the number that brings them next to a party's, with ``offsets`` plus one for
    each place on the last axis, and how far these may be off; None where the number is not far from
    1."""
    if theirs.shape != y.shape or y.dtype.kind != "f" or y.ndim < 2:
        return None
    count = y.size // max(1, y.shape[-1])
    if count < _ROWS:
        return None
    rows = tuple(range(y.ndim - 1))
    with np.errstate(all="ignore"):
        mean = y.mean(axis=rows) * offsets
        meant = theirs.mean(axis=rows) * offsets
        around, off = y - mean, theirs - meant
        scale = float(np.vdot(off, around) / np.vdot(around, around))
        slack = offsets * unit * np.abs(theirs).max(axis=rows) / np.sqrt(count)
    if not abs(scale - 1) > _UNITS * unit:
        return None
    return scale * around + meant, slack


def lossy_algorithms(party: Party, plain: PartyResult) -> Iterator[Allowed]:
    """Algorithms that lose more digits, and half precision on the way; yours may take all that an
    op knows of."""
    for words, precision in _lossy(party):
        bounds = party.bounds.by(precision)
        first = bounds.usual()
        more = party.extra.of(precision)
        within = _with(first, more)
        if compare(party.outputs, party.values, within).ratio > LEAST_HOPE:
            continue  # further beyond than a second look at its sums would gain
        loose = _with(bounds.of_rounding(party.outputs, first), more)
        yield Allowed(party.values, loose, precision, words, doubtful=True)


def _lossy(party: Party) -> Iterator[tuple[str, Precision]]:
    """What a party may do that loses more digits than are usually lost, and its arithmetic."""
    usual, dtype = party.precision, party.precision.name
    own = precision_of(dtype)
    inside = f"rounds intermediate results to {dtype}, not only the output"
    if usual != own:
        yield inside, own
    words = [
        step.op.lossy_algorithm
        for step in party.layer.steps
        if step.op.lossy_algorithm
        and (party.name == "expected" or getattr(step.op, "may_use_lossy_algorithm", False))
    ]
    if words:
        text = " and ".join(dict.fromkeys(words))
        yield text, replace(usual, lossy=True)
        if usual != own:
            yield f"{text}, and {inside}", replace(own, lossy=True)


def subnormals_flushed(party: Party) -> Iterator[Allowed]:
    """NumPy with 0 for subnormal numbers, where there are any."""
    layer, precision, least = party.layer, party.precision, party.precision.normal
    seen = (*layer.inputs, *(value for step in layer.values[:-1] for value in step))
    if not any(x.dtype.kind == "f" and np.any((np.abs(x) < least) & (x != 0)) for x in seen):
        return
    values = recompute(layer.steps, layer.inputs, least)
    values[-1] = overflown(values[-1], precision.name)
    other = replace(layer, raw_inputs=[flushed(x, least) for x in layer.inputs], values=values)
    bounds = Bounds(other, precision)
    rounding = bounds.of_rounding(party.outputs, bounds.usual())
    allowance = _with(tuple(slack + least for slack in rounding), party.extra.stored)
    yield Allowed(
        tuple(values[-1]),
        allowance,
        precision,
        "flushes subnormals to zero (FTZ)",
        note=f"{NAMES[party.name]} is compared with NumPy with subnormals (below {least:.3g}) "
        "flushed to zero",
    )


def _with(
    allowance: tuple[np.ndarray, ...], more: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
    """An allowance and what is allowed besides, where there is some."""
    if not more:
        return allowance
    return tuple(
        slack + added if added.any() else slack
        for slack, added in zip(allowance, more, strict=True)
    )
