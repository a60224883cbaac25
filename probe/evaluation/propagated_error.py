"""What rounding in the layers before may have done to a layer's input, for values that came through
other layers than ours.

``expected`` is often the end of the user's own chain of layers, each with its own honest rounding.
So the model is run a few times more with every layer's output moved at random by what rounding may
do to it, and a layer's NumPy output is watched as its input wanders.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from probe.composition.compose import composed
from probe.composition.segment import results_of
from probe.description import Description
from probe.errors import CostWarning, absorbed
from probe.evaluation.allowance import allowances
from probe.evaluation.bounds import Bounds
from probe.evaluation.monte_carlo import pooled, runs_of, squared_distance
from probe.evaluation.reference import Reference, bounded, inputs_of, recomputed, values_of
from probe.model import (
    CallOutput,
    Capture,
    Model,
    Rounding,
    StopForward,
    is_large,
    parameters_of,
)
from probe.numerics.dtypes import widened
from probe.numerics.precision import SIGMAS, VANISHING, precision_of, stored_in

__all__ = ["Drift", "Road", "drift_by_rounding", "drift_of", "drifts"]

_RUNS = 8
_MOST = 1 << 27
"""More elements than that are not kept at once."""


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

    def asked(capture: Capture) -> bool:
        return (by_framework or capture.description is not None) and (
            any(map(capture.goes_by, names))
            if wanted is None
            else (capture.layer, capture.call) in wanted
        )

    base: dict[tuple[str, int], tuple[np.ndarray, ...]] = {}
    total: dict[tuple[str, int], list[np.ndarray]] = {}
    scales: dict[tuple[str, int], list[_Scale | None]] = {}
    further: dict[tuple[str, int], float] = {}
    most = 1.0
    rng = np.random.default_rng([seed, 1])

    def begin(capture: Capture, values: list[tuple[np.ndarray, ...]] | None) -> None:
        key = (capture.layer, capture.call)
        if (values is not None or by_framework) and asked(capture):
            base[key] = capture.outputs if values is None or by_framework else values[-1]
            total[key] = [np.zeros(np.shape(output)) for output in base[key]]

    def measure(capture: Capture, values: list[tuple[np.ndarray, ...]] | None) -> None:
        nonlocal most
        key = (capture.layer, capture.call)
        further[key] = most
        if key == last:
            return
        try:
            scales[key], times = _scales(capture, values)
        except Exception as error:  # which judging the call says
            if capture.held is None:
                absorbed(error)
            scales[key], times = _scales(capture, None)
        most = max(most, times)

    def still(capture: Capture) -> None:
        values = _values(capture)
        begin(capture, values)
        measure(capture, values)
        if (capture.layer, capture.call) == last:
            raise StopForward

    def moved(capture: Capture) -> Sequence[np.ndarray] | None:
        key = (capture.layer, capture.call)
        values = None
        if key not in further:
            values = _values(capture)
            measure(capture, values)
        if key in base:
            output = capture.outputs
            if capture.description is not None and not by_framework:
                output = (values_of(capture) if values is None else values)[-1]
            for sums, now, before in zip(total[key], output, base[key], strict=True):
                with np.errstate(all="ignore"):
                    sums += squared_distance(now, before)
        if key == last:
            raise StopForward
        return [
            _moved(output, scale, rng)
            for output, scale in zip(capture.outputs, scales[key], strict=True)
        ]

    for one in held:
        begin(one, _values(one))
    runs = min(_RUNS, runs_of(sum(base.values(), ()))[0]) if few else _RUNS
    passes = runs + (not held)
    if is_large(model) and not (last and model.layers[0].name == last[0]):
        warnings.warn(
            "your values came through earlier layers: allowing for their rounding takes "
            f"{passes} forward passes of {parameters_of(model):,} parameters, and those layers "
            "in NumPy; given= (--expect-input) avoids that",
            CostWarning,
            stacklevel=3,
        )

    def passed(on_call: Callable[[Capture], Sequence[np.ndarray] | None]) -> None:
        with suppress(StopForward):
            model.run(arrays, None, on_call)

    if not held:
        passed(still)
    if base:
        for _ in range(runs):
            passed(moved)
    return {
        key: Drift(
            tuple(
                pooled(squares / runs, output, few)
                for squares, output in zip(sums, base[key], strict=True)
            ),
            further.get(key, 1.0),
        )
        for key, sums in total.items()
    }


def drift_by_rounding(
    model: Model, arrays: Sequence[np.ndarray], calls: Sequence[Capture], seed: int = 0
) -> Mapping[tuple[str, int], Drift] | None:
    """The drift of a large model's calls from a few passes of its own that round otherwise; None
    where it has none. It costs no more than these, and leaves out what others may round that it
    does not."""
    if not isinstance(model, Rounding) or model.rounding_otherwise(seed) is None:
        return None
    runs = min(_RUNS, runs_of(sum((one.outputs for one in calls), ()))[0])
    more = "one more forward pass" if runs == 1 else f"{runs} more forward passes"
    warnings.warn(
        f"your values came through earlier layers: allowing for their rounding takes {more} of "
        f"{parameters_of(model):,} parameters; given= (--expect-input) avoids that",
        CostWarning,
        stacklevel=3,
    )
    base = {(one.layer, one.call): _outputs(one) for one in calls}
    squares = {key: [np.zeros(one.shape) for one in outputs] for key, outputs in base.items()}
    reached: Counter[tuple[str, int]] = Counter()

    def moved(capture: Capture) -> None:
        key = capture.layer, capture.call
        if key in base:
            reached[key] += 1
            for sums, now, before in zip(squares[key], _outputs(capture), base[key], strict=True):
                sums += squared_distance(now, before)
            if all(reached[one] == reached[key] for one in base):
                raise StopForward

    for run in range(runs):
        rounding = model.rounding_otherwise(seed + run)
        assert rounding is not None
        with rounding, suppress(StopForward):
            model.run(arrays, {one.layer for one in calls}, moved)
    return {
        key: Drift(
            tuple(
                pooled(one / runs, output, together=True)
                for one, output in zip(squares[key], base[key], strict=True)
            )
        )
        for key, count in reached.items()
        if count == runs
    }


def _outputs(capture: Capture) -> tuple[np.ndarray, ...]:
    """What NumPy gives for the inputs of a call or a container, or else the framework."""
    values = _values(composed(capture) if capture.parts and not capture.description else capture)
    if values is None:
        return capture.outputs
    return values[-1]


def drift_of(
    model: Model,
    arrays: Sequence[np.ndarray],
    whole: Capture,
    call: Capture,
    seed: int = 0,
    few: bool = False,
) -> Drift | None:
    """The drift of the outputs of a call or a container, from the calls of the whole model before
    it; None where there are none. A ``few`` runs tell it less well.

    Where one of these has no description, or they give too much to keep, the model is run instead,
    as ``drifts`` does; what that does to a container's inputs is followed through its steps.
    """
    plain = call.unseen is None and not call.parts
    own = {(one.capture.layer, one.capture.call) for one in call.parts}
    own = own or {(call.layer, call.call)}
    road = composed(
        replace(
            whole,
            outputs=call.outputs,
            results=results_of(call),
            fixed_results=call.fixed_results,
            unseen=None,
        )
    )
    within = {
        place
        for place, one in enumerate(road.parts)
        if (one.capture.layer, one.capture.call) in own
    }
    described = road.description
    if described is not None and len(within) == len(road.parts):
        return None
    if (
        described is None
        or any(one.why and one.call not in within for one in described.taken)
        or sum(one.size for part in road.parts for one in part.capture.outputs) > _MOST
    ):
        if plain:
            key = call.layer, call.call
            held = () if call.description is None else (call,)
            return drifts(model, arrays, {key}, last=key, seed=seed, held=held, few=few).get(key)
        return _by_passes(model, arrays, call, seed, few)
    exact = frozenset(at for at, site in enumerate(described.sites) if site.part in within)
    with bounded(road):
        layer = recomputed(described, road.inputs)
    drift = _wandered(layer, road.dtype, exact, {}, few)
    return replace(drift, road=Road(described, layer, exact))


def _by_passes(
    model: Model, arrays: Sequence[np.ndarray], container: Capture, seed: int, few: bool
) -> Drift | None:
    one = container if container.description is not None else composed(container)
    if one.description is None:
        return None
    made = {k: maker for k, maker in enumerate(one.made_by) if isinstance(maker, CallOutput)}
    calls = {(maker.layer, maker.call) for maker in made.values()}
    before = drifts(model, arrays, calls, seed=seed, by_framework=True, few=few)
    unit, off = precision_of(one.dtype).unit, dict[int, np.ndarray]()
    for k, maker in made.items():
        x = one.inputs[k]
        if x.dtype.kind == "f":
            drift = before.get((maker.layer, maker.call))
            slack = np.zeros(x.shape) if drift is None else drift.slack[maker.output]
            off[k] = slack / SIGMAS + unit * np.where(np.isfinite(x), np.abs(x), 0.0)
    with bounded(one):
        layer = recomputed(one.description, inputs_of(one))
    return _wandered(layer, one.dtype, set(range(len(layer.steps))), off, few)


def _wandered(
    layer: Reference, dtype: str, exact: Collection[int], off: Mapping[int, np.ndarray], few: bool
) -> Drift:
    runs = runs_of(layer.values[-1])[0] if few else None
    inner, stored = (replace(one, partial=few) for one in (precision_of(dtype), stored_in(dtype)))
    bounds = Bounds(layer, stored)
    slack = bounds.wandered(runs, exact, off)
    if off or precision_of(dtype).unit <= precision_of("float32").unit:
        return Drift(slack)
    more = bounds.by(inner).wandered(runs, exact)
    sizes = [(_size(one), _size(other)) for one, other in zip(more, slack, strict=True)]
    return Drift(slack, max((most / size for most, size in sizes if size), default=1.0))


def _values(capture: Capture) -> list[tuple[np.ndarray, ...]] | None:
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


class _Scale(NamedTuple):
    """One scale of the rounding error of every element, in two bytes each: largest times
    fractions."""

    largest: float
    fractions: np.ndarray


def _scales(
    capture: Capture, values: list[tuple[np.ndarray, ...]] | None
) -> tuple[list[_Scale | None], float]:
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
            # a factor of 1 rounds nothing: what storing does to other numbers is the measure then
            sizes = [
                (_size(one) / SIGMAS, max(_size(slack), precision.stored * _size(output)) / sigmas)
                for one, slack, output in zip(wider, allowed, capture.outputs, strict=True)
                if output.dtype.kind == "f"
            ]
            times = max((most / size for most, size in sizes if size), default=1.0)
    found: list[_Scale | None] = []
    for output, slack in zip(capture.outputs, allowed, strict=True):
        # What is allowed because small numbers may vanish is no rounding: the 0 of a mask stays 0.
        finite = np.where(np.isfinite(slack) & (slack > VANISHING), slack, 0.0) / sigmas
        largest = float(finite.max(initial=0.0))
        fits = output.dtype.kind == "f" and finite.shape in ((), output.shape)
        found.append(
            _Scale(largest, (finite / largest).astype(np.float16)) if largest and fits else None
        )
    return found, times


def _size(slack: np.ndarray) -> float:
    """The root mean square of what is finite."""
    finite = slack[np.isfinite(slack)]
    if finite.size:
        return float(np.sqrt(np.square(finite, dtype=np.float64).mean()))
    return 0.0


def _moved(output: np.ndarray, scale: _Scale | None, rng: "np.random.Generator") -> np.ndarray:
    if scale is None:
        return output
    noise = rng.standard_normal(output.shape, dtype=np.float32) * scale.fractions
    moved: np.ndarray = output + scale.largest * noise.astype(np.float64)
    return moved.astype(output.dtype)
