"""What a model does between its layers: which arrays a call's input is made of, and element by
element where that shows.

The adapters say which call made an input (``Capture.made_by``). Where they do not know, an array of
the same numbers is what the input is; and where there is none either the model is run again with
every layer held at what it gave, but for some that are moved: what the input then follows is what
it is made of.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from probe.model import CallOutput, Capture, Model, ModelInput, StopForward

__all__ = ["PassArray", "Watched"]


@dataclass(frozen=True, eq=False)
class PassArray:
    """An array of the forward pass, the call that made it (-1: the model's input) and which of its
    outputs it is."""

    array: np.ndarray
    call: int
    index: int


@dataclass(frozen=True, eq=False)
class Watched:
    """One forward pass: the model, its inputs and the calls of the layers that were ``wanted``."""

    model: Model
    arrays: Sequence[np.ndarray]
    calls: Sequence[Capture]
    wanted: Collection[str] | None

    def sources(
        self, position: int, taken: np.ndarray, part: np.ndarray, index: int
    ) -> list[tuple[PassArray, np.ndarray]]:
        """The arrays that input ``index`` of a call is made of, each with its elements that can
        influence the masked ones."""
        same = self._same(position, taken, index)
        return [(copy, part.reshape(copy.array.shape)) for copy in same] or [
            (tensor, self._influence(position, index, tensor, part))
            for tensor in self._followed(position, index)
        ]

    def _same(self, position: int, taken: np.ndarray, index: int) -> list[PassArray]:
        """What the input is without change: one array that is known to be it, or else all of the
        same numbers. A call that no sweep has, such as one that makes a constant, is not known."""
        producer = dict(enumerate(self.calls[position].made_by)).get(index)
        if isinstance(producer, ModelInput):
            return [self._made[-1, producer.position]]
        if isinstance(producer, CallOutput) and producer[:2] in self._positions:
            return [self._made[self._positions[producer.layer, producer.call], producer.output]]
        return [tensor for tensor in self._by_numbers[_numbers(taken)] if tensor.call < position]

    @cached_property
    def _made(self) -> dict[tuple[int, int], PassArray]:
        groups = [(-1, self.arrays), *((at, call.outputs) for at, call in enumerate(self.calls))]
        return {
            (call, index): PassArray(array, call, index)
            for call, arrays in groups
            for index, array in enumerate(arrays)
        }

    @cached_property
    def _positions(self) -> dict[tuple[str, int], int]:
        return {call.key: position for position, call in enumerate(self.calls)}

    @cached_property
    def _by_numbers(self) -> dict[bytes, list[PassArray]]:
        tensors = defaultdict[bytes, list[PassArray]](list)
        for tensor in self._made.values():
            tensors[_numbers(tensor.array)].append(tensor)
        return tensors

    def _moved(
        self, position: int, index: int, moved: Callable[[PassArray], np.ndarray | None]
    ) -> np.ndarray:
        """Input ``index`` of a call where every array before it is as it was, or as ``moved`` gives
        it."""
        known = {key: moved(tensor) for key, tensor in self._made.items() if tensor.call < position}
        seen: list[np.ndarray] = []
        at = -1

        def pinned(capture: Capture) -> Sequence[np.ndarray] | None:
            nonlocal at
            if not capture.outputs:
                return None
            at += 1
            if at == position:
                seen.append(capture.inputs[index])
                raise StopForward
            given = [known.get((at, k)) for k in range(len(capture.outputs))]
            recorded = self.calls[at].outputs
            return [
                recorded[k] if array is None else array.astype(recorded[k].dtype)
                for k, array in enumerate(given)
            ]

        inputs = [known.get((-1, k)) for k in range(len(self.arrays))]
        arrays = [
            array if x is None else x.astype(array.dtype)
            for array, x in zip(self.arrays, inputs, strict=True)
        ]
        try:
            self.model.run(arrays, self.wanted, pinned)
        except StopForward:
            pass
        return seen[0]

    def _followed(self, position: int, index: int) -> list[PassArray]:
        """The arrays before the call that its input follows, by halves, the latest first."""
        before = self.calls[position].inputs[index]
        arrays: list[PassArray] = []
        earlier = [tensor for tensor in self._made.values() if tensor.call < position]
        floats = [tensor for tensor in reversed(earlier) if tensor.array.dtype.kind == "f"]
        groups = [floats] if floats else []
        while groups:
            group = groups.pop()
            chosen = {id(tensor) for tensor in group}
            after = self._moved(
                position,
                index,
                lambda tensor, chosen=chosen: (  # type: ignore[misc]
                    _noisy(tensor.array) if id(tensor) in chosen else None
                ),
            )
            if _same(before, after):
                continue
            if len(group) == 1:
                arrays += group
            else:
                groups += [group[len(group) // 2 :], group[: len(group) // 2]]
        return arrays

    def _influence(
        self, position: int, index: int, source: PassArray, part: np.ndarray
    ) -> np.ndarray:
        """The elements of an array that the masked ones of an input can follow: those that are
        handed on, or place by place, sample by sample, or all."""
        before = self.calls[position].inputs[index]
        noise = _noisy(source.array).astype(source.array.dtype)
        after = self._moved(position, index, lambda other: noise if other is source else None)
        if after.shape == before.shape and (np.isin(after, noise) | (after == before)).all():
            return np.isin(noise, after[part])
        alike = source.array.size == before.size
        for chosen in _subsets(source.array.shape, alike):
            after = self._moved(
                position,
                index,
                lambda other, chosen=chosen: (  # type: ignore[misc]
                    _noisy(source.array, chosen) if other is source else None
                ),
            )
            changed = _changes(before, after)
            if alike and (changed.ravel() & ~chosen.ravel()).any():
                return self._by_sample(position, index, source, part)
        if alike:
            return part.reshape(source.array.shape)
        return self._by_sample(position, index, source, part)

    def _by_sample(
        self, position: int, index: int, source: PassArray, part: np.ndarray
    ) -> np.ndarray:
        before = self.calls[position].inputs[index]
        if before.ndim and source.array.ndim and before.shape[0] == source.array.shape[0] > 1:
            first = np.zeros(source.array.shape, bool)
            first[0] = True
            after = self._moved(
                position,
                index,
                lambda other: _noisy(source.array, first) if other is source else None,
            )
            if not _changes(before, after)[1:].any():
                samples = part.reshape(len(part), -1).any(axis=1)
                return np.broadcast_to(
                    samples.reshape(-1, *(1,) * (source.array.ndim - 1)), source.array.shape
                ).copy()
        return np.full(source.array.shape, bool(part.any()))


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
    if chosen is None:
        return moved
    return np.where(chosen, moved, array)


def _subsets(shape: tuple[int, ...], alike: bool) -> Iterator[np.ndarray]:
    """A few random halves of an array's elements."""
    rng = np.random.default_rng(1)
    for _ in range(3 if alike else 0):
        yield rng.random(shape) < 0.5


def _numbers(array: np.ndarray) -> bytes:
    """Equal for arrays that hold the same numbers in the same order, whatever their shapes; a model
    may take float64 as float32."""
    return sha256((np.asarray(array, np.float32) + np.float32(0)).tobytes()).digest()
