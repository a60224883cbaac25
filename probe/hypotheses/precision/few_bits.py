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

Scale = Callable[[np.ndarray], np.ndarray]


def _quantised(x: np.ndarray, scale: Scale, levels: float, mode: str) -> np.ndarray:
    """What is left of numbers that are kept as whole numbers of steps, ``levels`` of them at
    most."""
    with np.errstate(all="ignore"):
        step = np.asarray(scale(x), np.float64)
        codes = ALL_MODES[mode](x / step).clip(-levels, levels)
        return np.asarray(np.where(step > 0, codes * step, x))


def _share_of_largest(x: np.ndarray, axes: tuple[int, ...] | None, levels: float) -> np.ndarray:
    return np.asarray(np.abs(x).max(axis=axes, keepdims=True) / levels)


def _scopes(rank: int, first: bool = True) -> dict[str, tuple[int, ...] | None]:
    """Over which axes a scale is one number, in words: of all, of each row along the last axis, of
    each slice along the first, or along the last."""
    found: dict[str, tuple[int, ...] | None] = {"one scale for all": None}
    if rank > 1:
        found["a scale for each row along the last axis"] = (rank - 1,)
    if rank > 2 and first:
        found["a scale for each slice along the first axis"] = tuple(range(1, rank))
    if rank > 1 and first:
        found["a scale for each slice along the last axis"] = tuple(range(rank - 1))
    return found


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
    for count, (words, axes) in product(levels, _scopes(rank).items()):
        claim = f"quantised with {words}, the largest magnitude over {count:g}"
        yield claim, partial(_by_largest, axes=axes, levels=count)


def _numbers_of_levels(bits: int) -> Iterator[float]:
    half = 1 << bits - 1
    if half > 1:
        yield from (half - 1, half, half - 0.5)


def _by_largest(weight: Weight, axes: tuple[int, ...] | None, levels: float) -> np.ndarray:
    x = np.asarray(weight.stored, np.float64)
    if axes is not None and max(axes) >= x.ndim:
        axes = None
    return _quantised(x, partial(_share_of_largest, axes=axes, levels=levels), levels, _ROUNDED)


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
    kernels of sums, all of these, or one of them."""
    floats = {name: weight for name, weight in case.weights.items() if _is_large(weight)}
    groups = _groups_of_weights(case, floats)
    for levels, (words, axes) in product(_LEVELS, _scopes(2).items()):
        claim = f"kept as integers from {-levels} to {levels} with {words}"
        for names in groups:
            function = partial(_of_effective, axes=axes, levels=levels)
            arrays = {name: function(floats[name]) for name in names}
            what = f"{listed(names)} {claim}"
            yield case.edit(what, case.with_weights(arrays), do="keep floating point")


def _is_large(weight: Weight) -> bool:
    x = weight.effective
    return weight.grid is None and x.dtype.kind == "f" and x.ndim > 1 and _FEWEST <= x.size <= _MOST


def _groups_of_weights(case: Case, weights: Mapping[str, Weight]) -> list[list[str]]:
    """Which weights are kept in few bits together."""
    tables = {op.table.name for _, op in case.having(ops.Embedding)}
    tables |= _gathered(case)
    looked_up = [name for name in weights if name in tables]
    others = [name for name in weights if name not in tables]
    groups = [looked_up, others, list(weights)]
    groups += [[name] for name in list(weights)[:_EACH]]
    return [list(names) for names in dict.fromkeys(map(tuple, groups)) if names]


def _gathered(case: Case) -> set[str]:
    """The parameters that a step takes rows of."""
    rows = (case.steps[at].sources(at)[0].step for at, _ in case.having(ops.Gather))
    givers = (case.steps[at].op for at in rows if at >= 0)
    return {op.weight.name for op in givers if isinstance(op, ops.Parameter)}


def _of_effective(weight: Weight, axes: tuple[int, ...] | None, levels: float) -> np.ndarray:
    x = np.asarray(weight.effective, np.float64)
    if axes == (1,):
        axes = (x.ndim - 1,)
    if axes == (0,):
        axes = tuple(range(x.ndim - 1))
    return _quantised(x, partial(_share_of_largest, axes=axes, levels=levels), levels, _ROUNDED)


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
    for levels, (words, axes) in product(_LEVELS, _scopes(rank, False).items()):
        claim = f"kept as integers from {-levels} to {levels} with {words}"
        scale = partial(_share_of_largest, axes=axes, levels=levels)
        function = partial(_quantised, scale=scale, levels=levels, mode=_ROUNDED)
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
