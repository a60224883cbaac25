"""Linear equations for the entries of a step's weights, one system for each output channel: few
wrong entries are found by matching pursuit, many by normal equations."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from probe.ops.weight import Weight
from probe.trial.prices import solving

__all__ = [
    "FEW",
    "Equations",
    "System",
    "Where",
    "channels_of",
    "cost_of",
    "equations_of",
    "of_channel",
    "rows_of",
]

FEW = 4
"""How many wrong entries of one output channel are looked for one by one."""
_MOST, _SOME = 1 << 11, 1 << 9
"""How many entries of one output channel are solved for together; of more a few are looked for, in
so many elements."""
_TIMES = 2
"""How many times as many elements as terms are solved from, where there are as many."""
_ERRORS = 4
"""How many standard errors an entry must differ by to differ at all."""
_HOPELESS = 100.0
"""How many times what is allowed the best entries leave where the step is not linear in them, or
two things are wrong."""
_RANK = 1e-4
"""How little of a column of the matrix, as a share, may be left of it beside those before."""
_SPARE = 0.05
"""How many more equations than unknowns there must be, as a share of them."""
_UNEQUAL = 2.0
"""How many times as far off as others some values may be to count for as much as they."""
_ENTRY = 4.0
"""Operations for each entry of a matrix that is made and looked at."""

Where = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class System:
    """A step's output as sums of factors times entries of some of its weights, in the order of
    ``weights`` and numbered through from 1; 0 stands for none."""

    weights: tuple[Weight, ...]
    rows: Callable[[Where], tuple[np.ndarray, np.ndarray]]
    """Of each of these elements the factors and the numbers of the entries, (elements, terms)."""
    added: Callable[[tuple[int, ...]], int] | None = None
    """The number of the entry that is added to this element and to all of its channel."""
    channels: np.ndarray | None = None
    """For each element a number that those have alike which share entries, where that is known."""


def channels_of(system: System, shape: tuple[int, ...], somewhere: np.ndarray) -> np.ndarray:
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
class Equations:
    """What some elements of one channel say about the entries of the weights."""

    elements: np.ndarray
    factors: np.ndarray
    numbers: np.ndarray
    entries: np.ndarray
    """The numbers of the entries that they tell of, a column of the matrix each."""
    matrix: np.ndarray
    like: "Equations | None" = None
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


def cost_of(equations: Equations) -> float:
    """What solving these takes, in operations."""
    rows, columns = equations.matrix.shape
    new = equations.like is None and columns <= _MOST
    return _ENTRY * equations.matrix.size + (solving(rows, columns) if new else 0.0)


def equations_of(
    system: System, shape: tuple[int, ...], elements: np.ndarray, last: Equations | None
) -> Equations:
    """Of so many of the elements as are enough; taken over from another channel's where those at
    the same places say the same about its own entries."""
    terms = rows_of(system, shape, elements[:1])[1].shape[1]
    most = _TIMES * terms + 64 if terms <= _MOST else _SOME
    if len(elements) > most:
        elements = elements[np.linspace(0, len(elements) - 1, most).astype(int)]
    if last is not None and (again := _as_before(system, shape, elements, last)) is not None:
        return again
    factors, numbers = rows_of(system, shape, elements)
    used = (numbers > 0) & (factors != 0)
    marked = np.zeros(1 + sum(weight.value.size for weight in system.weights), bool)
    marked[numbers[used]] = True
    entries = np.flatnonzero(marked)
    columns = np.cumsum(marked)[numbers[used]] - 1
    flat = np.nonzero(used)[0] * len(entries) + columns
    matrix = np.bincount(flat, factors[used], len(elements) * len(entries))
    matrix = matrix.reshape(len(elements), len(entries))
    return Equations(elements, factors, numbers, entries, matrix)


def rows_of(
    system: System, shape: tuple[int, ...], elements: np.ndarray
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
    system: System, shape: tuple[int, ...], elements: np.ndarray, last: Equations
) -> Equations | None:
    if len(elements) != len(last.elements) or not np.array_equal(
        elements - elements[0], last.elements - last.elements[0]
    ):
        return None
    fullest = int(np.count_nonzero(last.numbers, axis=1).argmax())
    some = np.unique([0, fullest, len(elements) // 2, len(elements) - 1])
    factors, numbers = rows_of(system, shape, elements[some])
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


def of_channel(
    equations: Equations, apart: np.ndarray, slack: np.ndarray, few: bool
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
