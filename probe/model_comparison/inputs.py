"""B's inputs, found from A's: by name, by shape or by place, in the order of axes and the type that
B takes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import NamedTuple

import numpy as np

from probe.capture.model_inputs import bind
from probe.capture.user_arrays import InputArgument, Inputs
from probe.errors import BadInput, ForwardFailed
from probe.model import InputSpec, Model, NamesArrays
from probe.model_comparison.graphs.array_names import tell_apart
from probe.model_comparison.graphs.axes import Way, unchanged
from probe.model_comparison.matching.paired import InputPair

__all__ = ["AInputs", "BInputs", "candidates", "input_names", "own_inputs"]

_LAST_TO_FIRST: dict[int, tuple[tuple[int, ...], ...]] = {
    3: ((0, 2, 1),),
    4: ((0, 3, 1, 2),),
    5: ((0, 4, 1, 2, 3), (0, 1, 4, 2, 3)),
}
"""Channels from the last axis to the second, or to the third, behind the time of a sequence of
images."""
_ORDERED, _TRIED = 5, 3
"""More inputs are not tried in every order; nor so many where only a forward pass tells."""


class AInputs(NamedTuple):
    """What A is run on."""

    given: Inputs | InputArgument
    """As the user gave it."""
    arrays: tuple[np.ndarray, ...]
    names: tuple[str, ...]


class BInputs(NamedTuple):
    """What B is run on."""

    model: Model
    arrays: tuple[np.ndarray, ...]
    pairs: tuple[InputPair, ...]
    words: tuple[str, ...] = ()
    """What was done to A's inputs, a sentence each."""


def input_names(model: Model, count: int) -> tuple[str, ...]:
    """The names of so many arrays that a model is run on; "" for one without."""
    names: Sequence[str] = ()
    if model.inputs is not None:
        names = [spec.name for spec in model.inputs]
    elif isinstance(model, NamesArrays):
        names = model.argument_names()
    return (*names, *[""] * count)[:count]


def own_inputs(a: AInputs, model: Model, arrays: tuple[np.ndarray, ...]) -> BInputs:
    """B's own inputs, with those of A that they stand for: of the same name, with the same values,
    or in the same place, as far as their sizes allow."""
    names, pairs = input_names(model, len(arrays)), list[InputPair]()

    def pair(place: int, candidates: Sequence[int], same_values: bool) -> None:
        taken = {paired.a for paired in pairs}
        if any(paired.b == place for paired in pairs):
            return
        for candidate in candidates:
            ways = [] if candidate in taken else [*_reorders(a.arrays[candidate], arrays[place])]
            equal = [way for way in ways if _equal(way.to_b(a.arrays[candidate]), arrays[place])]
            if chosen := equal or ([] if same_values else ways):
                pairs.append(InputPair(candidate, place, chosen[0]))
                return

    everywhere = range(len(a.arrays))
    for place, name in enumerate(names):
        pair(place, [k for k in everywhere if name and a.names[k] == name], same_values=False)
    for place in range(len(arrays)):
        pair(place, [k for k in (place, *everywhere) if k in everywhere], same_values=True)
    if len(arrays) == len(a.arrays):
        for place in everywhere:
            pair(place, [place], same_values=False)
    return BInputs(model, arrays, tuple(sorted(pairs, key=lambda paired: paired.b)))


def _reorders(a: np.ndarray, b: np.ndarray) -> Iterator[Way]:
    """As it is, or with the channels moved, where that has the other's shape."""
    return (way for way in _orders(a, None) if way.to_b(a).shape == b.shape)


def _equal(left: np.ndarray, right: np.ndarray) -> bool:
    return np.array_equal(left, right, equal_nan=left.dtype.kind == right.dtype.kind == "f")


def candidates(b: Model, a: AInputs) -> Iterator[Iterator[BInputs]]:
    """The ways to hand A's inputs to B, the likeliest first: for each order of the inputs those of
    their axes that B's input shapes allow."""
    values = a.given.values if isinstance(a.given, InputArgument) else a.given
    literals = a.given.literals if isinstance(a.given, InputArgument) else {}
    if isinstance(values, Mapping):
        try:
            bound = bind(b, InputArgument(values, literals))
            yield iter([own_inputs(a, bound.model, bound.arrays)])
            return
        except BadInput:
            pass
    specs = b.inputs
    named = _by_name(b, a)
    if named is None and specs is not None and len(specs) != len(a.arrays):
        raise BadInput(
            f"A is run on {len(a.arrays)} inputs and B takes {len(specs)} "
            f"({', '.join(spec.name for spec in specs)}): give B's own (x_b=, --input-b)"
        )
    if named is not None:
        yield _handed(b, a, named, "by name", literals)
    in_place = tuple(range(len(a.arrays)))
    fitting = [order for order in _by_shape(specs, a.arrays) if order != in_place]
    fits = specs is None or all(map(_all_orders, a.arrays, specs))
    if fits or not fitting:
        yield _handed(b, a, in_place, "", literals)
    for order in fitting:  # also where B fails on them in their places
        yield _handed(b, a, order, "by shape", literals)


