"""Numbers that belong together and are others at once: how many bits lie behind the point, how many
a number has, how many levels a quantiser has, a limit that several steps take, a number and its
logarithm or root."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.held_numbers import HeldNumber, numbers_of, with_numbers
from probe.hypotheses.edits.step_words import listed
from probe.hypotheses.registry import more
from probe.ops.base import Op
from probe.ops.step import Ref
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

_DERIVED: tuple[Callable[[float], float], ...]
_DERIVED = (math.log1p, math.log, math.log2, math.log10, math.sqrt)
"""What code divides by, or multiplies with, beside the number itself."""
_SAME = 2.0**-22
"""The share of a number by which another one may be off it that float32 rounds."""
_MOST = 32
"""How many bits a number has at most."""
_USUAL = (6.0, 1.0, 0.0, 0.5, 2.0, 4.0, 8.0, 0.1, 0.2, 0.01, 127.0, 128.0, 255.0, 256.0)
"""What code takes in place of a number that the layer has learnt."""


@more("fixed-point")
def other_fraction_bits(case: Case) -> Iterator[Changes]:
    """Another number of bits behind the point, or of all, wherever the layer takes it."""
    yield Changes(_other_bits, "fixed-point", PARTS)


def _other_bits(case: Case) -> Iterator[Change]:
    if not any(step.op.jumps for step in case.steps):
        return
    numbers = list(numbers_of(case))
    shifts = {ref.step for at, _ in case.having(ops.BitShift) for ref in _sources(case, at)[1:]}
    added = _operands(case, ops.Add, ops.Sub)
    scaling = _operands(case, ops.Mul, ops.Div, ops.FloorDiv)
    for bits in range(1, _MOST):
        counts = [x for x in numbers if x.position in shifts and x.value == bits]
        factors = [x for x in numbers if x.value == 2.0**bits and x.position in scaling]
        steps = [x for x in numbers if x.value == 2.0**-bits and x.position in scaling]
        halves = [x for x in numbers if x.value == 2.0 ** (bits - 1) and x.position in added]
        if len({x.position for x in (*counts, *factors, *steps)}) + bool(halves) < 2:
            continue
        for other in (n for n in range(_MOST) if n != bits):
            replaced = dict.fromkeys(counts, float(other))
            replaced |= dict.fromkeys(factors, 2.0**other) | dict.fromkeys(steps, 2.0**-other)
            words = f"{other} bits are taken as those behind the point, not {bits}"
            yield with_numbers(case, replaced, f"{words} ({_shown(replaced)})")
            if halves:
                replaced |= dict.fromkeys(halves, float(1 << other >> 1))
                yield with_numbers(case, replaced, f"{words} ({_shown(replaced)})")
    yield from _other_widths(case, numbers, shifts)


def _sources(case: Case, position: int) -> Sequence[Ref]:
    return case.steps[position].sources(position)


def _operands(case: Case, *kinds: type[Op]) -> set[int]:
    """The steps whose results steps of these kinds take."""
    return {ref.step for at, _ in case.having(*kinds) for ref in _sources(case, at)}


def _other_widths(case: Case, numbers: Sequence[HeldNumber], shifts: set[int]) -> Iterator[Change]:
    """The ends and the count of the numbers of a type, as those of a type of other bits."""
    ends_of = _operands(case, ops.Min, ops.Max)
    for bits in range(3, _MOST + 1):
        ends = _ends(bits)
        members = [x for x in numbers if x.value in ends and x.position not in shifts]
        if len(members) < 2 and not any(
            isinstance(x.entry, str) or x.position in ends_of for x in members
        ):
            continue
        for other in range(2, _MOST + 1):
            if other != bits:
                replaced = {x: _ends(other)[ends.index(x.value)] for x in members}
                words = f"numbers have {other} bits, not {bits} ({_shown(replaced)})"
                yield with_numbers(case, replaced, words)


def _ends(bits: int) -> list[float]:
    half = 2.0 ** (bits - 1)
    return [-half, half, 1 - half, half - 1, 2 * half, 2 * half - 1]


@more("changed-step")
def other_number_of_levels(case: Case) -> Iterator[Changes]:
    """2**bits for 2**bits - 1 in all steps, or the reverse; a number that was learnt as a usual
    one in all that take it."""
    yield Changes(_other_levels, "changed-step", PARTS)


def _other_levels(case: Case) -> Iterator[Change]:
    masks = _operands(case, ops.BitwiseAnd, ops.BitwiseOr, ops.BitwiseXor)
    numbers = [x for x in numbers_of(case) if x.position not in masks]
    of_levels = {2.0**bits for bits in range(2, _MOST + 1)}
    for by, words in ((1.0, "2**bits, not 2**bits - 1"), (-1.0, "2**bits - 1, not 2**bits")):
        members = [x for x in numbers if x.value + max(by, 0.0) in of_levels]
        for value in (None, *dict.fromkeys(x.value for x in members)):
            replaced = {x: x.value + by for x in members if value in (None, x.value)}
            if len(replaced) > 1:
                yield with_numbers(
                    case, replaced, f"numbers of levels are {words} ({_shown(replaced)})"
                )
    few = [x for x in numbers if x.value in (3.0, 7.0, 15.0, 31.0, 63.0, 127.0)]
    if few:  # the lowest bits stay 0, where the highest would be repeated
        replaced = {x: 255 * (x.value + 1) / 256 for x in few}
        what = (
            f"numbers of few bits are shifted up to 8 bits and divided by 255 ({_shown(replaced)})"
        )
        yield with_numbers(case, replaced, what)
    yield from _learnt(case, numbers)


def _learnt(case: Case, numbers: Iterable[HeldNumber]) -> Iterator[Change]:
    """A parameter of one number, or one that limits what is compared with it."""
    limits = {ref for at, _ in case.having(ops.Min, ops.Max) for ref in _sources(case, at)}
    places: dict[str, list[HeldNumber]] = {}
    for number in numbers:
        op = case.steps[number.position].op
        if isinstance(op, ops.Parameter):
            if op.weight.effective.size == 1 or Ref(number.position) in limits:
                places.setdefault(op.weight.name, []).append(number)
    for name, members in places.items():
        for other in _USUAL:
            replaced = {x: other for x in members if x.value != other}
            if replaced:
                values = ", ".join(dict.fromkeys(f"{x.value:.6g}" for x in members))
                what = f"{listed([name])} taken as {other:g} in place of {values}"
                yield replace(with_numbers(case, replaced, what), part=("learnt", name))


@more("changed-step")
def other_number_and_what_is_derived(case: Case) -> Iterator[Changes]:
    """A number and its logarithm or root, as those of another number."""
    yield Changes(_other_and_derived, "changed-step", PARTS)


def _other_and_derived(case: Case) -> Iterator[Change]:
    places: dict[float, list[HeldNumber]] = {}
    for number in numbers_of(case):
        places.setdefault(number.value, []).append(number)
    for value, function in product([x for x in places if x > 1], _DERIVED):
        derived = [
            number
            for other in places
            if other != value and math.isclose(other, function(value), rel_tol=_SAME)
            for number in places[other]
        ]
        members = places[value]
        some = [members, *([number] for number in members)] if len(members) > 1 else [members]
        for numbers, other in product(some if derived else (), _neighbours(value)):
            replaced = dict.fromkeys(numbers, other) | dict.fromkeys(derived, function(other))
            what = f"{other:.6g} is taken instead of {value:.6g} ({_shown(replaced)})"
            yield with_numbers(case, replaced, what)


def _neighbours(value: float) -> list[float]:
    return [x for x in (value + 1, value - 1, 2 * value, value / 2, value**2) if x > 1]


def _shown(replaced: dict[HeldNumber, float]) -> str:
    """Which numbers are others."""
    return ", ".join(
        dict.fromkeys(f"{other:.6g} for {number.value:.6g}" for number, other in replaced.items())
    )
