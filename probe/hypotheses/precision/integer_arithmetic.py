"""Mistakes with the integers that a quantised layer computes with: how they are rounded, what
happens beyond the ends of their type, bits that are shifted out, and the factor that brings sums to
levels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import ATOM, Value, number
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.integer_codes import GROWING, added_to_sums, holds_codes
from probe.hypotheses.edits.integer_decompositions import InSteps, by_integers
from probe.hypotheses.edits.mapped_tensors import mapped, tensors_of
from probe.hypotheses.edits.rewriting import inserted
from probe.hypotheses.edits.step_words import listed, step_name, tensor_name
from probe.hypotheses.edits.tensor_maps import Map
from probe.hypotheses.precision.rounding_modes import ALL_MODES, FixedPointGrid
from probe.hypotheses.registry import more
from probe.ops.base import Elementwise
from probe.ops.step import Ref, Step
from probe.trial.case import Case, users_of
from probe.trial.change import Change

__all__: list[str] = []

_ROUNDED = {
    ops.Round: "half to even",
    ops.Floor: "down (floor)",
    ops.Trunc: "towards zero",
    ops.Ceil: "up (ceil)",
}
_LATER = {0.7: "0.7", 2 / 3: "2/3", 0.75: "3/4", 5 / 6: "5/6"}
"""From which share of a step on quantisers with a dead zone round away from zero: that of ternary
weights (Li et al., "Ternary Weight Networks", 2016), those of video codecs."""
_LEAST = 8
"""A tensor whose numbers are all smaller holds no integers of a quantised layer."""
_USUAL = (8, 16, 32)


@dataclass(frozen=True, eq=False)
class _RoundedLater(Elementwise):
    """Whole numbers, away from zero from a share of a step on."""

    share: float
    jumps = True
    roundings = 0

    def f(self, x: np.ndarray) -> np.ndarray:
        whole = np.floor(np.abs(x))
        return np.asarray(np.copysign(whole + (np.abs(x) - whole > self.share), x))


@writes(_RoundedLater)
def _rounded_later(op: _RoundedLater, w: Any, x: Value) -> Value:
    x = w.named("values", x)
    code = f"np.copysign(np.floor(np.abs({x.text}) + {number(1 - op.share)}), {x.text})"
    made: Value = w.result(code, ATOM, x.order)
    return made


@more("rounding-mode")
def rounded_steps(case: Case) -> Iterator[Changes]:
    """Numbers rounded in another way where a layer rounds them."""
    yield Changes(_rounded, "rounding-mode", PARTS)


def _rounded(case: Case) -> Iterator[Change]:
    for position, op in case.having(*_ROUNDED):
        for mode in ALL_MODES:
            if mode != _ROUNDED[type(op)]:
                (x,) = case.steps[position].sources(position)
                step = Step(FixedPointGrid(1.0, mode), (x,))
                what = f"{listed([tensor_name(case, x)])} rounded {mode}"
                yield Change(what, "", {position: step}, key=("rounded", type(op), mode))
        for share, words in _LATER.items() if isinstance(op, ops.Round) else ():
            (x,) = case.steps[position].sources(position)
            what = f"{listed([tensor_name(case, x)])} rounded away from zero from {words} of a "
            what += "step on, not from half of it"
            step = Step(_RoundedLater(share), (x,))
            yield Change(what, "", {position: step}, key=("rounded later", share))


@more("wrap-around")
def wrapped_integers(case: Case) -> Iterator[Changes]:
    """Integers within a layer that wrap around: a quantiser that does not clip, products or sums in
    a type of few bits."""
    yield Changes(_wrapped, "wrap-around", PARTS)


def _wrapped(case: Case) -> Iterator[Change]:
    for position, x, low, high in _clipping(case):
        grid = FixedPointGrid(0.0, "down (floor)", low, high + 1, wrap=True)
        step = Step(grid, (x,))
        what = f"wrapping around at the ends instead of a clip to {low:g} .. {high:g}"
        yield Change(what, step_name(case, position), {position: step}, key="wraps")
        numbers = np.asarray(x.of(case.inputs, case.values))
        if not np.array_equal(numbers, np.rint(numbers)):
            cut = Step(FixedPointGrid(1.0, "towards zero", low, high + 1, wrap=True), (x,))
            what = f"a cast to whole numbers that wraps around instead of a clip to {low:g} .. "
            what += f"{high:g}"
            yield Change(what, step_name(case, position), {position: cut}, key="cast")
        clip, new = ops.Clip(low, None), len(case.steps)
        what = f"wrapping around above {high:g} instead of Clip to {low:g} .. {high:g}"
        both = {new: Step(clip, (x,)), position: Step(grid, (Ref(new),))}
        yield Change(what, step_name(case, position), both, key="wraps above", of=position)
    for ref, bits in _overflowing(case):
        way = Map(f"wrapped around in int{bits}", partial(_wrap, bits=bits), False)
        yield from mapped(case, ref, way)


@more("saturation")
def clipped_integers(case: Case) -> Iterator[Changes]:
    """Integers within a layer that are clipped at other ends: sums in a type of few bits, or a
    quantiser's levels without the lowest one, or from another number on."""
    yield Changes(_clipped, "saturation", PARTS)


