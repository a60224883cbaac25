"""The steps of a layer in NumPy, in float64: the recomputation by hand that everything else is held
against."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from probe.numerics.dtypes import flushed, widened
from probe.numerics.memory_limit import limit
from probe.ops.base import Arrays, Op
from probe.ops.step import Step, weights_of

__all__ = ["recompute"]

_BUFFER = 1 << 10


@contextmanager
def _quietly() -> Iterator[None]:
    """NumPy without warnings, and with buffers of 1024 elements instead of 8192.

    Into a buffer it copies what it broadcasts along rows that are shorter, which takes longer than
    the arithmetic itself.
    """
    with np.errstate(all="ignore"):
        before = np.setbufsize(_BUFFER)
        try:
            yield
        finally:
            np.setbufsize(before)


def recompute(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    least: float = 0.0,
    ran: Callable[[Op, Arrays, Arrays], None] | None = None,
    known: Mapping[int, tuple[np.ndarray, ...]] | None = None,
) -> list[tuple[np.ndarray, ...]]:
    """The outputs of every step, in order; those of the last one are the layer's. What is smaller
    than ``least`` is 0 to every step. MemoryError where all take more than the limit that is on.
    ``ran`` is called with each op that was run, what it was given and what it gave; steps whose
    outputs are ``known``, by their positions, are not run.
    """
    arrays = [flushed(x, least) for x in inputs]
    wide: dict[int, np.ndarray] = {}
    values: list[tuple[np.ndarray, ...]] = []
    most, kept = limit(), 0
    if most is not None:
        _refuse_large(
            [*arrays, *(weight.value for weight in weights_of(tuple(steps)).values())], most
        )
    with _quietly():
        for position, step in enumerate(steps):
            if known and position in known:
                values.append(known[position])
                continue
            chosen, as_given = [], step.op.takes_any_float
            for ref in step.sources(position):
                if ref.step < 0 and not as_given and ref.index not in wide:
                    wide[ref.index] = widened(arrays[ref.index])
                chosen.append(ref.of(arrays if as_given else wide, values))
            if as_given:
                outputs = step.op.run_float64(*chosen)
            else:
                outputs = step.op.run(*chosen)
            if ran is not None:
                ran(step.op, chosen, outputs)
            if least:
                outputs = tuple([flushed(y, least) for y in outputs])
            values.append(outputs)
            if most is not None:
                _refuse_large(outputs, most)
                kept += sum(y.nbytes for y in outputs)
                if kept > most:
                    raise MemoryError(f"the steps give {kept:,} bytes")
    return values


def _refuse_large(arrays: Iterable[np.ndarray], most: int) -> None:
    """MemoryError for an array without elements that would be too large with 1 in place of its
    0s: what goes through its axes would not end."""
    for array in arrays:
        if not array.size and array.itemsize * math.prod(max(1, n) for n in array.shape) > most:
            raise MemoryError(f"an array has the shape {array.shape}")
