"""The weights that would give a party's values, solved for where a layer is linear in them.

Behind the step that holds them everything is inverted where it can be: elements that a ReLU has
made 0 say nothing. What is left is a system of linear equations for each output channel. Few wrong
entries are found by matching pursuit (Mallat and Zhang 1993), also with fewer values than weights;
many by normal equations, where values outnumber them. Nothing is believed before the layer with the
solved weights has been run on everything.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from probe.errors import absorbed
from probe.numerics.dtypes import widened
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.prices import CANDIDATE
from probe.weights_read_back.equations import (
    FEW,
    Equations,
    System,
    Where,
    channels_of,
    cost_of,
    equations_of,
    of_channel,
    rows_of,
)
from probe.weights_read_back.wanted_outputs import Wanted, wanted_of

__all__ = ["Attempt", "Solved", "solved_weights"]

_ZERO = 1e-7
"""What is smaller, as a share of the largest entry, has come of rounding."""
_DENSE = 2
"""After how many output channels in a row that needed all entries a few are not looked for."""
_TRIED = 3
"""After how many output channels whose values do not tell the others are not looked at."""
_LINEAR = ("weight", "scale", "bias", "slope", "table")
"""Fields that an op may be linear in."""


@dataclass(frozen=True, eq=False)
class Solved:
    """Weights by their names, in the framework's layout, that give the party's values."""

    arrays: dict[str, np.ndarray]
    freedoms: int
    """How many numbers were fitted."""
    centred: Callable[[str, np.ndarray], np.ndarray] = lambda name, array: array
    """An array like the weight of that name without what the values do not tell of it: behind
    softmax the mean over the classes."""


class Attempt(NamedTuple):
    """What came of solving for the weights of a step."""

    names: tuple[str, ...]
    result: Solved | str | None
    """A sentence where the values are too few to tell, None where nothing is to be solved for."""


def solved_weights(case: Case, allowed: np.ndarray) -> Iterator[Attempt]:
    """What each step's weights would have to be, the last step first, as far as the case's budget
    goes."""
    if not case.comparable:
        return
    for position in range(len(case.steps) - 1, -1, -1):
        if not case.budget.spend(CANDIDATE):
            return
        try:
            system = _system(case, position)
            if system is None:
                continue
            outputs = list(wanted_of(case, position, allowed))
        except (ValueError, IndexError, TypeError) as error:
            absorbed(error)
            continue
        for wanted in outputs:
            names = tuple(weight.name for weight in system.weights)
            yield Attempt(names, _solve(case, position, system, wanted))


def _system(case: Case, position: int) -> System | None:
    op: Any = case.steps[position].op
    names = [name for name in _LINEAR if isinstance(getattr(op, name, None), Weight)]
    inputs = [
        case.input_of(position, i) for i in range(len(case.steps[position].sources(position)))
    ]
    if not names:
        return None
    if op.terms is not None and names[0] == "weight" and len(inputs) == 1:
        if inputs[0].dtype.kind == "f":
            return _of_sum(op, inputs)
        return None
    return _of_probing(op, names, inputs)


def _of_sum(op: Any, inputs: Sequence[np.ndarray]) -> System:
    """Of a sum of products: its terms with weights of 1 are the factors; with weights that count
    through, and inputs of 1, the numbers of the entries."""
    shape: tuple[int, ...] = op.weight.value.shape
    fields = {"bias": None} if isinstance(getattr(op, "bias", None), Weight) else {}
    plain = replace(op, weight=_weight(np.broadcast_to(1.0, shape)), **fields)
    count = math.prod(shape)
    counted = replace(op, weight=_weight(1.0 + np.arange(count).reshape(shape)), **fields)
    ones = [np.ones_like(x) for x in inputs]

    def rows(where: Where) -> tuple[np.ndarray, np.ndarray]:
        factors = plain.terms(inputs, where).reshape(len(where[0]), -1)
        return factors, np.rint(counted.terms(ones, where)).astype(int).reshape(factors.shape)

    def added(at: tuple[int, ...]) -> int:
        return 1 + count + int(op.contributions(inputs, (), at).bias_where[0])

    if fields:
        return System((op.weight, op.bias), rows, added)
    return System((op.weight,), rows)


def _of_probing(op: Any, names: Sequence[str], inputs: Sequence[np.ndarray]) -> System | None:
    """Of an op that multiplies or adds one entry of each weight to an element."""
    have = {name: getattr(op, name) for name in names}

    def run(**values: np.ndarray | float) -> np.ndarray:
        fields = {
            name: _weight(np.zeros(weight.value.shape) + values.get(name, 0.0))
            for name, weight in have.items()
        }
        with np.errstate(all="ignore"):
            return np.asarray(replace(op, **fields).run(*inputs)[0])

    rest = run()
    used, factors, numbers, before = [], [], [], 0
    for name, weight in have.items():
        factor = run(**{name: 1.0}) - rest
        count = weight.value.size
        through = 1.0 + np.arange(count).reshape(weight.value.shape)
        with np.errstate(all="ignore"):
            number = (run(**{name: through}) - rest) / factor
        touched = np.isfinite(number) & (factor != 0)
        linear = np.allclose(run(**{name: 2.0}) - rest, 2 * factor, rtol=1e-6, atol=1e-12)
        number = np.rint(np.where(touched, number, 0.0))
        if not (linear and touched.any() and number.min() >= 0 and number.max() <= count):
            continue
        used.append(weight)
        factors.append(factor)
        numbers.append(np.where(touched, number + before, 0).astype(int))
        before += count
    if not used:
        return None
    factor, number = np.stack(factors, axis=-1), np.stack(numbers, axis=-1)
    rows = lambda where: (factor[where], number[where])  # noqa: E731
    return System(tuple(used), rows, channels=number[..., 0])


def _weight(value: np.ndarray) -> Weight:
    return Weight("", None, value)


class _Fitted(NamedTuple):
    """What is added to each entry of the weights, and how many numbers that took."""

    changes: np.ndarray
    freedoms: int


def _solve(case: Case, position: int, system: System, wanted: Wanted) -> Solved | str | None:
    """The entries that would give what is wanted."""
    target, slack, classes = wanted
    have = widened(np.asarray(case.values[position][0]))
    if have.shape != target.shape or have.ndim == 0:
        return None
    error = np.where(np.isfinite(slack), target - have, 0.0)
    differs = (np.abs(error) > slack).any()
    if not (differs and np.isfinite(error).all() and _finite_inputs(case, position)):
        return None
    fitted = _fitted(case, system, error, slack)
    if isinstance(fitted, int):
        share = fitted / max(1, have.shape[0])
        names = " and ".join(weight.name for weight in system.weights)
        return (
            f"with about {max(2, int(np.ceil(1 + share)))} times as many samples, probe could "
            f"compute from your values which {names} they were made with"
        )
    if fitted is None:
        return None
    together = None if classes is None else _together(system, have.shape, classes)
    if together is not None:
        _settle(fitted.changes, _entries(system), together)
    arrays = _changed_arrays(system, fitted.changes)
    if not arrays:
        return None
    if together is None:
        return Solved(arrays, fitted.freedoms)
    return Solved(arrays, fitted.freedoms, partial(_centred, system, together))


def _fitted(
    case: Case, system: System, error: np.ndarray, slack: np.ndarray
) -> _Fitted | int | None:
    """The changes that take away the error, solved for one output channel after the other; or how
    many more elements of a channel would tell. None where no changes do, or the budget ends."""
    differs = np.abs(error) > slack
    channel = system.channels
    if channel is None:
        channel = channels_of(system, error.shape, np.argwhere(differs)[0])
    known, flat = np.isfinite(slack).reshape(-1), channel.reshape(-1)
    changes = np.zeros(sum(weight.value.size for weight in system.weights))
    freedoms, missing, tried, dense = 0, 0, 0, 0
    last: Equations | None = None
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], groups := np.unique(channel[differs]))
    ends = np.searchsorted(flat[order], groups, side="right")
    for start, end in zip(starts, ends, strict=True):
        if not case.budget.spend(CANDIDATE):
            return None
        elements = order[start:end]
        equations = equations_of(system, error.shape, elements[known[elements]], last)
        case.budget.charge(cost_of(equations))
        last = equations.like or equations
        found = of_channel(equations, error.reshape(-1), slack.reshape(-1), dense < _DENSE)
        if found is None:
            return None
        if isinstance(found, int):
            missing, tried = max(missing, found), tried + 1
            if tried == _TRIED:
                break
            continue
        numbers, change = found
        dense = dense + 1 if len(numbers) > FEW else 0
        changes[numbers - 1] += change
        freedoms += len(numbers)
    return missing or _Fitted(changes, freedoms)


def _changed_arrays(system: System, changes: np.ndarray) -> dict[str, np.ndarray]:
    """The weights of which something changes, by name and in the framework's layout."""
    arrays, start = {}, 0
    for weight in system.weights:
        part = slice(start, start + weight.value.size)
        start = part.stop
        if changes[part].any():
            arrays[weight.name] = _with_changes(weight, changes[part])
    return arrays


