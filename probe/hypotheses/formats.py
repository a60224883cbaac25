"""Mistakes of number formats: narrower floats, fixed point, rounding modes, saturation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from probe import ops
from probe.hypotheses.base import Case, Edit, Steps, hypothesis
from probe.layer import Weight
from probe.ops.base import Elementwise, Sum
from probe.ops.quantize import QuantizedBits, QuantizedRelu

__all__: list[str] = []

_BITS = {"TF32": 13, "bfloat16": 16}
"""How many bits of a float32 are dropped."""
_WAYS = {"TF32": ("ties away", "ties to even", "cut off"), "bfloat16": ("ties to even", "cut off"), "float16": ("ties to even",)}
"""NVIDIA's conversion to TF32 rounds ties away from zero (PTX, cvt.rna.tf32.f32); cheap conversions cut the bits off."""


def _narrowed(x: np.ndarray, name: str, way: str = "ties to even") -> np.ndarray:
    """x as a narrower format holds it, in float64."""
    with np.errstate(all="ignore"):
        if name == "float16":
            return np.asarray(x, np.float16).astype(np.float64)
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        drop = np.uint32(_BITS[name])
        half = np.uint32(1 << (_BITS[name] - 1))
        if way == "ties away":
            bits = bits + half
        elif way == "ties to even":
            bits = bits + ((bits >> drop) & np.uint32(1)) + (half - np.uint32(1))
        kept = bits & np.uint32(0xFFFFFFFF ^ ((1 << _BITS[name]) - 1))
        return kept.view(np.float32).astype(np.float64).reshape(np.shape(x))


@dataclass(frozen=True, eq=False)
class _Stored(Elementwise):
    """Each value as a narrower format holds it."""

    roundings = 0
    format: str

    def f(self, x):
        return _narrowed(x, self.format)


def _summing(case: Case) -> list[tuple[int, Sum]]:
    return [(position, op) for position, op in case.having(Sum) if getattr(op, "weight", None) is not None]


def _narrow_weights(case: Case, name: str, way: str, bias: bool) -> Steps:
    arrays = {}
    for _, op in _summing(case):
        for weight in (op.weight, op.bias if bias else None):  # type: ignore[attr-defined]
            if weight is not None:
                arrays[weight.name] = _narrowed(weight.effective, name, way)
    return case.with_weights(arrays)


