"""Complex numbers of which another part is taken: the imaginary parts, the magnitude, its square or
the sum of both parts in place of the real parts; the conjugate; real and imaginary parts exchanged.

What is complex is found by what it comes from: the two outputs of a Fourier transform, what one
call makes of a size and an angle, or what is taken of an array that holds both parts along its last
axis; and what is done to both alike. The same is done to the cosine and the sine of one angle, and
to the two elements of any last axis, which are called so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import STEPS, Changes
from probe.hypotheses.edits.rewriting import made_by, origin_of, source_of
from probe.hypotheses.edits.step_words import call_of, listed, place_name, tensor_name
from probe.hypotheses.registry import more
from probe.ops.step import Ref, Step
from probe.trial.case import Case, once, shape_of, users_of
from probe.trial.change import Change

__all__: list[str] = []

_Pair = tuple[Ref, Ref]


class _Words(NamedTuple):
    """What the two parts of numbers are called, and both together."""

    first: str
    second: str
    both: str
    size: str = ""
    """The root of the sum of their squares; "" where that is 1."""


_COMPLEX = _Words("real parts", "imaginary parts", "real and imaginary parts", "magnitudes")
_ANGLES = _Words("cosines", "sines", "cosines and sines")
_HALVES = _Words(
    "first elements of the last axis",
    "second elements of the last axis",
    "first and second elements of the last axis",
    "roots of the sums of their squares",
)


@more("changed-step")
def other_part_of_complex(case: Case) -> Iterator[Changes]:
    """Another part of complex numbers: imaginary for real, the magnitude or its square, the
    conjugate; the same of the cosine and sine of one angle, and of axes of two elements."""
    yield Changes(_other_parts, "changed-step", STEPS)


def _other_parts(case: Case) -> Iterator[Change]:
    for pair, words in _ends(case).items():
        yield from _of_pair(case, pair, words)
    for position, pair in _sizes(case):
        yield from _of_size(case, position, pair)


def _of_pair(case: Case, pair: _Pair, words: _Words) -> Iterator[Change]:
    """What takes the parts of numbers takes others."""
    first, second = pair
    new, behind = Ref(len(case.steps)), len(case.steps)
    negated = {behind: Step(ops.Neg(), (second,))}
    place = place_name(case, first.step)
    if words is _ANGLES:
        place += f" and {place_name(case, second.step)}"
    conjugate = " (the conjugate is taken)" if words is _COMPLEX else ""
    for what, instead, steps in (
        (f"the {words.second} are negated{conjugate}", {second: new}, negated),
        (f"the {words.both} are exchanged", {first: second, second: first}, {}),
        (f"the {words.second} are taken instead of the {words.first}", {first: second}, {}),
        (f"the {words.first} are taken instead of the {words.second}", {second: first}, {}),
        (f"the {words.second} are taken as 0", {second: new}, _zeros(behind, second)),
    ):
        yield _taken(case, instead, steps, what, place)
    ways: dict[str, Callable[[int, _Pair], dict[int, Step]]] = {}
    if words.size:
        ways = {words.size: _magnitude, f"squares of the {words.size}": _power}
    if words is _HALVES:
        ways = {words.size: _magnitude, "sums of their squares": _power}
    for other, steps_of in (ways | _OF_BOTH).items():
        for which, ref in ((words.first, first), (words.second, second)):
            what = f"the {other} are taken instead of the {which}"
            steps = steps_of(behind, pair)
            yield _taken(case, {ref: Ref(max(steps))}, steps, what, place)


def _zeros(at: int, ref: Ref) -> dict[int, Step]:
    return {at: Step(ops.Sub(), (ref, ref))}


def _power(at: int, pair: _Pair) -> dict[int, Step]:
    squares = {at + k: Step(ops.Square(), (ref,)) for k, ref in enumerate(pair)}
    return {**squares, at + 2: Step(ops.Add(), (Ref(at), Ref(at + 1)))}


def _magnitude(at: int, pair: _Pair) -> dict[int, Step]:
    return {**_power(at, pair), at + 3: Step(ops.Sqrt(), (Ref(at + 2),))}


_OF_BOTH: dict[str, Callable[[int, _Pair], dict[int, Step]]] = {
    "sums of both parts": lambda at, pair: {at: Step(ops.Add(), pair)},
    "differences of both parts": lambda at, pair: {at: Step(ops.Sub(), pair)},
}


def _of_size(case: Case, position: int, pair: _Pair) -> Iterator[Change]:
    """A part alone in place of a magnitude or its square, the one of these for the other, and their
    sum."""
    size_ref, behind = Ref(position), len(case.steps)
    squared = isinstance(case.steps[position].op, ops.Add | ops.ReduceSumSquare)
    own = "squares of the magnitudes" if squared else "magnitudes"
    root = {behind: Step(ops.Sqrt() if squared else ops.Square(), (size_ref,))}
    if pair in _pairs(case) and _pairs(case)[pair] is _COMPLEX:
        names = ["the real parts", "the imaginary parts"]
    else:
        names = [tensor_name(case, ref) for ref in pair]
    size = {
        "the magnitudes" if squared else "the squares of the magnitudes": root,
        **{
            name: {behind: Step(ops.Identity(), (ref,))}
            for name, ref in zip(names, pair, strict=True)
        },
        f"the squares of {names[0]}": {behind: Step(ops.Square(), pair[:1])},
        "the sums of both parts' sizes": {
            behind: Step(ops.Abs(), pair[:1]),
            behind + 1: Step(ops.Abs(), pair[1:]),
            behind + 2: Step(ops.Add(), (Ref(behind), Ref(behind + 1))),
        },
    }
    for words, steps in size.items():
        if all(shape_of(case, ref) == shape_of(case, size_ref) for ref in pair):
            what = f"{listed([words])} taken instead of the {own}"
            yield _taken(case, {size_ref: Ref(max(steps))}, steps, what, place_name(case, position))


def _taken(
    case: Case, instead: Mapping[Ref, Ref], new: Mapping[int, Step], what: str, place: str
) -> Change:
    """All that takes these tensors takes others, which new steps may give."""
    steps = dict(new)
    for old, other in instead.items():
        for user in users_of(case).get(old, ()):
            step = steps.get(user, case.steps[user])
            own = case.steps[user].sources(user)
            refs = (
                other if mine == old else ref
                for mine, ref in zip(own, step.sources(user), strict=True)
            )
            steps[user] = Step(step.op, tuple(refs))
    out, first = instead.get(Ref(len(case.steps) - 1)), min(ref.step for ref in instead)
    return Change(what, place, steps, out, key=("complex", what), of=first)


# Which tensors are the parts of such numbers.


@once
def _ends(case: Case) -> dict[_Pair, _Words]:
    """The two parts that something else takes than what is done to both alike."""
    ends: dict[_Pair, _Words] = {}
    for pair, words in _pairs(case).items():
        taken = [users_of(case).get(ref, []) for ref in pair]
        alike = {ref.step for more in _done_to_both(case, pair) for ref in more}
        last = Ref(len(case.steps) - 1) in pair
        if last or any(user not in alike for users in taken for user in users):
            ends[pair] = words
    return ends


@once
def _pairs(case: Case) -> dict[_Pair, _Words]:
    """All pairs of parts, and those that are made of them by what is done to both alike. Elements
    along an axis are complex where these are joined in it."""
    found = _followed(case, dict(_made(case)))
    halves = {
        pair: _COMPLEX if found.get(_joined(case, ref)) is _COMPLEX else _HALVES
        for ref, pair in _halves(case, ops.Slice)
    }
    return _followed(case, found | halves)


def _followed(case: Case, found: dict[_Pair, _Words]) -> dict[_Pair, _Words]:
    line = list(found)
    while line:
        pair = line.pop()
        followers = [more for more in _done_to_both(case, pair) if more not in found]
        found |= dict.fromkeys(followers, found[pair])
        line += followers
    return found


def _made(case: Case) -> Iterator[tuple[_Pair, _Words]]:
    """What a Fourier transform gives, the cosine and sine of one angle, which are complex where one
    call makes both, and what is taken of the parts that complex numbers are held by."""
    angles: dict[Ref, dict[type, int]] = {}
    for position, step in enumerate(case.steps):
        if isinstance(step.op, ops.Fourier):
            yield (Ref(position, 0), Ref(position, 1)), _COMPLEX
        elif isinstance(step.op, ops.Cos | ops.Sin):
            angles.setdefault(step.sources(position)[0], {})[type(step.op)] = position
    for both in angles.values():
        if len(both) == 2:
            calls = {call_of(case, position) for position in both.values()}
            words = _COMPLEX if len(calls) == 1 and calls != {""} else _ANGLES
            yield (Ref(both[ops.Cos]), Ref(both[ops.Sin])), words
    yield from ((pair, _COMPLEX) for _, pair in _halves(case, ops.Take))


def _halves(case: Case, kind: type[ops.Slice] | type[ops.Take]) -> Iterator[tuple[Ref, _Pair]]:
    """The tensors whose last axis is of two elements, and both elements, each a step's."""
    halves: dict[Ref, dict[int, Ref]] = {}
    for position, op in case.having(kind):
        ref = case.steps[position].sources(position)[0]
        whole = shape_of(case, ref)
        if whole[-1:] == (2,) and shape_of(case, Ref(position)) == (*whole[:-1], 1):
            part = op.starts[-1] if isinstance(op, ops.Slice) else int(op.order[0])
            halves.setdefault(ref, {})[part % 2] = Ref(position)
    yield from ((ref, (both[0], both[1])) for ref, both in halves.items() if len(both) == 2)


