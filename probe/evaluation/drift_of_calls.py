"""The drift of single calls, from less than noisy passes of the model take: from a few passes that
round otherwise, or from the calls before it followed in NumPy."""

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from probe.composition.compose import composed
from probe.composition.segment import results_of
from probe.errors import CostWarning
from probe.evaluation.bounds import Bounds
from probe.evaluation.monte_carlo import pooled, runs_of, squared_distance
from probe.evaluation.propagated_error import (
    RUNS,
    Drift,
    Road,
    drifts,
    numpy_values,
    root_mean_square,
)
from probe.evaluation.reference import Reference, bounded, inputs_of, recomputed
from probe.model import CallOutput, Capture, Model, Rounding, StopForward, parameters_of
from probe.numerics.precision import SIGMAS, precision_of, stored_in

__all__ = ["drift_by_rounding", "drift_of"]

_MOST = 1 << 27
"""More elements than that are not kept at once."""


def drift_by_rounding(
    model: Model, arrays: Sequence[np.ndarray], calls: Sequence[Capture], seed: int = 0
) -> Mapping[tuple[str, int], Drift] | None:
    """The drift of a large model's calls from a few passes of its own that round otherwise; None
    where it has none. It costs no more than these, and leaves out what others may round that it
    does not."""
    if not isinstance(model, Rounding) or model.rounding_otherwise(seed) is None:
        return None
    runs = min(RUNS, runs_of(sum((call.outputs for call in calls), ()))[0])
    more = "one more forward pass" if runs == 1 else f"{runs} more forward passes"
    warnings.warn(
        f"your values came through earlier layers: allowing for their rounding takes {more} of "
        f"{parameters_of(model):,} parameters; given= (--expect-input) avoids that",
        CostWarning,
        stacklevel=3,
    )
    base = {call.key: _outputs(call) for call in calls}
    squares = {key: [np.zeros(output.shape) for output in outputs] for key, outputs in base.items()}
    reached: Counter[tuple[str, int]] = Counter()

    def moved(capture: Capture) -> None:
        key = capture.key
        if key in base:
            reached[key] += 1
            for sums, now, before in zip(squares[key], _outputs(capture), base[key], strict=True):
                sums += squared_distance(now, before)
            if all(reached[other] == reached[key] for other in base):
                raise StopForward

    for run in range(runs):
        rounding = model.rounding_otherwise(seed + run)
        assert rounding is not None
        with rounding, suppress(StopForward):
            model.run(arrays, {call.layer for call in calls}, moved)
    by_call = {}
    for key, count in reached.items():
        if count == runs:
            pairs = zip(squares[key], base[key], strict=True)
            slack = tuple(pooled(sums / runs, output, together=True) for sums, output in pairs)
            by_call[key] = Drift(slack)
    return by_call


def _outputs(capture: Capture) -> tuple[np.ndarray, ...]:
    """What NumPy gives for the inputs of a call or a container, or else the framework."""
    if capture.parts and not capture.description:
        capture = composed(capture)
    values = numpy_values(capture)
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
    own = {part.capture.key for part in call.parts}
    own = own or {call.key}
    road = composed(
        replace(
            whole,
            outputs=call.outputs,
            results=results_of(call),
            fixed_results=call.fixed_results,
            unseen=None,
        )
    )
    within = {place for place, part in enumerate(road.parts) if part.capture.key in own}
    described = road.description
    unseen = described is not None and any(
        taken.why and taken.call not in within for taken in described.taken
    )
    if described is not None and not unseen and len(within) == len(road.parts):
        return None
    if (
        described is None
        or unseen
        or sum(output.size for part in road.parts for output in part.capture.outputs) > _MOST
    ):
        if plain:
            key = call.key
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
    call = container
    if call.description is None:
        call = composed(container)
    if call.description is None:
        return None
    makers = {k: maker for k, maker in enumerate(call.made_by) if isinstance(maker, CallOutput)}
    calls = {(maker.layer, maker.call) for maker in makers.values()}
    before = drifts(model, arrays, calls, seed=seed, by_framework=True, few=few)
    unit, off = precision_of(call.dtype).unit, dict[int, np.ndarray]()
    for k, maker in makers.items():
        x = call.inputs[k]
        if x.dtype.kind == "f":
            drift = before.get((maker.layer, maker.call))
            slack = np.zeros(x.shape) if drift is None else drift.slack[maker.output]
            off[k] = slack / SIGMAS + unit * np.where(np.isfinite(x), np.abs(x), 0.0)
    with bounded(call):
        layer = recomputed(call.description, inputs_of(call))
    return _wandered(layer, call.dtype, set(range(len(layer.steps))), off, few)


def _wandered(
    layer: Reference, dtype: str, exact: Collection[int], off: Mapping[int, np.ndarray], few: bool
) -> Drift:
    runs = runs_of(layer.values[-1])[0] if few else None
    inner, stored = (
        replace(precision, partial=few) for precision in (precision_of(dtype), stored_in(dtype))
    )
    bounds = Bounds(layer, stored)
    slack = bounds.wandered(runs, exact, off)
    if off or precision_of(dtype).unit <= precision_of("float32").unit:
        return Drift(slack)
    more = bounds.by(inner).wandered(runs, exact)
    pairs = zip(map(root_mean_square, more), map(root_mean_square, slack), strict=True)
    ratios = [wider / size for wider, size in pairs if size]
    return Drift(slack, max(ratios, default=1.0))
