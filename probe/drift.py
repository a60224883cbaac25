"""What rounding in the layers before may have done to a layer's input, for values that came through other layers than ours.

``expected`` is often the end of the user's own chain of layers, each with its own honest rounding. So the model is run a few
times more with every layer's output moved at random by what rounding may do to it, and a layer's NumPy output is watched
as its input wanders.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from probe.model import Capture, Model
from probe.recompute import recompute, widened
from probe.rounding import SIGMAS, allowances, precision_of

__all__ = ["Drift", "drifts"]

_RUNS = 4


@dataclass(frozen=True, eq=False)
class Drift:
    """How far each output of one call may lie off because its input may."""

    slack: tuple[np.ndarray, ...]


class _Enough(BaseException):
    """Ends a forward pass after the last call of interest; not an Exception, so that no model's own handler keeps it."""


def drifts(
    model: Model,
    arrays: Sequence[np.ndarray],
    wanted: Collection[tuple[str, int]] | None,
    *,
    names: Collection[str] = (),
    last: tuple[str, int] | None = None,
    seed: int = 0,
) -> Mapping[tuple[str, int], Drift]:
    """The drift of the ``wanted`` calls (or of all calls of the layers ``names``); calls after ``last`` are not run.

    Memory: two arrays per output of a wanted call.
    """

    def asked(capture: Capture) -> bool:
        return capture.description is not None and (capture.layer in names if wanted is None else (capture.layer, capture.call) in wanted)

    base: dict[tuple[str, int], tuple[np.ndarray, ...]] = {}
    total: dict[tuple[str, int], list[np.ndarray]] = {}
    rng = np.random.default_rng([seed, 1])

    def still(capture: Capture) -> None:
        if asked(capture) and capture.description is not None:
            key = (capture.layer, capture.call)
            base[key] = recompute(capture.description.steps, capture.inputs)[-1]
            total[key] = [np.zeros(np.shape(output)) for output in base[key]]
        if (capture.layer, capture.call) == last:
            raise _Enough

    def moved(capture: Capture) -> Sequence[np.ndarray] | None:
        key = (capture.layer, capture.call)
        values = None if capture.description is None else recompute(capture.description.steps, capture.inputs)
        if values is not None and key in base:
            for sums, output, before in zip(total[key], values[-1], base[key], strict=True):
                difference = np.subtract(output, before, dtype=np.float64)
                sums += np.square(np.where(np.isfinite(difference), difference, 0.0))
        if key == last:
            raise _Enough
        return _perturbed(capture, values, rng)

    def passed(on_call: Callable[[Capture], Sequence[np.ndarray] | None]) -> None:
        with suppress(_Enough):
            model.run(arrays, None, on_call)

    passed(still)
    if base:
        for _ in range(_RUNS):
            passed(moved)
    found = {}
    for key, sums in total.items():
        slacks = []
        for squares in sums:
            each = np.sqrt(squares / _RUNS)
            overall = np.sqrt(np.square(each).mean()) if each.size else 0.0
            slacks.append(SIGMAS * np.maximum(each, overall))
        found[key] = Drift(tuple(slacks))
    return found


def _perturbed(capture: Capture, values: list[tuple[np.ndarray, ...]] | None, rng: np.random.Generator) -> list[np.ndarray] | None:
    """The outputs moved by one scale of their rounding error; None where they are exact."""
    precision = precision_of(capture.dtype)
    if not precision.unit:
        return None
    if values is None or capture.description is None:
        scales = [precision.unit * np.abs(output).max(initial=0.0) for output in capture.outputs]
    else:
        given = [widened(x) for x in capture.inputs]
        scales = [slack / SIGMAS for slack in allowances(capture.description.steps, given, values, precision)]
    out = []
    for output, scale in zip(capture.outputs, scales, strict=True):
        if output.dtype.kind != "f" or np.shape(scale) not in ((), output.shape):
            out.append(output)
            continue
        noise = rng.standard_normal(output.shape) * np.where(np.isfinite(scale), scale, 0.0)
        out.append((output + noise).astype(output.dtype))
    return out
