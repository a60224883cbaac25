"""What weights may have become, tried where the values are too few to solve for them: read,
rounded, cut or scaled otherwise, those of another layer; and a bias that is solved for beside."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from probe import ops
from probe.trial.case import Case
from probe.trial.edit import Edit
from probe.weights_read_back.newton import depending, through
from probe.weights_read_back.relations import (
    REORDERED,
    Others,
    from_elsewhere,
    is_a_table,
    relation,
    roundings,
)
from probe.weights_read_back.wanted_outputs import wanted_of

__all__ = ["Proportion", "altered", "cut", "proportions"]

_SLICES = 64
"""How many slices an axis may have for each to be taken for its neighbour."""
_TURNS = 8
_LARGE = 1 << 20
"""Entries of a weight from which on no number is fitted."""
_EXPLAINED = 1e-6
"""A fitted number that leaves less than this share of the squared difference explains it."""
_NOTHING = 1e-5
"""A factor that is none: the weight is left out."""


class Proportion(NamedTuple):
    """A weight multiplied by a fitted number."""

    name: str
    factor: float
    edit: Edit
    explains: bool
    """Whether that gives about all of the values."""


def altered(case: Case) -> Iterator[Edit]:
    """What weights may have become, one or all of them."""
    yield from _of_another_layer(case)
    beside = dict[str, int]()
    if case.allowed is not None and case.comparable:
        for position, op in case.having(ops.Conv, ops.MatMul):
            if op.weight is not None and op.bias is not None:
                beside[op.weight.name] = position
    for name, weight in case.weights.items():
        if name in beside:
            yield from _beside_a_bias(case, beside[name])
            continue
        for words, array in _altered(name, weight.effective, case.others):
            yield _edit(case, words, {name: array})


def proportions(case: Case) -> Iterator[Proportion]:
    """A weight that is multiplied by one number, which is fitted."""
    for name, weight in case.weights.items() if case.comparable else ():
        if 1 < weight.effective.size <= _LARGE and weight.effective.dtype.kind == "f":
            yield from _in_proportion(case, name)


def cut(case: Case) -> Iterator[Edit]:
    """A weight of which what is below or above a fitted number is cut off."""
    for name, weight in case.weights.items() if case.comparable else ():
        if 8 <= weight.effective.size <= _LARGE and weight.effective.dtype.kind == "f":
            yield from _cut(case, name)


def _edit(case: Case, words: str, arrays: dict[str, np.ndarray], **more: Any) -> Edit:
    if sum(array.size for array in arrays.values()) < case.seen.size:
        told = arrays
    else:
        told = {}
    main = "tied-head" if is_a_table(words) else ""
    return case.edit(words, case.with_weights(arrays), recovered=told, main=main, **more)


def _of_another_layer(case: Case) -> Iterator[Edit]:
    """All parameters of another layer, or those of one module within it."""
    layers: dict[str, dict[str, np.ndarray]] = {}
    for words, array in case.others().items() if len(case.weights) > 1 else ():
        whole = ".".join(words.rsplit("'s ", 1))
        for name, weight in case.weights.items():
            layer = whole.removesuffix(f".{name}")
            if layer not in (whole, case.layer) and array.shape == weight.effective.shape:
                layers.setdefault(layer, {})[name] = array
    for layer, arrays in layers.items():
        if arrays.keys() == case.weights.keys():
            names = ", ".join(arrays)
            yield _edit(case, f"{names} are those of {layer}, another layer of the model", arrays)
    for layer, arrays in layers.items():
        for module in _modules(arrays):
            inside = {name: array for name, array in arrays.items() if name.startswith(module)}
            own = {name for name in case.weights if name.startswith(module)}
            if 1 < len(inside) == len(own) < len(case.weights):
                words = f"the parameters of {module.rstrip('.')} are those of {layer}, another "
                yield _edit(case, f"{words}layer of the model", inside)


def _modules(names: Iterable[str]) -> list[str]:
    """The modules that hold parameters of these names, as they begin; the outer ones first."""
    parts = (name.split(".")[:-1] for name in names)
    found = {".".join(part[:k]) + ".": k for part in parts for k in range(1, len(part) + 1)}
    return sorted(found, key=lambda module: found[module])


def _beside_a_bias(case: Case, position: int) -> Iterator[Edit]:
    """A weight that was altered, where what is left is one number for each output channel: its
    bias is another one too, or it is the layer's own."""
    op: Any = case.steps[position].op
    assert case.allowed is not None
    wanted = next(iter(wanted_of(case, position, case.allowed)), None)
    count = len(case.steps[position].sources(position))
    inputs = [case.input_of(position, i) for i in range(count)]
    rank = case.values[position][0].ndim
    channel = rank - 1 if isinstance(op, ops.MatMul) else 1
    axes = tuple(axis for axis in range(rank) if axis != channel)
    weight, bias = op.weight, op.bias
    for words, array in _altered(weight.name, weight.effective, case.others):
        if not case.budget.spend():
            return
        if wanted is None:
            yield _edit(case, words, {weight.name: array})
            continue
        changed = replace(op, weight=replace(weight, effective=array))
        outputs = changed.run(*inputs)
        case.budget.ran(changed, inputs, outputs)
        made = outputs[0]
        known = np.isfinite(wanted.slack) & np.isfinite(wanted.target) & np.isfinite(made)
        room = 4 * float(wanted.slack[known].max(initial=0.0)) + 1e-6 * float(
            np.abs(wanted.target[known]).max(initial=0.0)
        )
        off = np.where(known, wanted.target - made, np.nan)
        enough = known.sum(axis=axes)
        if not (enough > 2).any():
            continue
        off = np.moveaxis(off, channel, 0).reshape(len(enough), -1)[enough > 0]
        if (np.nanmax(off, axis=1) - np.nanmin(off, axis=1)).max(initial=0.0) > room:
            continue
        shift = np.zeros(len(enough))
        shift[enough > 0] = np.nanmean(off, axis=1)
        shift[np.abs(shift) <= room] = 0.0
        if not shift.any() or not (enough > 2).all():
            yield _edit(case, words, {weight.name: array})
            continue
        used = np.array(bias.effective, np.float64).reshape(-1) + shift
        used = used.reshape(bias.effective.shape)
        told = relation(bias.name, bias.effective, used, others=case.others)
        if told is not None and told.short:
            arrays = {weight.name: array, bias.name: used}
            both = f"{words}; {told.words}"
            yield _edit(case, both, arrays, fitted=len(shift), short=False)