def _by_name(b: Model, a: AInputs) -> tuple[int, ...] | None:
    """For each input of B that of A with its name, where all have one and fit; None where they do
    not, or are in the same places."""
    if b.inputs is None:
        known = input_names(b, len(a.arrays))
    else:
        known = tuple(spec.name for spec in b.inputs)
    if not (known and tell_apart(known) and tell_apart(a.names) and {*known} <= {*a.names}):
        return None
    order = tuple(map(a.names.index, known))
    specs = b.inputs or [None] * len(order)
    if order == tuple(range(len(a.arrays))):
        return None
    if all(_all_orders(a.arrays[k], spec) for k, spec in zip(order, specs, strict=True)):
        return order
    return None


def _by_shape(
    specs: Sequence[InputSpec] | None, arrays: Sequence[np.ndarray]
) -> Iterator[tuple[int, ...]]:
    """The orders of A's inputs in which each has the shape and the type of B's."""
    if 1 < len(arrays) <= (_TRIED if specs is None else _ORDERED):
        wanted: Sequence[InputSpec | None] = specs or [None] * len(arrays)
        for order in permutations(range(len(arrays))):
            if all(_is_for(arrays[k], spec) for k, spec in zip(order, wanted, strict=True)):
                yield order


def _is_for(array: np.ndarray, spec: InputSpec | None) -> bool:
    floats = spec is None or spec.dtype.startswith(("float", "bfloat"))
    return bool(_all_orders(array, spec)) and (spec is None or floats == (array.dtype.kind == "f"))


def _handed(
    b: Model,
    a: AInputs,
    order: Sequence[int],
    how: str,
    literals: Mapping[str, object],
) -> Iterator[BInputs]:
    """A's inputs in this order, in each order of axes that B takes."""
    arrays = [a.arrays[k] for k in order]
    spec: Sequence[InputSpec | None] = b.inputs or [None] * len(arrays)
    options = list(map(_all_orders, arrays, spec))
    fitting = all(options)
    # What a model draws for itself has a shape that it need not be given.
    tried = [ways or [unchanged(array.ndim)] for ways, array in zip(options, arrays, strict=True)]
    any_bound = False
    for ways in product(*tried):
        turned = [
            _typed(np.ascontiguousarray(way.to_b(array)), wanted)
            for way, array, wanted in zip(ways, arrays, spec, strict=True)
        ]
        try:
            bound = bind(b, InputArgument(turned[0] if len(turned) == 1 else turned, literals))
        except (BadInput, ForwardFailed):
            continue
        any_bound = True
        pairs = tuple(InputPair(*both) for both in zip(order, range(len(order)), ways, strict=True))
        yield BInputs(bound.model, bound.arrays, pairs, tuple(_words(a, pairs, how)))
    if not (fitting or any_bound):
        place = options.index([])
        wanted = spec[place]
        assert wanted is not None
        raise BadInput(
            f"A's input {order[place]} has the shape {arrays[place].shape}, which in no order of "
            f"its axes is that of B's {wanted.name} {wanted.shape}: give B's own (x_b=, --input-b)"
        )


def _words(a: AInputs, pairs: Sequence[InputPair], how: str) -> Iterator[str]:
    """What was done to A's inputs, a sentence each."""
    order = [pair.a for pair in pairs]
    if how:
        yield f"B's inputs are A's inputs {', '.join(map(str, order))}, paired {how}"
    for place in sorted({*range(len(a.arrays))} - {*order}):
        yield f"B does not take A's input {place} ({a.names[place]})"
    for pair in pairs:
        if pair.way.text:
            yield f"input {pair.b} of B is A's with the axes {pair.way.text}"


def _all_orders(array: np.ndarray, spec: InputSpec | None) -> list[Way]:
    return list(_orders(array, spec))


def _orders(array: np.ndarray, spec: InputSpec | None) -> Iterator[Way]:
    """As it is, or with the channels moved."""
    rank = array.ndim
    perms = [tuple(range(rank))]
    if rank in _LAST_TO_FIRST and array.dtype.kind == "f":
        for moved in _LAST_TO_FIRST[rank]:
            perms += [moved, tuple(int(k) for k in np.argsort(moved))]
    for perm in dict.fromkeys(perms):
        shape = tuple(array.shape[k] for k in perm)
        if spec is None or _fits(shape, spec.shape):
            yield Way(perm)


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        length in (None, other) for length, other in zip(wanted, shape, strict=True)
    )


def _typed(array: np.ndarray, spec: InputSpec | None) -> np.ndarray:
    """In B's type, where that is another of the same kind."""
    if spec is None or spec.dtype == str(array.dtype) or not hasattr(np, spec.dtype):
        return array
    wanted = np.dtype(spec.dtype)
    whole = array.dtype.kind in "iu" and wanted.kind in "iu"
    if whole or array.dtype.kind == wanted.kind == "f":
        return array.astype(wanted)
    return array
