"""How far rounding may carry the outputs of many steps, by Monte Carlo arithmetic: they are run a
few times with noise of the size of its own rounding behind each.

Slack that is pushed from step to step grows as if every error had the sign that does most harm:
60 times what happens behind one block of a transformer, 10^12 times behind twelve. Errors that are
drawn cancel as those of rounding do (D. S. Parker, Monte Carlo Arithmetic, 1997).
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from probe.evaluation.added_biases import with_bias_first
from probe.evaluation.allowance import Values, carry, rounded
from probe.numerics.precision import SIGMAS, VANISHING, Precision, of_storing
from probe.ops import Add, AddConstant
from probe.ops.base import Op, Rearrangement, Sum
from probe.ops.shape.rearrange import Outputs
from probe.ops.step import Step

__all__ = ["Noise", "noise_of", "pooled", "runs_of", "squared_distance", "usual_runs", "wandering"]

_RUNS, _MORE = 8, 32
_FEW, _MANY, _PLENTY = 1 << 5, 1 << 9, 1 << 12
"""Outputs of fewer elements than the first take more runs. From the second on two are enough to
begin with, and from the third one is: all elements tell the scale together."""
_WIDTH = np.float32(2 * np.sqrt(3))
"""The width of an even distribution of variance 1."""
_STORING = float(np.sqrt(3))
"""What storing may do at most, in units of its scale."""

Scales = tuple[np.ndarray | None, ...]
"""The scale of the rounding error of each of several arrays; None where it is exact."""


class Noise(NamedTuple):
    """How far off the inputs of a layer are, and what each of its steps may round."""

    inputs: Scales
    steps: Sequence[Scales]
    kind: np.dtype
    """What the noisy runs are computed in: rounding in float32 is nothing beside the noise where
    that is rounding in float32."""
    stored: Sequence[np.ndarray]
    """What storing each output at the end may do at most, which the steps leave out."""


def noise_of(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    precisions: Sequence[Precision],
    off: Mapping[int, np.ndarray],
    exact: Collection[int] = (),
) -> Noise:
    """The noise of an evaluation of which ``precisions`` has the arithmetic of every step.

    ``off`` has the scales of inputs that are not exact themselves; steps at the places ``exact``
    round nothing.
    """
    least = min((precision.unit for precision in precisions if precision.unit), default=1.0)
    kind = np.dtype(np.float32 if least >= 2.0**-24 else np.float64)
    # a level behind what rounds nothing does not flip
    grids = any(step.op.on_power_of_two_grid or step.op.jumps for step in steps)
    ends = _ends(steps, len(values[-1]))
    stored = [np.zeros(())] * len(ends)
    for output, (end, y) in enumerate(zip(ends, values[-1], strict=True)):
        if end is not None and end not in exact and precisions[end].stored and y.dtype.kind == "f":
            stored[output] = of_storing(y, precisions[end])
    scales: list[Scales] = []
    with np.errstate(all="ignore"):
        arrived = tuple(off.get(k, _of_input(x, precisions)) for k, x in enumerate(inputs))
        for position, step in enumerate(steps):
            outputs = values[position]
            if position in exact:
                scales.append((None,) * len(outputs))
                continue
            operands = [ref.of(inputs, values) for ref in step.sources(position)]
            last = position in ends
            errors = _of_step(step.op, operands, outputs, precisions[position], grids, last)
            more = None
            if isinstance(step.op, Add | AddConstant):
                more = with_bias_first(steps, position, inputs, values, precisions[position])
            if more is not None and errors[0] is not None:
                errors = (np.hypot(errors[0], more / SIGMAS), *errors[1:])
            scales.append(tuple(scale if scale is None else scale.astype(kind) for scale in errors))
    return Noise(arrived, scales, kind, stored)


def _ends(steps: Sequence[Step], outputs: int) -> list[int | None]:
    """The step that computes each output, where what it gives is used by nothing else: behind it
    elements are moved alone."""
    uses = Counter(
        ref.step for position, step in enumerate(steps) for ref in step.sources(position)
    )
    found: list[int | None] = []
    for output in range(outputs):
        at: int | None = len(steps) - 1
        while at is not None and isinstance(steps[at].op, Rearrangement):
            sources = steps[at].sources(at)
            if isinstance(steps[at].op, Outputs):
                ref = sources[output]
            else:
                ref = sources[0]
            several = len(sources) > 1 and not isinstance(steps[at].op, Outputs)
            at = None if several or ref.step < 0 or uses[ref.step] > 1 else ref.step
        found.append(at if at is not None and steps[at].op.stores else None)
    return found


def wandering(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    values: Values,
    noise: Noise,
    runs: int,
    seed: int = 0,
) -> list[np.ndarray]:
    """The mean square of how far each output of the last step wanders from ``values``."""
    floats = _floats_as(noise.kind, inputs)
    total = [np.zeros(np.shape(value)) for value in values[-1]]
    rng = np.random.Generator(np.random.SFC64(seed))
    with np.errstate(all="ignore"):
        for _ in range(runs):
            begun = [_moved(x, scale, rng) for x, scale in zip(floats, noise.inputs, strict=True)]
            ended = _noisy_run(steps, begun, noise, rng, (floats, values))
            for sums, now, before in zip(total, ended, values[-1], strict=True):
                sums += squared_distance(now, before)
    return [sums / runs for sums in total]


def _floats_as(kind: np.dtype, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [x.astype(kind) if x.dtype.kind == "f" else x for x in arrays]


def runs_of(outputs: Sequence[np.ndarray]) -> tuple[int, ...]:
    """How many runs tell the scale for outputs of these sizes: the first try, and those after it
    that tell it better."""
    least = min((np.size(output) for output in outputs), default=0)
    if least >= _MANY:
        return 1 if least >= _PLENTY else 2, _RUNS, _MORE
    if least >= _FEW:
        return (_RUNS, _MORE)
    return (_MORE,)


def usual_runs(outputs: Sequence[np.ndarray]) -> int:
    """How many runs tell the scale of each element by itself, where there is one look alone."""
    first, *more = runs_of(outputs)
    if more:
        return more[0]
    return first


def _of_input(x: np.ndarray, precisions: Sequence[Precision]) -> np.ndarray | None:
    """The scale of what a party does to an input that it rounds first."""
    off = rounded(x, precisions[0]) if precisions else None
    if off is None:
        return None
    return off / _STORING


def _of_step(
    op: Op,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    precision: Precision,
    grids: bool,
    last: bool,
) -> Scales:
    """The scales of what a step rounds on exact inputs: six of that of a sum are what is allowed,
    of what is stored all that storing may do. What comes ``last`` is not stored here."""
    if not precision.unit:
        return (None,) * len(outputs)
    if precision.partial:
        return tuple(_part_of(op, inputs, y, precision, grids, last) for y in outputs)
    inputs = _floats_as(np.dtype(np.float64), inputs)
    inside = carry(op, inputs, [None] * len(inputs), outputs, replace(precision, stored=0.0), grids)
    scales: list[np.ndarray | None] = []
    for y, slack in zip(outputs, inside, strict=True):
        # in float64: the squares of what is masked away leave the range of float32
        exact = slack is None or y.dtype.kind != "f"
        scale = None if exact or slack is None else slack.astype(np.float64) / SIGMAS
        # What is allowed because small numbers may vanish is no rounding: the 0 of a mask stays 0.
        if scale is not None and not scale.max(initial=0.0) > VANISHING:
            scale = None
        if precision.stored and op.stores and y.dtype.kind == "f" and not last:
            storing = sum(
                (
                    np.square(of_storing(part, precision) / _STORING)
                    for part in (y, *op.intermediates(inputs, y))
                ),
                start=np.zeros(y.shape),
            )
            scale = np.sqrt(storing if scale is None else storing + np.square(scale))
        scales.append(None if scale is None else np.where(scale > VANISHING, scale, 0.0))
    return tuple(scales)


def _part_of(
    op: Op,
    inputs: Sequence[np.ndarray],
    y: np.ndarray,
    precision: Precision,
    grids: bool,
    last: bool,
) -> np.ndarray | None:
    """Most of the scale of what a step rounds, without the squares of its terms: of what is stored
    in half precision that alone, else of a sum what its result tells."""
    if y.dtype.kind != "f":
        return None
    if precision.stored:
        if op.stores and not last:
            return of_storing(y, precision) / _STORING
        return None
    if not isinstance(op, Sum) or (grids and op.is_exact(inputs, precision)):
        return None
    scale: np.ndarray = np.abs(y, dtype=np.float32)
    scale *= np.float32(precision.unit * math.sqrt(op.term_count(inputs, (y,))) / 3)
    return scale


def _noisy_run(
    steps: Sequence[Step],
    inputs: Sequence[np.ndarray],
    noise: Noise,
    rng: "np.random.Generator",
    still: tuple[Sequence[np.ndarray], Values],
) -> tuple[np.ndarray, ...]:
    """The outputs of the last step; an array is forgotten after its last use.

    What jumps is given six times the noise that comes to it, so that an element jumps in some run
    that rounding could make jump; ``still`` are inputs and values without noise.
    """
    last = {
        ref.step: position for position, step in enumerate(steps) for ref in step.sources(position)
    }
    values: dict[int, tuple[np.ndarray, ...]] = {}
    for position, step in enumerate(steps):
        sources = step.sources(position)
        operands = [
            inputs[ref.index] if ref.step < 0 else values[ref.step][ref.index] for ref in sources
        ]
        if step.op.jumps:
            before = [ref.of(*still) for ref in sources]
            operands = [_further(now, value) for now, value in zip(operands, before, strict=True)]
        outputs = step.op.run(*operands)
        values[position] = tuple(
            [
                _moved(y.astype(noise.kind, copy=False) if y.dtype.kind == "f" else y, scale, rng)
                for y, scale in zip(outputs, noise.steps[position], strict=True)
            ]
        )
        for ref in sources:
            if ref.step >= 0 and last[ref.step] == position:
                values.pop(ref.step, None)
    return values[len(steps) - 1]


def _further(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Six times as far from where it was."""
    if now.dtype.kind != "f":
        return now
    moved = before + SIGMAS * (now - before)
    return np.where(np.isfinite(moved), moved, now).astype(now.dtype, copy=False)