def _with_changes(weight: Weight, change: np.ndarray) -> np.ndarray:
    """The weight in the framework's layout with what is added to its entries in the op's."""
    numbers = np.flatnonzero(change)
    at = weight.index_of(np.unravel_index(numbers, weight.value.shape))
    array = np.array(weight.effective, np.float64)
    entries = array[at] + change[numbers]
    largest = max(float(weight.effective.max()), -float(weight.effective.min()))
    array[at] = np.where(np.abs(entries) < _ZERO * largest, 0.0, entries)
    return array


def _places(weight: Weight) -> np.ndarray:
    """Where each entry in the op's layout stands in the framework's."""
    place = weight.to_op(np.arange(weight.effective.size).reshape(weight.effective.shape))
    return place.reshape(-1)


def _entries(system: System) -> np.ndarray:
    return np.concatenate([weight.value.reshape(-1) for weight in system.weights]).astype(
        np.float64
    )


def _together(system: System, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """The entries that multiply the same for each class, (terms, classes), from 0; a number added
    to all of a row of them goes through softmax unseen."""
    where = [np.zeros(shape[classes], int) for _ in shape]
    where[classes] = np.arange(shape[classes])
    flat = np.ravel_multi_index(where, shape)
    rows = [rows_of(system, shape, flat[i : i + 1])[1][0] for i in range(len(flat))]
    return np.stack(rows, axis=1) - 1


def _settle(changes: np.ndarray, entries: np.ndarray, together: np.ndarray) -> None:
    """Adds that number to each row which leaves most of its entries as they were, or 0."""
    used = entries[together] + changes[together]
    wanted = entries[together][:, :, None] - used[:, :, None]
    tolerance = 1e-5 * np.abs(entries).max()
    shifts = np.concatenate([wanted[..., 0], -used], axis=1)
    shifted = used[:, None, :] + shifts[:, :, None]
    same = np.abs(shifted - entries[together][:, None, :]) < tolerance
    hits = (same | (np.abs(shifted) < tolerance)).sum(axis=2)
    best = hits.argmax(axis=1)
    rows = np.arange(len(together))
    told = hits[rows, best] >= np.maximum(2, 0.25 * together.shape[1])
    shift = np.where(told, shifts[rows, best], 0.0)
    changes[together] += shift[:, None]


def _centred(system: System, together: np.ndarray, name: str, array: np.ndarray) -> np.ndarray:
    """The array without the mean over the classes."""
    start, flat = 0, np.array(array, np.float64).reshape(-1)
    for weight in system.weights:
        size = weight.value.size
        if weight.name == name:
            rows = together[((together >= start) & (together < start + size)).all(axis=1)] - start
            at = _places(weight)[rows]
            flat[at] -= flat[at].mean(axis=1, keepdims=True)
        start += size
    return flat.reshape(array.shape)


def _finite_inputs(case: Case, position: int) -> bool:
    count = len(case.steps[position].sources(position))
    return all(np.isfinite(case.input_of(position, i)).all() for i in range(count))
