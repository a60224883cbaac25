"""Tensors that are kept as integers of few bits with a scale, and weights that a layer quantises
itself, quantised by another scale or another rounding."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.grouped_changes import all_and_each, all_of, in_turn
from probe.hypotheses.edits.mapped_tensors import mapped, tensors_of
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import listed, tensor_name
from probe.hypotheses.edits.tensor_maps import Map
from probe.hypotheses.precision.rounding_modes import ALL_MODES
from probe.hypotheses.registry import more
from probe.ops.base import Rearrangement
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.change import Change
from probe.trial.edit import Edit

__all__: list[str] = []

_LEVELS = (127, 7, 128, 8)
"""The integer that the largest magnitude becomes, in 8 bits and in 4."""
_ROUNDED = "half to even"
_MOST = 1 << 18
"""Entries of a tensor that is quantised."""
_FEWEST = 8
"""Numbers that a scale is taken of, of a tensor that a layer computes."""
_EACH = 8
"""How many weights are tried one by one."""

_SCOPES: dict[str, Callable[[int], tuple[int, ...]]] = {
    "one scale for all": lambda rank: tuple(range(rank)),
    "a scale for each row along the last axis": lambda rank: (rank - 1,),
    "a scale for each slice along the first axis": lambda rank: tuple(range(1, rank)),
    "a scale for each slice along the last axis": lambda rank: tuple(range(rank - 1)),
}
"""Over which axes of a tensor a scale is one number, in words."""
_LEAST_RANK = {"one scale for all": 0, "a scale for each slice along the first axis": 3}
"""From which rank on such a scale is another than those before it, where not from 2."""


def _quantised(
    x: np.ndarray, scope: str, levels: float, mode: str = _ROUNDED, beside: float = 0.0
) -> np.ndarray:
    """What is left of numbers that are kept as whole numbers of steps, of which the largest
    magnitude of a scope has ``levels``; the quotients are rounded as their type does."""
    axes = _SCOPES[scope](x.ndim) if x.ndim > 1 else None
    lowest = -levels - (ALL_MODES[mode] is np.floor)
    with np.errstate(all="ignore"):
        step = np.abs(x).max(axis=axes, keepdims=True) / np.asarray(levels, x.dtype)
        codes = ALL_MODES[mode]((x / step).astype(np.float64) * (1 + beside)).clip(lowest, levels)
        return np.asarray(np.where(step > 0, codes * step, x))


def _scopes(rank: int) -> list[str]:
    return [words for words in _SCOPES if rank >= _LEAST_RANK.get(words, 2)]


# Weights that a layer quantises.


@more("fixed-point")
def requantised_weights(case: Case) -> Iterator[Edit]:
    """Weights that a layer quantises from what is stored, quantised in steps of another width: the
    largest over another number of levels, of another part of the weight."""
    quantised = {name: weight for name, weight in case.weights.items() if _is_quantised(weight)}
    for words, function in _other_steps(quantised):
        for names in all_and_each(list(quantised), _EACH):
            yield _edit(case, quantised, names, words, function)


@more("rounding-mode")
def weights_rounded_otherwise(case: Case) -> Iterator[Edit]:
    """Weights that a layer quantises from what is stored, rounded in another way."""
    quantised = {name: weight for name, weight in case.weights.items() if _is_quantised(weight)}
    for mode in ALL_MODES:
        function = partial(_by_own_scale, mode=mode)
        for names in all_and_each(list(quantised), _EACH) if mode != _ROUNDED else ():
            yield _edit(case, quantised, names, f"rounded {mode}", function)


def _is_quantised(weight: Weight) -> bool:
    """Whether a weight is rounded to whole numbers of steps on both sides of 0, out of numbers that
    are stored."""
    grid, stored = weight.grid, weight.stored
    if grid is None or stored is None or grid.in_steps or np.any(grid.zero_point):
        return False
    same = stored.shape == weight.effective.shape and 1 < stored.size <= _MOST
    return same and stored.dtype.kind == "f" and not np.array_equal(stored, weight.effective)


def _by_own_scale(weight: Weight, mode: str) -> np.ndarray:
    assert weight.grid is not None
    low, high = _bounds(weight)
    with np.errstate(all="ignore"):
        codes = ALL_MODES[mode](np.asarray(weight.stored, np.float64) / weight.grid.scale)
    return np.asarray(codes.clip(low, high) * weight.grid.scale)


def _bounds(weight: Weight) -> tuple[int, int]:
    """The least and the largest integer, the least only where it occurs."""
    assert weight.grid is not None
    low, high = weight.grid.bounds
    return min(int(weight.grid.integers(weight.effective).min()), -high if low else 0), high


def _other_steps(weights: Mapping[str, Weight]) -> Iterator[tuple[str, Any]]:
    bits = dict.fromkeys(weight.grid.bits for weight in weights.values() if weight.grid is not None)
    rank = max((weight.effective.ndim for weight in weights.values()), default=0)
    levels = dict.fromkeys(n for b in bits for n in _numbers_of_levels(b))
    for count, scope in product(levels, _scopes(rank)):
        claim = f"quantised with {scope}, the largest magnitude over {count:g}"
        yield claim, partial(_by_largest, scope=scope, levels=count)


def _numbers_of_levels(bits: int) -> Iterator[float]:
    half = 1 << bits - 1
    if half > 1:
        yield from (half - 1, half, half - 0.5)


def _by_largest(weight: Weight, scope: str, levels: float) -> np.ndarray:
    return _quantised(np.asarray(weight.stored), scope, levels)


def _edit(
    case: Case,
    weights: Mapping[str, Weight],
    names: list[str],
    words: str,
    function: Callable[[Weight], np.ndarray],
) -> Edit:
    return case.edit(
        f"the stored {listed(names)} {words}",
        case.with_weights({name: function(weights[name]) for name in names}),
        do="use the effective weights: "
        + ", ".join(f"report.weights[{name!r}].effective" for name in names),
    )


# Tensors that a layer has in floating point.


@more("reduced-precision")
def weights_in_few_bits(case: Case) -> Iterator[Edit]:
    """Weights kept as integers of 8 or 4 bits with a scale: the tables that are looked up, the
    kernels of sums, those of a kind, all of these, or one of them; several also cut off."""
    floats = {name: weight for name, weight in case.weights.items() if _is_large(weight)}
    rank = max((weight.effective.ndim for weight in floats.values()), default=0)
    groups = _groups_of_weights(case, floats)
    for levels, scope, (mode, beside) in product(_LEVELS, _scopes(rank), _MODES):
        claim = f"kept as integers from {-levels} to {levels} with {scope}"
        claim += "" if mode == _ROUNDED else f", rounded {mode}"
        for names in groups:
            if mode == _ROUNDED or (len(names) > 1 and levels in _SYMMETRIC):
                arrays = {
                    name: _quantised(floats[name].effective, scope, levels, mode, beside)
                    for name in names
                }
                what = f"{listed(names)} {claim}"
                yield case.edit(what, case.with_weights(arrays), do="keep floating point")


_SYMMETRIC = (127, 7)
_MODES = (
    (_ROUNDED, 0.0),
    *product(("down (floor)", "towards zero"), (0.0, 2.0**-22, -(2.0**-22))),
)
"""How numbers become whole, and by which share of itself the largest may lie beside a whole number
in float32."""


def _is_large(weight: Weight) -> bool:
    x = weight.effective
    return weight.grid is None and x.dtype.kind == "f" and x.ndim > 1 and _FEWEST <= x.size <= _MOST


def _groups_of_weights(case: Case, weights: Mapping[str, Weight]) -> list[list[str]]:
    """Which weights are kept in few bits together."""
    tables = {op.table.name for _, op in case.having(ops.Embedding)}
    tables |= _gathered(case)
    kinds: dict[object, list[str]] = {"all": list(weights)}
    for name, weight in weights.items():
        kinds.setdefault(("looked up", name in tables), []).append(name)
        kinds.setdefault(("kernel", weight.effective.shape[2:]), []).append(name)
        kinds.setdefault(("computed", bool(weight.steps)), []).append(name)
    groups = [*kinds.values(), *([name] for name in list(weights)[:_EACH])]
    return [list(names) for names in dict.fromkeys(map(tuple, groups)) if names]


def _gathered(case: Case) -> set[str]:
    """The parameters that a step takes rows of."""
    rows = (case.steps[at].sources(at)[0].step for at, _ in case.having(ops.Gather))
    givers = (case.steps[at].op for at in rows if at >= 0)
    return {op.weight.name for op in givers if isinstance(op, ops.Parameter)}


@more("reduced-precision")
def tensors_in_few_bits(case: Case) -> Iterator[Changes]:
    """What a step gives kept as integers of 8 or 4 bits with a scale, or keys and values."""
    yield Changes(_in_few_bits, "reduced-precision", PARTS)


def _in_few_bits(case: Case) -> Iterator[Change]:
    if case.inner:
        return
    refs = [ref for ref in tensors_of(case, moved=True) if _is_computed(case, ref)]
    pairs = list(_keys_and_values(case))
    yield from in_turn([_kept(case, list(group)) for group in (*pairs, *((ref,) for ref in refs))])


def _kept(case: Case, refs: list[Ref]) -> Iterator[Change]:
    """Tensors that are kept in few bits."""
    rank = np.ndim(refs[0].of(case.inputs, case.values))
    for levels, scope in product(_LEVELS, _scopes(rank)[:2]):
        claim = f"kept as integers from {-levels} to {levels} with {scope}"
        function = partial(_quantised, scope=scope, levels=levels)
        some = [next(mapped(case, ref, Map(claim, function, False))) for ref in refs]
        change = some[0] if len(some) == 1 else all_of(some, case.steps)
        if change is not None and len(some) > 1:
            names = listed([tensor_name(case, ref) for ref in refs])
            yield Change(f"{names} {claim}", "", change.steps, change.out, of=refs[0].step)
        elif change is not None:
            yield change


def _is_computed(case: Case, ref: Ref) -> bool:
    """Whether a tensor is of numbers that follow the input, and no other place of those that a step
    before gives."""
    x = np.asarray(ref.of(case.inputs, case.values))
    if x.dtype.kind != "f" or not _FEWEST <= x.size <= _MOST or ref.step in of_parameters(case):
        return False
    return ref.step < 0 or not isinstance(case.steps[ref.step].op, Rearrangement)


def _keys_and_values(case: Case) -> Iterator[tuple[Ref, Ref]]:
    """What attention takes beside the queries, in the order of its axes that has the features
    last."""
    for position, _ in case.having(ops.Product):
        weights, values = case.steps[position].sources(position)
        at = weights.step
        while at >= 0 and not isinstance(case.steps[at].op, ops.Product):
            at = case.steps[at].sources(at)[0].step if case.steps[at].sources(at) else -1
        if at < 0:
            continue
        keys = case.steps[at].sources(at)[1]
        if keys.step >= 0 and isinstance(case.steps[keys.step].op, ops.Transpose):
            keys = case.steps[keys.step].sources(keys.step)[0]
        if keys != values and all(_follows(case, ref) for ref in (keys, values)):
            yield keys, values


def _follows(case: Case, ref: Ref) -> bool:
    x = np.asarray(ref.of(case.inputs, case.values))
    return x.dtype.kind == "f" and x.ndim > 1 and ref.step not in of_parameters(case)
