"""How far an evaluation of a layer may lie from NumPy's: told soon and widely at first, and more
closely where it matters. What was found out once is kept here, and nowhere else."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from probe.comparison.compare import compare
from probe.evaluation.allowance import SumBounds, allowances, settle, whole_at, worst_case
from probe.evaluation.monte_carlo import (
    Noise,
    noise_of,
    pooled,
    runs_of,
    usual_runs,
    wandering,
)
from probe.evaluation.reference import Reference
from probe.numerics.precision import Precision, precision_of, stored_in
from probe.ops import Identity, Outputs, Recurrence
from probe.ops.step import Step

__all__ = ["NEAR", "Bounds", "first_precision", "precisions_of"]

NEAR = 100.0, 2.0
"""What lies so many times beyond what a few runs with noise tell, or more of them, may lie within
what yet more tell: errors that all elements share are drawn but once a run."""
_HALVES = ("bfloat16", "float16")
_LONG = 12
"""From so many steps on slack that is pushed may have grown past all use."""
_USELESS, _UNITS = 0.01, 50
"""It has where it is more than this share of what the output varies by, and so many roundings."""

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class _BoundsFound:
    """What was found out about a layer, by the arithmetic that it was asked for."""

    looks: dict[tuple[Precision, int], Arrays] = field(default_factory=dict)
    """By the number of runs with noise; -1: slack that is pushed from step to step."""
    sums: SumBounds = field(default_factory=dict)
    grown: dict[Precision, bool] = field(default_factory=dict)
    noise: dict[tuple[Hashable, ...], Noise] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Bounds:
    """How far a party that computes in one arithmetic may lie from a layer in NumPy."""

    layer: Reference
    precision: Precision
    _kept: _BoundsFound = field(default_factory=_BoundsFound, repr=False)

    def by(self, precision: Precision) -> "Bounds":
        """The same layer in another arithmetic."""
        return Bounds(self.layer, precision, self._kept)

    @property
    def drawn(self) -> bool:
        """Whether it is runs with noise that tell the allowance: that of several calls, and of many
        steps in one, where slack that is pushed through them says nothing any more."""
        layer, grown = self.layer, self._kept.grown
        if layer.composed or len(layer.steps) < _LONG or layer.sketchy:
            return layer.composed
        if self.precision not in grown:
            pairs = zip(self.pushed(), layer.values[-1], strict=True)
            share = max(_USELESS, _UNITS * self.precision.unit)
            grown[self.precision] = any(_useless(slack, value, share) for slack, value in pairs)
        return grown[self.precision]

    def pushed(self) -> Arrays:
        """What rounding may do, carried from step to step."""
        looks, key = self._kept.looks, (self.precision, -1)
        if key not in looks:
            layer, precision = self.layer, self.precision
            as_given = all(step.op.takes_any_float for step in layer.steps) and not precision.lossy
            inputs = layer.raw_inputs if as_given else layer.inputs
            looks[key] = allowances(
                layer.steps, inputs, layer.values, precision, sums=self._kept.sums
            )
        return looks[key]

    def look(self, number: int | None = None) -> Arrays:
        """What rounding may do to each output; of a layer that is ``drawn`` as that look tells it,
        of which each takes more runs than the one before. None: as one look alone tells it best."""
        if not self.drawn:
            return self.pushed()
        runs, looks = runs_of(self.layer.values[-1]), self._kept.looks
        if number is None:
            number = max(0, len(runs) - 2)
        key = self.precision, min(number, len(runs) - 1)
        if key not in looks:
            looks[key] = self.wandered(runs[key[1]])
        return looks[key]

    def first(self) -> Arrays:
        """As the fewest runs tell it."""
        return self.look(0)

    def usual(self) -> Arrays:
        """As one look alone tells it best."""
        return self.look()

    def refined(self, outputs: Sequence[np.ndarray | None], allowed: Arrays) -> Arrays:
        """The allowance after a second look at those elements of a party that lie beyond what is
        ``allowed``: by their true partial sums.

        Of runs with noise after more of them, where these may tell another scale.
        """
        layer = self.layer
        if self.drawn:
            for number, near in enumerate(NEAR, start=1):
                ratio = compare(outputs, layer.values[-1], allowed).ratio
                if not (1 < ratio < near or (ratio > 1 and layer.jumps)):
                    break
                allowed = self.look(number)
            return allowed
        refined = list(allowed)
        for output, (slack, value) in enumerate(zip(allowed, layer.values[-1], strict=True)):
            theirs = _alike(outputs, output, value)
            if theirs is not None:
                error = _error(theirs, value)
                refined[output] = settle(
                    layer.steps, layer.inputs, layer.values, self.precision, error, slack, output
                )
        return tuple(refined)

    def among_equal_numbers(
        self, outputs: Sequence[np.ndarray | None], allowed: Arrays
    ) -> Arrays | None:
        """The allowance with that of other places of equal numbers; None where no output is
        places."""
        widened: dict[int, np.ndarray] = {}
        for output, (slack, value) in enumerate(zip(allowed, self.layer.values[-1], strict=True)):
            theirs = _alike(outputs, output, value)
            if theirs is None:
                continue
            ties = _among_equals(self.layer, output, theirs)
            if ties is not None:
                error = _error(theirs, value)
                widened[output] = np.where(ties, np.maximum(slack, error), slack)
        if widened:
            return tuple(widened.get(k, slack) for k, slack in enumerate(allowed))
        return None

    def of_rounding(self, outputs: Sequence[np.ndarray | None], allowed: Arrays) -> Arrays:
        """The allowance after all that rounding alone may do."""
        refined = self.refined(outputs, allowed)
        equals = self.among_equal_numbers(outputs, refined)
        if equals is None:
            return refined
        return equals

    def at(self, where: Arrays, error: np.ndarray) -> np.ndarray:
        """What single elements may err by, of a layer that is one sum but for moves of elements; by
        their true partial sums where they err by more."""
        layer = self.layer
        return whole_at(layer.steps, layer.raw_inputs, layer.values, self.precision, where, error)

    def certain(self, index: tuple[int, ...], output: int) -> float:
        """What no order of rounding can exceed at one element."""
        layer = self.layer
        return worst_case(layer.steps, layer.inputs, layer.values, self.precision, index, output)

    def wandered(
        self,
        runs: int | None = None,
        exact: Collection[int] = (),
        off: Mapping[int, np.ndarray] = MappingProxyType({}),
    ) -> Arrays:
        """Six of the scale at which the outputs of a composed layer wander, of which the steps at
        the places ``exact`` round nothing and inputs are ``off``."""
        layer, precision = self.layer, self.precision
        key = (precision, *exact, *map(id, off.values()))
        if key not in self._kept.noise:
            self._kept.noise[key] = noise_of(
                layer.steps,
                layer.inputs,
                layer.values,
                precisions_of(
                    layer.steps, layer.dtypes or [precision.name] * len(layer.steps), precision
                ),
                {k: _of_unknown(layer.inputs[k], precision) for k in layer.unknown} | dict(off),
                exact,
            )
        first, *more = runs_of(layer.values[-1])
        if runs is None:
            runs = usual_runs(layer.values[-1])
        noise, together = self._kept.noise[key], len(more) > 1 and runs == first
        variances = wandering(layer.steps, layer.inputs, layer.values, noise, runs)
        return tuple(
            pooled(variance, value, together) + stored
            for variance, value, stored in zip(
                variances, layer.values[-1], noise.stored, strict=True
            )
        )


def first_precision(layer: Reference, dtype: str) -> Precision:
    """The arithmetic that a layer of that dtype is held against first. Kernels of recurrences round
    each operation to it."""
    if layer.recurrent:
        return precision_of(dtype)
    return stored_in(dtype)


def _alike(
    outputs: Sequence[np.ndarray | None], output: int, value: np.ndarray
) -> np.ndarray | None:
    """An output of a party, where it is there and has NumPy's shape."""
    theirs = outputs[output] if output < len(outputs) else None
    if theirs is not None and theirs.shape == value.shape:
        return theirs
    return None


