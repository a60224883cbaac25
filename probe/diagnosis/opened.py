"""A block whose whole numbers and constants are computed too, and calls without description made
again, for the search alone: the parties are compared from what the framework made of these."""

from typing import NamedTuple

import numpy as np

from probe.composition.called_again_step import CalledAgain
from probe.evaluation.reference import Reference, inputs_of, values_of
from probe.model import Capture
from probe.trial.refusals import refused

__all__ = ["Searched", "searched"]

_ROUNDED = 1e-5
"""How far outputs may move, as a share of the largest, by constants that the framework rounds, and
by a function that has no description."""
_BEYOND = 2.0
"""How often that is allowed for constants of the user's own, which are rounded otherwise."""


class Searched(NamedTuple):
    """What a mistake is looked for in."""

    capture: Capture
    layer: Reference
    more: tuple[float, ...]
    """What each output is allowed besides."""


def searched(capture: Capture, layer: Reference) -> tuple[Searched, ...]:
    """A block with what makes its whole numbers and constants, in NumPy, but where NumPy, which
    may round almost equal numbers otherwise, makes other ones; then as it was, with those as
    inputs and constants."""
    before = layer.values[-1]
    plain = Searched(capture, layer, (0.0,) * len(before))
    if capture.opened is None:
        return (plain,)
    try:
        whole = capture.opened()
        inputs, values = inputs_of(whole), values_of(whole)
    except Exception as error:
        refused(error)
        return (plain,)
    if [np.shape(y) for y in values[-1]] != [np.shape(y) for y in before]:
        return (plain,)
    apart = [_apart(y, own) for y, own in zip(values[-1], before, strict=True)]
    if not all(off <= _ROUNDED * _largest(own) for off, own in zip(apart, before, strict=True)):
        return (plain,)
    more = tuple(_BEYOND * off for off in apart)
    if any(isinstance(step.op, CalledAgain) for step in whole.steps):
        least = [_ROUNDED * _largest(own) for own in before]
        more = tuple(map(max, more, least))
    return Searched(whole, Reference(whole.steps, inputs, values), more), plain


def _apart(values: np.ndarray, before: np.ndarray) -> float:
    """The largest difference; inf where one has a number and the other has none."""
    off = np.abs(np.subtract(values, before, dtype=np.float64))
    alike = (values == before) | (np.isnan(values) & np.isnan(before))
    return float(np.where(alike, 0.0, np.where(np.isnan(off), np.inf, off)).max(initial=0.0))


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values[np.isfinite(values)], dtype=np.float64).max(initial=0.0))