def _joined(case: Case, ref: Ref) -> _Pair:
    """The two tensors that are joined in a last axis of two elements; one twice of no such."""
    ref = origin_of(case, ref)
    joined = case.steps[ref.step].sources(ref.step) if made_by(case, ref, ops.Concat) else ()
    if len(joined) == 2 and shape_of(case, ref)[-1:] == (2,):
        return _parts(case, joined)
    return ref, ref


def _done_to_both(case: Case, pair: _Pair) -> Iterator[_Pair]:
    """What the same steps make of the two parts."""
    first, second = (users_of(case).get(ref, []) for ref in pair)
    for at in first:
        for other in second:
            steps = case.steps[at], case.steps[other]
            sources = [step.sources(k) for step, k in zip(steps, (at, other), strict=True)]
            swapped = tuple(pair[1] if ref == pair[0] else ref for ref in sources[0])
            if at != other and swapped == sources[1] and _same(steps[0].op, steps[1].op):
                yield Ref(at), Ref(other)


def _same(op: Any, other: Any) -> bool:
    if type(op) is not type(other):
        return False
    attributes = [(getattr(op, part.name), getattr(other, part.name)) for part in fields(op)]
    return all(mine is theirs or np.array_equal(mine, theirs) for mine, theirs in attributes)


def _sizes(case: Case) -> Iterator[tuple[int, _Pair]]:
    """The steps that give the magnitude of complex numbers, or its square, and their parts."""
    for position, op in case.having(ops.ReduceL2, ops.ReduceSumSquare):
        ref = origin_of(case, case.steps[position].sources(position)[0])
        joined = case.steps[ref.step].sources(ref.step) if made_by(case, ref, ops.Concat) else ()
        if len(joined) == 2 and shape_of(case, ref)[-1:] == (2,) and op.axes[-1:] in ((-1,), ()):
            yield position, _parts(case, joined)
        elif len(joined) == 2 and op.axes == (len(shape_of(case, ref)) - 1,):
            yield position, _parts(case, joined)
    for position, _ in case.having(ops.Add):
        squares = case.steps[position].sources(position)
        if len(squares) == 2 and all(made_by(case, ref, ops.Square) for ref in squares):
            first, second = (source_of(case, ref) for ref in squares)
            if _alike(case, first, second):
                yield position, (first, second)


def _parts(case: Case, joined: Sequence[Ref]) -> _Pair:
    first, second = (
        source_of(case, ref) if made_by(case, ref, ops.Unsqueeze) else ref for ref in joined
    )
    return first, second


def _alike(case: Case, first: Ref, second: Ref) -> bool:
    """Whether two tensors of one shape come from steps of a kind."""
    kinds = [type(case.steps[ref.step].op) for ref in (first, second) if ref.step >= 0]
    return shape_of(case, first) == shape_of(case, second) and len({*kinds}) <= 1