def _clipped(case: Case) -> Iterator[Change]:
    for position, x, low, high in _clipping(case):
        half = (high - low + 1) // 2
        zero = -low - half  # unsigned levels for signed ones, or the reverse
        others = [(low + 1, high), (0.0, high), (low, high - half), (low + zero, high + zero)]
        others += [(low / 2, high // 2), (2 * low, 2 * high + 1)]  # of a bit less and more
        for ends in others:
            what = f"{step_name(case, position)}: numbers are clipped to {ends[0]:g} .. "
            what += f"{ends[1]:g}, not to {low:g} .. {high:g}"
            step = Step(ops.Clip(*ends), (x,))
            yield Change(what, "", {position: step}, key=("ends", ends), of=position)
        if added := _added(case, x):
            what = f"numbers are clipped to {low:g} .. {high:g} before {added:g} is added to them"
            step = Step(ops.Clip(low + added, high + added), (x,))
            yield Change(f"{what}, not behind", "", {position: step}, key="ends", of=position)
    for ref, bits in _overflowing(case):
        top = 2.0 ** (bits - 1)
        way = Map(f"clipped to int{bits}", partial(np.clip, a_min=-top, a_max=top - 1), False)
        yield from mapped(case, ref, way)


@more("missing-step")
def without_levels(case: Case) -> Iterator[Changes]:
    """A quantiser is left out but for its lower end, which is what is left of an activation in
    it."""
    yield Changes(_without_levels, "missing-step", PARTS)


def _without_levels(case: Case) -> Iterator[Change]:
    for position, x, low, high in _clipping(case):
        rounding = x
        while rounding.step >= 0 and isinstance(
            case.steps[rounding.step].op, ops.Add | ops.Sub | ops.Cast
        ):
            rounding = case.steps[rounding.step].sources(rounding.step)[0]
        if rounding.step < 0 or not isinstance(case.steps[rounding.step].op, (*_ROUNDED,)):
            continue
        sources = case.steps[rounding.step].sources(rounding.step)
        steps = {
            rounding.step: Step(ops.Identity(), sources),
            position: Step(ops.Clip(low, None), (x,)),
        }
        name = listed([tensor_name(case, sources[0])])
        what = f"{name} neither rounded nor clipped at {high:g}, only at {low:g}"
        yield Change(what, "", steps, key="without levels", of=rounding.step)


@more("fixed-point")
def shifted_integers(case: Case) -> Iterator[Changes]:
    """Sums of integers that lose their last bits, as by a shift before the bias is added, and
    factors of few bits."""
    yield Changes(_shifted, "fixed-point", PARTS)


def _shifted(case: Case) -> Iterator[Change]:
    yield from _rounded_factors(case)
    for ref, x in _integers(case):
        given = ref.step < 0 or isinstance(case.steps[ref.step].op, ops.Parameter | ops.Constant)
        if not given and holds_codes(case, ref):
            for bits in range(1, int(np.log2(np.abs(x).max()))):
                for mode in ("down (floor)", "half up"):
                    words = f"shifted by {bits} bits to the right and back, rounded {mode}"
                    way = Map(words, FixedPointGrid(2.0**bits, mode).f, False)
                    yield from mapped(case, ref, way)


def _rounded_factors(case: Case) -> Iterator[Change]:
    """The factor of sums of integers, as a multiple of the scale that these are divided by next,
    with few bits."""
    users = users_of(case)
    for position, step in enumerate(case.steps):
        scale = _divisor(case, position)
        sums = None if scale is None else _behind_activations(case, step.sources(position)[0])
        if scale is None or sums is None or not isinstance(case.steps[sums.step].op, ops.Mul):
            continue
        for factor in case.steps[sums.step].sources(sums.step):
            if factor.step < 0 or case.words[factor.step] != "the factor":
                continue
            share = np.abs(case.values[factor.step][0]) / scale
            for words, other in _of_few_bits(share):
                made = Step(ops.Constant(other * scale), ())
                what = f"{tensor_name(case, factor)} over the output's scale is {words}"
                if len(users.get(factor, ())) == 1 and not np.array_equal(other, share):
                    yield Change(what, "", {factor.step: made})


@more("bias-scale")
def whole_biases(case: Case) -> Iterator[Changes]:
    """A bias in floating point, rounded to whole numbers of the sums of integers that it is added
    to."""
    yield Changes(_whole_biases, "bias-scale", PARTS)


def _whole_biases(case: Case) -> Iterator[Change]:
    for position, _ in case.having(ops.Add):
        sources = case.steps[position].sources(position)
        if len(sources) != 2:
            continue
        total, bias = sources
        op = case.steps[bias.step].op if bias.step >= 0 else None
        if not isinstance(op, ops.Parameter) or case.words[total.step : total.step + 1] != (
            "the scaled sums",
        ):
            continue
        factor = case.values[case.steps[total.step].sources(total.step)[1].step][0]
        unit = np.asarray(factor, np.float64)
        step = Step(FixedPointGrid(unit, "half to even"), (bias,))
        what = f"{op.weight.name} is rounded to whole numbers of the sums that it is added to"
        yield inserted(case, bias, step, what, key="whole bias")


def _divisor(case: Case, position: int) -> np.ndarray | None:
    """What a step divides by that brings numbers to levels."""
    step = case.steps[position]
    if position >= len(case.words) or case.words[position] != "x / scale":
        return None
    if isinstance(step.op, ops.Div):
        return np.asarray(case.values[step.sources(position)[1].step][0])
    if isinstance(step.op, InSteps):
        return np.asarray(step.op.size, np.float64)
    return None


def _behind_activations(case: Case, ref: Ref) -> Ref | None:
    """The tensor before what acts on each element of it alone."""
    while ref.step >= 0 and isinstance(case.steps[ref.step].op, Elementwise):
        sources = case.steps[ref.step].sources(ref.step)
        if len(sources) != 1:
            return ref
        ref = sources[0]
    return ref if ref.step >= 0 else None


def _of_few_bits(x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    exponent = np.floor(np.log2(x))
    yield "rounded to a power of two", 2.0 ** np.rint(np.log2(x))
    yield "the power of two below it", 2.0**exponent
    for bits in (*range(4, 17), 24, 31):
        yield f"rounded to {bits} fraction bits", np.rint(x * 2.0**bits) / 2.0**bits
        unit = 2.0 ** (exponent + 1 - bits)
        yield f"rounded to {bits} significant bits", np.rint(x / unit) * unit


def _clipping(case: Case) -> Iterator[tuple[int, Ref, float, float]]:
    """The steps that clip a tensor to the numbers of a type, and its ends."""
    for position, op in case.having(ops.Clip, ops.Min, ops.Max):
        x, *_ = case.steps[position].sources(position)
        if isinstance(op, ops.Clip):
            low, high = (np.nan if end is None else float(end) for end in (op.low, op.high))
        else:
            last, first = _bounded(case, position), _bounded(case, x.step)
            if last is None or first is None or type(op) is type(case.steps[x.step].op):
                continue
            x, (low, high) = first[0], sorted((last[1], first[1]))
        if high - low + 1 >= _LEAST and high.is_integer() and low.is_integer():
            yield position, x, low, high


def _bounded(case: Case, position: int) -> tuple[Ref, float] | None:
    """The tensor that a step holds above or below one number, and that."""
    if position < 0 or not isinstance(case.steps[position].op, ops.Min | ops.Max):
        return None
    x, *others = case.steps[position].sources(position)
    bounds = [_number(case, ref) for ref in others]
    if len(bounds) == 1 and bounds[0] is not None:
        return x, bounds[0]
    return None


def _added(case: Case, ref: Ref) -> float:
    """The number that is added last in a tensor; 0 where none is."""
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Add | ops.Sub):
        return 0.0
    number = _number(case, case.steps[ref.step].sources(ref.step)[1])
    sign = -1.0 if isinstance(case.steps[ref.step].op, ops.Sub) else 1.0
    return sign * number if number is not None else 0.0


def _number(case: Case, ref: Ref) -> float | None:
    """A constant of one number."""
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Constant):
        return None
    value = case.values[ref.step][0]
    return float(value.item()) if value.size == 1 else None


def _integers(case: Case) -> Iterator[tuple[Ref, np.ndarray]]:
    """The tensors of a quantised layer that hold whole numbers; of others those that it computes
    in integers."""
    quantises = any(step.op.quantizes for step in case.steps) or any(case.having(*_ROUNDED))
    quantises = quantises or any(map(by_integers, case.weights.values()))
    for ref in tensors_of(case):
        x = np.asarray(ref.of(case.inputs, case.values))
        kinds = "fiu" if quantises else "iu"
        if not quantises and (ref.step < 0 or not isinstance(case.steps[ref.step].op, GROWING)):
            continue
        if x.dtype.kind in kinds and x.size > 1 and np.isfinite(x).all():
            if np.abs(x).max() >= _LEAST and np.array_equal(x, np.rint(x)):
                yield ref, x.astype(np.float64)


def _overflowing(case: Case) -> Iterator[tuple[Ref, int]]:
    """The bits of signed types that do not hold all numbers of a tensor, the usual types of all
    tensors first. Of what is added to sums of codes none but these are tried: in few bits a bias
    is as good as left out."""
    found: list[tuple[Ref, int]] = []
    for ref, x in _integers(case):
        needed = int(np.floor(np.log2(np.abs(x).max()))) + 2
        narrow: Iterable[int] = range(4, needed)
        if not holds_codes(case, ref):
            narrow = [bits for bits in _USUAL if bits < needed and added_to_sums(case, ref)]
        found += [(ref, bits) for bits in narrow if not _fits(x, bits) and _wrap(x, bits).any()]
    yield from sorted(found, key=lambda pair: pair[1] not in _USUAL)


def _fits(x: np.ndarray, bits: int) -> bool:
    return bool(x.min() >= -(2.0 ** (bits - 1)) and x.max() < 2.0 ** (bits - 1))


def _wrap(x: np.ndarray, bits: int) -> np.ndarray:
    half = 2.0 ** (bits - 1)
    return np.asarray((x + half) % (2 * half) - half)
