"""Tensors of which a program has printed some elements, beside the model's: the elements that are
not printed are taken for the model's own."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from probe import printable
from probe.capture.printed_tensors import PrintedTensor
from probe.model_comparison.dumps.called import own_tensor
from probe.model_comparison.dumps.rotated import in_halves, in_pairs
from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.matching.dump_names import is_rotated
from probe.numerics.precision import SIGMAS

__all__ = ["filled"]


_BY_CHANCE = SIGMAS / np.sqrt(3)
"""What a sum of many numbers that are rounded may be off, in the roundings of one."""


class _Filled(NamedTuple):
    name: str
    distance: float
    """How far the numbers lie from the model's."""
    values: np.ndarray
    rounding: np.ndarray


def filled(
    printed: Mapping[str, PrintedTensor], tensors: Mapping[str, Tensor]
) -> tuple[tuple[Tensor, ...], list[str]]:
    """The tensors of the model with the printed numbers in them; of several that are printed under
    one name the nearest to the model's."""
    best: dict[Tensor, _Filled] = {}
    for name, tensor in printed.items():
        stem = name.partition(" ")[0]
        own = own_tensor(stem, tensors)
        if own is None or own.value.ndim < 2 or own.value.dtype.kind != "f":
            continue
        for values, rounding, distance in _readings(stem, tensor, own.value):
            if own not in best or distance < best[own].distance:
                best[own] = _Filled(name, distance, values, rounding)
    names = {id(tensor): name for name, tensor in tensors.items()}
    loose = tuple(
        Tensor(
            *(found.name, found.values),
            rounding=found.rounding,
            stands_for=names[id(own)],
            partial=not found.rounding.all(),
            rearranged=True,
        )
        for own, found in best.items()
    )
    if not printed:
        return loose, []
    notes = [f"{len(loose)} of {len(printed)} printed tensors stand for layers of the model"]
    if part := [tensor.name for tensor in loose if tensor.partial]:
        notes.append(
            "only the elements that are printed are compared, and differences behind the first are "
            f"not judged: {printable.several(map(printable.name, part), 4)}"
        )
    return loose, notes


def _readings(
    stem: str, tensor: PrintedTensor, own: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """The model's tensor with the numbers in it, how far each may be off, and how far they lie from
    what was there: of the last tokens where there are fewer, of queries and keys in either order of
    their features."""
    rows = own.reshape(-1, own.shape[-1])
    count = int(np.prod(tensor.shape, dtype=object)) // rows.shape[1]
    if not 0 < count <= len(rows) or count * rows.shape[1] != np.prod(tensor.shape, dtype=object):
        return
    places = np.ix_(*tensor.places)
    orders = [(rows, None), *(in_pairs(rows) if is_rotated(stem) else ())]
    for turned, length in orders:
        values, known = turned.copy(), np.zeros(turned.shape)
        there = values[-count:].reshape(tensor.shape)
        distance = float(np.abs(there[places] - tensor.numbers).max())
        there[places] = tensor.numbers
        known[-count:].reshape(tensor.shape)[places] = _BY_CHANCE * tensor.rounding
        if length is not None:
            values, known = in_halves(values, length), in_halves(known, length)
        yield values.reshape(own.shape), known.reshape(own.shape), distance
