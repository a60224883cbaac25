"""Mistakes of number formats: narrower floats, fixed point, rounding modes, saturation."""

from collections.abc import Iterator

import numpy as np

from probe import ops
from probe.hypotheses.precision.low_precision import (
    SWITCHES,
    WAYS,
    StoredAs,
    narrow_weights,
    narrowed,
    summing,
)
from probe.hypotheses.precision.rounding_modes import MODES, FixedPointGrid
from probe.hypotheses.registry import hypothesis
from probe.ops.quantize.qkeras_bits import QuantizedBits, QuantizedRelu
from probe.ops.weight import Weight
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


@hypothesis("boundary-flip")
def boundary_flip(case: Case) -> Iterator[Edit]:
    """A quantiser chose a neighbouring level because its input differs by rounding error.

    Few elements differ, each by one level, where the quantiser's input is at a threshold; this
    includes signs, powers of two and rounded curves. It is not an arithmetic mistake: compare the
    preceding layers.
    """
    for position, op in case.having(ops.Mixing, ops.FakeQuantize):
        if not case.comparable or case.known is not None or position != case.last:
            continue
        x = case.input_of(position)
        size = np.asarray(op.step(x) if isinstance(op, ops.Mixing) else op.size, np.float64)
        nearest = np.where(size > 0, size, np.abs(case.values[position][0]).max(initial=0.0))
        near = 2.0**-16 * np.maximum(np.abs(x), nearest)
        predicted = case.healthy
        for sign in (-1, 1):
            shifted = case.inserted(position, ops.AddConstant(Weight("moved", None, sign * near)))
            predicted = _closer(case, predicted, case.became(case.edit("", shifted)).healthy, size)
        flipped = int((predicted != case.healthy).sum())
        if 0 < flipped <= max(3, case.observed.size // 20):
            if size.size == 1 and size.any():
                text = f"one step of {float(size.ravel()[0]):g}"
            else:
                text = "one level"
            yield case.edit(
                f"{flipped} of {predicted.size} elements are off by {text}: their inputs are "
                "within 2^-16 of a threshold",
                case.appended(ops.AddConstant(Weight("flips", None, predicted - case.healthy))),
                do="compare the preceding layer, whose rounding decides the level here",
            )


def _closer(case: Case, predicted: np.ndarray, moved: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The moved outputs where they lie closer to what is observed and a level away; whole steps
    where levels are equally far apart."""
    if size.all() and (
        size.size == 1 or np.broadcast_shapes(size.shape, moved.shape) == moved.shape
    ):
        with np.errstate(all="ignore"):
            moved = case.healthy + size * np.rint((moved - case.healthy) / size)
    with np.errstate(all="ignore"):
        apart = np.abs(moved - case.healthy) > 2.0**-8 * np.maximum(
            np.abs(moved), np.abs(case.healthy)
        )
        return np.where(
            apart & (np.abs(moved - case.observed) < np.abs(predicted - case.observed)),
            moved,
            predicted,
        )


@hypothesis("reduced-precision")
def reduced_precision(case: Case) -> Iterator[Edit]:
    """Inputs, weights or outputs were rounded to TF32, bfloat16 or float16.

    GPUs may use TF32 and CPUs bfloat16 for float32 products; exporters may store weights in 16
    bits. The relative error is about 2^-11 (TF32, float16) or 2^-8 (bfloat16) and grows like the
    square root of the number of terms.
    """
    floats = tuple(x.dtype.kind == "f" for x in case.inputs)
    sums = bool(summing(case))
    for name, ways in WAYS.items():
        do = f"compute in float32: {name} was used" + SWITCHES.get(name, "")
        for way in ways:
            text = "" if way == ways[0] else f" ({way})"
            narrow = tuple(
                narrowed(x, name, way) if is_float else x
                for x, is_float in zip(case.inputs, floats, strict=True)
            )
            if sums:
                weights, whole = narrow_weights(case, name, way)
                yield case.edit(
                    f"inputs and weights are rounded to {name}{text}", weights, narrow, do=do
                )
                yield case.edit(f"the weights are rounded to {name}{text}", weights, do=do)
                yield case.edit(f"weights and bias are rounded to {name}{text}", whole, do=do)
                yield case.edit(
                    f"inputs, weights and bias are rounded to {name}{text}", whole, narrow, do=do
                )
                if name != "TF32" and way == "ties to even":
                    stored = case.became_steps(whole).appended(StoredAs(name))
                    yield case.edit(
                        f"inputs, weights, bias and output are rounded to {name}",
                        stored,
                        narrow,
                        do=do,
                    )
                    yield case.edit(
                        f"weights and output are rounded to {name}",
                        case.became_steps(weights).appended(StoredAs(name)),
                        do=do,
                    )
            if any(floats):
                yield case.edit(f"the inputs are rounded to {name}{text}", inputs=narrow, do=do)
        if name != "TF32":
            yield case.edit(
                f"the output is rounded to {name}", case.appended(StoredAs(name)), do=do
            )


@hypothesis("rounding-mode")
def rounding_mode(case: Case) -> Iterator[Edit]:
    """A quantiser rounds ties, or all values, in another way.

    NumPy, TensorFlow and PyTorch round halves to even; C's ``round`` rounds them away from zero and
    ``floor(x + 0.5)`` up; casts truncate toward zero; ``ap_fixed`` truncates by default; integer
    kernels may round twice, before and after a shift. All differences are one level.
    """
    for position, op in case.having(QuantizedBits, QuantizedRelu):
        size = _size(case, position, op)
        if size is None:
            continue
        step, low, high = size
        for mode in MODES:
            fixed = FixedPointGrid(step, mode, low, high)
            yield case.edit(
                f"the quantised activation rounds {mode}",
                case.with_op(position, fixed),
                do="round halves to even",
            )
    for name, weight in case.weights.items():
        if weight.stored is None:
            continue
        for step, low, high in _grids(weight):
            for mode in MODES:
                changed = FixedPointGrid(step, mode, low, high).f(weight.stored.astype(np.float64))
                yield case.edit(
                    f"{name} is rounded {mode} to multiples of {step:g}",
                    case.with_weights({name: changed}),
                    do="round halves to even",
                )


def _size(
    case: Case, position: int, op: QuantizedBits | QuantizedRelu
) -> tuple[float, float, float] | None:
    """(step, low, high) of a quantised activation that is a plain one."""
    if np.ndim(op.integer):
        return None
    if isinstance(op, QuantizedRelu):
        size = float(2.0 ** (op.integer - op.bits))
        if op.negative_slope or op.sigmoid is not None:
            return None
        return (size, 0.0, float(2.0**op.integer) - size)
    step = np.asarray(op.step(case.input_of(position)))
    if step.ndim or op.levels < 3:
        return None
    low, high = op.limits()
    return float(step), float(low * float(step)), float(high * float(step))


def _grids(weight: Weight) -> Iterator[tuple[float, float, float]]:
    """(step, low, high) of effective values that lie on a grid where the stored ones do not; first
    with the ends that they have."""
    stored, effective = weight.stored, weight.effective
    if (
        stored is None
        or stored.shape != effective.shape
        or np.array_equal(stored, effective)
        or effective.size < 2
    ):
        return
    levels = np.unique(effective.astype(np.float64))
    if levels.size > 1 << 12 or levels.size < 2:
        return
    step = float(np.diff(levels).min())
    if step and np.allclose(levels / step, np.rint(levels / step), atol=1e-3):
        for low in (float(levels[0]), -np.inf):
            for high in (float(levels[-1]), np.inf):
                yield step, low, high
