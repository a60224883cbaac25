"""What a model does between its layers: which arrays a call's input is made of, and element by
element where that shows.

Values that are passed on, added, joined or cut off at 0 are recognised by their numbers. For
anything else the model is run again with every layer held at what it gave, but for some that are
moved: what the input then follows is what it is made of.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from probe.model import Capture, Model, StopForward

__all__ = ["Made", "Watched"]

_RECENT = 64
"""How many arrays back the two summands of a sum between layers are looked for."""


@dataclass(frozen=True, eq=False)
class Made:
    """An array of the forward pass, the call that made it (-1: the model's input) and which of its
    outputs it is."""

    array: np.ndarray
    call: int
    index: int


@dataclass(frozen=True, eq=False)
class Watched:
    """One forward pass: the model, its inputs and the calls of its layers."""

    model: Model
    arrays: Sequence[np.ndarray]
    calls: Sequence[Capture]
    names: frozenset[str]
    made: Sequence[Made]

    def sources(
        self, position: int, taken: np.ndarray, part: np.ndarray, index: int
    ) -> list[tuple[Made, np.ndarray]]:
        """The arrays that input ``index`` of a call is made of, each with its elements that can
        influence the masked ones."""
        earlier = [one for one in self.made if one.call < position]
        summed = _summed(taken, [one for one in earlier if one.array.size == taken.size][-_RECENT:])
        if summed:
            return [(one, part.reshape(one.array.shape)) for one in summed]
        joined = _joined(taken, earlier)
        if joined:
            return [(one, part[place]) for one, place in joined]
        return [
            (one, self._reached(position, index, one, part))
            for one in self._followed(position, index, earlier)
        ]

    def _moved(
        self, position: int, index: int, moved: Callable[[Made], np.ndarray | None]
    ) -> np.ndarray:
        """Input ``index`` of a call where every array before it is as it was, or as ``moved`` gives
        it."""
        known = {(one.call, one.index): moved(one) for one in self.made if one.call < position}
        seen: list[np.ndarray] = []
        at = -1

        def pinned(capture: Capture) -> Sequence[np.ndarray]:
            nonlocal at
            at += 1
            if at == position:
                seen.append(capture.inputs[index])
                raise StopForward
            given = [known.get((at, k)) for k in range(len(capture.outputs))]
            recorded = self.calls[at].outputs
            return [
                recorded[k] if one is None else one.astype(recorded[k].dtype)
                for k, one in enumerate(given)
            ]

        inputs = [known.get((-1, k)) for k in range(len(self.arrays))]
        arrays = [
            array if one is None else one.astype(array.dtype)
            for array, one in zip(self.arrays, inputs, strict=True)
        ]
        try:
            self.model.run(arrays, self.names, pinned)
        except StopForward:
            pass
        return seen[0]

    def _followed(self, position: int, index: int, candidates: Sequence[Made]) -> list[Made]:
        """The candidates that the input follows, by halves, the latest first."""
        before = self.calls[position].inputs[index]
        found: list[Made] = []
        floats = [one for one in reversed(candidates) if one.array.dtype.kind == "f"]
        groups = [floats] if floats else []
        while groups:
            group = groups.pop()
            chosen = {id(one) for one in group}
            after = self._moved(
                position,
                index,
                lambda one, chosen=chosen: (  # type: ignore[misc]
                    _noisy(one.array) if id(one) in chosen else None
                ),
            )
            if _same(before, after):
                continue
            if len(group) == 1:
                found += group
            else:
                groups += [group[len(group) // 2 :], group[: len(group) // 2]]
        return found

    def _reached(self, position: int, index: int, one: Made, part: np.ndarray) -> np.ndarray:
        """The elements of an array that the masked ones of an input can follow: place by place,
        sample by sample, or all."""
        before = self.calls[position].inputs[index]
        alike = one.array.size == before.size
        for chosen in _subsets(one.array.shape, alike):
            after = self._moved(
                position,
                index,
                lambda other, chosen=chosen: (  # type: ignore[misc]
                    _noisy(one.array, chosen) if other is one else None
                ),
            )
            changed = _changes(before, after)
            if alike and (changed.ravel() & ~chosen.ravel()).any():
                return self._by_sample(position, index, one, part)
        return (
            part.reshape(one.array.shape) if alike else self._by_sample(position, index, one, part)
        )

    def _by_sample(self, position: int, index: int, one: Made, part: np.ndarray) -> np.ndarray:
        before = self.calls[position].inputs[index]
        if before.ndim and one.array.ndim and before.shape[0] == one.array.shape[0] > 1:
            first = np.zeros(one.array.shape, bool)
            first[0] = True
            after = self._moved(
                position, index, lambda other: _noisy(one.array, first) if other is one else None
            )
            if not _changes(before, after)[1:].any():
                samples = part.reshape(len(part), -1).any(axis=1)
                return np.broadcast_to(
                    samples.reshape(-1, *(1,) * (one.array.ndim - 1)), one.array.shape
                ).copy()
        return np.full(one.array.shape, bool(part.any()))


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    return left.shape == right.shape and np.array_equal(left, right, equal_nan=True)


def _changes(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    if before.shape != after.shape:
        return np.ones(before.shape, bool)
    changed: np.ndarray = ~((before == after) | ((before != before) & (after != after)))
    return changed


def _noisy(array: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
    """The array far from where it was, in both directions."""
    moved = array + 3 * (float(np.std(array)) or 1.0) * np.random.default_rng(0).standard_normal(
        array.shape
    )
    return moved if chosen is None else np.where(chosen, moved, array)


def _subsets(shape: tuple[int, ...], alike: bool) -> Iterator[np.ndarray]:
    """A few random halves of an array's elements."""
    rng = np.random.default_rng(1)
    for _ in range(3 if alike else 0):
        yield rng.random(shape) < 0.5


def _summed(taken: np.ndarray, earlier: Sequence[Made]) -> Sequence[Made]:
    """The array that was cut off at 0, or the two that an array is the sum of."""
    for one in earlier:
        if one.array.dtype.kind == "f" and np.array_equal(
            np.maximum(one.array, 0).ravel(), taken.ravel()
        ):
            return [one]
    for pair in combinations_with_replacement(reversed(earlier), 2):
        if (
            pair[0].array.shape == pair[1].array.shape
            and pair[0].array.dtype == pair[1].array.dtype
        ):
            total = pair[0].array + pair[1].array
            if np.array_equal(total, taken) or np.array_equal(np.maximum(total, 0), taken):
                return pair
    return []


def _joined(taken: np.ndarray, earlier: Sequence[Made]) -> list[tuple[Made, tuple[slice, ...]]]:
    """The arrays that stand one behind the other along an axis of ``taken``, each with its place;
    nothing where there is a gap."""
    for axis in range(taken.ndim):
        rest = _without(taken.shape, axis)
        fitting = [
            one
            for one in earlier
            if one.array.ndim == taken.ndim
            and (*one.array.shape[:axis], *one.array.shape[axis + 1 :]) == rest
        ]
        found: list[tuple[Made, tuple[slice, ...]]] = []
        start = 0
        while start < taken.shape[axis]:
            for one in reversed(fitting):
                place = (*(slice(None),) * axis, slice(start, start + one.array.shape[axis]))
                if one.array.shape[axis] and np.array_equal(taken[place], one.array):
                    found.append((one, place))
                    start += one.array.shape[axis]
                    break
            else:
                break
        if found and start == taken.shape[axis]:
            return found
    return []


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])
