"""What rounding in the layers before may have done to a layer's input, for values that came through
other layers than ours.

``expected`` is often the end of the user's own chain of layers, each with its own honest rounding.
So the model is run a few times more with every layer's output moved at random by what rounding may
do to it, and a layer's NumPy output is watched as its input wanders.
"""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from probe.description import Description
from probe.errors import CostWarning, absorbed
from probe.evaluation.allowance import Values, allowances
from probe.evaluation.monte_carlo import pooled, runs_of, squared_distance
from probe.evaluation.reference import Reference, inputs_of, values_of
from probe.model import (
    Capture,
    Model,
    StopForward,
    is_large,
    parameters_of,
)
from probe.numerics.dtypes import widened
from probe.numerics.precision import SIGMAS, VANISHING, precision_of, stored_in

__all__ = ["RUNS", "Drift", "NoisyRuns", "Road", "drifts", "numpy_values", "root_mean_square"]

RUNS = 8


@dataclass(frozen=True, eq=False)
class Road:
    """The way from the model's input to a layer's output."""

    description: Description
    layer: Reference
    """The whole of it in NumPy."""
    own: frozenset[int]
    """The positions of the layer's own steps."""


@dataclass(frozen=True, eq=False)
class Drift:
    """How far each output of one call may lie off because its input may."""

    slack: tuple[np.ndarray, ...]
    further: float = 1.0
    """How many times that where the layers before round to half precision inside, too, and not only
    what they give."""
    road: Road | None = None
    """Where it is known."""


def drifts(
    model: Model,
    arrays: Sequence[np.ndarray],
    wanted: Collection[tuple[str, int]] | None,
    *,
    names: Collection[str] = (),
    last: tuple[str, int] | None = None,
    seed: int = 0,
    by_framework: bool = False,
    held: Collection[Capture] = (),
    few: bool = False,
) -> Mapping[tuple[str, int], Drift]:
    """The drift of the ``wanted`` calls (or of all calls of the layers ``names``); calls after
    ``last`` are not run.

    It is that of NumPy's outputs, or ``by_framework`` of the framework's, of calls without
    description too. Where the wanted calls are ``held``, the model need not be run without noise
    first; with a ``few`` passes their elements tell the scale together.

    Memory: two arrays per output of a wanted call, and two bytes per element that any layer puts
    out.
    """
    noisy = NoisyRuns(wanted, names, last, by_framework, np.random.default_rng([seed, 1]))
    for capture in held:
        noisy.begin(capture, numpy_values(capture))
    runs = min(RUNS, runs_of(sum(noisy.base.values(), ()))[0]) if few else RUNS
    if is_large(model) and not (last and model.layers[0].name == last[0]):
        warnings.warn(
            "your values came through earlier layers: allowing for their rounding takes "
            f"{runs + (not held)} forward passes of {parameters_of(model):,} parameters, and those "
            "layers in NumPy; given= (--expect-input) avoids that",
            CostWarning,
            stacklevel=3,
        )
    if not held:
        _run(model, arrays, noisy.still)
    if noisy.base:
        for _ in range(runs):
            _run(model, arrays, noisy.moved)
    return noisy.drifts(runs, few)


def _run(
    model: Model,
    arrays: Sequence[np.ndarray],
    on_call: Callable[[Capture], Sequence[np.ndarray] | None],
) -> None:
    with suppress(StopForward):
        model.run(arrays, None, on_call)


@dataclass(eq=False)
class NoisyRuns:
    """Passes of a model in which every layer's output is moved by what rounding may do to it, and
    how far the outputs of the wanted calls lie from those of a pass without."""

    wanted: Collection[tuple[str, int]] | None
    names: Collection[str]
    last: tuple[str, int] | None
    by_framework: bool
    rng: "np.random.Generator"
    base: dict[tuple[str, int], tuple[np.ndarray, ...]] = field(default_factory=dict)
    """The outputs of the wanted calls without noise."""
    squares: dict[tuple[str, int], list[np.ndarray]] = field(default_factory=dict)
    """How far they have wandered from those, squared and summed over the passes."""
    scales: dict[tuple[str, int], "list[_ErrorScale | None]"] = field(default_factory=dict)
    """By how much the outputs of each call are moved."""
    further: dict[tuple[str, int], float] = field(default_factory=dict)
    """How many times that where the layers before each call round inside, too."""
    most: float = 1.0
    """The most of that so far."""

    def still(self, capture: Capture) -> None:
        """A call in a pass without noise."""
        values = numpy_values(capture)
        self.begin(capture, values)
        self._measure(capture, values)
        self._end(capture)

    def moved(self, capture: Capture) -> Sequence[np.ndarray]:
        """A call in a pass with noise: what it gives instead of its outputs."""
        key, values = capture.key, None
        if key not in self.further:
            values = numpy_values(capture)
            self._measure(capture, values)
        if key in self.base:
            self._add(capture, values)
        self._end(capture)
        return [
            _moved(output, scale, self.rng)
            for output, scale in zip(capture.outputs, self.scales[key], strict=True)
        ]

    def begin(self, capture: Capture, values: Values | None) -> None:
        """Keeps the outputs of a call that is wanted."""
        key = capture.key
        if (values is not None or self.by_framework) and self._is_wanted(capture):
            self.base[key] = capture.outputs
            if values is not None and not self.by_framework:
                self.base[key] = values[-1]
            self.squares[key] = [np.zeros(np.shape(output)) for output in self.base[key]]

    def drifts(self, runs: int, few: bool) -> Mapping[tuple[str, int], Drift]:
        """What so many runs tell."""
        by_call = {}
        for key, squares in self.squares.items():
            slack = tuple(
                pooled(sums / runs, output, few)
                for sums, output in zip(squares, self.base[key], strict=True)
            )
            by_call[key] = Drift(slack, self.further.get(key, 1.0))
        return by_call

    def _is_wanted(self, capture: Capture) -> bool:
        if not self.by_framework and capture.description is None:
            return False
        if self.wanted is None:
            return any(map(capture.goes_by, self.names))
        return capture.key in self.wanted

    def _measure(self, capture: Capture, values: Values | None) -> None:
        """Finds out by how much the outputs of a call are moved from now on."""
        key = capture.key
        self.further[key] = self.most
        if key == self.last:
            return
        try:
            self.scales[key], times = _scales(capture, values)
        except Exception as error:  # which judging the call says
            if capture.held is None:
                absorbed(error)
            self.scales[key], times = _scales(capture, None)
        self.most = max(self.most, times)

    def _add(self, capture: Capture, values: Values | None) -> None:
        """Adds how far the outputs of a call have wandered."""
        key, outputs = capture.key, capture.outputs
        if capture.description is not None and not self.by_framework:
            outputs = (values_of(capture) if values is None else values)[-1]
        for sums, now, before in zip(self.squares[key], outputs, self.base[key], strict=True):
            with np.errstate(all="ignore"):
                sums += squared_distance(now, before)

    def _end(self, capture: Capture) -> None:
        if capture.key == self.last:
            raise StopForward