def _error(theirs: np.ndarray, value: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        # without axes it is no array
        error = np.asarray(np.subtract(theirs, value, dtype=np.float64))
        np.abs(error, out=error)
    return error


def _among_equals(layer: Reference, output: int, theirs: np.ndarray) -> np.ndarray | None:
    """Where the places in an output of the last step may be other than NumPy's, since the numbers
    there are equal.

    None where the output is no places, or where the layer says which of equal numbers comes first.
    """
    steps, position = layer.steps, len(layer.steps) - 1
    while isinstance(steps[position].op, Identity | Outputs):
        ref = steps[position].sources(position)[output]
        if ref.step < 0:
            return None
        position, output = ref.step, ref.index
    inputs = [ref.of(layer.inputs, layer.values) for ref in steps[position].sources(position)]
    return steps[position].op.equally_right(inputs, layer.values[position], output, theirs)


def _useless(slack: np.ndarray, value: np.ndarray, share: float) -> bool:
    """Whether slack is more than that share of what the output varies by."""
    if value.dtype.kind == "f":
        finite = np.isfinite(value)
    else:
        finite = np.zeros(value.shape, bool)
    if not finite.any():
        return False
    with np.errstate(all="ignore"):
        return not np.median(slack[finite]) <= share * np.std(value[finite])


def _of_unknown(x: np.ndarray, precision: Precision) -> np.ndarray:
    """The scale of what a call may err by of which nothing is known but what it gave."""
    sizes = np.where(np.isfinite(x), np.abs(x), 0.0)
    typical = np.median(sizes) if x.size else 0.0
    return np.asarray((precision.stored or precision.unit) * np.maximum(sizes, typical))


def precisions_of(
    steps: Sequence[Step], dtypes: Sequence[str], precision: Precision
) -> list[Precision]:
    """The arithmetic of each step for a party in half precision, of which some may be computed in
    another dtype; any other party computes all in its own."""
    precisions = []
    for step, dtype in zip(steps, dtypes, strict=True):
        own = precision
        if precision.name in _HALVES and dtype != precision.name:
            half = stored_in if precision.stored else precision_of
            wider = "float32" if dtype.startswith("float") else dtype
            own = half(dtype) if dtype in _HALVES else precision_of(wider)
            own = replace(
                own,
                lossy=precision.lossy,
                sketches=precision.sketches,
                partial=precision.partial,
            )
        if isinstance(step.op, Recurrence) and own.stored:
            own = replace(precision_of(own.name), lossy=own.lossy, sketches=own.sketches)
        precisions.append(own)
    return precisions
