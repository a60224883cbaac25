"""Which elements of the model's input can influence one element of a layer's output at all.

The calls of one forward pass are followed from that element back: through each by the structure of its ops, whatever
the weights are, and from one to the one before by the values that both hold. What a model does between its layers is
known where it passes values on, reshapes them, adds two of them or takes max(x, 0).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations_with_replacement

import numpy as np

from probe.errors import BadInput
from probe.layer import Ref, Step
from probe.model import Capture, Model
from probe.ops import Outputs
from probe.recompute import in_floats, recompute

__all__ = ["reach_of", "seen"]

_RECENT = 64
"""How many arrays back the two summands of a sum between layers are looked for."""


def reach_of(steps: Sequence[Step], inputs: Sequence[np.ndarray], mask: np.ndarray, output: int = 0) -> list[np.ndarray]:
    """Which elements of a call's inputs can influence the masked ones of an output."""
    values = recompute(steps, inputs)
    found = [np.zeros(x.shape, bool) for x in inputs]
    wanted: dict[Ref, np.ndarray] = {Ref(len(steps) - 1, output): mask}
    for position in range(len(steps) - 1, -1, -1):
        masks = [(index, wanted.pop(Ref(position, index), None)) for index in range(len(values[position]))]
        sources = steps[position].sources(position)
        given = [inputs[ref.index] if ref.step < 0 else values[ref.step][ref.index] for ref in sources]
        for index, one in masks:
            if one is None:
                continue
            if isinstance(steps[position].op, Outputs):
                reached = tuple(one if k == index else np.zeros(x.shape, bool) for k, x in enumerate(given))
            else:
                reached = steps[position].op.reach(one, given) if not index else tuple(np.full(x.shape, one.any()) for x in given)
            for ref, part in zip(sources, reached, strict=True):
                if ref.step < 0:
                    found[ref.index] = found[ref.index] | part
                else:
                    wanted[ref] = wanted[ref] | part if ref in wanted else part
    return found


@dataclass(frozen=True, eq=False)
class _Made:
    """An array of the forward pass, the call that made it (-1: the model's input) and which of its outputs it is."""

    array: np.ndarray
    call: int
    index: int


def seen(model: Model, arrays: Sequence[np.ndarray], layer: str, call: int, mask: np.ndarray, output: int = 0) -> tuple[np.ndarray, ...]:
    """For each input of the model: which of its elements can influence the masked ones of that call's output.

    Raises BadInput where a layer takes values that no layer before it gave, and names it.
    """
    calls: list[Capture] = []

    def keep(capture: Capture) -> None:
        calls.append(capture)

    model.run(arrays, {one.name for one in model.layers} | {layer}, keep)
    last = next(position for position, one in enumerate(calls) if one.layer == layer and one.call == call)
    made = [_Made(array, -1, index) for index, array in enumerate(arrays)]
    made += [_Made(array, position, index) for position, one in enumerate(calls[:last]) for index, array in enumerate(one.outputs)]
    known: dict[bytes, list[_Made]] = {}
    for one in made:
        known.setdefault(_key(one.array), []).append(one)
    found = [np.zeros(array.shape, bool) for array in arrays]
    wanted: dict[tuple[int, int], np.ndarray] = {(last, output): mask}
    for position in range(last, -1, -1):
        for index in range(len(calls[position].outputs)):
            target = wanted.pop((position, index), None)
            if target is None or not target.any():
                continue
            for taken, part in zip(calls[position].inputs, _through(calls[position], target, index), strict=True):
                if not part.any():
                    continue
                sources = _sources(taken, [one for one in known.get(_key(taken), []) if one.call < position], made, position)
                if not sources:
                    raise BadInput(
                        f"what {layer!r} sees of the model's input cannot be followed: {calls[position].layer!r} takes values that "
                        "no layer before it gave; they are computed between the layers"
                    )
                for one in sources:
                    shaped = part.reshape(one.array.shape)
                    if one.call < 0:
                        found[one.index] |= shaped
                    else:
                        key = (one.call, one.index)
                        wanted[key] = wanted[key] | shaped if key in wanted else shaped
    return tuple(found)


def _through(capture: Capture, mask: np.ndarray, output: int) -> list[np.ndarray]:
    """A call's inputs that reach the masked outputs; all of them where it has no description."""
    if capture.description is None:
        return [np.ones(x.shape, bool) for x in capture.inputs]
    return reach_of(capture.description.steps, in_floats(capture.inputs, capture.outputs), mask, output)


def _key(array: np.ndarray) -> bytes:
    """Equal for arrays that hold the same numbers in the same order, whatever their shapes; a model may take float64 as float32."""
    return sha256((np.asarray(array, np.float32) + np.float32(0)).tobytes()).digest()


def _sources(taken: np.ndarray, same: Sequence[_Made], made: Sequence[_Made], before: int) -> Sequence[_Made]:
    """What an array taken by a call comes from: the arrays with its values, or the two that it is the sum of."""
    if same:
        return same
    earlier = [one for one in made if one.call < before and one.array.size == taken.size][-_RECENT:]
    for one in earlier:
        if one.array.dtype.kind == "f" and np.array_equal(np.maximum(one.array, 0).ravel(), taken.ravel()):
            return [one]
    for pair in _pairs(earlier):
        total = pair[0].array + pair[1].array
        if np.array_equal(total, taken) or np.array_equal(np.maximum(total, 0), taken):
            return pair
    return []


def _pairs(earlier: Sequence[_Made]) -> Iterator[tuple[_Made, _Made]]:
    """Two arrays of one shape, the latest first."""
    for one, other in combinations_with_replacement(reversed(earlier), 2):
        if one.array.shape == other.array.shape and one.array.dtype == other.array.dtype:
            yield one, other