def numpy_values(capture: Capture) -> list[tuple[np.ndarray, ...]] | None:
    """The call in NumPy; None where it has no description, or where computing it fails, which
    judging the call says."""
    if capture.description is None:
        return None
    try:
        return values_of(capture)
    except Exception as error:
        if capture.held is None:
            absorbed(error)
        return None


class _ErrorScale(NamedTuple):
    """One scale of the rounding error of every element, in two bytes each: largest times
    fractions."""

    largest: float
    fractions: np.ndarray


def _scales(capture: Capture, values: Values | None) -> tuple[list[_ErrorScale | None], float]:
    """How far the outputs of a call may be off, None where they are exact; and how many times that
    where it rounds inside, too."""
    own = precision_of(capture.dtype)
    if not own.unit:
        return [None] * len(capture.outputs), 1.0
    precision, times = stored_in(capture.dtype), 1.0
    # Six of the scale of a sum are allowed, but of a result that is rounded when it is stored all
    # that this may do.
    sigmas = np.sqrt(3) if precision.stored else SIGMAS
    if values is None or capture.description is None:
        unit = precision.stored or SIGMAS * precision.unit
        allowed: Sequence[np.ndarray] = [
            np.asarray(unit * np.abs(output).max(initial=0.0)) for output in capture.outputs
        ]
    else:
        inputs = [widened(x) for x in inputs_of(capture)]
        # a quantised layer behind one that rounds nothing flips no level
        allowed = allowances(capture.description.steps, inputs, values, precision, exact=True)
        if precision.stored:
            wider = allowances(capture.description.steps, inputs, values, own)
            times = _times_inside(capture, precision.stored, sigmas, allowed, wider)
    scales: list[_ErrorScale | None] = []
    for output, slack in zip(capture.outputs, allowed, strict=True):
        # What is allowed because small numbers may vanish is no rounding: the 0 of a mask stays 0.
        finite = np.where(np.isfinite(slack) & (slack > VANISHING), slack, 0.0) / sigmas
        largest = float(finite.max(initial=0.0))
        fits = output.dtype.kind == "f" and finite.shape in ((), output.shape)
        scale = None
        if largest and fits:
            scale = _ErrorScale(largest, (finite / largest).astype(np.float16))
        scales.append(scale)
    return scales, times


def _times_inside(
    capture: Capture,
    unit: float,
    sigmas: float,
    allowed: Sequence[np.ndarray],
    wider: Sequence[np.ndarray],
) -> float:
    """How many times what storing its results does a call is off that rounds inside, too."""
    times = []
    for inside, slack, output in zip(wider, allowed, capture.outputs, strict=True):
        if output.dtype.kind != "f":
            continue
        # a factor of 1 rounds nothing: what storing does to other numbers is the measure then
        size = max(root_mean_square(slack), unit * root_mean_square(output)) / sigmas
        if size:
            times.append(root_mean_square(inside) / SIGMAS / size)
    return max(times, default=1.0)


def root_mean_square(slack: np.ndarray) -> float:
    """The root mean square of what is finite."""
    finite = slack[np.isfinite(slack)]
    if finite.size:
        return float(np.sqrt(np.square(finite, dtype=np.float64).mean()))
    return 0.0


def _moved(output: np.ndarray, scale: _ErrorScale | None, rng: "np.random.Generator") -> np.ndarray:
    if scale is None:
        return output
    noise = rng.standard_normal(output.shape, dtype=np.float32) * scale.fractions
    moved: np.ndarray = output + scale.largest * noise.astype(np.float64)
    return moved.astype(output.dtype)
