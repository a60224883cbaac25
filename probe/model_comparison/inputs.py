"""B's inputs, found from A's: by name or by place, in the order of axes and the type that B
takes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from probe.capture.model_inputs import bind
from probe.capture.user_arrays import InputArgument, Inputs
from probe.errors import BadInput, ForwardFailed
from probe.model import InputSpec, Model
from probe.model_comparison.graphs.axes import Way, unchanged

__all__ = ["BInputs", "candidates"]

_LAST_TO_FIRST = {3: (0, 2, 1), 4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}
"""Channels from the last axis to the second."""


class BInputs(NamedTuple):
    """What B is run on."""

    model: Model
    arrays: tuple[np.ndarray, ...]
    ways: tuple[Way, ...]
    """The order of axes of each, in A's."""

    @property
    def words(self) -> tuple[str, ...]:
        """What was done to A's inputs, a sentence each."""
        return tuple(
            f"input {place} of B is A's with the axes {way.text}"
            for place, way in enumerate(self.ways)
            if way.text
        )


def candidates(
    b: Model, arrays: Sequence[np.ndarray], x: Inputs | InputArgument
) -> Iterator[BInputs]:
    """The ways to hand A's inputs to B that B's input shapes allow, the likeliest first."""
    values = x.values if isinstance(x, InputArgument) else x
    literals = x.literals if isinstance(x, InputArgument) else {}
    if isinstance(values, Mapping):
        try:
            bound = bind(b, InputArgument(values, literals))
            yield BInputs(
                bound.model, bound.arrays, tuple(unchanged(array.ndim) for array in bound.arrays)
            )
            return
        except BadInput:
            pass
    specs = b.inputs
    if specs is not None and len(specs) != len(arrays):
        raise BadInput(
            f"A is run on {len(arrays)} inputs and B takes {len(specs)} "
            f"({', '.join(spec.name for spec in specs)}): give B's own (x_b=, --input-b)"
        )
    spec: Sequence[InputSpec | None] = specs or [None] * len(arrays)
    options = [list(_orders(array, wanted)) for array, wanted in zip(arrays, spec, strict=True)]
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
        yield BInputs(bound.model, bound.arrays, tuple(ways))
    if not (fitting or any_bound):
        place = options.index([])
        wanted = spec[place]
        assert wanted is not None
        raise BadInput(
            f"A's input {place} has the shape {arrays[place].shape}, which in no order of its axes "
            f"is that of B's {wanted.name} {wanted.shape}: give B's own (x_b=, --input-b)"
        )


def _orders(array: np.ndarray, spec: InputSpec | None) -> Iterator[Way]:
    """As it is, or with the channels moved."""
    rank = array.ndim
    perms = [tuple(range(rank))]
    if rank in _LAST_TO_FIRST and array.dtype.kind == "f":
        first = _LAST_TO_FIRST[rank]
        perms += [first, tuple(int(k) for k in np.argsort(first))]
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
