"""How a model makes numbers that do not follow from its input, and how far rounding may move them:
another model may have been given them worked out before."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probe.description import Description
from probe.evaluation.allowance import allowances
from probe.evaluation.numpy_reference import recompute
from probe.model import CallOutput, WorkedOut
from probe.numerics.precision import precision_of, stored_in
from probe.ops.step import weights_of
from probe.trial.refusals import refused

if TYPE_CHECKING:
    from probe.model_comparison.graphs.graph import GraphCall, Tensor

__all__ = ["ConstantOrigin", "note_origin"]

_ALIKE = 1e-2
"""How far the steps may lie from the numbers that they are to give, as a share of the largest."""
_LITTLE = 1e-3
"""No more is put down to rounding, as a share of the largest."""
_ROUNDINGS = 4.0
"""Nor more than so many roundings of a narrower type."""
_ENDLESS = 1e30
"""What a mask subtracts is no measure of the rest."""


@dataclass(frozen=True, eq=False)
class ConstantOrigin:
    """The steps that a model makes numbers by, from parameters and other numbers alone."""

    description: Description
    rounding: np.ndarray
    """How far two ways to work the numbers out may lie apart."""
    made_by: tuple[CallOutput, ...] = ()
    """The calls that have made some of the numbers."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters and buffers that they are made of."""
        return tuple(weights_of(self.description.steps))


def note_origin(tensor: "Tensor", array: np.ndarray, call: "GraphCall", key: int | str) -> None:
    """Notes how an input of a call, or a weight of it, was worked out, where that is known."""
    known = call.worked_out.get(key)
    if known is not None:
        tensor.origin = _origin_of(known, array, call.capture.dtype)
        tensor.rounding = None if tensor.origin is None else tensor.origin.rounding


def _origin_of(known: WorkedOut, array: np.ndarray, dtype: str) -> ConstantOrigin | None:
    """The origin of an array that the steps are said to give; None where they do not."""
    description = known.description
    try:
        values = recompute(description.steps, ())
        (rounding,) = allowances(description.steps, (), values, stored_in(dtype), exact=True)
    except Exception as error:
        refused(error)
        return None
    (made,) = values[-1]
    if made.shape != array.shape or array.dtype.kind != "f":
        return None
    finite = np.isfinite(made)
    if not np.array_equal(finite, np.isfinite(array)):
        return None
    mine, theirs = (np.where(finite, values, 0.0) for values in (made, array))
    if (np.abs(mine - theirs) > _ALIKE * np.abs(mine).max(initial=0.0)).any():
        return None
    usual = np.abs(mine).max(initial=0.0, where=np.abs(mine) < _ENDLESS)
    little = max(_LITTLE, _ROUNDINGS * precision_of(dtype).unit)
    rounding = np.minimum(2 * np.where(finite, rounding, 0.0), little * usual)
    return ConstantOrigin(description, rounding, known.made_by)