@hypothesis("boundary-flip")
def boundary_flip(case: Case) -> Iterator[Edit]:
    """A quantiser that flips a level because its input moved within rounding.

    Few elements, each off by one step, where the quantiser's input lies at a threshold. Not a mistake of arithmetic: compare the
    layers before it.
    """
    for position, op in case.having(QuantizedBits, QuantizedRelu):
        if not case.comparable or case.known is not None or case.observed.shape != case.values[position][0].shape:
            continue
        x = case.input_of(position)
        size = _size(case, position, op)
        if size is None or position != len(case.steps) - 1:
            continue
        step = float(size[0])
        near = 2.0**-16 * np.maximum(np.abs(x), step)
        moved = [op.run(x + sign * near)[0] for sign in (-1, 1)]
        predicted = case.healthy
        for one in moved:
            predicted = np.where(np.abs(one - case.observed) < np.abs(predicted - case.observed), one, predicted)
        flipped = int((predicted != case.healthy).sum())
        if 0 < flipped <= max(3, case.observed.size // 20):
            shift = Weight("flips", None, predicted - case.healthy)
            yield case.edit(
                f"{flipped} of {predicted.size} elements flip by one step of {step:g}: their inputs lie within 2^-16 of a threshold",
                case.appended(ops.AddConstant(shift)),
                do="compare the layer before: its rounding decides here",
            )


@hypothesis("reduced-precision")
def reduced_precision(case: Case) -> Iterator[Edit]:
    """Inputs, weights or outputs rounded to TF32, bfloat16 or float16.

    GPUs may use TF32 for float32 products, exporters store weights in 16 bits. The relative error is near 2^-11 (TF32, float16) or
    2^-8 (bfloat16) and grows like the square root of the number of terms.
    """
    floats = tuple(x.dtype.kind == "f" for x in case.inputs)
    summing = bool(_summing(case))
    for name, ways in _WAYS.items():
        do = f"compute in float32: {name} was used" + ("; torch.backends.cuda.matmul.allow_tf32 = False" if name == "TF32" else "")
        for way in ways:
            told = "" if way == ways[0] else f" ({way})"
            narrow = tuple(_narrowed(x, name, way) if is_float else x for x, is_float in zip(case.inputs, floats, strict=True))
            if summing:
                weights, whole = (_narrow_weights(case, name, way, bias) for bias in (False, True))
                yield case.edit(f"{name} inputs and weights{told}", weights, narrow, do=do)
                yield case.edit(f"{name} weights{told}", weights, do=do)
                yield case.edit(f"{name} weights{told}, the bias too", whole, do=do)
                yield case.edit(f"{name} inputs and weights{told}, the bias too", whole, narrow, do=do)
                if name != "TF32" and way == "ties to even":
                    stored = case.became_steps(whole).appended(_Stored(name))
                    yield case.edit(f"{name} inputs, weights, bias and output", stored, narrow, do=do)
                    yield case.edit(f"{name} weights and output", case.became_steps(weights).appended(_Stored(name)), do=do)
            if any(floats):
                yield case.edit(f"{name} inputs{told}", inputs=narrow, do=do)
        if name != "TF32":
            yield case.edit(f"the output stored in {name}", case.appended(_Stored(name)), do=do)


_MODES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half to even": np.rint,
    "half away from zero": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
    "half up": lambda x: np.floor(x + 0.5),
    "down (floor)": np.floor,
    "towards zero": np.trunc,
}


@dataclass(frozen=True, eq=False)
class _FixedPoint(Elementwise):
    """Multiples of ``step`` between ``low`` and ``high``, rounded by ``mode``; beyond them clipped or wrapped."""

    roundings = 0
    step: float | np.ndarray
    mode: str
    low: float = -np.inf
    high: float = np.inf
    wrap: bool = False

    def f(self, x):
        with np.errstate(all="ignore"):
            codes = _MODES[self.mode](x / self.step) if np.all(self.step) else x
            value = codes * self.step if np.all(self.step) else codes
            if self.wrap:
                span = self.high - self.low
                return self.low + np.mod(value - self.low, span)
            return np.clip(value, self.low, self.high)


@hypothesis("rounding-mode")
def rounding_mode(case: Case) -> Iterator[Edit]:
    """A quantiser that rounds ties, or everything, in another way.

    NumPy, TensorFlow and PyTorch round halves to even; C's ``round`` away from zero, ``floor(x + 0.5)`` up, casts cut off,
    ``ap_fixed`` truncates by default. All differences are one step.
    """
    for position, op in case.having(QuantizedBits, QuantizedRelu):
        size = _size(case, position, op)
        if size is None:
            continue
        step, low, high = size
        for mode in _MODES:
            fixed = _FixedPoint(step, mode, low, high)
            yield case.edit(f"the quantised activation is rounded {mode}", case.with_op(position, fixed), do="round halves to even")
    for name, weight in case.weights.items():
        if weight.stored is None:
            continue
        for step, low, high in _grids(weight):
            for mode in _MODES:
                changed = _FixedPoint(step, mode, low, high).f(weight.stored.astype(np.float64))
                yield case.edit(f"{name} is rounded {mode} to multiples of {step:g}", case.with_weights({name: changed}), do="half to even")


