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
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from probe.errors import absorbed
from probe.numerics.dtypes import widened
from probe.ops.along_axis.softmax import Softmax
from probe.ops.base import Op, Rearrangement
from probe.ops.normalization.batch_layer_group_norm import BatchNormalization
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.prices import CANDIDATE, solving

__all__ = ["FEW", "Attempt", "Solved", "Wanted", "solved_weights", "wanted_of"]

FEW = 4
"""How many wrong entries of one output channel are looked for one by one."""
_STEPS = 60
_MOST, _SOME = 1 << 11, 1 << 9
"""How many entries of one output channel are solved for together; of more a few are looked for, in
so many elements."""
_TIMES = 2
"""How many times as many elements as terms are solved from, where there are as many."""
_LARGE = 1 << 18
"""Elements from which on functions without a formula for their inverse are left alone."""
_ZERO = 1e-7
"""What is smaller, as a share of the largest entry, has come of rounding."""
_ERRORS = 4
"""How many standard errors an entry must differ by to differ at all."""
_HOPELESS = 100.0
"""How many times what is allowed the best entries leave where the step is not linear in them, or
two things are wrong."""
_RANK = 1e-4
"""How little of a column of the matrix, as a share, may be left of it beside those before."""
_SPARE = 0.05
"""How many more equations than unknowns there must be, as a share of them."""
_DENSE = 2
"""After how many output channels in a row that needed all entries a few are not looked for."""
_NOTHING = 1e-6
"""Where less is allowed, as a share of the most, the layer's own value is 0; what stands there
instead may be off as others are."""
_FAR, _DIGITS = 16.0, 2.0**-22
"""How many times the layer's largest value one is that may be off by its own digits, and the
share of it that these are."""
_UNEQUAL = 2.0
"""How many times as far off as others some values may be to count for as much as they."""
_TRIED = 3
"""After how many output channels whose values do not tell the others are not looked at."""
_LINEAR = ("weight", "scale", "bias", "slope", "table")
"""Fields that an op may be linear in."""

_ENTRY = 4.0
"""Operations for each entry of a matrix that is made and looked at."""

Where = tuple[np.ndarray, ...]


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


@dataclass(frozen=True, eq=False)
class _System:
    """A step's output as sums of factors times entries of some of its weights, in the order of
    ``weights`` and numbered through from 1; 0 stands for none."""

    weights: tuple[Weight, ...]
    rows: Callable[[Where], tuple[np.ndarray, np.ndarray]]
    """Of each of these elements the factors and the numbers of the entries, (elements, terms)."""
    added: Callable[[tuple[int, ...]], int] | None = None
    """The number of the entry that is added to this element and to all of its channel."""
    channels: np.ndarray | None = None
    """For each element a number that those have alike which share entries, where that is known."""


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
            wanted = [] if system is None else list(wanted_of(case, position, allowed))
        except (ValueError, IndexError, TypeError) as error:
            absorbed(error)
            continue
        for ref in wanted:
            assert system is not None
            names = tuple(weight.name for weight in system.weights)
            yield Attempt(names, _solve(case, position, system, ref))


def _system(case: Case, position: int) -> _System | None:
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


def _of_sum(op: Any, inputs: Sequence[np.ndarray]) -> _System:
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
        return _System((op.weight, op.bias), rows, added)
    return _System((op.weight,), rows)


def _of_probing(op: Any, names: Sequence[str], inputs: Sequence[np.ndarray]) -> _System | None:
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
    return _System(tuple(used), rows, channels=number[..., 0])


def _weight(value: np.ndarray) -> Weight:
    return Weight("", None, value)


class Wanted(NamedTuple):
    """What a step would have to give, and how far that may be off; inf where the party's values do
    not tell. Of what softmax was given only differences are told along ``classes``."""

    target: np.ndarray
    slack: np.ndarray
    classes: int | None = None


def wanted_of(case: Case, position: int, allowed: np.ndarray) -> Iterator[Wanted]:
    """What the step would have to give for the layer to give the party's values."""
    depends = {position}
    for i in range(position + 1, len(case.steps)):
        if any(ref.step in depends for ref in case.steps[i].sources(i)):
            depends.add(i)
    slack = np.array(np.broadcast_to(allowed, case.observed.shape))
    if (nothing := slack < _NOTHING * slack.max(initial=0.0)).any():
        slack[nothing] = np.median(slack[~nothing])
    # a sum of much larger numbers is rounded to their digits
    size = np.nan_to_num(np.abs(case.observed), nan=0.0)
    far = size > _FAR * float(np.abs(case.healthy).max(initial=0.0))
    slack[far] = np.maximum(slack, _DIGITS * size)[far]
    if case.known is not None:
        slack[~case.known] = np.inf
    several = any(isinstance(case.steps[i].op, Softmax) for i in depends)
    for mean in (False, True) if several else (False,):
        wanted: Wanted | None = Wanted(case.observed, slack)
        ref = Ref(len(case.steps) - 1)
        while ref.step != position and wanted is not None:
            i, sources = ref.step, case.steps[ref.step].sources(ref.step)
            if isinstance(case.steps[i].op, Outputs):
                ref = sources[ref.index]
                continue
            on = [j for j, source in enumerate(sources) if source.step in depends]
            if len(on) != 1 or ref.index:
                return
            wanted = _before(case, i, on[0], wanted, mean)
            ref = sources[on[0]]
        if ref.index:
            return
        if wanted is not None:
            yield wanted