def _in_proportion(case: Case, name: str) -> Iterator[Proportion]:
    """A weight, or what leads from the stored one to it, multiplied by a number."""
    weight = case.weights[name]
    have = weight.effective.astype(np.float64)
    ways = {f"{name} is multiplied by": np.zeros_like(have)}
    stored = weight.stored
    if stored is not None and stored.shape == have.shape and not np.array_equal(stored, have):
        ways[f"what is added to the stored {name} is multiplied by"] = stored.astype(np.float64)
    for words, start in ways.items():
        made = partial(_between, start, have)
        factor = _fitted(case, name, made, 1.0)
        if factor is None or abs(factor - 1) <= 1e-6:
            continue
        told = f"{words} {factor:.6g}"
        if abs(factor) <= _NOTHING:
            factor, told = 0.0, f"{words.removesuffix(' multiplied by')} taken as 0"
        rest = _apart(case, _of_weight(case, name)(made(factor)))
        explains = rest <= _EXPLAINED * _apart(case, case.healthy)
        yield Proportion(name, factor, _edit(case, told, {name: made(factor)}, fitted=1), explains)


def _between(start: np.ndarray, have: np.ndarray, factor: float) -> np.ndarray:
    made: np.ndarray = start + factor * (have - start)
    return made


def _pruned(have: np.ndarray, most: float) -> np.ndarray:
    return np.where(np.abs(have) <= most, 0.0, have)


def _clipped(have: np.ndarray, level: float) -> np.ndarray:
    return np.asarray(np.clip(have, -level, level))