def _size(case: Case, position: int, op: QuantizedBits | QuantizedRelu) -> tuple[float, float, float] | None:
    """(step, low, high) of a quantised activation that is a plain one."""
    if isinstance(op, QuantizedRelu):
        size = 2.0 ** (op.integer - op.bits)
        return None if op.negative_slope or op.sigmoid is not None else (size, 0.0, 2.0**op.integer - size)
    step = np.asarray(op.step(case.input_of(position)))
    if step.ndim or op.levels < 3:
        return None
    low, high = op.limits()
    return float(step), low * float(step), high * float(step)


def _grids(weight: Weight) -> Iterator[tuple[float, float, float]]:
    """(step, low, high) of effective values that lie on a grid where the stored ones do not; first with the ends that they have."""
    stored, effective = weight.stored, weight.effective
    if stored is None or stored.shape != effective.shape or np.array_equal(stored, effective) or effective.size < 2:
        return
    levels = np.unique(effective.astype(np.float64))
    if levels.size > 1 << 12 or levels.size < 2:
        return
    step = float(np.diff(levels).min())
    if step and np.allclose(levels / step, np.rint(levels / step), atol=1e-3):
        for low in (float(levels[0]), -np.inf):
            for high in (float(levels[-1]), np.inf):
                yield step, low, high


def _fraction(values: np.ndarray) -> int | None:
    """The number of fraction bits of the coarsest binary grid that holds all values; None beyond 2^-24."""
    finite = values[np.isfinite(values)]
    if not finite.size or not finite.any():
        return None
    for bits in range(-8, 25):
        scaled = finite * 2.0**bits
        if (scaled == np.rint(scaled)).all():
            return bits
    return None


@hypothesis("fixed-point")
def fixed_point(case: Case) -> Iterator[Edit]:
    """Fixed-point arithmetic: values, weights or inputs on a grid of 2^-f.

    The fraction width of the output is read off the values; rounding mode, weights and inputs on the same or a finer grid are tried.
    """
    fraction = _fraction(case.seen)
    if not case.comparable or fraction is None or case.seen.size < 4:
        return
    usual = _fraction(case.pick(case.healthy))
    if usual is not None and usual <= fraction:
        return
    step = 2.0**-fraction
    ends = _ends(case, step)
    for last in _ROUNDED:
        for end in ends:
            claim = f"the output has {fraction} fraction bits, rounded {last}{end.told}"
            yield case.edit(claim, case.appended(end.op(step, last)), fitted=1, do="use a wider type", also=end.also)
    summing = _summing(case)
    floats = [x.dtype.kind == "f" for x in case.inputs]
    for finer in (0, 1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4) if summing else ():
        size = 2.0 ** -(fraction + finer)
        for mode in _ROUNDED:
            quantise = _FixedPoint(size, mode).f
            held = [weight for _, op in summing for weight in (op.weight, op.bias) if weight is not None]  # type: ignore[attr-defined]
            weights = case.with_weights({weight.name: quantise(weight.effective.astype(np.float64)) for weight in held})
            inputs = tuple(quantise(x.astype(np.float64)) if is_float else x for x, is_float in zip(case.inputs, floats, strict=True))
            for given, told in ((inputs, "inputs and weights"), (case.inputs, "weights")):
                sides = f"{told} have {fraction + finer} fraction bits (rounded {mode})"
                for last in _ROUNDED:
                    for end in ends:
                        claim = f"{sides}, the output {fraction} (rounded {last}){end.told}"
                        steps = case.became_steps(weights).appended(end.op(step, last))
                        yield case.edit(claim, steps, given, fitted=2, do="use wider types", also=end.also)


_ROUNDED = ("down (floor)", "half up", "half to even", "towards zero")


