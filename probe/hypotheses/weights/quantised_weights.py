"""Mistakes with the integers behind quantised weights: their scale, their zero point, two of them
in each byte."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from probe import ops
from probe.hypotheses.edits.changes import PARTS, Changes
from probe.hypotheses.edits.integer_decompositions import by_integers
from probe.hypotheses.edits.mapped_tensors import axis_name, mapped
from probe.hypotheses.edits.tensor_maps import Map, maps
from probe.hypotheses.registry import hypothesis
from probe.ops.step import Ref
from probe.trial.case import Case
from probe.trial.change import Change

__all__: list[str] = []

Along = Callable[[int], str]


def _mistakes(
    case: Case, slug: str, what: str, of: Callable[[np.ndarray, Along], Iterator[Map]]
) -> Iterator[Changes]:
    """The maps of the integers, zero points or scales of the layer's quantised weights that give
    what was observed."""
    if any(map(by_integers, case.weights.values())):
        yield Changes(partial(_mapped, what=what, of=of), slug, PARTS)


def _mapped(
    case: Case, what: str, of: Callable[[np.ndarray, Along], Iterator[Map]]
) -> Iterator[Change]:
    for position, op in case.having(ops.Parameter):
        if op.weight.name.startswith(f"the {what} of "):
            ref = Ref(position)
            x = np.asarray(case.values[position][0])
            for way in of(x, partial(axis_name, case, ref)):
                yield from mapped(case, ref, way)


@hypothesis("zero-point")
def zero_point(case: Case) -> Iterator[Changes]:
    """The zero point of quantised weights is off by one, or ignored.

    GPTQ's first format stores the zero point less 1. Every weight is off by one scale.
    """
    yield from _mistakes(case, "zero-point", "zero point", _zero_points)
    yield from _mistakes(case, "zero-point", "integers", _off_by_one)


def _off_by_one(x: np.ndarray, along: Along) -> Iterator[Map]:
    for by in (1, -1):
        yield Map(f"{'increased' if by > 0 else 'decreased'} by 1", partial(np.add, by), False)


def _zero_points(x: np.ndarray, along: Along) -> Iterator[Map]:
    yield Map("taken as 0", np.zeros_like, False)
    yield from _off_by_one(x, along)


@hypothesis("ignored-scale")
def ignored_scale(case: Case) -> Iterator[Changes]:
    """Quantised weights are used as integers, without their scale, or divided by it.

    The outputs are larger by the inverse of the scale, tens to thousands of times. Some files hold
    the factor that weights were multiplied by, others its inverse.
    """
    yield from _mistakes(case, "ignored-scale", "scale", _scales)


def _scales(x: np.ndarray, along: Along) -> Iterator[Map]:
    yield Map("taken as 1", np.ones_like, False)
    yield Map("inverted (1 / x)", np.reciprocal, False)


@hypothesis("transposed-scale")
def transposed_scale(case: Case) -> Iterator[Changes]:
    """The scales of quantised weights belong to other rows, columns or groups.

    The first, the largest or the mean for all, taken in turn where each belongs to a run of
    weights, or along the other axis, which fits where the blocks are square.
    """
    yield from _mistakes(
        case, "transposed-scale", "scale", lambda x, along: maps(x.shape, along, False)
    )


@hypothesis("nibble-order")
def nibble_order(case: Case) -> Iterator[Changes]:
    """The two 4-bit numbers of each byte are taken in the other order.

    Neighbouring weights are exchanged in pairs, along the axis in which they are packed.
    """
    yield from _mistakes(case, "nibble-order", "integers", _pairs)


def _pairs(x: np.ndarray, along: Along) -> Iterator[Map]:
    for axis, size in enumerate(x.shape):
        if size % 2 == 0:
            order = np.arange(size).reshape(-1, 2)[:, ::-1].ravel()
            words = (
                f"exchanged in pairs along {along(axis)}: the low and the high 4 bits of each byte"
            )
            yield Map(words, partial(np.take, indices=order, axis=axis))