def _before(case: Case, i: int, on: int, wanted: Wanted, mean: bool) -> Wanted | None:
    """What the input ``on`` of a step would have to be for it to give what is wanted."""
    op, (y, slack, classes) = case.steps[i].op, wanted
    inputs = [case.input_of(i, j) for j in range(len(case.steps[i].sources(i)))]
    x = inputs[on]

    def f(moved: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(op.run(*inputs[:on], moved, *inputs[on + 1 :])[0])

    if isinstance(op, Rearrangement):
        if classes is not None:
            return None
        return Wanted(*_moved_back(op, inputs, on, y, slack))
    if isinstance(op, Softmax):
        if classes is not None:
            return None
        return Wanted(*_log_of(x, op.axis, y, slack, mean), op.axis % x.ndim)
    if y.shape != x.shape or not (op.computes_elements or isinstance(op, BatchNormalization)):
        return None
    if op.run(*inputs)[0].shape != x.shape:
        return None
    start, slope = f(np.zeros_like(x)), f(np.ones_like(x))
    slope = slope - start
    if np.allclose(f(x), start + slope * x, rtol=1e-9, atol=1e-9 * float(np.abs(y).max(initial=0))):
        with np.errstate(all="ignore"):
            off = np.where(slope != 0, slack / np.abs(slope), np.inf)
            return Wanted((y - start) / slope, off, classes)
    if np.array_equal(f(x), np.maximum(x, 0)):
        return Wanted(y, np.where(y > slack, slack, np.inf), classes)
    if x.size > _LARGE:
        return None
    return Wanted(*_bisected(f, x, y, slack), classes)


def _moved_back(
    op: Op, inputs: Sequence[np.ndarray], on: int, y: np.ndarray, slack: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    x = inputs[on]
    numbered = [
        1.0 + np.arange(x.size).reshape(x.shape) if j == on else np.zeros_like(array)
        for j, array in enumerate(inputs)
    ]
    numbers = np.rint(np.asarray(op.run(*numbered)[0])).astype(int)
    from_x = numbers > 0
    target, left = np.zeros(x.size), np.full(x.size, np.inf)
    target[numbers[from_x] - 1] = y[from_x]
    left[numbers[from_x] - 1] = slack[from_x]
    return target.reshape(x.shape), left.reshape(x.shape)


def _log_of(
    x: np.ndarray, axis: int, y: np.ndarray, slack: np.ndarray, mean: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What softmax was given, which it tells up to a constant: that which leaves most as it was,
    or the mean over the classes."""
    with np.errstate(all="ignore"):
        log, off = np.log(y), np.where(y > 4 * slack, 2 * slack / y, np.inf)
        if mean:
            log += np.mean(x - log, axis=axis, keepdims=True)
            return log, off + off.mean(axis=axis, keepdims=True)
        return log + np.median(x - log, axis=axis, keepdims=True), off


def _bisected(
    f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray, slack: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where a function that rises, or falls, gives y."""
    wide = max(float(np.ptp(x)), 1e-6)
    low, high = np.full(x.shape, x.min() - 8 * wide), np.full(x.shape, x.max() + 8 * wide)
    least, most = f(low), f(high)
    rising = most >= least
    for _ in range(_STEPS):
        middle = (low + high) / 2
        up = (f(middle) < y) == rising
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    found = (low + high) / 2
    step = 1e-5 * wide
    with np.errstate(all="ignore"):
        slope = np.abs(f(found + step) - f(found - step)) / (2 * step)
        # below what it tends to, a function that turns (GELU, SiLU) takes each value twice
        single = np.where(rising, y - least, least - y) > slack
        right = (np.abs(f(found) - y) <= slack + 1e-12) & (slope > 1e-3) & single
        return found, np.where(right, slack / slope, np.inf)


class _Fitted(NamedTuple):
    """What is added to each entry of the weights, and how many numbers that took."""

    changes: np.ndarray
    freedoms: int


def _solve(case: Case, position: int, system: _System, wanted: Wanted) -> Solved | str | None:
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
        names = " and ".join(weight.name for weight in system.weights if weight is not None)
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
    case: Case, system: _System, error: np.ndarray, slack: np.ndarray
) -> _Fitted | int | None:
    """The changes that take away the error, solved for one output channel after the other; or how
    many more elements of a channel would tell. None where no changes do, or the budget ends."""
    differs = np.abs(error) > slack
    channel = system.channels
    if channel is None:
        channel = _channels(system, error.shape, np.argwhere(differs)[0])
    known, flat = np.isfinite(slack).reshape(-1), channel.reshape(-1)
    changes = np.zeros(sum(weight.value.size for weight in system.weights))
    freedoms, missing, tried, dense = 0, 0, 0, 0
    last: _Equations | None = None
    order = np.argsort(flat, kind="stable")
    starts = np.searchsorted(flat[order], groups := np.unique(channel[differs]))
    ends = np.searchsorted(flat[order], groups, side="right")
    for start, end in zip(starts, ends, strict=True):
        if not case.budget.spend(CANDIDATE):
            return None
        elements = order[start:end]
        equations = _equations(system, error.shape, elements[known[elements]], last)
        case.budget.charge(_cost(equations))
        last = equations.like or equations
        found = _of_channel(equations, error.reshape(-1), slack.reshape(-1), dense < _DENSE)
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


def _changed_arrays(system: _System, changes: np.ndarray) -> dict[str, np.ndarray]:
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


def _entries(system: _System) -> np.ndarray:
    return np.concatenate([weight.value.reshape(-1) for weight in system.weights]).astype(
        np.float64
    )


def _together(system: _System, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """The entries that multiply the same for each class, (terms, classes), from 0; a number added
    to all of a row of them goes through softmax unseen."""
    where = [np.zeros(shape[classes], int) for _ in shape]
    where[classes] = np.arange(shape[classes])
    flat = np.ravel_multi_index(where, shape)
    rows = [_rows(system, shape, flat[i : i + 1])[1][0] for i in range(len(flat))]
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


def _centred(system: _System, together: np.ndarray, name: str, array: np.ndarray) -> np.ndarray:
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


def _channels(system: _System, shape: tuple[int, ...], somewhere: np.ndarray) -> np.ndarray:
    """A number for each element; those that share entries of the weights have the same."""
    found = np.zeros(shape, int)
    for axis, size in enumerate(shape):
        along = np.unique(np.linspace(0, size - 1, min(size, 64)).astype(int))
        where = [np.full(len(along), at) for at in somewhere]
        where[axis] = along
        _, numbers = system.rows(tuple(where))
        own = int(np.searchsorted(along, somewhere[axis]).clip(0, len(along) - 1))
        shared = np.isin(numbers, numbers[own][numbers[own] > 0]).any(axis=1)
        if size > 1 and shared.sum() == 1:
            found = found * size + np.arange(size).reshape(-1, *(1,) * (len(shape) - axis - 1))
    return np.broadcast_to(found, shape)


@dataclass(frozen=True, eq=False)
class _Equations:
    """What some elements of one channel say about the entries of the weights."""

    elements: np.ndarray
    factors: np.ndarray
    numbers: np.ndarray
    entries: np.ndarray
    """The numbers of the entries that they tell of, a column of the matrix each."""
    matrix: np.ndarray
    like: "_Equations | None" = None
    """Those that it was taken over from, of the same matrix."""

    @cached_property
    def inverse(self) -> np.ndarray | None:
        """Of the normal equations; None where the rank is less than the number of columns."""
        if self.like is not None:
            return self.like.inverse
        gram = self.matrix.T @ self.matrix
        scale = np.sqrt(np.diag(gram))
        try:
            root = np.linalg.cholesky(gram / np.outer(scale, scale))
        except np.linalg.LinAlgError:
            return None
        if np.diag(root).min() < _RANK:
            return None
        inverse: np.ndarray = np.linalg.inv(gram / np.outer(scale, scale)) / np.outer(scale, scale)
        return inverse


def _cost(equations: _Equations) -> float:
    """What solving these takes, in operations."""
    rows, columns = equations.matrix.shape
    new = equations.like is None and columns <= _MOST
    return _ENTRY * equations.matrix.size + (solving(rows, columns) if new else 0.0)


def _equations(
    system: _System, shape: tuple[int, ...], elements: np.ndarray, last: _Equations | None
) -> _Equations:
    """Of so many of the elements as are enough; taken over from another channel's where those at
    the same places say the same about its own entries."""
    terms = _rows(system, shape, elements[:1])[1].shape[1]
    most = _TIMES * terms + 64 if terms <= _MOST else _SOME
    if len(elements) > most:
        elements = elements[np.linspace(0, len(elements) - 1, most).astype(int)]
    if last is not None and (again := _as_before(system, shape, elements, last)) is not None:
        return again
    factors, numbers = _rows(system, shape, elements)
    used = (numbers > 0) & (factors != 0)
    marked = np.zeros(1 + sum(weight.value.size for weight in system.weights), bool)
    marked[numbers[used]] = True
    entries = np.flatnonzero(marked)
    columns = np.cumsum(marked)[numbers[used]] - 1
    flat = np.nonzero(used)[0] * len(entries) + columns
    matrix = np.bincount(flat, factors[used], len(elements) * len(entries))
    matrix = matrix.reshape(len(elements), len(entries))
    return _Equations(elements, factors, numbers, entries, matrix)


def _rows(
    system: _System, shape: tuple[int, ...], elements: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The factors and the numbers of elements of one channel, with what is added to all of it."""
    where = np.unravel_index(elements, shape)
    factors, numbers = system.rows(tuple(where))
    if system.added is None:
        return factors, numbers
    at = system.added(tuple(int(indices[0]) for indices in where))
    ones, added = np.ones((len(factors), 1)), np.full((len(numbers), 1), at)
    return np.concatenate([factors, ones], axis=1), np.concatenate([numbers, added], axis=1)


def _as_before(
    system: _System, shape: tuple[int, ...], elements: np.ndarray, last: _Equations
) -> _Equations | None:
    if len(elements) != len(last.elements) or not np.array_equal(
        elements - elements[0], last.elements - last.elements[0]
    ):
        return None
    fullest = int(np.count_nonzero(last.numbers, axis=1).argmax())
    some = np.unique([0, fullest, len(elements) // 2, len(elements) - 1])
    factors, numbers = _rows(system, shape, elements[some])
    before = last.numbers[some]
    if not np.array_equal(factors, last.factors[some]):
        return None
    renamed = np.zeros(1 + sum(weight.value.size for weight in system.weights), int)
    renamed[before.reshape(-1)] = numbers.reshape(-1)
    renamed[0] = 0
    entries = renamed[last.entries]
    if not entries.all():
        return None
    return replace(last, elements=elements, entries=entries, like=last)


def _of_channel(
    equations: _Equations, apart: np.ndarray, slack: np.ndarray, few: bool
) -> tuple[np.ndarray, np.ndarray] | int | None:
    """The numbers of entries and what is to be added to each, a ``few`` looked for first; or, where
    the elements do not tell, how many more would. None where no entries give what is wanted."""
    entries, wanted, room = equations.entries, apart[equations.elements], slack[equations.elements]
    if room.max(initial=0.0) > _UNEQUAL * room.min(initial=np.inf):
        scale = room.min() / room
        equations = replace(equations, matrix=equations.matrix * scale[:, None], like=None)
        wanted, room = wanted * scale, room * scale
    matrix = equations.matrix
    spare, need = len(wanted) - len(entries), max(3, int(_SPARE * len(entries)))
    differing = int(np.count_nonzero(np.abs(wanted) > room))
    if few or spare < need:
        sparse = _pursued(matrix, wanted, room)
        if sparse is not None:
            picked, change = sparse
            missing = len(picked) + 1 - differing  # as many reproduce anything
            if missing > 0:
                return missing
            return (entries[picked], change)
    if spare < need:
        return need - spare
    inverse = equations.inverse if len(entries) <= _MOST else None
    if inverse is None:
        return len(entries)
    change = inverse @ (matrix.T @ wanted)
    change += inverse @ (matrix.T @ (wanted - matrix @ change))
    left = wanted - matrix @ change
    if (np.abs(left) > _HOPELESS * room).any():
        return None
    error = np.sqrt(np.square(left).sum() / spare * np.diag(inverse))
    change[np.abs(change) <= _ERRORS * error] = 0.0
    missing = int(np.count_nonzero(change)) + 1 - differing
    if missing > 0:
        return missing
    return (entries, change)


def _pursued(
    matrix: np.ndarray, wanted: np.ndarray, room: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Up to four columns that leave nothing, each the one that is likest to what is left."""
    norm = np.sqrt(np.square(matrix).sum(axis=0))
    left, picked = wanted, list[int]()
    for _ in range(min(FEW, -(-matrix.shape[1] // 4), (len(wanted) - 1) // 2)):
        with np.errstate(all="ignore"):
            alike = np.nan_to_num(np.abs(matrix.T @ left) / norm)
        alike[picked] = 0.0
        picked.append(int(alike.argmax()))
        some = matrix[:, picked]
        change = np.linalg.lstsq(some, wanted, rcond=None)[0]
        left = wanted - some @ change
        if (np.abs(left) <= room).all():
            return np.array(picked), change
    return None
