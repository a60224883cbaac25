"""Quantisation to fixed point with bits of its own for every element, as HGQ2 and hls4ml have it.

(Chang Sun et al., "HGQ: High Granularity Quantization for Real-time Neural Networks on FPGAs"; the
names of the modes are those of AMD's ap_fixed.) All that is multiplied or divided by is a power of
two: between two thresholds it is exact in every precision.
"""

from dataclasses import dataclass

import numpy as np

from probe.numerics.precision import Precision
from probe.ops.base import Arrays, Elementwise, Evaluated, Graph, spread
from probe.ops.exactness import held
from probe.ops.quantize.qkeras_float32 import emit_flush, flush

__all__ = ["FixedPoint", "MiniFloat"]


@dataclass(frozen=True, eq=False)
class FixedPoint(Elementwise):
    """round(x * 2**f) / 2**f, brought between -k * 2**i and 2**i - 2**-f: k sign, i integer and f
    fraction bits.

    All three broadcast against x. Zero where an element has no bits. ``overflow``: "WRAP" (two's
    complement), "SAT" or "SAT_SYM" (clipped before rounding), "WRAP_SM" (every other turn runs
    backwards, so that it is folded back at its ends: quantizers/fixed_point/_fixed_point_ops.py
    1.2), "" where nothing is brought anywhere.
    """

    sign: np.ndarray
    integer: np.ndarray
    fraction: np.ndarray
    rounding: str = "RND"
    overflow: str = "WRAP"
    jumps = True

    pointwise = False
    on_power_of_two_grid = True

    def step(self) -> np.ndarray:
        """The distance between two neighbouring levels, for each element or for all."""
        return np.exp2(-np.asarray(self.fraction, np.float64))

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest level."""
        i = np.maximum(np.asarray(self.integer, np.float64), -np.asarray(self.fraction, np.float64))
        high, low = np.exp2(i) - self.step(), -np.asarray(self.sign, np.float64) * np.exp2(i)
        if self.overflow == "WRAP_SM":
            return -np.exp2(i), high  # without a sign too: what runs backwards is below 0
        return (
            -np.asarray(self.sign, np.float64) * high if self.overflow == "SAT_SYM" else low
        ), high

    @property
    def bits(self) -> int:
        """The most bits that an element has."""
        return int(np.max(np.asarray(self.sign, float) + self.integer + self.fraction, initial=0))

    @property
    def _wraps(self) -> bool:
        return self.overflow in ("WRAP", "WRAP_SM")

    @property
    def _none(self) -> np.ndarray:
        return np.asarray(np.asarray(self.sign, float) + self.integer + self.fraction <= 0) & (
            self.overflow != ""
        )

    def _rounded(self, x: np.ndarray) -> np.ndarray:
        half = x.dtype.type(0.5)
        match self.rounding:
            case "RND":
                return np.floor(x + half)
            case "RND_CONV":
                return np.rint(x)
            case "TRN":
                return np.floor(x)
            case "TRN_ZERO":
                return np.trunc(x)
            case "RND_ZERO":
                return -np.floor(-np.abs(x) + half) * np.sign(x)
            case "RND_MIN_INF":
                return -np.floor(-x + half)
            case "RND_INF":
                return np.floor(np.abs(x) + half) * np.sign(x)
        raise ValueError(f"{self.rounding!r} is not a rounding mode")

    def f(self, x: np.ndarray) -> np.ndarray:
        x = flush(x)
        low, high = (limit.astype(x.dtype) for limit in self.limits())
        if self.overflow in ("SAT", "SAT_SYM"):
            x = np.where(x > high, high, np.where(x < low, low, x))
        scale = np.exp2(np.asarray(self.fraction, np.float64)).astype(x.dtype)
        levels = self._rounded(x * scale) / scale
        if self.overflow == "WRAP":
            levels = (
                np.mod(
                    levels - low,
                    (self.step() + self.limits()[1] - self.limits()[0]).astype(x.dtype),
                )
                + low
            )
        if self.overflow == "WRAP_SM":
            step = self.step().astype(x.dtype)
            levels = np.mod(levels - high - step, self._turn().astype(x.dtype)) + (
                low * self.sign
            ).astype(x.dtype)
            for backwards in self._backwards(x):
                levels = np.where(backwards, -levels - step, levels)
        return np.where(self._none, x.dtype.type(0), levels)

    def _turn(self) -> np.ndarray:
        """What "WRAP_SM" wraps around by."""
        return np.asarray(
            (self.step() + self.limits()[1]) * np.exp2(np.asarray(self.sign, np.float64))
        )

    def _backwards(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where "WRAP_SM" turns a level round: in the second half of a turn, and in every other
        turn; nowhere where in both."""
        half, turn = (self.step() / 2).astype(x.dtype), self._turn().astype(x.dtype)
        with np.errstate(all="ignore"):
            second = np.mod((x + half) / (turn / 2), 2) >= 1
            return second, (np.mod(x / turn, 2) >= 1) & (np.abs(x) > half)

    def _added(self, x: np.ndarray) -> np.ndarray:
        """How large what float32 adds up is, where it cannot hold it exactly: half a level before
        rounding, and what wraps around."""
        step, low = self.step(), self.limits()[0]
        plain = self.rounding in ("TRN", "TRN_ZERO", "RND_CONV") and self.overflow != "WRAP_SM"
        sum_ = np.abs(x) + np.where(plain, 0, step)
        wrapped = np.abs(x) - low
        return np.maximum(sum_, np.where(self._wraps & (wrapped > 2.0**23 * step), wrapped, 0))

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        plain = self.rounding in ("TRN", "TRN_ZERO", "RND_CONV") and not self._wraps
        if plain:
            moved = np.zeros(x.shape)
        else:
            moved = np.where(self._halved(x, precision), 0.0, precision.unit * self._added(x))
        if slack is not None:
            moved = moved + slack
        if moved.any():
            wander = spread(self.f, x, y, np.broadcast_to(moved, x.shape))
        else:
            wander = np.zeros(y.shape)
        if self._wraps:
            # What moves by half a turn or more may end anywhere; so may what is rounded to one side
            # of a turn and counted to the other.
            low, high = self.limits()
            anywhere = 2 * moved >= high - low
            if self.overflow == "WRAP_SM":
                turned = zip(self._backwards(x - moved), self._backwards(x + moved), strict=True)
                anywhere = anywhere | np.any([before != after for before, after in turned], axis=0)
            wander = np.where(anywhere, np.maximum(wander, high - low), wander)
        return (np.where(wander > 0, wander + precision.tiny, 0.0),)

    def _halved(self, x: np.ndarray, precision: Precision) -> np.ndarray:
        """Where half a level added before rounding, and what wraps around, are exact."""
        p = np.abs(x) / self.step()
        wraps = (np.abs(x) - self.limits()[0] > 2.0**23 * self.step()) & self._wraps
        return held(p + 0.5, precision) & held(0.5 - p, precision) & ~wraps

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        x = emit_flush(graph, inputs[0])
        low, high = (graph.const(limit) for limit in self.limits())
        if self.overflow in ("SAT", "SAT_SYM"):
            x = graph.op("Max", graph.op("Min", x, high), low)
        scale = graph.const(np.exp2(np.asarray(self.fraction, np.float64)))
        made = graph.op("Div", self._emit_rounded(graph, graph.op("Mul", x, scale)), scale)
        if self.overflow == "WRAP":
            span = graph.const(self.step() + self.limits()[1] - self.limits()[0])
            from_low = graph.op("Sub", made, low)
            turns = graph.op("Floor", graph.op("Div", from_low, span))
            made = graph.op("Add", graph.op("Sub", from_low, graph.op("Mul", turns, span)), low)
        if self.overflow == "WRAP_SM":
            made = self._emit_folded(graph, x, made)
        return (graph.op("Mul", made, graph.const(np.where(self._none, 0.0, 1.0))),)

    def _emit_folded(self, graph: Graph, x: str, level: str) -> str:
        """Counts the turns: of the level for where it lies in one, of x for which way round."""
        step = self.step()
        top = np.exp2(
            np.maximum(np.asarray(self.integer, np.float64), -np.asarray(self.fraction, np.float64))
        )
        turn, low = top * np.where(self.sign, 2.0, 1.0), -top * self.sign

        def beyond(name: str, period: np.ndarray) -> str:
            turns = graph.op("Floor", graph.op("Div", name, graph.const(period)))
            return graph.op("Sub", name, graph.op("Mul", turns, graph.const(period)))

        def other_way(name: str) -> str:
            return graph.op("Sub", graph.op("Neg", name), graph.const(step))

        half = graph.const(step / 2)
        made = graph.op(
            "Add", beyond(graph.op("Sub", level, graph.const(top)), turn), graph.const(low)
        )
        second = graph.op(
            "GreaterOrEqual", beyond(graph.op("Add", x, half), turn), graph.const(turn / 2)
        )
        other = graph.op("GreaterOrEqual", beyond(x, 2 * turn), graph.const(turn))
        other = graph.op("And", other, graph.op("Greater", graph.op("Abs", x), half))
        return graph.op("Where", graph.op("Xor", second, other), other_way(made), made)

    def _emit_rounded(self, graph: Graph, p: str) -> str:
        def add_half(name: str) -> str:
            return graph.op("Floor", graph.op("Add", name, graph.const(0.5)))

        match self.rounding:
            case "RND":
                return add_half(p)
            case "RND_CONV":
                return graph.op("Round", p)
            case "TRN":
                return graph.op("Floor", p)
            case "TRN_ZERO":
                return graph.op("Mul", graph.op("Floor", graph.op("Abs", p)), graph.op("Sign", p))
            case "RND_ZERO":
                return graph.op(
                    "Mul",
                    graph.op("Neg", add_half(graph.op("Neg", graph.op("Abs", p)))),
                    graph.op("Sign", p),
                )
            case "RND_MIN_INF":
                return graph.op("Neg", add_half(graph.op("Neg", p)))
        return graph.op("Mul", add_half(graph.op("Abs", p)), graph.op("Sign", p))

    def summary(self, inputs: Arrays) -> str:
        k, i, f = (_range(part) for part in (self.sign, self.integer, self.fraction))
        way = {
            "": "not limited to a range",
            "WRAP": "wrapped around",
            "WRAP_SM": "reflected at the range's ends",
        }
        way |= {"SAT": "clipped", "SAT_SYM": "clipped symmetrically"}
        return (
            f"to fixed point with {k} sign, {i} integer and {f} fraction bits, "
            f"{self.rounding}, {way[self.overflow]}"
        )