def _cut(case: Case, name: str) -> Iterator[Edit]:
    """Entries below a number in magnitude are 0 instead, or those above it are cut to it."""
    have = case.weights[name].effective.astype(np.float64)
    size = np.abs(have)
    levels = np.unique(size[size > 0])
    if len(levels) < 4:
        return
    run = _of_weight(case, name)
    pruned, clipped = partial(_pruned, have), partial(_clipped, have)
    most = _best(levels[:-1], lambda level: _apart(case, run(pruned(level))), case)
    if most is not None:
        count = int((size <= most).sum())
        words = (
            f"{count} of the {have.size} entries of {name} are 0 instead, all those up to "
            f"{most:.3g}: it was pruned"
        )
        yield _edit(case, words, {name: pruned(most)}, fitted=1)
    start = _best(levels, lambda level: _apart(case, run(clipped(level))), case)
    level = None if start is None else _fitted(case, name, clipped, float(start))
    # one entry alone that is cut is another entry: any number would do
    if level is not None and levels[1] < level < levels[-2]:
        if _several_matter(case, run, have, clipped(level)):
            words = f"{name} is clipped to between {-level:.6g} and {level:.6g}"
            yield _edit(case, words, {name: clipped(level)}, fitted=1)


def _several_matter(
    case: Case, run: Callable[[np.ndarray], np.ndarray], have: np.ndarray, other: np.ndarray
) -> bool:
    """Whether more than one of the entries that are others leads to what the layer gives then."""
    whole = case.pick(run(other))
    places = np.flatnonzero(have != other)
    while len(places) > 1:
        halves = np.array_split(places, 2)
        for half in halves:
            part = have.copy()
            part.flat[half] = other.flat[half]
            if np.array_equal(case.pick(run(part)), whole):
                places = half
                break
        else:
            return True
    return False


def _of_weight(case: Case, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """What the layer gives with another array for a weight."""
    dirty = depending(case, name)
    return lambda array: through(case, case.with_weights({name: array}), dirty)


def _apart(case: Case, output: np.ndarray) -> float:
    error = np.nan_to_num(case.pick(output) - case.seen, nan=0.0, posinf=1e30, neginf=-1e30)
    return float(np.square(error).mean())


def _best(levels: np.ndarray, rest: Callable[[float], float], case: Case) -> float | None:
    """The level that leaves least: that falls and rises again, nearly without steps back."""
    low, high = 0, len(levels) - 1
    while high - low > 6:
        if not case.budget.spend():
            return None
        third = (high - low) // 3
        if rest(levels[low + third]) <= rest(levels[high - third]):
            high -= third
        else:
            low += third
    return float(min(levels[max(0, low - 3) : high + 4], key=rest))


def _fitted(
    case: Case, name: str, weight_at: Callable[[float], np.ndarray], start: float
) -> float | None:
    """The number with which the layer gives next to the party's values, by Newton's method."""
    run = _of_weight(case, name)
    at = start
    for _ in range(_TURNS):
        if not case.budget.spend():
            return None
        y, step = run(weight_at(at)), 1e-6 * max(abs(at), 1e-3)
        with np.errstate(all="ignore"):
            slope = np.nan_to_num(case.pick(run(weight_at(at + step)) - y) / step)
            error = np.nan_to_num(case.seen - case.pick(y))
        steep = float(slope @ slope)
        if not steep:
            return None
        change = float(slope @ error) / steep
        at += change
        if abs(change) <= 1e-9 * abs(at) or not np.isfinite(at):
            break
    if np.isfinite(at):
        return at
    return None


def _altered(name: str, have: np.ndarray, others: Others) -> Iterator[tuple[str, np.ndarray]]:
    """What a weight may have become, in words, where the values are too few to solve for it."""
    have = have.astype(np.float64)
    for words, function in REORDERED:
        if (other := function(have)).shape == have.shape:
            yield f"{name} {words}", other
    for words, array in roundings(have):
        yield f"{name} is {words}", array
    for axis, size in enumerate(have.shape):
        for by in (1, -1) if size > 1 else ():
            yield (
                f"the slices along axis {axis} of {name} are rolled by {by}",
                np.roll(have, by, axis),
            )
    for axis, size in enumerate(have.shape):
        slices = np.moveaxis(have, axis, 0)
        for i in range(size if 1 < size <= _SLICES else 0):
            for j in (i - 1, i + 1):
                if 0 <= j < size:
                    other = slices.copy()
                    other[i] = slices[j]
                    yield (
                        f"slices along axis {axis} of {name} are used twice ({i} is a copy of {j})",
                        np.moveaxis(other, 0, axis),
                    )
    for words, other in from_elsewhere(have, others):
        yield f"{name} is {words}", other