def _moved(y: np.ndarray, scale: np.ndarray | None, rng: "np.random.Generator") -> np.ndarray:
    """The array with noise of that scale."""
    if scale is None or y.dtype.kind != "f":
        return y
    noise = np.asarray(rng.random(y.shape, dtype=np.float32), y.dtype)
    noise -= noise.dtype.type(0.5)
    noise *= _WIDTH * scale
    noise += y
    return noise


def squared_distance(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """How far two arrays are apart, squared: inf where one is finite and the other is not."""
    if before.dtype.kind != "f":
        return np.where(now == before, 0.0, np.inf)
    difference = np.subtract(now, before, dtype=np.float64)
    if not np.isfinite(difference.max(initial=0.0) - difference.min(initial=0.0)):
        same = (now == before) | (np.isnan(now) & np.isnan(before))
        difference = np.where(np.isfinite(difference), difference, np.where(same, 0.0, np.inf))
    return np.asarray(np.square(difference))


def pooled(variance: np.ndarray, output: np.ndarray, together: bool = False) -> np.ndarray:
    """Six of the scale at which each element wandered, or ``together`` those of its size.

    A few runs say little about one element, so it is given no less than the mean of those of its
    size (between the same powers of two), a larger one no less than smaller ones, and each no less
    than half of those that wandered at all. Infinite where it left the range.
    """
    if not variance.size:
        return variance
    finite = np.isfinite(variance)
    moved = variance[finite & (variance > 0)]
    if not moved.size:
        return _six_of(variance)
    sizes = np.frexp(np.where(np.isfinite(output), output, 0.0).astype(np.float64))[1]
    sizes = np.where(output == 0, sizes.min(), sizes) - sizes.min()
    if together:
        return _six_of(_pool(variance, sizes, finite))
    wild = finite & _wild(variance, sizes, finite & (variance > 0))
    pool = _pool(variance, sizes, finite & ~wild)
    if wild.any():
        pool = np.where(wild, _pool(variance, sizes, wild), pool)
    return _six_of(np.maximum(variance, pool))


def _pool(variance: np.ndarray, sizes: np.ndarray, group: np.ndarray) -> np.ndarray:
    """What each element is given at least, of those of a group of its size and smaller ones."""
    counts = np.bincount(sizes[group])
    sums = np.bincount(sizes[group], variance[group])
    means = np.maximum.accumulate(
        np.divide(sums, counts, out=np.zeros(len(sums)), where=counts > 0)
    )
    pool = np.append(means, means[-1])[np.minimum(sizes, len(means))]
    moved = variance[group & (variance > 0)]
    return np.asarray(np.maximum(pool, np.median(moved)) if moved.size else pool)


def _wild(variance: np.ndarray, sizes: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """The elements that wander so much more than most, for numbers and for their size, that they
    are of another kind: one ill-conditioned column among others."""
    scale = np.ldexp(1.0, 2 * np.minimum(sizes, 500))
    usual = np.median(variance[moved]), np.median((variance / scale)[moved])
    return np.asarray(variance > _WILD * np.maximum(usual[0], usual[1] * scale))


_WILD = 1e4
"""How many times the usual variance; that of eight runs is a tenth of the true one or less in one
of a thousand elements."""


def _six_of(variance: np.ndarray) -> np.ndarray:
    scale: np.ndarray = np.sqrt(variance)
    return SIGMAS * scale