def _range(part: np.ndarray) -> str:
    low, high = int(np.min(part)), int(np.max(part))
    if low == high:
        return str(low)
    return f"{low} to {high}"


@dataclass(frozen=True, eq=False)
class MiniFloat(Elementwise):
    """x rounded half to even to m bits behind the first one, its exponent clipped to e bits around
    e0; zero where m is -1.

    ``m``, ``e`` and ``e0`` broadcast against x. Below the lowest exponent numbers are subnormal;
    the highest number is the limit. The exponent is that of |x| + 1e-7
    (quantizers/minifloat/_float_point_ops.py 1.2).
    """

    m: np.ndarray
    e: np.ndarray
    e0: np.ndarray
    jumps = True

    pointwise = False

    def _exponents(self) -> tuple[np.ndarray, np.ndarray]:
        largest = np.maximum(np.exp2(np.asarray(self.e, np.float64) - 1), 1.0)
        return 1 - largest + self.e0, largest + self.e0 - 1

    def _with(self, x: np.ndarray, exponent: np.ndarray) -> np.ndarray:
        low, high = self._exponents()
        bits = np.asarray(self.m, np.float64) + 1
        used = np.clip(exponent, low, high)
        scale = np.exp2(used - bits + 1).astype(x.dtype)
        limit = (np.exp2(bits) - (used == high)).astype(x.dtype)
        return np.clip(np.rint(x / scale), -limit, limit) * scale

    def f(self, x: np.ndarray) -> np.ndarray:
        # The exponent of the sum, without a logarithm: x = mantissa * 2**exponent with the mantissa
        # from 0.5 to below 1.
        return self._with(x, np.frexp(np.abs(x) + x.dtype.type(1e-7))[1] - 1.0)

    def undecided(self, x: np.ndarray) -> np.ndarray:
        """Where |x| + 1e-7 is so close to a power of two that a logarithm in float32 may fall on
        either side, and it matters."""
        size = np.abs(x).astype(np.float64) + 1e-7
        around = [
            self._with(x.astype(np.float64), np.frexp(size * (1 + sign * 2.0**-21))[1] - 1.0)
            for sign in (-1, 1)
        ]
        return around[0] != around[1]

    def error_bound(self, of: Evaluated, precision: Precision) -> tuple[np.ndarray, ...]:
        (x,), (slack,), (y,) = of.inputs, of.slacks, of.outputs
        size = np.abs(x) + 1e-7
        either = np.maximum(
            *(
                np.abs(self._with(x, np.frexp(size * (1 + sign * 8 * precision.unit))[1] - 1.0) - y)
                for sign in (-1, 1)
            )
        )
        return (either + (0 if slack is None else spread(self.f, x, y, slack)) + precision.tiny,)

    def to_onnx(self, graph: Graph, *inputs: str) -> tuple[str, ...]:
        (x,) = inputs
        low, high = self._exponents()
        bits = np.asarray(self.m, np.float64) + 1
        log = graph.op("Log", graph.op("Add", graph.op("Abs", x), graph.const(1e-7)))
        exponent = graph.op("Floor", graph.op("Mul", log, graph.const(float(1 / np.log(2)))))
        used = graph.op("Max", graph.op("Min", exponent, graph.const(high)), graph.const(low))
        scale = graph.op("Pow", graph.const(2.0), graph.op("Sub", used, graph.const(bits - 1)))
        top = graph.op("Equal", used, graph.const(high))
        limit = graph.op("Where", top, graph.const(np.exp2(bits) - 1), graph.const(np.exp2(bits)))
        level = graph.op("Round", graph.op("Div", x, scale))
        inside = graph.op("Max", graph.op("Min", level, limit), graph.op("Neg", limit))
        return (graph.op("Mul", inside, scale),)

    def summary(self, inputs: Arrays) -> str:
        return (
            f"to floats with {_range(self.m)} mantissa and {_range(self.e)} exponent bits "
            f"around 2**{_range(self.e0)}"
        )
