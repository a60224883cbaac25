"""Mistakes that nobody listed: a number, an axis, a mode or the kind of a step is another one.

They are tried last, on all steps, and on those that a norm, an attention or a cell is made of.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import fields, replace
from functools import cache
from itertools import chain, combinations, permutations, product
from typing import Any, get_type_hints

import numpy as np

from probe import ops
from probe.hypotheses.edits.activations import COMMON
from probe.hypotheses.edits.attention_parts import Causal
from probe.hypotheses.edits.changes import Changes
from probe.hypotheses.edits.mapped_tensors import mapped, tensors_of
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.overwritten import overwriting
from probe.hypotheses.edits.recurrent_decompositions import Scanned
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import place_name
from probe.hypotheses.edits.tensor_maps import scalings
from probe.hypotheses.edits.variants import siblings
from probe.hypotheses.registry import hypothesis
from probe.numerics.usual_numbers import EPSILONS
from probe.ops.base import Op
from probe.ops.step import Ref, Step
from probe.trial.case import Case
from probe.trial.change import Change

__all__ = ["changed", "kind_changed", "op_changed", "options_changed", "other_values"]


@hypothesis("changed-step")
def changed_step(case: Case) -> Iterator[Changes]:
    """A step of the layer has another option, number, axis or mode, or is another operation.

    Such as a sum instead of a mean, a maximum instead of a minimum, a softmax over another axis, a
    constant that is squared or left out, or another activation within a block.
    """
    yield Changes(changed, "changed-step")


def changed(case: Case) -> Iterator[Change]:
    if case.inner:
        made = [ref for ref in tensors_of(case) if ref.step < 0 or case.steps[ref.step].inputs]
        for way, ref in product(scalings((), few=True), made):
            yield from mapped(case, ref, way)
    for position in range(len(case.steps) - 1, -1, -1):
        op = case.steps[position].op
        yield from options_changed(case, position)
        for words, other in _read_otherwise(case, position, op):
            key = "read", words.partition(" along axis")[0]  # of a signal and of what divides it
            yield op_changed(case, position, words, other, key, "shape")
        yield from kind_changed(case, position)


def options_changed(case: Case, position: int) -> Iterator[Change]:
    """The step at ``position`` with another option, number, axis or mode."""
    op = case.steps[position].op
    for words, other in (*_numbers(case, position, op), *_fields(case, position, op)):
        name = words.partition(" is ")[0]
        key = ("field", None if name in ("axis", "axes") else type(op), words)
        change = op_changed(case, position, words, other, key, name)
        yield replace(change, slug="other-epsilon" if name == "epsilon" else "")


def kind_changed(case: Case, position: int) -> Iterator[Change]:
    """Another operation at the step at ``position``."""
    op = case.steps[position].op
    sources = case.steps[position].sources(position)
    if position in of_parameters(case) and all(
        np.size(ref.of(case.inputs, case.values)) == 1 for ref in sources
    ):
        return  # two operations of single numbers may well give the same one
    several = len(sources) > 2
    for other in chain(siblings(op), overwriting(op)):
        if several and isinstance(other, ops.Sub | ops.Div):
            continue
        words = f"{op_words(other)} instead of {op_words(op)}"
        yield op_changed(case, position, words, other, ("kind", words))


def _read_otherwise(case: Case, position: int, op: Op) -> Iterator[tuple[str, Op]]:
    """Axes that are not moved but read as if they were, a split in the other order, and a slice
    that starts elsewhere."""
    shape = np.shape(case.values[position][0])
    if isinstance(op, ops.Transpose):
        if [axis for axis in op.perm if shape[op.perm.index(axis)] > 1] != sorted(
            axis for axis in op.perm if shape[op.perm.index(axis)] > 1
        ):
            yield f"a reshape instead of moving the axes to {op.perm}", ops.Reshape(shape)
    elif isinstance(op, ops.Slice) and not op.steps:
        whole = case.input_of(position).shape
        for axis, (start, size) in enumerate(zip(op.starts, shape, strict=True)):
            for by in _moves(start, whole[axis] - size):
                if start >= 0 and 0 <= start + by <= whole[axis] - size:
                    starts = tuple(at + by * (k == axis) for k, at in enumerate(op.starts))
                    stops = tuple(at + n for at, n in zip(starts, shape, strict=True))
                    words = f"the slice starts {abs(by)} {'later' if by > 0 else 'earlier'}"
                    yield f"{words} along axis {axis}", ops.Slice(starts, stops)
    elif isinstance(op, ops.Reshape) and len(shape) > case.input_of(position).ndim:
        for at in range(1, len(shape) - 1):
            if shape[at] != shape[at + 1]:
                other = (*shape[:at], shape[at + 1], shape[at], *shape[at + 2 :])
                yield f"split as {other} instead of {shape}", ops.Reshape(other)
        for at in range(1, len(shape) - 1):
            for outer in _blocks(shape[at], shape[at + 1]):
                inner = shape[at] * shape[at + 1] // outer
                other = (*shape[:at], outer, inner, *shape[at + 2 :])
                yield f"split as {other} instead of {shape}", ops.Reshape(other)


def _blocks(outer: int, inner: int) -> Iterator[int]:
    """How many blocks an axis may be split into that is split into some of a length: half and twice
    as many, and one."""
    others = (outer // 2 if outer % 2 == 0 else 0, 2 * outer if inner % 2 == 0 else 0, 1)
    yield from (count for count in dict.fromkeys(others) if count not in (0, outer, inner))


_NEAR_BY = 3


def _moves(start: int, last: int) -> list[int]:
    """By how much a slice may start elsewhere: by few elements, and from the beginning, the middle,
    the end, half, half more or twice as far."""
    near = [sign * by for by in range(1, _NEAR_BY + 1) for sign in (1, -1)]
    far = [last // 2, last, 0, start // 2, 2 * start, 3 * start // 2]
    return [by for by in dict.fromkeys([*near, *(at - start for at in far)]) if by]


def op_changed(
    case: Case, position: int, words: str, op: Op, key: Hashable, part: str = "kind"
) -> Change:
    step = Step(op, case.steps[position].sources(position))
    where = place_name(case, position)
    where = "" if words.endswith(f"instead of {where.removeprefix('the ')}") else where
    return Change(words, where, {position: step}, key=key, part=(position, part))


# Other fields.

_CHOICES: dict[str, tuple[str, ...]] = {
    "coordinates": (
        *("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"),
        *("tf_half_pixel_for_nn", "half_pixel_symmetric"),
    ),
    "rounding": (
        *("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
        *("even", "RND", "TRN", "RND_CONV", "half_up", "half_away"),
    ),
    "outside": ("edge", "zero", "renormalize", "exclude"),
    "padding": ("zeros", "border", "reflection"),
    "approximate": ("none", "tanh"),
    "overflow": ("WRAP", "SAT", "SAT_SYM"),
    "reduction": ("none", "add", "max", "min", "mul"),
}


_MODES: tuple[tuple[str, ...], ...] = (
    ("constant", "reflect", "edge", "wrap", "symmetric"),
    ("linear", "cubic", "nearest"),
    ("mean", "sum", "max"),
)
"""Of padding, of interpolation and of what brings rows together."""


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _fields(case: Case, position: int, op: Op) -> Iterator[tuple[str, Op]]:
    """The op with one field changed, in words."""
    kind: Any = type(op)
    for part in fields(kind):
        if kind is Scanned and part.name in _NAMED:
            continue
        value = getattr(op, part.name)
        for other in other_values(case, position, op, part.name):
            name = part.name.replace("_", " ")
            words = f"{name} is {_shown(other)} instead of {_shown(value)}"
            if other is None:
                words = f"{name} is left out"
            words = _TOLD.get((type(op), part.name, other), words)
            yield words, replace(op, **{part.name: other})


_NAMED = {"carried", "again", "reset", "shown", "spatial"}
"""What of a recurrence mistakes with names of their own change, and what its cell gives."""
_TOLD: dict[tuple[type, str, Any], str] = {
    (Causal, "from_last", True): (
        "the last query attends to all keys, instead of the first query to the first key"
    ),
    (Scanned, "zero_states", True): "the state is set to 0 at steps that are skipped",
    (Scanned, "in_place", True): (
        "each unit of the state is overwritten before the next is computed"
    ),
    **{(Scanned, "reverse", on): "the sequence is read in the other direction" for on in (0, 1)},
}


def _shown(value: Any) -> str:
    if isinstance(value, Op):
        return op_words(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def other_values(case: Case, position: int, op: Op, name: str) -> Iterator[Any]:
    """What a field of an op, the one of a step, may be instead."""
    kind: Any = type(op)
    x, value = case.input_of(position), getattr(op, name)
    if value is not None and type(None) in getattr(_types(kind)[name], "__args__", ()):
        yield None
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, str):
        modes = next((choices for choices in _MODES if name == "mode" and value in choices), ())
        choices = _CHOICES.get(name, modes)
        if value in choices or not value:  # of other kinds in other ops
            yield from (choice for choice in choices if choice != value)
    elif isinstance(value, int):
        if name == "axis":
            yield from (axis for axis in range(x.ndim) if axis != value % max(1, x.ndim))
        else:
            parts = (size // value for size in x.shape if value > 1 and size % value == 0)
            neighbours = (value + 1, value - 1, 1, 2 * value, value // 2, *parts, -value)
            yield from (neighbour for neighbour in dict.fromkeys(neighbours) if neighbour != value)
    elif isinstance(value, float):
        over = getattr(op, "axes", None) or ()
        sizes = (*x.shape, math.prod(x.shape[axis] for axis in over))
        yield from (number for number in _usual(value, sizes) if number != value)
    elif isinstance(value, tuple) and value and all(type(item) is int for item in value):
        yield from (items for items in _tuples(name, value, x) if items != value)
    elif name in ("pads", "crops") and value:
        yield from (pads for pads in _pads(value) if pads != value)
    elif isinstance(value, Op) and _types(kind)[name] in (Op, Op | None):  # of no certain kind
        yield from (activation for _, activation in COMMON if type(activation) is not type(value))


def _tuples(name: str, value: tuple[int, ...], x: np.ndarray) -> Iterator[tuple[int, ...]]:
    if name == "axes":
        for count in range(1, x.ndim + 1):
            yield from combinations(range(x.ndim), count)
    elif name == "perm":
        if len(value) <= 4:
            yield from permutations(value)
    elif name == "indices" and len(value) > 6:
        yield from _turned(value)
    elif name != "shape" and len(value) <= 6:
        yield value[::-1]
        yield (1,) * len(value)
        for by in (1, -1):
            yield tuple(item + by for item in value)
            for at in range(len(value)):
                yield (*value[:at], value[at] + by, *value[at + 1 :])


Pads = tuple[tuple[int, int], ...]


def _pads(value: Pads) -> Iterator[Pads]:
    yield tuple((after, before) for before, after in value)
    yield value[::-1]
    yield tuple((before + after, 0) for before, after in value)
    yield tuple((0, before + after) for before, after in value)
    for one, other in combinations(range(len(value)), 2):
        pads = list(value)
        pads[one], pads[other] = pads[other], pads[one]
        yield tuple(pads)
    for by in (1, -1):
        yield tuple((before + by, after - by) for before, after in value)
        yield tuple((before + by, after + by) for before, after in value)
        for at, (before, after) in enumerate(value):
            for pad in ((before + by, after - by), (before + by, after), (before, after + by)):
                yield (*value[:at], pad, *value[at + 1 :])


def _usual(value: float, shape: Sequence[int]) -> Iterator[float]:
    if 0 < value <= 1e-2:
        yield from EPSILONS
    yield from (0.0, 1.0, -value, value**2, 2 * value, value / 2)
    if value > 0:
        yield from (math.sqrt(value), 1 / value, 1 / math.sqrt(value))
    yield from (value + 1, value - 1, 0.5, 2.0)
    for size in dict.fromkeys(reversed(shape)):
        if size > 1:
            yield from (1 / math.sqrt(size), math.sqrt(size), 1.0 / size, float(size))
            yield from (value / size, value * size, value / math.sqrt(size))


def _numbers(case: Case, position: int, op: Op) -> Iterator[tuple[str, Op]]:
    """A constant with another value."""
    if not isinstance(op, ops.Constant) or op.value.dtype.kind not in "fiu":
        return
    if op.value.size != 1:
        order = tuple(op.value.tolist()) if op.value.ndim == 1 else ()
        for inverse in _turned(order):
            yield "places are taken in the inverse order", replace(op, value=np.array(inverse))
        return
    value, whole = float(op.value.item()), op.value.dtype.kind in "iu"
    if whole and not value:
        return
    sizes = sorted({size for made in case.values for y in made for size in y.shape if size > 1})
    for other in dict.fromkeys(_usual(value, sizes[-4:])):
        if other != value and np.isfinite(other) and (not whole or other == int(other)):
            nowhere = ", which no element equals," * _equals_nothing(case, position, other)
            yield (
                f"{other:.6g}{nowhere} is taken instead of {value:.6g}",
                replace(op, value=np.full(op.value.shape, other)),
            )


def _equals_nothing(case: Case, position: int, number: float) -> bool:
    """Whether a number is only compared with, and none of those elements is that number."""
    takers = [
        (step.op, step.sources(at))
        for at, step in enumerate(case.steps)
        if Ref(position) in step.sources(at)
    ]
    return bool(takers) and all(
        isinstance(op, ops.Equal | ops.NotEqual)
        and not any(
            (ref.of(case.inputs, case.values) == number).any()
            for ref in refs
            if ref != Ref(position)
        )
        for op, refs in takers
    )


def _turned(order: tuple[Any, ...]) -> Iterator[tuple[int, ...]]:
    """The inverse of an order of places: of a roll, the roll the other way."""
    if len(order) > 2 and sorted(order) == list(range(len(order))):
        yield tuple(np.argsort(order).tolist())