@dataclass(frozen=True)
class _End:
    """What happens to values beyond the type."""

    low: float = -np.inf
    high: float = np.inf
    wrap: bool = False

    @property
    def also(self) -> tuple[str, ...]:
        return () if not np.isfinite(self.low) else ("wrap-around",) if self.wrap else ("saturation",)

    @property
    def told(self) -> str:
        return "" if not np.isfinite(self.low) else f", {'wrapped' if self.wrap else 'clipped'} to {self.low:g} .. {self.high:g}"

    def op(self, step: float, mode: str) -> _FixedPoint:
        return _FixedPoint(step, mode, self.low, self.high + step if self.wrap else self.high, self.wrap)


def _extremes(values: np.ndarray) -> tuple[float, float]:
    """(the largest, the smallest) of the finite values, 0 where there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.max()), float(finite.min())) if finite.size else (0.0, 0.0)


def _ends(case: Case, step: float) -> list[_End]:
    """What the type may do beyond its ends, where the healthy values go beyond those seen."""
    top, bottom = _extremes(case.seen)
    healthy = case.pick(case.healthy)
    for integer in range(-4, 24):
        high, low = 2.0**integer - step, -(2.0**integer)
        if low <= bottom and top <= high:
            beyond = ((healthy > high + step) | (healthy < low - step)).any()
            return [_End(low, high), _End(low, high, wrap=True)] if beyond else [_End()]
    return [_End()]


@hypothesis("saturation")
def saturation(case: Case) -> Iterator[Edit]:
    """A type too narrow that clips: large values stay at its largest one. The width is read off the values."""
    if not case.comparable or case.seen.size < 2:
        return
    healthy, seen = case.pick(case.healthy), case.seen
    with np.errstate(all="ignore"):
        top, bottom = _extremes(seen)
        margin = 2.0**-16 * max(abs(top), abs(bottom))
        # A bound shows by elements that lie beyond it and were brought to it; at 0 it is a ReLU.
        over = int(((healthy > top + margin) & (seen == top)).sum()) > 0 and top != 0
        under = int(((healthy < bottom - margin) & (seen == bottom)).sum()) > 0
    choices = [(low, high) for low in ((bottom, -np.inf) if under else (-np.inf,)) for high in ((top, np.inf) if over else (np.inf,))]
    choices = [(low, high) for low, high in choices if low != 0 or np.isfinite(high)]
    for low, high in choices:
        if np.isfinite(low) or np.isfinite(high):
            count = int((healthy > high).sum() + (healthy < low).sum())
            edges = " and ".join(f"{end:.9g}" for end in (low, high) if np.isfinite(end))
            yield case.edit(
                f"clipped at {edges}{_width(low, high)}: {count} of {seen.size} values",
                case.appended(_FixedPoint(0.0, "down (floor)", low, high)),
                fitted=int(np.isfinite(low)) + int(np.isfinite(high)),
                do="use a type with more integer bits",
            )


def _width(low: float, high: float) -> str:
    """A type that has these ends, in words."""
    end = high if np.isfinite(high) else -low
    integer = int(np.ceil(np.log2(end))) if end > 0 else 0
    fraction = None if not np.isfinite(high) or high <= 0 else _fraction(np.array([2.0**integer - high]))
    if high == 2.0**integer:
        fraction = None
    more = "" if fraction is None else f" and {fraction} fraction bits"
    return f" ({integer} integer bits{more})"


@hypothesis("wrap-around")
def wrap_around(case: Case) -> Iterator[Edit]:
    """A type too narrow that wraps: large values come back at the other end, off by a power of two."""
    if not case.comparable:
        return
    with np.errstate(all="ignore"):
        largest = float(np.abs(_extremes(case.pick(case.healthy))).max())
    for integer in range(-4, 32):
        size = 2.0**integer
        if size > 2 * largest:
            break
        for low, told in ((-size, "signed"), (0.0, "unsigned")):
            high = low + (2 * size if low else size)
            yield case.edit(
                f"wrapped into {low:g} .. {high:g} (a {told} type with {integer} integer bits)",
                case.appended(_FixedPoint(0.0, "down (floor)", low, high, wrap=True)),
                do="use a type with more integer bits",
            )
